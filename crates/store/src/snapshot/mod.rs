//! Snapshots: everything that is true at one position of the log, without reading the log up to it.
//!
//! Truth, unlike the index: `snapshot/SEQ.snap` holds all that a replay up to group SEQ would give. `format` is what its
//! file holds, `write` and `read` the file, `make` fills it from the index, `load` gives it back, `schedule` says when.
//! A snapshot is made in `tmp/`, synced, renamed, and read back before anything relies on it. The two newest good ones
//! are kept; older ones go only when there are two. It must not decide what a store starts from: that is `crate::open`.

pub(crate) mod format;
pub(crate) mod load;
pub(crate) mod make;
pub(crate) mod read;
pub(crate) mod schedule;
pub(crate) mod write;

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use wire::ids::ModSeq;

use crate::id::UnixTime;
use crate::index::IndexError;
use crate::vfs::Vfs;
use format::First;
use read::Flaw;

/// The directory.
pub(crate) const DIR: &str = "snapshot";

/// A snapshot that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its file, in the data directory.
    pub file: String,
    /// It holds what is true right after the group of this number.
    pub seq: u64,
    /// The last commit in it.
    pub commit: ModSeq,
    /// The time of that group.
    pub time: UnixTime,
    /// Messages in all mailboxes.
    pub rows: u64,
    /// Octets of its file.
    pub octets: u64,
    /// How long making it took, reading it back included; `None` if an earlier process made it.
    pub took: Option<Duration>,
}

impl Snapshot {
    pub(crate) fn of(file: String, first: &First, octets: u64) -> Snapshot {
        let p = &first.position;
        Snapshot { file, seq: p.seq, commit: p.commit, time: p.time, rows: first.rows, octets, took: None }
    }
}

/// A snapshot on which nothing can rely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSnapshot {
    /// Its file, in the data directory.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// Why no snapshot was made. The store is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// There is no room for it.
    #[error("there is too little room for a snapshot")]
    Full,
    /// The store was closed meanwhile.
    #[error("the store is closed")]
    Closed,
    /// It was written, and is something else when read back: look at the disk.
    #[error("the snapshot was bad when it was read back: {0}")]
    Bad(String),
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(String),
    /// The index failed; the next start rebuilds it.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> SnapshotError {
        if crate::commit::writer::out_of_space(&error) {
            return SnapshotError::Full;
        }
        SnapshotError::Io(error.to_string())
    }
}

impl From<Flaw> for SnapshotError {
    fn from(flaw: Flaw) -> SnapshotError {
        match flaw {
            Flaw::Io(error) => error.into(),
            other => SnapshotError::Bad(other.to_string()),
        }
    }
}

/// Where the snapshot of a group is.
pub(crate) fn path_of(seq: u64) -> String {
    format!("{DIR}/{seq:016x}.snap")
}

pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let seq = name.strip_suffix(".snap").filter(|seq| seq.len() == 16)?;
    let seq = u64::from_str_radix(seq, 16).ok()?;
    (path_of(seq).strip_prefix(DIR)?.strip_prefix('/')? == name).then_some(seq)
}

/// The groups of which there are snapshots, rising; good or bad.
pub(crate) fn list(vfs: &dyn Vfs) -> io::Result<Vec<u64>> {
    match vfs.list(DIR) {
        Ok(names) => {
            let mut found: Vec<u64> = names.iter().filter_map(|name| parse_name(name)).collect();
            found.sort_unstable();
            Ok(found)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}
