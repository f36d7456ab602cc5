//! The calendar, and moments as RFC 3339 writes them. Nothing here looks at a clock or knows a time zone by name.

/// Days from 1970-01-01 to the given day of the proleptic Gregorian calendar.
pub(crate) const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March here, so that the leap day is its last.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of the day that many days after 1970-01-01.
pub(crate) const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * of_year + 2) / 153;
    let day = of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// Days of a month.
pub(crate) const fn days_in(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next, 1) - days_from_civil(year, month, 1)
}

/// Parses a `date-time` (RFC 3339 s.5.6) as seconds since 1970-01-01 UTC. Fractions of a second are dropped, and a
/// leap second is the second after it.
#[must_use]
pub fn parse_moment(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.split_first().filter(|(t, _)| matches!(t, b'T' | b't'))?.1.split_at_checked(8)?;
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let [h1, h2, b':', n1, n2, b':', s1, s2] = time else { return None };
    let number = |digits: &[u8], least: i64, most: i64| {
        let n = i64::try_from(crate::abnf::number(digits)?).ok()?;
        (least..=most).contains(&n).then_some(n)
    };
    let (year, month) = (number(year, 0, 9999)?, number(&[*m1, *m2], 1, 12)?);
    let day = number(&[*d1, *d2], 1, days_in(year, month))?;
    let (hour, minute) = (number(&[*h1, *h2], 0, 23)?, number(&[*n1, *n2], 0, 59)?);
    let second = number(&[*s1, *s2], 0, 60)?;
    let zone = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            &fraction[digits..]
        }
        zone => zone,
    };
    let ahead = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', n1, n2] => {
            let minutes = number(&[*h1, *h2], 0, 23)? * 60 + number(&[*n1, *n2], 0, 59)?;
            if *sign == b'-' { -minutes * 60 } else { minutes * 60 }
        }
        _ => return None,
    };
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - ahead)
}

/// Prints seconds since 1970-01-01 UTC as RFC 3339 does, in UTC.
#[must_use]
pub fn print_moment(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments() {
        for (text, moment) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-02-28T23:59:60z", Some(1_772_323_200)),
            ("2024-02-29t12:00:00.123Z", Some(1_709_208_000)),
            ("2024-02-29T14:30:00+02:30", Some(1_709_208_000)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2023-02-29T12:00:00Z", None),
            ("2024-13-01T12:00:00Z", None),
            ("2024-01-01T24:00:00Z", None),
            ("2024-01-01T12:00:00", None),
            ("2024-01-01T12:00:00.Z", None),
            ("2024-01-01T12:00:00+0200", None),
            ("2024-01-01 12:00:00Z", None),
            ("24-01-01T12:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(parse_moment(text.as_bytes()), moment, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printing_parses_to_the_same(seconds in 0..253_402_300_800i64) {
            prop_assert_eq!(parse_moment(print_moment(seconds).as_bytes()), Some(seconds));
        }
    }
}
