//! SEARCH and UID SEARCH (RFC 3501 s.6.4.4).
//!
//! What the rows tell costs nothing; header keys are answered by the digest; only other fields, BODY and TEXT read
//! the message, and only where nothing cheaper has decided. Between pieces of work other connections get their turn,
//! and a connection that has gone takes its search with it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use store::{Message, ReadError, Row, Store, View};
use wire::flag::SystemFlag;
use wire::ids::{Runs, SeqSet};
use wire::imap::code::{Code, Status};
use wire::imap::date::DateTime;
use wire::imap::response;
use wire::imap::search::{SearchKey, SearchText};
use wire::imap::session::Ended;

use super::selected::{Selected, write};
use super::{ImapDesk, Outcome, fetch};
use crate::clock;
use crate::disk;
use crate::mime::text::{Where, Words, read};
use crate::mime::words::{fold, header_text};
use crate::mime::{Digest, header};
use crate::net::Out;

/// Messages looked at before others get their turn, where nothing is read.
const PIECE: usize = 4_096;
/// The same, in time, where something is.
const TURN: Duration = Duration::from_millis(10);
/// How often a client that sends no more is asked whether it is there.
const PROBE: Duration = Duration::from_secs(1);

/// A key, made ready: sets resolved, words folded, the cheap ones first.
enum Key {
    All,
    None,
    And(Vec<Key>),
    Or(Box<[Key; 2]>),
    Not(Box<Key>),
    Uids(Runs),
    Flag(SystemFlag),
    Recent,
    Keyword(u32),
    /// INTERNALDATE's day, in days since 1970: from, and before.
    Day(i64, i64),
    /// The Date header's day.
    Sent(i64, i64),
    Larger(u32),
    Smaller(u32),
    /// A field that the digest holds.
    Known(Known, String),
    /// Any other field.
    Field(String, String),
    /// A word in the message, by its place in the list of all.
    Word(usize),
}

/// The fields that the digest holds in folded form.
#[derive(Clone, Copy)]
enum Known {
    From,
    To,
    Cc,
    Bcc,
    Subject,
}

impl Key {
    /// What it costs to look: nothing, a digest, or the message.
    fn cost(&self) -> u8 {
        match self {
            Key::Known(..) | Key::Sent(..) => 1,
            Key::Field(..) => 2,
            Key::Word(..) => 3,
            Key::And(keys) => keys.iter().map(Key::cost).max().unwrap_or(0),
            Key::Or(keys) => keys.iter().map(Key::cost).max().unwrap_or(0),
            Key::Not(key) => key.cost(),
            _ => 0,
        }
    }
}

/// Makes keys ready. Not deeper than `limits::NESTING`: the parser has counted.
struct Compiler<'a> {
    selected: &'a Selected,
    now: &'a View,
    /// The words that BODY and TEXT look for: in each message all of them are looked for at once.
    words: Vec<(String, Where)>,
}

impl Compiler<'_> {
    fn key(&mut self, key: &SearchKey) -> Key {
        match key {
            SearchKey::All => Key::All,
            SearchKey::And(keys) => {
                let mut keys: Vec<Key> = keys.iter().map(|k| self.key(k)).collect();
                keys.sort_by_key(Key::cost);
                Key::And(keys)
            }
            SearchKey::Or(a, b) => {
                let mut keys = [self.key(a), self.key(b)];
                keys.sort_by_key(Key::cost);
                Key::Or(Box::new(keys))
            }
            SearchKey::Not(key) => Key::Not(Box::new(self.key(key))),
            SearchKey::Sequence(set) => Key::Uids(self.selected.uids_of_sequence(set)),
            SearchKey::Uid(set) => Key::Uids(self.uids(set)),
            SearchKey::Flag(flag) => Key::Flag(*flag),
            SearchKey::Recent => Key::Recent,
            SearchKey::Keyword(keyword) => self.now.keyword_bit(keyword).map_or(Key::None, Key::Keyword),
            SearchKey::Header(name, text) => field(name.as_str(), text),
            SearchKey::Body(text) => self.word(text, Where::Body),
            SearchKey::Text(text) => self.word(text, Where::Text),
            SearchKey::Before(date) => Key::Day(i64::MIN, date.days()),
            SearchKey::On(date) => Key::Day(date.days(), date.days() + 1),
            SearchKey::Since(date) => Key::Day(date.days(), i64::MAX),
            SearchKey::SentBefore(date) => Key::Sent(i64::MIN, date.days()),
            SearchKey::SentOn(date) => Key::Sent(date.days(), date.days() + 1),
            SearchKey::SentSince(date) => Key::Sent(date.days(), i64::MAX),
            SearchKey::Larger(size) => Key::Larger(*size),
            SearchKey::Smaller(size) => Key::Smaller(*size),
        }
    }

    fn word(&mut self, text: &SearchText, place: Where) -> Key {
        let word = (fold(&utf8(text)), place);
        Key::Word(self.words.iter().position(|w| *w == word).unwrap_or_else(|| {
            self.words.push(word);
            self.words.len() - 1
        }))
    }

    fn uids(&self, set: &SeqSet) -> Runs {
        set.resolve(self.selected.told().last_uid().and_then(|uid| NonZeroU32::new(uid.get())))
    }
}

fn utf8(text: &SearchText) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn field(name: &str, text: &SearchText) -> Key {
    let word = fold(&utf8(text));
    let known = match name.to_ascii_lowercase().as_str() {
        "from" => Some(Known::From),
        "to" => Some(Known::To),
        "cc" => Some(Known::Cc),
        "bcc" => Some(Known::Bcc),
        "subject" => Some(Known::Subject),
        _ => None,
    };
    match known {
        // An empty text asks whether the field is there, which the digest does not know.
        Some(known) if !word.is_empty() => Key::Known(known, word),
        _ => Key::Field(name.to_owned(), word),
    }
}

/// A message that is looked at; what costs is fetched when a key wants it.
struct Looked<'a> {
    store: &'a Store,
    row: Row,
    recent: bool,
    words: &'a Words,
    digest: Option<Arc<[u8]>>,
    message: Option<Message>,
    /// Its header section.
    section: Option<Vec<u8>>,
    /// Which of the words are in it.
    found: Option<Vec<bool>>,
}

impl<'a> Looked<'a> {
    fn new(store: &'a Store, row: Row, recent: bool, words: &'a Words) -> Looked<'a> {
        Looked { store, row, recent, words, digest: None, message: None, section: None, found: None }
    }

    fn digest(&mut self) -> Result<Arc<[u8]>, ReadError> {
        if let Some(digest) = &self.digest {
            return Ok(digest.clone());
        }
        let digest = fetch::digest(self.store, &self.row)?;
        Ok(self.digest.insert(digest).clone())
    }

    fn message(&mut self) -> Result<&mut Message, ReadError> {
        match &mut self.message {
            Some(message) => Ok(message),
            none => Ok(none.insert(self.store.message(&self.row)?)),
        }
    }

    fn section(&mut self) -> Result<&[u8], ReadError> {
        if self.section.is_none() {
            let digest = self.digest()?;
            let end = Digest::read(&digest).and_then(|d| Some(d.root()?.header.end)).unwrap_or(0);
            self.section = Some(read(self.message()?, 0, end, wire::limits::HEADER)?);
        }
        Ok(self.section.as_deref().unwrap_or_default())
    }

    fn found(&mut self) -> Result<&[bool], ReadError> {
        if self.found.is_none() {
            let digest = self.digest()?;
            let words = self.words;
            self.found = Some(match Digest::read(&digest) {
                Some(digest) => words.find(self.message()?, &digest)?,
                None => Vec::new(),
            });
        }
        Ok(self.found.as_deref().unwrap_or_default())
    }

    fn meets(&mut self, key: &Key) -> Result<bool, ReadError> {
        let row = &self.row;
        let within = |day: i64, from: i64, before: i64| from <= day && day < before;
        Ok(match key {
            Key::All => true,
            Key::None => false,
            Key::And(keys) => {
                for key in keys {
                    if !self.meets(key)? {
                        return Ok(false);
                    }
                }
                true
            }
            Key::Or(keys) => {
                let [a, b] = &**keys;
                self.meets(a)? || self.meets(b)?
            }
            Key::Not(key) => !self.meets(key)?,
            Key::Uids(uids) => uids.contains(row.uid.get()),
            Key::Flag(flag) => row.flags.has(*flag),
            Key::Recent => self.recent,
            Key::Keyword(bit) => row.keywords.checked_shr(*bit).is_some_and(|set| set & 1 == 1),
            Key::Day(from, before) => {
                let date = DateTime { unix: row.date.unix, zone_minutes: row.date.zone_minutes };
                within(date.day(), *from, *before)
            }
            Key::Larger(size) => row.size > *size,
            Key::Smaller(size) => row.size < *size,
            Key::Sent(from, before) => {
                let digest = self.digest()?;
                let sent = Digest::read(&digest).and_then(|d| d.search()?.sent);
                sent.is_some_and(|sent| within(sent.day(), *from, *before))
            }
            Key::Known(known, word) => {
                let digest = self.digest()?;
                let Some(header) = Digest::read(&digest).and_then(|d| d.search()) else { return Ok(false) };
                let text = match known {
                    Known::From => header.from,
                    Known::To => header.to,
                    Known::Cc => header.cc,
                    Known::Bcc => header.bcc,
                    Known::Subject => header.subject,
                };
                text.contains(word.as_str())
            }
            Key::Field(name, word) => {
                let mut fields = header::fields(self.section()?).filter(|f| f.is(name));
                fields.any(|f| word.is_empty() || fold(&header_text(f.value)).contains(word.as_str()))
            }
            Key::Word(at) => self.found()?.get(*at) == Some(&true),
        })
    }
}

impl ImapDesk {
    pub(super) async fn search(
        &self,
        by_uid: bool,
        charset: Option<&str>,
        key: &SearchKey,
        out: &Out,
    ) -> Outcome {
        if charset.is_some_and(|c| !c.eq_ignore_ascii_case("UTF-8") && !c.eq_ignore_ascii_case("US-ASCII")) {
            let known = Code::BadCharset(vec!["US-ASCII", "UTF-8"]);
            return Err(Ended::no(Some(known), "This character set is not known"));
        }
        let selected = self.selected()?;
        let now = self.now()?;
        let mut compiler = Compiler { selected, now: &now, words: Vec::new() };
        let key = compiler.key(key);
        let words = Words::new(compiler.words.iter().map(|(word, place)| (word.as_str(), *place)));
        let reads = key.cost() > 0;
        let told = selected.told();
        let same = told.highest_modseq() == now.highest_modseq();
        let mut rows = told.rows().enumerate();
        let mut found: Vec<u32> = Vec::new();
        let mut look = |found: &mut Vec<u32>| {
            let began = clock::monotonic();
            for _ in 0..PIECE {
                let Some((at, row)) = rows.next() else { return false };
                let row = if same { row } else { now.row(row.uid).unwrap_or(row) };
                let recent = selected.is_recent(&row);
                let mut looked = Looked::new(&self.store, row, recent, &words);
                // A message that cannot be read meets nothing; the rest can still be found.
                let meets = looked.meets(&key).unwrap_or_else(|error| {
                    tracing::error!(uid = %row.uid, %error, "a message could not be searched");
                    false
                });
                if meets {
                    let seq = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
                    found.push(if by_uid { row.uid.get() } else { seq });
                }
                if reads && clock::monotonic().saturating_sub(began) > TURN {
                    break;
                }
            }
            true
        };
        let mut probed = None;
        while if reads { disk::blocking(|| look(&mut found)) } else { look(&mut found) } {
            tokio::task::yield_now().await;
            // A client that sends no more may still wait for this. One that is gone refuses what is said to it, and
            // the driver ends the connection and this with it.
            let now = clock::monotonic();
            if out.peer_ended() && probed.is_none_or(|at| now.saturating_sub(at) > PROBE) {
                probed = Some(now);
                out.with(|buf| response::untagged(Status::Ok, None, "Still searching", buf));
            }
            if self.session.as_ref().is_none_or(|s| s.over().is_some()) {
                return Err(Ended::no(Some(Code::Unavailable), "The session has ended"));
            }
        }
        let mut line = out.with(response::Search::begin);
        for numbers in found.chunks(PIECE) {
            write(out, |buf| numbers.iter().for_each(|&n| line.add(n, buf))).await;
        }
        out.with(|buf| line.end(buf));
        Ok(Ended::ok("Searched"))
    }
}
