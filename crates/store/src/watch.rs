//! Waking those who wait for a change: a level (the newest mod-sequence), not a queue.
//!
//! A watch cannot miss anything and holds nothing back: whoever is woken asks what changed. Wakers are std's, so that any
//! executor will do.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use wire::ids::ModSeq;

use crate::id::{AccountId, MailboxId};

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Mailbox(MailboxId),
    Account(AccountId),
}

#[derive(Debug, Default)]
struct Point {
    level: AtomicU64,
    wakers: Mutex<HashMap<u64, Waker>>,
    next: AtomicU64,
}

/// Every place that someone watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    points: Mutex<HashMap<Place, Weak<Point>>>,
}

/// A lock whose holder panicked protects nothing that a panic could have left half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watches {
    /// A watch of a place that is at `level()` now; the level is read after the watch is known, so that no change
    /// falls between.
    pub(crate) fn watch(&self, place: Place, level: impl FnOnce() -> ModSeq) -> Watch {
        let point = {
            let mut points = lock(&self.points);
            match points.get(&place).and_then(Weak::upgrade) {
                Some(point) => point,
                None => {
                    if points.len() >= 64 && points.len().is_power_of_two() {
                        points.retain(|_, p| p.strong_count() > 0);
                    }
                    let point = Arc::new(Point::default());
                    points.insert(place, Arc::downgrade(&point));
                    point
                }
            }
        };
        let key = point.next.fetch_add(1, Ordering::Relaxed);
        let now = level();
        point.level.fetch_max(now.0, Ordering::SeqCst);
        Watch { seen: point.level.load(Ordering::SeqCst), key, point }
    }

    /// Raises a place's level and wakes whoever waits there.
    pub(crate) fn raise(&self, place: Place, to: ModSeq) {
        let point = lock(&self.points).get(&place).and_then(Weak::upgrade);
        let Some(point) = point else { return };
        point.level.fetch_max(to.0, Ordering::SeqCst);
        let wakers: Vec<Waker> = lock(&point.wakers).drain().map(|(_, w)| w).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Waits for changes of one mailbox or one account.
#[derive(Debug)]
pub struct Watch {
    point: Arc<Point>,
    seen: u64,
    key: u64,
}

impl Watch {
    /// Completes when something changed that this watch has not told yet, and says the newest mod-sequence. It may be
    /// dropped and called again at any time.
    pub fn changed(&mut self) -> Changed<'_> {
        Changed { watch: self }
    }

    /// The newest mod-sequence, without waiting; a later `changed` still tells it.
    #[must_use]
    pub fn newest(&self) -> ModSeq {
        ModSeq(self.point.level.load(Ordering::SeqCst))
    }

    /// Takes everything up to `upto` as known, so that `changed` completes only for what is newer.
    pub fn saw(&mut self, upto: ModSeq) {
        self.seen = self.seen.max(upto.0);
    }

    /// As [`Future::poll`] of `changed`, for those who hold the watch themselves.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<ModSeq> {
        if let Some(level) = self.take() {
            return Poll::Ready(level);
        }
        lock(&self.point.wakers).insert(self.key, cx.waker().clone());
        // It may have been raised before the waker was in its place.
        match self.take() {
            Some(level) => Poll::Ready(level),
            None => Poll::Pending,
        }
    }

    fn take(&mut self) -> Option<ModSeq> {
        let level = self.point.level.load(Ordering::SeqCst);
        (level > self.seen).then(|| {
            self.seen = level;
            ModSeq(level)
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.point.wakers).remove(&self.key);
    }
}

/// See [`Watch::changed`].
#[derive(Debug)]
pub struct Changed<'a> {
    watch: &'a mut Watch,
}

impl Future for Changed<'_> {
    type Output = ModSeq;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ModSeq> {
        self.watch.poll_changed(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Count(AtomicU64);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_watch_tells_each_level_once_and_wakes_for_the_next() {
        let watches = Watches::default();
        let place = Place::Mailbox(MailboxId(1));
        let mut watch = watches.watch(place, || ModSeq(5));
        let count = Arc::new(Count(AtomicU64::new(0)));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        assert_eq!(watch.poll_changed(&mut cx), Poll::Pending);
        watches.raise(Place::Mailbox(MailboxId(2)), ModSeq(6));
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        watches.raise(place, ModSeq(7));
        watches.raise(place, ModSeq(8));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(watch.poll_changed(&mut cx), Poll::Ready(ModSeq(8)));
        assert_eq!(watch.poll_changed(&mut cx), Poll::Pending);
        watch.saw(ModSeq(9));
        watches.raise(place, ModSeq(9));
        assert_eq!(watch.poll_changed(&mut cx), Poll::Pending);
    }
}
