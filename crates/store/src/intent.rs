//! What a caller asks the store to do, and what came of it.
//!
//! A [`Batch`] is all or nothing: one intent whose precondition fails refuses the whole batch, and only it.

use wire::flag::{FlagNames, SpecialUse};
use wire::ids::{ModSeq, Runs, Uid, UidValidity};

use crate::id::{AccountId, InternalDate, MailboxId};
use crate::spool::Spooled;
use crate::state::book::{Book, Content};
use crate::state::retained::RetainedId;
use crate::state::usage::Quota;

/// A body of a batch, to be placed by any number of [`Intent::Append`]s of the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRef(pub(crate) usize);

/// Octets served before a body, and how much of the body they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Return-Path, trace headers, or a whole edited header; each delivery has its own.
    pub octets: Vec<u8>,
    /// So many leading octets of the body are not served: the prefix replaces them.
    pub replaces: u32,
}

/// How flags change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagChange {
    /// Sets these too.
    Add(FlagNames),
    /// Clears these.
    Remove(FlagNames),
    /// Sets exactly these.
    Set(FlagNames),
}

/// Where expunged messages come back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackTo {
    /// The mailbox they were in, whatever its name is now. If that is gone, as [`BackTo::Path`] with the name that it
    /// had.
    Home,
    /// This one.
    Mailbox(MailboxId),
    /// The mailbox of this name; if there is none it is made, subscribed, with the special use that went, if any went
    /// and nobody has it.
    Path {
        /// Whose.
        account: AccountId,
        /// Its name.
        path: String,
    },
}

/// One change that a batch asks for. UIDs that do not exist are passed over (RFC 3501 s.6.4.8).
#[derive(Clone, Debug)]
pub enum Intent {
    /// A new message in a mailbox. Answered by [`Outcome::Placed`].
    Append {
        /// Where.
        mailbox: MailboxId,
        /// Which of the batch's bodies.
        body: BodyRef,
        /// What is served before it.
        prefix: Prefix,
        /// Flags from the start.
        flags: FlagNames,
        /// INTERNALDATE; now, in UTC, if not said.
        date: Option<InternalDate>,
    },
    /// STORE. Answered by [`Outcome::Flagged`].
    Flags {
        /// Where.
        mailbox: MailboxId,
        /// Which messages.
        uids: Runs,
        /// What changes.
        change: FlagChange,
        /// Messages changed after this are left alone and reported (RFC 7162 s.3.1.3).
        unchanged_since: Option<ModSeq>,
    },
    /// Removes messages. Answered by [`Outcome::Expunged`].
    Expunge {
        /// Where.
        mailbox: MailboxId,
        /// Which messages.
        uids: Runs,
        /// Only those that have `\Deleted`.
        only_deleted: bool,
    },
    /// COPY. Answered by [`Outcome::Copied`].
    Copy {
        /// Where they are.
        from: MailboxId,
        /// Which messages.
        uids: Runs,
        /// Where they go.
        to: MailboxId,
    },
    /// MOVE (RFC 6851): copies and removes in one. Answered by [`Outcome::Copied`].
    Move {
        /// Where they are.
        from: MailboxId,
        /// Which messages.
        uids: Runs,
        /// Where they go.
        to: MailboxId,
    },
    /// Brings expunged messages back, with their flags and keywords but without `\Deleted`, their INTERNALDATE, and new
    /// UIDs. Answered by [`Outcome::Undeleted`].
    Undelete {
        /// What took them away: [`crate::Store::retained`] tells it.
        from: RetainedId,
        /// Which of them, by the UIDs that they had.
        uids: Runs,
        /// Where they go.
        to: BackTo,
    },
    /// A message that is in no mailbox, and the new line of a book that names it. Answered by [`Outcome::Kept`].
    Keep {
        /// Which book.
        book: Book,
        /// The line's key: at most 255 octets.
        key: Vec<u8>,
        /// Which of the batch's bodies.
        body: BodyRef,
        /// What is served before it.
        prefix: Prefix,
        /// The line's value: at most 3,500 octets.
        value: Vec<u8>,
    },
    /// A line of a book, new or instead of what it was; a message that it names stays named.
    Write {
        /// Which book.
        book: Book,
        /// The line's key: at most 255 octets.
        key: Vec<u8>,
        /// Its value: at most 3,500 octets.
        value: Vec<u8>,
    },
    /// Strikes a line; fine if it is not there. A message that it named can be read no more.
    Strike {
        /// Which book.
        book: Book,
        /// The line's key.
        key: Vec<u8>,
    },
    /// A new mailbox; missing parents are made too (RFC 3501 s.6.3.3). Answered by [`Outcome::Created`].
    CreateMailbox {
        /// Whose.
        account: AccountId,
        /// Its name: UTF-8, levels separated by `/`.
        path: String,
        /// RFC 6154.
        special_use: Option<SpecialUse>,
        /// Whether it, and the parents made, are subscribed.
        subscribe: bool,
    },
    /// Removes a mailbox and its messages. Its children stay, and its name lives on without a mailbox as long as it
    /// has any (`\Noselect`, RFC 3501 s.6.3.4); [`crate::Directory::names`] tells such names.
    DeleteMailbox {
        /// Which.
        mailbox: MailboxId,
    },
    /// Gives a mailbox and its children another name; missing parents are made. INBOX's messages go with the old
    /// mailbox id to the new name and a new, empty INBOX appears; its children stay (RFC 3501 s.6.3.5).
    RenameMailbox {
        /// Which.
        mailbox: MailboxId,
        /// The new name.
        to: String,
    },
    /// Adds a name to the subscriptions, or takes it away; the mailbox need not exist (RFC 3501 s.6.3.6).
    Subscribe {
        /// Whose.
        account: AccountId,
        /// The name.
        path: String,
        /// Subscribed or not.
        on: bool,
    },
    /// A domain that we are responsible for, in lower case.
    AddDomain {
        /// Its name.
        name: String,
    },
    /// Removes a domain that no address is left in.
    RemoveDomain {
        /// Its name.
        name: String,
    },
    /// A new account with INBOX and the five special-use mailboxes, subscribed. Answered by [`Outcome::Account`].
    AddAccount {
        /// The login name, lower case.
        login: String,
        /// The password's hash (PHC string).
        password: String,
        /// Its addresses, lower case.
        addresses: Vec<String>,
    },
    /// What an account may hold from now on. What it holds already stays.
    SetQuota {
        /// Whose.
        account: AccountId,
        /// The limits.
        quota: Quota,
    },
    /// Another password.
    SetPassword {
        /// Whose.
        account: AccountId,
        /// The password's hash (PHC string).
        password: String,
    },
    /// Removes an account with its addresses and mailboxes.
    RemoveAccount {
        /// Which.
        account: AccountId,
    },
    /// One more address.
    AddAddress {
        /// Whose.
        account: AccountId,
        /// The address, lower case.
        address: String,
    },
    /// One address less.
    RemoveAddress {
        /// Whose.
        account: AccountId,
        /// The address, lower case.
        address: String,
    },
    /// An address that stands for others.
    AddAlias {
        /// The address, lower case.
        address: String,
        /// What it stands for.
        to: Vec<String>,
    },
    /// Removes an alias.
    RemoveAlias {
        /// The address, lower case.
        address: String,
    },
}

/// Intents that happen together or not at all, with the bodies that they place.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) bodies: Vec<Spooled>,
    pub(crate) intents: Vec<Intent>,
    /// What is appended was accepted before: see [`Batch::accepted`].
    pub(crate) accepted: bool,
    /// It may use the room that is kept back: see [`Batch::owed`].
    pub(crate) owed: bool,
    /// What only the store itself asks for: to give up what was expunged before this time.
    pub(crate) forget: Option<u64>,
    /// Side segments that are given up: the store's own work too.
    pub(crate) drop_sides: Vec<u32>,
}

impl Batch {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// A batch of one intent.
    #[must_use]
    pub fn of(intent: Intent) -> Batch {
        Batch { intents: vec![intent], ..Batch::default() }
    }

    /// Adds a body: what a [`crate::Spool`] finished, or octets at hand (a few hundred KiB at most; what is larger
    /// belongs in a spool, and is put through one by [`crate::Store::commit`], which then blocks).
    pub fn body(&mut self, body: impl Into<Spooled>) -> BodyRef {
        self.bodies.push(body.into());
        BodyRef(self.bodies.len() - 1)
    }

    /// Adds an intent; its number is its place in [`Committed::outcomes`].
    pub fn push(&mut self, intent: Intent) -> usize {
        self.intents.push(intent);
        self.intents.len() - 1
    }

    /// What this batch appends was accepted before, at RCPT: no quota refuses it any more.
    pub fn accepted(&mut self) {
        self.accepted = true;
    }

    /// What this batch appends is small, and told of mail that was taken before: it is not refused as new mail is when the
    /// disk has little room left.
    pub fn owed(&mut self) {
        self.owed = true;
    }

    /// How many intents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.intents.len()
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intents.is_empty() && self.forget.is_none() && self.drop_sides.is_empty()
    }
}

/// What came of one intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message is in a mailbox.
    Placed {
        /// Where.
        mailbox: MailboxId,
        /// As which.
        uid: Uid,
        /// For APPENDUID (RFC 4315 s.3).
        uid_validity: UidValidity,
    },
    /// Flags are as asked.
    Flagged {
        /// Messages whose flags are other than before.
        changed: Runs,
        /// Messages left alone because they changed after `unchanged_since`.
        modified: Runs,
        /// The mod-sequence of those changed.
        modseq: ModSeq,
    },
    /// Messages that are gone.
    Expunged(Runs),
    /// Messages copied or moved; the n-th of one is the n-th of the other.
    Copied {
        /// Of the mailbox they went to (COPYUID, RFC 4315 s.3).
        uid_validity: UidValidity,
        /// UIDs where they were; empty if none existed.
        from: Runs,
        /// UIDs where they went.
        to: Runs,
    },
    /// Messages are back; the n-th of one is the n-th of the other.
    Undeleted {
        /// Where they are now.
        mailbox: MailboxId,
        /// Its UIDVALIDITY.
        uid_validity: UidValidity,
        /// UIDs that they had.
        from: Runs,
        /// UIDs that they have now.
        to: Runs,
    },
    /// A message is kept.
    Kept(Content),
    /// A mailbox is there.
    Created(MailboxId),
    /// An account is there.
    Account(AccountId),
    /// As asked.
    Done,
}

/// A batch that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its commit number: the mod-sequence of all that it touched.
    pub at: ModSeq,
    /// One for each intent, in their order.
    pub outcomes: Vec<Outcome>,
}

/// Why a batch was not committed. Nothing of it happened, unless it is `Broken` (then nobody knows until the next
/// start, and the caller's answer must be a temporary failure).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A precondition does not hold.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The disk has no room for new mail.
    #[error("no space left for new mail")]
    Full,
    /// The disk failed, or the store is read-only after such a failure.
    #[error("the store cannot write")]
    Broken,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// A precondition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The mailbox does not exist (any more).
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// The account does not exist (any more).
    #[error("no such account")]
    NoSuchAccount,
    /// The domain is not ours.
    #[error("no such domain: {0}")]
    NoSuchDomain(String),
    /// The address is not there.
    #[error("no such address: {0}")]
    NoSuchAddress(String),
    /// The name is taken.
    #[error("it already exists")]
    AlreadyExists,
    /// Another account or alias has this address.
    #[error("the address {0} is taken")]
    AddressTaken(String),
    /// Another account has this login name.
    #[error("the login name {0} is taken")]
    LoginTaken(String),
    /// Addresses are left in this domain.
    #[error("the domain {0} still has addresses")]
    DomainInUse(String),
    /// Another mailbox of the account has this special use.
    #[error("another mailbox has this special use")]
    SpecialUseTaken,
    /// INBOX cannot be removed or replaced.
    #[error("INBOX cannot be removed")]
    InboxCannot,
    /// None of these messages can be brought back (any more).
    #[error("nothing of this can be brought back")]
    NotRetained,
    /// What destroys is put off, because the clock cannot be believed.
    #[error("the clock jumped: nothing is given up for now")]
    TimeFrozen,
    /// Not a name that a mailbox, domain, login or address can have.
    #[error("not a possible name: {0}")]
    BadName(&'static str),
    /// A mailbox cannot be moved into itself.
    #[error("a mailbox cannot be moved below itself")]
    IntoItself,
    /// More keywords than a mailbox can name.
    #[error("the mailbox has too many keywords")]
    KeywordLimit,
    /// Something has reached a limit.
    #[error("a limit is reached: {0}")]
    Limit(&'static str),
    /// The account's quota does not allow it.
    #[error("over quota")]
    OverQuota,
    /// The batch contradicts itself (a body that it does not have, a prefix that replaces more than the body).
    #[error("a batch that contradicts itself")]
    BadBatch,
}
