//! The two kinds of dates IMAP speaks of: `date-time` of INTERNALDATE and APPEND, `date` of SEARCH.
//!
//! RFC 3501 s.9. Plain values: nothing here looks at a clock or knows a time zone by name.

use crate::civil::{civil_from_days, days_from_civil, days_in};

/// The months as IMAP and mail headers name them.
pub const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A day that exists, of the years 0 to 9999 (`date`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// `None` for a day that does not exist. `month` counts from 1.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let whole = year <= 9999 && (1..=12).contains(&month) && day >= 1;
        (whole && i64::from(day) <= days_in(year.into(), month.into())).then_some(Date { year, month, day })
    }

    /// Days since 1970-01-01: what SEARCH compares with [`DateTime::day`].
    #[must_use]
    pub fn days(self) -> i64 {
        days_from_civil(self.year.into(), self.month.into(), self.day.into())
    }

    /// `date-text`: `1-Feb-1994`, the day with one or two digits.
    #[must_use]
    pub fn parse(s: &[u8]) -> Option<Date> {
        let mut parts = s.split(|&b| b == b'-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !(1..=2).contains(&day.len()) || year.len() != 4 {
            return None;
        }
        Date::new(u16::try_from(digits(year)?).ok()?, month_of(month)?, u8::try_from(digits(day)?).ok()?)
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{:04}", self.day, MONTHS[usize::from(self.month - 1)], self.year)
    }
}

/// A moment and the zone in which it is told (`date-time`): INTERNALDATE (RFC 3501 s.2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Seconds since 1970-01-01 00:00 UTC, leap seconds not counted.
    pub unix: i64,
    /// Minutes east of Greenwich, -5999 to 5999 as four digits allow.
    pub zone_minutes: i16,
}

impl DateTime {
    /// What is between the quotes: `17-Jul-1996 02:44:25 -0700`; the day may be padded with a space or `0`.
    #[must_use]
    pub fn parse(s: &[u8]) -> Option<DateTime> {
        let s = s.strip_prefix(b" ").unwrap_or(s);
        let (date, rest) = s.split_at_checked(s.iter().position(|&b| b == b' ')?)?;
        let date = Date::parse(date)?;
        let &[b' ', h1, h2, b':', m1, m2, b':', s1, s2, b' ', sign, z1, z2, z3, z4] = rest else {
            return None;
        };
        let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?);
        let (zone_hours, zone_minutes) = (digits(&[z1, z2])?, digits(&[z3, z4])?);
        if hour > 23 || minute > 59 || second > 60 || zone_minutes > 59 {
            return None;
        }
        let zone = match sign {
            b'+' => zone_hours * 60 + zone_minutes,
            b'-' => -(zone_hours * 60 + zone_minutes),
            _ => return None,
        };
        let local = date.days() * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(DateTime { unix: local - zone * 60, zone_minutes: i16::try_from(zone).ok()? })
    }

    /// The day on the calendar of its own zone, in days since 1970-01-01: what SEARCH's BEFORE, ON and SINCE look
    /// at ("disregarding time and timezone", RFC 3501 s.6.4.4).
    #[must_use]
    pub fn day(self) -> i64 {
        self.local().div_euclid(86_400)
    }

    fn local(self) -> i64 {
        self.unix.saturating_add(i64::from(self.zone_minutes) * 60)
    }

    /// Appends `"17-Jul-1996 02:44:25 -0700"`, quotes included. Moments outside of the years 0 to 9999 are told
    /// as the nearest one inside: the grammar has no room for them.
    pub fn encode(self, out: &mut Vec<u8>) {
        const FIRST: i64 = days_from_civil(0, 1, 1) * 86_400;
        const LAST: i64 = days_from_civil(10_000, 1, 1) * 86_400 - 1;
        let local = self.local().clamp(FIRST, LAST);
        let (year, month, day) = civil_from_days(local.div_euclid(86_400));
        let second = local.rem_euclid(86_400);
        out.push(b'"');
        if day < 10 {
            out.push(b' ');
            out.push(digit(day));
        } else {
            two(out, day);
        }
        out.push(b'-');
        let name = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m)).unwrap_or(&MONTHS[0]);
        out.extend_from_slice(name.as_bytes());
        out.push(b'-');
        two(out, year / 100);
        two(out, year % 100);
        out.push(b' ');
        two(out, second / 3_600);
        out.push(b':');
        two(out, second / 60 % 60);
        out.push(b':');
        two(out, second % 60);
        out.push(b' ');
        let zone = i64::from(self.zone_minutes).clamp(-5_999, 5_999);
        out.push(if zone < 0 { b'-' } else { b'+' });
        two(out, zone.abs() / 60);
        two(out, zone.abs() % 60);
        out.push(b'"');
    }
}

/// The digit of `n % 10`; `n` is never negative here.
fn digit(n: i64) -> u8 {
    b"0123456789"[n.rem_euclid(10).unsigned_abs() as usize % 10]
}

fn two(out: &mut Vec<u8>, n: i64) {
    out.push(digit(n / 10));
    out.push(digit(n));
}

/// Up to four digits as a number.
fn digits(s: &[u8]) -> Option<i64> {
    let plain = !s.is_empty() && s.len() <= 4 && s.iter().all(u8::is_ascii_digit);
    plain.then(|| s.iter().fold(0, |n, &b| n * 10 + i64::from(b - b'0')))
}

fn month_of(s: &[u8]) -> Option<u8> {
    let i = MONTHS.iter().position(|m| s.eq_ignore_ascii_case(m.as_bytes()))?;
    u8::try_from(i + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(d: DateTime) -> String {
        let mut out = Vec::new();
        d.encode(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn date_times() {
        let rows: [(&str, Option<(i64, i16)>); 13] = [
            ("17-Jul-1996 02:44:25 -0700", Some((837_596_665, -420))),
            (" 1-Jan-1970 00:00:00 +0000", Some((0, 0))),
            ("1-Jan-1970 00:00:00 +0000", Some((0, 0))),
            ("01-JAN-1970 00:00:00 +0000", Some((0, 0))),
            ("29-Feb-2024 23:59:60 +0530", Some((1_709_231_400, 330))),
            ("29-Feb-2023 00:00:00 +0000", None),
            ("00-Jan-2023 00:00:00 +0000", None),
            ("1-Jan-2023 24:00:00 +0000", None),
            ("1-Jan-2023 00:00:00 0000", None),
            ("1-Jan-23 00:00:00 +0000", None),
            ("1-Jan-2023 00:00:00 +0060", None),
            ("1-Jan-2023 00:00:00 +00000", None),
            ("", None),
        ];
        for (text, want) in rows {
            assert_eq!(DateTime::parse(text.as_bytes()).map(|d| (d.unix, d.zone_minutes)), want, "{text:?}");
        }
        assert_eq!(told(DateTime { unix: 0, zone_minutes: -90 }), "\"31-Dec-1969 22:30:00 -0130\"");
        assert_eq!(told(DateTime { unix: i64::MAX, zone_minutes: 0 }), "\"31-Dec-9999 23:59:59 +0000\"");
        assert_eq!(told(DateTime { unix: i64::MIN, zone_minutes: 0 }), "\" 1-Jan-0000 00:00:00 +0000\"");
    }

    #[test]
    fn a_message_is_on_the_day_of_its_own_zone() {
        let d = DateTime::parse(b"10-Nov-2026 23:30:00 -0500").expect("a date");
        assert_eq!(Some(d.day()), Date::parse(b"10-nov-2026").map(Date::days));
    }

    proptest! {
        #[test]
        fn what_is_told_is_read_again(unix in -60_000_000_000i64..250_000_000_000, zone in -1439i16..1439) {
            let d = DateTime { unix, zone_minutes: zone };
            let text = told(d);
            prop_assert_eq!(DateTime::parse(&text.as_bytes()[1..text.len() - 1]), Some(d));
        }
        #[test]
        fn days_are_read_again(days in -719_528i64..2_932_896) {
            let (y, m, d) = civil_from_days(days);
            let date = Date::new(y as u16, m as u8, d as u8).expect("it exists");
            prop_assert_eq!(date.days(), days);
            prop_assert_eq!(Date::parse(date.to_string().as_bytes()), Some(date));
        }
    }
}
