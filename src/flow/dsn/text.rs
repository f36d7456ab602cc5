//! Text for people in a message of 7-bit lines: wrapped, and what others said made harmless.

use std::fmt::Write as _;

use wire::abnf::steers;

/// Columns of a line for people.
const COLUMNS: usize = 72;
/// Octets of a line in quoted-printable (RFC 2045 s.6.7): a line in ASCII for people is not broken there.
const CODED: usize = 76;

/// What somebody else wrote, without what could steer a terminal or turn the direction of reading: blanks instead.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// The same for a header field: what is not ASCII is a question mark.
pub(super) fn ascii(text: &str) -> String {
    clean(text).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// A paragraph in lines of at most 72 columns, each after `indent`. A word that is longer is cut.
pub(super) fn paragraph(indent: &str, text: &str, out: &mut String) {
    let room = COLUMNS.saturating_sub(indent.len()).max(1);
    let mut column = 0;
    for word in text.split_whitespace() {
        let mut letters: Vec<char> = word.chars().collect();
        while !letters.is_empty() {
            if column > 0 && column + 1 + letters.len() <= room {
                out.push(' ');
                column += 1;
            } else {
                if column > 0 {
                    out.push_str("\r\n");
                }
                out.push_str(indent);
                column = 0;
            }
            let rest = letters.split_off(letters.len().min(room - column));
            column += letters.len();
            out.extend(letters);
            letters = rest;
        }
    }
    if column > 0 {
        out.push_str("\r\n");
    }
}

/// A field of a header or of a delivery status, folded where it has white space.
pub(super) fn field(name: &str, value: &str, out: &mut String) {
    let _ = write!(out, "{name}:");
    let mut column = name.len() + 1;
    for word in value.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            // RFC 5322 s.2.1.1: no line is longer than 998 octets, whatever the word.
            let end =
                (0..=rest.len().min(900)).rev().find(|&at| rest.is_char_boundary(at)).unwrap_or(rest.len());
            let (now, later) = rest.split_at(end);
            if column > name.len() + 1 && column + 1 + now.len() > CODED {
                out.push_str("\r\n");
                column = 0;
            }
            let _ = write!(out, " {now}");
            column += 1 + now.len();
            rest = later;
        }
    }
    out.push_str("\r\n");
}

/// A body part of text: as it is if it is ASCII, else in quoted-printable (RFC 2045 s.6.7).
pub(super) fn part(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str("Content-Type: text/plain; charset=us-ascii\r\n\r\n");
        out.push_str(text);
        return;
    }
    out.push_str(
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
    );
    for line in text.split_inclusive("\r\n") {
        let (line, end) = line.strip_suffix("\r\n").map_or((line, ""), |line| (line, "\r\n"));
        let mut column = 0;
        for (at, octet) in line.bytes().enumerate() {
            let last = at + 1 == line.len();
            let piece = match octet {
                b' ' if !last => " ".to_owned(),
                b'!'..=b'~' if octet != b'=' => char::from(octet).to_string(),
                _ => format!("={octet:02X}"),
            };
            if column + piece.len() > CODED - 1 {
                out.push_str("=\r\n");
                column = 0;
            }
            out.push_str(&piece);
            column += piece.len();
        }
        out.push_str(end);
    }
}

/// The same octets in base64 (RFC 2045 s.6.8).
pub(super) fn base64(octets: &[u8], out: &mut String) {
    for line in octets.chunks(CODED / 4 * 3) {
        out.push_str(&data_encoding::BASE64.encode(line));
        out.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_is_blanked() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}e\u{2028}f\u{61c}g"), "a [2Jb  c d e f g");
        assert_eq!(ascii("gr\u{fc}n\0"), "gr?n ");
    }

    #[test]
    fn paragraphs_are_wrapped() {
        let mut out = String::new();
        paragraph("  ", &("word ".repeat(20) + &"x".repeat(200)), &mut out);
        assert!(out.lines().all(|line| line.len() <= COLUMNS && line.starts_with("  ")), "{out}");
        assert_eq!(out.matches("word").count(), 20);
        assert_eq!(out.matches('x').count(), 200);
        paragraph("  ", " ", &mut out);
        assert!(out.ends_with("x\r\n"));
    }

    proptest! {
        #[test]
        fn no_line_of_anything_is_too_long(text in "\\PC{0,300}", long in "[a-zü]{0,2000}") {
            let (mut out, all) = (String::new(), format!("{text} {long}"));
            field("Diagnostic-Code", &all, &mut out);
            prop_assert!(out.lines().all(|line| line.len() <= 998));
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(squeezed(&out), format!("Diagnostic-Code:{}", squeezed(&all)));
            let mut words = String::new();
            paragraph("  ", &all, &mut words);
            prop_assert_eq!(squeezed(&words), squeezed(&all));
            let mut coded = String::new();
            part(&words, &mut coded);
            prop_assert!(coded.is_ascii() && coded.lines().all(|line| line.len() <= CODED));
            let read = mail_parser::MessageParser::new().parse(coded.as_bytes()).unwrap();
            prop_assert_eq!(squeezed(&read.body_text(0).unwrap_or_default()), squeezed(&words));
        }
    }
}
