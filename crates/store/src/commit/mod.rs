//! From a batch to the disk: the queue, the checks, the group, the one fdatasync, and the answer.

pub(crate) mod builder;
pub(crate) mod check;
mod check_book;
mod check_directory;
mod check_undelete;
pub(crate) mod committer;
mod lookout;
pub(crate) mod queue;
pub(crate) mod seat;
pub(crate) mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::intent::{CommitError, Committed};

/// The answer to a batch, once it is on disk. A future on std wakers; threads use [`Commit::wait`].
///
/// Dropping it does not take the batch back.
#[derive(Debug)]
pub struct Commit {
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Answer {
    result: Option<Result<Committed, CommitError>>,
    waker: Option<Waker>,
    /// A thread waits: telling it is a system call that most answers do not need.
    waiting: bool,
}

/// Where the committer puts the answer.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    answer: Mutex<Answer>,
    come: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the answer; the first one counts.
    pub(crate) fn answer(&self, result: Result<Committed, CommitError>) {
        let (waker, waiting) = {
            let mut answer = self.lock();
            if answer.result.is_none() {
                answer.result = Some(result);
            }
            (answer.waker.take(), answer.waiting)
        };
        if waiting {
            self.come.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Commit {
    pub(crate) fn new() -> (Commit, Arc<Slot>) {
        let slot = Arc::new(Slot::default());
        (Commit { slot: slot.clone() }, slot)
    }

    /// A batch that was answered before it reached the committer.
    pub(crate) fn refused(error: CommitError) -> Commit {
        let (commit, slot) = Commit::new();
        slot.answer(Err(error));
        commit
    }

    /// Blocks the thread until the answer is there.
    pub fn wait(self) -> Result<Committed, CommitError> {
        let mut answer = self.slot.lock();
        loop {
            if let Some(result) = answer.result.clone() {
                return result;
            }
            answer.waiting = true;
            answer = self.slot.come.wait(answer).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The answer, if it is there.
    #[must_use]
    pub fn ready(&self) -> Option<Result<Committed, CommitError>> {
        self.slot.lock().result.clone()
    }
}

impl Future for Commit {
    type Output = Result<Committed, CommitError>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.slot.lock();
        match answer.result.clone() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
