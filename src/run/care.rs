//! Looking after a data directory that is not served here: verifying, mending what is derived, salvaging.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use store::salvage::{Pace, Tally};
use store::verify::{IndexAccess, Verified};
use store::{OpenError, RealVfs, Store};

use super::{Error, storage};
use crate::salvage::{Files, Format, Rebuild};

/// Nothing that was expunged is given up here, whatever the configuration says.
const KEEP: u16 = u16::MAX;
/// How long a command waits for the lock.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Reads everything in a data directory; told of octets read, of so many.
///
/// # Errors
/// There is no store.
pub fn verify(directory: &Path, progress: store::verify::Pace<'_>) -> Result<Verified, Error> {
    let host = storage::sled(directory);
    let boot_id = storage::boot_id();
    let access = IndexAccess { host: &host, boot_id: boot_id.as_deref() };
    let disk = Arc::new(RealVfs::new(directory));
    store::verify::verify(disk, Some(access), progress)
        .map_err(|why| Error::Store { directory: directory.to_owned(), why })
}

/// Makes what is derived anew: the index, digests, and a snapshot if one is bad. Nothing of the log is changed.
///
/// # Errors
/// A server runs on it, the store does not open, or the disk fails.
pub fn repair(directory: &Path) -> Result<(), Error> {
    if is_served(directory) {
        return Err(Error::Locked { directory: directory.to_owned(), holder: None });
    }
    let failed = |what: &str, why: io::Error| Error::Io { what: what.to_owned(), why };
    store::verify::forget_derived(&RealVfs::new(directory)).map_err(|e| failed("removing the index", e))?;
    let (store, _) = storage::open(directory, KEEP, LOCK_WAIT, Arc::new(|_| {}))?;
    let renewed = store.renew_snapshots();
    store.close().map_err(|e| failed("closing the store", io::Error::other(e)))?;
    renewed.map_err(|e| failed("making a snapshot", io::Error::other(e)))
}

/// Whether a server runs on a data directory. Nothing is written to find out.
#[must_use]
pub fn is_served(directory: &Path) -> bool {
    let Ok(lock) = File::open(directory.join("lock")) else { return false };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// What is made of what is salvaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// Files.
    Files(Format),
    /// A new store.
    Store,
}

/// Writes what can be read of a data directory into another, which is empty. Says what came out, and where the report is.
///
/// # Errors
/// The directory cannot be written, or a server runs on the ruined one.
pub fn salvage(
    from: &Path,
    to: &Path,
    into: Into,
    progress: &(dyn Fn(Pace) + Sync),
) -> Result<(Tally, PathBuf), Error> {
    if is_served(from) {
        return Err(Error::Locked { directory: from.to_owned(), holder: None });
    }
    let failed = |why: io::Error| Error::Io { what: format!("writing to {}", to.display()), why };
    storage::private(to)?;
    let disk = Arc::new(RealVfs::new(from));
    let (tally, report) = match into {
        Into::Files(format) => {
            let mut files = Files::new(to, format).map_err(failed)?;
            let tally = store::salvage::salvage(disk, progress, &mut files).map_err(failed)?;
            (tally, files.finish().map_err(failed)?)
        }
        Into::Store => {
            let (store, _): (Store, _) = storage::open(to, KEEP, LOCK_WAIT, Arc::new(|_| {}))?;
            let mut rebuild = Rebuild::new(store.clone(), to).map_err(failed)?;
            let tally = store::salvage::salvage(disk, progress, &mut rebuild).map_err(failed)?;
            let report = rebuild.finish().map_err(failed)?;
            store.close().map_err(|e| failed(io::Error::other(e)))?;
            // Whatever its numbers are: nobody may take them for those of the old one.
            store::salvage::mark_rebuilt(&RealVfs::new(to)).map_err(failed)?;
            (tally, report)
        }
    };
    Ok((tally, report.finish(from, &tally).map_err(failed)?))
}

impl Error {
    /// Whether there is no store at all.
    #[must_use]
    pub fn is_no_store(&self) -> bool {
        matches!(self, Error::Store { why: OpenError::NotAStore(_), .. })
    }
}
