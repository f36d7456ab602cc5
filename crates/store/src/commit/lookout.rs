//! Notices a write on a caller's thread that takes long, and says so.
//!
//! Such a thread is not the store's: while it waits for the disk, what else it was to do waits too. That is fine for the
//! fraction of a millisecond that a quick disk takes, and whoever lent the thread hears of it when it takes longer.
//! Nothing is told, and no clock is read, for each write: the committer's thread, which has nothing else to do then,
//! looks now and then, as long as there are such writes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often it is looked. A write that is seen twice is slow.
const TICK: Duration = Duration::from_millis(3);
/// Looks without any write after which nobody looks any more.
const REST: u32 = 40;

type Told = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(crate) struct Lookout {
    /// Told of slow writes; without it no thread is lent.
    told: OnceLock<Told>,
    /// Rises at the beginning and at the end of each write: odd while one is under way.
    writes: AtomicU64,
    /// Somebody looks.
    looked_at: AtomicBool,
}

impl std::fmt::Debug for Lookout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookout").field("writes", &self.writes).finish_non_exhaustive()
    }
}

/// A write under way; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Write<'a>(&'a Lookout);

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
    }
}

/// What the last look saw.
#[derive(Debug, Default)]
pub(crate) struct Look {
    writes: u64,
    same: u32,
}

impl Lookout {
    /// From now on threads are lent. The first who is to be told is told.
    pub(crate) fn tell(&self, told: Told) {
        let _ = self.told.set(told);
    }

    pub(crate) fn tells(&self) -> bool {
        self.told.get().is_some()
    }

    /// A write begins. Only one can be under way. Says whether somebody must be woken to look.
    pub(crate) fn begin(&self) -> (Write<'_>, bool) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        (Write(self), !self.looked_at.swap(true, Ordering::SeqCst))
    }

    /// How long to sleep until the next look; `None`: until woken.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.looked_at.load(Ordering::SeqCst).then_some(TICK)
    }

    /// Looks.
    pub(crate) fn look(&self, last: &mut Look) {
        let writes = self.writes.load(Ordering::SeqCst);
        if writes != last.writes {
            *last = Look { writes, same: 0 };
            return;
        }
        last.same += 1;
        if writes.is_multiple_of(2) {
            // A write that begins just now sees this, or is seen by the look after it.
            self.looked_at.store(last.same < REST, Ordering::SeqCst);
        } else if last.same == 1
            && let Some(told) = self.told.get()
        {
            told();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_write_that_is_seen_twice_is_told_once_and_looking_ends() {
        let lookout = Lookout::default();
        assert!(!lookout.tells() && lookout.pause().is_none());
        let told = Arc::new(AtomicU64::new(0));
        let count = told.clone();
        lookout.tell(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let mut last = Look::default();
        let (write, wake) = lookout.begin();
        assert!(wake && lookout.pause().is_some());
        lookout.look(&mut last);
        drop(write);
        // Another one: neither was seen twice.
        let (write, wake) = lookout.begin();
        assert!(!wake);
        lookout.look(&mut last);
        assert_eq!(told.load(Ordering::SeqCst), 0);
        (0..2 * REST).for_each(|_| lookout.look(&mut last));
        assert_eq!(told.load(Ordering::SeqCst), 1);
        assert!(lookout.pause().is_some(), "it is looked at as long as it lasts");
        drop(write);
        (0..=REST).for_each(|_| lookout.look(&mut last));
        assert!(lookout.pause().is_none());
        assert!(lookout.begin().1);
    }
}
