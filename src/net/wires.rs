//! A connection without its machine, desk and input: the stream, what waits to be written, and the deadlines. What
//! goes on while one of those is borrowed.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::input::Input;
use super::link::Link;
use super::{Error, HIGH_WATER, Later, Out, Terms};

/// See the top of this file.
pub(super) struct Wires<S> {
    pub(super) link: Link<S>,
    /// Taken from `out`, on its way to the peer; `written` octets of it are gone.
    writing: Vec<u8>,
    written: usize,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Since when the peer has taken nothing.
    stalled: Option<Instant>,
    pub(super) octets_read: u64,
    pub(super) octets_written: u64,
    alarm: Alarm,
    stop: Later<'static, ()>,
    /// Set once stopped: when the connection ends, done or not.
    pub(super) overdue: Option<Instant>,
    pub(super) terms: Arc<Terms>,
}

/// Why a wait for input ended.
pub(super) enum Woken {
    Read(usize),
    Desk,
    Elapsed,
    Stopped,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wires<S> {
    pub(super) fn new(link: Link<S>, terms: Arc<Terms>, now: Instant) -> Wires<S> {
        Wires {
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
            terms,
        }
    }

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

    pub(super) fn stopped(&mut self) {
        if self.overdue.is_none() {
            self.overdue = Some(Instant::now() + self.terms.grace);
        }
    }

    /// One look at everything that can end a wait for input. The desk's watch counts only once the peer has
    /// taken all output: no more is made for one that does not read.
    pub(super) fn poll_input(
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
    pub(super) async fn pump<T>(&mut self, out: &Out, mut work: Later<'_, T>) -> Result<T, Error> {
        poll_fn(|cx| self.poll_pump(cx, out, &mut work)).await
    }

    /// The same, looking at the peer where the desk wants to know whether it is still there. What the peer sends
    /// meanwhile stays unread; when there is no room for more of it, the peer is there.
    pub(super) async fn pump_looking<T>(
        &mut self,
        out: &Out,
        input: &mut Input,
        mut work: Later<'_, T>,
    ) -> Result<T, Error> {
        poll_fn(|cx| {
            let done = self.poll_pump(cx, out, &mut work)?;
            while done.is_pending()
                && out.looks()
                && let Some(buf) = input.room()
            {
                match self.link.poll_read(cx, buf) {
                    Poll::Ready(Ok(0)) => out.ended(),
                    Poll::Ready(Ok(octets)) => {
                        input.brought(octets);
                        self.octets_read += octets as u64;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Read(error))),
                    Poll::Pending => break,
                }
            }
            done.map(Ok)
        })
        .await
    }

    fn poll_pump<T>(
        &mut self,
        cx: &mut Context<'_>,
        out: &Out,
        work: &mut Later<'_, T>,
    ) -> Poll<Result<T, Error>> {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        // Room made here wakes the desk through the waker it left in `out`.
        let _ = self.poll_write(cx, out)?;
        match self.poll_limits(cx, None) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }

    /// Writes all that waits.
    pub(super) async fn flush(&mut self, out: &Out) -> Result<(), Error> {
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
    pub(super) async fn farewell(&mut self, input: &mut Input) -> io::Result<()> {
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
