//! What mail programs write into a mbox beside the message: the From_ line with its date, and fields of their own at
//! the head of the header (Status, X-Status, X-Keywords, X-Mozilla-...).
//!
//! RFC 4155 (application/mbox) describes the From_ line; the fields are custom, read out of what programs write.

use store::InternalDate;
use wire::flag::{FlagNames, Keyword, SystemFlag, SystemFlags};
use wire::imap::date::{Date, DateTime, MONTHS};

use crate::mime::header::{fields, unfold};

/// The fields that our own mboxes begin each message with, in this order: what a message has of its own stands below.
pub(super) const OWN: [&str; 3] = ["Status", "X-Status", "X-Keywords"];
/// After those: the octets that follow are the message as it is, not with its line ends changed.
pub(super) const VERBATIM: &str = "X-Penfold-Octets";

/// The fields that other programs add for themselves; none of them is part of the message.
const FOREIGN: [&str; 9] = [
    "status",
    "x-status",
    "x-keywords",
    "x-mozilla-status",
    "x-mozilla-status2",
    "x-mozilla-keys",
    "x-uid",
    "x-imap",
    "x-imapbase",
];

/// What such fields said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Flags and keywords.
    pub flags: FlagNames,
    /// Thunderbird deleted it, and has not compacted the file yet.
    pub expunged: bool,
    /// Gmail's labels, as written.
    pub labels: Option<Vec<u8>>,
}

impl Said {
    /// Takes in one field. Whether it is one that is known here.
    pub(super) fn hear(&mut self, name: &[u8], value: &[u8]) -> bool {
        let name = name.to_ascii_lowercase();
        let value = unfold(value);
        match name.as_slice() {
            b"status" | b"x-status" => self.letters(&value),
            b"x-keywords" | b"x-mozilla-keys" => {
                for word in value.split(|b| b.is_ascii_whitespace() || *b == b',').filter(|w| !w.is_empty()) {
                    add_word(&mut self.flags, word);
                }
            }
            b"x-mozilla-status" => self.mozilla(&value),
            _ => return FOREIGN.iter().any(|f| name == f.as_bytes()),
        }
        true
    }

    fn letters(&mut self, value: &[u8]) {
        for letter in value {
            let flag = match letter {
                b'R' => SystemFlag::Seen,
                b'A' => SystemFlag::Answered,
                b'F' => SystemFlag::Flagged,
                b'D' => SystemFlag::Deleted,
                b'T' => SystemFlag::Draft,
                _ => continue, // O, U and N say whether it is new, which no flag is.
            };
            self.flags.system = self.flags.system.with(flag);
        }
    }

    fn mozilla(&mut self, value: &[u8]) {
        let text = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
        let Ok(bits) = u32::from_str_radix(text, 16) else { return };
        for (bit, flag) in [(0x1, SystemFlag::Seen), (0x2, SystemFlag::Answered), (0x4, SystemFlag::Flagged)]
        {
            if bits & bit != 0 {
                self.flags.system = self.flags.system.with(flag);
            }
        }
        if bits & 0x1000 != 0 {
            add_word(&mut self.flags, b"$Forwarded");
        }
        self.expunged |= bits & 0x8 != 0;
    }
}

/// Adds a keyword, or the system flag that a word names. What can be neither is left out.
pub(super) fn add_word(flags: &mut FlagNames, word: &[u8]) {
    let system = SystemFlag::ALL.into_iter().find(|f| word.eq_ignore_ascii_case(f.name().as_bytes()));
    if let Some(flag) = system {
        flags.system = flags.system.with(flag);
    } else if let Some(keyword) = Keyword::parse(word) {
        flags.add_keyword(keyword);
    }
}

/// Takes the programs' own fields out of a message's header, in place, and tells what they said. `content_length` says
/// whether that field goes too: it does where it told the truth about the file.
pub(super) fn strip(message: &mut Vec<u8>, content_length: bool) -> Said {
    let mut said = Said::default();
    let mut gone = Vec::new();
    for field in fields(message) {
        let known = said.hear(field.name, field.value);
        let labels = field.is("X-Gmail-Labels");
        if labels && said.labels.is_none() {
            said.labels = Some(field.value.to_vec());
        }
        if known || labels || field.is("X-GM-THRID") || content_length && field.is("Content-Length") {
            gone.push(field.range());
        }
    }
    for range in gone.into_iter().rev() {
        message.drain(range);
    }
    said
}

/// Writes [`OWN`] with what there is to say.
pub(super) fn write_own(flags: &FlagNames, out: &mut Vec<u8>) {
    let seen = if flags.system.has(SystemFlag::Seen) { "RO" } else { "O" };
    let mut letters = String::new();
    for (flag, letter) in [
        (SystemFlag::Answered, 'A'),
        (SystemFlag::Flagged, 'F'),
        (SystemFlag::Deleted, 'D'),
        (SystemFlag::Draft, 'T'),
    ] {
        if flags.system.has(flag) {
            letters.push(letter);
        }
    }
    let words: Vec<&str> = flags.keywords.iter().map(Keyword::as_str).collect();
    let [status, x_status, keywords] = OWN;
    let text = format!("{status}: {seen}\n{x_status}: {letters}\n{keywords}: {}\n", words.join(" "));
    out.extend_from_slice(text.as_bytes());
}

/// A From_ line that can be meant as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromLine {
    /// It has an address (or something like it) and a date.
    Dated(InternalDate),
    /// `From ` alone, as newer Thunderbirds write.
    Bare,
    /// It has something like an address, a year and a time of day, but no date that there is: some programs write the
    /// 30th of February, or a date in a form of their own.
    Odd,
}

/// Reads a line, without its end, as a From_ line: `From ADDRESS DATE`, the date as asctime(3) writes it, a zone before
/// or behind the year or none. Text that begins with `From ` is none.
pub(super) fn from_line(line: &[u8]) -> Option<FromLine> {
    let rest = line.strip_prefix(b"From ")?;
    if rest.len() > wire::limits::MBOX_FROM {
        return None;
    }
    if rest.trim_ascii().is_empty() {
        return Some(FromLine::Bare);
    }
    let words: Vec<&[u8]> = rest.split(|b| *b == b' ' || *b == b'\t').filter(|w| !w.is_empty()).collect();
    // An address may have quoted blanks: the date is where a day of the week and a month stand side by side.
    let at = words.windows(2).position(|pair| is_weekday(pair[0]) && month(pair[1]).is_some());
    let date = at.filter(|at| *at > 0 || rest.starts_with(b" ")).and_then(|at| dated(words.get(at + 1..)?));
    date.map(FromLine::Dated).or_else(|| is_odd(&words).then_some(FromLine::Odd))
}

/// Whether words look like an address and a date, whatever the date is.
fn is_odd(words: &[&[u8]]) -> bool {
    let Some((sender, rest)) = words.split_first() else { return false };
    let digits = |word: &[u8]| word.iter().all(u8::is_ascii_digit) && !word.is_empty();
    let is_sender =
        *sender == b"-" || sender.contains(&b'@') || sender.eq_ignore_ascii_case(b"MAILER-DAEMON");
    let has_year = |word: &&[u8]| word.split(|b| !b.is_ascii_digit()).any(|run| run.len() == 4);
    let has_time = |word: &&[u8]| {
        let mut parts = word.split(|b| *b == b':');
        parts.clone().count() >= 2 && parts.all(|part| part.len() <= 2 && digits(part))
    };
    is_sender && rest.iter().any(has_year) && rest.iter().any(has_time)
}

/// Whether octets begin with the header of a message that has been sent: fields, with one among them that such a
/// message has.
pub(super) fn is_header(octets: &[u8]) -> bool {
    const SENT: [&str; 7] =
        ["date", "from", "message-id", "received", "return-path", "delivered-to", "subject"];
    let mut found = false;
    for line in octets.split(|b| *b == b'\n').take(200) {
        match line {
            b"" | b"\r" => break,
            [b' ' | b'\t', ..] => {}
            line if is_field(line) => {
                let name = line.split(|b| *b == b':').next().unwrap_or_default();
                found |= SENT.iter().any(|sent| name.eq_ignore_ascii_case(sent.as_bytes()));
            }
            _ => return false,
        }
    }
    found
}

fn is_weekday(word: &[u8]) -> bool {
    let word = word.strip_suffix(b",").unwrap_or(word);
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].iter().any(|d| word == d.as_bytes())
}

fn month(word: &[u8]) -> Option<u8> {
    let at = MONTHS.iter().position(|m| word == m.as_bytes())?;
    u8::try_from(at + 1).ok()
}

fn number(word: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<u16> {
    let plain = digits.contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(word).ok()?.parse().ok()).flatten()
}

/// `MONTH DAY TIME [ZONE] YEAR [ZONE] ...`
fn dated(words: &[&[u8]]) -> Option<InternalDate> {
    let (&name, rest) = words.split_first()?;
    let (&day, rest) = rest.split_first()?;
    let (&time, rest) = rest.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (year, zone) = match number(first, 4..=4) {
        Some(year) => (year, rest.first().copied().and_then(zone_of)),
        None => {
            let zone = zone_of(first)?;
            (number(rest.first()?, 4..=4)?, Some(zone))
        }
    };
    let date = Date::new(year, month(name)?, u8::try_from(number(day, 1..=2)?).ok()?)?;
    let mut parts = time.split(|b| *b == b':');
    let hour = number(parts.next()?, 1..=2)?;
    let minute = number(parts.next()?, 2..=2)?;
    let second = parts.next().map_or(Some(0), |s| number(s, 2..=2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = zone.unwrap_or(0);
    let local = date.days() * 86_400 + i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    Some(InternalDate { unix: local - i64::from(zone) * 60, zone_minutes: zone })
}

/// Minutes east of Greenwich of `+0100`; a zone's name counts as UTC, since names mean different things to different
/// people.
fn zone_of(word: &[u8]) -> Option<i16> {
    match word {
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let n = i16::try_from(number(digits, 4..=4)?).ok()?;
            let minutes = n / 100 * 60 + n % 100;
            Some(if *sign == b'-' { -minutes } else { minutes })
        }
        _ if (1..=5).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase) => Some(0),
        _ => None,
    }
}

/// Writes a From_ line, LF included. A date in UTC has no zone, which is what all programs read.
pub(super) fn write_from_line(date: InternalDate, out: &mut Vec<u8>) {
    // Outside of the years that can be written, the nearest that can.
    let mut text = Vec::new();
    DateTime { unix: date.unix, zone_minutes: date.zone_minutes }.encode(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let clamped =
        DateTime::parse(text.trim_matches('"').as_bytes()).unwrap_or(DateTime { unix: 0, zone_minutes: 0 });
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        [usize::try_from(clamped.day().rem_euclid(7)).unwrap_or(0)];
    let mut parts = text.trim_matches('"').split(['-', ' ']).filter(|p| !p.is_empty());
    let (day, month, year) =
        (parts.next().unwrap_or("1"), parts.next().unwrap_or("Jan"), parts.next().unwrap_or("1970"));
    let time = parts.next().unwrap_or("00:00:00");
    let zone = if clamped.zone_minutes == 0 {
        String::new()
    } else {
        let (sign, zone) =
            (if clamped.zone_minutes < 0 { '-' } else { '+' }, clamped.zone_minutes.unsigned_abs());
        format!("{sign}{:02}{:02} ", zone / 60, zone % 60)
    };
    out.extend_from_slice(
        format!("From MAILER-DAEMON {weekday} {month} {day:>2} {time} {zone}{year}\n").as_bytes(),
    );
}

/// When a message came, by its own header: the topmost Received field's date, or the Date field.
pub(super) fn date_of(message: &[u8]) -> Option<InternalDate> {
    let header = message.get(..message.len().min(wire::limits::HEADER)).unwrap_or_default();
    let date = |text: &[u8]| {
        let whole = [b"Date: ", text.trim_ascii(), b"\r\n\r\n"].concat();
        let parsed = mail_parser::MessageParser::new().parse_headers(&whole)?;
        let date = parsed.date()?;
        let zone = i16::from(date.tz_hour) * 60 + i16::from(date.tz_minute);
        let zone_minutes = if date.tz_before_gmt { -zone } else { zone };
        (date.year >= 1970).then(|| InternalDate { unix: date.to_timestamp(), zone_minutes })
    };
    let received = crate::mime::header::find(header, "received").map(unfold).and_then(|value| {
        let at = memchr::memrchr(b';', &value)?;
        date(value.get(at + 1..)?)
    });
    received.or_else(|| date(&unfold(crate::mime::header::find(header, "date")?)))
}

/// Whether a line begins a header field: a name, a colon.
pub(super) fn is_field(line: &[u8]) -> bool {
    memchr::memchr(b':', line).is_some_and(|at| {
        let name = line.get(..at).unwrap_or_default().trim_ascii_end();
        !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
    })
}

/// The flags of a word of letters as Maildir names have them (`2,FS`).
pub(super) fn maildir_flags(letters: &[u8]) -> SystemFlags {
    letters.iter().fold(SystemFlags::NONE, |flags, letter| match letter {
        b'D' => flags.with(SystemFlag::Draft),
        b'F' => flags.with(SystemFlag::Flagged),
        b'R' => flags.with(SystemFlag::Answered),
        b'S' => flags.with(SystemFlag::Seen),
        b'T' => flags.with(SystemFlag::Deleted),
        _ => flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flags(text: &str) -> FlagNames {
        let mut flags = FlagNames::default();
        text.split(' ').filter(|w| !w.is_empty()).for_each(|w| add_word(&mut flags, w.as_bytes()));
        flags
    }

    #[test]
    fn from_lines_of_all_kinds() {
        let at = |unix, zone_minutes| Some(FromLine::Dated(InternalDate { unix, zone_minutes }));
        for (line, expected) in [
            ("From a@b.test Thu Jan  1 00:00:00 1970", at(0, 0)),
            ("From MAILER-DAEMON Fri Jul  8 12:08:34 2011", at(1_310_126_914, 0)),
            ("From - Fri Jul 08 12:08:34 2011", at(1_310_126_914, 0)),
            ("From 1234567890@xxx Fri Jul 08 14:08:34 +0200 2011", at(1_310_126_914, 120)),
            ("From a@b.test Fri Jul  8 07:08:34 2011 -0500", at(1_310_126_914, -300)),
            ("From a@b.test  Fri Jul  8 12:08 2011", at(1_310_126_880, 0)),
            ("From a@b.test Fri Jul  8 12:08:34 GMT 2011 remote from x", at(1_310_126_914, 0)),
            ("From \"a b\"@c.test Fri Jul  8 12:08:34 2011", at(1_310_126_914, 0)),
            ("From  Fri Jul  8 12:08:34 2011", at(1_310_126_914, 0)),
            ("From ???@??? Fri Jul  8 12:08:34 2011\r", at(1_310_126_914, 0)),
            ("From ", Some(FromLine::Bare)),
            ("From \r", Some(FromLine::Bare)),
            ("From", None),
            ("From x", None),
            ("From here on Friday we walk", None),
            ("From Mon Jan to Feb", None),
            ("From Fri Jul  8 12:08:34 2011", None), // Nobody sent it.
            ("From a@b.test Fri Jul 32 12:08:34 2011", Some(FromLine::Odd)),
            ("From a@b.test Fri Jul  8 25:08:34 2011", Some(FromLine::Odd)),
            ("From - 2011-07-08T12:08:34", None),
            ("From - 2011-07-08 12:08:34", Some(FromLine::Odd)),
            ("From a@b.test 8/7/2011 9:08", Some(FromLine::Odd)),
            ("From here 2011-07-08 12:08:34", None),
            ("From a@b.test Fri Jul  8 12:08:34", None),
            ("From: a@b.test Fri Jul  8 12:08:34 2011", None),
            (">From a@b.test Fri Jul  8 12:08:34 2011", None),
        ] {
            let line = line.strip_suffix('\r').unwrap_or(line);
            assert_eq!(from_line(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn from_lines_come_back(unix in -62_000_000_000_i64..250_000_000_000, zone in -1439_i16..1440) {
            let date = InternalDate { unix, zone_minutes: zone };
            let mut line = Vec::new();
            write_from_line(date, &mut line);
            prop_assert_eq!(from_line(line.strip_suffix(b"\n").unwrap()), Some(FromLine::Dated(date)));
        }
    }

    #[test]
    fn fields_of_other_programs_are_read_and_taken_out() {
        for (header, words, rest) in [
            (
                "Subject: x\r\nStatus: RO\r\nX-Status: AF\r\n\r\nbody",
                "\\Seen \\Answered \\Flagged",
                "Subject: x\r\n\r\nbody",
            ),
            (
                "X-Mozilla-Status: 0007\r\nX-Mozilla-Status2: 00000000\r\nX-Mozilla-Keys: $label1 NonJunk      \r\nA: b\r\n\r\n",
                "\\Seen \\Answered \\Flagged $label1 NonJunk",
                "A: b\r\n\r\n",
            ),
            ("X-Mozilla-Status: 1001\r\nA: b\r\n\r\n", "\\Seen $Forwarded", "A: b\r\n\r\n"),
            ("X-UID: 7\r\nX-Keywords: a, b\r\nA: b\r\n\r\nStatus: R\r\n", "a b", "A: b\r\n\r\nStatus: R\r\n"),
            ("Content-Length: 4\r\nX-GM-THRID: 1\r\n\r\n", "", "Content-Length: 4\r\n\r\n"),
            ("Status: U\r\nX-Status: DT?\r\n\r\n", "\\Deleted \\Draft", "\r\n"),
        ] {
            let mut message = header.as_bytes().to_vec();
            let said = strip(&mut message, false);
            assert_eq!(
                (said.flags, String::from_utf8(message).unwrap().as_str()),
                (flags(words), rest),
                "{header}"
            );
            assert!(!said.expunged);
        }
        let mut message = b"X-Mozilla-Status: 0009\r\nContent-Length: 1\r\n\r\n".to_vec();
        assert!(strip(&mut message, true).expunged);
        assert_eq!(message, b"\r\n");
    }

    #[test]
    fn dates_of_messages() {
        for (message, unix, zone) in [
            (
                "Received: by x; Fri, 8 Jul 2011 14:08:34 +0200\r\nDate: Mon, 1 Jan 2001 00:00:00 +0000\r\n\r\n",
                1_310_126_914,
                120,
            ),
            ("Received: nonsense\r\nDate: Fri, 8 Jul 2011 07:08:34 -0500\r\n\r\n", 1_310_126_914, -300),
        ] {
            assert_eq!(
                date_of(message.as_bytes()),
                Some(InternalDate { unix, zone_minutes: zone }),
                "{message}"
            );
        }
        assert_eq!(date_of(b"Subject: x\r\n\r\nDate: Fri, 8 Jul 2011 07:08:34 -0500"), None);
    }
}
