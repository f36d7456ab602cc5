//! Sockets: the one room that reads and writes them. It accepts connections, drives a protocol machine over one,
//! and carries the machine's questions to its desk.
//!
//! It knows no protocol: it is generic over [`wire::machine::Machine`] and [`Desk`], and what a refused client is
//! told comes from the caller as octets. It never looks at a clock other than the runtime's.
//!
//! RFC 3207 s.4.2 and RFC 3501 s.6.2.1 (what was pipelined before STARTTLS is dropped), RFC 2920 s.3.2 (replies to
//! pipelined commands share a packet).

mod drive;
mod gate;
mod input;
mod link;
mod listen;
mod out;
mod terms;
mod wires;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use wire::machine::{Over, TlsFacts};

pub use drive::drive;
pub use gate::{Closed, Gate, Permit};
pub use listen::{Accepted, BindError, Bound, Figures, Listening, Meter, Service, bind};
pub use out::{HIGH_WATER, LOW_WATER, Out};
pub use terms::{Done, Error, Stop, Stopper, Terms};

/// A future in a box: what a desk's work is, so that thousands of waiting connections stay small.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a desk took octets of a body.
pub enum Taken<'a> {
    /// They are taken. The usual case: nothing is allocated for it.
    Now,
    /// They will be taken when this completes; until then nothing more is read from the peer.
    Later(Later<'a, ()>),
}

/// Who answers a machine's questions. It knows no protocol text beyond wire's encoders.
///
/// One question is out at a time, and all methods take `&mut self`: a desk needs no locks for its own state.
pub trait Desk: Send {
    /// What the machine asks. Its `Debug` goes into transcripts, so it must blank what is secret.
    type Question: Send + Debug;
    /// What it is told.
    type Answer: Send;

    /// Answers one question. While it is out only the desk writes, into `out`; what it has written goes to the
    /// peer as often as this future is pending. Wait in [`Out::room`] between pieces of a large answer.
    ///
    /// Dropped unfinished when the connection fails: what must not be half done belongs into one store commit.
    fn answer<'a>(&'a mut self, question: Self::Question, out: &'a Out) -> Later<'a, Self::Answer>;

    /// Takes octets of the body that the last question opened (a literal, SMTP data). A failure is kept by the
    /// desk and told in its answer to the question that ends the body: the body is read to its end either way.
    fn body<'a>(&'a mut self, octets: &'a [u8]) -> Taken<'a>;

    /// What may wake a connection that waits for its peer: completes once [`Desk::kicked`] says why and, with
    /// `watch`, once there is a change to tell (level-triggered: at once if there is one already). It may complete
    /// without cause. `None`: nothing can.
    ///
    /// Called for every wait and dropped when the wait ends another way, so it must keep no progress of its own.
    fn wake(&mut self, watch: bool) -> Option<Later<'_, ()>> {
        let _ = watch;
        None
    }

    /// Why this session must end, if it must: its account's password was changed, or the account removed. Looked
    /// at before every wait, so it must be cheap. The machine is told with `Event::Stopping` then.
    fn kicked(&self) -> Option<Over> {
        None
    }

    /// The connection is inside TLS from now on (STARTTLS; a connection that began so says it in its `Peer`).
    fn secured(&mut self, facts: &TlsFacts) {
        let _ = facts;
    }
}

#[cfg(test)]
mod tests;
