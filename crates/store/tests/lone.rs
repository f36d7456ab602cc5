//! Callers that write their own groups: alone and together, in order and visible; and what becomes of the others when
//! such a writer panics, waits for ever so long, or is at work while the store is closed.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::*;
use store::vfs::{File, Lock, Open, Space, Vfs};
use store::{
    Batch, Came, Clock, Commit, CommitError, Intent, MailboxId, Mode, Outcome, RealVfs, Store, UnixTime,
};
use wire::flag::FlagNames;
use wire::ids::Uid;

type Hook = Arc<dyn Fn() + Send + Sync>;

/// What a test has to do with the disk: who synced the log, and something to be done at the next fdatasync.
#[derive(Default)]
struct Watched {
    syncs: Mutex<Vec<ThreadId>>,
    next: Mutex<Option<Hook>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

/// A real disk that tells of each fdatasync of the log.
#[derive(Debug)]
struct WatchedVfs(RealVfs, Arc<Watched>);
#[derive(Debug)]
struct WatchedFile(Arc<dyn File>, Arc<Watched>);

impl Vfs for WatchedVfs {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.0.open(path, how)?;
        let log = path.starts_with("log/") || path.ends_with(".seg");
        Ok(if log { Arc::new(WatchedFile(file, Arc::clone(&self.1))) } else { file })
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn exists(&self, path: &str) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn len(&self, path: &str) -> io::Result<u64> {
        self.0.len(path)
    }
    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }
    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        self.0.remove_dir_all(dir)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn free_space(&self) -> io::Result<Space> {
        self.0.free_space()
    }
    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }
    fn real_path(&self) -> Option<&Path> {
        self.0.real_path()
    }
}

impl File for WatchedFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.write_at(slices, offset)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.0.preallocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.syncs.lock().unwrap().push(thread::current().id());
        let hook = self.1.next.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn data_after(&self, offset: u64) -> io::Result<Option<u64>> {
        self.0.data_after(offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

impl Watched {
    /// At the next fdatasync of the log, on the thread that does it.
    fn at_next_sync(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.next.lock().unwrap() = Some(Arc::new(hook));
    }

    /// Holds the next fdatasync: the first end tells that it has come there, the second lets it go on.
    fn hold(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (come, came) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let gone = Mutex::new(gone);
        self.at_next_sync(move || {
            come.send(()).unwrap();
            gone.lock().unwrap().recv().unwrap();
        });
        (came, go)
    }

    fn syncs_by(&self, thread: ThreadId) -> usize {
        self.syncs.lock().unwrap().iter().filter(|id| **id == thread).count()
    }
}

/// A clock by which every write is quick.
#[derive(Debug)]
struct Standing;

impl Clock for Standing {
    fn wall(&self) -> UnixTime {
        UnixTime { secs: 1_800_000_000, nanos: 0 }
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct Place {
    dir: tempfile::TempDir,
    store: Store,
    watched: Arc<Watched>,
    mailbox: MailboxId,
}

/// A store with an account, that may write on its callers' threads, and whose own thread has nothing to do.
fn place_told(slow: impl Fn() + Send + Sync + 'static) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let watched = Arc::new(Watched::default());
    let (store, _) = open_with(dir.path(), |o| {
        o.vfs = Arc::new(WatchedVfs(RealVfs::new(dir.path()), Arc::clone(&watched)));
        o.clock = Arc::new(Standing);
    });
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    store.lend_threads(slow);
    // The store's thread answers before it has quite finished.
    let domain = |n| Batch::of(Intent::AddDomain { name: format!("{n}.example") });
    (0..).find(|n| {
        let commit = store.commit_here(domain(*n));
        let here = commit.ready().is_some();
        commit.wait().unwrap();
        here
    });
    Place { dir, store, watched, mailbox }
}

fn place() -> Place {
    place_told(|| {})
}

impl Place {
    fn message(&self, n: u32) -> Batch {
        let mut batch = Batch::new();
        let body = batch.body(body(n));
        let (prefix, flags) = (prefix(n), FlagNames::default());
        batch.push(Intent::Append { mailbox: self.mailbox, body, prefix, flags, date: None });
        batch
    }

    fn here(&self, n: u32) -> Commit {
        self.store.commit_here(self.message(n))
    }

    /// What is in the mailbox after another start, in the order of UIDs, and how the index was found.
    fn reopened(self) -> (Vec<Vec<u8>>, Came) {
        let Place { dir, store, mailbox, .. } = self;
        drop(store);
        let (store, opening) = open(dir.path());
        assert!(opening.rot.is_empty(), "{opening:?}");
        let rows: Vec<_> = store.view(mailbox).unwrap().rows().collect();
        let messages = store.messages(&rows).map(|(_, m)| m.unwrap().to_vec().unwrap()).collect();
        (messages, opening.came)
    }
}

fn uid_of(commit: Commit) -> (u64, Uid) {
    let done = commit.wait().unwrap();
    match done.outcomes[..] {
        [Outcome::Placed { uid, .. }] => (done.at.0, uid),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_alone_writes_on_its_own_thread() {
    let place = place();
    let me = thread::current().id();
    let before = place.watched.syncs_by(me);
    for n in 0..20 {
        let commit = place.here(n);
        assert!(commit.ready().is_some(), "it is answered when the call returns");
        let (_, uid) = uid_of(commit);
        let row = place.store.view(place.mailbox).unwrap().row(uid).unwrap();
        assert_eq!(read(&place.store, &row), served(n));
    }
    assert_eq!(place.watched.syncs_by(me), before + 20);
    // Whoever does not want to wait never does.
    place.store.commit(place.message(20)).wait().unwrap();
    assert_eq!(place.watched.syncs_by(me), before + 20);
    place.store.close().unwrap();
    let (messages, came) = place.reopened();
    assert_eq!(messages, (0..=20).map(served).collect::<Vec<_>>());
    assert_eq!(came, Came::Clean);
}

#[test]
fn no_thread_is_used_that_was_not_lent() {
    let dir = tempfile::tempdir().unwrap();
    let watched = Arc::new(Watched::default());
    let (store, _) = open_with(dir.path(), |o| {
        o.vfs = Arc::new(WatchedVfs(RealVfs::new(dir.path()), Arc::clone(&watched)));
    });
    let before = watched.syncs_by(thread::current().id());
    for name in ["one.example", "two.example"] {
        store.commit_here(Batch::of(Intent::AddDomain { name: name.into() })).wait().unwrap();
    }
    assert_eq!(watched.syncs_by(thread::current().id()), before);
}

#[test]
fn alone_and_together_nothing_is_lost_or_out_of_order() {
    const THREADS: u32 = 6;
    let place = place();
    let barrier = Barrier::new(THREADS as usize);
    let newest = AtomicU64::new(0);
    let placed: BTreeMap<Uid, u32> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                let (place, barrier, newest) = (&place, &barrier, &newest);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    let mut last = 0;
                    for round in 0..12u32 {
                        // All at once; then one after another, each alone for a while.
                        for turn in [None, Some(round % THREADS)] {
                            barrier.wait();
                            if turn.is_some_and(|turn| turn != t) {
                                continue;
                            }
                            for i in 0..8 {
                                let n = t * 10_000 + round * 100 + mine.len() as u32 % 100;
                                let here = !(n + i).is_multiple_of(4);
                                let seen = newest.load(Ordering::SeqCst);
                                let commit =
                                    if here { place.here(n) } else { place.store.commit(place.message(n)) };
                                let (at, uid) = uid_of(commit);
                                assert!(at > last && at > seen, "{at} after {last} and {seen}");
                                last = at;
                                newest.fetch_max(at, Ordering::SeqCst);
                                let view = place.store.view(place.mailbox).unwrap();
                                assert_eq!(read(&place.store, &view.row(uid).unwrap()), served(n));
                                mine.push((uid, n));
                            }
                        }
                    }
                    assert!(mine.is_sorted());
                    mine
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(placed.len(), (THREADS * 12 * 8 + 12 * 8) as usize);
    let theirs = place.watched.syncs.lock().unwrap().len();
    let health = place.store.health();
    assert!(health.groups < health.commits && theirs > 0, "{health:?}");
    let (messages, _) = place.reopened();
    assert_eq!(messages, placed.values().map(|n| served(*n)).collect::<Vec<_>>());
}

#[test]
fn what_is_asked_for_while_one_writes_alone_is_written_after_it() {
    let place = place();
    let (came, go) = place.watched.hold();
    thread::scope(|scope| {
        let lone = scope.spawn(|| uid_of(place.here(0)));
        came.recv().unwrap();
        // Neither can write now: both wait their turn, and nobody blocks.
        let queued: Vec<Commit> = (1..40)
            .map(|n| if n % 2 == 0 { place.here(n) } else { place.store.commit(place.message(n)) })
            .collect();
        assert!(queued.iter().all(|commit| commit.ready().is_none()));
        assert_eq!(place.store.view(place.mailbox).unwrap().rows().count(), 0, "not before the fdatasync");
        go.send(()).unwrap();
        let first = lone.join().unwrap();
        let mut all = vec![first];
        all.extend(queued.into_iter().map(uid_of));
        assert!(all.is_sorted() && all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
    });
    let (messages, _) = place.reopened();
    assert_eq!(messages, (0..40).map(served).collect::<Vec<_>>());
}

#[test]
fn a_new_segment_is_no_hindrance() {
    let place = place();
    // Segments of 1 MiB.
    let many = 700;
    for n in 0..many {
        uid_of(place.here(n));
    }
    let segments = std::fs::read_dir(place.dir.path().join("log")).unwrap().count();
    assert!(segments > 2, "{segments}");
    let (messages, _) = place.reopened();
    assert_eq!(messages, (0..many).map(served).collect::<Vec<_>>());
}

#[test]
fn a_panic_while_one_writes_alone_ends_writing_and_nobody_waits_for_ever() {
    let place = place();
    uid_of(place.here(0));
    let (come, came) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    place.watched.at_next_sync(move || {
        come.send(()).unwrap();
        gone.lock().unwrap().recv().unwrap();
        panic!("a panic, as asked");
    });
    thread::scope(|scope| {
        let lone = scope.spawn(|| place.here(1).wait());
        came.recv().unwrap();
        let queued = [place.store.commit(place.message(2)), place.here(3)];
        go.send(()).unwrap();
        assert_eq!(lone.join().unwrap(), Err(CommitError::Broken), "the caller does not panic");
        for commit in queued {
            assert_eq!(commit.wait(), Err(CommitError::Broken));
        }
    });
    assert_eq!(place.store.health().mode, Mode::ReadOnly);
    assert!(place.here(4).wait().is_err() && place.store.commit(place.message(5)).wait().is_err());
    let view = place.store.view(place.mailbox).unwrap();
    assert_eq!(view.rows().count(), 1, "what was acknowledged is read");
    let _ = place.store.close();
    let (messages, _) = place.reopened();
    // The group was written, only not synced: its commit was answered with Broken and may be there.
    assert!(messages == [served(0)] || messages == [served(0), served(1)], "{}", messages.len());
}

#[test]
fn a_close_waits_for_one_who_writes_alone() {
    let place = place();
    let (came, go) = place.watched.hold();
    thread::scope(|scope| {
        let lone = scope.spawn(|| uid_of(place.here(0)));
        came.recv().unwrap();
        let queued = place.here(1);
        let closer = scope.spawn(|| place.store.close());
        // The close has begun once nothing more is taken; what was taken before is all that may be written.
        let mut taken = Vec::new();
        loop {
            let commit = place.here(2 + taken.len() as u32);
            if commit.ready() == Some(Err(CommitError::Closed)) {
                break;
            }
            taken.push(commit);
            thread::yield_now();
        }
        assert!(!closer.is_finished() && queued.ready().is_none());
        go.send(()).unwrap();
        lone.join().unwrap();
        closer.join().unwrap().unwrap();
        uid_of(queued);
        for commit in taken {
            uid_of(commit);
        }
    });
    assert_eq!(place.store.health().mode, Mode::Closed);
    let (messages, came) = place.reopened();
    assert_eq!(messages, (0..messages.len() as u32).map(served).collect::<Vec<_>>());
    assert!(messages.len() >= 2);
    assert_eq!(came, Came::Clean, "the index was closed with the log's last group in it");
}

#[test]
fn a_slow_write_is_told_while_it_lasts() {
    let (tell, told) = mpsc::channel();
    let place = place_told(move || tell.send(thread::current().id()).unwrap());
    // It ends only when somebody else has noticed it.
    let (told, me) = (Mutex::new(told), thread::current().id());
    place.watched.at_next_sync(move || while told.lock().unwrap().recv().unwrap() == me {});
    assert!(place.here(0).ready().unwrap().is_ok());
}
