//! The road a message travels: `Received → Judged → Routed → Committed`, one type a stage, one file each.
//!
//! A stage takes the one before it by value, so that none can be left out. Nothing here speaks a protocol: desks
//! ask, and turn what is refused into replies. Nothing here decides after the commit: what can be refused is refused
//! before 250 is said.

pub mod allowances;
pub mod committed;
pub mod dkim;
pub mod dsn;
pub mod header;
pub mod judged;
pub mod queue;
pub mod received;
pub mod route_out;
pub mod routed;
pub mod secure;
#[cfg(test)]
mod tests;

pub use committed::Committed;
pub use judged::Judged;
pub use received::{Envelope, Intake, Origin, Received, Recipient};
pub use routed::{Route, Routed, owner, route};

use std::sync::Arc;

use allowances::Allowances;
use dkim::Keyring;
use queue::Queue;
use store::{AccountId, Mode, Store, Usage};

/// What the road needs to know of the house it runs through.
#[derive(Clone)]
pub struct House {
    /// Where mail is kept.
    pub store: Store,
    /// This host's name, for trace headers and message ids.
    pub hostname: Arc<str>,
    /// The account (an address or a login name) that gets mail for postmaster and abuse; else the first account.
    pub postmaster: Option<Arc<str>>,
    /// What is on its way to other hosts.
    pub queue: Queue,
    /// What signs our domains' mail.
    pub keyring: Keyring,
    /// What accounts may send to other hosts.
    pub allowances: Allowances,
}

impl House {
    /// Whether new mail is refused for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.store.health().mode == Mode::LowSpace
    }

    /// Whether mail for these accounts can be taken as far as their quotas go. `size` is what the sender says of it.
    /// Looked at once, at RCPT: what is let in there is never refused for a quota. While one of several has room, all
    /// get it: nobody's mail waits for another's mailbox to be tidied.
    ///
    /// # Errors
    /// `MailboxFull`.
    pub fn has_room(&self, accounts: &[AccountId], size: Option<u64>) -> Result<(), Error> {
        let directory = self.store.directory();
        // An empty message still is one, and has trace headers.
        let more = Usage { storage: size.unwrap_or(0).max(1), messages: 1 };
        let takes = |id: &AccountId| {
            let quota = directory.account(*id).map(|account| account.quota).unwrap_or_default();
            quota.is_none() || quota.allows(self.store.usage(*id), more)
        };
        if accounts.is_empty() || accounts.iter().any(takes) { Ok(()) } else { Err(Error::MailboxFull) }
    }

    /// The whole road: what was taken in, judged, routed, committed. On disk when this is `Ok`.
    ///
    /// # Errors
    /// What may be refused at the end of the data; nothing of the message is kept then.
    pub async fn take(&self, intake: Intake, origin: Origin, envelope: Envelope) -> Result<Committed, Error> {
        let received = if intake.is_large() {
            // A large body has its own file, and that waits for the disk.
            let finished = tokio::task::spawn_blocking(move || intake.finish(origin, envelope));
            finished.await.map_err(|_| Error::Unavailable)??
        } else {
            intake.finish(origin, envelope)?
        };
        judged::judge(received, self)?.routed(self)?.commit(self).await
    }
}

/// Why a message or a recipient is not taken. A desk maps each to one reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The recipient's domain is not one of ours.
    #[error("not one of our domains")]
    NotLocal,
    /// The domain is ours, and nobody there has this name.
    #[error("no such user here")]
    NoSuchUser,
    /// More `Received` fields than any honest road has (RFC 5321 s.6.3).
    #[error("the message is going in circles")]
    Loop,
    /// The header section is longer than `limits::HEADER`.
    #[error("the message's header is too long")]
    HeaderTooLong,
    /// A submitted message without an author.
    #[error("the message has no From: field with an address")]
    NoAuthor,
    /// A submitted message in a name that is not the sender's.
    #[error("{0} is not an address of yours")]
    NotYours(String),
    /// The account has sent what it may send to other hosts.
    #[error("the account has reached its limit of {limit} {allowance} a day")]
    LimitReached {
        /// Of what.
        allowance: dsn::Allowance,
        /// How much.
        limit: u64,
        /// From when on it may send more, in seconds since 1970.
        again: i64,
    },
    /// The recipient's quota is used up.
    #[error("the recipient's mailbox is full")]
    MailboxFull,
    /// No room on the disk for now.
    #[error("no room for new mail for now")]
    Full,
    /// The store cannot take it now.
    #[error("the message could not be stored for now")]
    Unavailable,
}

impl Error {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            // Who may send nothing may send nothing tomorrow.
            Error::LimitReached { limit, .. } => *limit > 0,
            _ => matches!(self, Error::Full | Error::MailboxFull | Error::Unavailable),
        }
    }
}

impl From<store::CommitError> for Error {
    fn from(e: store::CommitError) -> Error {
        match e {
            store::CommitError::Full => Error::Full,
            // A mailbox that went away between RCPT and the commit: the next try learns it at RCPT.
            _ => Error::Unavailable,
        }
    }
}
