//! Opens the store, with the world it may touch: the real disk, sled, this host's clocks and randomness.

use std::fs::{DirBuilder, DirEntry, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::Mode;
use store::index::guard::{Guard, Patience};
use store::index::sled::SledHost;
use store::vfs::Vfs as _;
use store::{OpenError, Opening, Options, Progress, RealVfs, Store, Tuning, UnixTime};

use super::Error;
use crate::clock;

/// With less than this free nothing is begun anew: an index that failed for want of room would fail again.
const ROOM: u64 = 64 << 20;
/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Lies in a data directory that was restored, or made of what was salvaged, until all that waited to be sent is held:
/// whoever opens it first, and whatever becomes of that process.
const HOLD: &str = "hold";
/// The store's own word for such a directory, which it forgets as it opens.
const RESTORED: &str = "restored";

/// What is told when the index fails: from any thread, once.
pub type Condemned = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Debug)]
struct HostClock;

impl store::Clock for HostClock {
    fn wall(&self) -> UnixTime {
        let now = clock::wall();
        UnixTime { secs: now.seconds, nanos: now.nanos }
    }
    fn monotonic(&self) -> Duration {
        clock::monotonic()
    }
}

/// Opens the store in `directory`, making it if it is not there. Blocks: after a power cut the log is read again.
///
/// # Errors
/// `Locked` after `lock_wait`, or what the store found.
pub fn open(
    directory: &Path,
    undelete_days: u16,
    lock_wait: Duration,
    condemned: Condemned,
) -> Result<(Store, Opening), Error> {
    private(directory)?;
    let vfs = Arc::new(RealVfs::new(directory));
    let marked =
        |error| Error::Io { what: "what was restored cannot be marked to be held".into(), why: error };
    if vfs.exists(RESTORED).map_err(marked)? {
        vfs.replace(HOLD, b"all that waits to be sent\n").map_err(marked)?;
    }
    let sled = Arc::new(sled(directory));
    let options = Options {
        // sled may panic on a damaged file, or hang: the guard makes both a reason to start again and rebuild it.
        index: Arc::new(Guard::new(sled, vfs.clone(), Patience::default(), condemned.clone())),
        vfs: vfs.clone(),
        derive: Arc::new(crate::mime::Deriver),
        clock: Arc::new(HostClock),
        random: Arc::new(random),
        progress: Arc::new(progress),
        condemned,
        boot_id: boot_id(),
        tuning: Tuning { undelete_days, lock_wait, ..Tuning::default() },
        threads: true,
    };
    let opened = Store::open(options).map_err(|why| match why {
        store::OpenError::Locked { holder } => Error::Locked { directory: directory.to_owned(), holder },
        why => Error::Store { directory: directory.to_owned(), why },
    })?;
    if vfs.exists(HOLD).map_err(marked)? {
        super::outbound::hold_what_was_restored(&opened.0)?;
        // One that comes back after a power cut holds what waits then: a person releases it again.
        vfs.remove_file(HOLD).map_err(marked)?;
    }
    close_to_others(directory);
    Ok(opened)
}

/// The index's database of a data directory.
pub(super) fn sled(directory: &Path) -> SledHost {
    SledHost::new(directory)
}

/// What stands in a data directory.
const OURS: [&str; 11] = [
    "digest",
    "hold",
    "index",
    "index.new",
    "lock",
    "log",
    "restored",
    "restoring",
    "snapshot",
    "tls",
    "tmp",
];

/// A data directory that somebody else had made may be open to others. It is closed only if nothing else is in it: who
/// names /srv or a home by mistake shall not find that closed.
fn close_to_others(directory: &Path) {
    let Ok(found) = std::fs::metadata(directory) else { return };
    let mode = found.permissions().mode();
    if mode & 0o077 == 0 {
        return;
    }
    let ours =
        |entry: io::Result<DirEntry>| entry.is_ok_and(|e| OURS.iter().any(|name| e.file_name() == *name));
    let closed = match std::fs::read_dir(directory).map(|mut entries| entries.all(ours)) {
        Ok(true) => std::fs::set_permissions(directory, Permissions::from_mode(mode & 0o700)),
        Ok(false) => Err(io::Error::other("something else is in it")),
        Err(error) => Err(error),
    };
    let (shown, was) = (directory.display(), format!("{:o}", mode & 0o7777));
    match closed {
        Ok(()) => tracing::warn!(directory = %shown, was, "other users could look into it: now they cannot"),
        Err(why) => {
            tracing::warn!(directory = %shown, was, %why, "OTHER USERS CAN LOOK INTO IT: chmod 700 it")
        }
    }
}

/// As [`open`], but a full disk is waited for instead of failing: when space returns, so does service.
pub(super) fn open_with_room(
    directory: &Path,
    undelete_days: u16,
    lock_wait: Duration,
    condemned: Condemned,
) -> Result<(Store, Opening), Error> {
    let opened = Arc::new(AtomicBool::new(false));
    let condemned: Condemned = {
        let (opened, directory) = (opened.clone(), directory.to_owned());
        // What fails while it opens, for want of room, is tried again here.
        Arc::new(move |why| {
            if opened.load(Ordering::Relaxed) || has_room(&directory) {
                condemned(why);
            }
        })
    };
    loop {
        match open(directory, undelete_days, lock_wait, condemned.clone()) {
            Err(Error::Store { why: why @ (OpenError::Io { .. } | OpenError::Index(_)), .. })
                if !has_room(directory) =>
            {
                tracing::error!(%why, "the disk is full: the store is opened when there is room again");
                wait_for_room(directory);
            }
            other => {
                opened.store(true, Ordering::Relaxed);
                return other;
            }
        }
    }
}

/// Whether the file system of the data directory has room for an index. One that does not tell is believed to.
pub fn has_room(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).map_or(true, |found| found.f_bavail.saturating_mul(found.f_frsize) >= ROOM)
}

/// Waits until [`has_room`]. Blocks.
pub fn wait_for_room(directory: &Path) {
    while !has_room(directory) {
        std::thread::sleep(LOOK);
    }
}

/// Makes the directory, and sees to it that what is written from here on is for this user alone.
pub(super) fn private(directory: &Path) -> Result<(), Error> {
    rustix::process::umask(Mode::from_raw_mode(0o077));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| Error::Store {
        directory: directory.to_owned(),
        why: store::OpenError::Io { what: "it cannot be made".into(), error },
    })
}

/// Tells how opening went, in one line, and each damage in its own.
pub(super) fn log_opening(directory: &Path, opening: &Opening) {
    let directory = directory.display();
    let (groups, messages) = (opening.groups, opening.rows);
    match &opening.came {
        store::Came::Rebuilt { why } => {
            let snapshot = opening.snapshot.as_deref();
            tracing::warn!(%directory, why, snapshot, groups, messages, "store open: its index was rebuilt");
        }
        came => tracing::info!(%directory, ?came, groups, messages, "store open"),
    }
    if let Some(copy) = &opening.torn {
        tracing::warn!(copy, "the log's last group was not whole: nobody had been told that it was kept");
    }
    for rot in &opening.rot {
        let (file, offset, octets, what) = (&rot.file, rot.offset, rot.octets, &rot.what);
        tracing::error!(file, offset, octets, what, "the log is damaged here: look at the disk");
    }
    if let Some(why) = opening.renewed.as_ref().filter(|_| opening.restored) {
        tracing::warn!(
            why,
            "every mailbox has a new UIDVALIDITY, so mail programs will fetch everything again; what came after the \
             backup is not there"
        );
    } else if let Some(why) = &opening.renewed {
        tracing::error!(
            why,
            "part of the mail that was taken may be lost: restore it from a backup if there is one. Every mailbox has a \
             new UIDVALIDITY, so mail programs will fetch everything again"
        );
    }
    for bad in &opening.bad_snapshots {
        let (file, what) = (&bad.file, &bad.what);
        tracing::warn!(file, what, "a snapshot is of no use: nothing is lost by it, but look at the disk");
    }
    for file in &opening.missing_bodies {
        tracing::error!(file, "a file with messages is missing: restore it from a backup");
    }
}

fn random(out: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "without randomness there is no secret to begin an epoch with")]
    aws_lc_rs::rand::fill(out).expect("the system gives randomness");
}

fn progress(progress: Progress) {
    match progress {
        Progress::Waiting { holder } => {
            tracing::warn!(holder, "another process holds the data directory: waiting")
        }
        Progress::Replaying { done, total } => tracing::info!(done, total, "reading the log again"),
        Progress::Indexing { rows } => tracing::info!(rows, "building the index"),
    }
}

/// Tells a process that was killed from a power cut: only then the page cache is as it was.
pub(super) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}
