//! Every command of a client, parsed: what the machine does itself, and what its desk is asked to do.
//!
//! RFC 3501 s.6 and the extensions that `rows` lists. Types only: `parse` makes them, `print` prints them.

use super::date::DateTime;
use super::fetch::FetchItem;
use super::list::{List, StatusItem};
use super::name::MailboxName;
use super::search::SearchKey;
use crate::flag::{FlagNames, SpecialUse};
use crate::ids::SeqSet;
use crate::sasl::Credentials;

/// A command's tag: what its tagged answer begins with. At most [`Tag::LONGEST`] octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// Longer ones are refused: they are repeated in each answer.
    pub const LONGEST: usize = 255;

    /// `1*<any ASTRING-CHAR except "+">` (RFC 3501 s.9).
    #[must_use]
    pub fn parse(s: &[u8]) -> Option<Tag> {
        let good = |b: &u8| super::syntax::is_astring_char(*b) && *b != b'+';
        if s.is_empty() || s.len() > Tag::LONGEST || !s.iter().all(good) {
            return None;
        }
        std::str::from_utf8(s).ok().map(|s| Tag(s.to_owned()))
    }

    /// As sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A parsed command.
#[derive(Debug)]
pub enum Command {
    /// CAPABILITY
    Capability,
    /// NOOP or CHECK: both tell what is new.
    Poll,
    /// LOGOUT
    Logout,
    /// ID (RFC 2971): the fields the client tells of itself.
    Id(Vec<(String, Option<String>)>),
    /// STARTTLS
    StartTls,
    /// AUTHENTICATE: the mechanism's name, and the initial response as sent (RFC 4959).
    Authenticate {
        /// The mechanism's name as sent.
        mechanism: String,
        /// Base64, or `=`.
        initial: Option<Vec<u8>>,
    },
    /// LOGIN
    Login(Credentials),
    /// ENABLE (RFC 5161): the capabilities named.
    Enable(Vec<String>),
    /// NAMESPACE (RFC 2342)
    Namespace,
    /// IDLE (RFC 2177)
    Idle,
    /// APPEND up to its literal, which is streamed.
    Append(Append),
    /// What the desk does.
    Run(Request),
}

/// APPEND up to the message itself (RFC 3501 s.6.3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub mailbox: MailboxName,
    /// With these flags; `\Recent` is passed over.
    pub flags: FlagNames,
    /// INTERNALDATE; now, when the client says nothing.
    pub date: Option<DateTime>,
    /// Octets of the message: above zero, at most the machine's message limit.
    pub size: u64,
}

/// Sequence numbers or UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Messages {
    /// Message sequence numbers.
    Sequence(SeqSet),
    /// Unique identifiers: the command began with UID.
    Uid(SeqSet),
}

/// How STORE changes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHow {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// What the desk is asked to do, one variant a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// SELECT, or with `read_only` EXAMINE. Ends with `NewState::Selected`, or with no mailbox selected at all.
    Select {
        /// Which mailbox.
        mailbox: MailboxName,
        /// EXAMINE.
        read_only: bool,
    },
    /// CREATE; a trailing `/` has been taken off.
    Create {
        /// The new mailbox.
        mailbox: MailboxName,
        /// `USE (..)` (RFC 6154 s.3); at most one use a mailbox, more are refused by the parser.
        special_use: Option<SpecialUse>,
    },
    /// DELETE
    Delete(MailboxName),
    /// RENAME
    Rename {
        /// The old name.
        from: MailboxName,
        /// The new name.
        to: MailboxName,
    },
    /// SUBSCRIBE
    Subscribe(MailboxName),
    /// UNSUBSCRIBE
    Unsubscribe(MailboxName),
    /// LIST
    List(List),
    /// LSUB: the pattern, reference in front.
    Lsub {
        /// As in [`List::patterns`].
        pattern: String,
    },
    /// STATUS
    Status {
        /// Of which mailbox.
        mailbox: MailboxName,
        /// What of it. Never empty.
        items: Vec<StatusItem>,
    },
    /// CLOSE: expunge without telling (unless read-only), then no mailbox is selected.
    Close,
    /// UNSELECT (RFC 3691): CLOSE without expunging.
    Unselect,
    /// EXPUNGE, or UID EXPUNGE (RFC 4315 s.2.1) of these.
    Expunge(Option<SeqSet>),
    /// SEARCH or UID SEARCH.
    Search {
        /// UID SEARCH: answer with UIDs.
        uid: bool,
        /// `CHARSET`, in upper case.
        charset: Option<String>,
        /// What to look for.
        key: SearchKey,
    },
    /// FETCH or UID FETCH; of the latter `items` contains `Uid` (RFC 3501 s.6.4.8).
    Fetch {
        /// Of which messages.
        messages: Messages,
        /// What of them, without doubles. Never empty.
        items: Vec<FetchItem>,
    },
    /// STORE or UID STORE.
    Store {
        /// Of which messages.
        messages: Messages,
        /// How.
        how: StoreHow,
        /// `.SILENT`
        silent: bool,
        /// Which flags; `\Recent` is refused by the parser.
        flags: FlagNames,
    },
    /// COPY or UID COPY.
    Copy {
        /// Which messages.
        messages: Messages,
        /// Where to.
        to: MailboxName,
    },
    /// MOVE or UID MOVE (RFC 6851).
    Move {
        /// Which messages.
        messages: Messages,
        /// Where to.
        to: MailboxName,
    },
}

impl Messages {
    /// The set, whichever it is.
    #[must_use]
    pub fn set(&self) -> &SeqSet {
        match self {
            Messages::Sequence(set) | Messages::Uid(set) => set,
        }
    }

    /// Whether UIDs are meant.
    #[must_use]
    pub fn by_uid(&self) -> bool {
        matches!(self, Messages::Uid(_))
    }
}
