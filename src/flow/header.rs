//! A message's header as octets: which fields stand where, what an edited header looks like, what trace is added.
//!
//! Octets are never re-encoded: a field is kept as received or left out whole. RFC 5322 s.2.2, s.3.6; RFC 5321
//! s.4.4. It must not parse bodies; what the fields mean (addresses, dates) is mail-parser's work.

use mail_parser::{HeaderName, HeaderValue, MessageParser};
use memchr::{memchr, memmem};
use wire::abnf::steers;

/// Collects a header while its message streams by, so that a large body need not be read again.
#[derive(Debug, Default)]
pub struct Catcher {
    octets: Vec<u8>,
    done: bool,
    empty_line: bool,
    too_long: bool,
}

impl Catcher {
    /// Takes the next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        if self.done {
            return;
        }
        let from = self.octets.len().saturating_sub(3);
        self.octets.extend_from_slice(octets);
        if self.octets.starts_with(b"\r\n") {
            self.octets.clear();
            self.done = true;
            self.empty_line = true;
        } else if let Some(at) = memmem::find(&self.octets[from..], b"\r\n\r\n") {
            self.octets.truncate(from + at + 2);
            self.done = true;
            self.empty_line = true;
        } else if self.octets.len() > wire::limits::HEADER {
            self.done = true;
            self.too_long = true;
        }
    }

    /// The header, or `None` when it was longer than `limits::HEADER`.
    #[must_use]
    pub fn finish(self) -> Option<Header> {
        (!self.too_long).then(|| Header::parse(self.octets, self.empty_line))
    }
}

/// The header section of one message: whole fields, each ended by CRLF, without the empty line.
#[derive(Debug)]
pub struct Header {
    octets: Vec<u8>,
    /// (start, end of the name, end with its CRLF) of each field.
    fields: Vec<(usize, usize, usize)>,
    /// Where the last field ends. Less than `octets` when what follows is not a header field: a body without an
    /// empty line before it.
    len: usize,
    /// Whether an empty line follows the fields, as it should.
    separated: bool,
}

/// Start, end of the name, and end with its CRLF of each field at the front of `octets`, and where the last one ends.
pub(super) fn split(octets: &[u8]) -> (Vec<(usize, usize, usize)>, usize) {
    let mut fields: Vec<(usize, usize, usize)> = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        let end = memchr(b'\n', &octets[at..]).map_or(octets.len(), |n| at + n + 1);
        let line = &octets[at..end];
        if matches!(line.first(), Some(b' ' | b'\t')) && !fields.is_empty() {
            if let Some(last) = fields.last_mut() {
                last.2 = end;
            }
        } else {
            // RFC 5322 s.2.2: a name of printable octets, then a colon; s.4.5 lets white space stand before it.
            let Some(colon) = memchr(b':', line) else { break };
            let name = line[..colon].trim_ascii_end();
            if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                break;
            }
            fields.push((at, at + name.len(), end));
        }
        at = end;
    }
    (fields, at)
}

impl Header {
    /// `octets` are everything before the empty line, or the whole message when it has none.
    #[must_use]
    pub fn parse(mut octets: Vec<u8>, empty_line: bool) -> Header {
        let (fields, len) = split(&octets);
        let separated = empty_line && len == octets.len();
        octets.truncate(len);
        Header { len, octets, fields, separated }
    }

    /// How many octets of the message the fields take.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message has no header field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether the message is all body: no field, and no empty line to part a field from it.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.fields.is_empty() && !self.separated
    }

    /// How many fields are called `name`.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.named(name).count()
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(|&&(s, e, _)| self.octets[s..e].eq_ignore_ascii_case(name.as_bytes()))
            .map(|&(s, _, e)| &self.octets[s..e])
    }

    /// The addresses in the `From:` (or `Sender:`) fields, as written; groups are opened.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let only: Vec<u8> = self.named(name).flat_map(|f| f.iter().copied()).chain(*b"\r\n").collect();
        let Some(message) = MessageParser::new().parse_headers(&only) else { return Vec::new() };
        let wanted = HeaderName::parse(name);
        let mut out = Vec::new();
        for h in message.headers() {
            if Some(&h.name) == wanted.as_ref()
                && let HeaderValue::Address(list) = &h.value
            {
                out.extend(list.iter().filter_map(|a| a.address.as_deref().map(str::to_owned)));
            }
        }
        out
    }

    /// The `Message-ID`, for the log; without its angle brackets, cut at 200 octets.
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        let field = self.named("Message-ID").next()?;
        let value = field.get(memchr(b':', field)? + 1..)?.trim_ascii();
        let value = value.strip_prefix(b"<").unwrap_or(value);
        let value = value.strip_suffix(b">").unwrap_or(value);
        let value = value.get(..200).unwrap_or(value);
        let printable = |c: char| c.is_ascii_graphic() || !c.is_ascii() && !steers(c);
        // RFC 6532 s.3.3 lets UTF-8 stand there.
        let text = String::from_utf8_lossy(value);
        Some(text.trim_end_matches('\u{fffd}').chars().map(|c| if printable(c) { c } else { '?' }).collect())
    }

    /// The beginning of the `Subject`, decoded: at most 100 characters.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        let only: Vec<u8> = self.named("Subject").next()?.to_vec();
        let message = MessageParser::new().parse_headers(&only)?;
        let printable = |c: char| if steers(c) { ' ' } else { c };
        message.subject().map(|subject| subject.chars().map(printable).take(100).collect())
    }

    /// What a field says, if it is there once: its value without white space around it.
    #[must_use]
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        let mut named = self.named(name);
        let field = named.next().filter(|_| named.next().is_none())?;
        Some(field.get(memchr(b':', field)? + 1..)?.trim_ascii())
    }

    /// Whether an empty line stands between the fields and the body.
    #[must_use]
    pub fn is_separated(&self) -> bool {
        self.separated
    }

    /// All fields as they stand.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The header with every `Bcc:` left out and `added` (whole fields) put at its end; `None` when nothing changes.
    /// Where the empty line behind it is missing it is put there: what follows was judged as body, and must not be
    /// read as header fields by a program that is less strict.
    #[must_use]
    pub fn edited(&self, added: &str) -> Option<Vec<u8>> {
        if added.is_empty() && self.count("Bcc") == 0 && self.separated {
            return None;
        }
        let mut out = Vec::with_capacity(self.len + added.len());
        for &(start, name_end, end) in &self.fields {
            if !self.octets[start..name_end].eq_ignore_ascii_case(b"Bcc") {
                out.extend_from_slice(&self.octets[start..end]);
            }
        }
        if !out.is_empty() && !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(added.as_bytes());
        if !self.separated {
            out.extend_from_slice(b"\r\n");
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(message: &[u8], piece: usize) -> Header {
        let mut c = Catcher::default();
        for p in message.chunks(piece) {
            c.push(p);
        }
        c.finish().unwrap()
    }

    #[test]
    fn fields_are_found_however_the_message_is_cut() {
        let message = b"Received: a\r\n\tb\r\nFROM: A <a@x.test>, g: b@x.test, C <c@y.test>;\r\nBcc: d@x.test,\r\n e@x.test\r\n\r\nBody: no\r\n\r\n";
        for piece in 1..message.len() {
            let h = header(message, piece);
            assert_eq!(h.len(), message.len() - b"\r\nBody: no\r\n\r\n".len());
            assert_eq!(h.count("received"), 1);
            assert_eq!(h.count("Body"), 0);
            assert_eq!(h.addresses("From"), ["a@x.test", "b@x.test", "c@y.test"]);
            let edited = h.edited("Date: now\r\n").unwrap();
            assert!(!edited.windows(3).any(|w| w == b"Bcc"));
            assert!(edited.ends_with(b"c@y.test>;\r\nDate: now\r\n"));
        }
    }

    #[test]
    fn a_message_id_is_printable_and_not_long() {
        let long = format!("<a{}>", "\u{fc}".repeat(200));
        for (value, id) in [
            ("<a.b@x.test>", "a.b@x.test"),
            ("<gr\u{fc}n@x.test>", "gr\u{fc}n@x.test"),
            ("<a b\u{9b}\tc>", "a?b??c"),
            ("<a\u{202e}b\u{2028}c\u{61c}>", "a?b?c?"),
            (&long, &format!("a{}", "\u{fc}".repeat(99))),
        ] {
            let h = header(format!("Message-ID: {value}\r\n\r\n").as_bytes(), 9);
            assert_eq!(h.message_id().as_deref(), Some(id), "{value}");
        }
        let h = header(b"Message-ID: <gr\xfcn@x.test>\r\n\r\n", 9);
        assert_eq!(h.message_id().as_deref(), Some("gr\u{fffd}n@x.test"));
    }

    #[test]
    fn a_message_may_lack_a_header_or_a_body() {
        let h = header(b"\r\nbody\r\n", 1);
        assert!(h.is_empty() && !h.is_bare());
        let h = header(b"just text\r\nmore\r\n\r\nend\r\n", 3);
        assert!(h.is_empty() && h.is_bare());
        let h = header(b"Subject: x\r\n", 4);
        assert_eq!((h.len(), h.count("Subject")), (12, 1));
        assert_eq!(h.edited("").unwrap(), b"Subject: x\r\n\r\n");
        let whole = header(b"Subject: x\r\n\r\n", 4);
        assert!(whole.edited("").is_none(), "nothing to change, nothing copied");
        // A body straight behind the fields: only the fields are header.
        let h = header(b"Subject: x\r\nno colon here\r\nFrom: b@x.test\r\n\r\n", 5);
        assert_eq!((h.len(), h.count("From")), (12, 0));
        assert_eq!(h.edited("Date: now\r\n").unwrap(), b"Subject: x\r\nDate: now\r\n\r\n");
    }

    #[test]
    fn two_from_fields_and_broken_ones_do_not_hide_an_address() {
        let h = header(b"From: a@x.test\r\nFrom : b@y.test\r\nFrom: =?x\r\n\r\n", 7);
        let found = h.addresses("From");
        assert!(
            found.contains(&"a@x.test".to_owned()) && found.contains(&"b@y.test".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn an_endless_header_is_refused() {
        let mut c = Catcher::default();
        for _ in 0..=wire::limits::HEADER / 1000 {
            c.push(&[b'x'; 1000]);
        }
        assert!(c.finish().is_none());
    }
}
