//! Tricky messages, with the structure that RFC 3501 and RFC 2046 ask for, worked out by hand.

use std::fmt::Write as _;

use proptest::prelude::*;
use store::{Octets, ReadError};

use super::text::{Where, Words};
use super::words::fold;
use super::*;

/// A message in memory that is read in pieces, as one on disk is.
struct Pieces<'a>(&'a [u8]);

impl Octets for Pieces<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

fn text(s: &[u8]) -> String {
    String::from_utf8_lossy(s).into_owned()
}

/// The structure: `type/subtype[lines]{body}`, multiparts in brackets, messages in messages in angle brackets.
fn shape(message: &[u8]) -> String {
    let octets = digest_of(message);
    let digest = Digest::read(&octets).expect("a digest can be read");
    let mut out = String::new();
    show(&digest, 0, message, &mut out);
    out
}

fn show(digest: &Digest<'_>, at: usize, message: &[u8], out: &mut String) {
    let part = &digest.parts()[at];
    let d = part.description().unwrap();
    let body = &message[part.body.start as usize..part.body.end as usize];
    let media = format!("{}/{}", text(&d.kind), text(&d.subtype));
    if part.is_multipart() {
        write!(out, "[{}", text(&d.subtype)).unwrap();
        for child in digest.children(at) {
            out.push(' ');
            show(digest, child, message, out);
        }
        out.push(']');
    } else if part.is_message() {
        write!(out, "<{} {}:{} ", media, part.lines, body.len()).unwrap();
        show(digest, digest.children(at).next().unwrap(), message, out);
        out.push('>');
    } else {
        write!(out, "{media}({})={:?}", part.lines, text(body)).unwrap();
    }
}

#[test]
fn shapes_of_tricky_messages() {
    let table: &[(&str, &str)] = &[
        ("", r#"text/plain(0)="""#),
        ("\r\n", r#"text/plain(0)="""#),
        ("\r\n\r\n", "text/plain(1)=\"\\r\\n\""),
        ("\r\nno header\r\n", "text/plain(1)=\"no header\\r\\n\""),
        // All of it is header: there is no blank line (RFC 5322 s.3.5).
        ("Subject: x\r\n", r#"text/plain(0)="""#),
        ("Subject: x", r#"text/plain(0)="""#),
        ("Subject: x\r\n\r\nno final line end", r#"text/plain(0)="no final line end""#),
        ("A: b\n\nbare\nLF\n", "text/plain(2)=\"bare\\nLF\\n\""),
        ("Content-Type: junk\r\n\r\nx", r#"text/plain(0)="x""#),
        ("Content-Type: text/html; charset=x\r\n\r\nx", r#"text/html(0)="x""#),
        // Multiparts.
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: a/b\r\n\r\ntwo\r\n\r\n--b--\r\nepi\r\n",
            "[mixed text/plain(0)=\"one\" a/b(1)=\"two\\r\\n\"]",
        ),
        // The closing delimiter is missing; white space behind a delimiter; a longer line is none.
        (
            "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b \t\r\n\r\n--bb\r\none\r\n --b\r\n--b x\r\n",
            "[mixed text/plain(4)=\"--bb\\r\\none\\r\\n --b\\r\\n--b x\\r\\n\"]",
        ),
        // Empty parts, with and without a blank line.
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--b\r\n\r\n\r\n--b\r\n--b\r\nX: y\r\n--b--",
            r#"[mixed text/plain(0)="" text/plain(0)="" text/plain(0)="" text/plain(0)=""]"#,
        ),
        // No delimiter at all, no boundary parameter: people see text.
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing\r\n", "text/plain(1)=\"nothing\\r\\n\""),
        ("Content-Type: multipart/mixed\r\n\r\n--b\r\n", "text/plain(1)=\"--b\\r\\n\""),
        // An inner multipart that never ends is ended by the outer delimiter.
        (
            "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\na\r\n--i\r\nContent-Type: text/html\r\n\r\nb\r\n--o\r\n\r\nc\r\n--o--\r\n",
            "[mixed [alternative text/plain(0)=\"a\" text/html(0)=\"b\"] text/plain(0)=\"c\"]",
        ),
        // One boundary is the beginning of the other.
        (
            "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=ab\r\n\r\n--ab\r\n\r\nx\r\n--ab--\r\n--a\r\n\r\ny\r\n--a--",
            "[mixed [mixed text/plain(0)=\"x\"] text/plain(0)=\"y\"]",
        ),
        // What follows the closing delimiter is no part.
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n",
            r#"[mixed text/plain(0)="x"]"#,
        ),
        // A message in a message, multipart, with parts of a digest.
        (
            "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n\r\nbody\r\n\r\n--b\r\nContent-Type: text/x\r\n\r\nt\r\n--b--\r\n",
            "[digest <message/rfc822 3:21 text/plain(1)=\"body\\r\\n\"> text/x(0)=\"t\"]",
        ),
        (
            "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
            "<message/rfc822 6:62 [mixed text/plain(0)=\"x\"]>",
        ),
        ("Content-Type: message/rfc822\r\n\r\n", "<message/rfc822 0:0 text/plain(0)=\"\">"),
        ("Content-Type: message/rfc822\r\n", "<message/rfc822 0:0 text/plain(0)=\"\">"),
        // LF only, all through.
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n\n--b--\n",
            "[mixed text/plain(0)=\"one\" text/plain(1)=\"two\\n\"]",
        ),
    ];
    for (message, expected) in table {
        assert_eq!(shape(message.as_bytes()), *expected, "{message:?}");
    }
}

#[test]
fn headers_outside_ascii_are_found_at_any_level() {
    let deep = |levels: usize, end: &str| {
        let nested: String = (0..levels)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n"))
            .collect();
        nested + end
    };
    let long = format!("X: {}\n\nx", "x".repeat(2 * wire::limits::HEADER));
    for (message, ascii) in [
        ("", true),
        ("Subject: x\n\ngr\u{fc}n\n", true),
        ("Subject: gr\u{fc}n\n\nx\n", false),
        ("Subject: x\nX: \u{fc}", false),
        (&deep(1, "Content-Type: text/plain\n\ngr\u{fc}n\n--b\nX: gr\u{fc}n\n\n"), true),
        (&deep(1, "\n--b0\nContent-Type: text/plain; name=\u{fc}\n\nx"), false),
        (&deep(1, "\n--b0--\nX: \u{fc}\n\n"), true),
        (&deep(40, "Content-Type: message/rfc822\n\nSubject: x\n\n\u{fc}"), true),
        (&deep(40, "Content-Type: message/rfc822\n\nSubject: \u{fc}\n\nx"), false),
        ("Content-Type: Message/Global-headers\n\nx", false),
        // What is not looked at.
        (&deep(60, "X: x\n\n"), false),
        (&long, false),
    ] {
        let octets = message.replace('\n', "\r\n").into_bytes();
        for piece in [1, 7, usize::MAX] {
            let mut headers = Headers::default();
            octets.chunks(piece.min(octets.len().max(1))).for_each(|piece| headers.push(piece));
            assert_eq!(
                headers.are_ascii(),
                ascii,
                "{:?}",
                text(&octets).chars().take(200).collect::<String>()
            );
        }
    }
}

#[test]
fn nesting_and_parts_stop_at_their_limits() {
    let mut deep = String::new();
    for i in 0..1_000 {
        write!(deep, "Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n").unwrap();
    }
    let octets = digest_of(deep.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    assert_eq!(digest.parts().len(), wire::limits::MIME_DEPTH + 1);
    let last = digest.parts().last().unwrap().description().unwrap();
    assert_eq!((text(&last.kind), text(&last.subtype)), ("application".into(), "octet-stream".into()));

    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(5_000);
    let octets = digest_of(messages.as_bytes());
    assert_eq!(Digest::read(&octets).unwrap().parts().len(), wire::limits::MIME_DEPTH + 1);

    let wide = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\nA: b\r\n\r\nx\r\n".repeat(100_000)
    );
    let octets = digest_of(wide.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    assert_eq!(digest.parts().len(), wire::limits::MIME_PARTS);
    assert_eq!(digest.root().unwrap().body.end, wide.len() as u64);
}

#[test]
fn a_header_without_end_is_bounded() {
    let long = format!("Subject: x\r\nTo: {}\r\n\r\nbody", "a@b, ".repeat(400_000));
    let octets = digest_of(long.as_bytes());
    assert!(octets.len() < 4 * wire::limits::HEADER, "{}", octets.len());
    let digest = Digest::read(&octets).unwrap();
    let root = digest.root().unwrap();
    assert_eq!(root.body, long.len() as u64 - 4..long.len() as u64);
    assert_eq!(root.envelope().unwrap().subject.as_deref(), Some(&b"x"[..]));
}

const NESTED: &str = "Subject: out\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\npreamble\r\n\
--o\r\nContent-ID: <1>\r\n\r\none\r\n\
--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n\
--i\r\nX: 2.1\r\n\r\ntwo.one\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>\r\n--i--\r\n\
--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: single\r\n\r\nthree.one\r\n--o--\r\n";

#[test]
fn sections() {
    use What::{Header, Mime, Text, Whole};
    let octets = digest_of(NESTED.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    let table: &[(&[u32], What, Option<&str>)] = &[
        (&[], Whole, Some(NESTED)),
        (&[], Header, Some("Subject: out\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n")),
        (&[], Text, Some(NESTED.split_once("\r\n\r\n").unwrap().1)),
        (&[], Mime, None),
        (&[1], Whole, Some("one")),
        (&[1], Mime, Some("Content-ID: <1>\r\n\r\n")),
        (&[1], Header, None),
        (&[1], Text, None),
        (&[1, 1], Whole, None),
        (&[2], Mime, Some("Content-Type: message/rfc822\r\n\r\n")),
        (&[2], Header, Some("Subject: in\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n")),
        (&[2, 1], Whole, Some("two.one")),
        (&[2, 1], Mime, Some("X: 2.1\r\n\r\n")),
        (&[2, 2], Whole, Some("<p>")),
        (&[2, 3], Whole, None),
        (&[3], Whole, Some("Subject: single\r\n\r\nthree.one")),
        (&[3], Text, Some("three.one")),
        (&[3, 1], Whole, Some("three.one")),
        (&[3, 1], Mime, Some("Subject: single\r\n\r\n")),
        (&[3, 2], Whole, None),
        (&[3, 1, 1], Whole, None),
        (&[0], Whole, None),
        (&[4], Whole, None),
    ];
    for (path, what, expected) in table {
        let found = locate(&digest, path, *what).map(|r| &NESTED[r.start as usize..r.end as usize]);
        assert_eq!(found, *expected, "{path:?} {what:?}");
    }
    // A message that is not multipart has itself as part 1.
    let plain = "Subject: x\r\n\r\nbody";
    let octets = digest_of(plain.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    for (path, what, expected) in [
        (&[1][..], Whole, Some("body")),
        (&[1], Mime, Some("Subject: x\r\n\r\n")),
        (&[1], Text, None),
        (&[1, 1], Whole, None),
        (&[2], Whole, None),
    ] {
        assert_eq!(locate(&digest, path, what).map(|r| &plain[r.start as usize..r.end as usize]), expected);
    }
    // A message whose type is message/rfc822: part 1 is the message in it.
    let wrapped = "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody";
    let octets = digest_of(wrapped.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    for (path, what, expected) in [
        (&[1][..], Whole, Some("Subject: in\r\n\r\nbody")),
        (&[1], Header, Some("Subject: in\r\n\r\n")),
        (&[1, 1], Whole, Some("body")),
        (&[], Header, Some("Content-Type: message/rfc822\r\n\r\n")),
    ] {
        assert_eq!(locate(&digest, path, what).map(|r| &wrapped[r.start as usize..r.end as usize]), expected);
    }
}

#[test]
fn fields_by_name() {
    let section = b"A: 1\r\nB: 2\r\n fold\r\na: 3\r\n\r\n";
    assert_eq!(text(&header_fields(section, &["a", "x"], false)), "A: 1\r\na: 3\r\n\r\n");
    assert_eq!(text(&header_fields(section, &["A"], true)), "B: 2\r\n fold\r\n\r\n");
    assert_eq!(text(&header_fields(b"A: 1\r\n", &["B"], false)), "");
}

#[test]
fn envelopes_and_descriptions() {
    let message = "Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\nFrom: =?utf-8?q?J=C3=BC?= <j@x>\r\nSubject: =?utf-8?q?=C3=9Cber?=\r\n \
        folded\r\nTo: a@b,\r\n c@d\r\nSender:\r\nReferences: <1> <2>\r\nMessage-ID: <m@x>\r\n\
        Content-Type: text/plain; format=flowed\r\nContent-Transfer-Encoding: quoted-printable (why)\r\n\
        Content-Disposition: attachment; filename=\"a b.txt\"\r\nContent-Language: de, en\r\nContent-MD5: abc==\r\n\
        Content-Location: http://x/\r\nContent-Description: a =?utf-8?q?b?=\r\n\r\nx";
    let octets = digest_of(message.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    let root = digest.root().unwrap();
    let e = root.envelope().unwrap();
    assert_eq!(e.date.as_deref(), Some(&b"Mon, 7 Feb 1994 21:52:25 -0800 (PST)"[..]));
    assert_eq!(text(&e.subject.unwrap()), "=?utf-8?q?=C3=9Cber?= folded");
    assert_eq!(text(e.from[0].name.as_deref().unwrap()), "=?utf-8?q?J=C3=BC?=");
    assert_eq!(e.to.len(), 2);
    assert_eq!((e.cc.len(), e.in_reply_to, e.message_id), (0, None, Some(b"<m@x>".to_vec())));
    assert_eq!(
        told(message, true),
        "(\"text\" \"plain\" (\"format\" \"flowed\" \"charset\" \"us-ascii\") NIL \"a =?utf-8?q?b?=\" \
         \"quoted-printable\" 1 0 \"abc==\" (\"attachment\" (\"filename\" \"a b.txt\")) (\"de\" \"en\") \"http://x/\")"
    );
    let s = digest.search().unwrap();
    assert_eq!((s.from, s.subject, s.to, s.cc), ("jü <j@x>", "über folded", "a@b, c@d", ""));
    assert_eq!(s.references, b"<1> <2>");
    assert_eq!(s.sent, Some(Sent { unix: 760_686_745, zone_minutes: -480 }));
    // 7 February as written, though it is the 8th in UTC.
    assert_eq!(s.sent.unwrap().day(), 8_803);
}

/// BODYSTRUCTURE or BODY as a client reads it.
fn told(message: &str, extensible: bool) -> String {
    let octets = digest_of(message.as_bytes());
    let mut out = Vec::new();
    Digest::read(&octets).unwrap().structure(0).unwrap().encode(extensible, &mut out);
    text(&out)
}

#[test]
fn structures_as_told() {
    assert_eq!(told("", false), r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7BIT" 0 0)"#);
    assert_eq!(
        told(NESTED, true),
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") \"<1>\" NIL \"7BIT\" 3 0 NIL NIL NIL NIL)\
         (\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 130 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL NIL) \
         ((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 7 0 NIL NIL NIL NIL)\
         (\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 3 0 NIL NIL NIL NIL) \
         \"alternative\" (\"boundary\" \"i\") NIL NIL NIL) 11 NIL NIL NIL NIL)\
         (\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 28 (NIL \"single\" NIL NIL NIL NIL NIL NIL NIL NIL) \
         (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 9 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) \
         \"mixed\" (\"boundary\" \"o\") NIL NIL NIL)"
    );
    assert_eq!(
        told(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--",
            false
        ),
        r#"(("image" "png" NIL NIL NIL "7BIT" 1) "mixed")"#
    );
}

#[test]
fn odd_dates() {
    for (value, expected) in [
        ("1 Jan 70 00:00:00 GMT", Some((0, 0))),
        ("Thu, 1 Jan 1970 01:00:00 +0100", Some((0, 60))),
        ("Sun, 23 Nov 2026 09:05:03 +0000", Some((1_795_424_703, 0))),
        ("yesterday", None),
        ("", None),
        ("99 Foo 12345 99:99:99 +9999", None),
    ] {
        let octets = digest_of(format!("Date: {value}\r\n\r\n").as_bytes());
        let sent = Digest::read(&octets).unwrap().search().unwrap().sent;
        assert_eq!(sent.map(|s| (s.unix, s.zone_minutes)), expected, "{value:?}");
    }
}

fn finds(message: &str, words: &[(&str, Where)]) -> Vec<bool> {
    let octets = digest_of(message.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    let folded: Vec<_> = words.iter().map(|&(w, place)| (fold(w), place)).collect();
    let words = Words::new(folded.iter().map(|(w, place)| (w.as_str(), *place)));
    words.find(&mut Pieces(message.as_bytes()), &digest).unwrap()
}

/// Counts what is read.
struct Counted<'a>(Pieces<'a>, u64);

impl Octets for Counted<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> Result<usize, ReadError> {
        let read = self.0.read_at(at, into)?;
        self.1 += read as u64;
        Ok(read)
    }
}

#[test]
fn a_hundred_words_are_looked_for_in_one_pass() {
    let line = "the quick brown fox jumps over the lazy dog\r\n";
    let message = format!("Subject: animals\r\n\r\n{}the end\r\n", line.repeat(20_000));
    let octets = digest_of(message.as_bytes());
    let digest = Digest::read(&octets).unwrap();
    let absent: Vec<String> = (0..98).map(|n| format!("cat {n}")).collect();
    let words = absent.iter().map(String::as_str).chain(["the end", "dog the"]);
    let words = Words::new(words.zip([Where::Body, Where::Text].into_iter().cycle()));
    let mut counted = Counted(Pieces(message.as_bytes()), 0);
    let found = words.find(&mut counted, &digest).unwrap();
    assert_eq!(found, [vec![false; 98], vec![true; 2]].concat());
    assert!(counted.1 <= counted.len(), "{} octets read of {}", counted.1, counted.len());
    // And not further than it takes.
    let words = Words::new([("quick", Where::Body), ("animals", Where::Text)]);
    let mut counted = Counted(Pieces(message.as_bytes()), 0);
    assert_eq!(words.find(&mut counted, &digest).unwrap(), [true, true]);
    assert!(counted.1 < counted.len() / 2, "{} octets read of {}", counted.1, counted.len());
}

#[test]
fn where_lines_were_broken_is_no_part_of_a_phrase() {
    let message = "Subject: a subject\r\n\tfolded with TAB\r\nX-Other: and\r\n  another\r\n\r\n\
        text that flows \r\nfrom line  to\tline\r\n\r\nparagraph\r\n";
    for word in ["subject folded with", "and another", "flows from", "line to line paragraph", "to \t line"] {
        assert_eq!(finds(message, &[(word, Where::Text)]), [true], "{word:?}");
    }
    let octets = digest_of(message.as_bytes());
    assert_eq!(Digest::read(&octets).unwrap().search().unwrap().subject, "a subject folded with tab");
}

#[test]
fn words_are_found_as_people_read_them() {
    let message = "Subject: =?utf-8?q?=C3=9Cbersicht?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n\
        --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        Sch=C3=B6ne Gr=C3=BC=\r\n=C3=9Fe aus\r\nM=C3=BCnchen\r\n\
        --b\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        PGI+S/xjaGU8L2I+ICZ1dW1sO2JlciAmIzIyODsgeA==\r\n\
        --b\r\nContent-Type: application/pdf; name=\"Rechnung.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nc2VjcmV0\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inneres\r\n\r\nKern\r\n--b--\r\n";
    for (word, body, everywhere) in [
        ("übersicht", false, true),
        ("SCHÖNE GRÜSSE", true, true),
        ("aus München", true, true),
        ("küche", true, true),
        ("küche über ä x", true, true),
        ("&#228;", true, true),
        ("<b>", true, true),
        ("rechnung.PDF", true, true),
        ("secret", false, false),
        ("c2VjcmV0", false, false),
        ("inneres", true, true),
        ("kern", true, true),
        ("nirgends", false, false),
        ("subject: über", false, true),
        ("", true, true),
    ] {
        let found = finds(message, &[(word, Where::Body), (word, Where::Text)]);
        assert_eq!(found, [body, everywhere], "{word:?}");
    }
}

#[test]
fn words_across_pieces_of_a_long_body() {
    for at in [60_000usize, 65_530, 65_534, 65_536, 131_070, 400_000] {
        let mut body = "line of text\r\n".repeat(30_000).into_bytes();
        let needle = "gesücht ist\r\nhier";
        body.splice(at..at, needle.bytes());
        let message = format!("A: b\r\n\r\n{}", String::from_utf8(body).unwrap());
        assert_eq!(finds(&message, &[("GESÜCHT ist hier", Where::Body)]), [true], "{at}");
        // A line without any end.
        let message = message.replace("\r\n", "").replace("A: b", "A: b\r\n\r\n");
        assert_eq!(finds(&message, &[("GESÜCHT isthier", Where::Body)]), [true], "{at}");
    }
}

fn check(message: &[u8]) {
    let octets = digest_of(message);
    // However it comes in pieces, the digest is the same.
    for cut in [1, 7, 100] {
        let mut walker = walk::Walker::new();
        message.chunks(cut).for_each(|piece| walker.push(piece));
        assert_eq!(digest::encode(&walker.finish()), octets, "cut {cut}: {:?}", text(message));
    }
    assert_eq!(derive(&mut Pieces(message)).unwrap(), octets);
    let digest = Digest::read(&octets).expect("what is written can be read");
    for (at, part) in digest.parts().iter().enumerate() {
        assert!(part.header.start <= part.header.end && part.header.end == part.body.start);
        assert!(part.body.end <= message.len() as u64);
        assert!(part.description().is_some());
        assert!(part.envelope().is_some() || at > 0);
        assert_eq!(digest.children(at).count() > 0, part.is_multipart() || part.is_message());
        if !part.is_multipart() {
            let body = &message[part.body.start as usize..part.body.end as usize];
            assert_eq!(
                part.lines,
                body.iter().filter(|&&b| b == b'\n').count() as u64,
                "{:?}",
                text(message)
            );
        }
    }
    assert!(digest.search().is_some());
    let words = Words::new([("x", Where::Text)]);
    words.find(&mut Pieces(message), &digest).unwrap();
}

/// Pieces of which odd messages are made.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b"--b\r\n",
        b"--b--\r\n",
        b"--c\n",
        b"--c--",
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: multipart/digest; boundary=\"c\"\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/html; charset=utf-16\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Disposition: a; b=\"c\r\n",
        b"From: A <a@b>, g: c;\r\n",
        b"Subject: =?utf-8?b?w7w=?= =?x\r\n",
        b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n",
        b" folded\r\n",
        b"text",
        b"\xff\x00(",
    ];
    let piece = proptest::sample::select(PIECES);
    proptest::collection::vec(
        prop_oneof![
            9 => piece.prop_map(<[u8]>::to_vec),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
            1 => (500usize..540).prop_map(|n| [&vec![b'-'; n][..], b"\r\n"].concat()),
        ],
        0..40,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn junk_gives_a_sound_digest(message in junk()) {
        check(&message);
    }

    #[test]
    fn a_mutated_message_gives_a_sound_digest(at in 0..NESTED.len(), with: u8, cut in 0..NESTED.len()) {
        let mut message = NESTED.as_bytes().to_vec();
        message[at] = with;
        message.remove(cut);
        check(&message);
    }

    #[test]
    fn a_damaged_digest_is_no_harm(at: proptest::sample::Index, with: u8, cut: proptest::sample::Index) {
        let mut octets = digest_of(NESTED.as_bytes());
        let at = at.index(octets.len());
        octets[at] = with;
        octets.truncate(cut.index(octets.len() + 1).max(octets.len() / 2));
        if let Some(digest) = Digest::read(&octets) {
            for (at, part) in digest.parts().iter().enumerate() {
                let _ = (part.description(), part.envelope(), digest.children(at).count());
            }
            let _ = digest.search();
            let words = Words::new([("x", Where::Text)]);
            let _ = words.find(&mut Pieces(NESTED.as_bytes()), &digest);
            let _ = locate(&digest, &[2, 1], What::Whole);
        }
    }
}
