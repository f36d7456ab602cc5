//! Content transfer encodings, decoded as the octets come.
//!
//! RFC 2045 s.6.7 (quoted-printable), s.6.8 (base64). What does not belong is passed over; nothing is an error.

use super::words::hex;

/// How a part's octets are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `7bit`, `8bit`, `binary`, and whatever is not known.
    Identity,
    /// `quoted-printable`
    QuotedPrintable,
    /// `base64`
    Base64,
}

impl Encoding {
    /// From the value of Content-Transfer-Encoding.
    #[must_use]
    pub fn parse(value: &[u8]) -> Encoding {
        if value.eq_ignore_ascii_case(b"base64") {
            Encoding::Base64
        } else if value.eq_ignore_ascii_case(b"quoted-printable") {
            Encoding::QuotedPrintable
        } else {
            Encoding::Identity
        }
    }
}

/// A decoder that is given octets in pieces.
#[derive(Debug)]
pub struct Decoder {
    encoding: Encoding,
    /// Base64: the bits gathered so far and how many sextets they are.
    bits: u32,
    sextets: u8,
    /// Quoted-printable: an unfinished `=..`, or white space whose line may end.
    held: Vec<u8>,
}

/// White space before a line's end that is held back; what is longer is given as it comes.
const HELD: usize = 998;

impl Decoder {
    /// A decoder at the start of a part's body.
    #[must_use]
    pub fn new(encoding: Encoding) -> Decoder {
        Decoder { encoding, bits: 0, sextets: 0, held: Vec::new() }
    }

    /// Decodes `octets` onto the end of `into`.
    pub fn push(&mut self, octets: &[u8], into: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Identity => into.extend_from_slice(octets),
            Encoding::Base64 => octets.iter().for_each(|&b| self.base64(b, into)),
            Encoding::QuotedPrintable => octets.iter().for_each(|&b| self.quoted(b, into)),
        }
    }

    /// The end of the body: what was held back.
    pub fn finish(&mut self, into: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Identity => {}
            Encoding::Base64 => self.base64(b'=', into),
            Encoding::QuotedPrintable => {
                let held = std::mem::take(&mut self.held);
                if held.first() != Some(&b'=') {
                    return; // White space at the end (RFC 2045 s.6.7 rule 3).
                }
                if held.len() > 1 {
                    into.extend_from_slice(&held);
                }
            }
        }
    }

    fn base64(&mut self, b: u8, into: &mut Vec<u8>) {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                // The end, or encoded texts set one behind the other.
                let [_, high, middle, _] =
                    (self.bits << (6 * (4 - u32::from(self.sextets.clamp(1, 4))))).to_be_bytes();
                match self.sextets {
                    2 => into.push(high),
                    3 => into.extend_from_slice(&[high, middle]),
                    _ => {}
                }
                (self.bits, self.sextets) = (0, 0);
                return;
            }
            _ => return,
        };
        self.bits = self.bits << 6 | u32::from(value);
        self.sextets += 1;
        if self.sextets == 4 {
            let [_, a, b, c] = self.bits.to_be_bytes();
            into.extend_from_slice(&[a, b, c]);
            (self.bits, self.sextets) = (0, 0);
        }
    }

    fn quoted(&mut self, b: u8, into: &mut Vec<u8>) {
        if self.held.first() == Some(&b'=') {
            self.held.push(b);
            match self.held.as_slice() {
                // A soft line break, with white space that was added on the way.
                [b'=', .., b'\n']
                    if self.held.iter().all(|b| matches!(b, b'=' | b' ' | b'\t' | b'\r' | b'\n')) =>
                {
                    self.held.clear();
                }
                [b'=', middle @ .., b' ' | b'\t' | b'\r']
                    if middle.iter().all(u8::is_ascii_whitespace) && self.held.len() < HELD => {}
                [b'=', high] if high.is_ascii_hexdigit() => {}
                [b'=', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    into.push(hex(*high) << 4 | hex(*low));
                    self.held.clear();
                }
                _ => {
                    // Not an encoding after all: it stands for itself.
                    let mut held = std::mem::take(&mut self.held);
                    let again = held.pop();
                    into.append(&mut held);
                    if let Some(b) = again {
                        self.quoted(b, into);
                    }
                }
            }
            return;
        }
        match b {
            b' ' | b'\t' if self.held.len() < HELD => self.held.push(b),
            b'\r' | b'\n' => {
                // White space at a line's end was added on the way (RFC 2045 s.6.7 rule 3).
                self.held.clear();
                into.push(b);
            }
            _ => {
                into.append(&mut self.held);
                if b == b'=' { self.held.push(b) } else { into.push(b) }
            }
        }
    }
}

/// Decodes base64 at once.
#[must_use]
pub(super) fn base64(data: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(Encoding::Base64);
    let mut octets = Vec::with_capacity(data.len() / 4 * 3 + 3);
    decoder.push(data, &mut octets);
    decoder.finish(&mut octets);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(encoding: Encoding, data: &[u8], cut: usize) -> Vec<u8> {
        let mut decoder = Decoder::new(encoding);
        let mut octets = Vec::new();
        for piece in data.chunks(cut.max(1)) {
            decoder.push(piece, &mut octets);
        }
        decoder.finish(&mut octets);
        octets
    }

    #[test]
    fn known_answers() {
        use Encoding::{Base64, Identity, QuotedPrintable};
        let table: &[(Encoding, &[u8], &[u8])] = &[
            (Identity, b"a=20b\r\n", b"a=20b\r\n"),
            (Base64, b"", b""),
            (Base64, b"Zg==", b"f"),
            (Base64, b"Zm8=", b"fo"),
            (Base64, b"Zm9v", b"foo"),
            (Base64, b"Zm\r\n9v Y!mFy\r\n", b"foobar"),
            (Base64, b"Zm9vYg", b"foob"),
            (Base64, b"Zg==Zg==", b"ff"),
            (Base64, b"Z", b""),
            (QuotedPrintable, b"a=3Db", b"a=b"),
            (QuotedPrintable, b"a=3db=C3=BC", b"a=b\xc3\xbc"),
            (QuotedPrintable, b"soft=\r\nbreak=\nhere= \t\r\nend", b"softbreakhereend"),
            (QuotedPrintable, b"trailing  \t\r\nspace \n", b"trailing\r\nspace\n"),
            (QuotedPrintable, b"inner  space", b"inner  space"),
            (QuotedPrintable, b"bad=XYcode =4", b"bad=XYcode =4"),
            (QuotedPrintable, b"a==3D=", b"a=="),
            (QuotedPrintable, b"", b""),
        ];
        for (encoding, data, expected) in table {
            for cut in [1, 2, 3, 1000] {
                let got = decode(*encoding, data, cut);
                assert_eq!(got, *expected, "{encoding:?} {:?} cut {cut}", String::from_utf8_lossy(data));
            }
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(data in proptest::collection::vec(
            prop_oneof![Just(b'='), Just(b' '), Just(b'\r'), Just(b'\n'), Just(b'4'), any::<u8>()], 0..200),
            cut in 1usize..9)
        {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
                prop_assert_eq!(decode(encoding, &data, cut), decode(encoding, &data, 1_000));
            }
        }

        #[test]
        fn base64_comes_back(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut text = Vec::new();
            for chunk in data.chunks(3) {
                let n = (0..3).fold(0u32, |n, i| n << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
                for i in 0..=chunk.len() {
                    text.push(alphabet[(n >> (18 - 6 * i)) as usize & 63]);
                }
            }
            prop_assert_eq!(base64(&text), data);
        }
    }
}
