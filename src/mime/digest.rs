//! What is kept of each message so that it need not be read again: structure, envelopes, and what SEARCH compares.
//!
//! A digest is derived, so it may be lost at any time and is never trusted: reading it gives `None` when it is not
//! what it should be. Its first octet is its version.

use std::ops::Range;

use mail_parser::DateTime;
use wire::imap::structure::{
    Address, BodyStructure, Content, Disposition, Envelope, Extension, Parameters, Single, Text,
};

use super::address;
use super::codec::{Reader, put_number, put_octets, put_option, put_signed};
use super::field::{languages, media_type, parametrised};
use super::header::{self, unfold};
use super::walk::{Facts, Kind, Node};
use super::words::{fold, header_text};

/// Rises with every change of what a digest holds or means.
pub(super) const VERSION: u8 = 2;
/// Octets of References that are kept: the first and the last of a conversation are within them.
const REFERENCES: usize = 8 * 1024;

/// A digest, read. Borrows its octets.
#[derive(Clone, Debug)]
pub struct Digest<'a> {
    parts: Vec<Part<'a>>,
    search: &'a [u8],
}

/// An entity of a message: the message itself, a part, a message in a message.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Where its header section is in the message, blank line included.
    pub header: Range<u64>,
    /// Where its body is.
    pub body: Range<u64>,
    /// Lines of the body.
    pub lines: u64,
    pub(super) kind: Kind,
    /// One past the last entity within this one.
    end: usize,
    described: &'a [u8],
    envelope: Option<&'a [u8]>,
}

/// What SEARCH compares: decoded and folded (see [`super::words::fold`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named as in the RFC")]
pub struct SearchHeader<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub cc: &'a str,
    pub bcc: &'a str,
    pub subject: &'a str,
    /// The Date header.
    pub sent: Option<Sent>,
    /// References, raw, its first octets.
    pub references: &'a [u8],
}

/// The moment that a Date header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Seconds since 1970 (UTC).
    pub unix: i64,
    /// Minutes east of UTC.
    pub zone_minutes: i16,
}

impl Sent {
    /// Days since 1970-01-01 of the date as written, its time and zone disregarded (RFC 3501 s.6.4.4, SENTON).
    #[must_use]
    pub fn day(self) -> i64 {
        (self.unix + i64::from(self.zone_minutes) * 60).div_euclid(86_400)
    }
}

/// Writes the digest of a message whose entities are `nodes`.
pub(super) fn encode(nodes: &[Node]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let root: &[u8] = nodes.first().map_or(b"", |n| &n.facts.section);
    let mut search = Vec::new();
    encode_search(root, &mut search);
    put_octets(&mut out, &search);
    put_number(&mut out, nodes.len() as u64);
    for node in nodes {
        put_number(&mut out, node.header.start);
        put_number(&mut out, node.header.end - node.header.start);
        put_number(&mut out, node.body.end - node.body.start);
        put_number(&mut out, node.lines);
        let kind = match node.kind {
            Kind::Leaf => 0,
            Kind::Multipart => 1,
            Kind::Message => 2,
        };
        put_number(&mut out, kind);
        put_number(&mut out, node.children as u64);
        let mut described = Vec::new();
        encode_description(&describe(&node.facts), &mut described);
        put_octets(&mut out, &described);
        let envelope = node.facts.message.then(|| {
            let mut envelope = Vec::new();
            encode_envelope(&node.facts.section, &mut envelope);
            envelope
        });
        put_option(&mut out, envelope.as_deref());
    }
    out
}

fn encode_search(section: &[u8], out: &mut Vec<u8>) {
    let text = |name: &str| {
        let mut all = String::new();
        for field in header::fields(section).filter(|f| f.is(name)) {
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(&fold(&header_text(field.value)));
        }
        all
    };
    for name in ["From", "To", "Cc", "Bcc", "Subject"] {
        put_octets(out, text(name).as_bytes());
    }
    match header::find(section, "Date").and_then(parse_date) {
        Some(sent) => {
            put_number(out, 1);
            put_signed(out, sent.unix);
            put_signed(out, sent.zone_minutes.into());
        }
        None => put_number(out, 0),
    }
    let references = header::find(section, "References").map(unfold).unwrap_or_default();
    put_octets(out, references.get(..references.len().min(REFERENCES)).unwrap_or_default());
}

/// A Date header's value (RFC 5322 s.3.3, s.4.3).
fn parse_date(value: &[u8]) -> Option<Sent> {
    let value = unfold(value);
    // The parser reads on until a line ends.
    let line = format!("{}\r\n", String::from_utf8_lossy(value.get(..value.len().min(200))?));
    let date = DateTime::parse_rfc822(&line).filter(DateTime::is_valid)?;
    let zone = i16::from(date.tz_hour).checked_mul(60)?.checked_add(date.tz_minute.into())?;
    if zone >= 24 * 60 {
        return None;
    }
    Some(Sent { unix: date.to_timestamp(), zone_minutes: if date.tz_before_gmt { -zone } else { zone } })
}

/// What a part's header says of it (RFC 3501 s.7.4.2, BODYSTRUCTURE): all but sizes.
fn describe(facts: &Facts) -> Single {
    let find = |name: &str| header::find(&facts.section, name);
    let text = |name: &str| find(name).map(unfold).filter(|v| !v.is_empty());
    let said = find("Content-Type").map(parametrised).unwrap_or_default();
    let (media, mut params) = match (facts.default, media_type(&said.value)) {
        (Some((kind, sub)), _) => ((kind.into(), sub.into()), Vec::new()),
        (None, Some((kind, sub))) => ((kind.to_vec(), sub.to_vec()), said.params),
        (None, None) => ((b"text".to_vec(), b"plain".to_vec()), Vec::new()),
    };
    let has_charset = params.iter().any(|(n, _)| n.to_ascii_lowercase().starts_with(b"charset"));
    if media.0.eq_ignore_ascii_case(b"text") && !has_charset {
        // RFC 2045 s.5.2: what is not said is US-ASCII.
        params.push((b"charset".to_vec(), b"us-ascii".to_vec()));
    }
    // A comment or a parameter behind the encoding is against the grammar, and found in the wild.
    let encoding = find("Content-Transfer-Encoding").map(|v| parametrised(v).value).unwrap_or_default();
    let disposition = find("Content-Disposition").map(parametrised).filter(|d| !d.value.is_empty());
    Single {
        kind: media.0,
        subtype: media.1,
        parameters: params,
        id: text("Content-ID"),
        description: text("Content-Description"),
        encoding,
        octets: 0,
        md5: text("Content-MD5"),
        content: Content::Other,
        extension: Extension {
            disposition: disposition.map(|d| Disposition { kind: d.value, parameters: d.params }),
            language: find("Content-Language").map(languages).unwrap_or_default(),
            location: text("Content-Location"),
        },
    }
}

fn put_params(out: &mut Vec<u8>, params: &[(Vec<u8>, Vec<u8>)]) {
    put_number(out, params.len() as u64);
    for (name, value) in params {
        put_octets(out, name);
        put_octets(out, value);
    }
}

fn encode_description(d: &Single, out: &mut Vec<u8>) {
    put_octets(out, &d.kind);
    put_octets(out, &d.subtype);
    put_params(out, &d.parameters);
    put_option(out, d.id.as_deref());
    put_option(out, d.description.as_deref());
    put_octets(out, &d.encoding);
    put_option(out, d.md5.as_deref());
    let extension = &d.extension;
    put_option(out, extension.disposition.as_ref().map(|d| d.kind.as_slice()));
    if let Some(disposition) = &extension.disposition {
        put_params(out, &disposition.parameters);
    }
    put_number(out, extension.language.len() as u64);
    extension.language.iter().for_each(|l| put_octets(out, l));
    put_option(out, extension.location.as_deref());
}

fn decode_params(reader: &mut Reader<'_>) -> Option<Parameters> {
    let count = reader.count()?;
    (0..count).map(|_| Some((reader.octets()?.to_vec(), reader.octets()?.to_vec()))).collect()
}

fn decode_text(reader: &mut Reader<'_>) -> Option<Text> {
    Some(reader.option()?.map(<[u8]>::to_vec))
}

fn decode_description(reader: &mut Reader<'_>) -> Option<Single> {
    let (kind, subtype) = (reader.octets()?.to_vec(), reader.octets()?.to_vec());
    let parameters = decode_params(reader)?;
    let (id, description) = (decode_text(reader)?, decode_text(reader)?);
    let encoding = reader.octets()?.to_vec();
    let md5 = decode_text(reader)?;
    let disposition = match decode_text(reader)? {
        Some(kind) => Some(Disposition { kind, parameters: decode_params(reader)? }),
        None => None,
    };
    let count = reader.count()?;
    let language = (0..count).map(|_| Some(reader.octets()?.to_vec())).collect::<Option<_>>()?;
    let extension = Extension { disposition, language, location: decode_text(reader)? };
    let (octets, content) = (0, Content::Other);
    Some(Single { kind, subtype, parameters, id, description, encoding, octets, md5, content, extension })
}

const LISTS: [&str; 6] = ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"];

fn encode_envelope(section: &[u8], out: &mut Vec<u8>) {
    for name in ["Date", "Subject", "In-Reply-To", "Message-ID"] {
        put_option(out, header::find(section, name).map(unfold).as_deref());
    }
    for name in LISTS {
        let mut list = Vec::new();
        for field in header::fields(section).filter(|f| f.is(name)) {
            list.extend(address::parse(field.value));
        }
        put_number(out, list.len() as u64);
        for m in &list {
            for text in [&m.name, &m.route, &m.mailbox, &m.host] {
                put_option(out, text.as_deref());
            }
        }
    }
}

fn decode_envelope(reader: &mut Reader<'_>) -> Option<Envelope> {
    let (date, subject) = (decode_text(reader)?, decode_text(reader)?);
    let (in_reply_to, message_id) = (decode_text(reader)?, decode_text(reader)?);
    let list = |reader: &mut Reader<'_>| -> Option<Vec<Address>> {
        let count = reader.count()?;
        (0..count)
            .map(|_| {
                let (name, route) = (decode_text(reader)?, decode_text(reader)?);
                Some(Address { name, route, mailbox: decode_text(reader)?, host: decode_text(reader)? })
            })
            .collect()
    };
    let [from, sender, reply_to, to, cc, bcc] = LISTS.map(|_| list(reader));
    Some(Envelope {
        date,
        subject,
        from: from?,
        sender: sender?,
        reply_to: reply_to?,
        to: to?,
        cc: cc?,
        bcc: bcc?,
        in_reply_to,
        message_id,
    })
}

impl<'a> Digest<'a> {
    /// Reads a digest; `None` if it is not one of this version, or damaged.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Option<Digest<'a>> {
        let (&VERSION, rest) = octets.split_first()? else { return None };
        let mut reader = Reader { rest };
        let search = reader.octets()?;
        let count = reader.count()?;
        let mut parts: Vec<Part<'a>> = Vec::with_capacity(count);
        // Entities that miss children: where they are, and how many.
        let mut waiting: Vec<(usize, u64)> = Vec::new();
        for at in 0..count {
            if at > 0 {
                let (_, missing) = waiting.last_mut()?;
                *missing -= 1;
            }
            let start = reader.number()?;
            let body = start.checked_add(reader.number()?)?;
            let end = body.checked_add(reader.number()?)?;
            let lines = reader.number()?;
            let kind = reader.number()?;
            let children = reader.count()? as u64;
            let kind = match (kind, children) {
                (0, 0) => Kind::Leaf,
                (1, 1..) => Kind::Multipart,
                (2, 1) => Kind::Message,
                _ => return None,
            };
            let (described, envelope) = (reader.octets()?, reader.option()?);
            parts.push(Part {
                header: start..body,
                body: body..end,
                lines,
                kind,
                end: at + 1,
                described,
                envelope,
            });
            if children > 0 {
                if waiting.len() > wire::limits::MIME_DEPTH {
                    return None;
                }
                waiting.push((at, children));
            }
            while let Some(&(full, 0)) = waiting.last() {
                parts.get_mut(full)?.end = at + 1;
                waiting.pop();
            }
        }
        let whole = !parts.is_empty() && waiting.is_empty() && reader.rest.is_empty();
        whole.then_some(Digest { parts, search })
    }

    /// The entities, each before those within it; the message itself first.
    #[must_use]
    pub fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    /// The message itself.
    #[must_use]
    pub fn root(&self) -> Option<&Part<'a>> {
        self.parts.first()
    }

    /// The entities right within the one at `at`, by their places.
    pub fn children(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.parts.get(at).map_or(0, |p| p.end);
        let mut next = at + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                next = self.parts.get(child).map_or(end, |p| p.end).max(child + 1);
                child
            })
        })
    }

    /// BODYSTRUCTURE of the entity at `at`; 0 is the message itself. Not deeper than `limits::MIME_DEPTH` and one.
    #[must_use]
    pub fn structure(&self, at: usize) -> Option<BodyStructure> {
        let part = self.parts.get(at)?;
        let mut single = part.description()?;
        let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let lines = count(part.lines);
        single.octets = count(part.body.end - part.body.start);
        match part.kind {
            Kind::Multipart => {
                let parts = self.children(at).map(|child| self.structure(child)).collect::<Option<_>>()?;
                let Single { subtype, parameters, extension, .. } = single;
                return Some(BodyStructure::Multi { parts, subtype, parameters, extension });
            }
            Kind::Message => {
                let inner = self.children(at).next()?;
                single.content = Content::Message {
                    envelope: Box::new(self.parts.get(inner)?.envelope()?),
                    structure: Box::new(self.structure(inner)?),
                    lines,
                };
            }
            Kind::Leaf if single.kind.eq_ignore_ascii_case(b"text") => {
                single.content = Content::Text { lines }
            }
            Kind::Leaf => {}
        }
        Some(BodyStructure::Single(Box::new(single)))
    }

    /// What SEARCH compares of the message's header.
    #[must_use]
    pub fn search(&self) -> Option<SearchHeader<'a>> {
        let mut reader = Reader { rest: self.search };
        let mut text = || std::str::from_utf8(reader.octets()?).ok();
        let (from, to, cc, bcc, subject) = (text()?, text()?, text()?, text()?, text()?);
        let sent = match reader.number()? {
            0 => None,
            _ => Some(Sent { unix: reader.signed()?, zone_minutes: i16::try_from(reader.signed()?).ok()? }),
        };
        Some(SearchHeader { from, to, cc, bcc, subject, sent, references: reader.octets()? })
    }
}

impl Part<'_> {
    /// What its header says: all of a `body-type-1part` but sizes.
    #[must_use]
    pub fn description(&self) -> Option<Single> {
        decode_description(&mut Reader { rest: self.described })
    }

    /// The envelope, of what is a message. Strings are raw: unfolded, encoded words left alone.
    #[must_use]
    pub fn envelope(&self) -> Option<Envelope> {
        decode_envelope(&mut Reader { rest: self.envelope? })
    }

    /// Whether it consists of parts.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.kind == Kind::Multipart
    }

    /// Whether it holds a message.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.kind == Kind::Message
    }
}
