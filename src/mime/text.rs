//! Looking for words in a message as people read it: transfer encodings, character sets and encoded words undone.
//!
//! RFC 3501 s.6.4.4 (BODY, TEXT). The message is read in pieces and never held whole. Not looked into: attachments
//! in base64 that are not text. Headers of parts count as body, so that the name of an attachment is found.

use mail_parser::decoders::html::html_to_text;
use memchr::memmem::Finder;
use store::{Octets, ReadError};
use wire::limits::HEADER;

use super::digest::{Digest, Part};
use super::header;
use super::transfer::{Decoder, Encoding};
use super::walk::Kind;
use super::words::{decode, fold, fold_into, header_text};

/// Octets read at a time.
const WINDOW: usize = 64 * 1024;
/// Decoded octets after which a line without end is cut anyway.
const LINE: usize = 256 * 1024;

/// Words to look for, made ready once for all messages.
#[derive(Debug)]
pub struct Words {
    words: Vec<(Finder<'static>, Where)>,
    longest: usize,
}

/// Where a word may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In the body (SEARCH BODY).
    Body,
    /// In the header or the body (SEARCH TEXT).
    Text,
}

impl Words {
    /// Looks for these words, given as by [`super::words::fold`].
    pub fn new<'w>(words: impl IntoIterator<Item = (&'w str, Where)>) -> Words {
        let words: Vec<_> =
            words.into_iter().map(|(w, place)| (Finder::new(w).into_owned(), place)).collect();
        let longest = words.iter().map(|(w, _)| w.needle().len()).max().unwrap_or(0);
        Words { words, longest }
    }

    /// Whether each word is in the message, in the order given. The message is read and decoded once for all of
    /// them, and only as far as it takes.
    pub fn find(&self, message: &mut dyn Octets, digest: &Digest<'_>) -> Result<Vec<bool>, ReadError> {
        // Nothing is in every text.
        let found = self.words.iter().map(|(w, _)| w.needle().is_empty()).collect();
        let mut looking = Looking { words: self, found };
        for (at, part) in digest.parts().iter().enumerate() {
            if looking.done() {
                break;
            }
            looking.header(message, part, at == 0)?;
            if part.kind == Kind::Leaf {
                looking.body(message, part)?;
            }
        }
        Ok(looking.found)
    }
}

/// One message that is looked into.
struct Looking<'w> {
    words: &'w Words,
    found: Vec<bool>,
}

impl Looking<'_> {
    fn done(&self) -> bool {
        self.found.iter().all(|found| *found)
    }

    fn look(&mut self, folded: &str, in_header: bool) {
        for ((word, place), found) in self.words.words.iter().zip(&mut self.found) {
            let counts = !in_header || *place == Where::Text;
            if !*found && counts {
                *found = word.find(folded.as_bytes()).is_some();
            }
        }
    }

    fn header(&mut self, message: &mut dyn Octets, part: &Part<'_>, top: bool) -> Result<(), ReadError> {
        let mut wanted = self.words.words.iter().zip(&self.found).filter(|(_, found)| !**found);
        if top && wanted.all(|((_, place), _)| *place == Where::Body) {
            return Ok(());
        }
        let section = read(message, part.header.start, part.header.end, HEADER)?;
        for field in header::fields(&section) {
            let text = format!("{}: {}", String::from_utf8_lossy(field.name), header_text(field.value));
            self.look(&fold(&text), top);
        }
        Ok(())
    }

    fn body(&mut self, message: &mut dyn Octets, part: &Part<'_>) -> Result<(), ReadError> {
        let Some(described) = part.description() else { return Ok(()) };
        let encoding = Encoding::parse(&described.encoding);
        let is = |kind: &[u8]| described.kind.eq_ignore_ascii_case(kind);
        if encoding == Encoding::Base64 && !is(b"text") && !is(b"message") {
            return Ok(());
        }
        let charset = described.parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(b"charset"));
        let charset = charset.map_or(&b""[..], |(_, v)| v.as_slice());
        let mut reading = Reading {
            charset,
            wide: charset.get(..6).is_some_and(|c| c.eq_ignore_ascii_case(b"utf-16")),
            html: is(b"text") && described.subtype.eq_ignore_ascii_case(b"html"),
            decoded: Vec::new(),
            folded: String::new(),
            shown: String::new(),
        };
        let mut decoder = Decoder::new(encoding);
        let mut window =
            vec![0; WINDOW.min(usize::try_from(part.body.end - part.body.start).unwrap_or(WINDOW))];
        let mut at = part.body.start;
        while at < part.body.end && !self.done() {
            let want = usize::try_from(part.body.end - at).unwrap_or(WINDOW).min(window.len());
            let Some(room) = window.get_mut(..want) else { break };
            let read = message.read_at(at, room)?;
            let Some(octets) = window.get(..read).filter(|o| !o.is_empty()) else { break };
            at += read as u64;
            decoder.push(octets, &mut reading.decoded);
            reading.advance(self, false);
        }
        decoder.finish(&mut reading.decoded);
        reading.advance(self, true);
        Ok(())
    }
}

/// The text of one part, as far as it has come.
struct Reading<'a> {
    charset: &'a [u8],
    /// Two octets a character: a line end cannot be told by one octet.
    wide: bool,
    html: bool,
    decoded: Vec<u8>,
    folded: String,
    /// HTML without its tags.
    shown: String,
}

impl Reading<'_> {
    /// Looks into the lines that are whole; in the end into all.
    fn advance(&mut self, looking: &mut Looking<'_>, end: bool) {
        if !end && self.decoded.len() < WINDOW {
            return;
        }
        let cut = if end {
            self.decoded.len()
        } else if self.wide {
            self.decoded.len() & !1
        } else {
            // A line end is never a part of a character, and shift states end with the line (RFC 1468).
            match memchr::memrchr(b'\n', &self.decoded) {
                Some(at) => at + 1,
                None if self.decoded.len() > LINE => self.decoded.len(),
                None => return,
            }
        };
        let rest = self.decoded.split_off(cut);
        let text = decode(self.charset, &self.decoded);
        self.decoded = rest;
        fold_into(&text, &mut self.folded);
        looking.look(&self.folded, false);
        keep_end(&mut self.folded, looking.words.longest);
        if self.html {
            fold_into(&without_tags(&text), &mut self.shown);
            looking.look(&self.shown, false);
            keep_end(&mut self.shown, looking.words.longest);
        }
    }
}

/// Tags that stand within a word.
const INLINE: [&str; 14] =
    ["a", "b", "big", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub", "sup", "u"];

/// HTML as it is read: without tags, its entities as characters. Rough: it is only looked into.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, mark) = rest.split_at(at);
        text.push_str(before);
        if mark.starts_with('<') {
            let end = mark.find('>').map_or(mark.len(), |end| end + 1);
            let (tag, behind) = mark.split_at(end);
            let name = tag.trim_start_matches(['<', '/']);
            let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            if !INLINE.iter().any(|i| name.eq_ignore_ascii_case(i)) {
                text.push(' ');
            }
            rest = behind;
        } else {
            // `&` and a short name up to `;`: the library knows them all.
            let end = mark.bytes().take(12).position(|b| b == b';').map_or(1, |end| end + 1);
            let (entity, behind) = mark.split_at(end);
            text.push_str(&html_to_text(entity));
            rest = behind;
        }
    }
    text.push_str(rest);
    text
}

/// Keeps only as much as a word may need that goes on in the next piece; and the last character, behind which white
/// space may go on.
fn keep_end(text: &mut String, longest: usize) {
    let mut from = text.len().saturating_sub(longest.max(1));
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    text.drain(..from);
}

/// Octets of a range, at most so many.
pub fn read(message: &mut dyn Octets, start: u64, end: u64, most: usize) -> Result<Vec<u8>, ReadError> {
    let len = usize::try_from(end.saturating_sub(start)).unwrap_or(most).min(most);
    let mut octets = vec![0; len];
    let mut done = 0;
    while let Some(room) = octets.get_mut(done..).filter(|r| !r.is_empty()) {
        match message.read_at(start + done as u64, room)? {
            0 => break,
            read => done += read,
        }
    }
    octets.truncate(done);
    Ok(octets)
}
