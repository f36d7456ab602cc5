//! One pass over a message: where its parts are and what their headers say.
//!
//! Octets come in pieces of any size and are not kept: a message of 50 MB needs what its headers need. The time is
//! linear, whatever the message: nesting stops at `MIME_DEPTH`, parts at `MIME_PARTS`, and the octets of all headers
//! that are looked into are bounded.
//!
//! RFC 2045 s.5.2 (defaults), RFC 2046 s.5.1 (multiparts), s.5.1.5 (digests), s.5.2.1 (messages). A delimiter is a
//! line of its own, white space allowed at its end. Inner boundaries win over outer ones.

use std::ops::Range;

use wire::limits::{HEADER, MIME_DEPTH, MIME_PARTS};

use super::field::{media_type, parametrised};
use super::header::{self, is_blank};

/// Octets of a line that are looked at in search of a delimiter. RFC 2046 s.5.1.1 allows boundaries of 70.
const LINE: usize = 512;
/// Octets of the headers of one message, its parts included, that are looked into.
const HEADERS: usize = 2 * HEADER;

/// What a part is called that has parts which are not looked into.
const OPAQUE: Option<(&str, &str)> = Some(("application", "octet-stream"));

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Octets that are not looked into.
    Leaf,
    /// `multipart/*` with parts.
    Multipart,
    /// `message/rfc822`: one child, the message in it.
    Message,
}

/// One entity of the message, in the order in which they begin.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) header: Range<u64>,
    pub(super) body: Range<u64>,
    /// LFs in the body.
    pub(super) lines: u64,
    pub(super) kind: Kind,
    pub(super) children: usize,
    /// What the header says.
    pub(super) facts: Facts,
}

/// What is kept of an entity's header, for the digest to write.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The header section as far as it is looked into.
    pub(super) section: Vec<u8>,
    /// Whether a message begins here: it has an envelope.
    pub(super) message: bool,
    /// The type when Content-Type does not say it, or may not say it.
    pub(super) default: Option<(&'static str, &'static str)>,
}

/// An entity whose end has not been seen.
struct Open {
    node: usize,
    /// LFs before its body.
    lines_before: u64,
    /// For a multipart whose closing delimiter has not been seen.
    boundary: Option<Vec<u8>>,
    /// RFC 2046 s.5.1.5: parts are messages unless they say otherwise.
    digest: bool,
}

/// Finds the parts of a message.
pub(super) struct Walker {
    nodes: Vec<Node>,
    open: Vec<Open>,
    in_header: bool,
    /// The header being read.
    section: Vec<u8>,
    budget: usize,
    /// Octets and LFs seen in whole lines.
    at: u64,
    lines: u64,
    /// The beginning of a line that is not whole yet, and how long the line is so far.
    line: Vec<u8>,
    line_len: u64,
    /// The last octet of such a line so far.
    last: u8,
    /// How the line before ended: the line end before a delimiter belongs to it.
    previous_end: u64,
}

impl Walker {
    pub(super) fn new() -> Walker {
        let mut walker = Walker {
            nodes: Vec::new(),
            open: Vec::new(),
            in_header: true,
            section: Vec::new(),
            budget: HEADERS,
            at: 0,
            lines: 0,
            line: Vec::new(),
            line_len: 0,
            last: 0,
            previous_end: 0,
        };
        walker.begin(0, true, None);
        walker
    }

    /// The next octets of the message.
    pub(super) fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            if !self.in_header && self.line_len == 0 {
                rest = self.skip_lines(rest);
                if rest.is_empty() {
                    return;
                }
            }
            let len = memchr::memchr(b'\n', rest).map(|i| i + 1);
            let (piece, behind) = rest.split_at(len.unwrap_or(rest.len()));
            rest = behind;
            if self.in_header {
                let room = self.budget.min(HEADER).saturating_sub(self.section.len());
                self.section.extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
            if len.is_some() && self.line.is_empty() {
                self.line_len += piece.len() as u64;
                self.whole_line(piece);
            } else {
                let room = LINE.saturating_sub(self.line.len());
                self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
                self.line_len += piece.len() as u64;
                let before = std::mem::replace(&mut self.last, piece.last().copied().unwrap_or(0));
                if len.is_some() {
                    let mut line = std::mem::take(&mut self.line);
                    if self.line_len > line.len() as u64 {
                        // How it ends matters even of a line that is cut.
                        let cr = piece.ends_with(b"\r\n") || piece == b"\n" && before == b'\r';
                        line.extend_from_slice(if cr { b"\r\n" } else { b"\n" });
                    }
                    self.whole_line(&line);
                    line.clear();
                    self.line = line;
                }
            }
        }
    }

    /// Passes over whole lines of a body that cannot be delimiters, as fast as memory allows.
    fn skip_lines<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let mut done = 0;
        if self.open.iter().all(|o| o.boundary.is_none()) {
            // Nothing but the end of the message can end this body.
            let Some(last) = memchr::memrchr(b'\n', octets) else { return octets };
            done = last + 1;
            let (lines, _) = octets.split_at(done);
            self.lines += memchr::memchr_iter(b'\n', lines).count() as u64;
            self.previous_end = line_end_len(lines);
        } else {
            for end in memchr::memchr_iter(b'\n', octets) {
                let line = octets.get(done..=end).unwrap_or_default();
                if line.starts_with(b"--") {
                    break;
                }
                done = end + 1;
                self.lines += 1;
                self.previous_end = line_end_len(line);
            }
        }
        self.at += done as u64;
        octets.get(done..).unwrap_or_default()
    }

    /// A line with its end, or the last of the message without one; cut if it is long.
    fn whole_line(&mut self, line: &[u8]) {
        let start = self.at;
        let delimiter = if line.starts_with(b"--") { self.delimiter(line) } else { None };
        if let Some((depth, last)) = delimiter {
            self.at_delimiter(depth, last, start, start + self.line_len, line.ends_with(b"\n"));
        } else {
            self.at = start + self.line_len;
            self.lines += u64::from(line.ends_with(b"\n"));
            if self.in_header && is_blank(line) {
                self.header_done(self.at);
            }
        }
        self.previous_end = line_end_len(line);
        self.line_len = 0;
    }

    /// Which open multipart a line is the delimiter of, innermost first, and whether it is the closing one.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--")?.trim_ascii_end();
        let is = |boundary: &[u8]| match text.strip_prefix(boundary) {
            Some(b"") => Some(false),
            Some(b"--") => Some(true),
            _ => None,
        };
        let mut deepest_first = self.open.iter().enumerate().rev();
        deepest_first.find_map(|(depth, open)| Some((depth, is(open.boundary.as_deref()?)?)))
    }

    fn at_delimiter(&mut self, depth: usize, last: bool, start: u64, end: u64, has_lf: bool) {
        // A part without a blank line ends with its header.
        while self.in_header {
            self.header_done(start);
        }
        let (end_of_part, lines) = (start - self.previous_end, self.lines - u64::from(self.previous_end > 0));
        while self.open.len() > depth + 1 {
            self.close(end_of_part, lines);
        }
        self.at = end;
        self.lines += u64::from(has_lf);
        let Some(parent) = self.open.last_mut() else { return };
        if last {
            parent.boundary = None;
        } else if self.nodes.len() < MIME_PARTS {
            let (node, digest) = (parent.node, parent.digest);
            if let Some(node) = self.nodes.get_mut(node) {
                node.children += 1;
            }
            self.begin(end, false, digest.then_some(("message", "rfc822")));
        }
    }

    /// A new entity whose header begins at `at`.
    fn begin(&mut self, at: u64, message: bool, default: Option<(&'static str, &'static str)>) {
        self.open.push(Open { node: self.nodes.len(), lines_before: 0, boundary: None, digest: false });
        self.nodes.push(Node {
            header: at..at,
            body: at..at,
            lines: 0,
            kind: Kind::Leaf,
            children: 0,
            facts: Facts { section: Vec::new(), message, default },
        });
        self.in_header = true;
        self.section.clear();
    }

    /// The innermost entity's header ends at `at`, where its body begins.
    fn header_done(&mut self, at: u64) {
        let depth = self.open.len();
        let room = self.nodes.len() < MIME_PARTS;
        self.in_header = false;
        let section = std::mem::take(&mut self.section);
        self.budget = self.budget.saturating_sub(section.len());
        let Some(open) = self.open.last_mut() else { return };
        let Some(node) = self.nodes.get_mut(open.node) else { return };
        open.lines_before = self.lines;
        node.header.end = at;
        node.body = at..at;
        let content_type = header::find(&section, "Content-Type").map(parametrised).unwrap_or_default();
        let (kind, sub) = match (media_type(&content_type.value), node.facts.default) {
            (Some(said), _) => said,
            (None, Some((kind, sub))) => (kind.as_bytes(), sub.as_bytes()),
            (None, None) => (&b"text"[..], &b"plain"[..]),
        };
        // What is not opened must not say that it has parts: a client would ask for them.
        let mut opaque = false;
        if kind.eq_ignore_ascii_case(b"multipart") {
            let boundary = content_type.param("boundary").map(<[u8]>::trim_ascii_end);
            match boundary {
                Some(boundary) if !boundary.is_empty() && boundary.len() < LINE - 8 => {
                    opaque = depth > MIME_DEPTH || !room;
                    open.boundary = (!opaque).then(|| boundary.to_vec());
                    open.digest = sub.eq_ignore_ascii_case(b"digest");
                    node.kind = if opaque { Kind::Leaf } else { Kind::Multipart };
                }
                // RFC 2045 s.5.2: what cannot be understood is plain text.
                _ => node.facts.default = Some(("text", "plain")),
            }
        } else if kind.eq_ignore_ascii_case(b"message") && sub.eq_ignore_ascii_case(b"rfc822") {
            opaque = depth > MIME_DEPTH || !room;
            node.kind = if opaque { Kind::Leaf } else { Kind::Message };
        }
        if opaque {
            node.facts.default = OPAQUE;
        } else if media_type(&content_type.value).is_some() && node.facts.default != Some(("text", "plain")) {
            node.facts.default = None;
        }
        let embedded = node.kind == Kind::Message;
        node.children = usize::from(embedded);
        node.facts.section = section;
        if embedded {
            self.begin(at, true, None);
        }
    }

    /// The innermost entity ends at `end`, with `lines` LFs before it.
    fn close(&mut self, end: u64, lines: u64) {
        let Some(open) = self.open.pop() else { return };
        let Some(node) = self.nodes.get_mut(open.node) else { return };
        // A body that is empty ends where it begins, though the line end before the delimiter lies before that.
        node.body.end = end.max(node.body.start);
        node.lines = lines.saturating_sub(open.lines_before);
        if node.kind == Kind::Multipart && node.children == 0 {
            // It says that it has parts and has none: people should at least see its text.
            node.kind = Kind::Leaf;
            node.facts.default = Some(("text", "plain"));
        }
    }

    /// The message has ended: whether the fields of all headers are ASCII, and there are no others.
    pub(super) fn headers_are_ascii(self) -> bool {
        let nodes = self.finish();
        let seen: usize = nodes.iter().map(|node| node.facts.section.len()).sum();
        let global = |node: &Node| {
            let field =
                header::find(&node.facts.section, "Content-Type").map(parametrised).unwrap_or_default();
            media_type(&field.value).is_some_and(|(kind, sub)| {
                kind.eq_ignore_ascii_case(b"message")
                    && sub.get(..6).is_some_and(|sub| sub.eq_ignore_ascii_case(b"global"))
            })
        };
        let all = nodes.len() < MIME_PARTS && seen < HEADERS;
        all && nodes.iter().all(|node| {
            let whole = node.facts.section.len() < HEADER && node.facts.default != OPAQUE;
            whole && node.facts.section.is_ascii() && !global(node)
        })
    }

    /// The message has ended: its entities, each before those in it.
    pub(super) fn finish(mut self) -> Vec<Node> {
        if self.line_len > 0 {
            let line = std::mem::take(&mut self.line);
            self.whole_line(&line);
        }
        // A message in a message may end before its header does; then what it holds is empty.
        while self.in_header {
            self.header_done(self.at);
        }
        let (at, lines) = (self.at, self.lines);
        while !self.open.is_empty() {
            self.close(at, lines);
        }
        self.nodes
    }
}

/// How many octets end a line: 0, 1 or 2.
fn line_end_len(line: &[u8]) -> u64 {
    if line.ends_with(b"\r\n") { 2 } else { u64::from(line.ends_with(b"\n")) }
}
