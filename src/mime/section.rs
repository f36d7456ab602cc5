//! Which octets of a message a client means by `1.2.MIME`, `TEXT`, `HEADER.FIELDS (..)`.
//!
//! RFC 3501 s.6.4.5. A section becomes a range of the message, so that only what is asked for is read.

use std::ops::Range;

use super::digest::Digest;
use super::header;
use super::walk::Kind;

/// What of a part is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// All of a message; the body of a part.
    Whole,
    /// The header section of a message.
    Header,
    /// The body of a message.
    Text,
    /// The header section of a part.
    Mime,
}

/// Where the section is in the message; `None` when there is no such part, or the part has no such section.
#[must_use]
pub fn locate(digest: &Digest<'_>, path: &[u32], what: What) -> Option<Range<u64>> {
    let parts = digest.parts();
    // Either a message as such or a part; a message that is not multipart is its own part 1.
    let (mut at, mut as_part) = (0, false);
    for &number in path {
        let part = parts.get(at)?;
        let message = if as_part && part.kind == Kind::Message { digest.children(at).next()? } else { at };
        let inside = parts.get(message)?;
        if inside.kind == Kind::Multipart {
            at = digest.children(message).nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
        } else if number == 1 && (!as_part || message != at) {
            at = message;
        } else {
            return None;
        }
        as_part = true;
    }
    let part = parts.get(at)?;
    match (what, as_part) {
        (What::Whole, false) => Some(part.header.start..part.body.end),
        (What::Whole, true) => Some(part.body.clone()),
        (What::Mime, true) => Some(part.header.clone()),
        (What::Mime, false) => None,
        (What::Header | What::Text, _) => {
            let message = match (as_part, part.kind) {
                (false, _) => part,
                (true, Kind::Message) => parts.get(digest.children(at).next()?)?,
                (true, _) => return None,
            };
            Some(if what == What::Header { message.header.clone() } else { message.body.clone() })
        }
    }
}

/// The fields of a header section that a client names, or all but those, with the blank line that ends it.
///
/// Field names are compared without regard to case. RFC 3501 s.6.4.5: the blank line is always there, unless the
/// header has none.
#[must_use]
pub fn header_fields(section: &[u8], names: &[impl AsRef<[u8]>], not: bool) -> Vec<u8> {
    let named = |name: &[u8]| names.iter().any(|n| n.as_ref().eq_ignore_ascii_case(name));
    let mut out = Vec::new();
    for field in header::fields(section).filter(|f| named(f.name) != not) {
        out.extend_from_slice(section.get(field.range()).unwrap_or_default());
    }
    out.extend_from_slice(header::blank_line(section));
    out
}
