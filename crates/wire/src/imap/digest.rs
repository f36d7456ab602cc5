//! Envelope and structure as the octets that are kept beside a message, so that FETCH need not parse it again.
//!
//! Compact and versioned. What is read back may have rotted: reading never panics, never goes deeper than
//! `limits::MIME_DEPTH` allows and never reserves more than the octets at hand could fill.
//!
//! Layout: one octet [`VERSION`], the envelope, the structure. Numbers are LEB128; a text is its length + 1 and its
//! octets, or 0 for none; a list is its count and its items.

use super::structure::{
    Address, BodyStructure, Content, Disposition, Envelope, Extension, Parameters, Single, Text,
};
use crate::limits;

/// The layout's version. Octets of another one are derived again, never converted.
pub const VERSION: u8 = 1;

/// Bodies inside of bodies: parts to `limits::MIME_DEPTH`, and room for a message in the last one.
const DEPTH: usize = limits::MIME_DEPTH + 2;

/// Appends the digest.
pub fn write(envelope: &Envelope, structure: &BodyStructure, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_envelope(envelope, out);
    put_structure(structure, out);
}

/// Reads a digest; `None` if it is of another version, or not whole and well-formed.
#[must_use]
pub fn read(octets: &[u8]) -> Option<(Envelope, BodyStructure)> {
    let mut r = Reader(octets.strip_prefix(&[VERSION])?);
    let found = (r.envelope()?, r.structure(DEPTH)?);
    r.0.is_empty().then_some(found)
}

/// Reads the envelope alone.
#[must_use]
pub fn read_envelope(octets: &[u8]) -> Option<Envelope> {
    Reader(octets.strip_prefix(&[VERSION])?).envelope()
}

fn put_number(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_octets(octets: &[u8], out: &mut Vec<u8>) {
    put_number(octets.len() as u64, out);
    out.extend_from_slice(octets);
}

fn put_text(text: &Text, out: &mut Vec<u8>) {
    match text {
        Some(octets) => {
            put_number(octets.len() as u64 + 1, out);
            out.extend_from_slice(octets);
        }
        None => out.push(0),
    }
}

fn put_addresses(list: &[Address], out: &mut Vec<u8>) {
    put_number(list.len() as u64, out);
    for a in list {
        for text in [&a.name, &a.route, &a.mailbox, &a.host] {
            put_text(text, out);
        }
    }
}

fn put_envelope(e: &Envelope, out: &mut Vec<u8>) {
    for text in [&e.date, &e.subject, &e.in_reply_to, &e.message_id] {
        put_text(text, out);
    }
    for list in [&e.from, &e.sender, &e.reply_to, &e.to, &e.cc, &e.bcc] {
        put_addresses(list, out);
    }
}

fn put_parameters(parameters: &Parameters, out: &mut Vec<u8>) {
    put_number(parameters.len() as u64, out);
    for (name, value) in parameters {
        put_octets(name, out);
        put_octets(value, out);
    }
}

fn put_extension(e: &Extension, out: &mut Vec<u8>) {
    match &e.disposition {
        Some(d) => {
            out.push(1);
            put_octets(&d.kind, out);
            put_parameters(&d.parameters, out);
        }
        None => out.push(0),
    }
    put_number(e.language.len() as u64, out);
    for language in &e.language {
        put_octets(language, out);
    }
    put_text(&e.location, out);
}

fn put_structure(structure: &BodyStructure, out: &mut Vec<u8>) {
    match structure {
        BodyStructure::Multi { parts, subtype, parameters, extension } => {
            out.push(0);
            put_number(parts.len() as u64, out);
            for part in parts {
                put_structure(part, out);
            }
            put_octets(subtype, out);
            put_parameters(parameters, out);
            put_extension(extension, out);
        }
        BodyStructure::Single(s) => {
            out.push(match s.content {
                Content::Other => 1,
                Content::Text { .. } => 2,
                Content::Message { .. } => 3,
            });
            for octets in [&s.kind, &s.subtype, &s.encoding] {
                put_octets(octets, out);
            }
            put_parameters(&s.parameters, out);
            for text in [&s.id, &s.description, &s.md5] {
                put_text(text, out);
            }
            put_number(s.octets.into(), out);
            match &s.content {
                Content::Other => {}
                Content::Text { lines } => put_number((*lines).into(), out),
                Content::Message { envelope, structure, lines } => {
                    put_envelope(envelope, out);
                    put_structure(structure, out);
                    put_number((*lines).into(), out);
                }
            }
            put_extension(&s.extension, out);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..63).step_by(7) {
            let b = self.octet()?;
            n |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn u32(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn take(&mut self, n: u64) -> Option<Vec<u8>> {
        let (taken, rest) = self.0.split_at_checked(n.try_into().ok()?)?;
        self.0 = rest;
        Some(taken.to_vec())
    }

    fn octets(&mut self) -> Option<Vec<u8>> {
        let n = self.number()?;
        self.take(n)
    }

    fn text(&mut self) -> Option<Text> {
        Some(match self.number()? {
            0 => None,
            n => Some(self.take(n - 1)?),
        })
    }

    /// As many items as are announced. Each is at least an octet long, so what is reserved grows with what is read.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let n = self.number()?;
        let mut list = Vec::new();
        for _ in 0..n {
            list.push(item(self)?);
        }
        Some(list)
    }

    fn addresses(&mut self) -> Option<Vec<Address>> {
        self.list(|r| {
            Some(Address { name: r.text()?, route: r.text()?, mailbox: r.text()?, host: r.text()? })
        })
    }

    fn envelope(&mut self) -> Option<Envelope> {
        Some(Envelope {
            date: self.text()?,
            subject: self.text()?,
            in_reply_to: self.text()?,
            message_id: self.text()?,
            from: self.addresses()?,
            sender: self.addresses()?,
            reply_to: self.addresses()?,
            to: self.addresses()?,
            cc: self.addresses()?,
            bcc: self.addresses()?,
        })
    }

    fn parameters(&mut self) -> Option<Parameters> {
        self.list(|r| Some((r.octets()?, r.octets()?)))
    }

    fn extension(&mut self) -> Option<Extension> {
        let disposition = match self.octet()? {
            0 => None,
            1 => Some(Disposition { kind: self.octets()?, parameters: self.parameters()? }),
            _ => return None,
        };
        Some(Extension { disposition, language: self.list(Reader::octets)?, location: self.text()? })
    }

    fn structure(&mut self, depth: usize) -> Option<BodyStructure> {
        let depth = depth.checked_sub(1)?;
        let kind = self.octet()?;
        if kind == 0 {
            return Some(BodyStructure::Multi {
                parts: self.list(|r| r.structure(depth))?,
                subtype: self.octets()?,
                parameters: self.parameters()?,
                extension: self.extension()?,
            });
        }
        let mut single = Single {
            kind: self.octets()?,
            subtype: self.octets()?,
            encoding: self.octets()?,
            parameters: self.parameters()?,
            id: self.text()?,
            description: self.text()?,
            md5: self.text()?,
            octets: self.u32()?,
            content: Content::Other,
            extension: Extension::default(),
        };
        single.content = match kind {
            1 => Content::Other,
            2 => Content::Text { lines: self.u32()? },
            3 => Content::Message {
                envelope: Box::new(self.envelope()?),
                structure: Box::new(self.structure(depth)?),
                lines: self.u32()?,
            },
            _ => return None,
        };
        single.extension = self.extension()?;
        Some(BodyStructure::Single(Box::new(single)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..6)
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let address = vec(option::of(octets()), 4).prop_map(|mut t| Address {
            name: t.remove(0),
            route: t.remove(0),
            mailbox: t.remove(0),
            host: t.remove(0),
        });
        (vec(option::of(octets()), 4), vec(vec(address, 0..3), 6)).prop_map(|(mut t, mut a)| Envelope {
            date: t.remove(0),
            subject: t.remove(0),
            in_reply_to: t.remove(0),
            message_id: t.remove(0),
            from: a.remove(0),
            sender: a.remove(0),
            reply_to: a.remove(0),
            to: a.remove(0),
            cc: a.remove(0),
            bcc: a.remove(0),
        })
    }

    fn parameters() -> impl Strategy<Value = Parameters> {
        vec((octets(), octets()), 0..3)
    }

    fn extension() -> impl Strategy<Value = Extension> {
        let disposition =
            (octets(), parameters()).prop_map(|(kind, parameters)| Disposition { kind, parameters });
        (option::of(disposition), vec(octets(), 0..3), option::of(octets()))
            .prop_map(|(disposition, language, location)| Extension { disposition, language, location })
    }

    fn single(content: Content, e: Extension, p: Parameters, o: Vec<u8>, n: u32) -> BodyStructure {
        BodyStructure::Single(Box::new(Single {
            kind: o.clone(),
            subtype: o.clone(),
            parameters: p,
            id: Some(o.clone()),
            description: None,
            encoding: o,
            octets: n,
            md5: None,
            content,
            extension: e,
        }))
    }

    fn structure() -> impl Strategy<Value = BodyStructure> {
        let leaf = (any::<bool>(), extension(), parameters(), octets(), any::<u32>()).prop_map(
            |(text, e, p, o, n)| {
                single(if text { Content::Text { lines: n } } else { Content::Other }, e, p, o, n)
            },
        );
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                (vec(inner.clone(), 0..4), octets(), parameters(), extension()).prop_map(
                    |(parts, subtype, parameters, extension)| BodyStructure::Multi {
                        parts,
                        subtype,
                        parameters,
                        extension
                    }
                ),
                (inner, envelope(), extension(), any::<u32>()).prop_map(|(s, e, x, n)| {
                    let content =
                        Content::Message { envelope: Box::new(e), structure: Box::new(s), lines: n };
                    single(content, x, vec![], b"m".to_vec(), n)
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(e in envelope(), s in structure()) {
            let mut out = Vec::new();
            write(&e, &s, &mut out);
            prop_assert_eq!(read_envelope(&out), Some(e.clone()));
            prop_assert_eq!(read(&out), Some((e, s)));
            for cut in 0..out.len() {
                prop_assert_eq!(read(&out[..cut]), None);
            }
        }

        #[test]
        fn rot_is_survived(e in envelope(), s in structure(), flips in vec((any::<usize>(), any::<u8>()), 1..5)) {
            let mut out = Vec::new();
            write(&e, &s, &mut out);
            for (at, with) in flips {
                let at = at % out.len();
                out[at] ^= with;
            }
            let _ = read(&out);
        }

        #[test]
        fn anything_is_survived(mut octets in vec(any::<u8>(), 0..200)) {
            octets.insert(0, VERSION);
            let _ = read(&octets);
        }
    }

    #[test]
    fn a_deep_structure_is_refused() {
        let mut octets = vec![VERSION];
        put_envelope(&Envelope::default(), &mut octets);
        // Multiparts of one part each, deeper than any message is looked into.
        octets.extend([0, 1].repeat(100_000));
        assert_eq!(read(&octets), None);
    }
}
