//! Giving space back: a sealed main segment of which at least half is dead is rewritten in its place, and side segments
//! that nothing names go.
//!
//! The next generation (`NNNNNNNN.g2`, `.g3`...) holds the survivors octet for octet, under the ordinals that they always
//! had: locations, rows and digests stay as they are, and who reads at the moment keeps the file that he has open. Changes
//! are left out once two verified snapshots hold what they came to. What is alive is marked from a snapshot (`live`),
//! never counted. `work` does it a step at a time; here is who calls it, and how fast.

pub(crate) mod format;
pub(crate) mod live;
pub(crate) mod rewrite;
pub(crate) mod work;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::shared::Shared;
use work::Work;

/// How often is looked whether there is something to do.
const LOOK: Duration = Duration::from_secs(5);
/// Between two pieces, when nothing else is written...
const IDLE: Duration = Duration::from_millis(4);
/// ...and when mail is.
const BUSY: Duration = Duration::from_millis(40);
/// After a failure.
const LATER: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
struct Inner {
    stop: bool,
    segments: u64,
    octets: u64,
    failed: Option<String>,
    /// Groups written when a pause was last made.
    groups: u64,
}

/// What the compactor has done, and its bell.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    inner: Mutex<Inner>,
    rung: Condvar,
}

/// What `Health` tells.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) segments: u64,
    pub(crate) octets: u64,
    pub(crate) failed: Option<String>,
}

impl Compaction {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.rung.notify_all();
    }

    pub(crate) fn stopped(&self) -> bool {
        self.lock().stop
    }

    /// Waits; says whether it is to stop.
    fn rest(&self, most: Duration) -> bool {
        let waited = self.rung.wait_timeout_while(self.lock(), most, |inner| !inner.stop);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Between two pieces: longer while mail is written. An error when everything is to stop.
    fn pause(&self, shared: &Shared) -> io::Result<()> {
        if !shared.threads {
            return Ok(());
        }
        let groups = shared.stats.groups.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut self.lock().groups, groups);
        let stop = self.rest(if groups == before { IDLE } else { BUSY });
        if stop { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    fn compacted(&self, octets: u64) {
        let mut inner = self.lock();
        inner.segments += 1;
        inner.octets += octets;
        inner.failed = None;
    }

    fn gained(&self, octets: u64) {
        self.lock().octets += octets;
    }

    fn failed(&self, why: String) {
        self.lock().failed = Some(why);
    }

    pub(crate) fn figures(&self) -> Figures {
        let inner = self.lock();
        Figures { segments: inner.segments, octets: inner.octets, failed: inner.failed.clone() }
    }
}

/// The thread's life.
pub(crate) fn run(shared: &Shared) {
    let mut work = Work::default();
    let mut rest = LOOK;
    while !shared.compaction.rest(rest) {
        rest = match step(shared, &mut work) {
            Some(true) => Duration::ZERO,
            Some(false) => LOOK,
            None => LATER,
        };
    }
}

/// One step; `None` if it failed, which costs nothing but space.
pub(crate) fn step(shared: &Shared, work: &mut Work) -> Option<bool> {
    if shared.read_only.load(Ordering::Relaxed) || shared.condemned().is_some() {
        return Some(false);
    }
    match work.step(shared) {
        Ok(more) => Some(more),
        Err(error) => {
            shared.compaction.failed(error.to_string());
            None
        }
    }
}
