//! How fast a backup may be: as fast as the disk while nobody else needs it; gently while mail is written.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::shared::Shared;

/// Mail was written lately if it was within this time.
const LATELY: Duration = Duration::from_secs(2);
/// Between two steps while mail is written: whoever waits for the disk goes first.
const REST: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
struct Seen {
    groups: Option<u64>,
    at: Option<Duration>,
}

/// Whether the store writes.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Seen>);

impl Pace {
    /// Whether the store has written lately.
    pub(super) fn is_busy(&self, shared: &Shared) -> bool {
        let (groups, now) = (shared.stats.groups.load(Ordering::Relaxed), shared.clock.monotonic());
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.groups.replace(groups).is_some_and(|before| before != groups) {
            seen.at = Some(now);
        }
        seen.at.is_some_and(|at| now.saturating_sub(at) < LATELY)
    }

    /// After a step was synced because the store is busy.
    pub(super) fn rest(&self, shared: &Shared) {
        if shared.threads {
            std::thread::sleep(REST);
        }
    }
}
