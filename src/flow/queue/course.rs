//! What has happened on a courier's connections so far: their desks write it, the courier reads it when one is over.
//!
//! RFC 5321 s.5.1: what one host puts off is tried with the next ones, in the same round and within a bound. A message that
//! waits for the next host stays leased, with what was said of each of its recipients.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::limits;

use super::lease::Lease;
use super::line::Trouble;
use super::settle::Fared;

/// A message that is being sent.
pub(super) struct Work {
    /// The message.
    pub(super) lease: Lease,
    /// What it comes to, recipient by recipient, if no other host takes it: the last word of those that were asked in this
    /// round.
    pub(super) said: Vec<Fared>,
}

impl Work {
    /// One that no host has seen in this round.
    pub(super) fn new(lease: Lease) -> Work {
        Work { lease, said: Vec::new() }
    }
}

/// What has happened so far.
#[derive(Default)]
pub(super) struct Course {
    /// The message that is under way.
    pub(super) work: Option<Work>,
    /// What the matter was, if it did not come to any mail.
    pub(super) trouble: Option<Trouble>,
    /// A host was ready for mail: what is the matter after that is a message's, not the destination's.
    pub(super) ready: bool,
    /// A host has ended its connection under a message.
    pub(super) cut_off: bool,
    /// A host has taken something.
    pub(super) took: bool,
    /// On this connection a message came to something: the host works.
    pub(super) served: bool,
    /// The message was sent, and no reply has come yet.
    pub(super) in_doubt: bool,
    /// Messages that a host has put off, for the next one.
    pub(super) put_off: VecDeque<Work>,
    /// Hosts that have put something off.
    pub(super) refusals: usize,
    /// Addresses dialled since the first of them did.
    pub(super) dialled: usize,
}

impl Course {
    /// Whether what the next host puts off may go to another.
    pub(super) fn may_go_on(&self) -> bool {
        self.refusals < limits::FURTHER_HOSTS && self.dialled < limits::FURTHER_ADDRESSES
    }

    /// Whether enough addresses were tried for what was put off.
    pub(super) fn is_enough(&self) -> bool {
        !self.put_off.is_empty() && self.dialled >= limits::FURTHER_ADDRESSES
    }

    /// Whether there is no room for more that is put off.
    pub(super) fn is_full(&self) -> bool {
        self.put_off.iter().map(|work| work.said.len()).sum::<usize>() >= limits::PUT_OFF
    }

    /// The message under way is given back as it is, or waits for the next host if it did before.
    pub(super) fn give_back(&mut self) {
        match self.work.take() {
            Some(work) if work.said.is_empty() => work.lease.give_back(),
            work => self.put_off.extend(work),
        }
    }
}

pub(super) type Shared = Arc<Mutex<Course>>;

pub(super) fn lock(course: &Shared) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}
