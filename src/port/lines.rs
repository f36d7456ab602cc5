//! Line ends: bare LF becomes CRLF on the way in, CRLF becomes LF on the way out where files have it so.

use memchr::{memchr_iter, memrchr};

/// Makes each line end of a file a CRLF, in place: a message may be large. A CR that ends no line stays as it is.
pub(super) fn to_crlf(octets: &mut Vec<u8>) {
    let is_bare = |octets: &[u8], at: usize| at == 0 || octets.get(at - 1) != Some(&b'\r');
    let bare = memchr_iter(b'\n', octets).filter(|&at| is_bare(octets, at)).count();
    // From the end on, each octet goes to where it belongs; what is in front of it is never overwritten unread.
    let (mut from, mut to) = (octets.len(), octets.len() + bare);
    octets.reserve_exact(bare);
    octets.resize(to, 0);
    while from < to {
        let Some(at) = memrchr(b'\n', octets.get(..from).unwrap_or_default()) else { return };
        let line = from - at;
        octets.copy_within(at..from, to - line);
        (from, to) = (at, to - line);
        if is_bare(octets, at) {
            to -= 1;
            if let Some(octet) = octets.get_mut(to) {
                *octet = b'\r';
            }
        }
    }
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
    memchr_iter(b'\n', message).all(|at| {
        let before = |n: usize| at.checked_sub(n).and_then(|i| message.get(i));
        before(1) == Some(&b'\r') && before(2) != Some(&b'\r')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn in_place_as_line_by_line(text in "[ab\r\n]{0,40}") {
            let mut octets = text.clone().into_bytes();
            to_crlf(&mut octets);
            let simple = text.replace("\r\n", "\n").replace('\n', "\r\n");
            proptest::prop_assert_eq!(octets, simple.into_bytes());
        }
    }

    #[test]
    fn line_ends_are_mended_and_nothing_else() {
        for (from, to) in [
            (&b""[..], &b""[..]),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"a\r\nb\n\n", b"a\r\nb\r\n\r\n"),
            (b"a\rb\n", b"a\rb\r\n"),
            (b"a\0\xff\nno end", b"a\0\xff\r\nno end"),
        ] {
            let mut out = from.to_vec();
            to_crlf(&mut out);
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
