//! Export: an account's mail out of our store, into a sink; and files as a sink, mbox or Maildir++.
//!
//! An export goes into an empty directory, is synced at its end, and is whole when its list (`manifest`) is there: that
//! is written last.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{AccountId, InternalDate, Row, Store};
use wire::flag::{FlagNames, Keyword};

use super::manifest::{self, Entry, Manifest};
use super::{Error, Fate, Item, Opened, Place, Report, Sink, Spot, lines, maildir, mbox};

/// Messages read together.
const TOGETHER: usize = 256;
/// Octets of a file's name at most; file systems allow 255.
const NAME: usize = 200;

/// Gives all mail of an account to a sink, mailbox by mailbox.
///
/// # Errors
/// When the sink ends it, or the store cannot be read at all.
pub fn read_account(store: &Store, account: AccountId, sink: &mut dyn Sink) -> Result<(), Error> {
    let directory = store.directory();
    for info in directory.mailboxes_of(account) {
        let opened =
            sink.mailbox(&Place { name: info.path.clone(), special_use: info.special_use, by_use: false })?;
        let view = match store.view(info.id) {
            Ok(view) => view,
            Err(store::ReadError::NoSuchMailbox) => continue, // It went away meanwhile.
            Err(why) => {
                sink.lost(&info.path, &why.to_string())?;
                continue;
            }
        };
        let mut rows = view.rows();
        loop {
            let some: Vec<Row> = rows.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            for (row, message) in store.messages(&some) {
                let keywords = view.keywords_of(&row).cloned().collect();
                let item = Item {
                    to: vec![opened.spot],
                    flags: FlagNames { system: row.flags, keywords },
                    date: Some(row.date),
                    length: u64::from(row.size),
                };
                // Read whole, and so found sound, before any of it is given on.
                match message.and_then(|message| message.to_vec()) {
                    Ok(octets) if octets.len() as u64 == item.length => {
                        sink.put(&item, &mut octets.as_slice())?
                    }
                    Ok(_) => sink.lost(&format!("{}, UID {}", info.path, row.uid), "its length is wrong")?,
                    Err(why) => sink.lost(&format!("{}, UID {}", info.path, row.uid), &why.to_string())?,
                }
            }
            // Nobody asks here what became of them: the other end counts.
            sink.fates();
        }
    }
    sink.finish()
}

/// The form of an export's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A file a mailbox, mboxrd, in directories as the mailboxes are.
    Mbox,
    /// Maildir++: a file a message.
    Maildir,
}

#[derive(Debug)]
struct Mailbox {
    entry: Entry,
    path: PathBuf,
    /// Maildir's letters.
    keywords: Vec<Keyword>,
}

/// Writes mail into files of an empty directory.
pub struct Writer<'a> {
    directory: PathBuf,
    format: Format,
    manifest: Manifest,
    began: i64,
    mailboxes: Vec<Mailbox>,
    /// The mbox that was written last.
    open: Option<(Spot, BufWriter<File>)>,
    octets: Vec<u8>,
    written: Vec<u8>,
    number: u64,
    report: Report,
    fates: Vec<Vec<Fate>>,
    watch: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Writer<'a> {
    /// Into `directory`, which is made if it is not there and must be empty. `watch` is told of messages and octets.
    ///
    /// # Errors
    /// When the directory is not empty or cannot be made.
    pub fn new(
        directory: &Path,
        format: Format,
        account: &str,
        watch: &'a mut dyn FnMut(u64, u64),
    ) -> Result<Writer<'a>, Error> {
        let shown = directory.display();
        fs::create_dir_all(directory).map_err(|why| Error::write(shown, why))?;
        let mut found = fs::read_dir(directory).map_err(|why| Error::read(directory.display(), why))?;
        if found.next().is_some() {
            return Err(Error::wrong(
                directory.display(),
                "it is not empty, and an export overwrites nothing",
            ));
        }
        let name = match format {
            Format::Mbox => "mbox",
            Format::Maildir => "maildir",
        };
        let writer = Writer {
            directory: directory.to_owned(),
            format,
            manifest: Manifest::new(name, account),
            began: crate::clock::wall().seconds,
            mailboxes: Vec::new(),
            open: None,
            octets: Vec::new(),
            written: Vec::new(),
            number: 0,
            report: Report::default(),
            fates: Vec::new(),
            watch,
        };
        if format == Format::Maildir {
            writer.make_maildir(directory)?;
        }
        Ok(writer)
    }

    /// What was written, and what was not.
    #[must_use]
    pub fn report(self) -> Report {
        self.report
    }

    fn make_maildir(&self, at: &Path) -> Result<(), Error> {
        for part in ["", "cur", "new", "tmp"] {
            let path = at.join(part);
            fs::create_dir_all(&path).map_err(|why| Error::write(path.display(), why))?;
        }
        Ok(())
    }

    /// A path that no other mailbox of the export has.
    fn free_path(&self, wanted: String, suffix: &str) -> String {
        let taken = |path: &str| {
            path == manifest::NAME
                || path == "."
                || self.mailboxes.iter().any(|m| {
                    let other = m.entry.path.to_lowercase();
                    // Neither may be a directory of the other's.
                    let path = path.to_lowercase();
                    other == path
                        || other.starts_with(&format!("{path}/"))
                        || path.starts_with(&format!("{other}/"))
                })
        };
        let mut path = format!("{wanted}{suffix}");
        let mut n = 1;
        while taken(&path) {
            n += 1;
            path = format!("{wanted}~{n}{suffix}");
        }
        path
    }

    fn make(&mut self, place: &Place) -> Result<Mailbox, Error> {
        let (relative, path) = match self.format {
            Format::Mbox => {
                let relative = self.free_path(file_levels(&place.name).join("/"), ".mbox");
                let path = self.directory.join(&relative);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(|why| Error::write(parent.display(), why))?;
                }
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .map_err(|why| Error::write(path.display(), why))?;
                (relative, path)
            }
            Format::Maildir if place.name == "INBOX" => (".".to_owned(), self.directory.clone()),
            Format::Maildir => {
                let relative = self.free_path(short(&maildir::write_folder(&place.name)), "");
                let path = self.directory.join(&relative);
                self.make_maildir(&path)?;
                let mark = path.join("maildirfolder");
                File::create(&mark).map_err(|why| Error::write(mark.display(), why))?;
                (relative, path)
            }
        };
        let special_use = place.special_use.map(|u| u.attribute().to_owned());
        let entry = Entry { name: place.name.clone(), path: relative, special_use, messages: 0 };
        Ok(Mailbox { entry, path, keywords: Vec::new() })
    }

    fn put_mbox(&mut self, spot: Spot, flags: &FlagNames, date: InternalDate) -> Result<(), Error> {
        let path = &self.mailboxes[spot.0 as usize].path;
        let failed = |why| Error::write(path.display(), why);
        if self.open.as_ref().is_none_or(|(open, _)| *open != spot) {
            if let Some((_, mut file)) = self.open.take() {
                file.flush().map_err(failed)?;
            }
            let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
            self.open = Some((spot, BufWriter::with_capacity(256 * 1024, file)));
        }
        self.written.clear();
        mbox::write(&self.octets, flags, date, &mut self.written);
        match &mut self.open {
            Some((_, file)) => file.write_all(&self.written).map_err(failed),
            None => Ok(()),
        }
    }

    fn put_maildir(&mut self, spot: Spot, flags: &FlagNames, date: InternalDate) -> Result<(), Error> {
        // An empty file would be taken for no message.
        let canonical = lines::is_canonical(&self.octets) && !self.octets.is_empty();
        self.written.clear();
        if canonical {
            let whole = self.octets.split_inclusive(|b| *b == b'\n');
            for line in whole {
                match line.strip_suffix(b"\r\n") {
                    Some(text) => {
                        self.written.extend_from_slice(text);
                        self.written.push(b'\n');
                    }
                    None => self.written.extend_from_slice(line),
                }
            }
        } else {
            self.written.extend_from_slice(&self.octets);
        }
        self.number += 1;
        let mailbox = &mut self.mailboxes[spot.0 as usize];
        let octets = self.written.len() as u64;
        let name =
            maildir::write(self.began, self.number, flags, date, octets, !canonical, &mut mailbox.keywords);
        let path = mailbox.path.join("cur").join(name);
        let failed = |why| Error::write(path.display(), why);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        file.write_all(&self.written).map_err(failed)?;
        // A time that the file system cannot have stands in the file's name.
        let _ = file.set_times(FileTimes::new().set_modified(system_time(date.unix)));
        Ok(())
    }

    /// Everything to the disk, and then the list.
    fn sync(&mut self) -> Result<(), Error> {
        let shown = self.directory.display().to_string();
        let failed = |why: io::Error| Error::write(&shown, why);
        if let Some((_, mut file)) = self.open.take() {
            file.flush().map_err(failed)?;
        }
        for mailbox in &self.mailboxes {
            if self.format == Format::Maildir && !mailbox.keywords.is_empty() {
                let path = mailbox.path.join("dovecot-keywords");
                fs::write(&path, maildir::write_keywords(&mailbox.keywords)).map_err(failed)?;
            }
            self.manifest.mailboxes.push(mailbox.entry.clone());
        }
        let directory = File::open(&self.directory).map_err(failed)?;
        rustix::fs::syncfs(&directory).map_err(|why| failed(why.into()))?;
        let mut list = serde_json::to_vec_pretty(&self.manifest).map_err(|why| failed(why.into()))?;
        list.push(b'\n');
        let path = self.directory.join(manifest::NAME);
        let mut file = File::create(path).map_err(failed)?;
        file.write_all(&list)
            .and_then(|()| file.sync_all())
            .and_then(|()| directory.sync_all())
            .map_err(failed)
    }
}

impl Sink for Writer<'_> {
    fn mailbox(&mut self, place: &Place) -> Result<Opened, Error> {
        if let Some(at) = self.mailboxes.iter().position(|m| m.entry.name == place.name) {
            let spot = Spot(u32::try_from(at).unwrap_or(u32::MAX));
            return Ok(Opened { spot, path: place.name.clone(), made: false });
        }
        let mailbox = self.make(place)?;
        let spot = Spot(u32::try_from(self.mailboxes.len()).unwrap_or(u32::MAX));
        self.mailboxes.push(mailbox);
        self.report.mailboxes.insert(place.name.clone(), super::Count { made: true, ..Default::default() });
        Ok(Opened { spot, path: place.name.clone(), made: true })
    }

    fn put(&mut self, item: &Item, octets: &mut dyn Read) -> Result<(), Error> {
        self.octets.clear();
        self.octets.shrink_to(4 << 20);
        let limit = wire::limits::MESSAGE * 2; // With its trace headers a message may be larger than the limit.
        if item.length > limit {
            return Err(Error::Talk("a message is larger than any can be".into()));
        }
        octets.take(item.length).read_to_end(&mut self.octets).map_err(Error::Lost)?;
        if self.octets.len() as u64 != item.length {
            return Err(Error::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let date = item.date.unwrap_or_default();
        for &spot in &item.to {
            if spot.0 as usize >= self.mailboxes.len() {
                return Err(Error::Talk("a mailbox was named that was not asked for".into()));
            }
            match self.format {
                Format::Mbox => self.put_mbox(spot, &item.flags, date)?,
                Format::Maildir => self.put_maildir(spot, &item.flags, date)?,
            }
            let entry = &mut self.mailboxes[spot.0 as usize].entry;
            entry.messages += 1;
            self.report.mailboxes.entry(entry.name.clone()).or_default().placed += 1;
        }
        self.report.messages += 1;
        self.report.octets += item.length;
        self.fates.push(vec![Fate::Placed; item.to.len()]);
        (self.watch)(self.report.messages, self.report.octets);
        Ok(())
    }

    fn lost(&mut self, what: &str, why: &str) -> Result<(), Error> {
        self.report.refused += 1;
        self.report.tell(what, why);
        Ok(())
    }

    fn fates(&mut self) -> Vec<Vec<Fate>> {
        std::mem::take(&mut self.fates)
    }

    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.sync()
    }
}

fn system_time(unix: i64) -> SystemTime {
    let distance = Duration::from_secs(unix.unsigned_abs());
    let time = if unix < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

/// The levels of a mailbox's name as names of files: as they are, but for what would be hidden, lead elsewhere or be
/// mistaken for a mbox. The list has the real names.
fn file_levels(name: &str) -> Vec<String> {
    name.split('/')
        .map(|level| {
            let small = level.to_lowercase();
            let plain = if level.starts_with('.') || small.ends_with(".mbox") || small.ends_with(".sbd") {
                level.replace('.', "_")
            } else {
                level.to_owned()
            };
            short(&plain.replace('\\', "_"))
        })
        .collect()
}

fn short(name: &str) -> String {
    name.split_at(name.floor_char_boundary(NAME)).0.to_owned()
}

#[cfg(test)]
#[path = "tests/export.rs"]
mod tests;
