//! How the queue stands in the store's books: a line for each message, which names its octets, and one for each of its
//! recipients, which says what is still to be done for it.
//!
//! Lines are JSON: few, short-lived, and to be read by whoever has to look into a store by hand. What a newer version has
//! added is passed over.

use serde::{Deserialize, Serialize};
use store::{Batch, BodyRef, Book, Content, Intent, Line, Prefix, Store};
use wire::addr::{ForwardPath, ReversePath};
use wire::dsn::{EnvId, Notify, OriginalRecipient, Ret};

use crate::clock;

/// A message's name in the queue: the one that its `Received` field and its 250 have.
pub type Id = std::sync::Arc<str>;

/// Recipients of one message have numbers below this.
pub const MOST: usize = u16::MAX as usize;

/// What the envelope of a message says, and what is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The reverse-path as it is said: `<ann@example.org>` or `<>`.
    pub from: String,
    /// The account that submitted it; none for what is forwarded, and for reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<u32>,
    /// When it was taken, in seconds since 1970.
    pub at: i64,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// The beginning of its subject.
    pub subject: String,
    /// It has octets above 127.
    pub eight_bit: bool,
    /// It, or its envelope, needs SMTPUTF8.
    pub utf8: bool,
    /// RFC 8689: only over verified TLS.
    pub require_tls: bool,
    /// RFC 8689, `TLS-Required: No`: rather unencrypted than not at all.
    pub tls_optional: bool,
    /// RET: whether reports bring all of it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<bool>,
    /// ENVID, as it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// RFC 4865: not before this, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<i64>,
}

/// What was the matter when it was last tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// When, in seconds since 1970.
    pub at: i64,
    /// With which host; empty before there was any.
    pub host: String,
    /// In words: what the host said, or why it was not reached.
    pub what: String,
    /// It said so itself: `what` is its reply.
    pub said: bool,
}

/// What is still to be done for a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipient {
    /// The forward-path's address.
    pub to: String,
    /// NOTIFY, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<u8>,
    /// ORCPT, as it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
    /// Whose message it is, for fairness; 0 is nobody's.
    pub of: u32,
    /// When to try next, in seconds since 1970.
    pub next: i64,
    /// Not before somebody releases it.
    pub held: bool,
    /// How often it was tried.
    pub tries: u16,
    /// The last try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Trouble>,
    /// The sender was told that it takes long.
    pub told: bool,
}

impl Entry {
    /// The reverse-path. What cannot be read gets no reports.
    #[must_use]
    pub fn reverse_path(&self) -> ReversePath {
        ReversePath::parse(self.from.as_bytes()).unwrap_or(ReversePath::Null)
    }

    /// RET.
    #[must_use]
    pub fn ret(&self) -> Option<Ret> {
        self.full.map(|full| if full { Ret::Full } else { Ret::Hdrs })
    }

    /// ENVID.
    #[must_use]
    pub fn envid(&self) -> Option<EnvId> {
        EnvId::parse(self.envid.as_ref()?.as_bytes()).ok()
    }

    /// Reads a line's value; `None` if it is not what any version wrote.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Entry> {
        serde_json::from_slice(value).ok()
    }

    /// The line that this says, and the message that it names.
    #[must_use]
    pub fn keep(&self, id: &str, body: BodyRef, prefix: Prefix) -> Intent {
        Intent::Keep { book: Book::Queue, key: id.as_bytes().to_vec(), body, prefix, value: self.value() }
    }

    fn value(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Recipient {
    /// The forward-path; `None` if nobody can read it, which only a damaged store has.
    #[must_use]
    pub fn path(&self) -> Option<ForwardPath> {
        wire::addr::Address::parse(self.to.as_bytes()).ok().map(ForwardPath::Path)
    }

    /// The domain that its mail goes to, as DNS has it: lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.to.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// NOTIFY.
    #[must_use]
    pub fn notify(&self) -> Option<Notify> {
        self.notify.map(Notify::from_bits)
    }

    /// ORCPT.
    #[must_use]
    pub fn orcpt(&self) -> Option<OriginalRecipient> {
        OriginalRecipient::parse(self.orcpt.as_ref()?.as_bytes()).ok()
    }

    /// Reads a line's value; `None` if it is not what any version wrote.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Recipient> {
        serde_json::from_slice(value).ok()
    }

    /// What this recipient's line will say.
    #[must_use]
    pub fn write(&self, id: &str, number: u16) -> Intent {
        let value = serde_json::to_vec(self).unwrap_or_default();
        Intent::Write { book: Book::Recipients, key: key(id, number), value }
    }
}

/// A recipient's key: its message's, an octet that no id has, its number.
fn key(id: &str, number: u16) -> Vec<u8> {
    [id.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

/// What the keys of a message's recipients lie between: the first, and what comes after the last.
#[must_use]
pub fn keys_of(id: &str) -> (Vec<u8>, Vec<u8>) {
    (key(id, 0), [id.as_bytes(), &[1]].concat())
}

/// Reads a recipient's key: its message's name, its number.
#[must_use]
pub fn split(key: &[u8]) -> Option<(&str, u16)> {
    let (id, number) = key.split_at_checked(key.len().checked_sub(3)?)?;
    match number {
        [0, a, b] => Some((std::str::from_utf8(id).ok()?, u16::from_be_bytes([*a, *b]))),
        _ => None,
    }
}

/// Adds a message to a batch, for all its recipients.
pub fn enqueue(
    batch: &mut Batch,
    id: &str,
    body: BodyRef,
    prefix: Prefix,
    entry: &Entry,
    recipients: &[Recipient],
) {
    batch.push(entry.keep(id, body, prefix));
    for (number, recipient) in (0..).zip(recipients.iter().take(MOST)) {
        batch.push(recipient.write(id, number));
    }
}

/// Strikes a recipient.
pub fn strike(batch: &mut Batch, id: &str, number: u16) {
    batch.push(Intent::Strike { book: Book::Recipients, key: key(id, number) });
}

/// Strikes a message, whose recipients have gone before it or go with it.
pub fn strike_message(batch: &mut Batch, id: &str) {
    batch.push(Intent::Strike { book: Book::Queue, key: id.as_bytes().to_vec() });
}

/// A message of the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its name.
    pub id: Id,
    /// What its line says.
    pub entry: Entry,
    /// Its octets.
    pub content: Content,
}

fn queued(key: &[u8], line: &Line) -> Option<Queued> {
    let id = std::str::from_utf8(key).ok()?.into();
    Some(Queued { id, entry: Entry::read(&line.value)?, content: line.content? })
}

/// A message of the queue, if it is there.
///
/// # Errors
/// The index failed.
pub fn message(store: &Store, id: &str) -> Result<Option<Queued>, store::ReadError> {
    let line = store.line(Book::Queue, id.as_bytes())?;
    Ok(line.and_then(|line| queued(id.as_bytes(), &line)))
}

/// Messages of the queue in the order in which they came, from after a name on, at most so many.
///
/// # Errors
/// The index failed.
pub fn messages(store: &Store, after: Option<&str>, most: usize) -> Result<Vec<Queued>, store::ReadError> {
    let from = after.map(|id| [id.as_bytes(), &[0]].concat()).unwrap_or_default();
    let lines = store.lines(Book::Queue, &from, None, most)?;
    Ok(lines.iter().filter_map(|(key, line)| queued(key, line)).collect())
}

/// A message's recipients, with their numbers.
///
/// # Errors
/// The index failed.
pub fn recipients(store: &Store, id: &str) -> Result<Vec<(u16, Recipient)>, store::ReadError> {
    let (from, to) = keys_of(id);
    let lines = store.lines(Book::Recipients, &from, Some(&to), usize::MAX)?;
    Ok(lines.iter().filter_map(|(key, line)| recipient(key, line).map(|(_, n, r)| (n, r))).collect())
}

/// One recipient.
///
/// # Errors
/// The index failed.
pub fn one(store: &Store, id: &str, number: u16) -> Result<Option<Recipient>, store::ReadError> {
    let line = store.line(Book::Recipients, &key(id, number))?;
    Ok(line.and_then(|line| Recipient::read(&line.value)))
}

fn recipient(key: &[u8], line: &Line) -> Option<(Id, u16, Recipient)> {
    let (id, number) = split(key)?;
    Some((id.into(), number, Recipient::read(&line.value)?))
}

/// Every recipient of every message, some at a time.
///
/// # Errors
/// The index failed.
pub fn each_recipient(
    store: &Store,
    mut each: impl FnMut(Id, u16, Recipient),
) -> Result<(), store::ReadError> {
    const PAGE: usize = 1_000;
    let mut from = Vec::new();
    loop {
        let page = store.lines(Book::Recipients, &from, None, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = [&last[..], &[0]].concat();
        for (id, number, recipient) in page.iter().filter_map(|(key, line)| recipient(key, line)) {
            each(id, number, recipient);
        }
    }
}

/// Messages that have no recipient left. `waits` says which certainly have one.
///
/// # Errors
/// The index failed.
pub fn without_recipients(store: &Store, waits: impl Fn(&str) -> bool) -> Result<Vec<Id>, store::ReadError> {
    const PAGE: usize = 1_000;
    let mut found = Vec::new();
    let mut from = Vec::new();
    loop {
        let page = store.lines(Book::Queue, &from, None, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        from = [&last[..], &[0]].concat();
        for id in page.iter().filter_map(|(key, _)| std::str::from_utf8(key).ok()) {
            // One that cannot be read is one, too.
            let (first, end) = keys_of(id);
            if !waits(id) && store.lines(Book::Recipients, &first, Some(&end), 1)?.is_empty() {
                found.push(id.into());
            }
        }
    }
}

/// Now, in seconds since 1970.
pub(super) fn now() -> i64 {
    clock::wall().seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_recipients_follow_their_messages_in_their_order() {
        let keys = [key("a", 0), key("a", 1), key("a", 256), key("a1", 0), key("b", 0)];
        assert!(keys.is_sorted());
        for (key, (id, number)) in keys.iter().zip([("a", 0), ("a", 1), ("a", 256), ("a1", 0), ("b", 0)]) {
            assert_eq!(split(key), Some((id, number)));
        }
        assert_eq!(split(b"ab"), None);
        assert_eq!(split(b"abcd"), None);
    }

    #[test]
    fn the_longest_reply_fits_a_line_however_it_is_escaped() {
        let whats =
            ["\"".repeat(5_000), "\u{7f}".repeat(5_000), "ä".repeat(5_000), "\u{1f4ec}".repeat(5_000)];
        let orcpts = ["x".repeat(500), format!("utf-8;{}", "\\x{2B}".repeat(82)), "\u{fc}".repeat(250)];
        for (what, orcpt) in whats.iter().flat_map(|what| orcpts.iter().map(move |orcpt| (what, orcpt))) {
            let recipient = Recipient {
                to: format!("\"{}\"@{}.test", "\\\"".repeat(31), "x".repeat(245)),
                orcpt: Some(orcpt.clone()),
                last: Some(Trouble::said("h".repeat(255), what)),
                ..Recipient::default()
            };
            let Intent::Write { value, .. } = recipient.write("a", 7) else { panic!() };
            assert!(value.len() <= 3_500, "{}", value.len());
            assert_eq!(serde_json::from_slice::<Recipient>(&value).unwrap(), recipient);
        }
    }

    #[test]
    fn lines_come_back_and_fit() {
        let entry = Entry {
            from: "<ann@example.org>".into(),
            account: Some(3),
            subject: "ä".repeat(100),
            envid: Some("x".repeat(100)),
            full: Some(false),
            ..Entry::default()
        };
        assert_eq!(serde_json::from_slice::<Entry>(&entry.value()).unwrap(), entry);
        assert_eq!(entry.ret(), Some(Ret::Hdrs));
        let old: Entry = serde_json::from_str(r#"{"from":"<>","what":"a newer version knows"}"#).unwrap();
        assert_eq!(old.reverse_path(), ReversePath::Null);
        let recipient = Recipient {
            to: "bob@EXAMPLE.net".into(),
            orcpt: Some("rfc822;b+2Bx@example.net".into()),
            notify: Some(5),
            last: Some(Trouble { what: "450 later".into(), said: true, ..Trouble::default() }),
            ..Recipient::default()
        };
        let Intent::Write { value, .. } = recipient.write("a", 7) else { panic!() };
        assert_eq!(serde_json::from_slice::<Recipient>(&value).unwrap(), recipient);
        assert_eq!(recipient.orcpt().unwrap().address(), "b+x@example.net");
        assert!(recipient.notify().unwrap().wants(Notify::SUCCESS));
    }
}
