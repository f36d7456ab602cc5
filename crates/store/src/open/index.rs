//! Whether the index that is there can be used, and how one is built anew.

use std::sync::Arc;

use super::OpenError;
use super::found::Found;
use crate::group::{self, BORDER, HEADER};
use crate::index::state::{self, Left, State, Witness};
use crate::index::{Index, IndexError, Writes};
use crate::keys;
use crate::options::{Options, Progress};
use crate::shared::{INDEX, at};
use crate::state::book::Tally;
use crate::state::directory::Directory;
use crate::state::retained::Change;
use crate::state::world::{Counters, Position, Published};
use crate::vfs::read_full;

/// Where a new index is built.
const NEW: &str = "index.new";
/// Octets of one batch while an index is built.
const BATCH: usize = 1 << 20;

/// An index that can be used.
#[derive(Debug)]
pub(crate) struct Usable {
    pub(crate) index: Arc<dyn Index>,
    pub(crate) published: Published,
    /// The last close was clean, and the log ends where the index does.
    pub(crate) clean: bool,
    /// What it and its state know of the log.
    pub(crate) witness: Witness,
}

/// Why there is no index to use, and what was known of the log all the same.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) why: String,
    pub(crate) witness: Witness,
}

/// What somebody who came this far knows.
pub(crate) fn witness(position: &Position, counters: &Counters) -> Witness {
    Witness {
        seq: position.seq,
        commit: position.commit.0,
        segment: position.segment,
        account: counters.account,
        mailbox: counters.mailbox,
        uid_validity: counters.uid_validity,
    }
}

/// Opens the index if it can be believed: its state says so, and its position is in the log.
pub(crate) fn usable(options: &Options, store: u128, found: &Found) -> Result<Usable, Unusable> {
    let vfs = &*options.vfs;
    let said = match state::read(vfs, INDEX) {
        Ok(said) if said.store == store => said.witness,
        _ => Witness::default(),
    };
    let no = |why: String, witness: Witness| Unusable { why, witness };
    let state = state::trust(vfs, INDEX, store, keys::FORMAT, options.boot_id.as_deref())
        .map_err(|e| no(e.to_string(), said))?;
    // First: opening writes in it, so a power cut from here on leaves an index that nobody may call clean.
    mark_running(options, INDEX, store, said).map_err(|e| no(e.to_string(), said))?;
    let failed = |e: IndexError| no(e.to_string(), said);
    let index = options.index.open(INDEX).map_err(failed)?;
    let published = match keys::load(&*index) {
        Ok(Some(published)) => published,
        Ok(None) => return Err(close(&*index, no("the index is empty".into(), said))),
        Err(e) => return Err(close(&*index, failed(e))),
    };
    let position = published.position;
    let knows = said.and(witness(&position, &published.counters));
    if !in_log(found, &position) {
        return Err(close(&*index, no("the index does not belong to this log".into(), knows)));
    }
    let clean = match state.left {
        Left::Clean { seq, chain } if (seq, chain) != (position.seq, position.chain) => {
            let why = "the index is not as the last close left it";
            return Err(close(&*index, no(why.into(), knows)));
        }
        Left::Clean { .. } => ends_at(found, &position),
        Left::Running { .. } => false,
    };
    Ok(Usable { index, published, clean, witness: knows })
}

fn close(index: &dyn Index, because: Unusable) -> Unusable {
    let _ = index.close();
    because
}

/// Whether the group that a position names is in the log, whole.
fn in_log(found: &Found, position: &Position) -> bool {
    let Some(main) = found.mains.iter().find(|m| m.header.number == position.segment) else { return false };
    // What was compacted can be read no more: only a snapshot knows what it came to.
    if found.mains.iter().any(|m| m.compacted.is_some() && m.header.number >= position.segment) {
        return false;
    }
    if position.seq + 1 == main.header.seq && position.end == BORDER {
        return position.chain == main.header.chain;
    }
    let Some(length) = position.end.checked_sub(position.offset).and_then(|n| usize::try_from(n).ok()) else {
        return false;
    };
    if position.end > main.len || length < HEADER {
        return false;
    }
    let mut octets = vec![0; length];
    let read = read_full(&*main.file, &mut octets, position.offset).unwrap_or(0);
    octets.truncate(read);
    group::Header::decode(&octets).is_some_and(|header| {
        header.seq == position.seq
            && header.offset == position.offset
            && header.total() == Some(length as u64)
            && header.secret == main.header.epoch.secret
            && group::check(&header, &octets).is_some_and(|(chain, _)| chain == position.chain)
    })
}

/// Whether nothing follows a position: no later segment, and zeros in the next page.
fn ends_at(found: &Found, position: &Position) -> bool {
    let Some(last) = found.mains.last() else { return false };
    let mut page = vec![0; BORDER as usize];
    last.header.number == position.segment
        && read_full(&*last.file, &mut page, position.end).is_ok_and(|n| page[..n].iter().all(|&b| b == 0))
}

/// Says that the index is in use from now on, and what was known of the log.
pub(crate) fn mark_running(
    options: &Options,
    dir: &str,
    store: u128,
    witness: Witness,
) -> Result<(), OpenError> {
    let left = Left::Running { boot: options.boot_id.clone() };
    state::write(&*options.vfs, dir, &State { store, format: keys::FORMAT, left, witness })
        .map_err(at("writing index/STATE"))
}

/// Builds an index of everything that is published.
pub(crate) fn build(
    options: &Options,
    store: u128,
    published: &Published,
) -> Result<Arc<dyn Index>, OpenError> {
    let vfs = &*options.vfs;
    vfs.remove_dir_all(NEW).map_err(at(NEW))?;
    vfs.remove_dir_all(INDEX).map_err(at(INDEX))?;
    vfs.create_dir_all(NEW).map_err(at(NEW))?;
    {
        let index = options.index.open(NEW)?;
        fill(options, &*index, published)?;
        index.flush()?;
        index.close()?;
    }
    mark_running(options, NEW, store, witness(&published.position, &published.counters))?;
    vfs.rename(NEW, INDEX).map_err(at(NEW))?;
    vfs.sync_dir("").map_err(at("the data directory"))?;
    Ok(options.index.open(INDEX)?)
}

fn fill(options: &Options, index: &dyn Index, published: &Published) -> Result<(), OpenError> {
    let mut writes = Writes::new();
    let mut rows = 0;
    for mailbox in published.mailboxes.values() {
        keys::put_mailbox(&mut writes, None, mailbox);
        rows += u64::from(mailbox.head.exists);
        if writes.octets() >= BATCH {
            in_batches(index, std::mem::take(&mut writes))?;
            (options.progress)(Progress::Indexing { rows });
        }
    }
    keys::put_directory(&mut writes, &Directory::default(), &published.directory);
    for (&number, side) in &published.sides {
        keys::put_side(&mut writes, number, Some(side));
    }
    // While an index is built, all that was expunged is still in memory.
    for entry in published.dirty.retained.entries.values().filter_map(Change::now) {
        keys::put_retained(&mut writes, entry);
        if writes.octets() >= BATCH {
            in_batches(index, std::mem::take(&mut writes))?;
        }
    }
    // ... and every line of a book.
    let mut books = Tally::default();
    for (name, line) in &published.dirty.lines.changed {
        line.iter().for_each(|line| keys::put_line(&mut writes, name, line, &mut books));
        if writes.octets() >= BATCH {
            in_batches(index, std::mem::take(&mut writes))?;
        }
    }
    keys::put_tally(&mut writes, books);
    in_batches(index, writes)?;
    // The position comes last: without it the index is empty.
    let mut writes = Writes::new();
    keys::put_position(&mut writes, &published.position, &published.counters);
    index.apply(writes)?;
    Ok(())
}

/// Nobody sees an index that is being built, so its batches may be cut anywhere.
fn in_batches(index: &dyn Index, writes: Writes) -> Result<(), IndexError> {
    if writes.octets() <= 2 * BATCH {
        return index.apply(writes);
    }
    let mut batch = Writes::new();
    for (key, value) in writes.iter() {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
        if batch.octets() >= BATCH {
            index.apply(std::mem::take(&mut batch))?;
        }
    }
    index.apply(batch)
}
