//! Giving up what was expunged long ago: the store's own work, in the background.
//!
//! Whether something is due is looked at here, by the applier; that it is given up is a commit like any other, so that
//! every replay forgets the same. Nothing is given up while the clock cannot be believed.

use std::time::Duration;

use crate::commit::Commit;
use crate::index::IndexError;
use crate::intent::Batch;
use crate::keys;
use crate::shared::Shared;
use crate::state::retained::seconds;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(60);
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// When was looked, and what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    next: Duration,
    asked: Option<Commit>,
}

/// What was expunged before this is due. Whole hours, so that there is one commit an hour at most.
fn due_before(now: u64, days: u16) -> u64 {
    match days {
        0 => now + 1,
        days => now.saturating_sub((u64::from(days) + 1) * DAY) / HOUR * HOUR,
    }
}

/// Looks whether something is due, and asks the committer to give it up. `applied` says that the index was just told
/// something: where nothing is kept, it may be that.
pub(crate) fn look(shared: &Shared, applied: bool) {
    let days = shared.tuning.undelete_days;
    let mut retention = shared.retention();
    let monotonic = shared.clock.monotonic();
    let at_once = applied && days == 0;
    let waits = retention.asked.as_ref().is_some_and(|asked| asked.ready().is_none());
    if (!at_once && monotonic < retention.next) || waits || shared.frozen() {
        return;
    }
    retention.next = monotonic + EVERY;
    let before = due_before(seconds(shared.clock.wall()), days);
    match any_before(shared, before) {
        Ok(true) => {
            let batch = Batch { forget: Some(before), ..Batch::default() };
            retention.asked = Some(shared.queue.push(batch));
        }
        Ok(false) => {}
        Err(error) => shared.condemn(&error.to_string()),
    }
}

/// On a full disk, the oldest day of what could be brought back makes room for what has not come yet. Says whether there
/// was any.
pub(crate) fn give_up_the_oldest_day(shared: &Shared) -> Result<bool, IndexError> {
    if shared.frozen() {
        return Ok(false);
    }
    let index = shared.world.index().ok_or(IndexError::Closed)?;
    let Some(oldest) = keys::oldest_retained(&**index)? else { return Ok(false) };
    let batch = Batch { forget: Some((oldest / DAY + 1) * DAY), ..Batch::default() };
    drop(shared.queue.push(batch));
    Ok(true)
}

fn any_before(shared: &Shared, before: u64) -> Result<bool, IndexError> {
    {
        let published = shared.world.read();
        let recent = &published.dirty.retained;
        // What was forgotten a moment ago may still be in the index.
        if recent.forgotten >= before {
            return Ok(false);
        }
        if recent.entries.iter().any(|(id, change)| id.time < before && change.now().is_some()) {
            return Ok(true);
        }
    }
    let index = shared.world.index().ok_or(IndexError::Closed)?;
    keys::any_retained_before(&**index, before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due() {
        let now = 1_800_000_000;
        assert_eq!(due_before(now, 0), now + 1);
        assert_eq!(due_before(now, 14), (now - 15 * DAY) / HOUR * HOUR);
        assert_eq!(due_before(5, 14), 0);
    }
}
