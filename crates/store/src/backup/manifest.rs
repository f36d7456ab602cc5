//! A manifest: which files make up a backup, how long they are, and what their octets sum to.
//!
//! ```text
//! penfold-backup 1
//! store 0123456789abcdef0123456789abcdef
//! number 42
//! taken 1800000000 20270115T080000Z
//! reached SEQ COMMIT SECONDS SEGMENT END
//! file SHA256 FROM TO MARK PATH NAME      one a piece; the pieces of a path follow each other
//! end COUNT SHA256                        of everything before this line
//! ```
//!
//! PATH is the file's name in a data directory, NAME the one in the backup. A manifest gets its name when it is whole
//! and durable; one that does not end with its own sum is none. `UNFINISHED` holds such lines of a backup that is being
//! made, each behind a checksum of its own, so that the next run need not copy those files again.

use std::fmt::Write as _;

use wire::ids::ModSeq;

use super::{Sums, hex, sum_of, unhex};
use crate::id::UnixTime;
use crate::reader::Reached;

const FIRST: &str = "penfold-backup 1";
/// The most lines that anybody reads.
const LINES: usize = 10_000_000;

/// One file of a backup: a whole file of the data directory, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sum: [u8; 32],
    /// Where in the data directory's file it begins...
    pub(crate) from: u64,
    /// ...and ends.
    pub(crate) to: u64,
    /// Tells files of one path apart without reading them: for a piece of the log, the chain at its end.
    pub(crate) mark: u128,
    /// Its name in a data directory.
    pub(crate) path: String,
    /// Its name in the backup.
    pub(crate) name: String,
}

impl Entry {
    pub(crate) fn len(&self) -> u64 {
        self.to - self.from
    }

    fn line(&self) -> String {
        let Entry { sum, from, to, mark, path, name } = self;
        format!("file {} {from} {to} {mark:032x} {path} {name}", hex(sum))
    }

    fn parse(line: &str) -> Option<Entry> {
        let mut words = line.strip_prefix("file ")?.split(' ');
        let mut word = || words.next();
        let entry = Entry {
            sum: unhex(word()?)?,
            from: word()?.parse().ok()?,
            to: word()?.parse().ok()?,
            mark: u128::from_str_radix(word()?, 16).ok()?,
            path: word().filter(|path| is_ours(path))?.to_owned(),
            name: word().filter(|name| is_ours(name))?.to_owned(),
        };
        (word().is_none() && entry.from <= entry.to).then_some(entry)
    }

    /// As a line of `UNFINISHED`.
    pub(crate) fn noted(&self) -> String {
        let line = self.line();
        format!("{:08x} {line}\n", crc32c::crc32c(line.as_bytes()))
    }
}

/// The whole lines of `UNFINISHED`, up to the first that is not.
pub(crate) fn noted(text: &[u8]) -> Vec<Entry> {
    let lines = text.split_inclusive(|&b| b == b'\n');
    lines
        .map_while(|line| {
            let (crc, line) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
            let whole = u32::from_str_radix(crc, 16).ok()? == crc32c::crc32c(line.as_bytes());
            Entry::parse(line).filter(|_| whole)
        })
        .collect()
}

/// Whether a path is one that a backup may hold: nothing outside of the directory, nothing that is not ours.
pub(crate) fn is_ours(path: &str) -> bool {
    let safe = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
    };
    match path.split_once('/') {
        Some((dir, name)) => super::DIRS.contains(&dir) && safe(name),
        None => path.starts_with("config.toml") && safe(path),
    }
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) store: u128,
    /// Rises by one with each backup in a directory.
    pub number: u64,
    /// When it was begun.
    pub taken: UnixTime,
    /// What it holds: the log up to here.
    pub reached: Reached,
    pub(crate) entries: Vec<Entry>,
}

impl Manifest {
    /// Its file's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}-{:06}", super::MANIFEST, stamp(self.taken), self.number)
    }

    /// Octets of all its files.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.entries.iter().map(Entry::len).sum()
    }

    /// How many files it has.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Names in a data directory, with the pieces of each, from its front to its end.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&str, &[Entry])> {
        self.entries.chunk_by(|a, b| a.path == b.path).map(|pieces| (pieces[0].path.as_str(), pieces))
    }

    pub(crate) fn encode(&self, sums: &Sums) -> Vec<u8> {
        let Reached { seq, time, commit, segment, end } = self.reached;
        let mut text = format!("{FIRST}\nstore {:032x}\nnumber {}\n", self.store, self.number);
        // Writing to a string does not fail.
        let _ = writeln!(text, "taken {} {}", self.taken.secs, stamp(self.taken));
        let _ = writeln!(text, "reached {seq} {} {} {segment} {end}", commit.0, time.secs);
        for entry in &self.entries {
            text.push_str(&entry.line());
            text.push('\n');
        }
        let sum = sum_of(sums, text.as_bytes());
        let _ = writeln!(text, "end {} {}", self.entries.len(), hex(&sum));
        text.into_bytes()
    }

    /// Reads a manifest; what is wrong with it if it is none.
    pub(crate) fn decode(octets: &[u8], sums: &Sums) -> Result<Manifest, String> {
        let text = std::str::from_utf8(octets).map_err(|_| "it is not text".to_owned())?;
        let first = text.lines().next().unwrap_or_default();
        if first != FIRST {
            return Err(match first.strip_prefix("penfold-backup ") {
                Some(version) => format!("it was written by a newer version (format {version})"),
                None => "it does not begin like a manifest".into(),
            });
        }
        let front = text.strip_suffix('\n').and_then(|t| t.rfind('\n')).map_or(0, |at| at + 1);
        let (front, end) = text.split_at(front);
        let said = end.strip_suffix('\n').and_then(|end| end.strip_prefix("end ")?.split_once(' '));
        let Some((count, sum)) = said else { return Err("it is not whole: its end is missing".into()) };
        if unhex(sum) != Some(sum_of(sums, front.as_bytes())) {
            return Err("it is damaged: its sum is another one".into());
        }
        let manifest = Manifest::lines(front).ok_or_else(|| "a line of it is not understood".to_owned())?;
        if count.parse() != Ok(manifest.entries.len()) || !manifest.joins() {
            return Err("its files do not join".into());
        }
        Ok(manifest)
    }

    fn lines(text: &str) -> Option<Manifest> {
        let mut lines = text.lines().skip(1);
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let store = u128::from_str_radix(field("store")?, 16).ok()?;
        let number = field("number")?.parse().ok()?;
        let time = |secs: &str| Some(UnixTime { secs: secs.parse().ok()?, nanos: 0 });
        let taken = time(field("taken")?.split_once(' ')?.0)?;
        let mut words = field("reached")?.split(' ');
        let reached = Reached {
            seq: words.next()?.parse().ok()?,
            commit: ModSeq(words.next()?.parse().ok()?),
            time: time(words.next()?)?,
            segment: words.next()?.parse().ok()?,
            end: words.next()?.parse().ok()?,
        };
        let entries = lines.take(LINES).map(Entry::parse).collect::<Option<Vec<Entry>>>()?;
        Some(Manifest { store, number, taken, reached, entries })
    }

    /// Each path's pieces follow each other from its front, and no path comes twice.
    fn joins(&self) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        self.paths().all(|(path, pieces)| {
            let from_front = pieces[0].from == 0;
            seen.insert(path) && from_front && pieces.windows(2).all(|two| two[0].to == two[1].from)
        })
    }
}

/// `20270115T080000Z`
pub(crate) fn stamp(time: UnixTime) -> String {
    let (days, secs) = (time.secs.div_euclid(86_400), time.secs.rem_euclid(86_400));
    // Days are counted from the 1st of March of the year 0, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (secs / 3_600, secs / 60 % 60, secs % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The number at the end of a manifest's name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let (when, number) = name.strip_prefix(super::MANIFEST)?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (when.ends_with('Z') && digits(number)).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sums;
    use super::*;

    fn entry(path: &str, from: u64, to: u64) -> Entry {
        let name = format!("{path}.{from}-{to}");
        Entry { sum: [7; 32], from, to, mark: 0xfeed, path: path.into(), name }
    }

    fn manifest() -> Manifest {
        Manifest {
            store: 9,
            number: 42,
            taken: UnixTime { secs: 1_800_000_000, nanos: 0 },
            reached: Reached {
                seq: 5,
                time: UnixTime { secs: 1_799_999_999, nanos: 0 },
                commit: ModSeq(77),
                segment: 2,
                end: 300,
            },
            entries: vec![
                entry("log/00000001.seg", 0, 100),
                entry("log/00000002.seg", 0, 200),
                entry("log/00000002.seg", 200, 300),
                entry("config.toml", 0, 0),
            ],
        }
    }

    #[test]
    fn a_manifest_comes_back_and_no_other() {
        let sums = sums();
        let octets = manifest().encode(&sums);
        assert_eq!(manifest().name(), "MANIFEST-20270115T080000Z-000042");
        assert_eq!(number_of(&manifest().name()), Some(42));
        assert_eq!(Manifest::decode(&octets, &sums), Ok(manifest()));
        for end in 0..octets.len() {
            assert!(Manifest::decode(&octets[..end], &sums).is_err(), "cut at {end}");
        }
        for at in 0..octets.len() {
            let mut other = octets.clone();
            other[at] ^= 1;
            // Upper-case hexadecimal digits of the sum would be the same sum.
            assert!(Manifest::decode(&other, &sums).is_err(), "octet {at}");
        }
        let newer = [b"penfold-backup 2\n".as_slice(), &octets].concat();
        assert!(Manifest::decode(&newer, &sums).unwrap_err().contains("newer"));
    }

    #[test]
    fn pieces_that_do_not_join_are_refused() {
        let sums = sums();
        for spoil in [
            |m: &mut Manifest| m.entries[2].from = 201,
            |m: &mut Manifest| m.entries[1].from = 1,
            |m: &mut Manifest| m.entries[3].path = "log/00000001.seg".into(),
        ] {
            let mut spoilt = manifest();
            spoil(&mut spoilt);
            assert_eq!(Manifest::decode(&spoilt.encode(&sums), &sums), Err("its files do not join".into()));
        }
    }

    #[test]
    fn nothing_outside_of_the_directory_can_be_named() {
        for path in
            ["log/00000001.seg.0-9~2", "snapshot/0000000000000001.snap", "tls/key.pem", "config.toml~2"]
        {
            assert!(is_ours(path), "{path}");
        }
        for path in
            ["/etc/passwd", "log/../x", "log/", "other/x", "log/a/b", "x", "", "tls/.hidden", "log/a b"]
        {
            assert!(!is_ours(path), "{path}");
        }
    }

    #[test]
    fn what_an_interrupted_run_noted_counts_up_to_the_first_line_that_is_not_whole() {
        let (one, two) = (entry("tls/a", 0, 1), entry("tls/b", 0, 2));
        let text = one.noted() + &two.noted();
        assert_eq!(noted(text.as_bytes()), [one.clone(), two]);
        assert_eq!(noted(&text.as_bytes()[..text.len() - 1]), [one]);
        assert_eq!(noted(&text.as_bytes()[1..]), []);
    }

    #[test]
    fn times_in_names() {
        for (secs, name) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
            (-1, "19691231T235959Z"),
        ] {
            assert_eq!(stamp(UnixTime { secs, nanos: 0 }), name);
        }
    }
}
