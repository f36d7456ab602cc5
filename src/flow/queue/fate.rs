//! What became of messages, for each recipient: kept for thirty days, so that `penfold trace` can tell.

use serde::{Deserialize, Serialize};
use store::{Batch, Book, Intent, Store};
use wire::addr::Address;

/// How long a fate is kept.
const KEPT: i64 = 30 * 24 * 3_600;
/// Lines looked at in one go.
const PAGE: usize = 1_000;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The next host has taken it.
    Delivered,
    /// A host refused it for good, or there is none.
    Failed,
    /// It could not be delivered in the time that it had.
    Expired,
    /// Somebody took it out of the queue.
    Dropped,
}

/// The fate of a message, for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// When, in seconds since 1970.
    pub at: i64,
    /// The message's name in the queue, as its `Received` field has it.
    pub id: String,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// The reverse-path.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// What became of it.
    pub action: Action,
    /// The last host; empty if there was none.
    pub host: String,
    /// Its address.
    #[serde(default)]
    pub ip: String,
    /// How the connection was secured; empty: not at all.
    #[serde(default)]
    pub tls: String,
    /// Why not, where it was not; lines of older versions do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plain: String,
    /// The host's reply, or what was the matter.
    pub what: String,
    /// When the message was taken, in seconds since 1970.
    pub since: i64,
    /// How often it was tried.
    pub tries: u16,
}

impl Fate {
    /// Adds it to a batch. `number` is the recipient's.
    pub fn write(&self, batch: &mut Batch, number: u16) {
        let value = serde_json::to_vec(self).unwrap_or_default();
        let key = [&key(self.at)[..], self.id.as_bytes(), &[0], &number.to_be_bytes()].concat();
        batch.push(Intent::Write { book: Book::Fates, key, value });
    }

    /// Whether somebody who asks for this means it: a Message-ID, our own name for it, or an address.
    #[must_use]
    pub fn is_meant(&self, asked: &str) -> bool {
        let asked = asked.trim().trim_start_matches('<').trim_end_matches('>');
        let address = |kept: &str| is_address(kept, asked);
        self.id == asked || self.message_id == asked || address(&self.to) || address(&self.from)
    }
}

/// The part of a fate's key that is its recipient's key in the queue.
#[must_use]
pub fn recipient(key: &[u8]) -> Option<&[u8]> {
    key.get(8..)
}

/// Whether an address, with its brackets or without, is the one that somebody asks for, however he writes it.
#[must_use]
pub fn is_address(kept: &str, asked: &str) -> bool {
    let kept = kept.trim_start_matches('<').trim_end_matches('>');
    if kept.eq_ignore_ascii_case(asked) {
        return true;
    }
    // Letters outside ASCII have several forms, and domains of them stand as A-labels.
    let read = |text: &str| Address::parse(text.as_bytes()).ok();
    !asked.is_ascii() && read(asked).is_some_and(|asked| read(kept) == Some(asked))
}

fn key(at: i64) -> [u8; 8] {
    u64::try_from(at).unwrap_or(0).to_be_bytes()
}

/// Fates from a time on, the oldest first, as long as `each` wants more.
///
/// # Errors
/// The index failed.
pub fn since(store: &Store, from: i64, mut each: impl FnMut(Fate) -> bool) -> Result<(), store::ReadError> {
    let mut from = key(from).to_vec();
    loop {
        let page = store.lines(Book::Fates, &from, None, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = [&last[..], &[0]].concat();
        for fate in page.iter().filter_map(|(_, line)| serde_json::from_slice(&line.value).ok()) {
            if !each(fate) {
                return Ok(());
            }
        }
    }
}

/// A batch that gives up what is older than thirty days, or some of it; `None` when there is none.
///
/// # Errors
/// The index failed.
pub fn old(store: &Store, now: i64) -> Result<Option<Batch>, store::ReadError> {
    let page = store.lines(Book::Fates, &[], Some(&key(now - KEPT)), PAGE)?;
    if page.is_empty() {
        return Ok(None);
    }
    let mut batch = Batch::new();
    for (key, _) in page {
        batch.push(Intent::Strike { book: Book::Fates, key });
    }
    Ok(Some(batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_by_all_its_names() {
        let fate = Fate {
            at: 5,
            id: "1a-2b".into(),
            message_id: "x@example.org".into(),
            from: "<Ann@example.org>".into(),
            to: "bob@example.net".into(),
            action: Action::Delivered,
            host: String::new(),
            ip: String::new(),
            tls: String::new(),
            plain: String::new(),
            what: String::new(),
            since: 1,
            tries: 1,
        };
        for asked in [
            "1a-2b",
            "<x@example.org>",
            "x@example.org",
            "ann@EXAMPLE.org",
            "bob@example.net",
            " bob@example.net",
        ] {
            assert!(fate.is_meant(asked), "{asked}");
        }
        for asked in ["", "example.org", "X@example.org", "bob@example.ne"] {
            assert!(!fate.is_meant(asked), "{asked}");
        }
        for (kept, asked, is) in [
            ("<J\u{f6}rg@xn--bcher-kva.test>", "J\u{d6}RG@b\u{fc}cher.test", true),
            ("j\u{f6}rg@b.test", "jo\u{308}rg@b.test", true),
            ("bob@xn--bcher-kva.test", "bob@b\u{fc}cher.test", true),
            ("bob@xn--bcher-kva.test", "b\u{fc}cher.test", false),
            ("jorg@b.test", "j\u{f6}rg@b.test", false),
            ("<>", "j\u{f6}rg@b.test", false),
        ] {
            assert_eq!(is_address(kept, asked), is, "{kept} {asked}");
        }
        assert_eq!(serde_json::to_value(Action::Expired).unwrap(), "expired");
    }

    #[test]
    fn lines_of_older_versions_are_read() {
        let old = r#"{"at":5,"id":"a","message_id":"m","from":"<>","to":"bob@far.test","action":"delivered",
            "host":"mx.far.test","ip":"192.0.2.1","tls":"","what":"250 ok","since":1,"tries":1}"#;
        let fate: Fate = serde_json::from_str(old).unwrap();
        assert_eq!((fate.host.as_str(), fate.plain.as_str()), ("mx.far.test", ""));
    }

    #[test]
    fn the_longest_fate_fits_a_line() {
        let long = |n: usize| "\"".repeat(n);
        let fate = Fate {
            at: i64::MAX,
            id: "x".repeat(30),
            message_id: long(200),
            from: format!("<{}@{}>", long(64), "x".repeat(255)),
            to: format!("{}@{}", long(64), "x".repeat(255)),
            action: Action::Delivered,
            host: "x".repeat(255),
            ip: "x".repeat(45),
            tls: "TLS1.3, TLS13_AES_256_GCM_SHA384, certificate good, though not asked for".into(),
            plain: long(wire::limits::WHY_PLAIN),
            what: long(wire::limits::TROUBLE),
            since: i64::MAX,
            tries: u16::MAX,
        };
        let value = serde_json::to_vec(&fate).unwrap();
        assert!(value.len() <= 3_500, "{}", value.len());
    }
}
