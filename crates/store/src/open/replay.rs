//! Reading the log's groups in order and doing what their records say.
//!
//! Nothing on disk is changed here. A group that is not whole and has something good behind it is rot: reported, and
//! its intact records used. One with nothing behind it is the torn end.
//!
//! Where the disk fails to read, what is there may be read another day: what a replay makes of the log must not depend on
//! it. So an unreadable stretch is passed over only if it holds nothing but octets of bodies, with something good behind
//! it; any other ends the replay.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use wire::ids::ModSeq;

use super::found::{Found, Main};
use super::{OpenError, Rot};
use crate::group::{self, BORDER, HEADER};
use crate::id::{Location, UnixTime};
use crate::options::{Progress, Sabotage};
use crate::record::{self, Bad, Record};
use crate::segment::{generation_path, main_path};
use crate::shared::at;
use crate::state::draft::Draft;
use crate::state::world::{Position, World};
use crate::vfs::{read_full, read_patiently};

/// The end of the log, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Zeros from here on.
    Clean,
    /// Something that was never whole, up to here.
    Torn { end: u64 },
    /// Something that was whole once (the index says so) and is not any more, up to here: it stays.
    Rotten { end: u64 },
}

/// Who is told of a long replay, and what is broken on purpose.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) progress: &'a (dyn Fn(Progress) + Send + Sync),
    pub(crate) sabotage: Sabotage,
}

/// What a replay has seen.
pub(crate) struct Replay<'a> {
    how: How<'a>,
    world: &'a World,
    found: &'a Found,
    pub(crate) position: Position,
    /// Groups up to this one were whole once: an index knew them.
    named: u64,
    /// What somebody may have been told is kept, and is not: a group, or records of one. A new epoch that was begun
    /// after it settles it.
    pub(crate) loss: Option<String>,
    /// The group before was damaged: the next one's number and chain cannot be known.
    after_rot: bool,
    pub(crate) groups: u64,
    pub(crate) rot: Vec<Rot>,
    pub(crate) orphans: u64,
    told: u64,
    /// Where the disk failed to read the segment at hand.
    unreadable: RefCell<BTreeMap<u64, io::Error>>,
}

/// Octets between two tellings of progress.
const TELL: u64 = 32 << 20;

impl<'a> Replay<'a> {
    /// From a position on; the beginning is a position of its own.
    pub(crate) fn new(
        how: How<'a>,
        world: &'a World,
        found: &'a Found,
        from: Position,
        named: u64,
    ) -> Replay<'a> {
        Replay {
            how,
            world,
            found,
            position: from,
            named,
            loss: None,
            after_rot: false,
            groups: 0,
            rot: Vec::new(),
            orphans: 0,
            told: 0,
            unreadable: RefCell::default(),
        }
    }

    /// Replays to the end of the log.
    pub(crate) fn run(&mut self) -> Result<Tail, OpenError> {
        let total: u64 = self.found.mains.iter().map(|m| m.len).sum();
        let mut done = 0;
        let mut tail = Tail::Clean;
        for (n, main) in self.found.mains.iter().enumerate() {
            let number = main.header.number;
            if number < self.position.segment {
                done += main.len;
                continue;
            }
            if main.compacted.is_some() {
                let path = generation_path(number, main.known().generation);
                return Err(OpenError::Missing(format!(
                    "{path} is compacted, and no snapshot stands for it"
                )));
            }
            let start = if number == self.position.segment { self.position.end } else { BORDER };
            if number != self.position.segment {
                self.enter(main, n.checked_sub(1).and_then(|n| self.found.mains.get(n)))?;
            }
            let limit = self.found.mains.get(n + 1).map(|next| next.header.previous_end);
            tail = self.segment(main, start, limit, done, total)?;
            done += main.len;
        }
        if self.position.seq < self.named {
            self.position.seq = self.named;
            self.loss = Some(format!("the log ends before group {}, which was acknowledged", self.named));
            let end = self.position.end;
            tail = Tail::Rotten { end };
        }
        Ok(tail)
    }

    /// A new segment goes on where the one before ended. One that begins a new epoch may leave out groups: their loss is
    /// why it was begun.
    fn enter(&mut self, main: &Main, before: Option<&Main>) -> Result<(), OpenError> {
        let follows = main.header.seq == self.position.seq + 1;
        let new_epoch = before.is_some_and(|b| b.header.epoch.tag != main.header.epoch.tag);
        let leaves_out = new_epoch && main.header.seq > self.position.seq;
        let goes_on = (follows || leaves_out) && main.header.chain == self.position.chain;
        if !goes_on && !self.after_rot {
            let path = main_path(main.header.number);
            return Err(OpenError::Missing(format!(
                "{path} does not go on where the segment before it ends"
            )));
        }
        if !follows {
            let last = main.header.seq.saturating_sub(1);
            self.loss.get_or_insert_with(|| format!("groups up to group {last} are gone"));
        }
        self.position.seq = main.header.seq.saturating_sub(1);
        self.position.chain = main.header.chain;
        self.after_rot = false;
        self.position.segment = main.header.number;
        self.position.offset = BORDER;
        self.position.end = BORDER;
        Ok(())
    }

    /// Reads; where the disk fails there are zeros, which no checksum takes for what was written.
    fn read(&self, main: &Main, buf: &mut [u8], offset: u64) -> Result<usize, OpenError> {
        let mut failed = |at: u64, error: io::Error| {
            self.unreadable.borrow_mut().insert(at, error);
        };
        read_patiently(&*main.file, buf, offset, &mut failed).map_err(at(main_path(main.header.number)))
    }

    /// An error if the disk failed to read something of a stretch.
    fn is_readable(&self, main: &Main, from: u64, to: u64) -> Result<(), OpenError> {
        let mut unreadable = self.unreadable.borrow_mut();
        let Some(offset) = unreadable.range(from..to).map(|(&at, _)| at).next() else { return Ok(()) };
        let Some(error) = unreadable.remove(&offset) else { return Ok(()) };
        Err(OpenError::Unreadable { file: main_path(main.header.number), offset, error })
    }

    fn segment(
        &mut self,
        main: &Main,
        start: u64,
        limit: Option<u64>,
        done: u64,
        total: u64,
    ) -> Result<Tail, OpenError> {
        let end = limit.unwrap_or(main.len).min(main.len);
        self.unreadable.take();
        let mut offset = start;
        while offset < end {
            if let Some((header, octets)) = self.group_at(main, offset, end, false)? {
                self.replay(main, &header, &octets)?;
                offset = self.position.end;
                if done + offset - self.told.min(done + offset) >= TELL {
                    self.told = done + offset;
                    (self.how.progress)(Progress::Replaying { done: self.told, total });
                }
                continue;
            }
            if limit.is_none() && self.how.sabotage.rot_cut() {
                self.named = 0;
                return self.tail(main, offset);
            }
            let next = self.next_group(main, offset + BORDER, end)?;
            match (next, limit) {
                (Some(next), _) => {
                    self.rotten(main, offset, next)?;
                    offset = next;
                }
                (None, Some(_)) => {
                    self.rotten(main, offset, end)?;
                    offset = end;
                }
                (None, None) => return self.tail(main, offset),
            }
        }
        // A segment that is shorter than the next one says it was has lost its end.
        if let Some(limit) = limit
            && limit > end
        {
            self.rotten(main, offset.max(end), limit)?;
        }
        self.position.end = self.position.end.max(offset);
        Ok(Tail::Clean)
    }

    /// The whole group at an offset; `None` if there is none. After rot (or when looking for what lies behind it) any
    /// later number and chain will do.
    fn group_at(
        &self,
        main: &Main,
        offset: u64,
        end: u64,
        any: bool,
    ) -> Result<Option<(group::Header, Vec<u8>)>, OpenError> {
        let mut front = [0; HEADER];
        if self.read(main, &mut front, offset)? < HEADER {
            return Ok(None);
        }
        if let Some(format) = group::Header::newer(&front, &main.header.epoch.secret) {
            let path = main_path(main.header.number);
            return Err(OpenError::Newer(format!("{path} has groups of format {format}")));
        }
        let Some(header) = group::Header::decode(&front) else { return Ok(None) };
        let ours = header.secret == main.header.epoch.secret
            && header.segment == main.header.number
            && header.offset == offset;
        let goes_on = if any || self.after_rot {
            header.seq > self.position.seq
        } else {
            header.seq == self.position.seq + 1 && header.previous == self.position.chain
        };
        let Some(total) = header.total().filter(|&t| ours && goes_on && t <= end - offset) else {
            return Ok(None);
        };
        let length = usize::try_from(total).map_err(|_| OpenError::Missing("a group is too large".into()))?;
        let mut octets = vec![0; length];
        let read = self.read(main, &mut octets, offset)?;
        octets.truncate(read);
        let whole = group::check(&header, &octets).is_some() || self.how.sabotage.no_crc();
        Ok(whole.then_some((header, octets)))
    }

    /// The next whole group at or behind an offset.
    fn next_group(&self, main: &Main, from: u64, end: u64) -> Result<Option<u64>, OpenError> {
        let mut window = vec![0; 1 << 20];
        let mut start = from;
        while start < end {
            let Some(data) = main.file.data_after(start).map_err(at(main_path(main.header.number)))? else {
                break;
            };
            start = data / BORDER * BORDER;
            let read = self.read(main, &mut window, start)?;
            for (n, page) in window[..read].chunks(BORDER as usize).enumerate() {
                let offset = start + n as u64 * BORDER;
                if offset >= end {
                    break;
                }
                let may_be = group::Header::decode(page).is_some()
                    || group::Header::newer(page, &main.header.epoch.secret).is_some();
                if may_be && self.group_at(main, offset, end, true)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            if read < window.len() {
                break;
            }
            start += read as u64;
        }
        Ok(None)
    }

    fn replay(&mut self, main: &Main, header: &group::Header, octets: &[u8]) -> Result<(), OpenError> {
        let checked = group::check(header, octets);
        let Some((chain, records)) = checked.or_else(|| self.unchecked(header, octets)) else {
            return Ok(());
        };
        let total = octets.len() as u64;
        let base = header.offset + HEADER as u64;
        self.records(main.header.number, base, records, header.first_commit, header.time)?;
        if self.after_rot && header.seq != self.position.seq + 1 && self.loss.is_none() {
            self.loss = Some(format!("groups before group {} are gone", header.seq));
        }
        self.after_rot = false;
        self.groups += 1;
        self.position = Position {
            seq: header.seq,
            chain,
            segment: main.header.number,
            offset: header.offset,
            end: header.offset + total,
            commit: self.position.commit,
            time: header.time,
        };
        self.world.write().position = self.position;
        Ok(())
    }

    /// What a store without checksums would take for a group.
    fn unchecked<'o>(&self, header: &group::Header, octets: &'o [u8]) -> Option<(u128, &'o [u8])> {
        let records = octets.get(HEADER..HEADER + usize::try_from(header.length).ok()?)?;
        let chain = octets.get(HEADER + records.len()..)?.get(..group::CHAIN)?;
        let chain = u128::from_le_bytes(chain.try_into().ok()?);
        self.how.sabotage.no_crc().then_some((chain, records))
    }

    /// Does what records say; those that are damaged are passed over. Says how many octets were intact records, up to
    /// the first that was not (the octets of bodies aside, which are checked when they are read).
    fn records(
        &mut self,
        segment: u32,
        base: u64,
        records: &[u8],
        first: u64,
        time: UnixTime,
    ) -> Result<u64, OpenError> {
        let mut draft = Draft::new(self.world, time);
        draft.after_rot = !self.rot.is_empty() || self.after_rot;
        let mut commit = ModSeq(first);
        let (mut intact, mut all) = (0, true);
        for (offset, header, octets) in record::walk(records) {
            let decoded = header.meta(octets).ok_or(Bad::Damaged).and_then(|m| Record::decode(&header, m));
            all &= !matches!(decoded, Err(Bad::Damaged));
            if all {
                intact = offset as u64 + header.total();
            }
            let record = match decoded {
                Ok(Some(record)) => record,
                Ok(None) | Err(Bad::Damaged) => continue,
                Err(Bad::Newer(kind, version)) => {
                    return Err(OpenError::Newer(format!("a record of kind {kind}, version {version}")));
                }
            };
            match &record {
                Record::Commit { number } => commit = *number,
                Record::Epoch { .. } => self.loss = None,
                _ => {}
            }
            let at =
                Location { segment, ordinal: u32::try_from((base + offset as u64) / 8).unwrap_or(u32::MAX) };
            draft.apply(&record, commit, at)?;
            self.position.commit = self.position.commit.max(commit);
        }
        draft.accept();
        self.orphans += draft.orphans;
        self.world.publish(draft.finish(), self.position);
        Ok(intact)
    }

    /// A damaged stretch with something good behind it. What can be read of the group that began there is used: its
    /// records are followed from its known beginning, never searched for, since a message could hold anything.
    fn rotten(&mut self, main: &Main, from: u64, to: u64) -> Result<(), OpenError> {
        let path = main_path(main.header.number);
        let length = usize::try_from(to - from).unwrap_or(usize::MAX).min(256 << 20);
        let mut octets = vec![0; length];
        let read = self.read(main, &mut octets, from)?;
        octets.truncate(read);
        let ours = |h: &group::Header| {
            h.secret == main.header.epoch.secret && (h.segment, h.offset) == (main.header.number, from)
        };
        let header = group::Header::decode(&octets).filter(ours);
        let first = header.map_or(self.position.commit.0 + 1, |h| h.first_commit);
        let time = header.map_or(self.position.time, |h| h.time);
        let intact = match octets.get(HEADER..) {
            Some(records) => self.records(main.header.number, from + HEADER as u64, records, first, time)?,
            None => 0,
        };
        let what = match header {
            // Only octets of bodies are spoilt: those are missed when they are read, and nothing else is lost.
            Some(header) if header.length <= intact && header.total() == Some(to - from) => {
                self.position.seq = self.position.seq.max(header.seq);
                "a group is damaged"
            }
            _ => {
                self.is_readable(main, from, to)?;
                self.loss.get_or_insert_with(|| format!("a group of {path} at {from} is not whole"));
                if header.is_some() {
                    "records of a group are damaged"
                } else {
                    "a group's header is damaged"
                }
            }
        };
        self.rot.push(Rot { file: path, offset: from, octets: to - from, what: what.to_owned() });
        self.after_rot = true;
        Ok(())
    }

    /// The log's end, with nothing whole behind it.
    fn tail(&mut self, main: &Main, offset: u64) -> Result<Tail, OpenError> {
        self.is_readable(main, offset, u64::MAX)?;
        self.position.end = offset;
        let end = last_octet(main, offset)?.map(|end| end.next_multiple_of(BORDER));
        if self.position.seq < self.named {
            // An index knew a group here. That there are only zeros now makes it no less lost.
            let end = end.unwrap_or(offset + BORDER);
            self.rotten(main, offset, end)?;
            self.position.end = end;
            return Ok(Tail::Rotten { end });
        }
        let Some(end) = end else { return Ok(Tail::Clean) };
        Ok(Tail::Torn { end })
    }
}

/// One beyond the last octet that is not zero, from an offset on.
fn last_octet(main: &Main, from: u64) -> Result<Option<u64>, OpenError> {
    let failed = || at(main_path(main.header.number));
    let zeros = vec![0; 1 << 20];
    let mut window = zeros.clone();
    let (mut start, mut last) = (from, None);
    loop {
        let Some(data) = main.file.data_after(start).map_err(failed())? else { return Ok(last) };
        start = data;
        let read = read_full(&*main.file, &mut window, start).map_err(failed())?;
        if window[..read] != zeros[..read]
            && let Some(n) = window[..read].iter().rposition(|&b| b != 0)
        {
            last = Some(start + n as u64 + 1);
        }
        if read < window.len() {
            return Ok(last);
        }
        start += read as u64;
    }
}
