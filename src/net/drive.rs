//! The life of one connection: the machine is shown what was read, and gets what it wants next.
//!
//! Output goes out when input is wanted or while the desk is pending, so that the replies to pipelined commands
//! share a packet (RFC 2920 s.3.2). Nothing is read while output waits for a peer that does not read: the peer's pace
//! is the pace; nor while a question is out, unless the desk asks whether the peer is still there. Every wait has an
//! end.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use wire::machine::{BodyPart, Event, Machine, Over, Step, Tick, TlsFacts, Want};

use super::input::Input;
use super::link::Link;
use super::wires::{Wires, Woken};
use super::{Desk, Done, Error, Out, Side, Taken, Terms};
use crate::observe::TRANSCRIPT;

/// For the bye: the TLS close, and what the peer still sends.
const LINGER: Duration = Duration::from_secs(2);

/// Drives a machine over a stream until it closes or fails. Errors are returned, not logged.
pub fn drive<S, M, D>(stream: S, machine: M, desk: D, terms: Arc<Terms>) -> impl Future<Output = Done> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine<Question = D::Question, Answer = D::Answer> + Send,
    D: Desk,
{
    drive_link(Link::Plain(stream), machine, desk, terms)
}

/// Not an `async fn`: that would hold machine and desk twice, as arguments and in the driver.
pub(super) fn drive_link<S, M, D>(
    link: Link<S>,
    machine: M,
    desk: D,
    terms: Arc<Terms>,
) -> impl Future<Output = Done> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine<Question = D::Question, Answer = D::Answer> + Send,
    D: Desk,
{
    let now = Instant::now();
    let mut driver = Driver {
        machine,
        desk,
        out: Out::new(),
        wires: Wires::new(link, terms, now),
        input: Input::default(),
        began: now,
        ended: Ending::Open,
        told: None,
    };
    async move { driver.live().await }
}

/// How far the end of the peer's octets has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Open,
    Seen,
    /// Told to the machine, which has used nothing and asked nothing since.
    Told,
}

struct Driver<S, M, D> {
    machine: M,
    desk: D,
    out: Out,
    wires: Wires<S>,
    input: Input,
    began: Instant,
    ended: Ending,
    /// Why it is over, as the machine has heard it.
    told: Option<Over>,
}

impl<S, M, D> Driver<S, M, D>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine<Question = D::Question, Answer = D::Answer> + Send,
    D: Desk,
{
    async fn live(&mut self) -> Done {
        let mut result = self.run().await;
        if result.is_ok() {
            result = self.wires.flush(&self.out).await;
        }
        if result.is_ok() {
            // The machine has said all it had to say; how the peer takes the end is no failure of the session.
            let _ = timeout(LINGER, self.wires.farewell(&mut self.input)).await;
        }
        Done { read: self.wires.octets_read, written: self.wires.octets_written, result }
    }

    async fn run(&mut self) -> Result<(), Error> {
        let mut event = Event::Opened;
        loop {
            let elapsed = matches!(event, Event::Elapsed);
            let now = Tick(self.began.elapsed());
            let input = self.input.unread();
            let who = if matches!(self.wires.terms.tls, Some(Side::Client(_))) { 'C' } else { 'S' };
            let Step { used, want } = self.out.with(|out| {
                let before = out.len();
                let step = self.machine.step(event, input, now, out);
                transcript(who, out.get(before..).unwrap_or_default(), &step.want);
                step
            });
            if used > input.len() {
                return Err(Error::Machine("the machine used more than it was shown"));
            }
            if used > 0 && self.ended == Ending::Told {
                self.ended = Ending::Seen;
            }
            event = match want {
                Want::Input { until, .. } if elapsed && until <= now => {
                    return Err(Error::Machine("the machine waits for what has come"));
                }
                Want::Input { until, watch } => {
                    self.input.consume(used);
                    // What it left may be a whole command: an event for each that it used something of.
                    let again = used > 0 && !self.input.unread().is_empty();
                    self.input_wanted(until, watch, again).await?
                }
                Want::Ask(question) => {
                    self.input.consume(used);
                    if self.ended == Ending::Told {
                        self.ended = Ending::Seen;
                    }
                    let answering = self.desk.answer(question, &self.out);
                    let answer = self.wires.pump_looking(&self.out, &mut self.input, answering).await?;
                    if self.out.answered() && self.ended == Ending::Open {
                        self.ended = Ending::Seen;
                    }
                    Event::Answer(answer)
                }
                Want::Body(part) => {
                    self.body(part, used).await?;
                    Event::BodyTaken
                }
                Want::Upgrade => Event::Secured(self.upgrade().await?),
                Want::Close => return Ok(()),
            };
        }
    }

    /// Gives the desk octets of a body.
    async fn body(&mut self, part: BodyPart, used: usize) -> Result<(), Error> {
        let octets = match &part {
            BodyPart::Input(range) if range.end <= used => self.input.unread().get(range.clone()),
            BodyPart::Input(_) => None,
            BodyPart::Own(octets) => Some(*octets),
        };
        let Some(octets) = octets else {
            return Err(Error::Machine("a body's octets lie outside of what was used"));
        };
        if let Taken::Later(taking) = self.desk.body(octets) {
            self.wires.pump(&self.out, taking).await?;
        }
        self.input.consume(used);
        Ok(())
    }

    /// STARTTLS. What the peer sent behind the command was not protected and is dropped
    /// (RFC 3207 s.4.2, RFC 3501 s.6.2.1).
    async fn upgrade(&mut self) -> Result<TlsFacts, Error> {
        let side = self.wires.terms.tls.clone().ok_or(Error::Machine("STARTTLS without a certificate"))?;
        self.wires.flush(&self.out).await?;
        self.input.drop_unread();
        self.input.release();
        let within = self.wires.terms.handshake_within;
        let facts = self.wires.link.secure(side, within).await?;
        self.desk.secured(&facts);
        Ok(facts)
    }

    /// Waits for what the machine should hear of next, writing first what waits to be written.
    async fn input_wanted(
        &mut self,
        until: Tick,
        watch: bool,
        again: bool,
    ) -> Result<Event<D::Answer>, Error> {
        loop {
            let kicked = self.desk.kicked();
            if kicked.is_some() {
                self.wires.stopped();
            }
            // One that waits for the server's end hears of its own as well: it comes sooner.
            let over = kicked.or(self.wires.overdue.map(|_| Over::Shutdown));
            if let Some(over) = over
                && self.told != Some(over)
            {
                self.told = Some(over);
                return Ok(Event::Stopping(over));
            }
            if again {
                return Ok(Event::Input);
            }
            match self.ended {
                Ending::Open => {}
                Ending::Seen => {
                    self.ended = Ending::Told;
                    return Ok(Event::Ended);
                }
                Ending::Told => return Err(Error::Ended),
            }
            let until = self.began + until.0;
            let mut wake = self.desk.wake(watch);
            let (wires, out, input) = (&mut self.wires, &self.out, &mut self.input);
            let woken = poll_fn(|cx| wires.poll_input(cx, out, input, until, wake.as_mut())).await?;
            drop(wake);
            match woken {
                Woken::Read(0) => self.ended = Ending::Seen,
                Woken::Read(_) => return Ok(Event::Input),
                Woken::Elapsed => return Ok(Event::Elapsed),
                Woken::Stopped => {}
                Woken::Desk if watch && self.desk.kicked().is_none() => return Ok(Event::Changed),
                // Woken without cause: let others run, a desk that does so for ever shall starve nobody.
                Woken::Desk => tokio::task::yield_now().await,
            }
        }
    }
}

/// What the machine said (as server or client) and asked, for who wants to know why a client fails. What the peer said is not shown:
/// only its protocol knows which of it is a password, and the question tells what was understood of it.
fn transcript<Q: Debug>(who: char, said: &[u8], want: &Want<Q>) {
    if !tracing::enabled!(target: TRANSCRIPT, tracing::Level::DEBUG) {
        return;
    }
    for line in said.split_inclusive(|octet| *octet == b'\n').take(100) {
        let line = line.trim_ascii_end();
        tracing::debug!(target: TRANSCRIPT, "{who}: {}", line.get(..500).unwrap_or(line).escape_ascii());
    }
    if let Want::Ask(question) = want {
        tracing::debug!(target: TRANSCRIPT, "?: {question:?}");
    }
}
