//! Modified UTF-7: how mailbox names travel (RFC 3501 s.5.1.3).
//!
//! Inside, names are UTF-8. Decoding is lenient in one point only: raw UTF-8 is taken as it stands, since clients
//! send it in quoted strings. What has two spellings is refused, so that a name is one name.

use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;

/// BASE64 with `,` for `/` and without padding; trailing bits must be zero, or a name had several spellings.
static BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,");
    spec.encoding().ok()
});

/// The name in UTF-8; `None` unless it is well-formed.
#[must_use]
pub fn decode(name: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(name).ok()?;
    if !text.contains('&') {
        return Some(text.to_owned());
    }
    let base64 = BASE64.as_ref()?;
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        let (shifted, after) = rest[at + 1..].split_once('-')?;
        rest = after;
        if shifted.is_empty() {
            decoded.push('&');
            continue;
        }
        let octets = base64.decode(shifted.as_bytes()).ok()?;
        if octets.len() % 2 != 0 {
            return None;
        }
        let units = octets.chunks_exact(2).map(|p| u16::from_be_bytes([p[0], p[1]]));
        for c in char::decode_utf16(units) {
            // RFC 3501 s.5.1.3: what can stand for itself must.
            let c = c.ok()?;
            if (' '..='~').contains(&c) {
                return None;
            }
            decoded.push(c);
        }
        // Two shifts in a row are one shift in another spelling.
        if rest.starts_with('&') && !rest.starts_with("&-") {
            return None;
        }
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// Appends the name in modified UTF-7: printable ASCII only.
pub fn encode(name: &str, out: &mut Vec<u8>) {
    let plain = |c: char| (' '..='~').contains(&c);
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if c == '&' {
            out.extend_from_slice(b"&-");
            rest = &rest[1..];
        } else if plain(c) {
            let end = rest.find(|c| !plain(c) || c == '&').unwrap_or(rest.len());
            out.extend_from_slice(&rest.as_bytes()[..end]);
            rest = &rest[end..];
        } else {
            let end = rest.find(plain).unwrap_or(rest.len());
            let octets: Vec<u8> = rest[..end].encode_utf16().flat_map(u16::to_be_bytes).collect();
            out.push(b'&');
            if let Some(base64) = BASE64.as_ref() {
                out.extend_from_slice(base64.encode(&octets).as_bytes());
            }
            out.push(b'-');
            rest = &rest[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(name: &str) -> String {
        let mut out = Vec::new();
        encode(name, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn both_ways() {
        for (wire, name) in [
            ("INBOX", "INBOX"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("Tom &- Jerry", "Tom & Jerry"),
            ("&2D3eAA-", "😀"),
            ("&-&-", "&&"),
            ("", ""),
        ] {
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name), "{wire}");
            assert_eq!(encoded(name), wire, "{name}");
        }
        assert_eq!(decode("Entwürfe".as_bytes()).as_deref(), Some("Entwürfe"), "raw UTF-8 is understood");
    }

    #[test]
    fn refused() {
        for wire in [
            "&",
            "&APw",
            "a&b",
            "&AGE-",
            "&APw-&APw-",
            "&AP-",
            "&2D0-",
            "&3gA-",
            "&APx-",
            "&A/w-",
            "&APw=-",
            "&ü-",
        ] {
            assert_eq!(decode(wire.as_bytes()), None, "{wire}");
        }
        assert_eq!(decode(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn names_come_back(name in any::<String>()) {
            let wire = encoded(&name);
            prop_assert!(wire.bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert_eq!(decode(wire.as_bytes()), Some(name));
        }
        #[test]
        fn what_is_decoded_has_one_spelling(wire in "[&A-Ca-c+,-]{0,12}") {
            if let Some(name) = decode(wire.as_bytes()) {
                prop_assert_eq!(encoded(&name), wire);
            }
        }
    }
}
