//! Reads mbox files of every dialect, a message at a time, and writes mboxrd (RFC 4155 app. A names them).
//!
//! A message ends where a From_ line stands behind an empty line: `From ` in text is none (see `fields::from_line`); one
//! whose date is impossible or odd counts when the header of a message that was sent follows. In
//! mboxcl and mboxcl2 it ends where its Content-Length says, if a From_ line or the end of the file is there. `>From ` is
//! unquoted, but in messages whose Content-Length was right and that have `From ` unquoted (mboxcl2).
//!
//! Our own mboxes begin each message with the three fields of `fields::OWN`, so that everything below is the message; one
//! that does not survive a change of its line ends stands there as it is, its length given.

use std::io::{self, Read};

use memchr::{memchr, memmem};
use store::InternalDate;
use wire::flag::FlagNames;
use wire::limits;

use super::fields::{self, FromLine, Said, from_line, is_field, is_header};
use super::lines::{is_canonical, push_line};

/// Octets read at once.
const STEP: usize = 256 * 1024;
/// Octets of a line that are looked at together; longer lines go by in pieces.
const PIECE: usize = 64 * 1024;

/// A message of a mbox, beside its octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// The From_ line's date, unless it is none (1970).
    pub date: Option<InternalDate>,
    /// What the fields of mail programs said.
    pub said: Said,
    /// How many octets it has; more than were kept when it is larger than any message may be.
    pub length: u64,
}

impl Entry {
    /// Whether it is larger than any message may be; then only its beginning was kept.
    pub(super) fn is_too_large(&self) -> bool {
        self.length > limits::STORED_MESSAGE
    }
}

/// A mbox that is being read.
pub(super) struct Mbox<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where in the buffer the next octet is.
    at: usize,
    ended: bool,
    /// Content-Length fields that were wrong.
    wrong: u32,
}

/// How a message's body is cut out.
enum Extent {
    /// Up to the next From_ line.
    UpToFrom,
    /// So many octets of the file.
    Octets(usize),
}

impl<R: Read> Mbox<R> {
    /// From the beginning of a file.
    pub(super) fn new(input: R) -> Mbox<R> {
        Mbox { input, buffer: Vec::new(), at: 0, ended: false, wrong: 0 }
    }

    /// Whether the file begins as a mbox does, after empty lines. An empty file is an empty mbox.
    pub(super) fn begins_well(&mut self) -> io::Result<bool> {
        self.skip_empty_lines()?;
        self.need(limits::MBOX_FROM + PIECE)?;
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(true);
        }
        let (first, after) = rest.split_at(memchr(b'\n', rest).map_or(rest.len(), |at| at + 1));
        let first = without_end(first);
        if matches!(from_line(first), Some(FromLine::Dated(_) | FromLine::Bare)) {
            return Ok(true);
        }
        // At the very beginning a From_ line without a date is believed, when a header follows.
        Ok(first.starts_with(b"From ") && first.len() <= limits::MBOX_FROM && is_field(first_line(after)))
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Reads on until so many octets are there, or the file ends.
    fn need(&mut self, octets: usize) -> io::Result<()> {
        while self.rest().len() < octets && !self.ended {
            if self.at >= STEP {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            let read = (&mut self.input).take(STEP as u64).read_to_end(&mut self.buffer)?;
            self.ended = read < STEP;
        }
        if self.buffer.capacity() > 8 * STEP && self.rest().len() < STEP && self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.shrink_to(2 * STEP);
        }
        Ok(())
    }

    /// The next piece of a line, its LF included, at most [`PIECE`] octets long.
    fn piece(&mut self) -> io::Result<std::ops::Range<usize>> {
        if memchr(b'\n', self.rest()).is_none() {
            self.need(PIECE)?;
        }
        let rest = self.rest();
        let window = rest.get(..PIECE).unwrap_or(rest);
        let length = memchr(b'\n', window).map_or(window.len(), |at| at + 1);
        // A CR at the end of a piece may belong to an LF of the next.
        let cut = length == PIECE && window.ends_with(b"\r");
        Ok(self.at..self.at + length - usize::from(cut))
    }

    fn skip_empty_lines(&mut self) -> io::Result<()> {
        loop {
            self.need(2)?;
            match self.rest() {
                [b'\n', ..] => self.at += 1,
                [b'\r', b'\n', ..] => self.at += 2,
                _ => return Ok(()),
            }
        }
    }

    /// Whether the line at hand begins the next message.
    fn is_next(&mut self, line: &[u8], after_empty: bool, line_length: usize) -> io::Result<bool> {
        let Some(from) = from_line(line) else { return Ok(false) };
        if after_empty && matches!(from, FromLine::Dated(_)) {
            return Ok(true);
        }
        self.need(line_length + PIECE)?;
        let rest = self.rest().get(line_length..).unwrap_or_default();
        if from == FromLine::Odd {
            // Only a whole header says that it is none of the text.
            let window = rest.get(..PIECE).unwrap_or(rest);
            return Ok(after_empty && is_header(window));
        }
        Ok(is_field(first_line(rest)))
    }

    /// The next message, its octets with CRLF put into `out`; `None` at the end.
    ///
    /// # Errors
    /// What reading the file gave.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Option<Entry>> {
        out.clear();
        out.shrink_to(8 * STEP);
        self.skip_empty_lines()?;
        let first = self.piece()?;
        if first.is_empty() {
            return Ok(None);
        }
        let mut entry = Entry::default();
        let line = without_end(self.buffer.get(first.clone()).unwrap_or_default());
        if let Some(FromLine::Dated(date)) = from_line(line) {
            // Old Thunderbirds write the first of January 1970 when they do not know.
            entry.date = Some(date).filter(|d| d.unix >= 86_400);
        }
        // What does not begin so belongs to no message: the one before said a wrong length. It is kept as one of its own.
        if line.starts_with(b"From ") {
            self.at = first.end;
        }
        self.need(PIECE)?;
        if let Some((said, length, used)) = own_fields(self.rest()) {
            self.at += used;
            entry.said = said;
            match length {
                Some(length) => self.verbatim(length, out, &mut entry)?,
                None => {
                    self.take(Extent::UpToFrom, false, out, &mut entry)?;
                    drop_empty_line(out, &mut entry);
                }
            }
            return Ok(Some(entry));
        }
        let right = self.foreign(out, &mut entry)?;
        if !entry.is_too_large() {
            entry.said = fields::strip(out, right);
            entry.length = out.len() as u64;
        }
        Ok(Some(entry))
    }

    /// A message of some other program's. Whether its Content-Length was right.
    fn foreign(&mut self, out: &mut Vec<u8>, entry: &mut Entry) -> io::Result<bool> {
        let header = self.header_end()?;
        let length = header.and_then(|end| content_length(self.rest().get(..end)?));
        if let (Some(end), Some(length), true) = (header, length, self.wrong < limits::MBOX_WRONG_LENGTHS) {
            if self.is_right(end + length)? {
                let body = self.rest().get(end..end + length).unwrap_or_default();
                let bare = body.starts_with(b"From ") || memmem::find(body, b"\nFrom ").is_some();
                self.take(Extent::Octets(end + length), bare, out, entry)?;
                return Ok(true);
            }
            self.wrong += 1;
        }
        self.take(Extent::UpToFrom, false, out, entry)?;
        drop_empty_line(out, entry);
        Ok(false)
    }

    /// Where the header at hand ends, its empty line included.
    fn header_end(&mut self) -> io::Result<Option<usize>> {
        self.need(PIECE)?;
        let rest = self.rest();
        let window = rest.get(..limits::HEADER).unwrap_or(rest);
        Ok(memchr::memchr_iter(b'\n', window).find_map(|at| match window.get(at + 1..) {
            Some([b'\n', ..]) => Some(at + 2),
            Some([b'\r', b'\n', ..]) => Some(at + 3),
            _ => None,
        }))
    }

    /// Whether a message ends behind so many octets: a From_ line or the end of the file is there.
    fn is_right(&mut self, octets: usize) -> io::Result<bool> {
        self.need(octets.saturating_add(limits::MBOX_FROM + PIECE))?;
        let Some(mut rest) = self.rest().get(octets..) else { return Ok(false) };
        let mut lines = 0;
        while let Some(after) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = after;
            lines += 1;
        }
        // Somewhere inside a line is no end of a message.
        let ended = self.rest().get(..octets).is_some_and(|m| m.ends_with(b"\n"));
        Ok(rest.is_empty() || ((lines > 0 || ended) && from_line(without_end(first_line(rest))).is_some()))
    }

    /// Takes a message's lines. `bare`: nothing in it was quoted.
    fn take(&mut self, extent: Extent, bare: bool, out: &mut Vec<u8>, entry: &mut Entry) -> io::Result<()> {
        let mut left = match extent {
            Extent::Octets(octets) => Some(octets),
            Extent::UpToFrom => None,
        };
        let (mut begins, mut after_empty) = (true, true);
        loop {
            let mut range = self.piece()?;
            if let Some(left) = left {
                range.end = range.end.min(range.start.saturating_add(left));
            }
            if range.is_empty() {
                return Ok(());
            }
            let ends = self.buffer.get(range.end - 1) == Some(&b'\n');
            let length = range.len();
            let line = self.buffer.get(range.clone()).unwrap_or_default();
            let mut skip = 0;
            if begins && matches!(line.first(), Some(b'F' | b'>')) {
                if !bare && is_quoted_from(line) {
                    skip = 1;
                } else if left.is_none() && line.starts_with(b"From ") {
                    let candidate = without_end(line).to_vec();
                    if self.is_next(&candidate, after_empty, length)? {
                        return Ok(());
                    }
                }
            }
            // What was read meanwhile may have moved the octets.
            let line = self.buffer.get(self.at + skip..self.at + length).unwrap_or_default();
            let is_empty = begins && matches!(line, b"\n" | b"\r\n");
            keep(line, ends, out, entry);
            self.at += length;
            left = left.map(|left| left - length);
            (begins, after_empty) = (ends, is_empty);
        }
    }

    /// Takes a message that stands in the file as it is, but for the quoting of From_ lines.
    fn verbatim(&mut self, length: usize, out: &mut Vec<u8>, entry: &mut Entry) -> io::Result<()> {
        self.need(length)?;
        let rest = self.rest();
        let octets = rest.get(..length).unwrap_or(rest);
        let mut line = octets;
        while !line.is_empty() {
            let end = memchr(b'\n', line).map_or(line.len(), |at| at + 1);
            let (one, after) = line.split_at(end);
            out.extend_from_slice(one.get(usize::from(is_quoted_from(one))..).unwrap_or_default());
            line = after;
        }
        entry.length = out.len() as u64;
        self.at += octets.len();
        Ok(())
    }
}

/// Appends a line, or a piece of one, unless the message is too large already.
fn keep(line: &[u8], ends: bool, out: &mut Vec<u8>, entry: &mut Entry) {
    let before = out.len();
    match line.strip_suffix(b"\n").filter(|_| ends) {
        Some(line) => push_line(line, out),
        None => out.extend_from_slice(line),
    }
    entry.length += (out.len() - before) as u64;
    if entry.is_too_large() {
        // Its beginning is enough to tell which it is.
        out.truncate(before.min(PIECE));
    }
}

/// The empty line before the next From_ line belongs to neither message.
fn drop_empty_line(out: &mut Vec<u8>, entry: &mut Entry) {
    if out == b"\r\n" || out.ends_with(b"\r\n\r\n") {
        out.truncate(out.len() - 2);
        entry.length -= 2;
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn first_line(octets: &[u8]) -> &[u8] {
    memchr(b'\n', octets).and_then(|at| octets.get(..at)).unwrap_or(octets)
}

/// `>From `, with any number of `>`.
fn is_quoted_from(line: &[u8]) -> bool {
    let marks = line.iter().take_while(|b| **b == b'>').count();
    marks > 0 && line.get(marks..).is_some_and(|rest| rest.starts_with(b"From "))
}

fn content_length(header: &[u8]) -> Option<usize> {
    let value = crate::mime::header::find(header, "content-length")?;
    let value = std::str::from_utf8(value.trim_ascii()).ok()?;
    let length: usize = value.parse().ok()?;
    (length as u64 <= limits::STORED_MESSAGE).then_some(length)
}

/// Our own fields at the beginning of a message: what they say, the length if it stands there as it is, and their octets.
fn own_fields(octets: &[u8]) -> Option<(Said, Option<usize>, usize)> {
    let mut said = Said::default();
    let mut used = 0;
    let mut line = |name: &str| {
        let rest = octets.get(used..)?;
        let end = memchr(b'\n', rest)?;
        let value = rest.get(..end)?.strip_prefix(name.as_bytes())?.strip_prefix(b": ")?;
        used += end + 1;
        Some(value)
    };
    for name in fields::OWN {
        let value = line(name)?;
        said.hear(name.as_bytes(), value);
    }
    // The message is quoted: its octets may be more than those of any message, but not twice as many.
    let length = line(fields::VERBATIM)
        .and_then(|value| std::str::from_utf8(value.trim_ascii()).ok()?.parse::<usize>().ok())
        .filter(|length| *length as u64 <= 2 * limits::STORED_MESSAGE);
    Some((said, length, used))
}

/// Appends a message in the form of mboxrd, with our own fields before it.
pub(super) fn write(message: &[u8], flags: &FlagNames, date: InternalDate, out: &mut Vec<u8>) {
    fields::write_from_line(date, out);
    fields::write_own(flags, out);
    // What begins as our own field would be taken for it.
    let canonical = is_canonical(message) && !message.starts_with(fields::VERBATIM.as_bytes());
    let mut quoted = Vec::new();
    let to = if canonical { &mut *out } else { &mut quoted };
    let mut rest = message;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        if line.starts_with(b"From ") || is_quoted_from(line) {
            to.push(b'>');
        }
        match line.strip_suffix(b"\r\n").filter(|_| canonical) {
            Some(text) => {
                to.extend_from_slice(text);
                to.push(b'\n');
            }
            None => to.extend_from_slice(line),
        }
        rest = after;
    }
    if !canonical {
        out.extend_from_slice(format!("{}: {}\n", fields::VERBATIM, quoted.len()).as_bytes());
        out.extend_from_slice(&quoted);
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
#[path = "tests/mbox.rs"]
mod tests;
