//! What FETCH asks for: items, body sections, partial ranges (RFC 3501 s.6.4.5).
//!
//! Types and their printing; the parser is in `parse`.

use std::fmt;
use std::num::NonZeroU32;

/// One data item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchItem {
    /// `UID`
    Uid,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `BODY[..]`, `BODY.PEEK[..]`, and the older names for the same.
    Section(SectionItem),
}

/// A part of the message's octets, and how the answer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionItem {
    /// Which octets.
    pub section: Section,
    /// Whether `\Seen` stays as it is.
    pub peek: bool,
    /// The name under which it was asked for.
    pub name: SectionName,
    /// Only these of the octets; never with the older names.
    pub partial: Option<Partial>,
}

/// The four names for a section. The answer must use the one that was asked for (RFC 3501 s.7.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionName {
    /// `BODY[..]`
    Body,
    /// `RFC822`: `BODY[]` under another name. `RFC822.PEEK`, which Outlook sends, is answered as `RFC822`.
    Rfc822,
    /// `RFC822.HEADER`: `BODY.PEEK[HEADER]` under another name.
    Rfc822Header,
    /// `RFC822.TEXT`: `BODY[TEXT]` under another name.
    Rfc822Text,
}

/// `<first.count>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Octets skipped.
    pub first: u32,
    /// Octets wanted at most.
    pub count: NonZeroU32,
}

/// A `section`: which part, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// `section-part`: empty for the message itself.
    pub part: Vec<NonZeroU32>,
    /// What of the part.
    pub text: SectionText,
}

/// What of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SectionText {
    /// All of it: `BODY[]` with its header, `BODY[1]` the part's content.
    #[default]
    All,
    /// `HEADER`: of the message, or of a message/rfc822 part.
    Header,
    /// `HEADER.FIELDS (..)`: only those fields, in the message's order.
    HeaderFields(Vec<FieldName>),
    /// `HEADER.FIELDS.NOT (..)`
    HeaderFieldsNot(Vec<FieldName>),
    /// `TEXT`
    Text,
    /// `MIME`: the part's own header. Only with a part.
    Mime,
}

/// A header field's name: printable ASCII without `:`, as sent; to be compared without regard to case.
#[derive(Clone, Debug, Eq)]
pub struct FieldName(String);

impl FieldName {
    /// `None` unless it is a `field-name` (RFC 5322 s.3.6.8) of 1,000 octets at most. Older clients send a
    /// trailing `:`, which is left out.
    #[must_use]
    pub fn parse(s: &[u8]) -> Option<FieldName> {
        let s = s.strip_suffix(b":").unwrap_or(s);
        let fits = !s.is_empty() && s.len() <= 1_000 && s.iter().all(|&b| b.is_ascii_graphic() && b != b':');
        if !fits {
            return None;
        }
        std::str::from_utf8(s).ok().map(|s| FieldName(s.to_owned()))
    }

    /// As sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &FieldName) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl FetchItem {
    /// `ALL`, `FAST` and `FULL` written out (RFC 3501 s.6.4.5).
    #[must_use]
    pub fn of_macro(name: &[u8]) -> Option<Vec<FetchItem>> {
        use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
        match name.to_ascii_uppercase().as_slice() {
            b"ALL" => Some(vec![Flags, InternalDate, Size, Envelope]),
            b"FAST" => Some(vec![Flags, InternalDate, Size]),
            b"FULL" => Some(vec![Flags, InternalDate, Size, Envelope, Body]),
            _ => None,
        }
    }

    /// Whether fetching it sets `\Seen` (RFC 3501 s.6.4.5).
    #[must_use]
    pub fn sets_seen(&self) -> bool {
        matches!(self, FetchItem::Section(s) if !s.peek)
    }
}

impl SectionItem {
    /// The item as the answer names it: `BODY[1.MIME]<0>`, `RFC822.HEADER`.
    #[must_use]
    pub fn answered_as(&self) -> String {
        match (self.name, self.partial) {
            (SectionName::Body, Some(p)) => format!("BODY[{}]<{}>", self.section, p.first),
            (SectionName::Body, None) => format!("BODY[{}]", self.section),
            (SectionName::Rfc822, _) => "RFC822".to_owned(),
            (SectionName::Rfc822Header, _) => "RFC822.HEADER".to_owned(),
            (SectionName::Rfc822Text, _) => "RFC822.TEXT".to_owned(),
        }
    }
}

/// As within the brackets: `1.2.HEADER.FIELDS (TO CC)`.
impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, n) in self.part.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            n.fmt(f)?;
        }
        if !self.part.is_empty() && self.text != SectionText::All {
            f.write_str(".")?;
        }
        let fields = match &self.text {
            SectionText::All => return Ok(()),
            SectionText::Header => return f.write_str("HEADER"),
            SectionText::Text => return f.write_str("TEXT"),
            SectionText::Mime => return f.write_str("MIME"),
            SectionText::HeaderFields(fields) => {
                f.write_str("HEADER.FIELDS (")?;
                fields
            }
            SectionText::HeaderFieldsNot(fields) => {
                f.write_str("HEADER.FIELDS.NOT (")?;
                fields
            }
        };
        for (i, field) in fields.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            field.fmt(f)?;
        }
        f.write_str(")")
    }
}

/// An atom where that will do, else a quoted string.
impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::print::astring(f, self.0.as_bytes())
    }
}

/// As a client asks for it.
impl fmt::Display for FetchItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchItem::Uid => f.write_str("UID"),
            FetchItem::Flags => f.write_str("FLAGS"),
            FetchItem::InternalDate => f.write_str("INTERNALDATE"),
            FetchItem::Size => f.write_str("RFC822.SIZE"),
            FetchItem::Envelope => f.write_str("ENVELOPE"),
            FetchItem::Body => f.write_str("BODY"),
            FetchItem::BodyStructure => f.write_str("BODYSTRUCTURE"),
            FetchItem::Section(s) => match s.name {
                SectionName::Body => {
                    write!(f, "BODY{}[{}]", if s.peek { ".PEEK" } else { "" }, s.section)?;
                    match s.partial {
                        Some(p) => write!(f, "<{}.{}>", p.first, p.count),
                        None => Ok(()),
                    }
                }
                SectionName::Rfc822 if s.peek => f.write_str("RFC822.PEEK"),
                SectionName::Rfc822 => f.write_str("RFC822"),
                SectionName::Rfc822Header => f.write_str("RFC822.HEADER"),
                SectionName::Rfc822Text => f.write_str("RFC822.TEXT"),
            },
        }
    }
}
