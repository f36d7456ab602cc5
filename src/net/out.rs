//! What waits to be written to the peer: filled by the machine or the desk, emptied by the driver.
//!
//! Two buffers take turns: one is filled while the other is written. Neither is kept while a connection idles.

use std::future::poll_fn;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Octets above which [`Out::room`] waits. Large enough for few, large writes; small enough that a hundred
/// clients with slow lines hold 25 MB at most.
pub const HIGH_WATER: usize = 128 * 1024;

/// The same for who has no part in what may be read ahead (see [`Out::room_below`]).
pub const LOW_WATER: usize = 32 * 1024;

/// The output of one connection, shared by the driver and, while a question is out, the desk.
#[derive(Default)]
pub struct Out {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    filling: Vec<u8>,
    /// Who waits for room.
    waiter: Option<Waker>,
    /// The peer is looked at while the desk works.
    looking: bool,
    /// The peer will send no more.
    ended: bool,
}

impl Out {
    /// An empty output.
    #[must_use]
    pub fn new() -> Out {
        Out::default()
    }

    /// Appends to what waits. Never blocks; to be used for what is small, or after [`Out::room`].
    pub fn with<T>(&self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        write(&mut self.lock().filling)
    }

    /// Waits while [`HIGH_WATER`] octets or more wait to be written.
    pub async fn room(&self) {
        self.room_below(HIGH_WATER).await;
    }

    /// Waits while `water` octets or more wait to be written.
    pub async fn room_below(&self, water: usize) {
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.filling.len() < water {
                // What once held more gives it back: the two buffers take turns, so both come by here.
                if inner.filling.is_empty() && inner.filling.capacity() > 4 * water {
                    inner.filling = Vec::new();
                }
                return Poll::Ready(());
            }
            match &mut inner.waiter {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether the peer has said that it will send no more. It may still wait for the answer, or be gone: what is
    /// written then tells, for a peer that is gone refuses it, and that ends the connection. Once asked, the peer is
    /// looked at until the question is answered: for work that takes long and writes little.
    pub fn peer_ended(&self) -> bool {
        let mut inner = self.lock();
        inner.looking = true;
        inner.ended
    }

    /// Whether the peer is to be looked at although nothing is wanted of it.
    pub(super) fn looks(&self) -> bool {
        let inner = self.lock();
        inner.looking && !inner.ended
    }

    /// The peer will send no more.
    pub(super) fn ended(&self) {
        self.lock().ended = true;
    }

    /// The question is answered: the peer is not looked at any more. Whether its end was seen.
    pub(super) fn answered(&self) -> bool {
        let mut inner = self.lock();
        inner.looking = false;
        inner.ended
    }

    /// Appends octets of any length, waiting for room between pieces.
    pub async fn stream(&self, octets: &[u8]) {
        for piece in octets.chunks(HIGH_WATER / 2) {
            self.room().await;
            self.with(|buf| buf.extend_from_slice(piece));
        }
    }

    /// Takes all that waits, leaving `spare` (emptied) to be filled next. True if there was something.
    /// Wakes who waits for room.
    pub(super) fn swap(&self, spare: &mut Vec<u8>) -> bool {
        let mut inner = self.lock();
        if inner.filling.is_empty() {
            return false;
        }
        spare.clear();
        mem::swap(&mut inner.filling, spare);
        if let Some(waker) = inner.waiter.take() {
            waker.wake();
        }
        true
    }

    /// Takes all that waits: what a test of a desk looks at.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        let mut taken = Vec::new();
        self.swap(&mut taken);
        taken
    }

    /// Gives the buffer's memory back if it is empty.
    pub(super) fn release(&self) {
        let mut inner = self.lock();
        if inner.filling.is_empty() {
            inner.filling = Vec::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while writing cannot leave a Vec in a bad state; the connection dies with it anyway.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
