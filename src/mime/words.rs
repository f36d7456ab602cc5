//! Text for people: encoded words, character sets, and the form in which SEARCH compares.
//!
//! RFC 2047 (with what senders do against it: spaces inside, words without space between), RFC 2231 s.5 (language
//! after `*`). 8-bit octets are taken as UTF-8, or else as Windows-1252, which is what such senders mean.

use mail_parser::decoders::charsets::map::charset_decoder;

use super::header::unfold;
use super::transfer;

/// An encoded word may be this long. RFC 2047 s.2 allows 75; some senders put a whole subject into one.
const WORD: usize = 4_000;

/// Decodes octets of a character set; unknown ones are taken as [`plain`].
#[must_use]
pub fn decode(charset: &[u8], octets: &[u8]) -> String {
    let name = charset.trim_ascii();
    let utf8 = [&b"utf-8"[..], b"utf8", b"us-ascii", b"ascii"].iter().any(|n| name.eq_ignore_ascii_case(n));
    match charset_decoder(name) {
        // ASCII that has 8-bit octets is anything; UTF-8 decoding must be the strict one.
        Some(decoder) if !utf8 && !name.is_empty() => decoder(octets),
        _ => plain(octets),
    }
}

/// Octets of no stated character set.
#[must_use]
pub fn plain(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() || mostly_utf8(octets) => {
            String::from_utf8_lossy(octets).into_owned()
        }
        Err(_) => match charset_decoder(b"windows-1252") {
            Some(decoder) => decoder(octets),
            None => String::from_utf8_lossy(octets).into_owned(),
        },
    }
}

/// Whether a stray octet spoils text that is otherwise UTF-8 with multi-octet characters.
fn mostly_utf8(octets: &[u8]) -> bool {
    let (mut good, mut bad) = (0usize, 0usize);
    for chunk in octets.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    good > bad
}

/// A field's value as text: unfolded, encoded words decoded.
#[must_use]
pub fn header_text(value: &[u8]) -> String {
    let value = unfold(value);
    let mut text = String::with_capacity(value.len());
    let mut rest = &value[..];
    // Space between two encoded words is not part of the text (RFC 2047 s.6.2).
    let mut after_word = false;
    // Octets of neighbours in one character set are joined before decoding: some cut inside a character.
    let mut pending: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (before, candidate) = rest.split_at(at);
        let Some((charset, octets, used)) = encoded_word(candidate) else {
            // Not one: keep it as it stands, but look for the next behind it.
            flush(&mut pending, &mut text);
            let (passed, behind) = rest.split_at(at + 2);
            text.push_str(&plain(passed));
            rest = behind;
            after_word = false;
            continue;
        };
        if !(after_word && before.iter().all(u8::is_ascii_whitespace)) {
            flush(&mut pending, &mut text);
            text.push_str(&plain(before));
        }
        match &mut pending {
            Some((same, more)) if same.eq_ignore_ascii_case(charset) => more.extend_from_slice(&octets),
            _ => {
                flush(&mut pending, &mut text);
                pending = Some((charset.to_vec(), octets));
            }
        }
        after_word = true;
        rest = candidate.get(used..).unwrap_or_default();
    }
    flush(&mut pending, &mut text);
    text.push_str(&plain(rest));
    text
}

fn flush(pending: &mut Option<(Vec<u8>, Vec<u8>)>, text: &mut String) {
    if let Some((charset, octets)) = pending.take() {
        text.push_str(&decode(&charset, &octets));
    }
}

/// `=?charset*language?B|Q?text?=` at the start: character set, octets, and how long it is.
fn encoded_word(s: &[u8]) -> Option<(&[u8], Vec<u8>, usize)> {
    let s = s.get(..s.len().min(WORD))?;
    let inner = s.strip_prefix(b"=?")?;
    let charset_len = inner.iter().take(60).position(|&b| b == b'?' || b.is_ascii_whitespace())?;
    let (charset, rest) = inner.split_at(charset_len);
    let [b'?', encoding, b'?', rest @ ..] = rest else { return None };
    if charset.is_empty() {
        return None;
    }
    let end = memchr::memmem::find(rest, b"?=")?;
    let data = rest.get(..end)?;
    let octets = match encoding {
        b'q' | b'Q' => quoted(data),
        b'b' | b'B' => transfer::base64(data),
        _ => return None,
    };
    let charset = charset.split(|&b| b == b'*').next().unwrap_or(charset);
    Some((charset, octets, 2 + charset_len + 3 + end + 2))
}

/// The "Q" encoding (RFC 2047 s.4.2).
fn quoted(data: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(data.len());
    let mut rest = data;
    loop {
        rest = match rest {
            [] => return octets,
            [b'_', rest @ ..] => {
                octets.push(b' ');
                rest
            }
            [b'=', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                octets.push(hex(*high) << 4 | hex(*low));
                behind
            }
            [other, rest @ ..] => {
                octets.push(*other);
                rest
            }
        };
    }
}

/// The value of a hexadecimal digit; 0 for what is none.
pub(super) fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// The form in which texts are compared: without regard to case (RFC 3501 s.6.4.4), and with any white space as one
/// space. Where a line was broken, in a header (RFC 5322 s.2.2.3) or in a text that flows, is no part of what it says.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// Appends the folded form of `text`, which goes on where `folded` ends.
pub fn fold_into(text: &str, folded: &mut String) {
    folded.reserve(text.len());
    let mut after_space = folded.ends_with(' ');
    for c in text.chars() {
        if c.is_whitespace() {
            if !after_space {
                folded.push(' ');
            }
            after_space = true;
            continue;
        }
        after_space = false;
        match c {
            _ if c.is_ascii() => folded.push(c.to_ascii_lowercase()),
            'ς' => folded.push('σ'),
            'ß' | 'ẞ' => folded.push_str("ss"),
            c => folded.extend(c.to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words() {
        let table: &[(&[u8], &str)] = &[
            (b" plain text \r\n", "plain text"),
            (b"=?utf-8?q?J=C3=BCrgen?=", "Jürgen"),
            (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            (b"=?ISO-8859-1?Q?a?=  \r\n =?ISO-8859-1?Q?b?=", "ab"),
            (b"=?ISO-8859-1?Q?a_b?=", "a b"),
            (b"=?ISO-8859-1?Q?a?= b", "a b"),
            (b"(=?ISO-8859-1?Q?a?= b)", "(a b)"),
            // One character over two words.
            (b"=?utf-8?q?=C3?= =?UTF-8?q?=BC?=", "ü"),
            (b"=?utf-8?B?w7w=?= =?iso-8859-1?Q?=FC?=", "üü"),
            (b"=?utf-8*de?B?w7w?=", "ü"),
            (b"=?koi8-r?B?8NLJ18XU?=", "Привет"),
            (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            (b"=?gb2312?B?1tDOxA==?=", "中文"),
            (b"=?x-unknown?Q?abc?=", "abc"),
            (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
            (b"=?utf-8?q?never ends", "=?utf-8?q?never ends"),
            (b"a =? b ?= c", "a =? b ?= c"),
            (b"=?utf-8?q??= x", " x"),
            (b"=?utf-8?q?with space?=", "with space"),
            ("Grüße".as_bytes(), "Grüße"),
            (b"Gr\xfc\xdfe", "Grüße"),
            (b"\x80 5", "€ 5"),
        ];
        for (value, expected) in table {
            assert_eq!(header_text(value), *expected, "{:?}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn folding() {
        for (text, expected) in [
            ("ÄÖÜ", "äöü"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("ΣΟΦΟΣ", "σοφοσ"),
            ("σοφος", "σοφοσ"),
            ("folded\twith  a\r\n\tTAB", "folded with a tab"),
            (" no\u{a0}break\u{3000} ", " no break "),
        ] {
            assert_eq!(fold(text), expected);
        }
    }

    #[test]
    fn many_beginnings_without_end_take_linear_time() {
        // 2 MB in which every sixth octet could begin a word: seconds if each looked to the end.
        let text = header_text(&b"=?u?q?x".repeat(40_000));
        assert_eq!(text.len(), 280_000);
    }
}
