//! The committer: takes what is asked for, checks it in order, writes one group, and only then answers.
//!
//! A step function, so that a test can drive it by hand; in production whoever sits in the [`super::seat`] does. The
//! order is the whole point: write, fdatasync, publish, answer, wake the watchers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::ids::ModSeq;

use super::builder::Builder;
use super::check::{Check, Stop};
use super::queue::Request;
use super::writer::{RollError, Writer, out_of_space};
use crate::digest::Job;
use crate::id::{Location, UnixTime};
use crate::intent::{BodyRef, CommitError, Committed, Outcome, Prefix, Refused};
use crate::segment::main_path;
use crate::spool::Body;
use crate::state::draft::Draft;
use crate::state::world::Changed;
use crate::watch::Place;

/// Bodies in a group: two slices each, and one call takes 1,024.
const GROUP_BODIES: usize = 500;
/// The largest single batch, in octets of a group.
const BATCH: u64 = 256 << 20;

#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) writer: Writer,
    buffer: Vec<u8>,
    read_only: bool,
    last: (Duration, usize),
}

/// A request that is in the group, and its answer if the group succeeds.
struct Done {
    request: Request,
    result: Result<Committed, CommitError>,
    delivered: Vec<(Location, BodyRef, Prefix)>,
}

/// What came of looking at one request.
enum Looked {
    Done(Box<Done>),
    /// It goes into the next group, and needs so many octets of a segment.
    Later(Request, u64),
}

impl Committer {
    pub(crate) fn new(writer: Writer) -> Committer {
        Committer { writer, buffer: Vec::new(), read_only: false, last: (Duration::ZERO, 0) }
    }

    /// How long the last write with its fdatasync took, and how many it answered.
    pub(crate) fn last(&self) -> (Duration, usize) {
        self.last
    }

    /// Writes one group of what is asked for. Says whether there was anything.
    pub(crate) fn step(&mut self) -> bool {
        let shared = self.writer.shared.clone();
        let now = shared.group_time(self.writer.position.time);
        let buffer = std::mem::take(&mut self.buffer);
        let mut builder = Builder::new(self.writer.segment, self.writer.position.end, buffer);
        let mut draft = Draft::new(&shared.world, now);
        let first_commit = self.writer.position.commit.0 + 1;
        let mut commit = first_commit;
        let mut done: Vec<Done> = Vec::new();
        while done.len() < shared.tuning.group_commits
            && builder.length() < shared.tuning.group_octets as u64
            && builder.body_count() < GROUP_BODIES
        {
            let Some(request) = shared.queue.pop() else { break };
            match self.look(request, done.len(), &mut builder, &mut draft, commit, now) {
                Looked::Done(one) => {
                    commit += u64::from(one.result.as_ref().is_ok_and(|c| c.at.0 == commit));
                    done.push(*one);
                }
                Looked::Later(request, wanted) if done.is_empty() => {
                    self.buffer = builder.into_buffer();
                    self.roll_for(request, wanted, now);
                    return true;
                }
                Looked::Later(request, _) => {
                    shared.queue.put_back(request);
                    break;
                }
            }
        }
        if done.is_empty() {
            self.buffer = builder.into_buffer();
            return false;
        }
        let written = commit > first_commit;
        if written && !self.write(&mut builder, &done, now, first_commit) {
            self.fail(&done, now);
        } else {
            self.writer.position.commit = ModSeq(commit - 1);
            self.publish(draft.finish(), &mut done, written);
        }
        self.buffer = builder.into_buffer();
        self.buffer.shrink_to(1 << 20);
        true
    }

    /// Checks one request and puts its records into the group.
    fn look<'w>(
        &mut self,
        request: Request,
        number: usize,
        builder: &mut Builder,
        draft: &mut Draft<'w>,
        commit: u64,
        now: UnixTime,
    ) -> Looked {
        let shared = self.writer.shared.clone();
        let refused = |request: Request, error: CommitError| {
            Looked::Done(Box::new(Done { request, result: Err(error), delivered: Vec::new() }))
        };
        if self.read_only {
            return refused(request, CommitError::Broken);
        }
        if !request.batch.bodies.is_empty() && !request.batch.owed && shared.low_space.load(Ordering::Relaxed)
        {
            return refused(request, CommitError::Full);
        }
        let mark = builder.mark();
        let mut check = Check {
            draft,
            builder,
            bodies: &request.batch.bodies,
            placed: vec![None; request.batch.bodies.len()],
            delivered: Vec::new(),
            request: number,
            commit: ModSeq(commit),
            now,
            wall: shared.clock.wall(),
            frozen: shared.frozen(),
            accepted: request.batch.accepted,
            records: false,
        };
        let intents = request.batch.intents.iter().map(|i| check.intent(i));
        let mut outcomes: Result<Vec<Outcome>, Stop> = intents.collect();
        if let (Some(before), Ok(_)) = (request.batch.forget, &outcomes) {
            outcomes = check.forget(before).map(|done| vec![done]);
        }
        if outcomes.is_ok() && !request.batch.drop_sides.is_empty() {
            outcomes = check.drop_sides(&request.batch.drop_sides).map(|done| vec![done]);
        }
        let (records, delivered) = (check.records, std::mem::take(&mut check.delivered));
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(stop) => {
                builder.return_to(mark);
                draft.reject();
                return match stop {
                    Stop::Refused(why) => refused(request, CommitError::Refused(why)),
                    Stop::Index(error) => {
                        shared.condemn(&error.to_string());
                        refused(request, CommitError::Broken)
                    }
                };
            }
        };
        let wanted = builder.total();
        if wanted > self.writer.room() {
            builder.return_to(mark);
            draft.reject();
            if wanted > BATCH {
                return refused(request, CommitError::Refused(Refused::Limit("the batch is too large")));
            }
            return Looked::Later(request, wanted);
        }
        draft.accept();
        for body in &request.batch.bodies {
            if let Body::Side(side) = &body.body {
                side.adopt();
            }
        }
        let at = ModSeq(if records { commit } else { commit - 1 });
        Looked::Done(Box::new(Done { request, result: Ok(Committed { at, outcomes }), delivered }))
    }

    /// The next group needs a new segment; the request that does not fit waits for it, or is answered if there is none.
    fn roll_for(&mut self, request: Request, wanted: u64, now: UnixTime) {
        let shared = self.writer.shared.clone();
        let error = match self.writer.roll(wanted, now) {
            Ok(()) => {
                shared.queue.put_back(request);
                return;
            }
            Err(RollError::Before(error)) if out_of_space(&error) => {
                shared.low_space.store(true, Ordering::Relaxed);
                CommitError::Full
            }
            Err(RollError::Before(error)) => {
                self.blame(&error);
                CommitError::Broken
            }
            Err(RollError::InDoubt(error)) => {
                self.blame(&error);
                self.give_up();
                CommitError::Broken
            }
        };
        request.slot.answer(Err(error));
    }

    /// From now on nothing is written: only a new start finds out what the disk holds.
    fn give_up(&mut self) {
        self.read_only = true;
        self.writer.shared.read_only.store(true, Ordering::Relaxed);
    }

    fn write(&mut self, builder: &mut Builder, done: &[Done], now: UnixTime, first_commit: u64) -> bool {
        let shared = self.writer.shared.clone();
        let body = |(request, body): (usize, usize)| -> &[u8] {
            let bodies = done.get(request).map(|d| d.request.batch.bodies.as_slice()).unwrap_or_default();
            bodies.get(body).and_then(|b| b.octets()).unwrap_or_default()
        };
        let before = shared.clock.monotonic();
        let written = self.writer.write(builder, now, first_commit, done.len() == 1, body);
        let took = shared.clock.monotonic().saturating_sub(before);
        self.last = (took, done.len());
        let stats = &shared.stats;
        stats.groups.fetch_add(1, Ordering::Relaxed);
        stats.last_sync_ns.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match written {
            Ok(octets) => {
                stats.log_octets.fetch_add(octets, Ordering::Relaxed);
                true
            }
            Err(error) => {
                self.blame(&error);
                false
            }
        }
    }

    /// A write or sync of the log failed.
    fn blame(&self, error: &std::io::Error) {
        if !out_of_space(error) {
            let what = format!("a write or fdatasync failed: {error}");
            self.writer.shared.files.troubles.note(main_path(self.writer.segment), what);
        }
    }

    /// The group is in doubt: its batches fail, published state has not moved, and that file is never written again.
    fn fail(&mut self, done: &[Done], now: UnixTime) {
        let shared = self.writer.shared.clone();
        shared.stats.failed_groups.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.writer.roll(0, now) {
            self.blame(&error.into_inner());
            self.give_up();
        }
        for one in done {
            // Even a refusal may rest on what the group would have done.
            one.request.slot.answer(Err(CommitError::Broken));
        }
    }

    /// Publish, answer, wake: in this order.
    fn publish(&mut self, changed: Changed, done: &mut [Done], written: bool) {
        let shared = self.writer.shared.clone();
        let accounts = changed.accounts.clone();
        let risen = if written { shared.world.publish(changed, self.writer.position) } else { Vec::new() };
        for one in done.iter() {
            let counter = if one.result.is_ok() { &shared.stats.commits } else { &shared.stats.refused };
            counter.fetch_add(1, Ordering::Relaxed);
            one.request.slot.answer(one.result.clone());
        }
        for (id, level) in risen {
            shared.watches.raise(Place::Mailbox(id), level);
        }
        if written {
            for account in accounts {
                shared.watches.raise(Place::Account(account), self.writer.position.commit);
            }
        }
        for one in done {
            if one.result.is_ok() && !one.delivered.is_empty() {
                let bodies = std::mem::take(&mut one.request.batch.bodies);
                shared.digests.later(Job { bodies, delivered: std::mem::take(&mut one.delivered) });
            }
        }
        if written && shared.tuning.sabotage.ack_before_sync() {
            let _ = self.writer.file.sync_data();
        }
        shared.published_something();
    }
}
