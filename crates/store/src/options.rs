//! What the store is opened with: where it is, and everything of the world that it may touch.
//!
//! Time, randomness and the derived digests of messages are arguments: the store itself reads no clock and no message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::id::UnixTime;
use crate::index::IndexHost;
use crate::read::ReadError;
use crate::vfs::Vfs;

/// Time as the store sees it.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> UnixTime;
    /// A clock that never jumps, from any beginning.
    fn monotonic(&self) -> Duration;
}

/// What a message's digest is made of (ENVELOPE, BODYSTRUCTURE...): the store keeps it and knows nothing of it.
pub trait Derive: Send + Sync {
    /// Rises whenever `derive` would give something else; older digests are then made anew.
    fn version(&self) -> u32;
    /// The digest of a message. It must come from the octets alone.
    fn derive(&self, message: &mut dyn Octets) -> Vec<u8>;
}

/// A message's octets, as served: read in parts, or seen whole.
pub trait Octets {
    /// How many there are.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads at an offset; fewer than asked for only at the end.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError>;
    /// Everything, when it is in memory in one piece or two; the second may be empty.
    fn whole(&self) -> Option<[&[u8]; 2]> {
        None
    }
}

/// A [`Derive`] that derives nothing: for tools and tests that need no digests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDigest;

impl Derive for NoDigest {
    fn version(&self) -> u32 {
        0
    }
    fn derive(&self, _message: &mut dyn Octets) -> Vec<u8> {
        Vec::new()
    }
}

/// Fills a buffer with octets that nobody can guess.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Told while the store opens, for the operator's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process holds the lock; we wait for it.
    Waiting {
        /// The holder's process id, if it says so.
        holder: Option<u32>,
    },
    /// The log is read again to rebuild the index.
    Replaying {
        /// Octets of the log read so far.
        done: u64,
        /// Octets to read.
        total: u64,
    },
    /// The index is written.
    Indexing {
        /// Messages written so far.
        rows: u64,
    },
}

/// Sizes and times that tests and unusual machines change.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Octets of a log segment, preallocated.
    pub segment: u64,
    /// Bodies above this go into a segment of their own.
    pub side_above: usize,
    /// Behind a group of one commit so many octets of the segment are filled with zeros, once those before are used up
    /// (at most 1 MiB; 0: never). To write where nothing was written yet, the file system commits its own journal at each
    /// fdatasync; where zeros are, it only writes. While groups hold many commits, that costs less than the zeros.
    pub ahead: u64,
    /// All bodies in memory; above it every new one goes into a segment of its own.
    pub memory_bodies: usize,
    /// At most so many commits in a group.
    pub group_commits: usize,
    /// A group of this many octets takes no further commit.
    pub group_octets: usize,
    /// What the index has not been given may grow to this before commits wait for it.
    pub overlay: usize,
    /// The index is given what is new at least this often...
    pub apply_every: Duration,
    /// ...or when this many octets are new.
    pub apply_octets: usize,
    /// Messages whose rows stay in memory when nobody uses them.
    pub resident_rows: usize,
    /// New mail is refused when less than this is free...
    pub reserve: u64,
    /// ...or less than this many percent of the file system.
    pub reserve_percent: u8,
    /// A snapshot is made after so many commits...
    pub snapshot_commits: u64,
    /// ...or so many octets of log.
    pub snapshot_octets: u64,
    /// A clean close makes one after more commits than this.
    pub snapshot_at_close: u64,
    /// A snapshot is asked for when so many octets of messages cannot be brought back any more, so that their space can be
    /// used again...
    pub compact_octets: u64,
    /// ...but not more often than this.
    pub compact_every: Duration,
    /// For so many days what was expunged can be brought back; it is given up a day later, so that nothing is lost that
    /// was still listed a moment ago. With 0 it is given up at once. May change at each opening.
    pub undelete_days: u16,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
    /// A way to break the store on purpose; builds of the server have only the one that breaks nothing.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

/// Ways to break the store on purpose, so that tests can show that they would notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[doc(hidden)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Groups are acknowledged and never synced.
    #[cfg(feature = "faults")]
    NoSync,
    /// Groups are acknowledged first, synced then.
    #[cfg(feature = "faults")]
    AckBeforeSync,
    /// No checksum is compared, of groups or of bodies.
    #[cfg(feature = "faults")]
    NoCrc,
    /// A torn group at the end of the log stays there.
    #[cfg(feature = "faults")]
    TailNotCut,
    /// Rot is taken for a torn end: nobody looks for what lies behind it, nor asks who knew it, and it is cut.
    #[cfg(feature = "faults")]
    RotCut,
    /// Compaction goes by counts: every other delivery counts as dead.
    #[cfg(feature = "faults")]
    LivenessFromCounters,
    /// Compaction asks mailboxes only: messages that lines of books name count as dead.
    #[cfg(feature = "faults")]
    LivenessWithoutBooks,
    /// After a loss everything goes on as before.
    #[cfg(feature = "faults")]
    NoEpoch,
    /// A snapshot is not read back, older ones go all the same, and whoever starts from it looks at no checksum.
    #[cfg(feature = "faults")]
    SnapshotNotVerified,
    /// A snapshot leaves out what vanished from mailboxes.
    #[cfg(feature = "faults")]
    SnapshotWithoutVanished,
    /// While a backup copies files, they may go.
    #[cfg(feature = "faults")]
    BackupWithoutHold,
    /// The names of a backup's files are not durable when its manifest is.
    #[cfg(feature = "faults")]
    BackupNamesNotSynced,
}

#[cfg(feature = "faults")]
impl Sabotage {
    pub(crate) fn no_sync(self) -> bool {
        self == Sabotage::NoSync
    }
    pub(crate) fn ack_before_sync(self) -> bool {
        self == Sabotage::AckBeforeSync
    }
    pub(crate) fn no_crc(self) -> bool {
        self == Sabotage::NoCrc
    }
    pub(crate) fn tail_not_cut(self) -> bool {
        self == Sabotage::TailNotCut
    }
    pub(crate) fn rot_cut(self) -> bool {
        self == Sabotage::RotCut
    }
    pub(crate) fn liveness_from_counters(self) -> bool {
        self == Sabotage::LivenessFromCounters
    }
    pub(crate) fn liveness_without_books(self) -> bool {
        self == Sabotage::LivenessWithoutBooks
    }
    pub(crate) fn no_epoch(self) -> bool {
        self == Sabotage::NoEpoch
    }
    pub(crate) fn snapshot_not_verified(self) -> bool {
        self == Sabotage::SnapshotNotVerified
    }
    pub(crate) fn snapshot_without_vanished(self) -> bool {
        self == Sabotage::SnapshotWithoutVanished
    }
    pub(crate) fn backup_without_hold(self) -> bool {
        self == Sabotage::BackupWithoutHold
    }
    pub(crate) fn backup_names_not_synced(self) -> bool {
        self == Sabotage::BackupNamesNotSynced
    }
}

#[cfg(not(feature = "faults"))]
impl Sabotage {
    pub(crate) const fn no_sync(self) -> bool {
        false
    }
    pub(crate) const fn ack_before_sync(self) -> bool {
        false
    }
    pub(crate) const fn no_crc(self) -> bool {
        false
    }
    pub(crate) const fn tail_not_cut(self) -> bool {
        false
    }
    pub(crate) const fn rot_cut(self) -> bool {
        false
    }
    pub(crate) const fn liveness_from_counters(self) -> bool {
        false
    }
    pub(crate) const fn liveness_without_books(self) -> bool {
        false
    }
    pub(crate) const fn no_epoch(self) -> bool {
        false
    }
    pub(crate) const fn snapshot_not_verified(self) -> bool {
        false
    }
    pub(crate) const fn snapshot_without_vanished(self) -> bool {
        false
    }
    pub(crate) const fn backup_without_hold(self) -> bool {
        false
    }
    pub(crate) const fn backup_names_not_synced(self) -> bool {
        false
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            segment: 64 << 20,
            side_above: 256 << 10,
            ahead: 256 << 10,
            memory_bodies: 32 << 20,
            group_commits: 256,
            group_octets: 4 << 20,
            overlay: 16 << 20,
            apply_every: Duration::from_millis(200),
            apply_octets: 4 << 20,
            resident_rows: 200_000,
            reserve: 512 << 20,
            reserve_percent: 3,
            snapshot_commits: 100_000,
            snapshot_octets: 256 << 20,
            snapshot_at_close: 1_000,
            compact_octets: 64 << 20,
            compact_every: Duration::from_secs(600),
            undelete_days: 14,
            lock_wait: Duration::from_secs(30),
            sabotage: Sabotage::None,
        }
    }
}

/// What [`crate::Store::open`] needs.
#[derive(Clone)]
pub struct Options {
    /// The disk; its root is the data directory.
    pub vfs: Arc<dyn Vfs>,
    /// Makes and opens the index.
    pub index: Arc<dyn IndexHost>,
    /// Makes digests.
    pub derive: Arc<dyn Derive>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for the epoch's secret.
    pub random: Random,
    /// Told what takes long.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
    /// Called once, from any thread, when the index has failed: the process should end with status 75 and be started
    /// again, which rebuilds it. Commits go on until then.
    pub condemned: Arc<dyn Fn(&str) + Send + Sync>,
    /// Identifies this boot of the machine (`/proc/sys/kernel/random/boot_id`); `None` where there is no such thing.
    pub boot_id: Option<String>,
    /// Sizes and times.
    pub tuning: Tuning,
    /// Whether committer and applier run on threads of their own. Tests that step by hand say no.
    pub threads: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("vfs", &self.vfs)
            .field("tuning", &self.tuning)
            .finish_non_exhaustive()
    }
}
