//! What a replay starts from when the index cannot be used: the newest snapshot that is good and belongs to this log, the
//! one before it, or the beginning of the log, if it still has one.
//!
//! Nothing on disk is changed here before the store serves; then what belongs to another log goes aside.

use crate::group::{self, BORDER, HEADER};
use crate::index::state::Witness;
use crate::options::Sabotage;
use crate::segment::TMP;
use crate::shared::at;
use crate::snapshot::format::First;
use crate::snapshot::read::{self, Flaw};
use crate::snapshot::{self, BadSnapshot, DIR, Snapshot, load, path_of};
use crate::state::world::{Position, Published};
use crate::vfs::{Vfs, read_full};

use super::found::Found;
use super::{OpenError, witness};

/// A snapshot whose first page can be read.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    seq: u64,
    first: First,
    octets: u64,
    /// Where the log goes on after it; `None` if it belongs to another log, or one that has lost its end.
    place: Option<Position>,
    /// What follows it in the log has been compacted.
    outlived: bool,
}

/// The snapshots that are there.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// The oldest first.
    candidates: Vec<Candidate>,
    pub(crate) bad: Vec<BadSnapshot>,
    /// The file from which the state was taken.
    pub(crate) used: Option<String>,
    newer: Option<String>,
}

/// Looks at the first pages of all snapshots.
pub(crate) fn look(vfs: &dyn Vfs, found: &Found) -> Result<Snapshots, OpenError> {
    let mut there = Snapshots::default();
    let Some(store) = found.mains.first().map(|m| m.header.store) else { return Ok(there) };
    for seq in snapshot::list(vfs).map_err(at(DIR))? {
        let path = path_of(seq);
        // It may go while we look: another process may be making newer ones.
        match read::first(vfs, &path).and_then(|first| Ok((first, vfs.len(&path)?))) {
            Ok((first, _)) if first.store != store => {
                there.say_bad(path, "it belongs to another store".into())
            }
            Ok((first, _)) if first.position.seq != seq => {
                there.say_bad(path, "its name is another's".into())
            }
            Ok((first, octets)) => {
                let place = place(found, &first.position);
                // It should have gone when two newer ones were there, before anything was compacted.
                let outlived = gone(found).is_some_and(|number| number >= first.position.segment);
                if place.is_none() && !outlived {
                    there.say_bad(path, "the log has no such group".into());
                }
                there.candidates.push(Candidate { seq, first, octets, place, outlived });
            }
            Err(Flaw::Newer(what)) => return Err(OpenError::Newer(format!("{path}: {what}"))),
            Err(flaw) => there.flawed(path, flaw),
        }
    }
    Ok(there)
}

impl Snapshots {
    fn say_bad(&mut self, file: String, what: String) {
        self.bad.push(BadSnapshot { file, what });
    }

    fn flawed(&mut self, file: String, flaw: Flaw) {
        if let Flaw::Newer(what) = &flaw {
            self.newer = Some(format!("{file}: {what}"));
        }
        self.say_bad(file, flaw.to_string());
    }

    /// What the snapshots know of the log: it held it once.
    pub(crate) fn witness(&self) -> Witness {
        let known = |c: &Candidate| witness(&c.first.position, &c.first.counters);
        self.candidates.iter().map(known).fold(Witness::default(), Witness::and)
    }

    /// The newest that belongs to this log, and how many octets of log there are since.
    pub(crate) fn last(&self, found: &Found, now: &Position) -> (Option<Snapshot>, u64) {
        let last = self.candidates.iter().rev().find_map(|c| c.place.map(|place| (c, place)));
        let from = last.map_or((0, BORDER), |(_, place)| (place.segment, place.end));
        let mut octets = 0;
        for (n, main) in found.mains.iter().enumerate().filter(|(_, m)| m.header.number >= from.0) {
            let start = if main.header.number == from.0 { from.1 } else { BORDER };
            let end = match found.mains.get(n + 1) {
                Some(next) => next.header.previous_end,
                None => now.end,
            };
            octets += end.saturating_sub(start);
        }
        (last.map(|(c, _)| Snapshot::of(path_of(c.seq), &c.first, c.octets)), octets)
    }

    /// What belongs to another log, or one that lost its end, goes where a salvage finds it: it has said what it knew.
    pub(crate) fn set_aside(&self, vfs: &dyn Vfs) -> Result<(), OpenError> {
        for lost in self.candidates.iter().filter(|c| c.place.is_none() && !c.outlived) {
            let path = path_of(lost.seq);
            vfs.rename(&path, &format!("{TMP}/lost-{:016x}.snap", lost.seq)).map_err(at(&path))?;
        }
        Ok(())
    }

    /// What is true at the newest position that anybody can vouch for, to be replayed from there on.
    pub(crate) fn choose(
        &mut self,
        vfs: &dyn Vfs,
        found: &Found,
        sabotage: Sabotage,
    ) -> Result<Published, OpenError> {
        let candidates: Vec<_> = self.candidates.iter().rev().copied().collect();
        for candidate in candidates {
            let Some(place) = candidate.place else { continue };
            let path = path_of(candidate.seq);
            match load::load(vfs, &path, sabotage) {
                Ok((_, mut published)) => {
                    published.position = place;
                    self.used = Some(path);
                    return Ok(published);
                }
                Err(flaw) => self.flawed(path, flaw),
            }
        }
        if let Some(newer) = self.newer.take() {
            return Err(OpenError::Newer(newer));
        }
        beginning(found).map(|position| Published { position, ..Published::default() }).ok_or_else(|| {
            let bad = self.bad.iter().map(|b| format!("{}: {}", b.file, b.what)).collect::<Vec<_>>();
            OpenError::NoBase(if bad.is_empty() { "there is none".to_owned() } else { bad.join("; ") })
        })
    }
}

/// The log's beginning, if nothing that was in it has been dropped.
pub(crate) fn beginning(found: &Found) -> Option<Position> {
    let first = found.mains.first()?;
    found.is_whole().then_some(Position {
        seq: first.header.seq.saturating_sub(1),
        chain: first.header.chain,
        segment: first.header.number,
        offset: BORDER,
        end: BORDER,
        time: first.header.time,
        ..Position::default()
    })
}

/// Where the log goes on after a snapshot's position: its group is there, whole, or what follows names it; and from
/// there on all of the log is as it was written.
fn place(found: &Found, position: &Position) -> Option<Position> {
    group_of(found, position).filter(|place| gone(found).is_none_or(|number| number < place.segment))
}

/// The last segment of which the groups are gone.
fn gone(found: &Found) -> Option<u32> {
    found.mains.iter().filter(|m| m.compacted.is_some()).map(|m| m.header.number).max()
}

fn group_of(found: &Found, position: &Position) -> Option<Position> {
    let follows = |seq: u64, chain: u128| seq == position.seq + 1 && chain == position.chain;
    if let Some(next) = found.mains.iter().find(|m| follows(m.header.seq, m.header.chain)) {
        // The snapshot holds what that segment begins with, wherever the one before it ends.
        return Some(Position { segment: next.header.number, offset: BORDER, end: BORDER, ..*position });
    }
    let main = found.mains.iter().find(|m| m.header.number == position.segment)?;
    let group = |offset: u64, end: u64| -> Option<(group::Header, Vec<u8>)> {
        let length = end.checked_sub(offset).and_then(|n| usize::try_from(n).ok())?;
        let mut octets = vec![0; length.max(HEADER)];
        let read = read_full(&*main.file, &mut octets, offset).unwrap_or(0);
        octets.truncate(read);
        let header = group::Header::decode(&octets)?;
        let ours = header.secret == main.header.epoch.secret && header.offset == offset;
        (ours && header.segment == position.segment).then_some((header, octets))
    };
    let own = (position.end <= main.len).then(|| group(position.offset, position.end)).flatten();
    let whole = own.is_some_and(|(header, octets)| {
        header.seq == position.seq
            && group::check(&header, &octets).is_some_and(|(chain, _)| chain == position.chain)
    });
    let named = || {
        let next = group(position.end, position.end)?;
        follows(next.0.seq, next.0.previous).then_some(())
    };
    (whole || named().is_some()).then_some(*position)
}

#[cfg(test)]
mod tests;
