//! The index's keys and values: what the applier writes, what opening and loading read.
//!
//! Keys begin with a letter: `P` position · `A` account · `S` subscription · `L` alias · `D` domain · `M` mailbox's name ·
//! `a` adopted side segment · `h` head · `k` keyword · `v` vanished chunk · `b` block · `x` what was expunged · `y` its
//! blocks · `q` a line of a book · `Q` what lines add up to · `Z` where an account's password lies · `z` a segment with an old one. Numbers in keys are big-endian, so that
//! their order is the tree's. No value is over 4 KiB: what could be longer (an account with many addresses, an alias with
//! many targets) is cut into pieces under keys that end in a zero octet and the piece's number.
//!
//! All this can change from one version to the next, but for the entries of [`PLAIN`], which snapshots hold as they are.

mod book;
mod retained;

pub(crate) use book::{
    LINE, decode_content, encode_content, get_line, line, lines_between, put_line, put_lines, put_tally,
    tally, weight,
};

pub(crate) use retained::{
    any_retained_before, oldest_retained, put_recent, put_retained, retained, retained_block, retained_from,
    retained_heads,
};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::flag::Keyword;
use wire::ids::{ModSeq, Uid, UidValidity};

use crate::codec::{Put, Take};
use crate::id::{AccountId, Location, MailboxId, UnixTime};
use crate::index::{Index, IndexError, Writes};
use crate::record::{decode_quota, encode_quota, special_use};
use crate::state::block::Block;
use crate::state::book::Lines;
use crate::state::directory::{Directory, MailboxInfo, Target};
use crate::state::mailbox::{Head, Mailbox, Rows};
use crate::state::table::Table;
use crate::state::vanished::{Chunk, Vanished};
use crate::state::world::{Counters, Position, Published, Side};

/// The format of all this; another one is a rebuild.
pub(crate) const FORMAT: u32 = 5;
const PIECE: usize = 3_500;
/// The segment in which an account's password lies; a segment in which lies one that is good no longer.
const SECRET: u8 = b'Z';
const SPENT: u8 = b'z';
/// How the key of a value ends that is not cut.
const ONLY: [u8; 3] = [0; 3];

fn key(letter: u8, id: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(letter);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

fn key2(letter: u8, id: u32, second: u32) -> Vec<u8> {
    let mut key = key(letter, id);
    key.extend_from_slice(&second.to_be_bytes());
    key
}

fn corrupt(what: &str) -> IndexError {
    IndexError::Condemned(format!("{what} is not what was written").into())
}

// ---- writing ------------------------------------------------------------------------------------------------------

pub(crate) fn put_position(to: &mut Writes, position: &Position, counters: &Counters) {
    let mut v = Vec::new();
    v.u64(position.seq);
    v.u128(position.chain);
    v.u32(position.segment);
    v.u64(position.offset);
    v.u64(position.end);
    v.u64(position.commit.0);
    v.i64(position.time.secs);
    v.u32(position.time.nanos);
    v.u32(counters.account);
    v.u32(counters.mailbox);
    v.u32(counters.uid_validity);
    to.put(vec![b'P'], v);
}

/// A side segment; `None` when it is given up.
pub(crate) fn put_side(to: &mut Writes, number: u32, side: Option<&Side>) {
    let key = key(b'a', number);
    let Some(side) = side else { return to.delete(key) };
    let mut v = Vec::new();
    v.u64(side.octets);
    if let Some((first, last)) = side.named {
        for n in [first.segment, first.ordinal, last.segment, last.ordinal] {
            v.u32(n);
        }
    }
    to.put(key, v);
}

fn decode_side(take: &mut Take<'_>) -> Option<Side> {
    let octets = take.u64()?;
    if take.is_empty() {
        return Some(Side { octets, named: None });
    }
    let mut location = || Some(Location { segment: take.u32()?, ordinal: take.u32()? });
    let named = Some((location()?, location()?));
    take.is_empty().then_some(Side { octets, named })
}

fn encode_head(head: &Head, vanished: &Vanished) -> Vec<u8> {
    let mut v = Vec::new();
    v.u32(head.uid_validity.get());
    v.u32(head.uid_next.map_or(0, Uid::get));
    v.u64(head.highest_modseq.0);
    v.u32(head.exists);
    v.u32(head.unseen);
    v.u32(head.deleted);
    v.u64(head.octets);
    v.u64(head.uid_sum);
    v.u64(vanished.floor());
    v.u32(vanished.first());
    v
}

/// What makes the index's mailbox `old` into `new`.
pub(crate) fn put_mailbox(to: &mut Writes, old: Option<&Mailbox>, new: &Mailbox) {
    let Some(rows) = &new.rows else { return };
    let empty = Rows::default();
    let was = old.and_then(|m| m.rows.as_ref()).unwrap_or(&empty);
    let id = new.id.0;
    let mut gone = Vec::new();
    rows.table.diff(
        &was.table,
        |first| gone.push(first),
        |block| to.put(key2(b'b', id, block.uid_at(0)), block.octets()),
    );
    for first in gone {
        to.delete(key2(b'b', id, first));
    }
    for (bit, keyword) in (0u8..).zip(rows.keywords.iter()) {
        if was.keywords.get(usize::from(bit)).map(Keyword::as_str) != Some(keyword.as_str()) {
            let mut k = key(b'k', id);
            k.push(bit);
            to.put(k, keyword.as_str());
        }
    }
    let chunks: BTreeMap<u32, &Arc<Chunk>> = was.vanished.chunks().collect();
    for (number, chunk) in rows.vanished.chunks() {
        if !chunks.get(&number).is_some_and(|c| Arc::ptr_eq(c, chunk)) {
            to.put(key2(b'v', id, number), chunk.encode());
        }
    }
    for number in was.vanished.first()..rows.vanished.first() {
        to.delete(key2(b'v', id, number));
    }
    to.put(key(b'h', id), encode_head(&new.head, &rows.vanished));
}

/// Removes everything of a mailbox.
pub(crate) fn delete_mailbox(to: &mut Writes, index: &dyn Index, id: MailboxId) -> Result<(), IndexError> {
    for letter in [b'h', b'k', b'v', b'b'] {
        index.scan(&key(letter, id.0), &mut |k, _| to.delete(k))?;
    }
    Ok(())
}

/// A directory as keys and whole values; long ones are cut when they are written.
fn directory_entries(directory: &Directory) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    for name in &directory.domains {
        entries.insert([b"D", name.as_bytes()].concat(), Vec::new());
    }
    for account in directory.accounts.values() {
        let mut v = Vec::new();
        v.str(&account.login);
        v.str(&account.password);
        v.u64(account.credentials);
        v.i64(account.created.secs);
        encode_quota(&account.quota, &mut v);
        account.addresses.iter().for_each(|a| v.str(a));
        entries.insert(key(b'A', account.id.0), v);
        for path in &account.subscriptions {
            let mut k = key(b'S', account.id.0);
            k.extend_from_slice(path.as_bytes());
            entries.insert(k, Vec::new());
        }
    }
    for (id, segment) in &directory.secrets {
        entries.insert(key(SECRET, id.0), segment.to_le_bytes().to_vec());
    }
    for segment in &directory.spent {
        entries.insert(key(SPENT, *segment), Vec::new());
    }
    for (address, to) in directory.aliases() {
        let mut v = Vec::new();
        to.iter().for_each(|t| v.str(t));
        entries.insert([b"L", address.as_bytes()].concat(), v);
    }
    for info in directory.mailboxes.values() {
        let mut v = Vec::new();
        v.u32(info.account.0);
        v.u32(info.uid_validity.get());
        v.u8(info.special_use.map_or(0, |s| s as u8));
        v.str(&info.path);
        entries.insert(key(b'M', info.id.0), v);
    }
    entries
}

fn pieces(value: &[u8]) -> usize {
    value.len().div_ceil(PIECE).max(1)
}

fn piece_key(key: &[u8], n: usize) -> Vec<u8> {
    let mut key = key.to_vec();
    key.push(0);
    key.extend_from_slice(&(n as u16).to_be_bytes());
    key
}

/// What makes the index's directory `old` into `new`.
pub(crate) fn put_directory(to: &mut Writes, old: &Directory, new: &Directory) {
    let (was, is) = (directory_entries(old), directory_entries(new));
    for (key, value) in &was {
        let kept = is.get(key).map_or(0, |v| pieces(v));
        for n in kept..pieces(value) {
            to.delete(piece_key(key, n));
        }
    }
    for (key, value) in &is {
        if was.get(key) == Some(value) {
            continue;
        }
        for n in 0..pieces(value) {
            let piece = value.get(n * PIECE..((n + 1) * PIECE).min(value.len())).unwrap_or_default();
            to.put(piece_key(key, n), piece);
        }
    }
}

// ---- reading ------------------------------------------------------------------------------------------------------

/// The position that the index holds; `None` in an empty one.
pub(crate) fn position(index: &dyn Index) -> Result<Option<(Position, Counters)>, IndexError> {
    let Some(value) = index.get(b"P")? else { return Ok(None) };
    let read = |take: &mut Take<'_>| -> Option<(Position, Counters)> {
        let position = Position {
            seq: take.u64()?,
            chain: take.u128()?,
            segment: take.u32()?,
            offset: take.u64()?,
            end: take.u64()?,
            commit: ModSeq(take.u64()?),
            time: UnixTime { secs: take.i64()?, nanos: take.u32()? },
        };
        let counters = Counters { account: take.u32()?, mailbox: take.u32()?, uid_validity: take.u32()? };
        Some((position, counters))
    };
    read(&mut Take::new(&value)).map(Some).ok_or_else(|| corrupt("the position"))
}

/// The side segment that an entry is about; `None` if it is about something else.
pub(crate) fn side(key: &[u8], value: &[u8]) -> Option<(u32, Side)> {
    let number = id_of(key).filter(|_| key.first() == Some(&b'a') && key.len() == 5)?;
    Some((number, decode_side(&mut Take::new(value))?))
}

/// The letters of entries that a snapshot takes as they lie here. [`Plain`] reads what every version wrote of them, and
/// [`count_plain`] counts.
pub(crate) const PLAIN: [u8; 6] = [SECRET, b'a', LINE, retained::HEAD, retained::ROWS, SPENT];

/// Entries of [`PLAIN`], in the order of their keys, on their way to memory.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    sides: BTreeMap<u32, Side>,
    retained: retained::Entries,
    lines: Lines,
    secrets: BTreeMap<AccountId, u32>,
    spent: BTreeSet<u32>,
}

impl Plain {
    /// Takes an entry; `None` if it is not what was written. Without `keep` it is only looked at.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8], keep: bool) -> Option<()> {
        match *key.first()? {
            b'a' => {
                let (number, side) = side(key, value)?;
                self.sides.insert(number, side);
                Some(())
            }
            SECRET => {
                let id = id_of(key).filter(|_| key.get(5..) == Some(&ONLY))?;
                self.secrets.insert(AccountId(id), Take::new(value).u32()?);
                Some(())
            }
            SPENT => {
                self.spent.insert(id_of(key).filter(|_| key.get(5..) == Some(&ONLY))?);
                Some(())
            }
            LINE => {
                let (name, line) = book::line(key, value)?;
                if keep {
                    self.lines.set(name, Some(Arc::new(line)));
                }
                Some(())
            }
            retained::HEAD | retained::ROWS => self.retained.take(key, value, keep),
            _ => None,
        }
    }

    /// Puts them where they belong; `None` if something does not add up.
    pub(crate) fn put(self, to: &mut Published) -> Option<()> {
        to.sides = self.sides;
        let directory = Arc::make_mut(&mut to.directory);
        directory.secrets = self.secrets;
        directory.spent = self.spent;
        to.dirty.lines = self.lines;
        self.retained.finish()?.into_iter().for_each(|entry| to.dirty.retained.add(entry));
        Some(())
    }
}

/// How many entries of a letter of [`PLAIN`] there must be, where memory knows.
pub(crate) fn count_plain(published: &Published, letter: u8) -> Option<usize> {
    match letter {
        b'a' => Some(published.sides.len()),
        SECRET => Some(published.directory.secrets.len()),
        SPENT => Some(published.directory.spent.len()),
        _ => None,
    }
}

/// Everything that is always in memory.
pub(crate) fn load(index: &dyn Index) -> Result<Option<Published>, IndexError> {
    let Some((position, counters)) = position(index)? else { return Ok(None) };
    let books = tally(index)?;
    let mut published = Published {
        position,
        counters,
        books,
        directory: Arc::new(load_directory(index)?),
        ..Published::default()
    };
    let mut bad = false;
    index.scan(b"h", &mut |key, value| match (id_of(key), decode_head(&mut Take::new(value))) {
        (Some(id), Some((head, _, _))) => {
            let id = MailboxId(id);
            published.mailboxes.insert(id, Arc::new(Mailbox { id, head, rows: None }));
        }
        _ => bad = true,
    })?;
    index.scan(b"a", &mut |key, value| match (id_of(key), decode_side(&mut Take::new(value))) {
        (Some(number), Some(side)) => {
            published.sides.insert(number, side);
        }
        _ => bad = true,
    })?;
    let same = published.mailboxes.len() == published.directory.mailboxes.len()
        && published.mailboxes.keys().all(|id| published.directory.mailboxes.contains_key(id));
    if bad || !same {
        return Err(corrupt("a mailbox's head"));
    }
    for mailbox in published.mailboxes.values() {
        let account = published.directory.mailbox(mailbox.id).map(|info| info.account);
        account.into_iter().for_each(|account| published.totals.change(account, None, Some(&mailbox.head)));
    }
    Ok(Some(published))
}

fn id_of(key: &[u8]) -> Option<u32> {
    key.get(1..5).and_then(|s| s.try_into().ok()).map(u32::from_be_bytes)
}

fn decode_head(take: &mut Take<'_>) -> Option<(Head, u64, u32)> {
    let head = Head {
        uid_validity: UidValidity::new(take.u32()?)?,
        uid_next: Uid::new(take.u32()?),
        highest_modseq: ModSeq(take.u64()?),
        exists: take.u32()?,
        unseen: take.u32()?,
        deleted: take.u32()?,
        octets: take.u64()?,
        uid_sum: take.u64()?,
    };
    Some((head, take.u64()?, take.u32()?))
}

fn load_directory(index: &dyn Index) -> Result<Directory, IndexError> {
    let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut bad = false;
    for letter in [b'D', b'A', b'S', b'L', b'M', SECRET, SPENT] {
        index.scan(
            &[letter],
            &mut |key, value| match key.len().checked_sub(3).map(|at| key.split_at(at)) {
                Some((key, [0, _, _])) => entries.entry(key.to_vec()).or_default().extend_from_slice(value),
                _ => bad = true,
            },
        )?;
    }
    let mut directory = Directory::default();
    // Accounts come first in the order of keys, then aliases, domains, mailboxes, subscriptions.
    for (key, value) in &entries {
        bad |= directory_entry(&mut directory, key, value).is_none();
    }
    if bad { Err(corrupt("the directory")) } else { Ok(directory) }
}

fn directory_entry(directory: &mut Directory, key: &[u8], value: &[u8]) -> Option<()> {
    let mut take = Take::new(value);
    let (&letter, name) = key.split_first()?;
    match letter {
        SECRET => drop(directory.secrets.insert(AccountId(id_of(key)?), take.u32()?)),
        SPENT => drop(directory.spent.insert(id_of(key)?)),
        b'D' => {
            directory.domains.insert(std::str::from_utf8(name).ok()?.to_owned());
        }
        b'A' => {
            let id = AccountId(id_of(key)?);
            let (login, password) = (take.str()?, take.str()?);
            let (credentials, created) = (take.u64()?, take.i64()?);
            let quota = decode_quota(&mut take)?;
            directory.add_account(id, login, password, created);
            let account = Arc::make_mut(directory.accounts.get_mut(&id)?);
            account.credentials = credentials;
            account.quota = quota;
            while !take.is_empty() {
                let address = take.string()?;
                directory.targets.insert(address.clone(), Arc::new(Target::Account(id)));
                account.addresses.push(address);
            }
        }
        b'S' => {
            let account = directory.accounts.get_mut(&AccountId(id_of(key)?))?;
            let path = std::str::from_utf8(key.get(5..)?).ok()?;
            Arc::make_mut(account).subscriptions.insert(path.to_owned());
        }
        b'L' => {
            let mut to = Vec::new();
            while !take.is_empty() {
                to.push(take.string()?);
            }
            directory.targets.insert(std::str::from_utf8(name).ok()?.to_owned(), Arc::new(Target::Alias(to)));
        }
        _ => directory.add_mailbox(MailboxInfo {
            id: MailboxId(id_of(key)?),
            account: AccountId(take.u32()?),
            uid_validity: UidValidity::new(take.u32()?)?,
            special_use: special_use(take.u8()?)?,
            path: take.string()?,
        }),
    }
    Some(())
}

/// What the keys of a mailbox's blocks begin with.
pub(crate) fn blocks_of(id: MailboxId) -> Vec<u8> {
    key(b'b', id.0)
}

/// One of a mailbox's blocks, checked against its key.
pub(crate) fn block(id: MailboxId, key: &[u8], value: &[u8]) -> Result<Block, IndexError> {
    let block = Block::from_octets(value).filter(|block| key == key2(b'b', id.0, block.uid_at(0)));
    block.ok_or_else(|| corrupt("a mailbox's rows"))
}

/// A mailbox's rows, keywords and vanished runs.
pub(crate) fn load_rows(index: &dyn Index, id: MailboxId) -> Result<Rows, IndexError> {
    let mut bad = false;
    let mut blocks = Vec::new();
    let mut last = 0;
    index.scan(&key(b'b', id.0), &mut |key, value| match block(id, key, value) {
        Ok(block) if block.uid_at(0) > last => {
            last = block.uid_at(block.len() - 1);
            blocks.push(Arc::new(block));
        }
        _ => bad = true,
    })?;
    if bad {
        return Err(corrupt("a mailbox's rows"));
    }
    let (_, keywords, vanished) = load_small(index, id)?;
    let table = Table::from_blocks(blocks);
    Ok(Rows { table, keywords: Arc::new(keywords), vanished, used: Arc::default() })
}

/// What a mailbox has besides rows: its head, its keywords, what vanished from it.
pub(crate) fn load_small(
    index: &dyn Index,
    id: MailboxId,
) -> Result<(Head, Vec<Keyword>, Vanished), IndexError> {
    let mut bad = false;
    let mut keywords = Vec::new();
    index.scan(&key(b'k', id.0), &mut |key, value| match Keyword::parse(value) {
        Some(keyword) if key.get(5).map(|&bit| usize::from(bit)) == Some(keywords.len()) => {
            keywords.push(keyword)
        }
        _ => bad = true,
    })?;
    let mut chunks = Vec::new();
    index.scan(&key(b'v', id.0), &mut |_, value| match Chunk::decode(value) {
        Some(chunk) => chunks.push(Arc::new(chunk)),
        None => bad = true,
    })?;
    let head = index.get(&key(b'h', id.0))?;
    let head = head.as_deref().and_then(|value| decode_head(&mut Take::new(value)));
    match head {
        Some((head, floor, first)) if !bad => {
            Ok((head, keywords, Vanished::from_parts(floor, first, chunks)))
        }
        _ => Err(corrupt("a mailbox's rows")),
    }
}
