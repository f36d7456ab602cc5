//! The queue of a ruined store, as far as its lines can be read: which messages somebody still waits for.
//!
//! A message waits while a recipient has a line. One that has none left was sent, if it is certain that all its lines are
//! here; otherwise it counts as waiting, with recipients that nobody knows.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;

use jiff::Timestamp;
use store::Book;
use store::salvage::{Books, FoundOctets};

use crate::flow::queue::{Entry, Recipient, fate, line};

/// What goes out is called so in a salvage.
pub(super) const NAME: &str = "Waiting to be sent";
/// Lines read at a time.
const PAGE: usize = 200;

/// A message that may not have been sent.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its name in the queue, if its line is known.
    pub(super) id: Option<String>,
    /// What its line says.
    pub(super) entry: Option<Entry>,
    /// Who waits for it, with their numbers.
    pub(super) recipients: Vec<(u16, Recipient)>,
    /// There may be others, whose lines are damaged.
    pub(super) others: bool,
    /// When it was taken, in seconds since 1970.
    pub(super) since: Option<i64>,
    /// Its octets, or why there are none.
    pub(super) octets: Result<FoundOctets, String>,
}

/// Goes through what waits, in the order in which it came.
///
/// # Errors
/// Those of `each`.
pub(super) fn each(books: &mut Books<'_>, each: &mut dyn FnMut(Waiting) -> io::Result<()>) -> io::Result<()> {
    let settled = settled(books);
    let mut from = Vec::new();
    loop {
        let page = books.lines(Book::Queue, &from, None, PAGE);
        let Some(last) = page.last() else { break };
        from = [&last.key[..], &[0]].concat();
        for found in page {
            let complete = found.message.is_some_and(|message| message.complete);
            let (recipients, unread) = recipients(books, &found.key, &settled);
            if recipients.is_empty() && unread == 0 && complete {
                continue;
            }
            let entry = found.value.as_deref().and_then(Entry::read);
            each(Waiting {
                id: Some(String::from_utf8_lossy(&found.key).into_owned()),
                since: entry.as_ref().map(|e| e.at).or(found.message.and_then(|m| m.time)),
                entry,
                recipients,
                others: unread > 0 || !complete,
                octets: books.message(Book::Queue, &found.key),
            })?;
        }
    }
    without_messages(books, &settled, each)?;
    while let Some(loose) = books.loose() {
        each(Waiting {
            id: None,
            entry: None,
            recipients: Vec::new(),
            others: true,
            since: Some(loose.time),
            octets: Ok(loose.octets),
        })?;
    }
    Ok(())
}

/// Recipients whose fate is known, by their keys' hashes. It was written in the commit that struck them: a line that is
/// there all the same is an old one. Only a damaged log has such.
fn settled(books: &mut Books<'_>) -> HashSet<u64> {
    let mut all = HashSet::new();
    let mut from = Vec::new();
    while !books.is_whole() {
        let page = books.lines(Book::Fates, &from, None, PAGE);
        let Some(last) = page.last() else { break };
        from = [&last.key[..], &[0]].concat();
        all.extend(page.iter().filter_map(|found| fate::recipient(&found.key)).map(hash));
    }
    all
}

fn hash(key: &[u8]) -> u64 {
    // Made anew for each use, it is the same each time.
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// A message's recipients, and how many of their lines cannot be read.
fn recipients(books: &mut Books<'_>, id: &[u8], settled: &HashSet<u64>) -> (Vec<(u16, Recipient)>, usize) {
    let Ok(id) = std::str::from_utf8(id) else { return (Vec::new(), 0) };
    let (from, to) = line::keys_of(id);
    let (mut all, mut unread) = (Vec::new(), 0);
    for found in books.lines(Book::Recipients, &from, Some(&to), usize::MAX) {
        if settled.contains(&hash(&found.key)) {
            continue;
        }
        let number = line::split(&found.key).map(|(_, number)| number);
        match number.zip(found.value.as_deref().and_then(Recipient::read)) {
            Some(recipient) => all.push(recipient),
            None => unread += 1,
        }
    }
    (all, unread)
}

/// Recipients whose message is lost with its line.
fn without_messages(
    books: &mut Books<'_>,
    settled: &HashSet<u64>,
    each: &mut dyn FnMut(Waiting) -> io::Result<()>,
) -> io::Result<()> {
    let mut from = Vec::new();
    while let Some(first) = books.lines(Book::Recipients, &from, None, 1).pop() {
        let Some((id, _)) = line::split(&first.key) else {
            from = [&first.key[..], &[0]].concat();
            continue;
        };
        from = line::keys_of(id).1;
        let there = books.lines(Book::Queue, id.as_bytes(), None, 1);
        if there.first().is_none_or(|message| message.key != id.as_bytes()) {
            let (recipients, unread) = recipients(books, id.as_bytes(), settled);
            if recipients.is_empty() && unread == 0 {
                continue;
            }
            each(Waiting {
                id: Some(id.to_owned()),
                entry: None,
                recipients,
                others: unread > 0,
                since: None,
                octets: Err("its record is lost".to_owned()),
            })?;
        }
    }
    Ok(())
}

impl Waiting {
    /// Whether it can wait in the queue of another store: all of it is as it was, and somebody waits for it.
    pub(super) fn is_sound(&self) -> bool {
        let sound = self.octets.as_ref().is_ok_and(|octets| octets.spoilt() == 0);
        sound && self.id.is_some() && self.entry.is_some() && !self.recipients.is_empty()
    }

    /// What a person needs to know of it: lines that are indented, and end.
    pub(super) fn describe(&self) -> String {
        let date = |at: i64| Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string());
        let since = self.since.map_or_else(|| "nobody knows when".to_owned(), date);
        let mut text = match &self.id {
            Some(id) => format!("  {}, taken {since}\n", plain(id)),
            None => format!("  its name is lost; taken {since}, if that is true\n"),
        };
        let mut say = |line: &str| {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        };
        match &self.entry {
            Some(entry) => say(&format!("from {}", plain(&entry.from))),
            None => say("from: lost; look at the message's header"),
        }
        for (_, recipient) in &self.recipients {
            let tried = match (recipient.tries, &recipient.last) {
                (0, _) => "not tried yet".to_owned(),
                (n, None) => format!("tried {n} times"),
                (n, Some(last)) => {
                    format!(
                        "tried {n} times, the last at {}: {} {}",
                        date(last.at),
                        plain(&last.host),
                        plain(&last.what)
                    )
                }
            };
            say(&format!("to {}, {tried}", plain(&recipient.to)));
        }
        if self.others {
            let known = if self.recipients.is_empty() { "to: lost" } else { "to others, perhaps: lost" };
            say(&format!("{known}; look at the message's header"));
        }
        match &self.octets {
            Ok(octets) if octets.spoilt() > 0 => {
                say(&format!("DAMAGED: {} of its {} octets", octets.spoilt(), octets.len()));
            }
            Ok(_) => {}
            Err(why) => say(&format!("LOST: {why}")),
        }
        text
    }
}

/// Text without what a terminal might obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
