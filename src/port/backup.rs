//! Mail out of a backup, a message at a time: into a server that runs or not, beside what is there.
//!
//! The backup is read as the store that it was (`store::Reader`), and its messages are fed like those of an import: the
//! same octets are not put into a mailbox twice.

use std::rc::Rc;

use store::{AccountId, Reader, Row};
use wire::flag::FlagNames;

use super::feed::{Message, Origin};
use super::{Error, Feed, Place, message_id_hash};

/// Messages read together.
const TOGETHER: usize = 256;

struct Sha256(aws_lc_rs::digest::Context);

impl store::Summing for Sha256 {
    fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }
    fn finish(self: Box<Self>) -> [u8; 32] {
        let mut sum = [0; 32];
        // SHA-256 has 32 octets.
        sum.copy_from_slice(self.0.finish().as_ref());
        sum
    }
}

/// SHA-256, as backups want it.
#[must_use]
pub fn sums() -> store::Sums {
    use aws_lc_rs::digest::{Context, SHA256};
    std::sync::Arc::new(|| Box::new(Sha256(Context::new(&SHA256))))
}

/// Which messages of an account come back, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only those of this mailbox.
    pub mailbox: Option<String>,
    /// Only those with this Message-ID.
    pub message: Option<String>,
    /// Into this mailbox; all mailboxes of an account go below it.
    pub to: Option<String>,
}

impl Wanted {
    fn place(&self, path: &str) -> Option<String> {
        let to = self.to.as_ref()?;
        let all = self.mailbox.is_none() && self.message.is_none();
        Some(if all { format!("{to}/{path}") } else { to.clone() })
    }
}

/// Feeds an account's messages, as far as they are wanted.
///
/// # Errors
/// When the mailbox wanted is not in the backup, or the feed ends.
pub fn restore_messages(
    reader: &Reader,
    account: AccountId,
    wanted: &Wanted,
    feed: &mut Feed<'_>,
) -> Result<(), Error> {
    let directory = reader.directory();
    let mut mailboxes: Vec<_> = directory.mailboxes_of(account).cloned().collect();
    if let Some(path) = &wanted.mailbox {
        let Some(only) = directory.mailbox_at(account, path) else {
            let names: Vec<&str> = mailboxes.iter().map(|info| info.path.as_str()).collect();
            let why = format!("the backup has no such mailbox; it has {}", names.join(", "));
            return Err(Error::wrong(path, why));
        };
        mailboxes = vec![only.clone()];
    }
    let hash = match &wanted.message {
        Some(id) => Some(message_id_of(id).ok_or_else(|| Error::wrong(id, "it is no Message-ID"))?),
        None => None,
    };
    let heads = mailboxes.iter().filter_map(|info| reader.head(info.id));
    feed.total(heads.map(|head| head.octets).sum());
    for info in &mailboxes {
        let Some(view) = reader.view(info.id) else { continue };
        let name = wanted.place(&info.path);
        let special_use = info.special_use.filter(|_| name.is_none());
        let place = Place { name: name.unwrap_or_else(|| info.path.clone()), special_use, by_use: false };
        let origin: Rc<str> = info.path.as_str().into();
        // A mailbox in which nothing is wanted is not made.
        let mut spot = None;
        let mut rows = view.rows();
        loop {
            let some: Vec<Row> = rows.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            for (row, message) in reader.messages(&some) {
                feed.read(u64::from(row.size));
                let origin = Origin::Number(Rc::clone(&origin), u64::from(row.uid.get()));
                let octets = match message {
                    Ok(message) => {
                        let other = |hash| message.header().is_ok_and(|h| message_id_hash(&h) != Some(hash));
                        if hash.is_some_and(other) {
                            continue;
                        }
                        message.to_vec()
                    }
                    Err(error) => Err(error),
                };
                let octets = match octets {
                    Ok(octets) => octets,
                    Err(error) => {
                        feed.refuse(origin, error);
                        continue;
                    }
                };
                let to = match spot {
                    Some(to) => to,
                    None => *spot.insert(feed.open(place.clone(), None)?),
                };
                let flags =
                    FlagNames { system: row.flags, keywords: view.keywords_of(&row).cloned().collect() };
                let message = Message { origin, to: to.into_iter().collect(), flags, date: Some(row.date) };
                feed.put(message, &octets)?;
            }
        }
    }
    Ok(())
}

/// The hash of a Message-ID as it is typed: with its angle brackets or without.
fn message_id_of(typed: &str) -> Option<u64> {
    let bare = typed.trim().trim_start_matches('<').trim_end_matches('>');
    let sound = !bare.is_empty() && !bare.contains(char::is_control);
    sound.then(|| message_id_hash(format!("Message-ID: <{bare}>\r\n\r\n").as_bytes())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_found_however_it_is_typed() {
        let header = b"Subject: x\r\nMessage-Id:\r\n <a.b@c.test>\r\n\r\n";
        for typed in ["a.b@c.test", "<a.b@c.test>", " <a.b@c.test> "] {
            assert_eq!(message_id_of(typed), message_id_hash(header), "{typed}");
        }
        assert_ne!(message_id_of("other@c.test"), message_id_hash(header));
        assert_eq!((message_id_of("<>"), message_id_of("a\r\nb")), (None, None));
    }

    #[test]
    fn where_messages_go() {
        let wanted = |mailbox: Option<&str>, to: Option<&str>| Wanted {
            mailbox: mailbox.map(Into::into),
            message: None,
            to: to.map(Into::into),
        };
        assert_eq!(wanted(None, None).place("Work/A"), None);
        assert_eq!(wanted(None, Some("Back")).place("Work/A"), Some("Back/Work/A".into()));
        assert_eq!(wanted(Some("Work/A"), Some("Back")).place("Work/A"), Some("Back".into()));
    }

    #[test]
    fn sha_256_is_sha_256() {
        let mut sum = sums()();
        sum.update(b"a");
        sum.update(b"bc");
        let hex: String = sum.finish().iter().map(|b| format!("{b:02x}")).collect();
        // FIPS 180-4's example.
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
