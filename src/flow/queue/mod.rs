//! Messages on their way to other hosts: durable in the store's books (`line`), in memory by where they go (`waiting`), tried
//! at their times (`schedule`) over as few connections as will do (`runner`, `courier`), and settled in one commit with what
//! is told of them (`settle`, `fate`).
//!
//! RFC 5321 s.4.5.4.1. One message stands for all its recipients; each has a state of its own. What a host has taken is
//! struck before anything else is sent to it, so that a death in between costs at most one message sent twice for each
//! connection; nothing is ever struck that was neither taken nor reported.

pub mod change;
mod connection;
mod courier;
mod course;
mod deliver;
pub mod fate;
mod lease;
pub mod line;
pub mod outward;
pub(in crate::flow) mod report;
mod runner;
pub mod schedule;
pub(in crate::flow) mod settle;
pub mod waiting;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{Batch, Store};
use tokio::sync::Notify;

pub use line::{Entry, Id, Queued, Recipient, Trouble};
use outward::Reach;
pub use schedule::{Next, Schedule};
use waiting::Waiting;
pub use waiting::{Destination, Job, Limits};

/// The destination of everything that goes by the relay: no domain is called so.
pub const RELAY: &str = "(relay)";

/// How the queue works.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// When things are tried again.
    pub schedule: Schedule,
    /// How much at once.
    pub limits: Limits,
    /// A relay takes mail for these domains, and what is below them, always; for all if there are none.
    pub relay: Option<BTreeSet<String>>,
}

/// The queue of a store that is served. Cheap to clone.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Settings,
    waiting: Mutex<Waiting>,
    /// Whoever changes what waits, from outside.
    changing: tokio::sync::Mutex<()>,
    /// Something has changed that the runner should look at.
    bell: Notify,
    /// Whether anybody out there can be reached at all.
    reach: Reach,
}

impl Queue {
    /// The queue of a store, with what waits in it. Reads all recipients.
    ///
    /// # Errors
    /// The index failed.
    pub fn open(store: &Store, settings: Settings) -> Result<Queue, store::ReadError> {
        let inner = Inner {
            store: store.clone(),
            settings,
            waiting: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            bell: Notify::new(),
            reach: Reach::default(),
        };
        let queue = Queue(Arc::new(inner));
        {
            let mut waiting = queue.waiting();
            line::each_recipient(store, |id, number, recipient| {
                queue.place(&mut waiting, &id, number, &recipient);
            })?;
        }
        queue.strike_finished()?;
        Ok(queue)
    }

    /// Two connections may have settled the last recipients of a message at the same time, and neither was the last to
    /// know: the end of the process before one of them struck the message leaves it without any.
    fn strike_finished(&self) -> Result<(), store::ReadError> {
        let finished = line::without_recipients(self.store(), |id| self.left(id) > 0)?;
        for some in finished.chunks(1_000) {
            let mut batch = Batch::new();
            some.iter().for_each(|id| line::strike_message(&mut batch, id));
            if let Err(error) = self.store().commit(batch).wait() {
                tracing::warn!(%error, "finished messages stay in the queue until the next start");
                break;
            }
        }
        Ok(())
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// How it works.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, waiting: &mut Waiting, id: &Id, number: u16, recipient: &Recipient) {
        let next = if recipient.held { i64::MAX } else { recipient.next };
        let put_off = recipient.tries > 0 && !recipient.held;
        waiting.add(&self.destination(recipient.domain()), recipient.of, id, number, next, put_off);
    }

    /// Where mail for a domain goes.
    #[must_use]
    pub fn destination(&self, domain: &str) -> Destination {
        let domain = domain.to_ascii_lowercase();
        let relayed =
            self.settings().relay.as_ref().is_some_and(|domains| outward::is_among(domains, &domain));
        if relayed { RELAY.into() } else { domain.into() }
    }

    /// A message was committed: its recipients wait from now on.
    pub fn arrived(&self, id: &Id, recipients: &[Recipient]) {
        let mut waiting = self.waiting();
        for (number, recipient) in (0..).zip(recipients.iter().take(line::MOST)) {
            self.place(&mut waiting, id, number, recipient);
        }
        drop(waiting);
        self.0.bell.notify_one();
    }

    /// How many recipients of a message are left, those being tried included.
    fn left(&self, id: &str) -> u32 {
        self.waiting().left(id)
    }

    /// Where most of what waits goes: the first few.
    #[must_use]
    pub fn destinations(&self, most: usize) -> Vec<(String, u64)> {
        let all = self.waiting().by_destination();
        all.into_iter().take(most).map(|(to, n)| (to.to_string(), n as u64)).collect()
    }

    /// Whether nobody out there seems to be reached on port 25.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.0.reach.is_blocked()
    }

    /// How many recipients wait, and how many are being tried.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        self.waiting().count()
    }
}
