//! The store's face: what the server calls. Each method is documented here; the work is done in the rooms below.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wire::ids::ModSeq;

use crate::applier;
use crate::backup::{self, Backed, BackupError, BackupTo};
use crate::commit::Commit;
use crate::commit::committer::Committer;
use crate::commit::seat::Seat;
use crate::compact;
use crate::compact::work::Work;
use crate::health::{Health, Mode};
use crate::id::{AccountId, MailboxId};
use crate::index::state::{self, Left, State};
use crate::intent::{Batch, CommitError};
use crate::open::{self, OpenError, Opening};
use crate::options::Options;
use crate::read::{self, Message, Messages, ReadError};
use crate::retained::{RetainedFilter, RetainedMessages};
use crate::retention;
use crate::shared::{INDEX, Shared};
use crate::snapshot::{self, Snapshot, SnapshotError, load, path_of};
use crate::spool::{Body, Spool, SpoolError, Spooled};
use crate::state::block::Row;
use crate::state::directory::Directory;
use crate::state::mailbox::{Head, Mailbox};
use crate::state::usage::Usage;
use crate::state::view::{Changes, View};
use crate::watch::{Place, Watch};

/// An open store. Clones are the same store.
///
/// When the last clone is dropped without [`Store::close`], everything stops where it is, as if the process had died.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// After so many new ones, no older snapshot is kept.
const SNAPSHOTS: usize = 3;

/// Committer, applier and compactor, in this order.
const THREADS: usize = 3;

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    seat: Arc<Seat>,
    /// When no threads run: the compactor, to be stepped by hand.
    compactor: Mutex<Work>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.abandon(&CommitError::Closed);
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.shared.compaction.stop();
        self.shared.stop_applier();
        self.join();
    }
}

impl Inner {
    fn join_committer(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() == THREADS {
            let _ = threads.remove(0).join();
        }
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has answered through `Request`'s drop.
            let _ = thread.join();
        }
    }
}

fn start(shared: &Arc<Shared>, seat: &Arc<Seat>) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let failed = |error| OpenError::Io { what: "starting a thread".into(), error };
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let theirs = seat.clone();
    let commits = named("store-commit").spawn(move || {
        let seat = theirs;
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| seat.run())).is_err() {
            seat.broken();
        }
    });
    let theirs = shared.clone();
    let applies = named("store-apply").spawn(move || {
        let shared = theirs;
        let run = std::panic::AssertUnwindSafe(|| applier::run(&shared));
        if std::panic::catch_unwind(run).is_err() {
            shared.condemn("the applier panicked");
        }
    });
    let theirs = shared.clone();
    let compacts = named("store-compact").spawn(move || {
        let shared = theirs;
        // It changes nothing that is published: what it does not do costs space.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| compact::run(&shared)));
    });
    Ok(vec![commits.map_err(failed)?, applies.map_err(failed)?, compacts.map_err(failed)?])
}

impl Store {
    /// Opens the store, making it if the directory is empty, and says how that went.
    pub fn open(options: Options) -> Result<(Store, Opening), OpenError> {
        let (shared, writer, opening) = open::open(&options)?;
        let seat = Arc::new(Seat::new(shared.clone(), Committer::new(writer)));
        let threads = if options.threads { start(&shared, &seat)? } else { Vec::new() };
        let inner = Inner { shared, threads: Mutex::new(threads), seat, compactor: Mutex::default() };
        Ok((Store { inner: Arc::new(inner) }, opening))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Asks for a batch. The answer comes when it is on disk and visible to every reader, or refused.
    ///
    /// Does not block, but for bodies of more than [`crate::Tuning::side_above`] given as plain octets.
    #[must_use = "the answer says whether it is on disk"]
    pub fn commit(&self, mut batch: Batch) -> Commit {
        match self.put_bodies_aside(&mut batch) {
            Ok(()) => self.shared().queue.push(batch),
            Err(error) => Commit::refused(error),
        }
    }

    /// As [`Store::commit`], but once [`Store::lend_threads`] was called it may block: while nobody else commits and the
    /// disk is quick, the caller's thread writes the group itself, and the answer is there when this returns. No other
    /// thread is woken for it then. One caller at a time can block so.
    #[must_use = "the answer says whether it is on disk"]
    pub fn commit_here(&self, mut batch: Batch) -> Commit {
        match self.put_bodies_aside(&mut batch) {
            Ok(()) => self.inner.seat.commit(batch),
            Err(error) => Commit::refused(error),
        }
    }

    /// From now on [`Store::commit_here`] may use its callers' threads to write. `slow` is called, from another thread,
    /// when one of them has been at the disk for some milliseconds, so that whoever it was lent by can see to what it
    /// should be doing otherwise. The first call counts.
    pub fn lend_threads(&self, slow: impl Fn() + Send + Sync + 'static) {
        self.inner.seat.lookout.tell(Box::new(slow));
    }

    fn put_bodies_aside(&self, batch: &mut Batch) -> Result<(), CommitError> {
        let put = batch.bodies.iter_mut().try_for_each(|body| self.put_aside(body));
        put.map_err(|error| match error {
            SpoolError::Full => CommitError::Full,
            SpoolError::TooLarge => CommitError::Refused(crate::Refused::Limit("the message is too large")),
            SpoolError::Io(_) => CommitError::Broken,
        })
    }

    /// Gives a body in memory that is too large for a group a segment of its own.
    fn put_aside(&self, body: &mut Spooled) -> Result<(), SpoolError> {
        let Body::Memory { octets, .. } = &body.body else { return Ok(()) };
        if octets.len() <= self.shared().tuning.side_above {
            return Ok(());
        }
        let mut spool = self.spool();
        spool.push(octets)?;
        *body = spool.finish()?;
        Ok(())
    }

    /// Domains, accounts, addresses, mailboxes' names, as they are now.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.shared().world.read().directory.clone()
    }

    /// A mailbox's counts and numbers. Never touches the disk.
    #[must_use]
    pub fn head(&self, id: MailboxId) -> Option<Head> {
        self.shared().world.read().mailboxes.get(&id).map(|m| m.head)
    }

    /// What an account holds in all its mailboxes. Never touches the disk.
    #[must_use]
    pub fn usage(&self, id: AccountId) -> Usage {
        self.shared().world.read().totals.get(id)
    }

    fn mailbox(&self, id: MailboxId) -> Result<Arc<Mailbox>, ReadError> {
        let shared = self.shared();
        let found = shared.world.resident(id).map_err(|e| shared.index_failed(e))?;
        found.ok_or(ReadError::NoSuchMailbox)
    }

    /// A mailbox as it is now. Reads the index (some milliseconds, blocking) when its rows are not in memory.
    pub fn view(&self, id: MailboxId) -> Result<View, ReadError> {
        Ok(View::of(&*self.mailbox(id)?))
    }

    /// What happened to a mailbox after a mod-sequence. Costs what changed, not what is there.
    pub fn changes_since(&self, id: MailboxId, since: ModSeq) -> Result<Changes, ReadError> {
        Ok(View::of(&*self.mailbox(id)?).changes_since(since))
    }

    /// A message's octets. Reads the disk; a small message whole, a large one only where it is looked at.
    pub fn message(&self, row: &Row) -> Result<Message, ReadError> {
        read::read(&self.shared().files, row)
    }

    /// Several messages' octets, in the order given; neighbours in the log are read together, about 1 MiB at a time.
    #[must_use]
    pub fn messages<'a>(&'a self, rows: &'a [Row]) -> Messages<'a> {
        Messages::new(&self.shared().files, rows)
    }

    /// Messages that can be brought back with [`crate::Intent::Undelete`], newest first (by the time when they went).
    /// Take as many as are wanted: what is not reached is not loaded. Blocks on the index.
    pub fn retained(&self, filter: &RetainedFilter) -> Result<RetainedMessages<'_>, ReadError> {
        RetainedMessages::new(self.shared(), filter)
    }

    /// A message's digest, as [`crate::Derive`] made it at its arrival, or makes it now.
    pub fn digest(&self, row: &Row) -> Result<Arc<[u8]>, ReadError> {
        if let Some(kept) = self.shared().digests.get(row.content) {
            return Ok(kept);
        }
        let mut message = self.message(row)?;
        self.shared().digests.get_or_derive(row.content, &mut message)
    }

    /// A string that names a mailbox's message for ever, whatever is rebuilt or restored (POP3 UIDL, RFC 1939 s.7):
    /// 1 to 70 octets of printable ASCII.
    #[must_use]
    pub fn unique_id(&self, mailbox: MailboxId, row: &Row) -> String {
        self.shared().files.unique_id(mailbox, row)
    }

    /// Waits for changes of a mailbox.
    #[must_use]
    pub fn watch(&self, id: MailboxId) -> Watch {
        let level = || self.head(id).map_or(ModSeq(0), |h| h.highest_modseq);
        self.shared().watches.watch(Place::Mailbox(id), level)
    }

    /// Waits for changes of an account: its password, addresses, mailboxes' names, its removal.
    #[must_use]
    pub fn watch_account(&self, id: AccountId) -> Watch {
        self.shared().watches.watch(Place::Account(id), || self.shared().world.read().position.commit)
    }

    /// Begins to take a body.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool::new(self.shared().clone())
    }

    /// Makes a snapshot of everything that has been acknowledged up to now, reads it back, and says which one it is. Blocks
    /// meanwhile; commits go on.
    ///
    /// # Errors
    /// See [`SnapshotError`]; the store is as it was.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let shared = self.shared();
        let alive = || shared.condemned().is_none() && !shared.closed.load(Ordering::Relaxed);
        if !alive() {
            return Err(SnapshotError::Closed);
        }
        let number = shared.snapshots.ask();
        if shared.threads {
            shared.wake_applier();
        } else {
            applier::step(shared)?;
        }
        shared.snapshots.wait(number, alive)
    }

    /// Copies what belongs to everything acknowledged up to now into a backup directory, as far as no backup there has it
    /// yet. Blocks meanwhile; commits go on, compaction waits.
    ///
    /// # Errors
    /// See [`BackupError`]; earlier backups are as they were, and the next run need not copy again what this one did.
    pub fn backup(&self, to: &mut BackupTo<'_>) -> Result<Backed, BackupError> {
        let shared = self.shared();
        if shared.stopping() {
            return Err(BackupError::Stopped);
        }
        backup::copy(shared, to, &mut || Ok(self.snapshot().map(drop)?))
    }

    /// Makes snapshots until every one that is kept is good. For a store that nobody uses otherwise.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn renew_snapshots(&self) -> Result<(), SnapshotError> {
        let vfs = &*self.shared().vfs;
        for _ in 0..SNAPSHOTS {
            let is_bad = |&seq: &u64| load::verify(vfs, &path_of(seq)).is_err();
            if !snapshot::list(vfs)?.iter().any(is_bad) {
                break;
            }
            // Two snapshots of one group are one: something that changes nothing comes between them.
            let nothing = self.commit(Batch { forget: Some(0), ..Batch::default() });
            while nothing.ready().is_none() && self.step_commit() {}
            let _ = nothing.wait();
            self.snapshot()?;
        }
        Ok(())
    }

    /// The clock is right although it jumped: what was expunged long ago is given up again. Says whether it was frozen.
    pub fn accept_clock(&self) -> bool {
        self.shared().thaw()
    }

    /// How the store is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = self.shared();
        let stats = &shared.stats;
        let mode = if shared.closed.load(Ordering::Relaxed) {
            Mode::Closed
        } else if shared.read_only.load(Ordering::Relaxed) {
            Mode::ReadOnly
        } else if shared.low_space.load(Ordering::Relaxed) {
            Mode::LowSpace
        } else {
            Mode::Serving
        };
        let snapshots = shared.snapshots.known();
        let compaction = shared.compaction.figures();
        let rows = |m: &Arc<Mailbox>| m.rows.as_ref().map_or(0, |r| u64::from(r.table.len()));
        Health {
            mode,
            condemned: shared.condemned(),
            commits: stats.commits.load(Ordering::Relaxed),
            refused: stats.refused.load(Ordering::Relaxed),
            groups: stats.groups.load(Ordering::Relaxed),
            failed_groups: stats.failed_groups.load(Ordering::Relaxed),
            log_octets: stats.log_octets.load(Ordering::Relaxed),
            side_octets: stats.side_octets.load(Ordering::Relaxed),
            last_sync: Duration::from_nanos(stats.last_sync_ns.load(Ordering::Relaxed)),
            overlay_waits: stats.overlay_waits.load(Ordering::Relaxed),
            overlay: shared.overlay_octets(),
            memory_bodies: shared.memory_bodies.load(Ordering::Relaxed) as u64,
            resident_rows: shared.world.read().mailboxes.values().map(rows).sum(),
            compacted_segments: compaction.segments,
            compacted_octets: compaction.octets,
            compaction_failed: compaction.failed,
            free: Some(stats.free.load(Ordering::Relaxed)).filter(|&free| free != u64::MAX),
            wanted: stats.wanted.load(Ordering::Relaxed),
            disk_errors: shared.files.troubles.list(),
            time_frozen: shared.frozen(),
            frozen_for: shared.frozen_for(),
            snapshot: snapshots.last,
            snapshot_failed: snapshots.failed,
            bad_snapshots: snapshots.bad,
        }
    }

    /// Does one step of the committer: checks, writes, publishes and answers one group. Says whether there was any.
    /// Only for a store that was opened without threads.
    pub fn step_commit(&self) -> bool {
        !self.shared().threads && self.inner.seat.step()
    }

    /// Does one step of the applier: one batch for the index, the digests that wait, segments ahead of need. Says whether
    /// the index was given anything. Only for a store that was opened without threads.
    pub fn step_apply(&self) -> bool {
        let shared = self.shared();
        if shared.threads || shared.condemned().is_some() {
            return false;
        }
        let applied = applier::step(shared).unwrap_or(false);
        if shared.condemned().is_none() {
            retention::look(shared, applied);
        }
        applier::prepare(shared);
        shared.look_at_space();
        applied
    }

    /// Does one step of the compactor: looks at the newest snapshot, rewrites one segment, or removes what is given up. Says
    /// whether there may be more. Only for a store that was opened without threads.
    pub fn step_compact(&self) -> bool {
        let shared = self.shared();
        if shared.threads {
            return false;
        }
        let mut work = self.inner.compactor.lock().unwrap_or_else(PoisonError::into_inner);
        compact::step(shared, &mut work).unwrap_or(false)
    }

    /// Closes cleanly: what was asked for before is done, later batches are [`CommitError::Closed`]. Other clones keep
    /// reading what they hold.
    pub fn close(&self) -> Result<(), CommitError> {
        let shared = self.shared();
        shared.compaction.stop();
        shared.queue.close();
        // The committer's thread ends once its queue is empty. A caller may still be writing its own group: that is
        // waited for, and from then on nobody writes. The applier must not end before.
        self.inner.join_committer();
        self.inner.seat.finish();
        shared.stop_applier();
        self.inner.join();
        if shared.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        while shared.condemned().is_none() && applier::step(shared).map_err(|_| CommitError::Broken)? {}
        if shared.condemned().is_none() {
            applier::last_snapshot(shared).map_err(|_| CommitError::Broken)?;
        }
        shared.release_prepared();
        let index =
            shared.world.index().filter(|_| shared.condemned().is_none()).ok_or(CommitError::Broken)?;
        index.flush().and_then(|()| index.close()).map_err(|_| CommitError::Broken)?;
        let (position, counters) = {
            let published = shared.world.read();
            (published.position, published.counters)
        };
        let left = Left::Clean { seq: position.seq, chain: position.chain };
        let witness = open::witness(&position, &counters);
        open::sync_tree(&*shared.vfs, INDEX)
            .and_then(|()| {
                let state = State { store: shared.store, format: crate::keys::FORMAT, left, witness };
                state::write(&*shared.vfs, INDEX, &state)
            })
            .map_err(|_| CommitError::Broken)?;
        shared.unlock();
        Ok(())
    }
}
