//! The store's face: what the server calls. Each method is documented here; the work is done in the rooms below.

use std::sync::Arc;

use wire::ids::ModSeq;

use crate::commit::Commit;
use crate::health::Health;
use crate::id::{AccountId, MailboxId};
use crate::intent::{Batch, CommitError};
use crate::open::{OpenError, Opening};
use crate::options::Options;
use crate::read::{Message, Messages, ReadError};
use crate::spool::Spool;
use crate::state::block::Row;
use crate::state::directory::Directory;
use crate::state::mailbox::{Changes, Head, View};
use crate::watch::Watch;

/// An open store. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {}

#[expect(clippy::unimplemented, reason = "the signatures land before the bodies")]
impl Store {
    /// Opens the store, making it if the directory is empty, and says how that went.
    pub fn open(_options: Options) -> Result<(Store, Opening), OpenError> {
        unimplemented!()
    }
    /// Asks for a batch. The answer comes when it is on disk and visible to every reader, or refused.
    ///
    /// Does not block, but for bodies of more than [`crate::Tuning::side_above`] given as plain octets.
    pub fn commit(&self, _batch: Batch) -> Commit {
        unimplemented!()
    }
    /// Domains, accounts, addresses, mailboxes' names, as they are now.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        unimplemented!()
    }
    /// A mailbox's counts and numbers. Never touches the disk.
    #[must_use]
    pub fn head(&self, _id: MailboxId) -> Option<Head> {
        unimplemented!()
    }
    /// A mailbox as it is now. Reads the index (some milliseconds, blocking) when its rows are not in memory.
    pub fn view(&self, _id: MailboxId) -> Result<View, ReadError> {
        unimplemented!()
    }
    /// What happened to a mailbox after a mod-sequence. Costs what changed, not what is there.
    pub fn changes_since(&self, _id: MailboxId, _since: ModSeq) -> Result<Changes, ReadError> {
        unimplemented!()
    }
    /// A message's octets. Reads the disk; a small message whole, a large one only where it is looked at.
    pub fn message(&self, _row: &Row) -> Result<Message, ReadError> {
        unimplemented!()
    }
    /// Several messages' octets, in the order given; neighbours in the log are read together, about 1 MiB at a time.
    #[must_use]
    pub fn messages<'a>(&'a self, _rows: &'a [Row]) -> Messages<'a> {
        unimplemented!()
    }
    /// A message's digest, as [`crate::Derive`] made it at its arrival, or makes it now.
    pub fn digest(&self, _row: &Row) -> Result<Arc<[u8]>, ReadError> {
        unimplemented!()
    }
    /// A string that names a mailbox's message for ever, whatever is rebuilt or restored (POP3 UIDL, RFC 1939 s.7):
    /// 1 to 70 octets of printable ASCII.
    #[must_use]
    pub fn unique_id(&self, _mailbox: MailboxId, _row: &Row) -> String {
        unimplemented!()
    }
    /// Waits for changes of a mailbox.
    #[must_use]
    pub fn watch(&self, _id: MailboxId) -> Watch {
        unimplemented!()
    }
    /// Waits for changes of an account: its password, addresses, mailboxes' names, its removal.
    #[must_use]
    pub fn watch_account(&self, _id: AccountId) -> Watch {
        unimplemented!()
    }
    /// Begins to take a body.
    #[must_use]
    pub fn spool(&self) -> Spool {
        unimplemented!()
    }
    /// How the store is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        unimplemented!()
    }
    /// Closes cleanly: what was asked for before is done, later batches are [`CommitError::Closed`]. Other clones keep
    /// reading what they hold.
    pub fn close(&self) -> Result<(), CommitError> {
        unimplemented!()
    }
}
