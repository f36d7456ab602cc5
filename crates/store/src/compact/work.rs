//! The compactor's work, a step at a time: what the newest snapshot says, then one segment after another, gently.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::format;
use super::live::{self, Survey};
use super::rewrite::{self, Plan, RewriteError};
use crate::commit::Commit;
use crate::group::BORDER;
use crate::intent::Batch;
use crate::retention;
use crate::segment::{self, DIR, Known, Opened, generation_path, main_path, side_path};
use crate::shared::Shared;
use crate::snapshot::read::Flaw;
use crate::snapshot::{self, load, path_of};
use crate::vfs::{Open, read_full};

/// With the disk full, so long between two tries.
const SOON: Duration = Duration::from_secs(10);
/// A snapshot older than this is renewed if anything has happened since.
const DAY: i64 = 24 * 3_600;

/// Why a step failed. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("segment {segment}: {error}")]
    Segment { segment: u32, error: RewriteError },
    #[error("a snapshot: {0}")]
    Snapshot(#[from] Flaw),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A segment that is worth rewriting.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    number: u32,
    last_seq: u64,
    /// A password lies in it that is good no longer.
    secret: bool,
}

/// A main segment that is written to no more.
struct Sealed {
    number: u32,
    /// Octets of its records.
    used: u64,
    /// Its last group.
    last_seq: u64,
    generation: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Work {
    /// The snapshot that was looked at last.
    surveyed: u64,
    /// Taken from the end.
    candidates: Vec<Candidate>,
    /// There is more, once the older snapshot is newer too.
    wants_snapshot: bool,
    /// Octets that had been given up when a snapshot was last asked for, and when that was.
    forgotten: u64,
    asked: Option<Duration>,
    /// Side segments that are being given up.
    dropping: Option<(Commit, Vec<u32>)>,
}

impl Work {
    /// One step. Says whether there may be more to do right away.
    pub(crate) fn step(&mut self, shared: &Shared) -> Result<bool, WorkError> {
        // A backup reads what a step would remove.
        let Some(_removing) = shared.holds.remove() else { return Ok(false) };
        if self.drop_sides(shared) {
            return Ok(true);
        }
        if let Some(candidate) = self.candidates.pop() {
            let compacted = compact(shared, self.surveyed, candidate);
            return compacted.map(|()| true).map_err(|error| match error {
                WorkError::Io(error) => {
                    WorkError::Segment { segment: candidate.number, error: RewriteError::Io(error) }
                }
                other => other,
            });
        }
        match shared.snapshots.known().last {
            Some(newest) if newest.seq != self.surveyed => {
                self.look(shared, newest.seq)?;
                Ok(true)
            }
            _ => {
                self.ask_for_a_snapshot(shared);
                Ok(false)
            }
        }
    }

    /// What the newest snapshot says, as far as the one before allows to act on it.
    fn look(&mut self, shared: &Shared, newest: u64) -> Result<(), WorkError> {
        let vfs = &*shared.vfs;
        self.surveyed = newest;
        self.wants_snapshot = false;
        let survey = live::survey(vfs, &path_of(newest), shared.tuning.sabotage)?;
        let older = snapshot::list(vfs)?.into_iter().rev().find(|&seq| seq < newest);
        // What a segment's changes came to must be in both.
        let older = older.and_then(|seq| load::verify(vfs, &path_of(seq)).ok());
        let (older_seq, older_segment) = older.map_or((0, 0), |f| (f.position.seq, f.position.segment));
        let spent = shared.world.read().directory.spent.clone();
        for Sealed { number, used, last_seq, generation } in sealed(shared, &survey)? {
            let living = survey.octets.get(&number).copied().unwrap_or(0);
            // Changes are gone with the first compaction, and so are passwords.
            let secret = generation == 1 && spent.contains(&number);
            let mostly_dead = used > 0 && living.saturating_mul(2) <= used;
            if !mostly_dead && !secret {
                continue;
            }
            if number < older_segment && last_seq <= older_seq {
                self.candidates.push(Candidate { number, last_seq, secret });
            } else {
                // What only holds an old password waits for the snapshots that come anyway.
                self.wants_snapshot |= mostly_dead;
            }
        }
        // The last comes first: what should not be kept, then the oldest.
        self.candidates.sort_by_key(|c| (c.secret, std::cmp::Reverse(c.number)));
        if !survey.dead_sides.is_empty() {
            let numbers = survey.dead_sides;
            let batch = Batch { drop_sides: numbers.clone(), ..Batch::default() };
            self.dropping = Some((shared.queue.push(batch), numbers));
        }
        Ok(())
    }

    /// Removes side segments once the log says that they are gone. Says whether there was something to do.
    fn drop_sides(&mut self, shared: &Shared) -> bool {
        let Some((commit, _)) = &self.dropping else { return false };
        let Some(answer) = commit.ready() else { return false };
        let numbers = self.dropping.take().map(|(_, numbers)| numbers).unwrap_or_default();
        if answer.is_err() {
            // They are found again by the next snapshot.
            return true;
        }
        for number in numbers {
            let path = side_path(number);
            let octets = shared.vfs.len(&path).unwrap_or(0);
            shared.files.forget(number);
            // One that stays is removed at the next start: no commit has adopted it.
            if shared.vfs.remove_file(&path).is_ok() {
                shared.compaction.gained(octets);
            }
        }
        true
    }

    /// Space comes back only by a new snapshot: when enough was given up, when one is missing, or once a day.
    fn ask_for_a_snapshot(&mut self, shared: &Shared) {
        let now = shared.clock.monotonic();
        let short = shared.low_space.load(Ordering::Relaxed);
        let every = if short { SOON.min(shared.tuning.compact_every) } else { shared.tuning.compact_every };
        let waited = self.asked.is_none_or(|asked| now.saturating_sub(asked) >= every);
        if !waited || self.dropping.is_some() {
            return;
        }
        let forgotten = shared.stats.forgotten_octets.load(Ordering::Relaxed);
        let much = forgotten.saturating_sub(self.forgotten) >= shared.tuning.compact_octets;
        let position = shared.world.read().position;
        let last = shared.snapshots.known().last;
        let behind = last.as_ref().is_none_or(|last| last.seq < position.seq);
        let old = last
            .as_ref()
            .is_none_or(|last| behind && shared.clock.wall().secs.saturating_sub(last.time.secs) >= DAY);
        let hopeful = short && forgotten > self.forgotten;
        if !(much || hopeful || old || self.wants_snapshot) || position.seq == 0 {
            // All that is dead has gone, and there still is no room.
            if short && retention::give_up_the_oldest_day(shared).is_ok_and(|any| any) {
                self.asked = Some(now);
            }
            return;
        }
        self.asked = Some(now);
        self.forgotten = forgotten;
        if !behind {
            // Two snapshots of one group are one: something that changes nothing comes between them.
            let nothing = Batch { forget: Some(0), ..Batch::default() };
            drop(shared.queue.push(nothing));
        }
        shared.snapshots.ask();
        shared.wake_applier();
    }
}

/// Main segments up to the one that was written when the snapshot was made.
fn sealed(shared: &Shared, survey: &Survey) -> Result<Vec<Sealed>, WorkError> {
    let mains = shared.files.mains();
    let mut found = Vec::new();
    for pair in mains.windows(2) {
        let &[(number, known), (next, next_known)] = pair else { continue };
        if number >= survey.first.position.segment {
            break;
        }
        let (used, last_seq) = if known.generation > 1 {
            let front = front(shared, number, known)?;
            (front.records_end.saturating_sub(format::RECORDS), front.last_seq)
        } else {
            let after = header(shared, next, next_known)?;
            (after.previous_end.saturating_sub(BORDER), after.seq.saturating_sub(1))
        };
        found.push(Sealed { number, used, last_seq, generation: known.generation });
    }
    Ok(found)
}

fn damaged(number: u32, known: Known) -> WorkError {
    let path = generation_path(number, known.generation);
    WorkError::Io(io::Error::new(io::ErrorKind::InvalidData, format!("{path} is damaged")))
}

fn front(shared: &Shared, number: u32, known: Known) -> Result<format::Front, WorkError> {
    let file = shared.vfs.open(&generation_path(number, known.generation), Open::Read)?;
    let opened = format::open(&*file, number)?;
    opened.map(|compacted| compacted.front).map_err(|_| damaged(number, known))
}

/// A main segment's own first page, in whatever generation it is.
pub(crate) fn header(shared: &Shared, number: u32, known: Known) -> Result<segment::Header, WorkError> {
    let file = shared.vfs.open(&generation_path(number, known.generation), Open::Read)?;
    let mut page = vec![0; BORDER as usize];
    let at = if known.generation > 1 { BORDER } else { 0 };
    let read = read_full(&*file, &mut page, at)?;
    segment::Header::decode(&page[..read]).map_err(|_| damaged(number, known))
}

/// Rewrites one segment: written, read back, named; then readers get the new one, and the old one goes.
fn compact(shared: &Shared, newest: u64, candidate: Candidate) -> Result<(), WorkError> {
    let vfs = &*shared.vfs;
    let Candidate { number, last_seq, .. } = candidate;
    let mains = shared.files.mains();
    let Some(&(_, known)) = mains.iter().find(|(n, _)| *n == number) else { return Ok(()) };
    let mut living = live::living(vfs, &path_of(newest), number, shared.tuning.sabotage)?;
    if shared.tuning.sabotage.liveness_from_counters() {
        living.drop_every_other();
    }
    let from = shared.files.file(number)?;
    let plan = Plan {
        number,
        generation: known.generation.saturating_add(1),
        header: header(shared, number, known)?,
        last_seq,
        from: &from,
        deliveries: &living.deliveries,
        notes: &living.notes,
    };
    let before = shared.files.file(number)?.file.len()?;
    let in_segment = |error| WorkError::Segment { segment: number, error };
    let mut pause = || shared.compaction.pause(shared);
    let written = rewrite::rewrite(vfs, &plan, &mut pause).map_err(in_segment)?;
    if let Err(error) = rewrite::verify(vfs, &plan, &written.path) {
        let _ = vfs.remove_file(&written.path);
        return Err(in_segment(error));
    }
    let path = segment::compacted_path(number, plan.generation);
    vfs.rename(&written.path, &path)?;
    // Before the old one goes, the new one must stay: names are made durable first.
    vfs.sync_dir(DIR)?;
    let now = Known { generation: plan.generation, ..known };
    shared.files.add_main(number, now, None::<Opened>);
    let old = if known.generation > 1 {
        segment::compacted_path(number, known.generation)
    } else {
        main_path(number)
    };
    vfs.remove_file(&old)?;
    vfs.sync_dir(DIR)?;
    shared.digests.keep_only(number, &living.deliveries);
    shared.compaction.compacted(before.saturating_sub(written.octets));
    Ok(())
}
