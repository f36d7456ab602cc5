//! Truth on disk: one append-only log, and everything else derived from it.
//!
//! What was acknowledged is in the log and synced; the index (sled), the digests and the tables in memory can be lost
//! and are made again. This crate knows mailboxes, messages, accounts and addresses; it knows no protocol, no runtime,
//! no clock. Its rooms: `vfs` (the disk), `index` (what is derived, by key), `state` (what is true now), `commit` (how
//! it changes), `snapshot` (all of it at one moment), `open` (how it is found again), `read` (how octets come back),
//! `reader` (a directory that nobody serves), `verify` (whether all of it is as it was written), `salvage` (what is left of
//! it), `backup` (copies of it elsewhere, and back), `books` (what the server itself keeps here).
//!
//! Invariants: a group is written only after the fdatasync of the one before; a commit is published only after its
//! group's fdatasync and acknowledged only after it is published; nothing that is not torn is ever cut; a replay
//! decides nothing.

mod applier;
mod backup;
mod books;
mod codec;
mod commit;
mod compact;
mod digest;
pub mod fuzz;
mod group;
mod health;
mod id;
pub mod index;
mod intent;
mod keys;
mod open;
mod options;
mod read;
mod reader;
mod record;
mod retained;
mod retention;
pub mod salvage;
mod segment;
mod shared;
mod side;
mod snapshot;
mod spool;
mod state;
mod store;
mod trouble;
pub mod verify;
pub mod vfs;
mod watch;

pub use backup::{
    Backed, BackupError, BackupProgress, BackupTo, Backups, Checked, Extra, FoundManifest, Joined, Manifest,
    Newest, Restored, Summing, Sums, Verified, Watch as BackupWatch,
};
pub use books::Keyed;
pub use commit::Commit;
pub use health::{Health, Mode};
pub use id::{AccountId, InternalDate, Location, MailboxId, ThreadId, UnixTime};
pub use intent::{
    BackTo, Batch, BodyRef, CommitError, Committed, FlagChange, Intent, Outcome, Prefix, Refused,
};
pub use open::{Came, OpenError, Opening, Rot};
pub use options::{Clock, Derive, NoDigest, Octets, Options, Progress, Random, Sabotage, Tuning};
pub use read::{Message, Messages, ReadError};
pub use reader::{Damage, Reached, Reader, Start};
pub use retained::{RetainedFilter, RetainedMessage, RetainedMessages};
pub use snapshot::{BadSnapshot, Snapshot, SnapshotError};
pub use spool::{Spool, SpoolError, Spooled};
pub use state::block::Row;
pub use state::book::{Book, Content, Line};
pub use state::directory::{Account, Directory, MailboxInfo, Name, Target, canonical};
pub use state::mailbox::Head;
pub use state::retained::{Retained, RetainedId};
pub use state::usage::{Quota, Usage};
pub use state::view::{Changes, View};
pub use store::Store;
pub use trouble::DiskError;
pub use vfs::RealVfs;
pub use watch::{Changed, Watch};
