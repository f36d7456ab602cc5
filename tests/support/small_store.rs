//! A store for the unit tests of several rooms: real files in a directory, small segments, a clock that stands still.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store::index::sled::SledHost;
use store::vfs::Vfs;
use store::{NoDigest, Options, RealVfs, Store, Tuning, UnixTime};

struct NoTime;

impl store::Clock for NoTime {
    fn wall(&self) -> UnixTime {
        UnixTime { secs: 1_000_000, nanos: 0 }
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Opens it.
pub(crate) fn open(dir: &Path) -> Store {
    open_with(dir, 0)
}

/// Opens it, with so many octets of the disk kept from new mail.
pub(crate) fn open_with(dir: &Path, reserve: u64) -> Store {
    open_on(dir, Arc::new(RealVfs::new(dir)), reserve)
}

/// Opens it on a disk that may fail.
pub(crate) fn open_on(dir: &Path, vfs: Arc<dyn Vfs>, reserve: u64) -> Store {
    let options = Options {
        vfs,
        index: Arc::new(SledHost::new(dir)),
        derive: Arc::new(NoDigest),
        clock: Arc::new(NoTime),
        random: Arc::new(|out| out.fill(7)),
        progress: Arc::new(|_| {}),
        condemned: Arc::new(|_| {}),
        boot_id: None,
        tuning: Tuning { segment: 1 << 20, reserve, reserve_percent: 0, ..Tuning::default() },
        threads: true,
    };
    Store::open(options).unwrap().0
}
