//! Batches on their way to the committer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Commit, Slot};
use crate::intent::{Batch, CommitError};

/// A batch and where its answer goes. One that is dropped without an answer is answered: nobody waits for ever.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) batch: Batch,
    pub(crate) slot: Arc<Slot>,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.slot.answer(Err(CommitError::Broken));
    }
}

#[derive(Debug, Default)]
struct Inner {
    requests: VecDeque<Request>,
    /// No more are taken; those that are here are done.
    closing: bool,
    /// Nothing is done any more.
    abandoned: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    come: Condvar,
}

/// What the committer's thread finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Work,
    Closed,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, batch: Batch) -> Commit {
        let (commit, slot) = Commit::new();
        {
            let mut inner = self.lock();
            if inner.closing {
                slot.answer(Err(CommitError::Closed));
                return commit;
            }
            inner.requests.push_back(Request { batch, slot });
        }
        self.come.notify_one();
        commit
    }

    /// Puts back what did not fit, to be the first of the next group.
    pub(crate) fn put_back(&self, request: Request) {
        self.lock().requests.push_front(request);
    }

    pub(crate) fn pop(&self) -> Option<Request> {
        self.lock().requests.pop_front()
    }

    /// Waits for work.
    pub(crate) fn wait(&self) -> Found {
        let mut inner = self.lock();
        loop {
            if inner.abandoned {
                return Found::Closed;
            }
            if !inner.requests.is_empty() {
                return Found::Work;
            }
            if inner.closing {
                return Found::Closed;
            }
            inner = self.come.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until `count` requests are here, at most `limit`.
    pub(crate) fn gather(&self, count: usize, limit: Duration) {
        let inner = self.lock();
        let few = |inner: &mut Inner| inner.requests.len() < count && !inner.closing && !inner.abandoned;
        drop(self.come.wait_timeout_while(inner, limit, few));
    }

    /// Takes no more.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.come.notify_all();
    }

    /// Answers everything with an error and takes no more.
    pub(crate) fn abandon(&self, error: &CommitError) {
        let requests = {
            let mut inner = self.lock();
            inner.closing = true;
            inner.abandoned = true;
            std::mem::take(&mut inner.requests)
        };
        self.come.notify_all();
        for request in requests {
            request.slot.answer(Err(error.clone()));
        }
    }
}
