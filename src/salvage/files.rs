//! Maildir++ and mbox files.
//!
//! A Maildir++ file holds a message's octets as they are (its name says `.verbatim`, which `penfold import` understands);
//! flags are in its name, keywords have letters that `dovecot-keywords` names, INTERNALDATE is the file's time. An mbox
//! has LF line ends, `>From ` quoting, and flags in Status, X-Status and X-Keywords.
//!
//! What waited to be sent is beside the accounts, with a text that says from whom it is and who waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use store::InternalDate;
use store::salvage::{Books, Folder, Lost, People, Salvaged, Sink, Taken};
use wire::flag::{Keyword, SystemFlag, SystemFlags};
use wire::imap::utf7;

use super::waiting::{self, Waiting};
use super::{Pieces, Report, free_name};

/// How mail is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory for each account, `cur`, `new` and `tmp` in it and in each `.Folder`.
    Maildir,
    /// A directory for each account, a file for each mailbox.
    Mbox,
}

/// A file system takes 255 octets; what is longer is cut.
const NAME: usize = 200;
/// Keywords that have a letter in a Maildir.
const LETTERS: usize = 26;

/// A message to write.
struct Item<'a> {
    flags: SystemFlags,
    keywords: &'a [Keyword],
    date: Option<InternalDate>,
    len: u64,
    pieces: Pieces<'a>,
}

/// Writes files into a directory of its own.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    format: Format,
    report: Report,
    /// Folders made, and the keywords named in each.
    folders: BTreeMap<PathBuf, Vec<Keyword>>,
    taken: BTreeMap<String, BTreeSet<String>>,
    number: u64,
    /// Where what waited to be sent goes, and the text that says to whom.
    waiting: Option<Outgoing>,
}

/// Where what waited to be sent goes.
#[derive(Debug)]
struct Outgoing {
    folder: PathBuf,
    text: BufWriter<File>,
    count: u64,
}

impl Files {
    /// Into `directory`, which is there and empty.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(directory: &Path, format: Format) -> io::Result<Files> {
        Ok(Files {
            directory: directory.to_owned(),
            format,
            report: Report::new(directory)?,
            folders: BTreeMap::new(),
            taken: BTreeMap::new(),
            number: 0,
            waiting: None,
        })
    }

    /// The report, when all is written and durable.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(mut self) -> io::Result<Report> {
        if let Some(outgoing) = &mut self.waiting {
            outgoing.text.flush()?;
        }
        for (folder, keywords) in &self.folders {
            if self.format == Format::Maildir && !keywords.is_empty() {
                let mut text = String::new();
                for (n, keyword) in keywords.iter().enumerate() {
                    let _ = writeln!(text, "{n} {keyword}");
                }
                fs::write(folder.join("dovecot-keywords"), text)?;
            }
        }
        rustix::fs::syncfs(File::open(&self.directory)?)?;
        Ok(self.report)
    }

    fn account(&self, account: Option<&str>) -> PathBuf {
        self.directory.join(account.map_or_else(|| "unattributed".to_owned(), file_name))
    }

    /// Where a folder is; made if it is not there yet.
    fn folder(&mut self, account: Option<&str>, name: &str) -> io::Result<PathBuf> {
        let account = self.account(account);
        let path = match (self.format, name) {
            (Format::Mbox, name) => account.join(format!("{}.mbox", levels(name))),
            (Format::Maildir, "INBOX") => account.clone(),
            (Format::Maildir, name) => account.join(format!(".{}", levels(name))),
        };
        if self.folders.contains_key(&path) {
            return Ok(path);
        }
        self.make(&path)?;
        if self.format == Format::Maildir && path != account {
            // It says that this is a folder of a Maildir++, not one of its own.
            private(&path.join("maildirfolder"))?;
        }
        Ok(path)
    }

    /// Makes a folder, and what it is in.
    fn make(&mut self, path: &Path) -> io::Result<()> {
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700);
        match self.format {
            Format::Maildir => {
                ["cur", "new", "tmp"].iter().try_for_each(|part| make.create(path.join(part)))?;
            }
            Format::Mbox => {
                path.parent().map_or(Ok(()), |above| make.create(above))?;
                private(path)?;
            }
        }
        self.folders.insert(path.to_owned(), Vec::new());
        Ok(())
    }

    /// Writes a message. Gives the file's name, if it has one of its own.
    fn write(&mut self, folder: &Path, item: &Item<'_>) -> io::Result<Option<String>> {
        self.number += 1;
        match self.format {
            Format::Maildir => self.maildir(folder, item).map(Some),
            Format::Mbox => self.mbox(folder, item).map(|()| None),
        }
    }

    fn maildir(&mut self, folder: &Path, message: &Item<'_>) -> io::Result<String> {
        let keywords = self.folders.entry(folder.to_owned()).or_default();
        let mut set = 0u128;
        for keyword in message.keywords {
            let at = keywords.iter().position(|k| k == keyword).unwrap_or_else(|| {
                keywords.push(keyword.clone());
                keywords.len() - 1
            });
            set |= 1u128.checked_shl(u32::try_from(at).unwrap_or(u32::MAX)).unwrap_or(0);
        }
        let date = message.date.unwrap_or_default();
        let mut name =
            format!("{}.Q{:010}.penfold.verbatim,S={}", date.unix.max(0), self.number, message.len);
        let _ = match date.zone_minutes {
            0 => Ok(()),
            zone => write!(name, ",Z={zone}"),
        };
        let _ = if set >> LETTERS == 0 { Ok(()) } else { write!(name, ",K={set:x}") };
        name.push_str(":2,");
        let letters = [
            (SystemFlag::Draft, 'D'),
            (SystemFlag::Flagged, 'F'),
            (SystemFlag::Answered, 'R'),
            (SystemFlag::Seen, 'S'),
            (SystemFlag::Deleted, 'T'),
        ];
        name.extend(letters.iter().filter(|(flag, _)| message.flags.has(*flag)).map(|(_, letter)| letter));
        name.extend(
            ('a'..='z').zip(0..LETTERS).filter(|&(_, n)| set >> n & 1 == 1).map(|(letter, _)| letter),
        );
        let mut file = BufWriter::new(private(&folder.join("cur").join(&name))?);
        (message.pieces)(&mut |piece| file.write_all(piece))?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let time = u64::try_from(date.unix).ok().map(Duration::from_secs);
        if let Some(time) = time.and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time)) {
            file.set_times(FileTimes::new().set_modified(time))?;
        }
        Ok(name)
    }

    fn mbox(&self, file: &Path, message: &Item<'_>) -> io::Result<()> {
        let mut out = BufWriter::new(OpenOptions::new().append(true).open(file)?);
        let date = message.date.map_or(0, |date| date.unix);
        let time = jiff::Timestamp::from_second(date).unwrap_or_default();
        writeln!(out, "From MAILER-DAEMON {}", time.strftime("%a %b %e %H:%M:%S %Y"))?;
        let letters = |of: &[(SystemFlag, &str)]| -> String {
            of.iter().filter(|(flag, _)| message.flags.has(*flag)).map(|(_, letter)| *letter).collect()
        };
        writeln!(out, "Status: {}O", letters(&[(SystemFlag::Seen, "R")]))?;
        let flags = letters(&[
            (SystemFlag::Answered, "A"),
            (SystemFlag::Flagged, "F"),
            (SystemFlag::Draft, "T"),
            (SystemFlag::Deleted, "D"),
        ]);
        if !flags.is_empty() {
            writeln!(out, "X-Status: {flags}")?;
        }
        if !message.keywords.is_empty() {
            let words: Vec<&str> = message.keywords.iter().map(Keyword::as_str).collect();
            writeln!(out, "X-Keywords: {}", words.join(" "))?;
        }
        let mut lines = Quote { out: &mut out, line: Vec::new() };
        (message.pieces)(&mut |piece| lines.push(piece))?;
        lines.end()?;
        out.flush()
    }
}

impl Files {
    /// Writes a message that waited to be sent, and to whom. One without octets is passed over.
    pub(super) fn waiting(&mut self, message: &Waiting) -> io::Result<()> {
        let Ok(octets) = &message.octets else { return Ok(()) };
        let mut outgoing = match self.waiting.take() {
            Some(there) => there,
            None => self.outgoing()?,
        };
        let date = message.since.map(|unix| InternalDate { unix, zone_minutes: 0 });
        let item = Item {
            flags: SystemFlags::NONE,
            keywords: &[],
            date,
            len: octets.len(),
            pieces: &|each| octets.each_piece(each),
        };
        let name = self.write(&outgoing.folder, &item)?;
        outgoing.count += 1;
        let name = name.unwrap_or_else(|| format!("number {}", outgoing.count));
        writeln!(outgoing.text, "{name}\n{}", message.describe())?;
        self.waiting = Some(outgoing);
        Ok(())
    }

    fn outgoing(&mut self) -> io::Result<Outgoing> {
        let logins: BTreeSet<String> = self.taken.keys().map(|login| file_name(login)).collect();
        let name = free_name(waiting::NAME, &logins);
        let text = BufWriter::new(private(&self.directory.join(format!("{name}.txt")))?);
        let end = if self.format == Format::Mbox { ".mbox" } else { "" };
        let folder = self.directory.join(format!("{name}{end}"));
        self.make(&folder)?;
        Ok(Outgoing { folder, text, count: 0 })
    }
}

impl Sink for Files {
    fn people(&mut self, people: &People) -> io::Result<()> {
        for person in &people.accounts {
            let names = person.mailboxes.iter().map(|(path, _)| path.clone()).collect();
            self.taken.insert(person.login.clone(), names);
            if self.format == Format::Maildir {
                self.folder(Some(&person.login), "INBOX")?;
            }
            for (path, _) in &person.mailboxes {
                self.folder(Some(&person.login), path)?;
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &Salvaged<'_>) -> io::Result<()> {
        let none = BTreeSet::new();
        let taken = message.account.and_then(|account| self.taken.get(account)).unwrap_or(&none);
        let name = match message.folder {
            Folder::Mailbox(path) => path.to_owned(),
            Folder::Recovered => free_name("Recovered", taken),
            Folder::Damaged => free_name("Damaged", taken),
        };
        let folder = self.folder(message.account, &name)?;
        self.write(
            &folder,
            &Item {
                flags: message.flags,
                keywords: &message.keywords,
                date: message.date,
                len: message.len(),
                pieces: &|each| message.each_piece(each),
            },
        )?;
        self.report.count(message.account.unwrap_or("(nobody knows whose)"), &name);
        Ok(())
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.report.lost(lost)
    }

    fn books(&mut self, books: &mut Books<'_>) -> io::Result<Taken> {
        let mut taken = Taken::default();
        waiting::each(books, &mut |message| {
            match &message.octets {
                Ok(octets) => {
                    taken.waiting += 1;
                    taken.octets += octets.len();
                    self.report.count("(for other hosts)", waiting::NAME);
                    self.waiting(&message)?;
                }
                Err(_) => taken.lost += 1,
            }
            match &message.octets {
                Ok(octets) if octets.spoilt() == 0 => Ok(()),
                _ => self.report.waiting(&message),
            }
        })?;
        Ok(taken)
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        self.report.note(text);
        Ok(())
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A login name as a directory's.
fn file_name(login: &str) -> String {
    let name = login.replace('%', "%25").replace('/', "%2F");
    cut(&match name.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => name,
    })
}

/// A mailbox's levels, each in modified UTF-7 (RFC 3501 s.5.1.3), with dots between; a dot within one is `&AC4-`.
fn levels(path: &str) -> String {
    let level = |level: &str| {
        let mut encoded = Vec::new();
        utf7::encode(level, &mut encoded);
        String::from_utf8_lossy(&encoded).replace('.', "&AC4-")
    };
    cut(&path.split('/').map(level).collect::<Vec<_>>().join("."))
}

/// A name that a file system takes: the rest of a long one becomes a number.
fn cut(name: &str) -> String {
    if name.len() <= NAME {
        return name.to_owned();
    }
    let mut end = NAME;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let (front, rest) = name.split_at(end);
    let sum = rest
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{front}-{sum:016x}")
}

/// Lines for an mbox: LF ends them, and what looks like a From_ line has one more `>`.
struct Quote<'a> {
    out: &'a mut dyn Write,
    line: Vec<u8>,
}

impl Quote<'_> {
    fn push(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while let Some(at) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(at + 1);
            self.line.extend_from_slice(line);
            self.put()?;
            piece = rest;
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn put(&mut self) -> io::Result<()> {
        let line = self.line.strip_suffix(b"\r\n").or_else(|| self.line.strip_suffix(b"\n"));
        let line = line.unwrap_or(&self.line);
        let marks = line.iter().take_while(|&&b| b == b'>').count();
        if line[marks..].starts_with(b"From ") {
            self.out.write_all(b">")?;
        }
        self.out.write_all(line)?;
        self.out.write_all(b"\n")?;
        self.line.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.put()?;
        }
        self.out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_as_a_file_system_takes() {
        assert_eq!(levels("Work/Ä & B.c"), "Work.&AMQ- &- B&AC4-c");
        assert_eq!(file_name("../etc/passwd"), "%2E.%2Fetc%2Fpasswd");
        assert_eq!(file_name("anna@b.test"), "anna@b.test");
        let long = "ä".repeat(300);
        let (one, other) = (levels(&long), levels(&format!("{long}x")));
        assert!(one.len() < 255 && other.len() < 255 && one != other);
    }

    #[test]
    fn lines_of_an_mbox_are_quoted_wherever_pieces_are_cut() {
        let text = b"Subject: x\r\n\r\nFrom here\r\n>From there\r\nnot >From\r\nlast";
        for cut in 0..text.len() {
            let mut out = Vec::new();
            let mut quote = Quote { out: &mut out, line: Vec::new() };
            quote.push(&text[..cut]).unwrap();
            quote.push(&text[cut..]).unwrap();
            quote.end().unwrap();
            let wanted = "Subject: x\n\n>From here\n>>From there\nnot >From\nlast\n\n";
            assert_eq!(String::from_utf8(out).unwrap(), wanted, "cut at {cut}");
        }
    }
}
