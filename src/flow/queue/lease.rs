//! A message taken out of what waits, to be tried: given back when it is let go of, whatever happened.

use store::ReadError;
use wire::limits;

use super::Queue;
use super::line::{self, Queued, Recipient, Trouble};
use super::waiting::{Destination, Job};
use crate::disk;

/// After something that should not happen, seconds before the next try.
const AGAIN: i64 = 60;

/// A message with the recipients of one destination that are to be tried now. What is not settled when it is dropped
/// waits again.
pub struct Lease {
    queue: Queue,
    to: Destination,
    of: u32,
    /// The message.
    pub queued: Queued,
    /// Its recipients that are not settled yet.
    pub recipients: Vec<(u16, Recipient)>,
}

/// What is left of a job: the message, if it is there, and its recipients.
type Read = (Option<Queued>, Vec<(u16, Recipient)>);

impl Queue {
    /// The next message for a destination.
    #[must_use]
    pub fn lease(&self, to: &Destination) -> Option<Lease> {
        loop {
            let job = self.waiting().take(to, line::now(), self.settings().limits)?;
            match disk::blocking(|| self.read(&job)) {
                Ok((Some(queued), recipients)) if !recipients.is_empty() => {
                    let (queue, to, of) = (self.clone(), to.clone(), job.of);
                    // Of recipients that are gone nothing is left to do.
                    let gone = job.numbers.len() - recipients.len();
                    if gone > 0 {
                        self.waiting().done(&job.id, gone);
                    }
                    return Some(Lease { queue, to, of, queued, recipients });
                }
                Ok((message, recipients)) => {
                    // A message is struck with its last recipient: else it was taken out of the queue meanwhile.
                    if message.is_none() && !recipients.is_empty() {
                        tracing::error!(id = %job.id, "what the queue says of a message cannot be read: it is not sent");
                    }
                    self.waiting().done(&job.id, job.numbers.len());
                }
                Err(error) => {
                    tracing::error!(id = %job.id, %error, "the queue cannot be read");
                    let mut waiting = self.waiting();
                    for number in &job.numbers {
                        waiting.again(to, job.of, &job.id, *number, line::now() + AGAIN);
                    }
                    return None;
                }
            }
        }
    }

    fn read(&self, job: &Job) -> Result<Read, ReadError> {
        let Some(queued) = line::message(self.store(), &job.id)? else { return Ok((None, Vec::new())) };
        let mut recipients = Vec::with_capacity(job.numbers.len());
        for &number in &job.numbers {
            recipients.extend(line::one(self.store(), &job.id, number)?.map(|recipient| (number, recipient)));
        }
        Ok((Some(queued), recipients))
    }
}

impl Lease {
    /// The queue that it is of.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Where it goes.
    #[must_use]
    pub fn to(&self) -> &Destination {
        &self.to
    }

    /// Takes a recipient out: it is settled, and waits again from `next` on, if there is a next time.
    pub(super) fn settled(&mut self, number: u16, next: Option<i64>) {
        let before = self.recipients.len();
        self.recipients.retain(|(n, _)| *n != number);
        if self.recipients.len() == before {
            return;
        }
        let mut waiting = self.queue.waiting();
        match next {
            Some(next) => waiting.again(&self.to, self.of, &self.queued.id, number, next),
            None => drop(waiting.done(&self.queued.id, 1)),
        }
    }

    /// Gives it back as it was: it is to be tried, but not now, and not for a fault of its own.
    pub fn give_back(mut self) {
        self.back(line::now());
    }

    fn back(&mut self, next: i64) {
        let mut waiting = self.queue.waiting();
        for (number, _) in self.recipients.drain(..) {
            waiting.again(&self.to, self.of, &self.queued.id, number, next);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.recipients.is_empty() {
            self.back(line::now() + AGAIN);
        }
        self.queue.ring();
    }
}

impl Trouble {
    /// What a host, or what is between us and it, has to say.
    #[must_use]
    pub fn new(host: impl ToString, what: impl ToString) -> Trouble {
        let mut what = what.to_string();
        what.truncate(what.floor_char_boundary(limits::TROUBLE));
        Trouble { at: line::now(), host: host.to_string(), what, said: false }
    }

    /// In the host's own words.
    #[must_use]
    pub fn said(host: impl ToString, what: impl ToString) -> Trouble {
        Trouble { said: true, ..Trouble::new(host, what) }
    }
}
