//! A message's octets: prefix and body as one, read where they lie in the log and checked as read.
//!
//! A body that is about to be served whole is read with its delivery in one call, and neighbours with it; a large one
//! is read only where it is looked at, 64 KiB at a time, each piece checked against its CRC.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::Location;
use crate::options::{Octets, Sabotage};
use crate::record::{self, HEADER, Header, PIECE, kind};
use crate::segment::{Files, Opened};
use crate::side;
use crate::state::block::Row;
use crate::trouble::Troubles;
use crate::vfs::{File, read_full};

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The mailbox does not exist (any more).
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// The log's octets at this place are not what was written.
    #[error("the log is damaged at {0}")]
    Damaged(Location),
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
    /// The index failed; the next start rebuilds it.
    #[error(transparent)]
    Index(#[from] crate::index::IndexError),
}

/// Messages up to this size are read whole.
const WHOLE: u64 = 1 << 20;
/// Neighbours are read together up to this.
const TOGETHER: u64 = 1 << 20;
/// Octets around a body that are read with it: headers, the delivery's fields, an everyday prefix.
const AROUND: u64 = 1024;

/// Part of a buffer that several messages may share.
#[derive(Clone, Debug)]
struct Part {
    buffer: Arc<Vec<u8>>,
    from: usize,
    to: usize,
}

impl Part {
    fn get(&self) -> &[u8] {
        self.buffer.get(self.from..self.to).unwrap_or_default()
    }
}

/// A stretch of a file that has been read.
#[derive(Clone, Debug)]
struct Window {
    from: Opened,
    segment: u32,
    start: u64,
    buffer: Arc<Vec<u8>>,
}

impl Window {
    fn read(from: Opened, segment: u32, start: u64, end: u64) -> io::Result<Window> {
        let length = usize::try_from(end.saturating_sub(start)).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut buffer = vec![0; length];
        let read = read_full(&*from.file, &mut buffer, start)?;
        buffer.truncate(read);
        Ok(Window { from, segment, start, buffer: Arc::new(buffer) })
    }

    /// What begins at an offset, as far as it probably goes. Where the disk does not give that, a record's header: the
    /// sector that is bad may be a neighbour's.
    fn around(from: Opened, segment: u32, at: u64) -> io::Result<Window> {
        let wide = Window::read(from.clone(), segment, at, at + AROUND);
        wide.or_else(|_| Window::read(from, segment, at, at + HEADER as u64))
    }

    /// From an offset of the file to the end of what was read; `None` outside.
    fn at(&self, offset: u64) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.buffer.get(at..)
    }

    /// `length` octets from an offset of the file on.
    fn part(&self, offset: u64, length: u64) -> Option<Part> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        (to <= self.buffer.len()).then(|| Part { buffer: self.buffer.clone(), from, to })
    }
}

#[derive(Debug)]
enum Body {
    Whole(Part),
    File {
        file: Arc<dyn File>,
        at: Location,
        data: u64,
        octets: u64,
        crcs: Vec<u32>,
        last: Mutex<Option<(u64, Vec<u8>)>>,
        sabotage: Sabotage,
        blame: Blame,
    },
}

/// Whom to tell when a body's file cannot be read later.
#[derive(Debug)]
struct Blame {
    troubles: Arc<Troubles>,
    path: String,
}

impl Blame {
    fn of(files: &Files, segment: u32) -> Blame {
        Blame { troubles: files.troubles.clone(), path: files.path(segment) }
    }
}

/// A message's octets as served. It stays readable when the message is expunged.
#[derive(Debug)]
pub struct Message {
    prefix: Part,
    replaces: u64,
    body: Body,
}

impl Message {
    fn body_octets(&self) -> u64 {
        match &self.body {
            Body::Whole(part) => part.get().len() as u64,
            Body::File { octets, .. } => *octets,
        }
    }
    /// RFC822.SIZE.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.prefix.get().len() as u64 + self.body_octets().saturating_sub(self.replaces)
    }
    /// Whether it has no octets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at an offset; fewer octets than asked for only at the end. Reads and checks only the 64 KiB pieces that
    /// it needs.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let prefix = self.prefix.get();
        let mut done = 0;
        if let Some(rest) = usize::try_from(offset).ok().and_then(|at| prefix.get(at..)) {
            done = rest.len().min(buf.len());
            buf[..done].copy_from_slice(&rest[..done]);
        }
        let end = self.body_octets();
        while done < buf.len() {
            let Some(at) = (offset + done as u64).checked_sub(prefix.len() as u64) else { break };
            let at = at.saturating_add(self.replaces);
            if at >= end {
                break;
            }
            done += self.read_body(at, &mut buf[done..])?;
        }
        Ok(done)
    }

    /// Some octets of the body, at least one (`at` is inside it, and `buf` is not empty).
    fn read_body(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let copy = |piece: &[u8], from: usize, buf: &mut [u8]| {
            let rest = piece.get(from..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            n
        };
        match &self.body {
            Body::Whole(part) => Ok(copy(part.get(), usize::try_from(at).unwrap_or(usize::MAX), buf)),
            Body::File { file, at: location, data, octets, crcs, last, sabotage, blame } => {
                let number = at / PIECE as u64;
                let within = (at % PIECE as u64) as usize;
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((kept, piece)) = &*last
                    && *kept == number
                {
                    return Ok(copy(piece, within, buf));
                }
                let start = number * PIECE as u64;
                let length = (octets - start).min(PIECE as u64) as usize;
                let (_, mut piece) = last.take().unwrap_or_default();
                piece.resize(length, 0);
                let read = read_full(&**file, &mut piece, data + start)
                    .inspect_err(|error| blame.troubles.note(blame.path.clone(), error))?;
                let crc = crcs.get(usize::try_from(number).unwrap_or(usize::MAX)).copied();
                if read < length || !sound(*sabotage, &piece, crc) {
                    blame.troubles.note(blame.path.clone(), "its octets are not what was written");
                    return Err(ReadError::Damaged(*location));
                }
                let n = copy(&piece, within, buf);
                *last = Some((number, piece));
                Ok(n)
            }
        }
    }

    /// Everything in one piece or two, if the whole message is in memory (messages up to about 1 MiB are).
    #[must_use]
    pub fn whole(&self) -> Option<[&[u8]; 2]> {
        match &self.body {
            Body::Whole(part) => {
                let body = part.get().get(usize::try_from(self.replaces).ok()?..).unwrap_or_default();
                Some([self.prefix.get(), body])
            }
            Body::File { .. } => None,
        }
    }

    /// The header with the empty line that ends it; everything if there is none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn header(&self) -> Result<Vec<u8>, ReadError> {
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let mut octets = vec![0; usize::try_from(self.header_len()?).map_err(too_large)?];
        let read = self.read_at(0, &mut octets)?;
        octets.truncate(read);
        Ok(octets)
    }

    /// How many octets the header has, with the empty line that ends it. Lines may end with LF alone: what is appended
    /// is kept as it came, and its structure is read the same way.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn header_len(&self) -> Result<u64, ReadError> {
        let mut scan = HeaderEnd::default();
        if let Some(pieces) = self.whole() {
            let end = pieces.into_iter().find_map(|piece| scan.look(piece));
            return Ok(end.unwrap_or_else(|| self.len()));
        }
        let mut piece = vec![0; 8 * 1024];
        loop {
            let n = self.read_at(scan.seen, &mut piece)?;
            if let Some(end) = scan.look(piece.get(..n).unwrap_or_default()) {
                return Ok(end);
            }
            if n < piece.len() {
                return Ok(self.len());
            }
        }
    }

    /// All octets.
    pub fn to_vec(&self) -> Result<Vec<u8>, ReadError> {
        if let Some([prefix, body]) = self.whole() {
            return Ok([prefix, body].concat());
        }
        let length = usize::try_from(self.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut octets = vec![0; length];
        let read = self.read_at(0, &mut octets)?;
        octets.truncate(read);
        Ok(octets)
    }
}

/// Looks for the empty line that ends a header, in pieces of any size.
#[derive(Default)]
struct HeaderEnd {
    /// Octets seen.
    seen: u64,
    /// What the line at hand is made of so far.
    line: Line,
}

#[derive(Clone, Copy, Default)]
enum Line {
    #[default]
    Nothing,
    Cr,
    More,
}

impl HeaderEnd {
    /// Where the header ends, if it does in this piece.
    fn look(&mut self, piece: &[u8]) -> Option<u64> {
        let mut at = 0;
        while let Some(&octet) = piece.get(at) {
            match (self.line, octet) {
                (Line::Nothing | Line::Cr, b'\n') => return Some(self.seen + at as u64 + 1),
                (Line::Nothing, b'\r') => self.line = Line::Cr,
                (Line::Nothing | Line::Cr, _) => self.line = Line::More,
                (Line::More, _) => {
                    match piece.get(at..).and_then(|rest| rest.iter().position(|&o| o == b'\n')) {
                        Some(lf) => {
                            at += lf;
                            self.line = Line::Nothing;
                        }
                        None => break,
                    }
                }
            }
            at += 1;
        }
        self.seen += piece.len() as u64;
        None
    }
}

impl Octets for Message {
    fn len(&self) -> u64 {
        Message::len(self)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        Message::read_at(self, offset, buf)
    }
    fn whole(&self) -> Option<[&[u8]; 2]> {
        Message::whole(self)
    }
}

/// Where a row's octets probably lie: the body right before its delivery. `None` if they are not there any more.
fn stretch(from: &Opened, row: &Row) -> Option<(u64, u64)> {
    let delivery = from.place(row.content.ordinal)?;
    let table = u64::from(row.size).div_ceil(PIECE as u64) * 4;
    let before = if u64::from(row.size) <= WHOLE { u64::from(row.size) + table + AROUND / 4 } else { 0 };
    Some((delivery.saturating_sub(before), delivery + AROUND))
}

/// A message's octets, as far as they are not in `window` read now.
fn message(files: &Files, row: &Row, window: &Window) -> Result<Message, ReadError> {
    let blame = |segment: u32| move |error: &ReadError| files.blame(segment, error);
    let (prefix, replaces, body) = delivery(row, window).inspect_err(blame(row.content.segment))?;
    let body = body_of(files, body, window).inspect_err(blame(body.segment))?;
    let message = Message { prefix, replaces: u64::from(replaces), body };
    if message.len() != u64::from(row.size) {
        return Err(ReadError::Damaged(row.content)).inspect_err(blame(row.content.segment));
    }
    Ok(message)
}

/// What a delivery says: the prefix, what it stands for, and where the body is.
fn delivery(row: &Row, window: &Window) -> Result<(Part, u32, Location), ReadError> {
    let damaged = || ReadError::Damaged(row.content);
    let at = window.from.place(row.content.ordinal).ok_or_else(damaged)?;
    // The delivery, from the window if it is whole there.
    let header = window.at(at).and_then(Header::read).ok_or_else(damaged)?;
    let own;
    let around = match window.part(at, header.data_at()) {
        Some(_) => window,
        None => {
            own = Window::read(window.from.clone(), window.segment, at, at + header.data_at())?;
            &own
        }
    };
    let meta = around.at(at).and_then(|octets| header.meta(octets)).ok_or_else(damaged)?;
    let (body, replaces, prefix) = record::read_placement(header.kind, meta).ok_or_else(damaged)?;
    // The prefix is the last field.
    let prefix_at = at + (HEADER + meta.len() - prefix.len()) as u64;
    let prefix = around.part(prefix_at, prefix.len() as u64).ok_or_else(damaged)?;
    Ok((prefix, replaces, body))
}

fn body_of(files: &Files, body: Location, window: &Window) -> Result<Body, ReadError> {
    if body.segment == window.segment {
        body_in_main(files, window, body)
    } else if files.is_main(body.segment) {
        let from = files.file(body.segment)?;
        let start = from.place(body.ordinal).ok_or(ReadError::Damaged(body))?;
        let around = Window::around(from, body.segment, start)?;
        body_in_main(files, &around, body)
    } else {
        let file = files.file(body.segment)?.file;
        let opened = side::open(&*file, body.segment)?.ok_or(ReadError::Damaged(body))?;
        let (octets, crcs) = opened;
        Ok(Body::File {
            file,
            at: body,
            data: side::DATA_AT,
            octets,
            crcs,
            last: Mutex::default(),
            sabotage: files.sabotage,
            blame: Blame::of(files, body.segment),
        })
    }
}

fn body_in_main(files: &Files, window: &Window, body: Location) -> Result<Body, ReadError> {
    let sabotage = files.sabotage;
    let damaged = || ReadError::Damaged(body);
    let at = window.from.place(body.ordinal).ok_or_else(damaged)?;
    let own;
    let mut near = window;
    if window.at(at).is_none_or(|octets| octets.len() < HEADER) {
        own = Window::around(window.from.clone(), window.segment, at)?;
        near = &own;
    }
    let header = near.at(at).and_then(Header::read).ok_or_else(damaged)?;
    if header.kind != kind::BODY {
        return Err(damaged());
    }
    let octets = u64::from(header.data_len);
    let whole;
    let near = if near.part(at, header.data_at()).is_none()
        || (octets <= WHOLE && near.part(at, header.total()).is_none())
    {
        let end = if octets <= WHOLE { header.total() } else { header.data_at() };
        whole = Window::read(near.from.clone(), near.segment, at, at + end)?;
        &whole
    } else {
        near
    };
    let meta = near.at(at).and_then(|octets| header.meta(octets)).ok_or_else(damaged)?;
    let crcs = record::body_crcs(meta, octets).ok_or_else(damaged)?;
    let data = at + header.data_at();
    match near.part(data, octets) {
        Some(part) => {
            let mut pieces = part.get().chunks(PIECE).zip(crcs);
            if pieces.all(|(piece, crc)| sound(sabotage, piece, Some(crc))) {
                Ok(Body::Whole(part))
            } else {
                Err(damaged())
            }
        }
        None => Ok(Body::File {
            file: near.from.file.clone(),
            at: body,
            data,
            octets,
            crcs,
            last: Mutex::default(),
            sabotage,
            blame: Blame::of(files, body.segment),
        }),
    }
}

/// Whether octets are what their CRC says.
fn sound(sabotage: Sabotage, octets: &[u8], crc: Option<u32>) -> bool {
    crc == Some(crc32c::crc32c(octets)) || sabotage.no_crc()
}

/// Where a row's body is, as its delivery says.
pub(crate) fn body_location(files: &Files, row: &Row) -> Option<Location> {
    let from = files.file(row.content.segment).ok()?;
    let (start, end) = stretch(&from, row)?;
    let window = Window::read(from, row.content.segment, start, end).ok()?;
    delivery(row, &window).ok().map(|(_, _, body)| body)
}

/// One message.
pub(crate) fn read(files: &Files, row: &Row) -> Result<Message, ReadError> {
    let segment = row.content.segment;
    let from = files.file(segment)?;
    let (start, end) = stretch(&from, row).ok_or(ReadError::Damaged(row.content))?;
    match Window::read(from.clone(), segment, start, end) {
        Ok(window) => message(files, row, &window),
        Err(error) => {
            // Only what is needed: the disk may have failed at what lies beside it. That is told, too.
            let read = narrowly(files, from, row)?;
            files.blame(segment, &ReadError::Io(error));
            Ok(read)
        }
    }
}

/// One message, and nothing around it.
fn narrowly(files: &Files, from: Opened, row: &Row) -> Result<Message, ReadError> {
    let segment = row.content.segment;
    let at = from.place(row.content.ordinal).ok_or(ReadError::Damaged(row.content))?;
    let window = Window::around(from, segment, at)
        .map_err(ReadError::Io)
        .inspect_err(|error| files.blame(segment, error))?;
    message(files, row, &window)
}

/// Messages one after another, neighbours read together. See [`crate::Store::messages`].
#[derive(Debug)]
pub struct Messages<'a> {
    files: &'a Files,
    rows: &'a [Row],
    window: Option<Window>,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(files: &'a Files, rows: &'a [Row]) -> Messages<'a> {
        Messages { files, rows, window: None }
    }

    fn one(&mut self, row: &Row) -> Result<Message, ReadError> {
        let segment = row.content.segment;
        let from = match &self.window {
            Some(window) if window.segment == segment => window.from.clone(),
            _ => self.files.file(segment)?,
        };
        let (start, end) = stretch(&from, row).ok_or(ReadError::Damaged(row.content))?;
        if let Some(window) = &self.window
            && window.segment == segment
            && window.start <= start
            && end <= window.start + window.buffer.len() as u64
        {
            return message(self.files, row, window);
        }
        // As many of the following as lie behind this one, close by.
        let mut until = end;
        for next in self.rows.iter().take_while(|next| next.content.segment == segment) {
            let Some((next_start, to)) = stretch(&from, next) else { break };
            let near = next_start >= start && next_start <= until + AROUND;
            if !near || to.max(until) - start > TOGETHER {
                break;
            }
            until = until.max(to);
        }
        // Where the disk does not give so much, each is read alone.
        let Ok(window) = Window::read(from, segment, start, until) else { return read(self.files, row) };
        let message = message(self.files, row, &window);
        self.window = Some(window);
        message
    }
}

impl Iterator for Messages<'_> {
    type Item = (Row, Result<Message, ReadError>);
    fn next(&mut self) -> Option<Self::Item> {
        let (row, rest) = self.rows.split_first()?;
        self.rows = rest;
        Some((*row, self.one(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_header_ends() {
        for (message, end) in [
            (&b"A: b\r\n\r\nbody"[..], Some(8)),
            (b"A: b\n\nbody\r\n\r\n", Some(6)),
            (b"A: b\n\r\nbody", Some(7)),
            (b"A: b\r\n\nbody", Some(7)),
            (b"\r\nbody", Some(2)),
            (b"\nbody", Some(1)),
            (b"A: b\r\n \r\n\r\r\n\r\n", Some(14)),
            (b"A: b\r\nC: d\r\n", None),
            (b"A\r", None),
            (b"", None),
        ] {
            for cut in 0..=message.len() {
                let mut scan = HeaderEnd::default();
                let (first, second) = message.split_at(cut);
                assert_eq!(scan.look(first).or_else(|| scan.look(second)), end, "{message:?} cut at {cut}");
            }
        }
    }
}
