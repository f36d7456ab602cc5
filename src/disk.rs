//! Waiting for the disk on a thread of the runtime, in such a way that other connections go on meanwhile; and how much
//! may be read ahead of clients, all together.
//!
//! It knows no protocol; rooms above say what is to be read or committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store::{Batch, CommitError, Committed, Store};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::task::coop::consume_budget;

/// What a commit takes of the 128 units that the runtime gives a task before it lets others go on.
const COST: usize = 16;

/// Runs what may wait for the disk.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|h| h.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

/// Lets the store write on this runtime's threads what [`commit`] is asked for, if there is more than one of them.
///
/// `block_in_place` would cost what this is to save: it wakes another thread for each write. A thread that waits for a
/// quick disk is busy no longer than with any other work; should the disk be slow for once, another takes over.
pub fn lend_threads(store: &Store, runtime: Handle) {
    if runtime.runtime_flavor() == RuntimeFlavor::MultiThread && runtime.metrics().num_workers() > 1 {
        store.lend_threads(move || stand_in(&runtime));
    }
}

/// One of the runtime's threads is blocked. It may be the one that looked after the sockets: something to do wakes
/// another, which then looks after them, and takes over what waited for the first.
fn stand_in(runtime: &Handle) {
    drop(runtime.spawn(async {}));
}

/// Commits a batch, and waits until it is on disk.
///
/// # Errors
/// What the store refuses.
pub async fn commit(store: &Store, batch: Batch) -> Result<Committed, CommitError> {
    // However many commands a client sends at once: after a few writes without a wait the others have their turn.
    for _ in 0..COST {
        consume_budget().await;
    }
    store.commit_here(batch).await
}

/// Octets that may be held of what was read ahead of all clients: a dozen that read at full speed have enough of it,
/// and it is all that those get who ask for much and take nothing.
const AHEAD: u64 = 16 << 20;

/// What may be read ahead of clients. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Ahead(Arc<AtomicU64>);

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead::of(AHEAD)
    }
}

impl Ahead {
    /// So many octets in all.
    #[must_use]
    pub fn of(octets: u64) -> Ahead {
        Ahead(Arc::new(AtomicU64::new(octets)))
    }

    /// The right to hold so many octets; `None` while others hold too much. Who has none reads little at a time.
    #[must_use]
    pub fn take(&self, octets: u64) -> Option<Held> {
        let took = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(octets));
        took.ok().map(|_| Held { ahead: self.clone(), octets })
    }
}

/// The right to hold octets; given back when dropped.
#[derive(Debug)]
pub struct Held {
    ahead: Ahead,
    octets: u64,
}

impl Held {
    /// Gives back what is more than so many.
    pub fn keep(&mut self, octets: u64) {
        let kept = self.octets.min(octets);
        self.ahead.0.fetch_add(self.octets - kept, Ordering::Relaxed);
        self.octets = kept;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keep(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_held_of_the_reading_ahead_comes_back() {
        let ahead = Ahead::of(100);
        let mut first = ahead.take(60).unwrap();
        assert!(ahead.take(41).is_none());
        first.keep(10);
        first.keep(50);
        let second = ahead.take(90).unwrap();
        assert!(ahead.take(1).is_none());
        drop((first, second));
        assert!(ahead.take(100).is_some());
    }

    #[test]
    fn a_blocked_thread_stops_nobody_once_another_stands_in() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        for _ in 0..20 {
            let (begin, begun) = mpsc::channel();
            let (tell, told) = mpsc::channel();
            let (mut near, mut far) = {
                let _in = handle.enter();
                UnixStream::pair().unwrap()
            };
            // It needs the sockets looked after...
            handle.spawn(async move {
                far.read_u8().await.unwrap();
                tell.send(()).unwrap();
            });
            // ...while this one blocks until it has run.
            let blocked = handle.spawn(async move {
                near.write_u8(1).await.unwrap();
                begin.send(()).unwrap();
                told.recv().unwrap();
            });
            begun.recv().unwrap();
            while !blocked.is_finished() {
                stand_in(&handle);
                std::thread::yield_now();
            }
        }
    }
}
