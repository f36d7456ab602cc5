//! Maildir and Maildir++: what a file's name says, and what names are written.
//!
//! A message is `UNIQUE:2,FLAGS` in `cur`, or `UNIQUE` in `new`; small letters are keywords of the `dovecot-keywords` file
//! beside. Folders of Maildir++ are directories `.A.B`, their names in modified UTF-7 (RFC 3501 s.5.1.3).

use std::fmt::Write as _;

use store::InternalDate;
use wire::flag::{FlagNames, Keyword, SystemFlag};
use wire::imap::utf7;

use super::fields::maildir_flags;

/// Keywords that have a letter.
const LETTERS: usize = 26;
/// In the unique part of a name: the file is the message as it is, not with its line ends changed.
const VERBATIM: &str = ".verbatim";

/// What a file's name says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub flags: FlagNames,
    /// Minutes east of Greenwich, for INTERNALDATE: our own exports say it.
    pub zone_minutes: i16,
    /// INTERNALDATE, where a file's time cannot say it: our own exports do.
    pub date: Option<i64>,
    /// Seconds since 1970 that the name begins with.
    pub unix: Option<i64>,
    pub verbatim: bool,
}

/// Reads a file's name. `keywords` are those of the folder, by letter.
pub(super) fn read(name: &str, keywords: &[Keyword]) -> Named {
    // FAT file systems have `;` or `!` where `:` cannot be.
    let (unique, info) = match name.rfind([':', ';', '!']) {
        Some(at) if name[at + 1..].starts_with("2,") => (&name[..at], &name[at + 3..]),
        _ => (name, ""),
    };
    let mut named = Named { verbatim: unique.contains(VERBATIM), ..Named::default() };
    named.flags.system = maildir_flags(info.as_bytes());
    for letter in info.bytes().filter(u8::is_ascii_lowercase) {
        if let Some(keyword) = keywords.get(usize::from(letter - b'a')) {
            named.flags.add_keyword(keyword.clone());
        }
    }
    for field in unique.split(',').skip(1) {
        if let Some(set) = field.strip_prefix("K=").and_then(|hex| u128::from_str_radix(hex, 16).ok()) {
            for (_, keyword) in keywords.iter().enumerate().filter(|(n, _)| *n < 128 && set >> n & 1 == 1) {
                named.flags.add_keyword(keyword.clone());
            }
        } else if let Some(zone) = field.strip_prefix("Z=").and_then(|zone| zone.parse().ok()) {
            named.zone_minutes = zone;
        } else if let Some(date) = field.strip_prefix("D=").and_then(|date| date.parse().ok()) {
            named.date = Some(date);
        }
    }
    let digits = unique.bytes().take_while(u8::is_ascii_digit).count();
    named.unix = unique.get(..digits).filter(|d| d.len() >= 9).and_then(|d| d.parse().ok());
    named
}

/// A file's name. `number` orders the files of an export that began at `began`; `keywords` are the folder's.
pub(super) fn write(
    began: i64,
    number: u64,
    flags: &FlagNames,
    date: InternalDate,
    octets: u64,
    verbatim: bool,
    keywords: &mut Vec<Keyword>,
) -> String {
    let mut set = 0u128;
    for keyword in &flags.keywords {
        let at = keywords.iter().position(|k| k == keyword).unwrap_or_else(|| {
            keywords.push(keyword.clone());
            keywords.len() - 1
        });
        set |= 1u128.checked_shl(u32::try_from(at).unwrap_or(u32::MAX)).unwrap_or(0);
    }
    let mut name = format!("{began}.Q{number:010}.penfold{}", if verbatim { VERBATIM } else { "" });
    let _ = write!(name, ",S={octets}");
    if date.zone_minutes != 0 {
        let _ = write!(name, ",Z={}", date.zone_minutes);
    }
    if !(1..1 << 31).contains(&date.unix) {
        let _ = write!(name, ",D={}", date.unix);
    }
    if set >> LETTERS != 0 {
        let _ = write!(name, ",K={set:x}");
    }
    name.push_str(":2,");
    for (flag, letter) in [
        (SystemFlag::Draft, 'D'),
        (SystemFlag::Flagged, 'F'),
        (SystemFlag::Answered, 'R'),
        (SystemFlag::Seen, 'S'),
        (SystemFlag::Deleted, 'T'),
    ] {
        if flags.system.has(flag) {
            name.push(letter);
        }
    }
    for (letter, n) in ('a'..='z').zip(0..) {
        if set >> n & 1 == 1 {
            name.push(letter);
        }
    }
    name
}

/// The keywords of a `dovecot-keywords` file: a number and a word on each line.
pub(super) fn read_keywords(text: &[u8]) -> Vec<Keyword> {
    let mut keywords: Vec<Option<Keyword>> = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(at) = memchr::memchr(b' ', line) else { continue };
        let (number, word) = line.split_at(at);
        let number = std::str::from_utf8(number).ok().and_then(|n| n.parse::<usize>().ok());
        let (Some(number @ 0..128), Some(word)) = (number, Keyword::parse(word.trim_ascii())) else {
            continue;
        };
        if keywords.len() <= number {
            keywords.resize(number + 1, None);
        }
        keywords[number] = Some(word);
    }
    // A letter without a word must not shift those behind it.
    let unknown = || Keyword::parse(b"unknown");
    keywords.into_iter().map_while(|k| k.or_else(unknown)).collect()
}

/// That file, for these keywords.
pub(super) fn write_keywords(keywords: &[Keyword]) -> String {
    keywords.iter().enumerate().fold(String::new(), |mut text, (n, keyword)| {
        let _ = writeln!(text, "{n} {keyword}");
        text
    })
}

/// The levels of a folder's directory: `.A.B`. `None` if it is none.
pub(super) fn read_folder(directory: &str) -> Option<Vec<String>> {
    let name = directory.strip_prefix('.').filter(|n| !n.is_empty())?;
    Some(name.split('.').map(decode_level).collect())
}

/// A level in modified UTF-7, or as it stands if it is none. `&AC4-` is a dot, which a level cannot have otherwise.
fn decode_level(level: &str) -> String {
    let dotted: Vec<String> = level
        .split("&AC4-")
        .map(|part| utf7::decode(part.as_bytes()).unwrap_or_else(|| part.to_owned()))
        .collect();
    dotted.join(".")
}

/// The directory of a folder.
pub(super) fn write_folder(name: &str) -> String {
    let mut directory = String::new();
    for level in name.split('/') {
        directory.push('.');
        let mut encoded = Vec::new();
        utf7::encode(level, &mut encoded);
        directory.push_str(&String::from_utf8_lossy(&encoded).replace('.', "&AC4-"));
    }
    directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(keywords: &[&str]) -> Vec<Keyword> {
        keywords.iter().filter_map(|k| Keyword::parse(k.as_bytes())).collect()
    }

    #[test]
    fn names_of_files() {
        let keywords = words(&["$Forwarded", "Junk"]);
        for (name, flags, unix) in [
            ("1310126914.M1P2.host,S=123,W=130:2,FRS", "\\Answered \\Flagged \\Seen", Some(1_310_126_914)),
            ("1310126914.M1P2.host:2,Sab", "\\Seen $Forwarded Junk", Some(1_310_126_914)),
            ("1310126914.M1P2.host;2,Tz", "\\Deleted", Some(1_310_126_914)),
            ("1310126914.M1P2.host", "", Some(1_310_126_914)),
            ("x:1,S", "", None),
            ("x:2,DP", "\\Draft", None),
        ] {
            let named = read(name, &keywords);
            let mut got: Vec<&str> = named.flags.system.iter().map(SystemFlag::name).collect();
            got.extend(named.flags.keywords.iter().map(Keyword::as_str));
            assert_eq!((got.join(" ").as_str(), named.unix), (flags, unix), "{name}");
        }
    }

    #[test]
    fn folders() {
        for (directory, name) in [
            (".Sent", "Sent"),
            (".A.B", "A/B"),
            (".Entw&APw-rfe", "Entwürfe"),
            (".a&AC4-b.c", "a.b/c"),
            (".Tom &- Jerry", "Tom & Jerry"),
        ] {
            assert_eq!(read_folder(directory).unwrap().join("/"), name);
            assert_eq!(write_folder(name), directory);
        }
        assert_eq!(read_folder(".bad&name").unwrap(), ["bad&name"]);
        assert_eq!(read_folder("cur"), None);
        assert_eq!(read_folder("."), None);
    }

    #[test]
    fn keyword_files() {
        let keywords = words(&["$Forwarded", "Junk", "x"]);
        assert_eq!(write_keywords(&keywords), "0 $Forwarded\n1 Junk\n2 x\n");
        assert_eq!(read_keywords(write_keywords(&keywords).as_bytes()), keywords);
        assert_eq!(read_keywords(b"1 Junk\nnonsense\n999 y\n-1 z\n"), words(&["unknown", "Junk"]));
    }

    proptest! {
        #[test]
        fn what_a_name_says_comes_back(bits in 0u8..32, set: u128, zone in -1439_i16..1440, verbatim: bool) {
            let mut all: Vec<Keyword> = (0..128).filter_map(|n| Keyword::parse(format!("k{n}").as_bytes())).collect();
            let mut flags = FlagNames { system: wire::flag::SystemFlags::from_bits(bits), keywords: Vec::new() };
            flags.keywords = all.iter().enumerate().filter(|(n, _)| set >> n & 1 == 1).map(|(_, k)| k.clone()).collect();
            let date = InternalDate { unix: 0, zone_minutes: zone };
            let name = write(1_795_000_000, 7, &flags, date, 10, verbatim, &mut all);
            let named = read(&name, &all);
            let sorted = |flags: &FlagNames| {
                let mut words: Vec<String> = flags.keywords.iter().map(ToString::to_string).collect();
                words.sort();
                (flags.system, words)
            };
            prop_assert_eq!(sorted(&named.flags), sorted(&flags));
            prop_assert_eq!((named.zone_minutes, named.verbatim, named.date), (zone, verbatim, Some(0)));
            prop_assert!(name.len() < 200);
        }
    }
}
