//! The reports that senders get (RFC 3461, RFC 3464): made here, on their way in the commit that settles what they tell of.

use store::Batch;

use super::line::{Id, Queued, Recipient};
use super::settle::Via;
use crate::flow::House;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// It takes long.
    Delayed,
    /// It was given up.
    Expired,
    /// It was refused.
    Failed,
    /// It was handed on to a host that sends no reports.
    Relayed,
}

/// Of which recipient, and with whom it was.
#[derive(Clone, Debug)]
pub struct About {
    /// The recipient, as it is now.
    pub recipient: Recipient,
    /// The last host.
    pub via: Via,
    /// When it is given up, in seconds since 1970.
    pub until: i64,
}

/// Adds a report to a batch.
pub fn add(
    _house: &House,
    _batch: &mut Batch,
    _queued: &Queued,
    _event: Event,
    _about: &[About],
) -> Option<(Id, Vec<Recipient>)> {
    todo!("the composer comes with the merge")
}
