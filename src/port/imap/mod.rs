//! Another IMAP server as a source: its mailboxes, flags, keywords and dates, over several connections.
//!
//! First every mailbox is looked through (sizes, dates, Message-IDs), and what is here already is left out, so that a second
//! run fetches only what is new. RFC 3501; RFC 6154 (special use), RFC 2342 (NAMESPACE). Nothing is changed there: mailboxes
//! are opened with EXAMINE, bodies read with BODY.PEEK.

mod connection;

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::InternalDate;
use wire::flag::{FlagNames, SpecialUse};
use wire::imap::date::DateTime;
use wire::imap::utf7;
use wire::limits;

use super::feed::{Message, Origin};
use super::store_sink::too_large;
use super::{Error, Feed, Look, Spot, fields, lines, message_id_hash};
use connection::{Budget, Connection, Word, quoted_name};
pub use connection::{Login, Security};

/// Messages looked at in one command.
const LOOK: u64 = 1_000;
/// Messages and octets of one fetching command.
const JOB_MESSAGES: usize = 64;
const JOB_OCTETS: u64 = 4 << 20;
/// Octets of large messages in memory, over all connections.
const MEMORY: usize = 48 << 20;
/// How often a connection that was lost is made anew without anything having come.
const TRIES: u32 = 3;
/// Between two of these.
const PAUSE: Duration = Duration::from_secs(3);

/// A mailbox of the other server.
#[derive(Debug)]
struct Mailbox {
    /// As the server writes it.
    raw: Vec<u8>,
    levels: Vec<String>,
    special_use: Option<SpecialUse>,
    /// It shows every message, those of other mailboxes too (Gmail's All Mail).
    is_all: bool,
}

/// Messages to fetch.
#[derive(Debug)]
struct Job {
    mailbox: usize,
    uids: Vec<u32>,
}

/// What a connection has to tell.
enum Event {
    Message {
        mailbox: usize,
        uid: u32,
        flags: FlagNames,
        date: Option<InternalDate>,
        body: Word,
    },
    /// The connection is gone, and these were not fetched.
    Lost {
        mailbox: usize,
        uids: Vec<u32>,
        why: String,
    },
}

/// Copies the mail of an account on another server to the feed.
///
/// # Errors
/// When the server cannot be logged in to or its mailboxes not be listed, or the sink ended it.
pub fn import_imap(login: &Login, connections: usize, feed: &mut Feed<'_>) -> Result<(), Error> {
    let budget = Budget::new(MEMORY);
    let mut first = Connection::open(login, &budget)?;
    let mailboxes = list(&mut first)?;
    let mut spots = Vec::with_capacity(mailboxes.len());
    let mut jobs = VecDeque::new();
    let (mut seen, mut total) = (HashSet::new(), 0);
    for (number, mailbox) in mailboxes.iter().enumerate() {
        let spot = feed.mailbox(&mailbox.levels, mailbox.special_use)?;
        spots.push(spot);
        match look_through(&mut first, mailbox, spot, &mut seen, feed) {
            Ok(new) if !feed.is_dry() => {
                total += new.iter().map(|&(_, size)| size).sum::<u64>();
                jobs.extend(into_jobs(number, &new));
            }
            Ok(new) => {
                for (_, size) in new {
                    if let Some(spot) = spot {
                        feed.would_come(spot, size);
                    }
                }
            }
            Err(error @ Error::Wrong { .. }) => feed.refuse(mailbox.levels.join("/"), error),
            Err(error) => return Err(error),
        }
    }
    feed.total(total);
    fetch_all(login, connections.max(1), &budget, &mailboxes, &spots, jobs, first, feed)
}

#[expect(clippy::too_many_arguments, reason = "they are what one run is made of")]
fn fetch_all(
    login: &Login,
    connections: usize,
    budget: &Arc<Budget>,
    mailboxes: &[Mailbox],
    spots: &[Option<Spot>],
    jobs: VecDeque<Job>,
    first: Connection,
    feed: &mut Feed<'_>,
) -> Result<(), Error> {
    let workers = connections.min(jobs.len());
    let jobs = Mutex::new(jobs);
    let (tell, hear) = sync_channel(2 * JOB_MESSAGES);
    std::thread::scope(|scope| {
        let mut first = Some(first);
        for _ in 0..workers {
            let (tell, jobs, first) = (tell.clone(), &jobs, first.take());
            scope.spawn(move || work(login, budget, mailboxes, jobs, first, &tell));
        }
        drop(tell);
        let result = take_all(&hear, mailboxes, spots, feed);
        if result.is_err() {
            jobs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        // Whoever waits to tell something ends when nobody hears it any more.
        drop(hear);
        result
    })
}

fn take_all(
    hear: &Receiver<Event>,
    mailboxes: &[Mailbox],
    spots: &[Option<Spot>],
    feed: &mut Feed<'_>,
) -> Result<(), Error> {
    let names: Vec<Rc<str>> = mailboxes.iter().map(|m| m.levels.join("/").into()).collect();
    let origin = |mailbox: usize, uid: u32| {
        Origin::Number(names.get(mailbox).cloned().unwrap_or_default(), u64::from(uid))
    };
    for event in hear {
        match event {
            Event::Message { mailbox, uid, flags, date, body } => {
                // What was taken from the budget is given back once the sink has the message.
                let Some((mut message, _taken)) = body.into_octets() else {
                    feed.refuse(origin(mailbox, uid), too_large());
                    continue;
                };
                let read = message.len() as u64;
                lines::to_crlf(&mut message);
                let to = spots.get(mailbox).copied().flatten().into_iter().collect();
                feed.put(Message { origin: origin(mailbox, uid), to, flags, date }, &message)?;
                feed.read(read);
            }
            Event::Lost { mailbox, uids, why } => {
                for uid in uids {
                    feed.refuse(origin(mailbox, uid), &why);
                }
            }
        }
    }
    Ok(())
}

/// The mailboxes to copy, those that show every message last.
fn list(connection: &mut Connection) -> Result<Vec<Mailbox>, Error> {
    let mut prefix = Vec::new();
    if connection.can("NAMESPACE") {
        connection.command("NAMESPACE", &mut |words| {
            // * NAMESPACE (("INBOX." ".")) ...
            if let [_, name, Word::Open, Word::Open, first, ..] = words.as_slice()
                && name.is("NAMESPACE")
            {
                prefix = first.octets().unwrap_or_default().to_vec();
            }
            Ok(())
        })?;
    }
    let both = connection.can("SPECIAL-USE") && connection.can("LIST-EXTENDED");
    let command = if both { "LIST \"\" \"*\" RETURN (SPECIAL-USE)" } else { "LIST \"\" \"*\"" };
    let mut found = Vec::new();
    connection.command(command, &mut |words| {
        if found.len() >= limits::IMAP_MAILBOXES {
            return Err(Error::wrong("the other server", "it lists too many mailboxes"));
        }
        found.extend(listed(&words, &prefix));
        Ok(())
    })?;
    found.sort_by_key(|m: &Mailbox| m.is_all);
    Ok(found)
}

/// A mailbox of a LIST answer: `* LIST (ATTRIBUTES) "/" NAME`. `None` for what holds no messages of its own.
fn listed(words: &[Word], prefix: &[u8]) -> Option<Mailbox> {
    let [_, list, Word::Open, rest @ ..] = words else { return None };
    if !list.is("LIST") {
        return None;
    }
    let close = rest.iter().position(|w| matches!(w, Word::Close))?;
    let (attributes, rest) = rest.split_at(close);
    let [_, separator, name, ..] = rest else { return None };
    let has = |attribute: &str| attributes.iter().any(|w| w.is(attribute));
    // Gmail's Important and Starred show messages of others: flags say the same.
    if ["\\Noselect", "\\NonExistent", "\\Important", "\\Flagged"].iter().any(|a| has(a)) {
        return None;
    }
    let raw = name.octets()?.to_vec();
    let short = raw.strip_prefix(prefix).filter(|n| !n.is_empty()).unwrap_or(&raw);
    let text = utf7::decode(short).unwrap_or_else(|| String::from_utf8_lossy(short).into_owned());
    let separator = match separator {
        Word::Quoted(s) => String::from_utf8_lossy(s).into_owned(),
        _ => String::new(), // NIL: a flat name.
    };
    let is_all = has("\\All");
    let special_use = attributes.iter().filter_map(Word::octets).find_map(SpecialUse::parse);
    let special_use = special_use.or(is_all.then_some(SpecialUse::Archive));
    Some(Mailbox { raw, levels: super::names::levels(&text, &separator), special_use, is_all })
}

/// The messages of a mailbox that are new: UIDs and sizes.
fn look_through(
    connection: &mut Connection,
    mailbox: &Mailbox,
    spot: Option<Spot>,
    seen: &mut HashSet<(u64, u64)>,
    feed: &mut Feed<'_>,
) -> Result<Vec<(u32, u64)>, Error> {
    let exists = examine(connection, mailbox)?;
    let name: Rc<str> = mailbox.levels.join("/").into();
    let mut new = Vec::new();
    let mut from = 1;
    while from <= exists {
        let to = exists.min(from + LOOK - 1);
        let mut looked: Vec<(u32, Look, bool)> = Vec::new();
        let command =
            format!("FETCH {from}:{to} (UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])");
        connection.command(&command, &mut |words| {
            looked.extend(look(&words));
            Ok(())
        })?;
        looked.truncate(2 * LOOK as usize);
        let looks: Vec<Look> = looked.iter().map(|(_, look, _)| *look).collect();
        let known = match spot {
            Some(spot) => feed.known(spot, &looks)?,
            None => vec![false; looks.len()],
        };
        for ((uid, look, has_id), known) in looked.into_iter().zip(known) {
            let key = (look.size, look.id);
            if has_id && mailbox.is_all && seen.contains(&key) {
                continue; // It comes with the mailbox that it is in.
            }
            if has_id && !mailbox.is_all {
                seen.insert(key);
            }
            match spot {
                // Without a Message-ID two messages may look the same: its octets have to tell.
                Some(spot) if known && has_id => feed.was_there(spot),
                _ if look.size > limits::STORED_MESSAGE => {
                    feed.refuse(Origin::Number(Rc::clone(&name), u64::from(uid)), too_large());
                }
                _ => new.push((uid, look.size)),
            }
        }
        from = to + 1;
    }
    Ok(new)
}

/// Opens a mailbox for reading: how many messages it has.
fn examine(connection: &mut Connection, mailbox: &Mailbox) -> Result<u64, Error> {
    let name = quoted_name(&mailbox.raw)
        .ok_or_else(|| Error::wrong(mailbox.levels.join("/"), "its name cannot be said to the server"))?;
    let mut exists = 0;
    connection.command(&format!("EXAMINE {name}"), &mut |words| {
        if let [_, number, word, ..] = words.as_slice()
            && word.is("EXISTS")
        {
            exists = number.number().unwrap_or(0).min(u64::from(u32::MAX));
        }
        Ok(())
    })?;
    Ok(exists)
}

/// The items of a FETCH answer, each with the word behind its name.
fn items(words: &[Word]) -> Option<impl Iterator<Item = (&Word, &[Word])>> {
    let [_, _, fetch, Word::Open, rest @ ..] = words else { return None };
    if !fetch.is("FETCH") {
        return None;
    }
    let mut rest = rest;
    Some(std::iter::from_fn(move || {
        let (name, after) = rest.split_first()?;
        if matches!(name, Word::Close) {
            return None;
        }
        // A value is one word, or a parenthesised list.
        let mut depth = 0usize;
        let mut length = 0;
        for word in after {
            length += 1;
            match word {
                Word::Open => depth += 1,
                Word::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        let (value, after) = after.split_at(length);
        rest = after;
        Some((name, value))
    }))
}

fn internal_date(value: &[Word]) -> Option<InternalDate> {
    let date = DateTime::parse(value.first()?.octets()?)?;
    Some(InternalDate { unix: date.unix, zone_minutes: date.zone_minutes })
}

/// A message from afar: its UID, its look, whether it has a Message-ID.
fn look(words: &[Word]) -> Option<(u32, Look, bool)> {
    let (mut uid, mut size, mut unix, mut id) = (None, None, None, None);
    for (name, value) in items(words)? {
        if name.is("UID") {
            uid = value.first().and_then(Word::number);
        } else if name.is("RFC822.SIZE") {
            size = value.first().and_then(Word::number);
        } else if name.is("INTERNALDATE") {
            unix = internal_date(value).map(|d| d.unix);
        } else if matches!(name, Word::Atom(a) if a.starts_with(b"BODY[")) {
            id = value.first().and_then(Word::octets).and_then(message_id_hash);
        }
    }
    let uid = u32::try_from(uid?).ok()?;
    let look = Look { size: size.unwrap_or(0), unix: unix.unwrap_or(0), id: id.unwrap_or(0) };
    Some((uid, look, id.is_some()))
}

fn into_jobs(mailbox: usize, new: &[(u32, u64)]) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut octets = 0;
    for &(uid, size) in new {
        match jobs.last_mut() {
            Some(job) if job.uids.len() < JOB_MESSAGES && octets + size <= JOB_OCTETS => {
                job.uids.push(uid);
                octets += size;
            }
            _ => {
                jobs.push(Job { mailbox, uids: vec![uid] });
                octets = size;
            }
        }
    }
    jobs
}

/// One connection's life: jobs until there are none. A lost connection is made again and goes on where it was.
fn work(
    login: &Login,
    budget: &Arc<Budget>,
    mailboxes: &[Mailbox],
    jobs: &Mutex<VecDeque<Job>>,
    mut connection: Option<Connection>,
    tell: &SyncSender<Event>,
) {
    let mut opened = None;
    while let Some(mut job) = next_job(jobs) {
        let mut tries = 0;
        while !job.uids.is_empty() {
            let before = job.uids.len();
            let result = match &mut connection {
                Some(connection) => fetch(connection, mailboxes, &mut opened, &mut job, tell),
                None => Connection::open(login, budget).map(|new| {
                    connection = Some(new);
                    opened = None;
                }),
            };
            match result {
                Ok(()) => continue,
                // Nobody hears any more.
                Err(Error::Stopping) => return,
                Err(error) => {
                    connection = None;
                    tries = if job.uids.len() < before { 0 } else { tries + 1 };
                    if tries >= TRIES {
                        let (mailbox, uids) = (job.mailbox, std::mem::take(&mut job.uids));
                        if tell.send(Event::Lost { mailbox, uids, why: error.to_string() }).is_err() {
                            return;
                        }
                        break;
                    }
                    std::thread::sleep(PAUSE * tries);
                }
            }
        }
    }
}

fn next_job(jobs: &Mutex<VecDeque<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Fetches a job's messages; those that came are no longer in it.
fn fetch(
    connection: &mut Connection,
    mailboxes: &[Mailbox],
    opened: &mut Option<usize>,
    job: &mut Job,
    tell: &SyncSender<Event>,
) -> Result<(), Error> {
    if *opened != Some(job.mailbox) {
        *opened = None;
        let mailbox =
            mailboxes.get(job.mailbox).ok_or_else(|| Error::wrong("a mailbox", "it is not known"))?;
        examine(connection, mailbox)?;
        *opened = Some(job.mailbox);
    }
    let uids: Vec<String> = job.uids.iter().map(ToString::to_string).collect();
    let command = format!("UID FETCH {} (UID FLAGS INTERNALDATE BODY.PEEK[])", uids.join(","));
    connection.command(&command, &mut |words| {
        let Some((uid, flags, date, at)) = fetched(&words) else { return Ok(()) };
        let Some(place) = job.uids.iter().position(|u| *u == uid) else { return Ok(()) };
        let Some(body) = words.into_iter().nth(at) else { return Ok(()) };
        job.uids.remove(place);
        let event = Event::Message { mailbox: job.mailbox, uid, flags, date, body };
        tell.send(event).map_err(|_| Error::Stopping)
    })?;
    // What the server did not show has gone there meanwhile.
    job.uids.clear();
    Ok(())
}

/// A message that came: UID, flags, date, and which of the words is its body.
fn fetched(words: &[Word]) -> Option<(u32, FlagNames, Option<InternalDate>, usize)> {
    let (mut uid, mut flags, mut date) = (None, FlagNames::default(), None);
    for (name, value) in items(words)? {
        if name.is("UID") {
            uid = value.first().and_then(Word::number);
        } else if name.is("INTERNALDATE") {
            date = internal_date(value);
        } else if name.is("FLAGS") {
            value.iter().filter_map(Word::octets).for_each(|word| fields::add_word(&mut flags, word));
        }
    }
    let body = words.iter().position(|w| w.is("BODY[]"))? + 1;
    Some((u32::try_from(uid?).ok()?, flags, date, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(text: &str) -> Word {
        Word::Atom(text.as_bytes().to_vec())
    }
    fn quoted(text: &str) -> Word {
        Word::Quoted(text.as_bytes().to_vec())
    }

    #[test]
    fn listed_mailboxes() {
        let list = |attributes: &[&str], separator: Option<&str>, name: &str, prefix: &str| {
            let mut words = vec![atom("*"), atom("LIST"), Word::Open];
            words.extend(attributes.iter().map(|a| atom(a)));
            words.extend([Word::Close, separator.map_or(atom("NIL"), quoted), quoted(name)]);
            listed(&words, prefix.as_bytes()).map(|m| (m.levels.join("/"), m.special_use, m.is_all))
        };
        let plain = |name: &str| Some((name.to_owned(), None, false));
        assert_eq!(list(&[], Some("."), "INBOX.Work.A", "INBOX."), plain("Work/A"));
        assert_eq!(list(&[], Some("."), "INBOX", "INBOX."), plain("INBOX"));
        assert_eq!(list(&[], Some("/"), "Entw&APw-rfe", ""), plain("Entwürfe"));
        assert_eq!(list(&[], None, "a.b", ""), plain("a.b"));
        let sent = Some(SpecialUse::Sent);
        assert_eq!(
            list(&["\\Sent"], Some("/"), "[Gmail]/Sent Mail", ""),
            Some(("[Gmail]/Sent Mail".into(), sent, false))
        );
        let all = list(&["\\All", "\\HasNoChildren"], Some("/"), "[Gmail]/All Mail", "");
        assert_eq!(all, Some(("[Gmail]/All Mail".into(), Some(SpecialUse::Archive), true)));
        assert_eq!(list(&["\\Noselect"], Some("/"), "[Gmail]", ""), None);
        assert_eq!(list(&["\\Flagged"], Some("/"), "[Gmail]/Starred", ""), None);
    }

    #[test]
    fn fetched_messages_whatever_the_order_of_their_items() {
        let body = || Word::Literal(b"A: b\r\n\r\n".to_vec(), None);
        let flags = || [Word::Open, atom("\\Seen"), atom("\\Recent"), atom("$Junk"), Word::Close];
        let mut words =
            vec![atom("*"), atom("1"), atom("FETCH"), Word::Open, atom("BODY[]"), body(), atom("FLAGS")];
        words.extend(flags());
        words.extend([
            atom("INTERNALDATE"),
            quoted(" 8-Jul-2011 14:08:34 +0200"),
            atom("UID"),
            atom("7"),
            Word::Close,
        ]);
        let (uid, flags, date, at) = fetched(&words).unwrap();
        assert_eq!((uid, at), (7, 5));
        assert_eq!(date, Some(InternalDate { unix: 1_310_126_914, zone_minutes: 120 }));
        assert_eq!(flags.keywords.iter().map(ToString::to_string).collect::<Vec<_>>(), ["$Junk"]);
        assert!(fetched(&[atom("*"), atom("1"), atom("EXISTS")]).is_none());
    }

    #[test]
    fn jobs_are_small() {
        let new: Vec<(u32, u64)> = (1..=200).map(|n| (n, if n == 100 { 10 << 20 } else { 1_000 })).collect();
        let jobs = into_jobs(3, &new);
        assert!(jobs.iter().all(|j| j.uids.len() <= JOB_MESSAGES && j.mailbox == 3));
        assert_eq!(jobs.iter().map(|j| j.uids.len()).sum::<usize>(), 200);
        assert!(jobs.iter().any(|j| j.uids[0] == 100 && j.uids.len() == 1));
    }
}
