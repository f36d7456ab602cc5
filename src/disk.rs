//! Waiting for the disk on a thread of the runtime, in such a way that other connections go on meanwhile.
//!
//! It knows no protocol; rooms above say what is to be read or committed.

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
/// quick disk is busy no longer than with any other work. Should the disk be slow for once, the runtime is given
/// something to do: that wakes another of its threads, which takes over this one's tasks and sockets.
pub fn lend_threads(store: &Store, runtime: Handle) {
    if runtime.runtime_flavor() == RuntimeFlavor::MultiThread && runtime.metrics().num_workers() > 1 {
        store.lend_threads(move || drop(runtime.spawn(async {})));
    }
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
