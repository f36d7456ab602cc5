//! The smaller productions of RFC 3501 s.9, over a command that is whole: framing (`frame`) came before.
//!
//! Literals stand in the octets where they were sent, `{n}` CRLF in front of them.

/// `ASTRING-CHAR`: what an unquoted string is made of.
#[must_use]
pub(super) const fn is_astring_char(b: u8) -> bool {
    is_atom_char(b) || b == b']'
}

/// `ATOM-CHAR`
#[must_use]
pub(super) const fn is_atom_char(b: u8) -> bool {
    matches!(b, 0x21..=0x7e) && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}
