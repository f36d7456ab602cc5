//! The life of one connection: the machine is shown what was read, and gets what it wants next.
//!
//! Output goes out when input is wanted or while the desk is pending, so that the replies to pipelined commands
//! share a packet (RFC 2920 s.3.2). Nothing is read while a question is out or while output waits for a peer that
//! does not read: the peer's pace is the pace. Every wait has an end.

use std::fmt::Debug;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use wire::machine::{BodyPart, Event, Machine, Step, Tick, TlsFacts, Want};

use super::input::Input;
use super::link::Link;
use crate::observe::TRANSCRIPT;

use super::{Desk, HIGH_WATER, Later, Out, Taken};

/// What holds for each connection of a listener.
#[derive(Clone)]
pub struct Terms {
    /// For STARTTLS and for listeners inside TLS; without it `Want::Upgrade` is an error.
    pub tls: Option<Arc<ServerConfig>>,
    /// Tells of the server's end.
    pub stop: Stop,
    /// For a TLS handshake.
    pub handshake_within: Duration,
    /// For a peer to take any of the output that waits.
    pub write_within: Duration,
    /// From the server's stop, or the session's (see [`Desk::kicked`]), to the end of the connection, done or not.
    pub grace: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            tls: None,
            stop: Stop::never(),
            handshake_within: Duration::from_secs(30),
            // RFC 5321 s.4.5.3.2 has no time for replies; a phone in a tunnel comes back within this.
            write_within: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(30),
        }
    }
}

/// For the bye: what is left of the output, the TLS close, and what the peer still sends.
const LINGER: Duration = Duration::from_secs(2);

/// Stops what holds a [`Stop`] of it: listeners and connections.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// A new one; nothing is stopped.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "made once, where the server is put together")]
    pub fn new() -> Stopper {
        Stopper(watch::Sender::new(false))
    }

    /// From now on it is stopped.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// What tells of it.
    #[must_use]
    pub fn handle(&self) -> Stop {
        Stop(Some(self.0.subscribe()))
    }
}

/// Tells when a [`Stopper`] has stopped (or has gone, which is the same).
#[derive(Clone, Debug)]
pub struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    /// One that never stops.
    #[must_use]
    pub fn never() -> Stop {
        Stop(None)
    }

    /// Completes once stopped.
    pub async fn stopped(mut self) {
        match &mut self.0 {
            Some(stop) => drop(stop.wait_for(|stopped| *stopped).await),
            None => pending().await,
        }
    }
}

/// Why a connection ended other than by its machine's wish.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("reading: {0}")]
    Read(#[source] io::Error),
    #[error("writing: {0}")]
    Write(#[source] io::Error),
    #[error("the peer took none of what was sent for {0:?}")]
    NotReading(Duration),
    #[error("TLS handshake: {0}")]
    Handshake(#[source] io::Error),
    #[error("TLS handshake not done within {0:?}")]
    HandshakeSlow(Duration),
    #[error("the peer closed the connection in the middle")]
    Ended,
    #[error("not done {0:?} after it was told to stop")]
    Overdue(Duration),
    #[error("a defect of this server: {0}")]
    Machine(&'static str),
}

/// How a connection ended.
#[derive(Debug)]
pub struct Done {
    /// Octets read, inside TLS as the machine saw them.
    pub read: u64,
    /// Octets written, likewise.
    pub written: u64,
    /// Why it ended, if not by the machine's wish.
    pub result: Result<(), Error>,
}

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
        wires: Wires {
            link,
            writing: Vec::new(),
            written: 0,
            unflushed: false,
            stalled: None,
            octets_read: 0,
            octets_written: 0,
            alarm: Alarm { sleep: Box::pin(sleep_until(now)), armed: now },
            stop: Box::pin(terms.stop.clone().stopped()),
            overdue: None,
            told_to_stop: false,
            terms,
        },
        input: Input::default(),
        began: now,
        ended: Ending::Open,
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
}

/// All of a connection but machine, desk and input: what goes on while one of those is borrowed.
struct Wires<S> {
    link: Link<S>,
    /// Taken from `out`, on its way to the peer; `written` octets of it are gone.
    writing: Vec<u8>,
    written: usize,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Since when the peer has taken nothing.
    stalled: Option<Instant>,
    octets_read: u64,
    octets_written: u64,
    alarm: Alarm,
    stop: Later<'static, ()>,
    /// Set once stopped: when the connection ends, done or not.
    overdue: Option<Instant>,
    told_to_stop: bool,
    terms: Arc<Terms>,
}

/// Why a wait for input ended.
enum Woken {
    Read(usize),
    Desk,
    Elapsed,
    Stopped,
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
            let Step { used, want } = self.out.with(|out| {
                let before = out.len();
                let step = self.machine.step(event, input, now, out);
                transcript(out.get(before..).unwrap_or_default(), &step.want);
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
                    Event::Answer(self.wires.pump(&self.out, answering).await?)
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
        let config = self.wires.terms.tls.clone().ok_or(Error::Machine("STARTTLS without a certificate"))?;
        self.wires.flush(&self.out).await?;
        self.input.drop_unread();
        self.input.release();
        let within = self.wires.terms.handshake_within;
        let facts = match timeout(within, self.wires.link.secure(config)).await {
            Ok(Ok(facts)) => facts,
            Ok(Err(error)) => return Err(Error::Handshake(error)),
            Err(_) => return Err(Error::HandshakeSlow(within)),
        };
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
            if self.desk.kicked() {
                self.wires.stopped();
            }
            if self.wires.overdue.is_some() && !self.wires.told_to_stop {
                self.wires.told_to_stop = true;
                return Ok(Event::Stopping);
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
                Woken::Desk if watch && !self.desk.kicked() => return Ok(Event::Changed),
                // Woken without cause: let others run, a desk that does so for ever shall starve nobody.
                Woken::Desk => tokio::task::yield_now().await,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wires<S> {
    /// Writes what waits, without waiting. Ready once all is with the operating system.
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &Out) -> Poll<Result<(), Error>> {
        loop {
            let left = self.writing.get(self.written..).unwrap_or_default();
            if left.is_empty() {
                self.written = 0;
                if self.writing.capacity() > 4 * HIGH_WATER {
                    self.writing = Vec::new();
                }
                self.writing.clear();
                if out.swap(&mut self.writing) {
                    continue;
                }
                if self.unflushed {
                    match self.link.poll_flush(cx) {
                        Poll::Ready(result) => result.map_err(Error::Write)?,
                        Poll::Pending => {
                            self.stalled.get_or_insert_with(Instant::now);
                            return Poll::Pending;
                        }
                    }
                    self.unflushed = false;
                }
                self.stalled = None;
                return Poll::Ready(Ok(()));
            }
            match self.link.poll_write(cx, left) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Error::Write(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    self.octets_written += n as u64;
                    self.unflushed = true;
                    self.stalled = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Write(error))),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
    }

    /// What ends every wait: a peer that does not read, and the time after a stop.
    fn poll_limits(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<Result<(), Error>> {
        if self.overdue.is_none() && self.stop.as_mut().poll(cx).is_ready() {
            self.stopped();
        }
        let unread = self.stalled.map(|since| since + self.terms.write_within);
        let Some(first) = [until, unread, self.overdue].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        ready!(self.alarm.poll(cx, first));
        Poll::Ready(if self.overdue == Some(first) {
            Err(Error::Overdue(self.terms.grace))
        } else if unread == Some(first) {
            Err(Error::NotReading(self.terms.write_within))
        } else {
            Ok(())
        })
    }

    fn stopped(&mut self) {
        if self.overdue.is_none() {
            self.overdue = Some(Instant::now() + self.terms.grace);
        }
    }

    /// One look at everything that can end a wait for input. The desk's watch counts only once the peer has
    /// taken all output: no more is made for one that does not read.
    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        out: &Out,
        input: &mut Input,
        until: Instant,
        wake: Option<&mut Later<'_, ()>>,
    ) -> Poll<Result<Woken, Error>> {
        let written = self.poll_write(cx, out)?.is_ready();
        if written {
            let Some(buf) = input.room() else {
                return Poll::Ready(Err(Error::Machine("the machine wants more than the input's bound")));
            };
            match self.link.poll_read(cx, buf) {
                Poll::Ready(Ok(octets)) => {
                    input.brought(octets);
                    self.octets_read += octets as u64;
                    return Poll::Ready(Ok(Woken::Read(octets)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Read(error))),
                Poll::Pending => {}
            }
            // Thousands may wait here: none of them keeps a buffer.
            input.release();
            self.writing = Vec::new();
            out.release();
            if let Some(wake) = wake
                && wake.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(Woken::Desk));
            }
        }
        let stopping = self.overdue.is_some();
        if self.poll_limits(cx, written.then_some(until))?.is_ready() {
            return Poll::Ready(Ok(Woken::Elapsed));
        }
        if self.overdue.is_some() && !stopping {
            return Poll::Ready(Ok(Woken::Stopped));
        }
        Poll::Pending
    }

    /// Runs the desk's work, writing what waits whenever it is pending.
    async fn pump<T>(&mut self, out: &Out, mut work: Later<'_, T>) -> Result<T, Error> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            // Room made here wakes the desk through the waker it left in `out`.
            let _ = self.poll_write(cx, out)?;
            match self.poll_limits(cx, None) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Writes all that waits.
    async fn flush(&mut self, out: &Out) -> Result<(), Error> {
        poll_fn(|cx| {
            if self.poll_write(cx, out)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.poll_limits(cx, None)
        })
        .await
    }

    /// The end that the machine wished: TLS is closed, and what the peer still sends is read for a moment: closing
    /// on unread octets would reset the connection, and the peer might lose our last words.
    async fn farewell(&mut self, input: &mut Input) -> io::Result<()> {
        self.link.shutdown().await?;
        loop {
            input.drop_unread();
            let Some(buf) = input.room() else { return Ok(()) };
            let link = &mut self.link;
            if poll_fn(|cx| link.poll_read(cx, buf)).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// What the machine said and asked, for who wants to know why a client fails. What the client said is not shown:
/// only its protocol knows which of it is a password, and the question tells what was understood of it.
fn transcript<Q: Debug>(said: &[u8], want: &Want<Q>) {
    if !tracing::enabled!(target: TRANSCRIPT, tracing::Level::DEBUG) {
        return;
    }
    for line in said.split_inclusive(|octet| *octet == b'\n').take(100) {
        let line = line.trim_ascii_end();
        tracing::debug!(target: TRANSCRIPT, "S: {}", line.get(..500).unwrap_or(line).escape_ascii());
    }
    if let Want::Ask(question) = want {
        tracing::debug!(target: TRANSCRIPT, "?: {question:?}");
    }
}

/// One timer for all deadlines of a connection: set anew only for an earlier one, since most are never reached.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl Alarm {
    fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if at < self.armed {
            self.set(at);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            self.set(at);
        }
    }

    fn set(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at);
        self.armed = at;
    }
}
