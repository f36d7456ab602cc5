//! The store's face: what the server calls. Each method is documented here; the work is done in the rooms below.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wire::ids::ModSeq;

use crate::applier;
use crate::commit::Commit;
use crate::commit::committer::Committer;
use crate::commit::seat::Seat;
use crate::health::{Health, Mode};
use crate::id::{AccountId, MailboxId};
use crate::index::state::{self, Left, State};
use crate::intent::{Batch, CommitError};
use crate::open::{self, OpenError, Opening};
use crate::options::Options;
use crate::read::{self, Message, Messages, ReadError};
use crate::shared::{INDEX, Shared};
use crate::spool::{Body, Spool, SpoolError, Spooled};
use crate::state::block::Row;
use crate::state::directory::Directory;
use crate::state::mailbox::{Head, Mailbox};
use crate::state::view::{Changes, View};
use crate::watch::{Place, Watch};

/// An open store. Clones are the same store.
///
/// When the last clone is dropped without [`Store::close`], everything stops where it is, as if the process had died.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    seat: Arc<Seat>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.abandon(&CommitError::Closed);
        self.shared.stop_applier();
        self.join();
    }
}

impl Inner {
    fn join_committer(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() == 2 {
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
    Ok(vec![commits.map_err(failed)?, applies.map_err(failed)?])
}

impl Store {
    /// Opens the store, making it if the directory is empty, and says how that went.
    pub fn open(options: Options) -> Result<(Store, Opening), OpenError> {
        let (shared, writer, opening) = open::open(&options)?;
        let seat = Arc::new(Seat::new(shared.clone(), Committer::new(writer)));
        let threads = if options.threads { start(&shared, &seat)? } else { Vec::new() };
        let inner = Inner { shared, threads: Mutex::new(threads), seat };
        Ok((Store { inner: Arc::new(inner) }, opening))
    }

    fn shared(&self) -> &Arc<Shared> {
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
        let tag = self.shared().files.tag_of(row.content.segment);
        format!("{tag:08x}.{:x}.{:x}", mailbox.0, row.uid.get())
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
            free: Some(stats.free.load(Ordering::Relaxed)).filter(|&free| free != u64::MAX),
            time_frozen: shared.frozen(),
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
        applier::prepare(shared);
        shared.look_at_space();
        applied
    }

    /// Closes cleanly: what was asked for before is done, later batches are [`CommitError::Closed`]. Other clones keep
    /// reading what they hold.
    pub fn close(&self) -> Result<(), CommitError> {
        let shared = self.shared();
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
        shared.release_prepared();
        let index =
            shared.world.index().filter(|_| shared.condemned().is_none()).ok_or(CommitError::Broken)?;
        index.flush().and_then(|()| index.close()).map_err(|_| CommitError::Broken)?;
        let position = shared.world.read().position;
        let left = Left::Clean { seq: position.seq, chain: position.chain };
        open::sync_tree(&*shared.vfs, INDEX)
            .and_then(|()| {
                let state = State { store: shared.store, format: crate::keys::FORMAT, left };
                state::write(&*shared.vfs, INDEX, &state)
            })
            .map_err(|_| CommitError::Broken)?;
        shared.unlock();
        Ok(())
    }
}
