//! When what could not be delivered is tried again, and when it is given up. Pure.
//!
//! RFC 5321 s.4.5.4.1: soon at first, then ever more rarely, and for days.

use std::time::Duration;

/// The waits between tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// After the first try, the second...; the last of them is repeated.
    pub waits: Vec<Duration>,
    /// So long after it was taken it is given up.
    pub give_up: Duration,
    /// So long after it was taken the sender is told that it takes long.
    pub notice: Duration,
}

/// What comes of a try that did not work, for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Once more, at this time.
    At {
        /// In seconds since 1970.
        time: i64,
        /// It is time to tell the sender that it takes long.
        notice: bool,
    },
    /// It has waited long enough.
    GiveUp,
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

impl Schedule {
    /// What comes after a try that ended at `now` and was the `tries`-th, of a message that was to go from `since` on.
    /// One try falls on the time of the notice,
    /// and the last one on the end of its time, so that none of it is wasted.
    #[must_use]
    pub fn next(&self, since: i64, tries: u16, now: i64) -> Next {
        let end = since.saturating_add(seconds(self.give_up));
        if now >= end {
            return Next::GiveUp;
        }
        let n = usize::from(tries.saturating_sub(1)).min(self.waits.len().saturating_sub(1));
        let wait = self.waits.get(n).copied().unwrap_or(Duration::from_secs(3_600));
        let notice = since.saturating_add(seconds(self.notice));
        let mut time = now.saturating_add(seconds(wait).max(1)).min(end);
        if (now + 1..time).contains(&notice) {
            time = notice;
        }
        Next::At { time, notice: now >= notice }
    }

    /// The shortest of the waits, in seconds.
    #[must_use]
    pub fn shortest(&self) -> i64 {
        self.waits.iter().copied().min().map_or(i64::MAX, seconds).max(1)
    }

    /// How long it may wait at most after it was taken.
    #[must_use]
    pub fn until(&self, since: i64) -> i64 {
        since.saturating_add(seconds(self.give_up))
    }
}

impl Default for Schedule {
    fn default() -> Schedule {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Schedule {
            waits: [1, 5, 15, 30, 60, 120, 240, 480].map(minutes).to_vec(),
            give_up: minutes(3 * 24 * 60),
            notice: minutes(4 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_days_of_tries_with_one_notice() {
        let schedule = Schedule::default();
        let (mut now, mut tries, mut notices) = (1_000, 1, Vec::new());
        let mut waits = Vec::new();
        while let Next::At { time, notice } = schedule.next(1_000, tries, now) {
            if notice {
                notices.push(tries);
            }
            waits.push((time - now) / 60);
            (now, tries) = (time, tries + 1);
        }
        assert_eq!(waits, [1, 5, 15, 30, 60, 120, 9, 480, 480, 480, 480, 480, 480, 480, 480, 240]);
        assert_eq!(now - 1_000, 3 * 24 * 3_600);
        assert_eq!(notices.first(), Some(&8), "after four hours");
    }

    #[test]
    fn a_clock_that_jumps_gives_up_or_waits_and_does_not_fail() {
        let schedule = Schedule::default();
        assert_eq!(schedule.next(0, 1, i64::MAX), Next::GiveUp);
        assert!(matches!(schedule.next(i64::MAX, u16::MAX, 0), Next::At { time: 28_800, notice: false }));
        let none = Schedule { waits: Vec::new(), ..schedule };
        assert!(matches!(none.next(0, 1, 0), Next::At { time: 3_600, .. }));
    }
}
