//! A sink at the other end of a socket: frames of one line of JSON, each message's octets behind its own.
//!
//! ```text
//! → {"mailbox":{...}}            ← {"opened":{...}} or {"no-mailbox":"why"}
//! → {"known":{...}}              ← {"known":"0110"}
//! → {"put":{"to":[0],...,"length":n}}   and n octets
//! → {"lost":{...}}
//!                                ← {"fates":[["p"],["d"]]}   now and then, in the order of the messages
//! → "end"                        ← {"fates":...}, "done"
//!                                ← {"stop":...}   at any time: nothing more is taken
//! ```
//!
//! At most `limits::PORT_WINDOW` messages are on their way without a fate: whoever sends reads then, and the socket's
//! own buffers do the rest. Both ends block, each on a thread of its own.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::InternalDate;
use wire::flag::{FlagNames, Keyword, SystemFlag};
use wire::limits;

use super::{Error, Fate, Item, Look, Opened, Place, Sink, Spot};

/// Octets gathered before they are sent or after they have come.
const BUFFER: usize = 256 * 1024;
/// Fates told together.
const TOGETHER: usize = 128;
/// Whoever waits for fates must not wait for those of messages that the other end still gathers.
const ENOUGH: usize = limits::PORT_WINDOW / 2;
const _: () = assert!(ENOUGH > super::store_sink::UNTOLD + TOGETHER);
/// A sender that says nothing for this long lets what came be settled.
const TICK: Duration = Duration::from_secs(1);
/// Such ticks until the other end is given up: a source behind it may be slow (another server that holds us back).
const PATIENCE: u32 = 900;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Frame {
    Mailbox(Place),
    Known { spot: Spot, looks: Vec<Look> },
    Put(Put),
    Lost { what: String, why: String },
    End,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Put {
    to: Vec<Spot>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keywords: Vec<String>,
    /// INTERNALDATE: seconds since 1970, minutes east of Greenwich.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date: Option<(i64, i16)>,
    length: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Opened(Opened),
    NoMailbox(String),
    Known(String),
    Fates(Vec<Vec<Fate>>),
    Done,
    Stop(Stop),
}

/// Why the run ends, as it travels.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stop {
    Full,
    Broken,
    Stopping,
    Busy,
    Other(String),
}

impl Put {
    fn of(item: &Item) -> Put {
        Put {
            to: item.to.clone(),
            flags: item.flags.system.iter().map(|f| f.name().to_owned()).collect(),
            keywords: item.flags.keywords.iter().map(ToString::to_string).collect(),
            date: item.date.map(|d| (d.unix, d.zone_minutes)),
            length: item.length,
        }
    }

    fn item(self) -> Item {
        let mut flags = FlagNames::default();
        for name in &self.flags {
            if let Some(flag) = SystemFlag::ALL.into_iter().find(|f| f.name() == name) {
                flags.system = flags.system.with(flag);
            }
        }
        self.keywords.iter().filter_map(|k| Keyword::parse(k.as_bytes())).for_each(|k| flags.add_keyword(k));
        let date = self.date.map(|(unix, zone_minutes)| InternalDate { unix, zone_minutes });
        Item { to: self.to, flags, date, length: self.length }
    }
}

fn talk(why: impl ToString) -> Error {
    Error::Talk(why.to_string())
}

fn send(to: &mut impl Write, value: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(value).map_err(talk)?;
    line.push(b'\n');
    if line.len() > limits::PORT_FRAME {
        return Err(talk("a line is too long"));
    }
    to.write_all(&line).map_err(Error::Lost)
}

fn receive_line<T: for<'de> Deserialize<'de>>(from: &mut impl BufRead) -> Result<T, Error> {
    let mut line = Vec::new();
    let mut bounded = from.take(limits::PORT_FRAME as u64);
    bounded.read_until(b'\n', &mut line).map_err(Error::Lost)?;
    if !line.ends_with(b"\n") {
        return Err(if line.len() < limits::PORT_FRAME {
            Error::Lost(io::ErrorKind::UnexpectedEof.into())
        } else {
            talk("a line is too long")
        });
    }
    serde_json::from_slice(&line).map_err(talk)
}

/// A stream whose reads time out after a tick, and are patient or not.
#[derive(Debug)]
struct Patient {
    stream: UnixStream,
    /// Return after one tick.
    once: bool,
}

impl Patient {
    fn new(stream: UnixStream) -> Result<Patient, Error> {
        stream.set_read_timeout(Some(TICK)).map_err(Error::Lost)?;
        stream.set_write_timeout(Some(TICK * PATIENCE)).map_err(Error::Lost)?;
        Ok(Patient { stream, once: false })
    }
}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        for _ in 0..PATIENCE {
            match (&self.stream).read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !self.once => {}
                other => return other,
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// A sink at the other end of a socket.
#[derive(Debug)]
pub struct FrameSink {
    read: BufReader<Patient>,
    write: BufWriter<UnixStream>,
    /// Messages sent whose fate is not known.
    open: usize,
    fates: VecDeque<Vec<Fate>>,
}

impl FrameSink {
    /// On a socket whose other end runs [`receive`].
    ///
    /// # Errors
    /// When the system refuses its limits of time.
    pub fn new(stream: UnixStream) -> Result<FrameSink, Error> {
        let write = stream.try_clone().map_err(Error::Lost)?;
        Ok(FrameSink {
            read: BufReader::new(Patient::new(stream)?),
            write: BufWriter::with_capacity(BUFFER, write),
            open: 0,
            fates: VecDeque::new(),
        })
    }

    /// The next reply that is not about fates, or `None` once at most `most` messages are without one.
    fn replies(&mut self, most: Option<usize>) -> Result<Option<Reply>, Error> {
        self.write.flush().map_err(|lost| self.last_word(lost))?;
        while most.is_none_or(|most| self.open > most) {
            match receive_line(&mut self.read)? {
                Reply::Fates(fates) => {
                    self.open =
                        self.open.checked_sub(fates.len()).ok_or_else(|| talk("a fate of no message"))?;
                    self.fates.extend(fates);
                }
                Reply::Stop(stop) => return Err(stopped(stop)),
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    }

    /// The other end hung up while we wrote: it may have said why.
    fn last_word(&mut self, lost: io::Error) -> Error {
        loop {
            match receive_line(&mut self.read) {
                Ok(Reply::Stop(stop)) => return stopped(stop),
                Ok(Reply::Fates(fates)) => {
                    self.open = self.open.saturating_sub(fates.len());
                    self.fates.extend(fates);
                }
                _ => return Error::Lost(lost),
            }
        }
    }

    fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        match send(&mut self.write, frame) {
            Err(Error::Lost(lost)) => Err(self.last_word(lost)),
            other => other,
        }
    }
}

fn stopped(stop: Stop) -> Error {
    match stop {
        Stop::Full => Error::Full,
        Stop::Broken => Error::Broken,
        Stop::Stopping => Error::Stopping,
        Stop::Busy => Error::Busy,
        Stop::Other(why) => talk(why),
    }
}

impl Sink for FrameSink {
    fn mailbox(&mut self, place: &Place) -> Result<Opened, Error> {
        self.send(&Frame::Mailbox(place.clone()))?;
        match self.replies(None)? {
            Some(Reply::Opened(opened)) => Ok(opened),
            Some(Reply::NoMailbox(why)) => Err(Error::NoMailbox { name: place.name.clone(), why }),
            _ => Err(talk("an answer to something else")),
        }
    }

    fn known(&mut self, spot: Spot, looks: &[Look]) -> Result<Vec<bool>, Error> {
        self.send(&Frame::Known { spot, looks: looks.to_vec() })?;
        match self.replies(None)? {
            Some(Reply::Known(bits)) if bits.len() == looks.len() => {
                Ok(bits.bytes().map(|b| b == b'1').collect())
            }
            _ => Err(talk("an answer to something else")),
        }
    }

    fn put(&mut self, item: &Item, octets: &mut dyn Read) -> Result<(), Error> {
        if self.open >= limits::PORT_WINDOW && self.replies(Some(ENOUGH))?.is_some() {
            return Err(talk("an answer to nothing"));
        }
        self.send(&Frame::Put(Put::of(item)))?;
        match io::copy(&mut octets.take(item.length), &mut self.write) {
            Ok(n) if n == item.length => {}
            Ok(_) => return Err(talk("a message is shorter than was said")),
            Err(lost) => return Err(self.last_word(lost)),
        }
        self.open += 1;
        Ok(())
    }

    fn lost(&mut self, what: &str, why: &str) -> Result<(), Error> {
        self.send(&Frame::Lost { what: what.to_owned(), why: why.to_owned() })
    }

    fn fates(&mut self) -> Vec<Vec<Fate>> {
        self.fates.drain(..).collect()
    }

    fn settle(&mut self) -> Result<(), Error> {
        // The other end settles by itself once nothing more comes.
        match self.replies(Some(0))? {
            None => Ok(()),
            Some(_) => Err(talk("an answer to nothing")),
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.send(&Frame::End)?;
        match self.replies(None)? {
            Some(Reply::Done) if self.open == 0 => Ok(()),
            _ => Err(talk("it ended before its end")),
        }
    }
}

/// Takes what a [`FrameSink`] at the other end sends, and gives it to `sink`, until it says that this is all.
///
/// # Errors
/// Whatever ended it before; the other end has been told.
pub fn receive(stream: UnixStream, sink: &mut dyn Sink) -> Result<(), Error> {
    receive_until(&|| false, stream, sink)
}

/// The same, until `stopping` says that this process is about to end: then what came is settled and told, with the reason
/// why no more is taken.
///
/// # Errors
/// As [`receive`].
pub fn receive_until(
    stopping: &dyn Fn() -> bool,
    stream: UnixStream,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let mut write = BufWriter::new(stream.try_clone().map_err(Error::Lost)?);
    let mut read = BufReader::with_capacity(BUFFER, Patient::new(stream)?);
    let mut told = Vec::new();
    let mut result = converse(&mut read, &mut write, sink, &mut told, stopping);
    if let Err(Error::Stopping) = result {
        result = sink.settle().and(result);
    }
    if let Err(error) = &result {
        let stop = match error {
            Error::Lost(_) => return result,
            Error::Full => Stop::Full,
            Error::Broken => Stop::Broken,
            Error::Stopping => Stop::Stopping,
            Error::Busy => Stop::Busy,
            other => Stop::Other(other.to_string()),
        };
        told.extend(sink.fates());
        // It may be gone as well: then it is told nothing.
        let _ = tell_fates(&mut write, told)
            .and_then(|()| send(&mut write, &Reply::Stop(stop)))
            .and_then(|()| write.flush().map_err(Error::Lost));
    }
    result
}

/// Refuses a transfer that cannot begin.
pub fn refuse(stream: &UnixStream, error: &Error) {
    let stop = if matches!(error, Error::Busy) { Stop::Busy } else { Stop::Other(error.to_string()) };
    let _ = send(&mut &*stream, &Reply::Stop(stop));
}

fn tell_fates(write: &mut impl Write, fates: Vec<Vec<Fate>>) -> Result<(), Error> {
    let mut fates = fates.into_iter().peekable();
    while fates.peek().is_some() {
        let some: Vec<Vec<Fate>> = fates.by_ref().take(TOGETHER).collect();
        send(write, &Reply::Fates(some))?;
    }
    write.flush().map_err(Error::Lost)
}

/// Waits for the next frame. Before anything is waited for long, what came is settled and told.
fn await_frame(
    read: &mut BufReader<Patient>,
    write: &mut impl Write,
    sink: &mut dyn Sink,
    gathered: &mut Vec<Vec<Fate>>,
    open: &mut usize,
    stopping: &dyn Fn() -> bool,
) -> Result<(), Error> {
    for _ in 0..PATIENCE {
        if stopping() {
            return Err(Error::Stopping);
        }
        if !read.buffer().is_empty() {
            return Ok(());
        }
        read.get_mut().once = true;
        let filled = read.fill_buf().map(<[u8]>::is_empty);
        read.get_mut().once = false;
        match filled {
            Ok(false) => return Ok(()),
            Ok(true) => return Err(Error::Lost(io::ErrorKind::UnexpectedEof.into())),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && *open == 0 => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                sink.settle()?;
                gathered.extend(sink.fates());
                *open = open.saturating_sub(gathered.len());
                tell_fates(write, std::mem::take(gathered))?;
            }
            Err(e) => return Err(Error::Lost(e)),
        }
    }
    Err(Error::Lost(io::ErrorKind::TimedOut.into()))
}

fn converse(
    read: &mut BufReader<Patient>,
    write: &mut impl Write,
    sink: &mut dyn Sink,
    told: &mut Vec<Vec<Fate>>,
    stopping: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let mut open = 0usize;
    loop {
        await_frame(read, write, sink, told, &mut open, stopping)?;
        match receive_line(read)? {
            Frame::Put(put) => {
                let item = put.item();
                let mut octets = read.take(item.length);
                sink.put(&item, &mut octets)?;
                // What was not wanted of it is not the next frame.
                io::copy(&mut octets, &mut io::sink()).map_err(Error::Lost)?;
                open += 1;
            }
            Frame::Lost { what, why } => sink.lost(&what, &why)?,
            Frame::Mailbox(place) => {
                let reply = match sink.mailbox(&place) {
                    Ok(opened) => Reply::Opened(opened),
                    Err(Error::NoMailbox { why, .. }) => Reply::NoMailbox(why),
                    Err(error) => return Err(error),
                };
                send(write, &reply)?;
                write.flush().map_err(Error::Lost)?;
            }
            Frame::Known { spot, looks } => {
                let bits =
                    sink.known(spot, &looks)?.iter().map(|known| if *known { '1' } else { '0' }).collect();
                send(write, &Reply::Known(bits))?;
                write.flush().map_err(Error::Lost)?;
            }
            Frame::End => {
                sink.finish()?;
                told.extend(sink.fates());
                tell_fates(write, std::mem::take(told))?;
                send(write, &Reply::Done)?;
                return write.flush().map_err(Error::Lost);
            }
        }
        told.extend(sink.fates());
        if told.len() >= TOGETHER {
            open = open.saturating_sub(told.len());
            tell_fates(write, std::mem::take(told))?;
        }
    }
}

#[cfg(test)]
#[path = "tests/frames.rs"]
mod tests;
