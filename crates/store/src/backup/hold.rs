//! A hold: while somebody reads the files of the log one after another, none of them goes.
//!
//! Whatever removes files that a position of the log needs (the compactor, the retiring of snapshots) does so with
//! a [`Removing`]; there is none while there is a [`Hold`], and a hold waits for one that is under way.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Inner {
    held: u32,
    removing: u32,
}

/// Who holds, and who removes.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    inner: Mutex<Inner>,
    removed: Condvar,
}

/// Nothing is removed while this lives.
#[derive(Debug)]
pub(crate) struct Hold<'a>(&'a Holds);

/// Something may be removed while this lives.
#[derive(Debug)]
pub(crate) struct Removing<'a>(&'a Holds);

impl Holds {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a removal that is under way; the next one waits for us.
    pub(crate) fn hold(&self) -> Hold<'_> {
        let mut inner = self.lock();
        // First: whoever removes step after step would never let us in.
        inner.held += 1;
        drop(self.removed.wait_while(inner, |inner| inner.removing > 0));
        Hold(self)
    }

    /// Leave to remove something; `None` while anybody holds.
    pub(crate) fn remove(&self) -> Option<Removing<'_>> {
        let mut inner = self.lock();
        if inner.held > 0 {
            return None;
        }
        inner.removing += 1;
        Some(Removing(self))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.lock().held -= 1;
    }
}

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        self.0.lock().removing -= 1;
        self.0.removed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_waits_for_the_removal_under_way_and_lets_no_other_begin() {
        let holds = Holds::default();
        let removing = holds.remove().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(holds.hold()));
            while holds.lock().held == 0 {
                std::thread::yield_now();
            }
            assert!(holds.remove().is_none() && !waiting.is_finished());
            drop(removing);
            waiting.join().unwrap();
        });
        let (one, two) = (holds.hold(), holds.hold());
        drop(one);
        assert!(holds.remove().is_none());
        drop(two);
        assert!(holds.remove().is_some());
    }
}
