//! A snapshot being made: by the applier between two batches, when the index holds exactly one position of the log.
//!
//! Names and heads are what was published at that position; rows are read from the index, some at a time, each block
//! against its checksum and each mailbox against its head. Commits go on meanwhile: they are published, and reach the
//! index afterwards. What does not add up condemns the index, and no snapshot comes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::format::{BLOCKS, First, Item};
use super::write::Writer;
use super::{Snapshot, SnapshotError, load, path_of};
use crate::id::MailboxId;
use crate::index::pages::Pages;
use crate::index::{Index, IndexError};
use crate::keys;
use crate::record::Record;
use crate::shared::Shared;
use crate::state::book;
use crate::state::directory::Directory;
use crate::state::mailbox::{Head, Tally};
use crate::state::usage::Quota;
use crate::state::vanished::Vanished;
use crate::state::world::{Counters, Position, Published};

/// Octets that a row takes in a snapshot, with its part of everything else, and those of a snapshot without rows.
const ROW: u64 = 64;
const SMALL: u64 = 64 << 10;

/// What is published at one position, without rows.
#[derive(Debug)]
pub(crate) struct Moment {
    position: Position,
    counters: Counters,
    directory: Arc<Directory>,
    /// In the order of ids.
    heads: Vec<(MailboxId, Head)>,
    /// How many entries the index has of each letter of [`keys::PLAIN`].
    plain: [Option<usize>; keys::PLAIN.len()],
}

impl Moment {
    /// Of what is published now: the index must hold exactly this, or be about to.
    pub(crate) fn of(published: &Published) -> Moment {
        let mut heads: Vec<_> = published.mailboxes.values().map(|m| (m.id, m.head)).collect();
        heads.sort_unstable_by_key(|(id, _)| *id);
        Moment {
            position: published.position,
            counters: published.counters,
            directory: published.directory.clone(),
            heads,
            plain: keys::PLAIN.map(|letter| keys::count_plain(published, letter)),
        }
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    pub(crate) fn seq(&self) -> u64 {
        self.position.seq
    }
}

/// Makes a snapshot of a moment, reads it back, and removes those that are older than the two newest good ones.
pub(crate) fn make(shared: &Shared, moment: &Moment) -> Result<Snapshot, SnapshotError> {
    // Space comes back only by snapshots, so they may use what is kept free, as long as they fit well.
    let rows: u64 = moment.heads.iter().map(|(_, head)| u64::from(head.exists)).sum();
    if shared.low_space.load(Ordering::Relaxed)
        && shared.vfs.free_space().is_ok_and(|space| space.free < 2 * (rows * ROW + SMALL))
    {
        return Err(SnapshotError::Full);
    }
    let begun = shared.clock.monotonic();
    let first = First {
        store: shared.store,
        tag: shared.epoch.tag,
        position: moment.position,
        counters: moment.counters,
        mailboxes: moment.heads.len() as u32,
        rows,
    };
    let path = path_of(moment.seq());
    let written = write(shared, moment, &first);
    let verified = written.and_then(|octets| {
        if !shared.tuning.sabotage.snapshot_not_verified() {
            let again = load::verify(&*shared.vfs, &path)?;
            if again != first {
                return Err(SnapshotError::Bad("it is another one".into()));
            }
        }
        Ok(octets)
    });
    let octets = match verified {
        Ok(octets) => octets,
        Err(error) => {
            // It may have its name already. Nothing relies on it, and whoever finds it later would notice, too.
            let _ = shared.vfs.remove_file(&path);
            return Err(error);
        }
    };
    retire(shared, moment.seq());
    let took = shared.clock.monotonic().saturating_sub(begun);
    Ok(Snapshot { octets, took: Some(took), ..Snapshot::of(path, &first, 0) })
}

/// Removes what is older than the two newest good snapshots; the newest is known to be. As long as there are no two,
/// nothing is removed, not even what is bad.
fn retire(shared: &Shared, newest: u64) {
    let vfs = &*shared.vfs;
    // Those that a backup reads stay; the next snapshot finds them.
    let Some(_removing) = shared.holds.remove() else { return };
    let Ok(mut older) = super::list(vfs) else { return };
    older.retain(|&seq| seq < newest);
    let trusting = shared.tuning.sabotage.snapshot_not_verified();
    let is_good = |seq: &u64| load::verify(vfs, &path_of(*seq)).is_ok_and(|f| f.store == shared.store);
    let second = if trusting { Some(newest) } else { older.iter().rev().copied().find(is_good) };
    let Some(second) = second else { return };
    for seq in older.into_iter().filter(|&seq| seq != second) {
        // One that stays is found again the next time.
        let _ = vfs.remove_file(&path_of(seq));
    }
    shared.snapshots.forget_bad();
}

fn write(shared: &Shared, moment: &Moment, first: &First) -> Result<u64, SnapshotError> {
    let index = shared.world.index().ok_or(IndexError::Closed)?;
    let to = Writer::new(&*shared.vfs, first)?;
    let mut filling = Filling { shared, index: &**index, to };
    filling.directory(&moment.directory)?;
    for (id, head) in &moment.heads {
        filling.mailbox(*id, head)?;
    }
    for (letter, count) in keys::PLAIN.into_iter().zip(moment.plain) {
        filling.plain(letter, count)?;
    }
    Ok(filling.to.finish()?)
}

fn differs(what: String) -> SnapshotError {
    SnapshotError::Index(IndexError::Condemned(what.into()))
}

struct Filling<'a> {
    shared: &'a Shared,
    index: &'a dyn Index,
    to: Writer<'a>,
}

impl Filling<'_> {
    fn push(&mut self, item: &Item) -> Result<(), SnapshotError> {
        if self.to.push(item)? && self.shared.abandoned.load(Ordering::Relaxed) {
            return Err(SnapshotError::Closed);
        }
        Ok(())
    }

    fn say(&mut self, record: Record) -> Result<(), SnapshotError> {
        self.push(&Item::Said(record))
    }

    /// Everything that has a name.
    fn directory(&mut self, directory: &Directory) -> Result<(), SnapshotError> {
        for name in &directory.domains {
            self.say(Record::Domain { name: name.clone() })?;
        }
        for account in directory.accounts() {
            let (id, password) = (account.id, account.password.clone());
            let (login, created) = (account.login.clone(), account.created.secs);
            self.say(Record::Account { id, login, password: password.clone(), created })?;
            self.say(Record::Password { id, password, credentials: account.credentials })?;
            if account.quota != Quota::default() {
                self.say(Record::Quota { account: id, quota: account.quota })?;
            }
            for address in &account.addresses {
                self.say(Record::Address { account: id, address: address.clone() })?;
            }
            for path in &account.subscriptions {
                self.say(Record::Subscribed { account: id, path: path.clone(), on: true })?;
            }
        }
        for (address, to) in directory.aliases() {
            self.say(Record::Alias { address: address.to_owned(), to: to.to_vec() })?;
        }
        let mut ids: Vec<_> = directory.mailboxes.keys().copied().collect();
        ids.sort_unstable();
        for info in ids.into_iter().filter_map(|id| directory.mailbox(id)) {
            self.say(Record::Mailbox {
                id: info.id,
                account: info.account,
                path: info.path.clone(),
                uid_validity: info.uid_validity,
                special_use: info.special_use,
            })?;
        }
        Ok(())
    }

    fn mailbox(&mut self, id: MailboxId, head: &Head) -> Result<(), SnapshotError> {
        let (there, keywords, vanished) = keys::load_small(self.index, id)?;
        if there != *head {
            return Err(differs(format!("mailbox {id}: the index has another head")));
        }
        self.push(&Item::Head { mailbox: id, head: *head })?;
        for (bit, keyword) in (0..).zip(keywords) {
            self.say(Record::Keyword { mailbox: id, bit, keyword })?;
        }
        if vanished != Vanished::default() && !self.shared.tuning.sabotage.snapshot_without_vanished() {
            self.push(&Item::Vanished { mailbox: id, vanished })?;
        }
        let mut tally = Tally::new(head);
        let mut pages = Pages::of(&keys::blocks_of(id));
        while let Some(page) = pages.next(self.index)? {
            for entries in page.chunks(BLOCKS) {
                let mut blocks = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let block = keys::block(id, key, value)?;
                    block.rows().for_each(|row| tally.add(&row));
                    blocks.push(Arc::new(block));
                }
                self.push(&Item::Rows { mailbox: id, blocks })?;
            }
        }
        if tally.agrees() {
            Ok(())
        } else {
            Err(differs(format!("mailbox {id}: rows do not add up to its head")))
        }
    }

    /// Entries of the index that are kept as they are.
    fn plain(&mut self, letter: u8, count: Option<usize>) -> Result<(), SnapshotError> {
        let mut found = 0;
        let mut books = book::Tally::default();
        let mut pages = Pages::of(&[letter]);
        while let Some(page) = pages.next(self.index)? {
            for (key, value) in page {
                if keys::Plain::default().take(&key, &value, false).is_none() {
                    return Err(differs(format!(
                        "an entry of {:?} is not what was written",
                        char::from(letter)
                    )));
                }
                found += 1;
                if letter == keys::LINE {
                    books.add(keys::weight(&key, &value));
                }
                self.push(&Item::Entry { key, value })?;
            }
        }
        // Only the applier changes the index, and it is the applier that is at work here.
        if letter == keys::LINE && books != self.shared.world.read().books {
            return Err(differs("lines of books do not add up".to_owned()));
        }
        match count {
            Some(count) if count != found => {
                Err(differs(format!("{found} entries of {:?}, not {count}", char::from(letter))))
            }
            _ => Ok(()),
        }
    }
}
