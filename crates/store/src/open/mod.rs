//! From a directory on disk to a store that serves: lock, log, index, and what was found on the way.

pub(crate) mod base;
pub(crate) mod epoch;
pub(crate) mod found;
mod index;
pub(crate) mod replay;
mod start;
mod tail;

pub(crate) use epoch::RESTORED;
pub(crate) use index::witness;
pub(crate) use start::open;
pub(crate) use tail::sync_tree;

use std::io;

use crate::snapshot::BadSnapshot;

/// Why the store does not open. Nothing is changed on disk by a refusal.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data directory is in use{}", .holder.map(|p| format!(" by process {p}")).unwrap_or_default())]
    Locked {
        /// The holder's process id, if it says so.
        holder: Option<u32>,
    },
    /// Written by a newer version of the program.
    #[error("the store was written by a newer version: {0}")]
    Newer(String),
    /// Part of the log is missing.
    #[error(
        "the log is incomplete: {0}; restore it from a backup, or take what is left with `penfold salvage`"
    )]
    Missing(String),
    /// There is nothing to start from: no snapshot is good, and the log does not reach back to its beginning.
    #[error(
        "no snapshot can be used ({0}), and the log alone is not everything; nothing was changed. Restore a backup, or take what is left with `penfold salvage`"
    )]
    NoBase(String),
    /// There is something here that is not a store, or one that lost its log.
    #[error("not a store: {0}")]
    NotAStore(String),
    /// A restore into this directory has begun and not ended.
    #[error(
        "a restore into this data directory was interrupted: run the same `penfold restore` again, it goes on"
    )]
    HalfRestored,
    /// The index cannot be made.
    #[error(transparent)]
    Index(#[from] crate::index::IndexError),
    /// The disk does not give a part of the log. What it holds is not known, so it is neither passed over nor cut off.
    #[error(
        "the disk cannot read {file} at octet {offset}: {error}; nothing was changed. Copy the data directory to a good disk, restore a backup, or take what can be read with `penfold salvage`"
    )]
    Unreadable {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
        /// What the system said.
        error: io::Error,
    },
    /// The disk failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

/// Where the index came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// A new, empty store.
    New,
    /// The index was as the last close left it.
    Clean,
    /// The process had died; the index was good, and the log's end was replayed on it.
    Resumed,
    /// The index was built anew: from [`Opening::snapshot`] and what follows in the log, or from the whole log.
    Rebuilt {
        /// Why.
        why: String,
    },
}

/// A damaged stretch of the log: kept as it is, its intact records used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    /// The file.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// Octets until the next intact group.
    pub octets: u64,
    /// What is wrong.
    pub what: String,
}

/// How opening went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where the index came from.
    pub came: Came,
    /// The snapshot that an index was built from, and replay began after: its file.
    pub snapshot: Option<String>,
    /// Snapshots that are of no use. Nothing is lost by them as long as another one or the whole log is there.
    pub bad_snapshots: Vec<BadSnapshot>,
    /// Groups replayed.
    pub groups: u64,
    /// Messages in all mailboxes.
    pub rows: u64,
    /// A group that was not whole at the end of the log (nobody was told that it is kept): where a copy of it lies.
    pub torn: Option<String>,
    /// Damage within the log.
    pub rot: Vec<Rot>,
    /// Why a new epoch was begun: what somebody was told is kept has been lost, or the store was restored. Every mailbox
    /// has another UIDVALIDITY, so that no client takes a new message for a lost one.
    pub renewed: Option<String>,
    /// The new epoch was begun because the store was restored, or made of what was salvaged: nothing need have been lost.
    pub restored: bool,
    /// Records about mailboxes that are not there: their making was lost to rot, and nothing says what they were.
    pub orphans: u64,
    /// Adopted bodies whose files are missing.
    pub missing_bodies: Vec<String>,
}
