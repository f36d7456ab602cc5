//! Header sections as octets: which fields there are, where they are, and their unfolded values.
//!
//! RFC 5322 s.2.2, s.2.2.3 (folding), s.4.5 (space before the colon). Lines may end with CRLF or a bare LF; what is
//! not a field is passed over.

use std::ops::Range;

/// One field of a header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as written, without the colon.
    pub name: &'a [u8],
    /// What follows the colon, folds and line end included.
    pub value: &'a [u8],
    /// Where the field begins in the section; it ends where its value does.
    start: usize,
    end: usize,
}

impl Field<'_> {
    /// Whether this is its name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The field's octets within the section, name and line end included.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// The fields of a header section, in order. Linear in its length.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    section: &'a [u8],
    at: usize,
}

/// The fields of `section`, which ends with the blank line, or without one.
#[must_use]
pub fn fields(section: &[u8]) -> Fields<'_> {
    Fields { section, at: 0 }
}

/// The end of the line that begins at `at`, its LF included.
fn line_end(section: &[u8], at: usize) -> usize {
    let rest = section.get(at..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(section.len(), |i| at + i + 1)
}

/// Whether a line, with or without its end, is the blank line that ends a header section.
pub(super) fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"" | b"\n" | b"\r\n" | b"\r")
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let start = self.at;
            let line = line_end(self.section, start);
            let first = self.section.get(start..line)?;
            if is_blank(first) {
                return None;
            }
            let mut end = line;
            while let Some(b' ' | b'\t') = self.section.get(end) {
                end = line_end(self.section, end);
            }
            self.at = end;
            let Some(colon) = memchr::memchr(b':', first) else { continue };
            let name = first.get(..colon)?.trim_ascii_end();
            if name.is_empty() || name.iter().any(|b| b.is_ascii_whitespace()) {
                continue;
            }
            return Some(Field { name, value: self.section.get(start + colon + 1..end)?, start, end });
        }
    }
}

/// The blank line at the end of a header section, if it has one.
#[must_use]
pub fn blank_line(section: &[u8]) -> &[u8] {
    for end in [&b"\r\n"[..], b"\n"] {
        if let Some(rest) = section.strip_suffix(end)
            && (rest.is_empty() || rest.ends_with(b"\n"))
        {
            return section.get(rest.len()..).unwrap_or_default();
        }
    }
    b""
}

/// The value of the first field of this name.
#[must_use]
pub fn find<'a>(section: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(section).find(|f| f.is(name)).map(|f| f.value)
}

/// A value without its folds and without space around it (RFC 5322 s.2.2.3). CR, LF and NUL are in no value.
#[must_use]
pub fn unfold(value: &[u8]) -> Vec<u8> {
    let mut plain: Vec<u8> = value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect();
    plain.truncate(plain.trim_ascii_end().len());
    let leading = plain.len() - plain.trim_ascii_start().len();
    plain.drain(..leading);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_plain_and_tricky_sections() {
        type Found = &'static [(&'static str, &'static str)];
        let table: &[(&[u8], Found)] = &[
            (b"", &[]),
            (b"\r\n", &[]),
            (b"A: 1\r\nB:2\r\n\r\n", &[("A", "1"), ("B", "2")]),
            (b"A: 1\r\n  2\r\n\t3\r\nB: x", &[("A", "1  2\t3"), ("B", "x")]),
            (b"A : 1\nB:\n\nC: body", &[("A", "1"), ("B", "")]),
            (b"no colon here\r\n folded: x\r\nA: 1\r\n", &[("A", "1")]),
            (b": empty\r\nA: b: c\r\n", &[("A", "b: c")]),
            (b"From me with: love\r\nA:\0x\r\n", &[("A", "x")]),
            (b" starts: folded\r\nA: 1\r\n", &[("A", "1")]),
        ];
        for (section, expected) in table {
            let found: Vec<_> = fields(section)
                .map(|f| {
                    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
                    (text(f.name), text(&unfold(f.value)))
                })
                .collect();
            let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(section));
        }
    }

    #[test]
    fn ranges_cover_fields_and_the_blank_line() {
        let section = b"A: 1\r\n x\r\nB: 2\r\n\r\n";
        let ranges: Vec<_> = fields(section).map(|f| f.range()).collect();
        assert_eq!(ranges, [0..10, 10..16]);
        assert_eq!(blank_line(section), b"\r\n");
        assert_eq!(blank_line(b"A: 1\n\n"), b"\n");
        assert_eq!(blank_line(b"A: 1\r\n"), b"");
        assert_eq!(blank_line(b"\r\n"), b"\r\n");
        assert_eq!(blank_line(b""), b"");
    }
}
