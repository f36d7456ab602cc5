//! What is alive, by a snapshot: how much of each segment, which side segments, and of one segment exactly which
//! deliveries and where they are. A delivery is alive while a row names it, in a mailbox or among what can be brought back, or a line of
//! a book.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::books;
use crate::id::{AccountId, Location, MailboxId};
use crate::keys;
use crate::options::Sabotage;
use crate::record::Record;
use crate::snapshot::format::{First, Item};
use crate::snapshot::read::{self, Flaw};
use crate::state::block::{Block, Row};
use crate::vfs::Vfs;

/// What a snapshot says of the whole log.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) first: First,
    /// Octets of living messages by segment. One that is named several times counts several times: too much, never too
    /// little.
    pub(crate) octets: BTreeMap<u32, u64>,
    /// Side segments that nothing names.
    pub(crate) dead_sides: Vec<u32>,
}

/// The contents that a snapshot's record names: of mailboxes, of what can be brought back, of books. With each the octets
/// of its message.
fn contents(item: &Item, sabotage: Sabotage, each: &mut dyn FnMut(Location, u32)) {
    let mut rows = |block: &Block| block.rows().for_each(|row| each(row.content, row.size));
    match item {
        Item::Rows { blocks, .. } => blocks.iter().for_each(|block| rows(block)),
        Item::Entry { key, value } => {
            if let Some(block) = keys::retained_block(key, value) {
                rows(&block);
            } else if let Some(content) = books::content_of(key, value)
                && !sabotage.liveness_without_books()
            {
                each(content.at, content.size);
            }
        }
        _ => {}
    }
}

/// Reads all of a snapshot, twice if there are side segments.
pub(crate) fn survey(vfs: &dyn Vfs, path: &str, sabotage: Sabotage) -> Result<Survey, Flaw> {
    let mut octets: BTreeMap<u32, u64> = BTreeMap::new();
    let mut sides = Sides::default();
    let first = read::read(vfs, path, false, &mut |item| {
        contents(&item, sabotage, &mut |at, size| *octets.entry(at.segment).or_default() += u64::from(size));
        if let Item::Entry { key, value } = &item
            && let Some((number, side)) = keys::side(key, value)
        {
            sides.list.push(Named { number, named: side.named, alive: false });
        }
        Ok(())
    })?;
    if !sides.list.is_empty() {
        sides.list.sort_unstable_by_key(|side| side.named);
        read::read(vfs, path, false, &mut |item| {
            contents(&item, sabotage, &mut |at, _| sides.mark(at));
            Ok(())
        })?;
    }
    let dead_sides = sides.list.iter().filter(|side| !side.alive).map(|side| side.number).collect();
    Ok(Survey { first, octets, dead_sides })
}

/// Side segments in the order of the commits that adopted them.
#[derive(Debug, Default)]
struct Sides {
    list: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    number: u32,
    named: Option<(Location, Location)>,
    alive: bool,
}

impl Sides {
    /// A living delivery: every side segment that it may name is alive.
    fn mark(&mut self, content: Location) {
        let behind = self.list.partition_point(|side| side.named.is_none_or(|(first, _)| first <= content));
        for side in self.list[..behind].iter_mut().rev() {
            let Some((first, last)) = side.named else { return };
            if last >= content {
                side.alive = true;
            } else if first.segment != content.segment || first.ordinal.abs_diff(content.ordinal) > FAR {
                // Those of one commit lie close together, and commits do not overlap.
                return;
            }
        }
    }
}

/// Units of 8 octets that a commit's records can lie apart at most: a group is smaller.
const FAR: u32 = (256 << 20) / 8;

/// Deliveries of one segment that are alive, and records that say where each of them is now.
#[derive(Debug, Default)]
pub(crate) struct Living {
    pub(crate) deliveries: BTreeSet<u32>,
    pub(crate) notes: Vec<u8>,
}

impl Living {
    /// What somebody believes who goes by counts.
    pub(crate) fn drop_every_other(&mut self) {
        let mut n = 0;
        self.deliveries.retain(|_| {
            n += 1;
            n % 2 == 1
        });
    }
}

/// Reads all of a snapshot for one segment.
pub(crate) fn living(vfs: &dyn Vfs, path: &str, segment: u32, sabotage: Sabotage) -> Result<Living, Flaw> {
    let mut deliveries = BTreeSet::new();
    let mut notes = Notes::default();
    read::read(vfs, path, false, &mut |item| {
        contents(&item, sabotage, &mut |at, _| {
            if at.segment == segment {
                deliveries.insert(at.ordinal);
            }
        });
        notes.take(item, segment);
        Ok(())
    })?;
    Ok(Living { deliveries, notes: notes.finish() })
}

/// For a salvage that has nothing but this segment: whose mailbox a message is in, its UID and flags. Said in the log's
/// words: an account's login as an address, a mailbox's keywords, and its rows.
#[derive(Debug, Default)]
struct Notes {
    accounts: BTreeMap<AccountId, String>,
    mailboxes: BTreeMap<MailboxId, (AccountId, String)>,
    keywords: Vec<Record>,
    said: BTreeSet<AccountId>,
    octets: Vec<u8>,
}

impl Notes {
    fn take(&mut self, item: Item, segment: u32) {
        match item {
            Item::Said(Record::Account { id, login, .. }) => drop(self.accounts.insert(id, login)),
            Item::Said(Record::Mailbox { id, account, path, .. }) => {
                self.mailboxes.insert(id, (account, path));
            }
            Item::Head { .. } => self.keywords.clear(),
            Item::Said(record @ Record::Keyword { .. }) => self.keywords.push(record),
            Item::Rows { mailbox, blocks } => self.rows(mailbox, &blocks, segment),
            _ => {}
        }
    }

    fn rows(&mut self, mailbox: MailboxId, blocks: &[Arc<Block>], segment: u32) {
        let here = |row: &Row| row.content.segment == segment;
        let rows: Vec<Row> = blocks.iter().flat_map(|b| b.rows()).filter(here).collect();
        let Some((account, path)) = self.mailboxes.get(&mailbox).filter(|_| !rows.is_empty()) else { return };
        let account = *account;
        if self.said.insert(account)
            && let Some(login) = self.accounts.get(&account)
        {
            Record::Address { account, address: login.clone() }.encode(&mut self.octets);
        }
        for keyword in self.keywords.drain(..) {
            keyword.encode(&mut self.octets);
        }
        Record::Placed { account, mailbox, path: path.clone(), rows }.encode(&mut self.octets);
    }

    fn finish(self) -> Vec<u8> {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_keeps_every_side_segment_alive_that_it_may_name() {
        let at = |segment, ordinal| Location { segment, ordinal };
        let side = |number, from, to| Named { number, named: Some((from, to)), alive: false };
        let mut sides = Sides {
            list: vec![
                Named { number: 1, named: None, alive: false },
                side(2, at(1, 500), at(1, 520)),
                side(3, at(1, 600), at(1, 700)),
                side(4, at(1, 610), at(1, 690)),
                side(5, at(2, 500), at(2, 500)),
                side(6, at(3, 500), at(3, 500)),
            ],
        };
        sides.list.sort_unstable_by_key(|side| side.named);
        sides.mark(at(1, 699));
        sides.mark(at(2, 500));
        sides.mark(at(1, 5));
        sides.mark(at(9, 9));
        let dead: Vec<u32> = sides.list.iter().filter(|s| !s.alive).map(|s| s.number).collect();
        assert_eq!(dead, [1, 2, 4, 6]);
        sides.mark(at(1, 650));
        assert!(sides.list.iter().any(|s| s.number == 4 && s.alive));
    }
}
