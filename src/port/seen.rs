//! Which messages a mailbox has: by size first, then by a hash, then by the octets themselves.
//!
//! A size that nobody asks for costs 16 octets a message and no reading. The messages of a size that is asked for are read
//! once and hashed; a hash only ever says where to compare.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use store::{MailboxId, ReadError, Row, Spooled, Store, View};
use wire::ids::Uid;

use super::Look;

/// Octets read at once when messages are compared.
const STEP: usize = 64 * 1024;
/// Messages read together.
const TOGETHER: usize = 256;

/// What a mailbox has.
#[derive(Debug)]
pub(super) struct Seen {
    view: View,
    id: MailboxId,
    /// Size, date and UID of each message that was there at first, sorted.
    sizes: Vec<(u32, i64, Uid)>,
    /// Sizes whose messages are in `hashes`.
    hashed: HashSet<u32>,
    /// Where a message of this hash is; `None` is one that is only said to come (a dry run, a batch under way).
    hashes: HashMap<u64, Option<Uid>>,
    /// Message-IDs of those of a size and date that were asked for: a mailbox may have very many that look alike, and
    /// each header is read once.
    ids: HashMap<(u32, i64), HashSet<u64>>,
    random: RandomState,
}

/// What is known about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is not there.
    New,
    /// It is there.
    There,
    /// Perhaps it is among those that are being written: ask again when they are.
    UnderWay,
}

impl Seen {
    /// Of a mailbox as it is now.
    pub(super) fn new(store: &Store, id: MailboxId, random: RandomState) -> Result<Seen, ReadError> {
        let view = store.view(id)?;
        let mut sizes: Vec<_> = view.rows().map(|row| (row.size, row.date.unix, row.uid)).collect();
        sizes.sort_unstable();
        let (hashed, hashes, ids) = (HashSet::new(), HashMap::new(), HashMap::new());
        Ok(Seen { view, id, sizes, hashed, hashes, ids, random })
    }

    /// Those between two sizes and dates.
    fn between(&self, from: (u32, i64), to: (u32, i64)) -> &[(u32, i64, Uid)] {
        let from = self.sizes.partition_point(|&(size, date, _)| (size, date) < from);
        let to = self.sizes.partition_point(|&(size, date, _)| (size, date) <= to);
        self.sizes.get(from..to).unwrap_or_default()
    }

    /// Reads and hashes those of a size, once.
    fn hash_size(&mut self, store: &Store, size: u32) {
        if !self.hashed.insert(size) {
            return;
        }
        let uids: Vec<Uid> = self.between((size, i64::MIN), (size, i64::MAX)).iter().map(|t| t.2).collect();
        for some in uids.chunks(TOGETHER) {
            let rows: Vec<Row> = some.iter().filter_map(|&uid| self.view.row(uid)).collect();
            for (row, message) in store.messages(&rows) {
                // What cannot be read is no duplicate of anything: it comes a second time, whole.
                let hash = message.ok().and_then(|message| {
                    let mut hasher = hasher(&self.random);
                    each_piece(
                        |at, buf| message.read_at(at, buf).map_err(drop),
                        |piece| hasher.write(piece),
                    )?;
                    Some(hasher.finish())
                });
                if let Some(hash) = hash {
                    self.hashes.entry(hash).or_insert(Some(row.uid));
                }
            }
        }
    }

    /// Whether a message of this hash is there, octet for octet.
    pub(super) fn find(&mut self, store: &Store, hash: u64, body: &Spooled) -> Found {
        if let Ok(size) = u32::try_from(body.len()) {
            self.hash_size(store, size);
        }
        match self.hashes.get(&hash) {
            None => Found::New,
            Some(None) => Found::UnderWay,
            Some(Some(uid)) => {
                let row = self.view.row(*uid).or_else(|| {
                    // It came after the view was taken.
                    self.view = store.view(self.id).ok()?;
                    self.view.row(*uid)
                });
                let same = row.is_some_and(|row| {
                    u64::from(row.size) == body.len()
                        && store.message(&row).is_ok_and(|message| is_same(&message, body))
                });
                if same { Found::There } else { Found::New }
            }
        }
    }

    /// A message of this hash is being written, or would be.
    pub(super) fn coming(&mut self, hash: u64) {
        self.hashes.insert(hash, None);
    }

    /// It is there now, or is not.
    pub(super) fn came(&mut self, hash: u64, uid: Option<Uid>) {
        match uid {
            Some(uid) => drop(self.hashes.insert(hash, Some(uid))),
            None => drop(self.hashes.remove(&hash)),
        }
    }

    /// Whether messages that look so are there: size, date and Message-ID.
    pub(super) fn known(&mut self, store: &Store, looks: &[Look]) -> Vec<bool> {
        looks
            .iter()
            .map(|look| {
                let Ok(size) = u32::try_from(look.size) else { return false };
                let key = (size, look.unix);
                if !self.ids.contains_key(&key) {
                    let ids = self.ids_of(store, key);
                    self.ids.insert(key, ids);
                }
                self.ids.get(&key).is_some_and(|ids| ids.contains(&look.id))
            })
            .collect()
    }

    /// The Message-IDs of those that have a size and a date.
    fn ids_of(&self, store: &Store, key: (u32, i64)) -> HashSet<u64> {
        let there = self.between(key, key);
        there
            .iter()
            .filter_map(|&(_, _, uid)| self.view.row(uid))
            .filter_map(|row| store.message(&row).and_then(|message| message.header()).ok())
            .filter_map(|header| super::message_id_hash(&header))
            .collect()
    }
}

/// What hashes are made with: keyed anew each time, so that nobody can send messages that meet in one.
pub(super) fn hasher(random: &RandomState) -> impl Hasher + use<> {
    random.build_hasher()
}

/// Shows all octets of something, a piece at a time. `None` when it cannot be read to its end.
fn each_piece(
    mut read_at: impl FnMut(u64, &mut [u8]) -> Result<usize, ()>,
    mut see: impl FnMut(&[u8]),
) -> Option<()> {
    let mut piece = vec![0; STEP];
    let mut at = 0;
    loop {
        let read = read_at(at, &mut piece).ok()?;
        see(piece.get(..read)?);
        at += read as u64;
        if read < STEP {
            return Some(());
        }
    }
}

fn is_same(message: &store::Message, body: &Spooled) -> bool {
    if let (Some([prefix, rest]), Some(octets)) = (message.whole(), body.octets()) {
        return octets.strip_prefix(prefix) == Some(rest);
    }
    let (mut ours, mut theirs) = (vec![0; STEP], vec![0; STEP]);
    let mut at = 0;
    loop {
        let (Ok(a), Ok(b)) = (message.read_at(at, &mut ours), body.read_at(at, &mut theirs)) else {
            return false;
        };
        if a != b || ours.get(..a) != theirs.get(..b) {
            return false;
        }
        if a < STEP {
            return true;
        }
        at += a as u64;
    }
}

#[cfg(test)]
mod tests {
    use store::{Batch, Intent, InternalDate, Outcome, Prefix};
    use wire::flag::FlagNames;

    use super::*;
    use crate::small_store;

    #[test]
    fn of_messages_that_look_alike_each_header_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = small_store::open(dir.path());
        let commit = |intent| store.commit(Batch::of(intent)).wait().unwrap().outcomes;
        commit(Intent::AddDomain { name: "b.test".into() });
        let login = "anna@b.test".to_owned();
        commit(Intent::AddAccount { login: login.clone(), password: "x".into(), addresses: vec![login] });
        let account = store.directory().accounts().next().unwrap().id;
        let made =
            commit(Intent::CreateMailbox { account, path: "A".into(), special_use: None, subscribe: true });
        let Some(Outcome::Created(mailbox)) = made.first() else { panic!("{made:?}") };
        let message = |n: u32| format!("Message-ID: <{n}@b.test>\r\n\r\nx\r\n");
        for n in 0..5 {
            let mut spool = store.spool();
            spool.push(message(n).as_bytes()).unwrap();
            let mut batch = Batch::default();
            let body = batch.body(spool.finish().unwrap());
            batch.push(Intent::Append {
                mailbox: *mailbox,
                body,
                prefix: Prefix::default(),
                flags: FlagNames::default(),
                date: Some(InternalDate { unix: 7, zone_minutes: 0 }),
            });
            store.commit(batch).wait().unwrap();
        }
        let mut seen = Seen::new(&store, *mailbox, RandomState::new()).unwrap();
        let look = |n: u32| {
            let text = message(n);
            let id = super::super::message_id_hash(text.as_bytes()).unwrap();
            Look { size: text.len() as u64, unix: 7, id }
        };
        assert_eq!(seen.known(&store, &[look(3), look(6)]), [true, false]);
        // Whatever is read from here on cannot be.
        let log = std::fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
        for path in log {
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
        }
        let looks: Vec<Look> = (0..8).map(look).collect();
        let known: Vec<bool> = (0..8).map(|n| n < 5).collect();
        assert_eq!(seen.known(&store, &looks), known);
    }
}
