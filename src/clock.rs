//! Time: the only room that reads a clock. Everyone else is given the time.
//!
//! Dates are written as RFC 5322 s.3.3 has them.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment of the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall {
    /// Seconds since 1970 in UTC.
    pub seconds: i64,
    /// The rest, below 1,000,000,000.
    pub nanos: u32,
}

/// What the wall clock shows now. It may jump.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> Wall {
    Wall::from(SystemTime::now())
}

/// Time since the first call in this process; never goes back.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn monotonic() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

impl From<SystemTime> for Wall {
    fn from(time: SystemTime) -> Wall {
        // A clock before 1970 (a board without a battery) counts as 1970: nothing here reckons with less.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }
}

/// A moment with its zone, as header fields show it: `Tue, 24 Nov 2026 02:19:29 +0000` (RFC 5322 s.3.3).
///
/// ```
/// use penfold::clock::Date;
/// assert_eq!(Date { unix: 0, zone_minutes: -210 }.to_string(), "Wed, 31 Dec 1969 20:30:00 -0330");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970 in UTC.
    pub unix: i64,
    /// Minutes east of UTC.
    pub zone_minutes: i16,
}

impl Date {
    /// Now, in UTC: a mail server's headers need not tell where its keeper lives.
    #[must_use]
    pub fn now() -> Date {
        Date { unix: wall().seconds, zone_minutes: 0 }
    }

    /// The day in digits: `20261124`.
    #[must_use]
    pub fn digits(&self) -> String {
        let local = self.unix.saturating_add(i64::from(self.zone_minutes) * 60);
        let (year, month, day) = civil(local.div_euclid(86_400));
        format!("{year:04}{month:02}{day:02}")
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970-01-01 was a Thursday.
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let local = self.unix.saturating_add(i64::from(self.zone_minutes) * 60);
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let weekday = usize::try_from(days.rem_euclid(7)).unwrap_or(0);
        let month = usize::try_from(month - 1).unwrap_or(0);
        let zone = self.zone_minutes.unsigned_abs();
        write!(
            f,
            "{}, {:02} {} {:04} {:02}:{:02}:{:02} {}{:02}{:02}",
            DAYS[weekday],
            day,
            MONTHS[month],
            year,
            second / 3600,
            second / 60 % 60,
            second % 60,
            if self.zone_minutes < 0 { '-' } else { '+' },
            zone / 60,
            zone % 60
        )
    }
}

/// Year, month (1 to 12) and day of a number of days since 1970-01-01, in the Gregorian calendar. Years are
/// reckoned from March, so that the leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097; // days in 400 years
    let days = days.saturating_add(719_468); // since 0000-03-01
    let (era, in_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_known_moments() {
        for (unix, zone_minutes, text) in [
            (0, 0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400, 0, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_795_486_769, 0, "Tue, 24 Nov 2026 02:19:29 +0000"),
            (1_795_486_769, 330, "Tue, 24 Nov 2026 07:49:29 +0530"),
            (1_795_486_769, -480, "Mon, 23 Nov 2026 18:19:29 -0800"),
            (4_107_542_400, 0, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(Date { unix, zone_minutes }.to_string(), text);
        }
        for (unix, zone_minutes, digits) in [(0, -1, "19691231"), (951_782_400, 0, "20000229")] {
            assert_eq!(Date { unix, zone_minutes }.digits(), digits);
        }
    }

    proptest! {
        #[test]
        fn dates_are_what_jiff_says(unix in -60_000_000_000_i64..250_000_000_000, zone in -1439_i16..1440) {
            let zoned = jiff::Timestamp::from_second(unix)
                .unwrap()
                .to_zoned(jiff::tz::Offset::from_seconds(i32::from(zone) * 60).unwrap().to_time_zone());
            let expected = zoned.strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
            prop_assert_eq!(Date { unix, zone_minutes: zone }.to_string(), expected);
        }
    }

    #[test]
    fn extremes_do_not_panic() {
        for unix in [i64::MIN, i64::MAX] {
            let _ = Date { unix, zone_minutes: i16::MAX }.to_string();
        }
    }
}
