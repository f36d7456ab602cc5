//! What came of tries, in one commit: recipients that are done with, those that wait on, what is told of them, and the
//! reports that their senders get. Nothing is struck without its fate; a report is on its way with the same commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store::{Batch, CommitError};
use wire::dsn::Notify;
use wire::limits;

use super::fate::{Action, Fate};
use super::lease::Lease;
use super::line::{self, Id, Recipient, Trouble};
use super::report::{self, About, Event, Sent};
use super::schedule::Next;
use crate::disk;
use crate::flow::House;
use crate::net::Stop;

/// Between tries to write down what a host has taken: at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// In the end.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What came of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// A host has taken it.
    Taken {
        /// What it said.
        said: String,
        /// It sends the reports that were asked for itself (RFC 3461 s.5.2.2).
        reports: bool,
    },
    /// Not for now.
    Later(Trouble),
    /// Not at all.
    Never(Trouble),
}

/// With whom it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// The host's name.
    pub host: String,
    /// Its address.
    pub ip: String,
    /// How the connection was secured; empty: not at all.
    pub tls: String,
    /// Why not; empty where it was, or came to no connection.
    pub plain: String,
}

/// What came of a recipient, by its number, and with whom it was.
pub type Fared = (u16, Came, Arc<Via>);

/// A message that was tried. Recipients of it that `came` does not name stay with it.
pub struct Tried<'a> {
    /// The message.
    pub lease: &'a mut Lease,
    /// What came of its recipients.
    pub came: Vec<Fared>,
}

/// What is to be done for a recipient.
enum Step {
    Done(Action),
    Wait,
}

/// Settles recipients of a message.
///
/// # Errors
/// Nothing is settled then: the message waits, and is tried again.
pub async fn settle(house: &House, lease: &mut Lease, came: Vec<Fared>) -> Result<(), CommitError> {
    let mut one = [Tried { lease, came }];
    let mut draft = Draft::default();
    draft.add(house, 0, &one[0]);
    draft.commit(house, &mut one).await
}

/// Settles recipients of which a host has taken the message: they are not sent to again while this process lives, so while
/// the disk is full or the store cannot write, this waits. `Err` where waiting does not help, or the server stops.
///
/// # Errors
/// As [`settle`].
pub(in crate::flow) async fn settle_taken(
    house: &House,
    lease: &mut Lease,
    came: Vec<Fared>,
    stop: &Stop,
) -> Result<(), CommitError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match settle(house, lease, came.clone()).await {
            Err(error @ (CommitError::Full | CommitError::Broken)) => error,
            done => return done,
        };
        tracing::error!(id = %lease.queued.id, %error, "what a host has taken cannot be written down: tried again");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
            () = stop.clone().stopped() => return Err(error),
        }
    }
}

/// Settles many messages, in few commits. A line that the store refuses holds up its own message only.
///
/// # Errors
/// Some are not settled then: they wait, and are tried again.
pub async fn settle_all(house: &House, mut all: Vec<Tried<'_>>) -> Result<(), CommitError> {
    let mut failed = None;
    let mut left = &mut all[..];
    while !left.is_empty() {
        let mut draft = Draft::default();
        let mut n = 0;
        while let Some(tried) = left.get(n)
            && !draft.is_full()
        {
            draft.add(house, n, tried);
            n += 1;
        }
        let (some, rest) = left.split_at_mut(n);
        match draft.commit(house, some).await {
            Ok(()) => {}
            Err(error) if n == 1 => failed = Some(error),
            Err(_) => {
                for tried in some {
                    let came = std::mem::take(&mut tried.came);
                    if let Err(error) = settle(house, tried.lease, came).await {
                        tracing::error!(id = %tried.lease.queued.id, %error, "what came of a try could not be written down");
                        failed = Some(error);
                    }
                }
            }
        }
        left = rest;
    }
    failed.map_or(Ok(()), Err)
}

/// A commit in the making.
#[derive(Default)]
struct Draft {
    batch: Batch,
    /// The message's place among those that are settled, the recipient, and when it waits for; `None`: it is done with.
    steps: Vec<(usize, u16, Option<i64>)>,
    /// Recipients of each message that are done with.
    done: BTreeMap<Id, u32>,
    /// Reports that it holds.
    reports: usize,
    /// Messages that it puts into the queue.
    sent: Vec<Sent>,
}

impl Draft {
    fn is_full(&self) -> bool {
        self.batch.len() >= limits::SETTLED_TOGETHER || self.reports >= limits::REPORTS_TOGETHER
    }

    fn add(&mut self, house: &House, place: usize, tried: &Tried<'_>) {
        let now = line::now();
        let Tried { lease, came } = tried;
        let mut reports: BTreeMap<Event, Vec<About>> = BTreeMap::new();
        for (number, came, via) in came {
            let Some((_, recipient)) = lease.recipients.iter().find(|(n, _)| n == number) else { continue };
            let mut recipient = recipient.clone();
            recipient.tries = recipient.tries.saturating_add(1);
            let step = judge(lease, &mut recipient, came.clone(), via, now, &mut reports);
            let next = match step {
                Step::Done(action) => {
                    line::strike(&mut self.batch, &lease.queued.id, *number);
                    fate(lease, &recipient, action, via, now).write(&mut self.batch, *number);
                    *self.done.entry(lease.queued.id.clone()).or_default() += 1;
                    None
                }
                Step::Wait => {
                    self.batch.push(recipient.write(&lease.queued.id, *number));
                    Some(recipient.next)
                }
            };
            self.steps.push((place, *number, next));
        }
        self.reports += reports.len();
        for (event, about) in reports {
            self.sent.extend(report::add(house, &mut self.batch, &lease.queued, event, &about));
        }
    }

    async fn commit(mut self, house: &House, all: &mut [Tried<'_>]) -> Result<(), CommitError> {
        let Some(queue) = all.first().map(|tried| tried.lease.queue().clone()) else { return Ok(()) };
        // Others may be on their way elsewhere at the moment; then whoever settles the last strikes the message.
        let (last, others): (Vec<_>, Vec<_>) =
            self.done.into_iter().partition(|(id, done)| queue.left(id) == *done);
        for (id, _) in last {
            line::strike_message(&mut self.batch, &id);
        }
        // What reports a failure is not refused for a quota.
        self.batch.accepted();
        // Nor where new mail is: what a host has taken would be sent to it again and again.
        self.batch.owed();
        disk::commit(&house.store, self.batch).await?;
        for (id, recipients) in self.sent {
            queue.arrived(&id, &recipients);
        }
        for (place, number, next) in self.steps {
            if let Some(tried) = all.get_mut(place) {
                tried.lease.settled(number, next);
            }
        }
        let mut batch = Batch::new();
        for (id, _) in others.iter().filter(|(id, _)| queue.left(id) == 0) {
            line::strike_message(&mut batch, id);
        }
        if !batch.is_empty() {
            disk::commit(&house.store, batch).await?;
        }
        Ok(())
    }
}

/// What is to be done, and what is to be told.
fn judge(
    lease: &Lease,
    recipient: &mut Recipient,
    came: Came,
    via: &Via,
    now: i64,
    reports: &mut BTreeMap<Event, Vec<About>>,
) -> Step {
    let entry = &lease.queued.entry;
    let wants = |when: Notify| recipient.notify().is_none_or(|notify| notify.wants(when));
    let schedule = &lease.queue().settings().schedule;
    let since = entry.hold_until.unwrap_or(0).max(entry.at);
    let mut tell = |event: Event, recipient: &Recipient| {
        let about = About { recipient: recipient.clone(), via: via.clone(), until: schedule.until(since) };
        reports.entry(event).or_default().push(about);
    };
    match came {
        Came::Taken { said, reports } => {
            tracing::info!(id = %lease.queued.id, to = recipient.to, host = via.host, tls = via.tls, said, "sent");
            recipient.last = Some(Trouble::said(&via.host, said));
            // RFC 3461 s.5.2.2: who asked for a report of success learns that nobody will send one any more.
            if !reports && recipient.notify().is_some_and(|notify| notify.wants(Notify::SUCCESS)) {
                tell(Event::Relayed, recipient);
            }
            Step::Done(Action::Delivered)
        }
        Came::Never(trouble) => {
            tracing::warn!(id = %lease.queued.id, to = recipient.to, host = trouble.host, why = trouble.what, "failed");
            let failure = wants(Notify::FAILURE);
            recipient.last = Some(trouble);
            if failure {
                tell(Event::Failed, recipient);
            }
            Step::Done(Action::Failed)
        }
        Came::Later(trouble) => {
            let (failure, delay) = (wants(Notify::FAILURE), wants(Notify::DELAY));
            let (host, why) = (trouble.host.clone(), trouble.what.clone());
            recipient.last = Some(trouble);
            match schedule.next(since, recipient.tries, now) {
                Next::GiveUp => {
                    tracing::warn!(id = %lease.queued.id, to = recipient.to, host, why, "given up");
                    if failure {
                        tell(Event::Expired, recipient);
                    }
                    Step::Done(Action::Expired)
                }
                Next::At { time, notice } => {
                    recipient.next = time;
                    let again = time - now;
                    tracing::info!(id = %lease.queued.id, to = recipient.to, host, why, again, "put off");
                    if notice && delay && !recipient.told {
                        recipient.told = true;
                        tell(Event::Delayed, recipient);
                    }
                    Step::Wait
                }
            }
        }
    }
}

fn fate(lease: &Lease, recipient: &Recipient, action: Action, via: &Via, now: i64) -> Fate {
    let entry = &lease.queued.entry;
    let last = recipient.last.clone().unwrap_or_default();
    Fate {
        at: now,
        id: lease.queued.id.to_string(),
        message_id: entry.message_id.clone(),
        from: entry.from.clone(),
        to: recipient.to.clone(),
        action,
        host: if via.host.is_empty() { last.host } else { via.host.clone() },
        ip: via.ip.clone(),
        tls: via.tls.clone(),
        plain: via
            .plain
            .get(..via.plain.floor_char_boundary(limits::WHY_PLAIN))
            .unwrap_or_default()
            .to_owned(),
        what: last.what,
        since: entry.at,
        tries: recipient.tries,
    }
}
