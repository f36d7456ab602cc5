//! Mail in files: which file is what, and which mailbox its messages go into.
//!
//! A file is what it shows itself to be: a mbox begins with a From_ line, a Maildir's messages lie in `cur` and `new`, a
//! message alone has its header's first line and is called `.eml`. Nothing else is taken for mail.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use store::InternalDate;
use wire::flag::Keyword;
use wire::limits;

use super::archive::{Held, Holder};
use super::feed::{Message, Origin};
use super::manifest::{self, Manifest};
use super::mbox::Mbox;
use super::store_sink::too_large;
use super::{Error, Feed, Spot, fields, labels, lines, maildir};

/// How mail is kept in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As the files show.
    #[default]
    Auto,
    /// All messages of a mailbox in one file.
    Mbox,
    /// A message a file, in directories `cur` and `new`.
    Maildir,
    /// A message a file, anywhere, under any name.
    Eml,
    /// Google Takeout: a mbox whose messages name their labels.
    Takeout,
}

/// Files beside mail that say nothing that is needed here.
fn is_companion(name: &str) -> bool {
    let small = name.to_lowercase();
    if small.ends_with(".mbox") || small.ends_with(".eml") {
        return false;
    }
    let by_end = [
        ".msf",
        ".dat",
        ".html",
        ".json",
        ".plist",
        ".sqlite",
        ".sqlite-wal",
        ".sqlite-shm",
        ".lock",
        ".log",
    ];
    let by_name = [
        "subscriptions",
        "maildirfolder",
        "maildirsize",
        "popstate.dat",
        "filterlog.html",
        "folders",
        "sieve",
    ];
    let by_start = [
        "dovecot",
        "courier",
        ".mh_sequences",
        ".mbsyncstate",
        ".uidvalidity",
        ".ds_store",
        ".subscriptions",
        "msgfilterrules",
        ".strm",
        ".lda-dupes",
        ".notmuch",
    ];
    by_end.iter().any(|e| small.ends_with(e))
        || by_name.contains(&small.as_str())
        || by_start.iter().any(|s| small.starts_with(s))
}

/// Reads a path, whatever it is, and gives its messages to the feed.
///
/// # Errors
/// When the path cannot be read at all, or the sink ended it. What cannot be read within it is told in the report.
pub fn import_path(path: &Path, format: Format, feed: &mut Feed<'_>) -> Result<(), Error> {
    let holder = Holder::open(path)?;
    let files = holder.list(&mut |what, why| feed.not_mail(what, why))?;
    feed.total(holder.total(&files));
    let mut reader = Reader::new(&holder, path, format);
    reader.look_around(&files)?;
    let mut wanted: Vec<&Held> = files.iter().collect();
    // A folder's messages, old and new, in the order in which they came.
    wanted.sort_by_cached_key(|held| match maildir_folder(held) {
        Some(folder) => (folder, held.path.file_name().map(ToOwned::to_owned)),
        None => (held.path.clone(), None),
    });
    // The mailboxes of our own exports that have no message: no file would name them.
    let listed: Vec<manifest::Entry> =
        reader.manifests.values().flat_map(|m| m.mailboxes.iter().cloned()).collect();
    for entry in &listed {
        named(entry, feed)?;
    }
    holder.each(&wanted, &mut |held, content| {
        let result = match content {
            Ok(content) => reader.file(held, content, feed),
            Err(why) => {
                feed.refuse(held.name(), format_args!("it cannot be read: {why}"));
                Ok(())
            }
        };
        feed.read(holder.take_read());
        result
    })
}

/// The directory of the Maildir folder that a file is a message of.
fn maildir_folder(held: &Held) -> Option<std::path::PathBuf> {
    let kept_in = held.path.parent()?;
    let name = kept_in.file_name()?;
    (name == "cur" || name == "new").then(|| kept_in.parent().map(Path::to_owned).unwrap_or_default())
}

struct Reader<'a> {
    holder: &'a Holder,
    /// What the source itself is called, without its ending.
    called: String,
    format: Format,
    /// Directories at the beginning of every path that are no part of names.
    wrapped: usize,
    /// Keywords by Maildir folder.
    keywords: HashMap<String, Vec<Keyword>>,
    /// Lists of mailboxes, by directory.
    manifests: HashMap<String, Manifest>,
    /// Mailboxes already found, by folder.
    folders: HashMap<std::path::PathBuf, Option<Spot>>,
    message: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(holder: &'a Holder, path: &Path, format: Format) -> Reader<'a> {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = whole.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Reader {
            holder,
            called: if holder.is_directory() { name } else { stem(&name) },
            format,
            wrapped: 0,
            keywords: HashMap::new(),
            manifests: HashMap::new(),
            folders: HashMap::new(),
            message: Vec::new(),
        }
    }

    /// Reads the small files that say how to read the others.
    fn look_around(&mut self, files: &[Held]) -> Result<(), Error> {
        let small: Vec<&Held> = files
            .iter()
            .filter(|f| f.path.file_name().is_some_and(|n| n == manifest::NAME || n == "dovecot-keywords"))
            .collect();
        if !self.holder.is_directory() && !self.holder.is_one_file() {
            self.wrapped = wrapped(files);
        }
        if small.is_empty() || self.holder.is_one_file() {
            return Ok(());
        }
        let holder = self.holder;
        holder.each(&small, &mut |held, content| {
            let Ok(content) = content else { return Ok(()) };
            let mut text = Vec::new();
            if content.take(limits::ARCHIVE_SMALL as u64).read_to_end(&mut text).is_err() {
                return Ok(());
            }
            let mut levels = held.levels();
            let name = levels.pop().unwrap_or_default();
            let directory = levels.join("/");
            if name != manifest::NAME {
                self.keywords.insert(directory, maildir::read_keywords(&text));
            } else if let Some(manifest) = Manifest::read(&text) {
                self.manifests.insert(directory, manifest);
            }
            Ok(())
        })?;
        holder.take_read();
        Ok(())
    }

    /// One file.
    fn file(&mut self, held: &Held, content: &mut dyn Read, feed: &mut Feed<'_>) -> Result<(), Error> {
        let levels = held.levels();
        let name = levels.last().cloned().unwrap_or_default();
        // A mbox of our own export may lie in a directory called `new`.
        if let Some(folder) = maildir_folder(held)
            && self.listed(&levels).is_none()
            && matches!(self.format, Format::Auto | Format::Maildir)
        {
            return if name.starts_with('.') { Ok(()) } else { self.maildir(held, &folder, content, feed) };
        }
        let in_tmp = levels.len() > 1 && levels[levels.len() - 2] == "tmp";
        if in_tmp || name == manifest::NAME || self.format != Format::Eml && is_companion(&name) {
            return Ok(());
        }
        let is_eml = self.format == Format::Eml || has_ending(&name, "eml");
        if is_eml && matches!(self.format, Format::Auto | Format::Eml) {
            return self.eml(held, content, feed);
        }
        let mut mbox = Mbox::new(content);
        match mbox.begins_well() {
            Ok(true) if self.format != Format::Maildir => self.mbox(held, mbox, feed),
            Ok(_) => {
                feed.not_mail(held.name(), "it does not begin like mail");
                Ok(())
            }
            Err(why) => {
                feed.refuse(held.name(), format_args!("it cannot be read: {why}"));
                Ok(())
            }
        }
    }

    /// The entry of an export's list for a path.
    fn listed(&self, levels: &[String]) -> Option<&manifest::Entry> {
        self.manifests.iter().find_map(|(directory, manifest)| {
            let inside = if directory.is_empty() { 0 } else { directory.split('/').count() };
            let (before, rest) = levels.split_at_checked(inside)?;
            let path = if rest.is_empty() { ".".into() } else { rest.join("/") };
            (before.join("/") == *directory).then(|| manifest.at(&path)).flatten()
        })
    }

    fn mbox_place(&self, held: &Held, feed: &mut Feed<'_>) -> Result<Option<Spot>, Error> {
        let levels = held.levels();
        if let Some(entry) = self.listed(&levels) {
            return named(entry, feed);
        }
        if self.holder.is_one_file() {
            return feed.only_mailbox(&self.called);
        }
        let inner = levels.get(self.wrapped.min(levels.len() - 1)..).unwrap_or_default();
        feed.mailbox(&mbox_levels(inner), None)
    }

    fn mbox(&mut self, held: &Held, mut mbox: Mbox<&mut dyn Read>, feed: &mut Feed<'_>) -> Result<(), Error> {
        let name: Rc<str> = held.name().into();
        let by_label = matches!(self.format, Format::Auto | Format::Takeout);
        let mut place = None;
        let mut number = 0;
        if held.size == 0 {
            // An empty file is a mailbox when it says so.
            return if has_ending(&name, "mbox") { self.mbox_place(held, feed).map(drop) } else { Ok(()) };
        }
        let mut message = std::mem::take(&mut self.message);
        loop {
            let entry = match mbox.next(&mut message) {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(why) => {
                    feed.refuse(
                        format_args!("{name}, behind message {number}"),
                        format_args!("it cannot be read on: {why}"),
                    );
                    break;
                }
            };
            number += 1;
            feed.read(self.holder.take_read());
            let origin = Origin::Number(Rc::clone(&name), number);
            if entry.said.expunged {
                feed.deleted();
                continue;
            }
            if entry.is_too_large() {
                feed.refuse(described(&origin, &message), too_large());
                continue;
            }
            let mut flags = entry.said.flags;
            let to = match entry.said.labels.filter(|_| by_label) {
                Some(value) => {
                    let labelled = labels::read(&value);
                    flags.system = flags.system.union(labelled.flags.system);
                    labelled.flags.keywords.into_iter().for_each(|k| flags.add_keyword(k));
                    let mut to = Vec::new();
                    for (levels, special_use) in &labelled.places {
                        to.extend(feed.mailbox(levels, *special_use)?);
                    }
                    to.dedup();
                    to
                }
                None => {
                    if place.is_none() {
                        place = Some(self.mbox_place(held, feed)?);
                    }
                    place.flatten().into_iter().collect()
                }
            };
            feed.put(Message { origin, to, flags, date: entry.date }, &message)?;
        }
        self.message = message;
        Ok(())
    }

    fn maildir(
        &mut self,
        held: &Held,
        folder: &Path,
        content: &mut dyn Read,
        feed: &mut Feed<'_>,
    ) -> Result<(), Error> {
        let levels: Vec<String> = folder.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let spot = match self.folders.get(folder) {
            Some(spot) => *spot,
            None => {
                let spot = self.maildir_place(&levels, feed)?;
                self.folders.insert(folder.to_owned(), spot);
                spot
            }
        };
        let name = held.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let keywords = self.keywords.get(&levels.join("/")).map(Vec::as_slice).unwrap_or_default();
        let named = maildir::read(&name, keywords);
        if !self.whole(held, content, named.verbatim, feed)? {
            return Ok(());
        }
        let unix = named.date.or(if held.mtime == 0 { named.unix } else { Some(held.mtime) });
        let date = unix.map(|unix| InternalDate { unix, zone_minutes: named.zone_minutes });
        let origin = Origin::File(held.name().into());
        feed.put(Message { origin, to: spot.into_iter().collect(), flags: named.flags, date }, &self.message)
    }

    fn maildir_place(&self, levels: &[String], feed: &mut Feed<'_>) -> Result<Option<Spot>, Error> {
        if let Some(entry) = self.listed(levels) {
            return named(entry, feed);
        }
        let inner = levels.get(self.wrapped.min(levels.len())..).unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        for level in inner {
            match maildir::read_folder(level) {
                Some(folder) => names.extend(folder),
                None => names.push(level.clone()),
            }
        }
        if names.is_empty() {
            let own = maildir::read_folder(&self.called).filter(|f| f != &["maildir"] && f != &["Maildir"]);
            return match own.as_deref() {
                Some([name]) => feed.only_mailbox(name),
                Some(names) => feed.mailbox(names, None),
                None => feed.only_mailbox("INBOX"),
            };
        }
        feed.mailbox(&names, None)
    }

    fn eml(&mut self, held: &Held, content: &mut dyn Read, feed: &mut Feed<'_>) -> Result<(), Error> {
        if !self.whole(held, content, false, feed)? {
            return Ok(());
        }
        let first = memchr::memchr(b'\n', &self.message).and_then(|at| self.message.get(..at));
        if !fields::is_field(first.unwrap_or(&self.message)) {
            feed.not_mail(held.name(), "it does not begin with a header, as a message does");
            return Ok(());
        }
        let levels = held.levels();
        let inner = levels.get(self.wrapped.min(levels.len() - 1)..levels.len() - 1).unwrap_or_default();
        let spot = if inner.is_empty() || self.holder.is_one_file() {
            feed.only_mailbox("INBOX")?
        } else {
            feed.mailbox(inner, None)?
        };
        let date = fields::date_of(&self.message)
            .or_else(|| (held.mtime != 0).then_some(InternalDate { unix: held.mtime, zone_minutes: 0 }));
        let origin = Origin::File(held.name().into());
        feed.put(
            Message { origin, to: spot.into_iter().collect(), flags: Default::default(), date },
            &self.message,
        )
    }

    /// Reads a file that is one message. Whether it was; else it has been told of.
    fn whole(
        &mut self,
        held: &Held,
        content: &mut dyn Read,
        verbatim: bool,
        feed: &mut Feed<'_>,
    ) -> Result<bool, Error> {
        let mut octets = std::mem::take(&mut self.message);
        octets.clear();
        octets.shrink_to(4 << 20);
        // One octet over the limit is enough to know.
        let read = content.take(limits::STORED_MESSAGE + 1).read_to_end(&mut octets);
        if let Err(why) = read {
            let gone = why.kind() == io::ErrorKind::NotFound;
            feed.refuse(
                held.name(),
                format_args!("it cannot be read{}: {why}", if gone { " any more" } else { "" }),
            );
            return Ok(false);
        }
        if octets.len() as u64 > limits::STORED_MESSAGE {
            feed.refuse(described(&held.name(), &octets), too_large());
            return Ok(false);
        }
        if octets.is_empty() && !verbatim {
            feed.not_mail(held.name(), "it is empty");
            return Ok(false);
        }
        if !verbatim {
            lines::to_crlf(&mut octets);
        }
        self.message = octets;
        Ok(true)
    }
}

/// The mailbox of an export's list: by its very name, or below `--into`.
fn named(entry: &manifest::Entry, feed: &mut Feed<'_>) -> Result<Option<Spot>, Error> {
    if feed.placing.into.is_some() {
        let levels = super::names::levels(&entry.name, "/");
        return feed.mailbox(&levels, None);
    }
    feed.open(entry.place(), None)
}

/// A message with its subject, so that a person finds it.
fn described(origin: &impl ToString, message: &[u8]) -> String {
    let header = message.get(..message.len().min(limits::HEADER)).unwrap_or_default();
    match crate::mime::header::find(header, "subject") {
        Some(subject) => format!("{} ({})", origin.to_string(), crate::mime::words::header_text(subject)),
        None => origin.to_string(),
    }
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case(ending))
}

/// A file's name without the endings that say what it is.
fn stem(name: &str) -> String {
    let mut name = name;
    while let Some((before, ending)) = name.rsplit_once('.')
        && !before.is_empty()
        && ["mbox", "mbx", "eml", "gz", "tgz", "tar", "zip", "sbd"]
            .iter()
            .any(|e| ending.eq_ignore_ascii_case(e))
    {
        name = before;
    }
    name.to_owned()
}

/// The mailbox of a mbox file by its path: Thunderbird's `A.sbd/B`, Apple's `A.mbox/mbox`, or plain directories.
fn mbox_levels(levels: &[String]) -> Vec<String> {
    let mut names: Vec<String> = levels.iter().map(|level| stem(level)).collect();
    if levels.len() > 1
        && levels.last().is_some_and(|l| l == "mbox")
        && has_ending(&levels[levels.len() - 2], "mbox")
    {
        names.pop();
    }
    names
}

/// How many directories stand before every path of an archive, and are its wrapping.
fn wrapped(files: &[Held]) -> usize {
    let mut common: Option<Vec<String>> = None;
    for held in files {
        let mut levels = match maildir_folder(held) {
            Some(folder) => folder.iter().map(|p| p.to_string_lossy().into_owned()).collect(),
            None => {
                let mut levels = held.levels();
                levels.pop();
                levels
            }
        };
        // A folder of Maildir++ is a name.
        if let Some(at) = levels.iter().position(|l: &String| l.starts_with('.') && l != ".maildir") {
            levels.truncate(at);
        }
        common = Some(match common {
            None => levels,
            Some(before) => {
                before.into_iter().zip(levels).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        });
    }
    common.map_or(0, |common| common.len())
}

#[cfg(test)]
#[path = "tests/files.rs"]
mod tests;
