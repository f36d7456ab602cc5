//! Line ends: bare LF becomes CRLF on the way in, CRLF becomes LF on the way out where files have it so.

use memchr::memchr;

/// Appends octets of a file, each line end a CRLF. A CR that ends no line stays as it is.
pub(super) fn to_crlf(octets: &[u8], out: &mut Vec<u8>) {
    let mut rest = octets;
    while let Some(at) = memchr(b'\n', rest) {
        let (line, after) = rest.split_at(at);
        push_line(line, out);
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Appends a line that was ended by the LF behind it, and CRLF.
pub(super) fn push_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    out.extend_from_slice(b"\r\n");
}

/// Whether a message survives CRLF → LF → CRLF as it is: whole lines, each ended by one CR and LF.
pub(super) fn is_canonical(message: &[u8]) -> bool {
    if !message.is_empty() && !message.ends_with(b"\r\n") {
        return false;
    }
    memchr::memchr_iter(b'\n', message).all(|at| {
        let before = |n: usize| at.checked_sub(n).and_then(|i| message.get(i));
        before(1) == Some(&b'\r') && before(2) != Some(&b'\r')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_mended_and_nothing_else() {
        for (from, to) in [
            (&b""[..], &b""[..]),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"a\r\nb\n\n", b"a\r\nb\r\n\r\n"),
            (b"a\rb\n", b"a\rb\r\n"),
            (b"a\0\xff\nno end", b"a\0\xff\r\nno end"),
        ] {
            let mut out = Vec::new();
            to_crlf(from, &mut out);
            assert_eq!(out, to);
        }
        for (message, canonical) in [
            (&b""[..], true),
            (b"a\r\n", true),
            (b"a\rb\r\n", true),
            (b"a", false),
            (b"a\n", false),
            (b"a\r\r\n", false),
            (b"\n", false),
            (b"\r\n", true),
        ] {
            assert_eq!(is_canonical(message), canonical, "{message:?}");
        }
    }
}
