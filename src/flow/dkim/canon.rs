//! Relaxed canonicalisation (RFC 6376 s.3.4.2, s.3.4.4): what survives the small changes that relays make.
//!
//! A body streams through: however large it is, a few kilobytes of it are in memory.

use aws_lc_rs::digest::{Context, SHA256};

use crate::flow::header;

/// SHA-256 of something.
pub type Hash = [u8; 32];

/// Octets collected before they are hashed.
const BUFFER: usize = 8 << 10;
/// A header as it came, and what this host has put before it.
const HEADER: usize = 2 * wire::limits::HEADER;

/// The hash of a body, which comes in pieces.
pub struct BodyHash {
    context: Context,
    buffer: Vec<u8>,
    /// Line ends that count only if something follows: empty lines at the end do not (s.3.4.4).
    line_ends: usize,
    /// White space that counts, as one space, only if something follows on its line.
    space: bool,
    /// A CR that may begin a line end.
    cr: bool,
    /// Whether anything counted yet.
    any: bool,
}

impl std::fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyHash").finish_non_exhaustive()
    }
}

impl Default for BodyHash {
    fn default() -> BodyHash {
        BodyHash {
            context: Context::new(&SHA256),
            buffer: Vec::with_capacity(BUFFER + 512),
            line_ends: 0,
            space: false,
            cr: false,
            any: false,
        }
    }
}

impl BodyHash {
    /// Takes the next octets of the body.
    pub fn push(&mut self, mut octets: &[u8]) {
        while let Some((&first, rest)) = octets.split_first() {
            if std::mem::take(&mut self.cr) {
                if first == b'\n' {
                    self.space = false;
                    self.line_ends += 1;
                    octets = rest;
                    continue;
                }
                // A CR by itself is an octet like others.
                self.text(b"\r");
            }
            match first {
                b' ' | b'\t' => self.space = true,
                b'\r' => self.cr = true,
                _ => {
                    let end = octets.iter().position(|b| matches!(b, b' ' | b'\t' | b'\r'));
                    let (run, after) = octets.split_at(end.unwrap_or(octets.len()));
                    self.text(run);
                    octets = after;
                    continue;
                }
            }
            octets = rest;
        }
    }

    /// Octets that count whatever follows.
    fn text(&mut self, mut octets: &[u8]) {
        self.any = true;
        for _ in 0..std::mem::take(&mut self.line_ends) {
            self.put(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            self.put(b" ");
        }
        while octets.len() > BUFFER {
            let (now, later) = octets.split_at(BUFFER);
            self.put(now);
            octets = later;
        }
        self.put(octets);
    }

    fn put(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= BUFFER {
            self.context.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The hash of all that came.
    #[must_use]
    pub fn finish(mut self) -> Hash {
        if std::mem::take(&mut self.cr) {
            self.text(b"\r");
        }
        if self.any {
            self.put(b"\r\n");
        }
        self.context.update(&self.buffer);
        sum(self.context)
    }
}

/// A whole message on its way to being signed: its header is kept, its body hashed.
#[derive(Debug, Default)]
pub struct Reading {
    header: Vec<u8>,
    in_body: bool,
    too_long: bool,
    body: BodyHash,
}

impl Reading {
    /// Takes the next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        if self.in_body {
            return self.body.push(octets);
        }
        if self.header.len() > HEADER {
            self.too_long = true;
            return;
        }
        let from = self.header.len().saturating_sub(3);
        self.header.extend_from_slice(octets);
        let end = match self.header.starts_with(b"\r\n") {
            true => Some((0, 2)),
            false => memchr::memmem::find(self.header.get(from..).unwrap_or_default(), b"\r\n\r\n")
                .map(|at| (from + at + 2, from + at + 4)),
        };
        if let Some((header, body)) = end {
            self.in_body = true;
            self.body.push(self.header.get(body..).unwrap_or_default());
            self.header.truncate(header);
        }
    }

    /// The header without its empty line, and the body's hash. Nothing if the header does not end where one should.
    #[must_use]
    pub fn finish(self) -> Option<(Vec<u8>, Hash)> {
        (!self.too_long).then(|| (self.header, self.body.finish()))
    }
}

/// The fields of a header.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    /// (name in small letters, the whole field with its CRLF).
    all: Vec<(String, &'a [u8])>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(header: &'a [u8]) -> Fields<'a> {
        let (places, _) = header::split(header);
        let field = |(start, name, end): (usize, usize, usize)| {
            let name = String::from_utf8_lossy(header.get(start..name)?).to_ascii_lowercase();
            Some((name, header.get(start..end)?))
        };
        Fields { all: places.into_iter().filter_map(field).collect() }
    }

    /// The fields of a name, the last one first: that is the order in which they are signed (s.5.4.2).
    pub(super) fn named<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'a [u8]> + 'f {
        self.all.iter().rev().filter(move |(of, _)| of == name).map(|(_, field)| *field)
    }
}

/// Writes a field as it is hashed (s.3.4.2): the name in small letters, white space of any kind and length as one space,
/// none at the ends and around the colon.
pub(super) fn relaxed_field(field: &[u8], out: &mut Vec<u8>) {
    let colon = memchr::memchr(b':', field).unwrap_or(field.len());
    let (name, value) = field.split_at(colon);
    out.extend(name.trim_ascii_end().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let mut space = false;
    let mut any = false;
    for &b in value.get(1..).unwrap_or_default() {
        match b {
            // Folding is taken back: its line end vanishes, its white space stays.
            b'\r' | b'\n' => {}
            b' ' | b'\t' => space = true,
            _ => {
                if std::mem::take(&mut space) && any {
                    out.push(b' ');
                }
                any = true;
                out.push(b);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn sum(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::digest;
    use proptest::prelude::*;

    fn hash(octets: &[u8]) -> Hash {
        digest(&SHA256, octets).as_ref().try_into().unwrap()
    }

    fn in_pieces(body: &[u8], piece: usize) -> Hash {
        let mut hash = BodyHash::default();
        body.chunks(piece).for_each(|octets| hash.push(octets));
        hash.finish()
    }

    #[test]
    fn bodies_by_the_words_of_the_rfc_however_they_are_cut() {
        let long = [vec![b'x'; 30_000], b"\r\n".to_vec()].concat();
        for (body, canonical) in [
            (&b""[..], &b""[..]),
            (b"\r\n", b""),
            (b"\r\n\r\n\r\n", b""),
            (b" \r\n\t\r\n", b""),
            (b"Hello", b"Hello\r\n"),
            (b"Hello\r\n", b"Hello\r\n"),
            (b"Hello \r\n\r\n\r\n", b"Hello\r\n"),
            (b"Hello\r\n \r\n", b"Hello\r\n"),
            (b"Hello\r\n\t\r\n\r\n", b"Hello\r\n"),
            (b"Hello\r\n\r\n  ", b"Hello\r\n"),
            (b"\r\n\r\nHello\r\n", b"\r\n\r\nHello\r\n"),
            // RFC 6376 s.3.4.5.
            (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
            (b"a\rb\r\n", b"a\rb\r\n"),
            (b"a\r\r\n", b"a\r\r\n"),
            (b"a\nb\r\n", b"a\nb\r\n"),
            (b"a \r", b"a \r\r\n"),
            (b"\xff\xfe \xfc\r\n", b"\xff\xfe \xfc\r\n"),
            (&long, &long),
        ] {
            for piece in [1, 2, 3, 7, 50_000] {
                let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
                assert_eq!(in_pieces(body, piece), hash(canonical), "{shown:?} by {piece}");
            }
        }
    }

    #[test]
    fn a_message_is_parted_where_its_empty_line_is() {
        for (message, header, body) in [
            (&b"A: b\r\n\r\nbody\r\n"[..], &b"A: b\r\n"[..], &b"body\r\n"[..]),
            (b"\r\nbody\r\n", b"", b"body\r\n"),
            (b"A: b\r\n\r\n", b"A: b\r\n", b""),
            (b"A: b\r\n", b"A: b\r\n", b""),
            (b"A: b\r\n\r\nx\r\n\r\ny\r\n", b"A: b\r\n", b"x\r\n\r\ny\r\n"),
        ] {
            for piece in 1..=message.len() {
                let mut reading = Reading::default();
                message.chunks(piece).for_each(|octets| reading.push(octets));
                assert_eq!(reading.finish(), Some((header.to_vec(), hash(body))), "{message:?} by {piece}");
            }
        }
    }

    #[test]
    fn what_has_no_end_of_its_header_is_not_kept() {
        let mut reading = Reading::default();
        for _ in 0..100 {
            reading.push(&vec![b'x'; HEADER / 10]);
        }
        assert!(reading.header.len() <= 2 * HEADER);
        assert_eq!(reading.finish(), None);
    }

    #[test]
    fn fields_by_the_words_of_the_rfc() {
        for (field, canonical) in [
            (&b"A: X\r\n"[..], &b"a:X\r\n"[..]),
            (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
            (b"Subject:\r\n \tfolded\r\n at once \r\n", b"subject:folded at once\r\n"),
            (b"Empty:\r\n", b"empty:\r\n"),
            (b"Empty: \t \r\n", b"empty:\r\n"),
            (b"Colon: a:b\r\n", b"colon:a:b\r\n"),
            (b"Raw: \xfc\r\n", b"raw:\xfc\r\n"),
        ] {
            let mut out = Vec::new();
            relaxed_field(field, &mut out);
            assert_eq!(out, canonical);
        }
    }

    proptest! {
        #[test]
        fn a_body_is_what_it_is_by_lines(body in "[ab \t\r\n]{0,40}", piece in 1usize..9) {
            // The rule once more, by lines: simple and slow.
            let lines = body.split("\r\n").map(|line| {
                let words: Vec<&str> = line.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
                let front = if line.starts_with([' ', '\t']) && !words.is_empty() { " " } else { "" };
                format!("{front}{}\r\n", words.join(" "))
            });
            let mut canonical: String = lines.collect();
            while canonical.ends_with("\r\n\r\n") {
                canonical.truncate(canonical.len() - 2);
            }
            let canonical = if canonical == "\r\n" { String::new() } else { canonical };
            prop_assert_eq!(in_pieces(body.as_bytes(), piece), hash(canonical.as_bytes()));
        }
    }
}
