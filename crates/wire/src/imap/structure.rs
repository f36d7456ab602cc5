//! ENVELOPE and BODYSTRUCTURE as values, and how they are told (RFC 3501 s.7.4.2).
//!
//! The server's mime room makes them from a message; the store keeps them in its digests. Texts are header octets, unfolded,
//! encoded words left as they are.

use super::response::{nstring, number, string};

/// A text of a header, or nothing (`NIL`).
pub type Text = Option<Vec<u8>>;

/// ENVELOPE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Date, as written.
    pub date: Text,
    /// Subject.
    pub subject: Text,
    /// From.
    pub from: Vec<Address>,
    /// Sender; told as From where the message has none (RFC 3501 s.7.4.2).
    pub sender: Vec<Address>,
    /// Reply-To; likewise.
    pub reply_to: Vec<Address>,
    /// To.
    pub to: Vec<Address>,
    /// Cc.
    pub cc: Vec<Address>,
    /// Bcc.
    pub bcc: Vec<Address>,
    /// In-Reply-To.
    pub in_reply_to: Text,
    /// Message-ID.
    pub message_id: Text,
}

/// One address. A group is an address without host whose mailbox is the group's name, its members, and an address
/// with neither (RFC 3501 s.7.4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The phrase.
    pub name: Text,
    /// The source route.
    pub route: Text,
    /// The local part, or a group's name.
    pub mailbox: Text,
    /// The domain.
    pub host: Text,
}

/// Parameters of a Content-Type or Content-Disposition: name and value.
pub type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// Content-Disposition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    /// `attachment`, `inline`.
    pub kind: Vec<u8>,
    /// `filename` and the like.
    pub parameters: Parameters,
}

/// What each body, single or multipart, may have besides: the extension data that BODY leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Content-Disposition.
    pub disposition: Option<Disposition>,
    /// Content-Language.
    pub language: Vec<Vec<u8>>,
    /// Content-Location.
    pub location: Text,
}

/// BODYSTRUCTURE of a message or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyStructure {
    /// One body.
    Single(Box<Single>),
    /// A multipart.
    Multi {
        /// Its parts. An empty multipart is told as having one empty text part: the grammar wants one.
        parts: Vec<BodyStructure>,
        /// `mixed`, `alternative`.
        subtype: Vec<u8>,
        /// The Content-Type's parameters, boundary included.
        parameters: Parameters,
        /// Extension data.
        extension: Extension,
    },
}

/// A body that is not a multipart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Single {
    /// `text`, `image`. Told in this case.
    pub kind: Vec<u8>,
    /// `plain`.
    pub subtype: Vec<u8>,
    /// The Content-Type's parameters.
    pub parameters: Parameters,
    /// Content-ID.
    pub id: Text,
    /// Content-Description.
    pub description: Text,
    /// Content-Transfer-Encoding; empty is told as `7BIT`.
    pub encoding: Vec<u8>,
    /// Octets of the body in its transfer encoding.
    pub octets: u32,
    /// Content-MD5.
    pub md5: Text,
    /// What some types tell besides.
    pub content: Content,
    /// Extension data.
    pub extension: Extension,
}

/// What some types tell besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    #[default]
    Other,
    /// `text`: its lines.
    Text {
        /// Lines.
        lines: u32,
    },
    /// `message/rfc822`.
    Message {
        /// The inner message's envelope.
        envelope: Box<Envelope>,
        /// Its structure.
        structure: Box<BodyStructure>,
        /// Lines.
        lines: u32,
    },
}

impl Envelope {
    /// Appends the `envelope`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let or_from = |list: &Vec<Address>, out: &mut Vec<u8>| {
            addresses(if list.is_empty() { &self.from } else { list }, out);
        };
        out.push(b'(');
        nstring(self.date.as_deref(), out);
        out.push(b' ');
        nstring(self.subject.as_deref(), out);
        out.push(b' ');
        addresses(&self.from, out);
        out.push(b' ');
        or_from(&self.sender, out);
        out.push(b' ');
        or_from(&self.reply_to, out);
        for list in [&self.to, &self.cc, &self.bcc] {
            out.push(b' ');
            addresses(list, out);
        }
        out.push(b' ');
        nstring(self.in_reply_to.as_deref(), out);
        out.push(b' ');
        nstring(self.message_id.as_deref(), out);
        out.push(b')');
    }
}

fn addresses(list: &[Address], out: &mut Vec<u8>) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for a in list {
        out.push(b'(');
        for (i, text) in [&a.name, &a.route, &a.mailbox, &a.host].into_iter().enumerate() {
            if i > 0 {
                out.push(b' ');
            }
            nstring(text.as_deref(), out);
        }
        out.push(b')');
    }
    out.push(b')');
}

impl BodyStructure {
    /// Appends the `body`: BODYSTRUCTURE with `extensible`, else BODY.
    ///
    /// Goes as deep as the structure is; whoever makes one keeps within `limits::MIME_DEPTH`.
    pub fn encode(&self, extensible: bool, out: &mut Vec<u8>) {
        match self {
            BodyStructure::Single(single) => single.encode(extensible, out),
            BodyStructure::Multi { parts, subtype, parameters, extension } => {
                out.push(b'(');
                if parts.is_empty() {
                    Single::empty_text().encode(extensible, out);
                }
                for part in parts {
                    part.encode(extensible, out);
                }
                out.push(b' ');
                string(subtype, out);
                if extensible {
                    out.push(b' ');
                    pairs(parameters, out);
                    extension.encode(out);
                }
                out.push(b')');
            }
        }
    }
}

impl Single {
    /// What an empty multipart is told to contain, and a message without Content-Type has: `text/plain`.
    #[must_use]
    pub fn empty_text() -> Single {
        Single {
            kind: b"text".to_vec(),
            subtype: b"plain".to_vec(),
            content: Content::Text { lines: 0 },
            ..Single::default()
        }
    }

    fn encode(&self, extensible: bool, out: &mut Vec<u8>) {
        out.push(b'(');
        string(&self.kind, out);
        out.push(b' ');
        string(&self.subtype, out);
        out.push(b' ');
        pairs(&self.parameters, out);
        out.push(b' ');
        nstring(self.id.as_deref(), out);
        out.push(b' ');
        nstring(self.description.as_deref(), out);
        out.push(b' ');
        string(if self.encoding.is_empty() { b"7BIT" } else { &self.encoding }, out);
        out.push(b' ');
        number(self.octets.into(), out);
        match &self.content {
            Content::Other => {}
            Content::Text { lines } => {
                out.push(b' ');
                number((*lines).into(), out);
            }
            Content::Message { envelope, structure, lines } => {
                out.push(b' ');
                envelope.encode(out);
                out.push(b' ');
                structure.encode(extensible, out);
                out.push(b' ');
                number((*lines).into(), out);
            }
        }
        if extensible {
            out.push(b' ');
            nstring(self.md5.as_deref(), out);
            self.extension.encode(out);
        }
        out.push(b')');
    }
}

impl Extension {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(b' ');
        match &self.disposition {
            Some(d) => {
                out.push(b'(');
                string(&d.kind, out);
                out.push(b' ');
                pairs(&d.parameters, out);
                out.push(b')');
            }
            None => out.extend_from_slice(b"NIL"),
        }
        out.push(b' ');
        match self.language.as_slice() {
            [] => out.extend_from_slice(b"NIL"),
            [one] => string(one, out),
            many => {
                out.push(b'(');
                for (i, language) in many.iter().enumerate() {
                    if i > 0 {
                        out.push(b' ');
                    }
                    string(language, out);
                }
                out.push(b')');
            }
        }
        out.push(b' ');
        nstring(self.location.as_deref(), out);
    }
}

fn pairs(parameters: &Parameters, out: &mut Vec<u8>) {
    if parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (i, (name, value)) in parameters.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        string(name, out);
        out.push(b' ');
        string(value, out);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Text {
        Some(s.as_bytes().to_vec())
    }

    #[test]
    fn the_envelope_of_the_rfc() {
        // RFC 3501 s.8, shortened.
        let from = Address {
            name: text("Terry Gray"),
            route: None,
            mailbox: text("gray"),
            host: text("cac.washington.edu"),
        };
        let e = Envelope {
            date: text("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)"),
            subject: text("IMAP4rev1 \"WG\""),
            from: vec![from.clone()],
            to: vec![Address {
                mailbox: text("imap"),
                host: text("cac.washington.edu"),
                ..Address::default()
            }],
            message_id: text("<B27397-0100000@cac.washington.edu>"),
            ..Envelope::default()
        };
        let mut out = Vec::new();
        e.encode(&mut out);
        let gray = r#"(("Terry Gray" NIL "gray" "cac.washington.edu"))"#;
        let want = format!(
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 \\\"WG\\\"\" {gray} {gray} {gray} \
             ((NIL NIL \"imap\" \"cac.washington.edu\")) NIL NIL NIL \"<B27397-0100000@cac.washington.edu>\")"
        );
        assert_eq!(String::from_utf8_lossy(&out), want);
    }

    #[test]
    fn structures() {
        let plain = Single {
            parameters: vec![(b"CHARSET".to_vec(), b"US-ASCII".to_vec())],
            octets: 1152,
            content: Content::Text { lines: 23 },
            ..Single::empty_text()
        };
        let file = Single {
            kind: b"application".to_vec(),
            subtype: b"pdf".to_vec(),
            encoding: b"base64".to_vec(),
            octets: 7,
            extension: Extension {
                disposition: Some(Disposition {
                    kind: b"attachment".to_vec(),
                    parameters: vec![(b"filename".to_vec(), "ü.pdf".as_bytes().to_vec())],
                }),
                language: vec![b"de".to_vec(), b"en".to_vec()],
                location: None,
            },
            ..Single::default()
        };
        let multi = BodyStructure::Multi {
            parts: vec![BodyStructure::Single(Box::new(plain)), BodyStructure::Single(Box::new(file))],
            subtype: b"mixed".to_vec(),
            parameters: vec![(b"boundary".to_vec(), b"x".to_vec())],
            extension: Extension::default(),
        };
        let mut out = Vec::new();
        multi.encode(true, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "((\"text\" \"plain\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23 NIL NIL NIL NIL)\
             (\"application\" \"pdf\" NIL NIL NIL \"base64\" 7 NIL (\"attachment\" (\"filename\" {6}\r\nü.pdf)) \
             (\"de\" \"en\") NIL) \"mixed\" (\"boundary\" \"x\") NIL NIL NIL)"
        );
        out.clear();
        multi.encode(false, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "((\"text\" \"plain\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23)\
             (\"application\" \"pdf\" NIL NIL NIL \"base64\" 7) \"mixed\")"
        );
    }

    #[test]
    fn an_empty_multipart_has_an_empty_part() {
        let multi = BodyStructure::Multi {
            parts: vec![],
            subtype: b"mixed".to_vec(),
            parameters: vec![],
            extension: Extension::default(),
        };
        let mut out = Vec::new();
        multi.encode(false, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "((\"text\" \"plain\" NIL NIL NIL \"7BIT\" 0 0) \"mixed\")"
        );
    }
}
