//! What the store's threads and its readers share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backup::hold::Holds;
use crate::commit::queue::Queue;
use crate::commit::writer::Prepared;
use crate::compact::Compaction;
use crate::digest::Digests;
use crate::id::UnixTime;
use crate::index::{IndexError, state};
use crate::options::{Clock, Options, Tuning};
use crate::retention::Retention;
use crate::segment::{Epoch, Files};
use crate::side;
use crate::snapshot::schedule::Schedule;
use crate::spool::SpoolError;
use crate::state::world::World;
use crate::vfs::{Lock, Vfs};
use crate::watch::Watches;

/// The index's directory.
pub(crate) const INDEX: &str = "index";
/// A jump of the clock beyond this freezes what destroys.
const JUMP: Duration = Duration::from_secs(3600);
/// For so long.
const FREEZE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) commits: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) failed_groups: AtomicU64,
    pub(crate) log_octets: AtomicU64,
    pub(crate) side_octets: AtomicU64,
    pub(crate) last_sync_ns: AtomicU64,
    pub(crate) overlay_waits: AtomicU64,
    pub(crate) free: AtomicU64,
    /// Octets that must be free for new mail.
    pub(crate) wanted: AtomicU64,
    /// Octets of expunged messages that cannot be brought back any more.
    pub(crate) forgotten_octets: AtomicU64,
}

#[derive(Debug, Default)]
struct Call {
    wake: bool,
    stop: bool,
}

/// Wall and monotonic clock when last looked at, and until when destroying is frozen.
#[derive(Debug, Default)]
struct Watched {
    last: Option<(UnixTime, Duration)>,
    frozen_until: Option<Duration>,
}

pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tuning: Tuning,
    pub(crate) store: u128,
    pub(crate) epoch: Epoch,
    pub(crate) files: Files,
    pub(crate) world: World,
    pub(crate) watches: Watches,
    pub(crate) queue: Queue,
    pub(crate) stats: Stats,
    pub(crate) memory_bodies: Arc<AtomicUsize>,
    pub(crate) digests: Digests,
    pub(crate) snapshots: Schedule,
    /// Nobody holds the store any more: what takes long need not be finished.
    pub(crate) abandoned: AtomicBool,
    pub(crate) compaction: Compaction,
    pub(crate) holds: Holds,
    pub(crate) low_space: AtomicBool,
    pub(crate) read_only: AtomicBool,
    pub(crate) closed: AtomicBool,
    prepared: Mutex<Prepared>,
    /// Counts the segments made ahead of need, for their names.
    pub(crate) prepared_names: AtomicU64,
    condemned: Mutex<Option<String>>,
    on_condemned: Arc<dyn Fn(&str) + Send + Sync>,
    time: Mutex<Watched>,
    retention: Mutex<Retention>,
    call: Mutex<Call>,
    called: Condvar,
    /// Told when the index has caught up a little.
    applied: Condvar,
    applied_lock: Mutex<()>,
    pub(crate) threads: bool,
    held: Mutex<Option<Box<dyn Lock>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("vfs", &self.vfs).field("stats", &self.stats).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        options: &Options,
        store: u128,
        epoch: Epoch,
        files: Files,
        world: World,
        held: Box<dyn Lock>,
    ) -> Shared {
        Shared {
            vfs: options.vfs.clone(),
            clock: options.clock.clone(),
            tuning: options.tuning.clone(),
            store,
            epoch,
            files,
            world,
            watches: Watches::default(),
            queue: Queue::default(),
            stats: Stats { free: AtomicU64::new(u64::MAX), ..Stats::default() },
            memory_bodies: Arc::default(),
            digests: Digests::new(options.vfs.clone(), options.derive.clone()),
            snapshots: Schedule::default(),
            abandoned: AtomicBool::new(false),
            compaction: Compaction::default(),
            holds: Holds::default(),
            low_space: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            prepared: Mutex::default(),
            prepared_names: AtomicU64::new(0),
            condemned: Mutex::default(),
            on_condemned: options.condemned.clone(),
            time: Mutex::default(),
            retention: Mutex::default(),
            call: Mutex::default(),
            called: Condvar::new(),
            applied: Condvar::new(),
            applied_lock: Mutex::new(()),
            threads: options.threads,
            held: Mutex::new(Some(held)),
        }
    }

    pub(crate) fn prepared(&self) -> MutexGuard<'_, Prepared> {
        lock(&self.prepared)
    }

    pub(crate) fn retention(&self) -> MutexGuard<'_, Retention> {
        lock(&self.retention)
    }

    /// Removes the segments that were made ahead of need.
    pub(crate) fn release_prepared(&self) {
        let mut prepared = self.prepared();
        for (path, _, _) in [prepared.next.take(), prepared.emergency.take()].into_iter().flatten() {
            // The next start removes it otherwise.
            let _ = self.vfs.remove_file(&path);
        }
    }

    /// Everything is to come to its end, or has.
    pub(crate) fn stopping(&self) -> bool {
        self.compaction.stopped()
            || self.abandoned.load(Ordering::Relaxed)
            || self.closed.load(Ordering::Relaxed)
    }

    /// Gives the lock back.
    pub(crate) fn unlock(&self) {
        lock(&self.held).take();
    }

    /// The index has failed: it is never used again, and the process should end.
    pub(crate) fn condemn(&self, why: &str) {
        {
            let mut condemned = lock(&self.condemned);
            if condemned.is_some() {
                return;
            }
            *condemned = Some(why.to_owned());
        }
        // That this cannot be written leaves the position row and the blocks' CRCs to tell.
        let _ = state::condemn(&*self.vfs, INDEX, why);
        // Whoever waits for the index must not wait any longer.
        self.tell_applied();
        (self.on_condemned)(why);
    }

    pub(crate) fn condemned(&self) -> Option<String> {
        lock(&self.condemned).clone()
    }

    /// An index error on the way to a reader: if the index has failed, that is known from now on.
    pub(crate) fn index_failed(&self, error: IndexError) -> IndexError {
        if let IndexError::Condemned(why) = &error {
            self.condemn(why);
        }
        error
    }

    /// The time of a group: never before that of the one before. Looks out for jumps of the clock.
    pub(crate) fn group_time(&self, previous: UnixTime) -> UnixTime {
        let (wall, monotonic) = (self.clock.wall(), self.clock.monotonic());
        let mut time = lock(&self.time);
        if let Some((last_wall, last_monotonic)) = time.last {
            let passed = monotonic.saturating_sub(last_monotonic).as_secs();
            let shown = wall.secs.saturating_sub(last_wall.secs);
            if shown.saturating_sub_unsigned(passed).unsigned_abs() > JUMP.as_secs() {
                time.frozen_until = Some(monotonic + FREEZE);
            }
        }
        time.last = Some((wall, monotonic));
        wall.max(previous)
    }

    /// Destroying things is frozen for a day: the clock cannot be believed.
    pub(crate) fn freeze(&self) {
        lock(&self.time).frozen_until = Some(self.clock.monotonic() + FREEZE);
    }

    pub(crate) fn frozen(&self) -> bool {
        self.frozen_for() > Duration::ZERO
    }

    /// How long it stays so.
    pub(crate) fn frozen_for(&self) -> Duration {
        let until = lock(&self.time).frozen_until;
        until.map_or(Duration::ZERO, |until| until.saturating_sub(self.clock.monotonic()))
    }

    /// The clock is right, whatever it did. Says whether anything was frozen.
    pub(crate) fn thaw(&self) -> bool {
        let was = self.frozen();
        lock(&self.time).frozen_until = None;
        was
    }

    /// A side segment for a new body.
    pub(crate) fn side_writer(&self) -> Result<side::Writer, SpoolError> {
        if self.low_space.load(Ordering::Relaxed) {
            return Err(SpoolError::Full);
        }
        let number = self.files.next_number()?;
        Ok(side::Writer::new(self.vfs.clone(), number, self.store)?)
    }

    /// Looks at the free space, and decides whether new mail is still taken.
    pub(crate) fn look_at_space(&self) {
        let Ok(space) = self.vfs.free_space() else { return };
        self.stats.free.store(space.free, Ordering::Relaxed);
        let percent = space.total / 100 * u64::from(self.tuning.reserve_percent);
        let wanted = self.tuning.reserve.max(percent);
        self.stats.wanted.store(wanted, Ordering::Relaxed);
        let low = space.free < wanted;
        self.low_space.store(low, Ordering::Relaxed);
    }

    // ---- committer and applier ------------------------------------------------------------------------------------

    pub(crate) fn wake_applier(&self) {
        lock(&self.call).wake = true;
        self.called.notify_one();
    }

    pub(crate) fn stop_applier(&self) {
        lock(&self.call).stop = true;
        self.called.notify_one();
    }

    /// The applier's rest: until it is called or the time is up. Says whether it is to stop.
    pub(crate) fn rest(&self, most: Duration) -> bool {
        let call = lock(&self.call);
        let idle = |call: &mut Call| !call.wake && !call.stop;
        let (mut call, _) =
            self.called.wait_timeout_while(call, most, idle).unwrap_or_else(PoisonError::into_inner);
        call.wake = false;
        call.stop
    }

    /// After a publication: the applier is called when there is much, or when it sleeps.
    pub(crate) fn published_something(&self) {
        if self.threads && self.world.read().dirty.octets >= self.tuning.apply_octets {
            self.wake_applier();
        }
    }

    fn overlay(&self) -> usize {
        let published = self.world.read();
        published.dirty.octets + published.in_flight
    }

    /// Whether a commit need not wait for the index.
    pub(crate) fn has_room_in_overlay(&self) -> bool {
        !self.threads || self.overlay() <= self.tuning.overlay
    }

    /// The one case in which a commit waits for the index: too much of what is published is not in it.
    pub(crate) fn wait_for_overlay(&self) {
        if self.has_room_in_overlay() {
            return;
        }
        self.stats.overlay_waits.fetch_add(1, Ordering::Relaxed);
        self.wake_applier();
        let mut guard = lock(&self.applied_lock);
        while self.overlay() > self.tuning.overlay && self.condemned().is_none() && !lock(&self.call).stop {
            let waited = self.applied.wait_timeout(guard, Duration::from_millis(100));
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn tell_applied(&self) {
        drop(lock(&self.applied_lock));
        self.applied.notify_all();
    }

    /// Octets published and not yet in the index.
    pub(crate) fn overlay_octets(&self) -> u64 {
        self.overlay() as u64
    }
}

/// Something that was being done when the disk failed.
pub(crate) fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> crate::OpenError {
    let what = what.into();
    move |error| crate::OpenError::Io { what, error }
}
