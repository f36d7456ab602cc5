//! The applier: gives the index what has been published, a batch at a time; makes digests, and segments ahead of need.
//!
//! A step function like the committer. A batch holds a state of exactly one position of the log, so that whatever the
//! index forgets, it is a state that once was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::commit::writer::{EMERGENCY, preallocate};
use crate::index::{IndexError, Writes};
use crate::keys;
use crate::retention;
use crate::shared::Shared;
use crate::snapshot::make::{self, Moment};
use crate::snapshot::{SnapshotError, load, path_of};
use crate::state::mailbox::Mailbox;
use crate::state::world::{Dirty, Published};

/// How often an idle store looks at its disk.
const IDLE: Duration = Duration::from_secs(10);

/// The thread's life.
pub(crate) fn run(shared: &Arc<Shared>) {
    prepare(shared);
    let mut since_look = Duration::ZERO;
    loop {
        let every = shared.tuning.apply_every;
        let dirty = !shared.world.read().dirty.is_empty();
        if shared.rest(if dirty { every } else { IDLE.min(every * 5) }) {
            break;
        }
        // The index may be condemned; the process is about to end then.
        let Ok(applied) = step(shared) else { break };
        retention::look(shared, applied);
        prepare(shared);
        since_look += every;
        if since_look >= Duration::from_secs(1) {
            since_look = Duration::ZERO;
            shared.look_at_space();
        }
    }
    shared.snapshots.leave();
}

/// One batch for the index, the digests that wait, and a snapshot if it is time. Says whether there was anything for the
/// index.
pub(crate) fn step(shared: &Shared) -> Result<bool, IndexError> {
    let applied = apply(shared);
    if let Err(error) = &applied {
        shared.condemn(&error.to_string());
    }
    shared.tell_applied();
    shared.digests.work();
    let (applied, due) = applied?;
    evict(shared);
    if let Some(due) = due {
        snapshot(shared, &due)?;
    }
    Ok(applied)
}

/// A snapshot that is to be made, and how many of those that were asked for it answers.
struct Due {
    moment: Moment,
    asked: u64,
    octets: u64,
}

impl Due {
    /// Of what is published: under the same lock as the batch that makes the index hold just this.
    fn of(shared: &Shared, published: &Published) -> Due {
        let octets = shared.stats.log_octets.load(Ordering::Relaxed);
        Due { moment: Moment::of(published), asked: shared.snapshots.asked(), octets }
    }

    fn look(shared: &Shared, published: &Published) -> Option<Due> {
        let octets = shared.stats.log_octets.load(Ordering::Relaxed);
        let due = shared.snapshots.is_due(&shared.tuning, &published.position, octets);
        due.then(|| Due::of(shared, published))
    }
}

/// Makes a snapshot, between two batches.
fn snapshot(shared: &Shared, due: &Due) -> Result<(), IndexError> {
    let moment = &due.moment;
    // One of this very group is as good, if it is good.
    let there = shared
        .snapshots
        .of(moment.seq())
        .filter(|there| there.took.is_some() || load::verify(&*shared.vfs, &path_of(there.seq)).is_ok());
    let made = there.map_or_else(|| make::make(shared, moment), Ok);
    let failed = match &made {
        Err(SnapshotError::Index(error)) => Some(error.clone()),
        _ => None,
    };
    if let Some(error) = &failed {
        shared.condemn(&error.to_string());
    }
    shared.snapshots.done(due.asked, moment.position(), due.octets, made);
    failed.map_or(Ok(()), Err)
}

/// At a clean close, when nothing is left for the index: one more snapshot, if much has happened since the last. That it
/// cannot be made is no reason not to close.
pub(crate) fn last_snapshot(shared: &Shared) -> Result<(), IndexError> {
    let due = {
        let published = shared.world.read();
        let worthwhile = shared.snapshots.is_worthwhile(&shared.tuning, &published.position);
        worthwhile.then(|| Due::of(shared, &published))
    };
    due.map_or(Ok(()), |due| snapshot(shared, &due))
}

fn apply(shared: &Shared) -> Result<(bool, Option<Due>), IndexError> {
    let index = shared.world.index().ok_or(IndexError::Closed)?;
    let (dirty, retained, lines, mut books, now, directory, position, counters, due) = {
        let mut published = shared.world.write();
        let due = Due::look(shared, &published);
        if published.dirty.is_empty() {
            return Ok((false, due));
        }
        let mut dirty: Dirty = std::mem::take(&mut published.dirty);
        published.in_flight = dirty.octets;
        published.retained_in_flight = Arc::new(std::mem::take(&mut dirty.retained));
        let retained = published.retained_in_flight.clone();
        published.lines_in_flight = Arc::new(std::mem::take(&mut dirty.lines));
        let lines = published.lines_in_flight.clone();
        let now: Vec<_> =
            dirty.mailboxes.keys().map(|id| (*id, published.mailboxes.get(id).cloned())).collect();
        (
            dirty,
            retained,
            lines,
            published.books,
            now,
            published.directory.clone(),
            published.position,
            published.counters,
            due,
        )
    };
    let mut writes = Writes::new();
    for (id, mailbox) in &now {
        match mailbox {
            Some(new) => {
                let old = dirty.mailboxes.get(id).and_then(|m| m.as_deref());
                keys::put_mailbox(&mut writes, old, new);
            }
            None => keys::delete_mailbox(&mut writes, &**index, *id)?,
        }
    }
    if let Some(old) = &dirty.directory {
        keys::put_directory(&mut writes, old, &directory);
    }
    for (&number, side) in &dirty.sides {
        keys::put_side(&mut writes, number, side.as_ref());
    }
    let mut forgotten = keys::put_recent(&mut writes, &**index, &retained)?;
    forgotten += keys::put_lines(&mut writes, &**index, &lines, &mut books)?;
    forgotten += shared.world.forgotten.swap(0, Ordering::Relaxed);
    keys::put_position(&mut writes, &position, &counters);
    index.apply(writes)?;
    shared.stats.forgotten_octets.fetch_add(forgotten, Ordering::Relaxed);
    let mut published = shared.world.write();
    published.in_flight = 0;
    published.books = books;
    published.retained_in_flight = Arc::default();
    published.lines_in_flight = Arc::default();
    Ok((true, due))
}

/// Steps of the applier for which rows stay after somebody wanted them.
const STAY: u64 = 50;

/// Lets go of rows that nobody used lately, when there are too many.
fn evict(shared: &Shared) {
    let most = shared.tuning.resident_rows;
    let now = shared.world.tick.fetch_add(1, Ordering::Relaxed);
    let rows_of = |m: &Mailbox| {
        m.rows.as_ref().map_or((u64::MAX, 0), |r| (r.used.load(Ordering::Relaxed), r.table.len() as usize))
    };
    let mut total: usize = shared.world.read().mailboxes.values().map(|m| rows_of(m).1).sum();
    if total <= most {
        return;
    }
    let mut published = shared.world.write();
    let published = &mut *published;
    let mut ids: Vec<_> = published.mailboxes.values().map(|m| (rows_of(m), m.id)).collect();
    ids.sort_unstable();
    for ((used, rows), id) in ids {
        if total <= most || used.saturating_add(STAY) > now {
            return;
        }
        // What the index has not been told stays.
        if rows > 0
            && !published.dirty.mailboxes.contains_key(&id)
            && let Some(mailbox) = published.mailboxes.get_mut(&id)
        {
            *mailbox = Arc::new(Mailbox { id, head: mailbox.head, rows: None });
            total -= rows;
        }
    }
}

/// Makes the next segment, and the one for a full disk, while nobody waits for them.
pub(crate) fn prepare(shared: &Shared) {
    let (next, emergency) = {
        let prepared = shared.prepared();
        (prepared.next.is_none(), prepared.emergency.is_none())
    };
    if emergency && let Ok(file) = preallocate(shared, "emergency.seg", EMERGENCY.min(shared.tuning.segment))
    {
        shared.prepared().emergency = Some(file);
    }
    if next
        && !shared.low_space.load(Ordering::Relaxed)
        && let Ok(file) = preallocate(shared, "next.seg", shared.tuning.segment)
    {
        shared.prepared().next = Some(file);
    }
}
