//! Backups: copies of a store in another directory, made while it serves, and the way back.
//!
//! A backup directory holds what several backups share. `manifest` is what one of them consists of, `hold` keeps the
//! store's files in place meanwhile, `list` says which files belong to a position of the log, `known` which of
//! them are in the directory already, `copy` copies what is new,
//! `tree` shows a backup as the data directory that it came from, `verify` reads everything again, `restore` writes it
//! back. Files that a manifest names are never changed: the log's last segment, which grows, is kept in pieces.
//!
//! ```text
//! PENFOLD-BACKUP                          what this directory is, for programs and people
//! MANIFEST-20270115T080000Z-000042        one a backup, written last
//! log/00000007.seg.0-262144               a piece of a segment of the log
//! log/00000003.g2, log/00000012.side      compacted segments, large messages
//! snapshot/..., tls/..., config.toml
//! UNFINISHED, tmp/, lock                  of a run under way or interrupted
//! readers                                 a lock that is shared by those who read
//! ```
//!
//! SHA-256 is an argument ([`Sums`]): this crate has no cryptography. It must not decide what a store starts from
//! (`crate::open`), and never writes into the data directory that it copies.

mod copy;
pub(crate) mod hold;
mod known;
mod list;
pub(crate) mod manifest;
mod pace;
mod pump;
mod restore;
mod tree;
mod verify;

use std::io;
use std::sync::Arc;

use crate::OpenError;
use crate::reader::Reached;
use crate::snapshot::SnapshotError;
use crate::vfs::Vfs;

pub(crate) use copy::copy;
pub use manifest::Manifest;
pub use restore::Restored;
pub use tree::{Backups, FoundManifest, Joined};
pub use verify::{Checked, Newest, Verified};

/// How a manifest's name begins.
const MANIFEST: &str = "MANIFEST-";
/// Says what a directory is.
const ABOUT: &str = "PENFOLD-BACKUP";
/// What a run has copied that has no manifest yet.
const UNFINISHED: &str = "UNFINISHED";
/// Files on their way to their names.
const TMP: &str = "tmp";
const LOCK: &str = "lock";
/// Held together by those who read backups: as long as there is one, no manifest goes. A run that would remove some
/// leaves that to the next one, so that neither ever waits for the other.
const READERS: &str = "readers";
/// Directories of a backup, and of what a restore writes.
const DIRS: [&str; 3] = [crate::segment::DIR, crate::snapshot::DIR, "tls"];

/// SHA-256 being computed.
pub trait Summing: Send {
    /// More octets.
    fn update(&mut self, octets: &[u8]);
    /// The sum of all of them.
    fn finish(self: Box<Self>) -> [u8; 32];
}

/// Begins a SHA-256.
pub type Sums = Arc<dyn Fn() -> Box<dyn Summing> + Send + Sync>;

/// A small file that belongs into a backup and is not the store's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// `config.toml`, or a name below `tls/` of letters, digits, `.`, `_`, `~` and `-`.
    pub path: String,
    /// What is in it.
    pub octets: Vec<u8>,
}

/// How far a backup, a verification or a restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupProgress {
    /// Files done.
    pub files: u64,
    /// Octets done...
    pub done: u64,
    /// ...of so many.
    pub total: u64,
}

/// Told now and then how far it is; says whether to go on.
pub type Watch<'a> = &'a mut dyn FnMut(&BackupProgress) -> bool;

/// Where a backup goes, and how.
pub struct BackupTo<'a> {
    /// The backup directory, which need not exist.
    pub vfs: Arc<dyn Vfs>,
    /// SHA-256.
    pub sums: Sums,
    /// So many backups are kept: the newest. At least one.
    pub keep: usize,
    /// What else belongs into it.
    pub extras: Vec<Extra>,
    /// Told how far it is.
    pub watch: Watch<'a>,
}

impl std::fmt::Debug for BackupTo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupTo").field("vfs", &self.vfs).field("keep", &self.keep).finish_non_exhaustive()
    }
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backed {
    /// Its manifest's file.
    pub manifest: String,
    /// What it holds: the log up to here.
    pub reached: Reached,
    /// Files of this backup...
    pub files: u64,
    /// ...and their octets.
    pub octets: u64,
    /// Files that were copied, because no backup had them...
    pub new_files: u64,
    /// ...and their octets.
    pub new_octets: u64,
    /// Backups that went, because there were more than were to be kept.
    pub removed: Vec<String>,
    /// Octets of files that went because no backup needs them any more.
    pub removed_octets: u64,
    /// What an operator should read: files that are missing in the store, manifests that are damaged.
    pub warnings: Vec<String>,
}

/// Why there is no backup, or no restore.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory holds something else.
    #[error("it is not a backup directory: {0}")]
    NotABackup(String),
    /// It holds the backups of another store.
    #[error("it holds the backups of another store")]
    OfAnotherStore,
    /// Another process writes there.
    #[error("another backup or restore is under way there{}", .holder.map(|p| format!(" (process {p})")).unwrap_or_default())]
    Busy {
        /// Its process id, if it says so.
        holder: Option<u32>,
    },
    /// A file of the backup is not what was written.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The file, in the backup.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A restore overwrites nothing.
    #[error("the data directory is not empty: there is {0}")]
    NotEmpty(String),
    /// The one who watches said so, or the store was closed.
    #[error("it was stopped")]
    Stopped,
    /// There is no snapshot, and none can be made.
    #[error("the store makes no snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// A backup's log cannot be read.
    #[error("the backup cannot be read as a store: {0}")]
    Log(#[from] OpenError),
    /// What is read cannot be.
    #[error("{what} cannot be read: {error}")]
    Read {
        /// The file or directory.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// What is written cannot be.
    #[error("{what} cannot be written: {error}")]
    Write {
        /// The file or directory.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

fn reading(what: impl Into<String>) -> impl FnOnce(io::Error) -> BackupError {
    let what = what.into();
    move |error| BackupError::Read { what, error }
}

fn writing(what: impl Into<String>) -> impl FnOnce(io::Error) -> BackupError {
    let what = what.into();
    move |error| BackupError::Write { what, error }
}

fn sum_of(sums: &Sums, octets: &[u8]) -> [u8; 32] {
    let mut sum = sums();
    sum.update(octets);
    sum.finish()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Lower-case only: a sum has one form.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut octets = [0; 32];
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != 64 {
        return None;
    }
    for (to, pair) in octets.iter_mut().zip(pairs) {
        *to = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(octets)
}

/// Takes the lock of a directory that is being written.
fn lock(vfs: &dyn Vfs) -> Result<Box<dyn crate::vfs::Lock>, BackupError> {
    vfs.lock(LOCK).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => BackupError::Busy { holder: vfs.lock_holder(LOCK) },
        _ => BackupError::Write { what: LOCK.into(), error },
    })
}

/// The names in a directory; none if it is not there.
fn names(vfs: &dyn Vfs, dir: &str) -> io::Result<Vec<String>> {
    match vfs.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn remove(vfs: &dyn Vfs, path: &str) -> Result<(), BackupError> {
    match vfs.remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(writing(path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use siphasher::sip128::{Hasher128 as _, SipHasher24};

    use super::*;

    /// No SHA-256, but 32 octets that tell octets apart.
    struct Sip(SipHasher24);

    impl Summing for Sip {
        fn update(&mut self, octets: &[u8]) {
            self.0.write(octets);
        }
        fn finish(self: Box<Self>) -> [u8; 32] {
            let half = self.0.finish128().as_u128().to_le_bytes();
            let mut sum = [0; 32];
            sum[..16].copy_from_slice(&half);
            sum[16..].copy_from_slice(&half);
            sum
        }
    }

    pub(super) fn sums() -> Sums {
        Arc::new(|| Box::new(Sip(SipHasher24::new())))
    }
}
