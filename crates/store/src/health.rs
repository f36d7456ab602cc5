//! How the store is doing, for `status`, for the log and for tests.

use std::time::Duration;

use crate::snapshot::{BadSnapshot, Snapshot};
use crate::trouble::DiskError;

/// What the store can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Serving,
    /// New mail is refused for want of space; flags, expunges and the rest go on.
    LowSpace,
    /// A write failed and so did what should have mended it: only reading, until the next start.
    ReadOnly,
    /// Closed.
    Closed,
}

/// Counters since the store was opened, and how things stand.
#[derive(Clone, Debug)]
pub struct Health {
    /// What it can do now.
    pub mode: Mode,
    /// Why the index is not used any more, if it failed.
    pub condemned: Option<String>,
    /// Batches committed.
    pub commits: u64,
    /// Batches refused.
    pub refused: u64,
    /// Groups written, each with one fdatasync.
    pub groups: u64,
    /// Groups whose write or fdatasync failed.
    pub failed_groups: u64,
    /// Octets of the log written.
    pub log_octets: u64,
    /// Octets of bodies larger than fit the log.
    pub side_octets: u64,
    /// How long the last fdatasync took.
    pub last_sync: Duration,
    /// Times that commits waited for the index.
    pub overlay_waits: u64,
    /// Octets published and not yet in the index, roughly.
    pub overlay: u64,
    /// Octets of bodies in memory.
    pub memory_bodies: u64,
    /// Rows in memory.
    pub resident_rows: u64,
    /// Segments rewritten without what was dead in them.
    pub compacted_segments: u64,
    /// Octets that came back to the file system by that.
    pub compacted_octets: u64,
    /// Why the last try to give space back failed, if it did: nothing but space is lost by it.
    pub compaction_failed: Option<String>,
    /// Free octets of the file system when last looked at; `None` if it cannot be told.
    pub free: Option<u64>,
    /// Octets that must be free for new mail to be taken; 0 if it was not looked yet.
    pub wanted: u64,
    /// Files that the disk failed to read, write or sync, since the store was opened.
    pub disk_errors: Vec<DiskError>,
    /// Whether destroying things is frozen because the clock jumped.
    pub time_frozen: bool,
    /// For how long it stays so, unless [`crate::Store::accept_clock`] ends it.
    pub frozen_for: Duration,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// Why the last try to make one failed, if it did.
    pub snapshot_failed: Option<String>,
    /// Snapshots that were found bad and are still there.
    pub bad_snapshots: Vec<BadSnapshot>,
}
