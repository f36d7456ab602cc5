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
    /// The committer's thread sleeps until so many requests are here; 0: it does not sleep. Waking it is a system call,
    /// and a switch of threads that would find too little.
    sleeps_until: usize,
    /// A caller writes: what comes meanwhile is the thread's when it has finished.
    taken: bool,
    /// It is to look around, although there may be nothing to write.
    look: bool,
}

impl Inner {
    fn wakes(&self) -> bool {
        !self.taken && self.sleeps_until > 0 && self.requests.len() >= self.sleeps_until
    }
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
    /// Time to look around.
    Nothing,
    Closed,
}

/// A caller takes requests out, not the committer's thread; until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a>(&'a Queue);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, batch: Batch) -> Commit {
        let (commit, slot) = Commit::new();
        let wakes = {
            let mut inner = self.lock();
            if inner.closing {
                slot.answer(Err(CommitError::Closed));
                return commit;
            }
            inner.requests.push_back(Request { batch, slot });
            inner.wakes()
        };
        if wakes {
            self.come.notify_one();
        }
        commit
    }

    /// As [`Queue::push`], for a caller that holds the committer and takes it out itself: nobody is woken until it has
    /// finished. Gives the batch back if others are here already.
    pub(crate) fn push_first(&self, batch: Batch) -> Result<(Commit, Taken<'_>), Batch> {
        let mut inner = self.lock();
        if inner.closing || !inner.requests.is_empty() {
            return Err(batch);
        }
        let (commit, slot) = Commit::new();
        inner.requests.push_back(Request { batch, slot });
        inner.taken = true;
        Ok((commit, Taken(self)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().requests.is_empty()
    }

    fn give_back(&self) {
        let wakes = {
            let mut inner = self.lock();
            inner.taken = false;
            inner.wakes() || inner.closing
        };
        if wakes {
            self.come.notify_one();
        }
    }

    /// Puts back what did not fit, to be the first of the next group.
    pub(crate) fn put_back(&self, request: Request) {
        self.lock().requests.push_front(request);
    }

    pub(crate) fn pop(&self) -> Option<Request> {
        self.lock().requests.pop_front()
    }

    /// Has the committer's thread look around.
    pub(crate) fn look(&self) {
        self.lock().look = true;
        self.come.notify_one();
    }

    /// Waits for work, at most so long if there is an end to it.
    pub(crate) fn wait(&self, most: Option<Duration>) -> Found {
        let mut inner = self.lock();
        loop {
            if inner.abandoned {
                return Found::Closed;
            }
            if !inner.taken && !inner.requests.is_empty() {
                return Found::Work;
            }
            if !inner.taken && inner.closing {
                return Found::Closed;
            }
            if inner.look {
                inner.look = false;
                return Found::Nothing;
            }
            inner.sleeps_until = 1;
            inner = match most {
                None => self.come.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(most) => {
                    let woken = self.come.wait_timeout(inner, most);
                    let (mut inner, timed) = woken.unwrap_or_else(PoisonError::into_inner);
                    inner.look |= timed.timed_out();
                    inner
                }
            };
            inner.sleeps_until = 0;
        }
    }

    /// Waits until `count` requests are here, at most `limit`.
    pub(crate) fn gather(&self, count: usize, limit: Duration) {
        let mut inner = self.lock();
        inner.sleeps_until = count;
        let few = |inner: &mut Inner| inner.requests.len() < count && !inner.closing && !inner.abandoned;
        let gathered = self.come.wait_timeout_while(inner, limit, few);
        gathered.unwrap_or_else(PoisonError::into_inner).0.sleeps_until = 0;
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
