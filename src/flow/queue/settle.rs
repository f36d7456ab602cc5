//! What came of a try, in one commit: recipients that are done with, those that wait on, what is told of them, and the
//! reports that their senders get. Nothing is struck without its fate; a report is on its way with the same commit.

use std::collections::BTreeMap;

use store::{Batch, CommitError};
use wire::dsn::Notify;

use super::fate::{Action, Fate};
use super::lease::Lease;
use super::line::{self, Recipient, Trouble};
use super::report::{self, About, Event};
use super::schedule::Next;
use crate::disk;
use crate::flow::House;

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
pub async fn settle(
    house: &House,
    lease: &mut Lease,
    came: Vec<(u16, Came)>,
    via: &Via,
) -> Result<(), CommitError> {
    let now = line::now();
    let mut batch = Batch::new();
    let mut steps: Vec<(u16, Step, i64)> = Vec::new();
    let mut reports: BTreeMap<Event, Vec<About>> = BTreeMap::new();
    for (number, came) in came {
        let Some((_, recipient)) = lease.recipients.iter().find(|(n, _)| *n == number) else { continue };
        let mut recipient = recipient.clone();
        recipient.tries = recipient.tries.saturating_add(1);
        let step = judge(lease, &mut recipient, came, via, now, &mut reports);
        match &step {
            Step::Done(action) => {
                line::strike(&mut batch, &lease.queued.id, number);
                fate(lease, &recipient, *action, via, now).write(&mut batch, number);
            }
            Step::Wait => drop(batch.push(recipient.write(&lease.queued.id, number))),
        }
        steps.push((number, step, recipient.next));
    }
    let done = steps.iter().filter(|(_, step, _)| matches!(step, Step::Done(_))).count();
    let id = lease.queued.id.clone();
    // Others may be on their way elsewhere at the moment; then whoever settles the last strikes the message.
    let last = done > 0 && usize::try_from(lease.queue().left(&id)).is_ok_and(|left| left == done);
    if last {
        line::strike_message(&mut batch, &id);
    }
    let mut sent = Vec::new();
    for (event, about) in reports {
        sent.extend(report::add(house, &mut batch, &lease.queued, event, &about));
    }
    // What reports a failure is not refused for a quota.
    batch.accepted();
    disk::commit(&house.store, batch).await?;
    for (id, recipients) in sent {
        lease.queue().arrived(&id, &recipients);
    }
    for (number, step, next) in steps {
        lease.settled(number, matches!(step, Step::Wait).then_some(next));
    }
    if done > 0 && !last && lease.queue().left(&id) == 0 {
        let mut batch = Batch::new();
        line::strike_message(&mut batch, &id);
        disk::commit(&house.store, batch).await?;
    }
    Ok(())
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
        what: last.what,
        since: entry.at,
        tries: recipient.tries,
    }
}
