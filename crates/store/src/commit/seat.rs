//! The committer's seat: whoever sits in it writes groups, one at a time.
//!
//! Most groups are written by the store's own thread, which gathers what many ask for. A caller that is alone sits down
//! itself, if it may wait for the disk: being woken costs as much as a quick disk's fdatasync, and nobody needs waking
//! when the one who asks is the one who writes. The order is the queue's in both cases.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::Commit;
use super::committer::Committer;
use super::lookout::{Look, Lookout};
use super::queue::Found;
use crate::intent::{Batch, CommitError};
use crate::shared::Shared;

/// A caller writes its own group while the last write took less than this. Waking somebody costs little beside a
/// slower one, and then the caller's thread can do something else meanwhile.
const QUICK: Duration = Duration::from_millis(1);

/// Holds the committer while nobody uses it; nothing once it has panicked or the store is closed.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    committer: Mutex<Option<Committer>>,
    pub(crate) lookout: Lookout,
}

impl Seat {
    pub(crate) fn new(shared: Arc<Shared>, committer: Committer) -> Seat {
        Seat { shared, committer: Mutex::new(Some(committer)), lookout: Lookout::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Committer>> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's life.
    pub(crate) fn run(&self) {
        let queue = &self.shared.queue;
        let mut look = Look::default();
        loop {
            match queue.wait(self.lookout.pause()) {
                Found::Closed => return,
                Found::Nothing => {
                    self.lookout.look(&mut look);
                    continue;
                }
                Found::Work => {}
            }
            // While many write, those who were answered last are about to come again: a short wait, far below that of
            // the fdatasync it saves, keeps them in one group. Whoever is alone never waits.
            let (took, answered) = self.lock().as_ref().map_or((Duration::ZERO, 0), Committer::last);
            if answered > 1 {
                queue.gather(answered, took / 8);
            }
            self.shared.wait_for_overlay();
            self.step();
        }
    }

    /// Writes one group of what is asked for. Says whether there was anything.
    pub(crate) fn step(&self) -> bool {
        self.step_in(&mut self.lock())
    }

    fn step_in(&self, seat: &mut Option<Committer>) -> bool {
        let Some(committer) = seat else { return false };
        if let Ok(stepped) = catch_unwind(AssertUnwindSafe(|| committer.step())) {
            return stepped;
        }
        // Nobody knows what was being done: reading only, until the next start.
        *seat = None;
        self.broken();
        false
    }

    /// Nothing will be written any more; whoever waits is told.
    pub(crate) fn broken(&self) {
        self.shared.read_only.store(true, Ordering::Relaxed);
        self.shared.queue.abandon(&CommitError::Broken);
    }

    /// The committer, if a caller may use it now: nobody writes, nobody waits, and the last group was of one who was
    /// alone too. While several are at work, groups of many are what serves them best.
    fn free(&self) -> Option<MutexGuard<'_, Option<Committer>>> {
        if self.shared.threads && !self.lookout.tells() {
            return None;
        }
        let seat = match self.committer.try_lock() {
            Ok(seat) => seat,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let (took, answered) = seat.as_ref()?.last();
        (answered <= 1 && took < QUICK && self.shared.queue.is_empty() && self.shared.has_room_in_overlay())
            .then_some(seat)
    }

    /// As pushing the batch into the queue; when the seat is free, its group is written before this returns.
    pub(crate) fn commit(&self, batch: Batch) -> Commit {
        let queue = &self.shared.queue;
        let Some(mut seat) = self.free() else { return queue.push(batch) };
        let (commit, taken) = match queue.push_first(batch) {
            Ok(first) => first,
            Err(batch) => {
                drop(seat);
                return queue.push(batch);
            }
        };
        let (write, wake) = self.lookout.begin();
        if wake && self.shared.threads {
            queue.look();
        }
        // The first step may have done no more than open the segment in which the batch has room.
        while commit.ready().is_none() && self.step_in(&mut seat) {}
        drop(write);
        drop(seat);
        // What was asked for meanwhile, and did not come into that group, is the thread's.
        drop(taken);
        commit
    }

    /// Does what is still asked for; nobody writes after it. For a closed queue, whose thread has ended.
    pub(crate) fn finish(&self) {
        let mut seat = self.lock();
        while self.step_in(&mut seat) {}
        *seat = None;
    }
}
