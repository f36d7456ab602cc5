//! When snapshots are made, who waits for one, and what is known of the last.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{BadSnapshot, Snapshot, SnapshotError};
use crate::options::Tuning;
use crate::state::world::Position;

/// After a failure, so many parts of the usual time pass before the next try.
const SOONER: u64 = 16;
/// How often one who waits looks whether anybody is still at work.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct Inner {
    last: Option<Snapshot>,
    bad: Vec<BadSnapshot>,
    failed: Option<String>,
    /// Octets of the log between the last snapshot and the opening.
    before: u64,
    /// Octets written since the opening, when the last was made or tried...
    octets_then: u64,
    /// ... and the commit.
    commit_then: u64,
    /// How many snapshots were asked for, and how many of those are answered.
    asked: u64,
    answered: u64,
    answer: Option<Result<Snapshot, SnapshotError>>,
    gone: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    inner: Mutex<Inner>,
    told: Condvar,
}

/// What `Health` tells.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) last: Option<Snapshot>,
    pub(crate) bad: Vec<BadSnapshot>,
    pub(crate) failed: Option<String>,
}

impl Schedule {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What opening found: the newest that belongs to this log, octets of the log since then, and those that are bad.
    pub(crate) fn begin(&self, last: Option<Snapshot>, before: u64, bad: Vec<BadSnapshot>) {
        let mut inner = self.lock();
        inner.commit_then = last.as_ref().map_or(0, |l| l.commit.0);
        inner.last = last;
        inner.before = before;
        inner.bad = bad;
    }

    /// Whether one is to be made now: somebody asked, or the log has grown enough since the last. `octets` were written
    /// since the opening.
    pub(crate) fn is_due(&self, tuning: &Tuning, position: &Position, octets: u64) -> bool {
        let inner = self.lock();
        let parts = if inner.failed.is_some() { SOONER } else { 1 };
        let commits = position.commit.0.saturating_sub(inner.commit_then);
        let octets = octets.saturating_sub(inner.octets_then).saturating_add(inner.before);
        inner.asked > inner.answered
            || commits >= (tuning.snapshot_commits / parts).max(1)
            || octets >= (tuning.snapshot_octets / parts).max(1)
    }

    /// Whether closing makes one.
    pub(crate) fn is_worthwhile(&self, tuning: &Tuning, position: &Position) -> bool {
        let since = self.lock().last.as_ref().map_or(0, |l| l.commit.0);
        position.commit.0.saturating_sub(since) > tuning.snapshot_at_close
    }

    /// The last one, if it is of this very group.
    pub(crate) fn of(&self, seq: u64) -> Option<Snapshot> {
        self.lock().last.clone().filter(|last| last.seq == seq)
    }

    /// How many were asked for up to now: whoever makes one from here on serves them all.
    pub(crate) fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// One was made, or could not be.
    pub(crate) fn done(
        &self,
        asked: u64,
        position: &Position,
        octets: u64,
        made: Result<Snapshot, SnapshotError>,
    ) {
        {
            let mut inner = self.lock();
            inner.commit_then = position.commit.0;
            inner.octets_then = octets;
            inner.before = 0;
            inner.failed = made.as_ref().err().map(ToString::to_string);
            if let Ok(snapshot) = &made {
                inner.last = Some(snapshot.clone());
            }
            inner.answered = inner.answered.max(asked);
            inner.answer = Some(made);
        }
        self.told.notify_all();
    }

    /// Those that were bad are gone.
    pub(crate) fn forget_bad(&self) {
        self.lock().bad.clear();
    }

    pub(crate) fn known(&self) -> Known {
        let inner = self.lock();
        Known { last: inner.last.clone(), bad: inner.bad.clone(), failed: inner.failed.clone() }
    }

    /// Asks for one; the number is for [`Schedule::wait`].
    pub(crate) fn ask(&self) -> u64 {
        let mut inner = self.lock();
        inner.asked += 1;
        inner.asked
    }

    /// Waits for what was asked for. `alive` says whether anybody may still make one.
    pub(crate) fn wait(&self, number: u64, alive: impl Fn() -> bool) -> Result<Snapshot, SnapshotError> {
        let mut inner = self.lock();
        loop {
            if inner.answered >= number
                && let Some(answer) = inner.answer.clone()
            {
                return answer;
            }
            if inner.gone || !alive() {
                return Err(SnapshotError::Closed);
            }
            inner = self.told.wait_timeout(inner, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nobody makes any more.
    pub(crate) fn leave(&self) {
        self.lock().gone = true;
        self.told.notify_all();
    }
}
