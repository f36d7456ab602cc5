//! Byte classes and small tokens that several grammars share.
//!
//! RFC 5234 appendix B, RFC 5321 s.4.1.2, RFC 5322 s.3.2.3. Only classes: no grammar lives here, and nothing here
//! allocates.

/// `ALPHA / DIGIT` (RFC 5321 s.4.1.2 `Let-dig`).
#[must_use]
pub const fn is_let_dig(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

/// `atext` (RFC 5322 s.3.2.3): what an unquoted local part is made of, dots aside.
#[must_use]
pub fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

/// `qtextSMTP` (RFC 5321 s.4.1.2): what stands unescaped inside a quoted local part.
#[must_use]
pub const fn is_qtext_smtp(b: u8) -> bool {
    matches!(b, 32..=33 | 35..=91 | 93..=126)
}

/// The characters of an `esmtp-value` (RFC 5321 s.4.1.2): printable, no `=`, no space.
#[must_use]
pub const fn is_esmtp_value(b: u8) -> bool {
    matches!(b, 33..=60 | 62..=126)
}

/// The characters of an `esmtp-keyword` (RFC 5321 s.4.1.2).
#[must_use]
pub const fn is_esmtp_keyword(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-'
}

/// What steers a terminal, ends a line, or turns the direction of reading (`Bidi_Control` of Unicode): control characters,
/// U+2028 and U+2029, and marks that are not seen.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `1*DIGIT` as a number. `None` when empty, not all digits, or larger than 64 bits.
#[must_use]
pub fn number(s: &[u8]) -> Option<u64> {
    if s.is_empty() {
        return None;
    }
    s.iter().try_fold(0u64, |n, &b| {
        if !b.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}

/// Splits at the first space: the word before it, and what follows with leading spaces removed.
#[must_use]
pub fn split_word(s: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', s) {
        Some(i) => (&s[..i], trim_spaces_start(&s[i..])),
        None => (s, &[]),
    }
}

/// Without leading spaces.
#[must_use]
pub fn trim_spaces_start(s: &[u8]) -> &[u8] {
    let n = s.iter().take_while(|&&b| b == b' ').count();
    &s[n..]
}

/// Without trailing spaces and tabs.
#[must_use]
pub fn trim_blanks_end(s: &[u8]) -> &[u8] {
    let n = s.iter().rev().take_while(|&&b| b == b' ' || b == b'\t').count();
    &s[..s.len() - n]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0", Some(0)),
            ("0012", Some(12)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("-1", None),
            ("1 ", None),
        ] {
            assert_eq!(number(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(split_word(b"MAIL  FROM:<>"), (&b"MAIL"[..], &b"FROM:<>"[..]));
        assert_eq!(split_word(b"QUIT"), (&b"QUIT"[..], &b""[..]));
        assert_eq!(trim_blanks_end(b"a b \t "), b"a b");
        assert_eq!(trim_blanks_end(b"  "), b"");
    }
}
