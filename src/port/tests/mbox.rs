//! Every dialect of mbox, by example; and that what is written is read again as it was.

use proptest::prelude::*;
use wire::flag::{Keyword, SystemFlag, SystemFlags};

use super::*;

fn read(file: &[u8]) -> Vec<(Vec<u8>, Entry)> {
    let mut mbox = Mbox::new(file);
    let (mut messages, mut message) = (Vec::new(), Vec::new());
    while let Some(entry) = mbox.next(&mut message).unwrap() {
        messages.push((message.clone(), entry));
    }
    messages
}

/// The messages, LF for CRLF, so that examples stay readable.
fn texts(file: &str) -> Vec<String> {
    let text =
        |(message, _): &(Vec<u8>, Entry)| String::from_utf8(message.clone()).unwrap().replace("\r\n", "\n");
    read(file.as_bytes()).iter().map(text).collect()
}

const FROM: &str = "From a@b.test Fri Jul  8 12:08:34 2011\n";

#[test]
fn dialects() {
    let two = |first: &str, second: &str| format!("{FROM}{first}\n{FROM}{second}");
    let cases: Vec<(&str, String, Vec<&str>)> = vec![
        (
            "mboxrd",
            two("A: b\n\n>From x\n>>From y\n", "C: d\n\n"),
            vec!["A: b\n\nFrom x\n>From y\n", "C: d\n"],
        ),
        ("no empty line at the end", two("A: b\n\nx\n", "C: d\n\ny\n"), vec!["A: b\n\nx\n", "C: d\n\ny\n"]),
        ("no line end at the end", two("A: b\n\nx\n", "C: d\n\ny"), vec!["A: b\n\nx\n", "C: d\n\ny"]),
        (
            "From in text does not split",
            format!(
                "{FROM}A: b\n\nHello\n\nFrom here on\nFrom x@y Fri Jul  8\n\nFrom \ntext follows, no header\n\n"
            ),
            vec!["A: b\n\nHello\n\nFrom here on\nFrom x@y Fri Jul  8\n\nFrom \ntext follows, no header\n"],
        ),
        (
            "no empty line before From_, and a header behind it",
            format!("{FROM}A: b\n\nx\n{FROM}C: d\n\ny\n"),
            vec!["A: b\n\nx\n", "C: d\n\ny\n"],
        ),
        (
            "no empty line before From_, and no header behind it",
            format!("{FROM}A: b\n\nx\n{FROM}is what it said\n"),
            vec!["A: b\n\nx\nFrom a@b.test Fri Jul  8 12:08:34 2011\nis what it said\n"],
        ),
        (
            "Thunderbird's bare From_",
            "From \r\nA: b\r\n\r\nx\r\n\r\nFrom \r\nC: d\r\n\r\n".into(),
            vec!["A: b\n\nx\n", "C: d\n"],
        ),
        (
            "mboxcl2: Content-Length is right, From is not quoted",
            two(
                "A: b\nContent-Length: 52\n\nx\n\nFrom a@b.test Fri Jul  8 12:08:34 2011\nA: quoted\n",
                "C: d\n\ny\n",
            ),
            vec!["A: b\n\nx\n\nFrom a@b.test Fri Jul  8 12:08:34 2011\nA: quoted\n", "C: d\n\ny\n"],
        ),
        (
            "mboxcl2: what looks quoted is text",
            two("A: b\nContent-Length: 15\n\nFrom x\n>From y\n", "C: d\n\ny\n"),
            vec!["A: b\n\nFrom x\n>From y\n", "C: d\n\ny\n"],
        ),
        (
            "mboxcl: Content-Length is right, From is quoted",
            two("A: b\nContent-Length: 8\n\n>From x\n", "C: d\n\ny\n"),
            vec!["A: b\n\nFrom x\n", "C: d\n\ny\n"],
        ),
        (
            "Content-Length is wrong",
            two("A: b\nContent-Length: 5\n\nlonger than that\n", "C: d\nContent-Length: 5000\n\ny\n"),
            vec!["A: b\nContent-Length: 5\n\nlonger than that\n", "C: d\nContent-Length: 5000\n\ny\n"],
        ),
        (
            "a date that there is not, and dates of other forms, before a header",
            "From a@b.test Mon Feb 30 25:61:00 2020\nSubject: a\nA: b\n\nx\n\n\
             From - 2021-03-04 05:06:07 +0100\nReceived: x\n y\n\ny\n\n\
             From MAILER-DAEMON 04/03/2021 5:06\nDate: x\n\nz\n"
                .into(),
            vec!["Subject: a\nA: b\n\nx\n", "Received: x\n y\n\ny\n", "Date: x\n\nz\n"],
        ),
        (
            "such a date in text",
            format!(
                "{FROM}A: b\n\nHe wrote\n\nFrom a@b.test Mon Feb 30 25:61:00 2020\nNote: no header\n\nx\n\
                 From a@b.test Mon Feb 30 25:61:00 2020\nSubject: not behind an empty line\n\n\
                 From here at 10:00 in 2020\nSubject: no sender\n\n"
            ),
            vec![
                "A: b\n\nHe wrote\n\nFrom a@b.test Mon Feb 30 25:61:00 2020\nNote: no header\n\nx\n\
                 From a@b.test Mon Feb 30 25:61:00 2020\nSubject: not behind an empty line\n\n\
                 From here at 10:00 in 2020\nSubject: no sender\n",
            ],
        ),
        ("empty lines before the first", format!("\n\r\n{FROM}A: b\n\n\n"), vec!["A: b\n\n"]),
        ("a header alone", two("A: b\n", "C: d\n\n"), vec!["A: b\n", "C: d\n"]),
        ("no header", two("\nx\n", "\n\n"), vec!["\nx\n", "\n"]),
        ("nothing", String::new(), vec![]),
    ];
    for (name, file, expected) in cases {
        assert_eq!(texts(&file), expected, "{name}");
    }
}

#[test]
fn flags_dates_and_labels() {
    let file = format!(
        "{FROM}A: b\nStatus: RO\nX-Status: A\nX-Keywords: x y\n\nx\n\n\
         From - Thu Jan  1 00:00:00 1970\nX-Mozilla-Status: 0008\nA: b\n\nx\n\n\
         From 17@xxx Fri Jul 08 14:08:34 +0200 2011\nX-GM-THRID: 17\nX-Gmail-Labels: Inbox,\n Opened\nA: b\n\nx\n"
    );
    let read = read(file.as_bytes());
    let [(first, a), (_, b), (third, c)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(a.date, Some(InternalDate { unix: 1_310_126_914, zone_minutes: 0 }));
    assert!(a.said.flags.system.has(SystemFlag::Seen) && a.said.flags.system.has(SystemFlag::Answered));
    assert_eq!(a.said.flags.keywords.len(), 2);
    assert_eq!((b.date, b.said.expunged), (None, true));
    assert_eq!(c.date, Some(InternalDate { unix: 1_310_126_914, zone_minutes: 120 }));
    assert!(c.said.labels.as_ref().unwrap().trim_ascii().starts_with(b"Inbox,"));
    assert_eq!((first, third), (&b"A: b\r\n\r\nx\r\n".to_vec(), &b"A: b\r\n\r\nx\r\n".to_vec()));
}

#[test]
fn what_is_no_mbox_is_seen() {
    for (file, well) in [
        (FROM, true),
        ("From x\nA: b\n", true),
        ("From x\nno header\n", false),
        ("From \nA: b\n", true),
        ("A: b\n\n", false),
        ("", true),
        ("\n\n", true),
        ("\0\0\0\0", false),
        ("%PDF-1.4\n", false),
    ] {
        assert_eq!(Mbox::new(file.as_bytes()).begins_well().unwrap(), well, "{file:?}");
    }
}

/// A file that goes on for ever with the same octets.
struct Endless<'a> {
    first: &'a [u8],
    then: &'a [u8],
    left: u64,
}

impl Read for Endless<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.first.is_empty() {
            return self.first.read(buf);
        }
        let n = buf.len().min(usize::try_from(self.left).unwrap());
        for (to, from) in buf[..n].iter_mut().zip(self.then.iter().cycle()) {
            *to = *from;
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[test]
fn a_message_without_end_is_read_past_and_not_held() {
    let line = [&[b'x'; 2_000][..], b"\nFrom x\n"].concat();
    for then in [&b"x"[..], b"\0", b"\r", &line] {
        let octets = limits::MESSAGE + (1 << 20);
        let input = Endless { first: b"From \nSubject: endless\n\n", then, left: octets };
        let mut mbox = Mbox::new(input);
        let mut message = Vec::new();
        let entry = mbox.next(&mut message).unwrap().unwrap();
        assert!(entry.is_too_large(), "{then:?}: {}", entry.length);
        assert!(message.starts_with(b"Subject: endless\r\n") && message.len() <= PIECE);
        assert!(mbox.buffer.capacity() < 16 * STEP, "{}", mbox.buffer.capacity());
        assert!(mbox.next(&mut message).unwrap().is_none());
    }
}

#[test]
fn lengths_that_are_always_wrong_are_not_believed_for_ever() {
    let one = format!("{FROM}A: b\nContent-Length: 40000000\n\nx\n\n");
    let file = one.repeat(3_000);
    let mut mbox = Mbox::new(file.as_bytes());
    let (mut n, mut message) = (0, Vec::new());
    while mbox.next(&mut message).unwrap().is_some() {
        n += 1;
    }
    assert_eq!((n, mbox.wrong), (3_000, limits::MBOX_WRONG_LENGTHS));
}

fn any_line() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "From a@b.test Fri Jul  8 12:08:34 2011",
        "From ",
        ">From x",
        "From x",
        ">>From ",
        "",
        "A: b",
        "Status: RO",
        "X-Status: F",
        "X-Keywords: k",
        "X-Penfold-Octets: 3",
        "Content-Length: 4",
        "text",
        "\0\u{ff}",
        "X-Gmail-Labels: Inbox",
        "X-Mozilla-Status: 0008",
    ])
    .prop_map(str::to_owned)
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", ""]);
    let lines = |end: BoxedStrategy<&'static str>| {
        prop::collection::vec((any_line(), end), 0..12).prop_map(|lines| {
            lines.into_iter().map(|(line, end)| line + end).collect::<String>().into_bytes()
        })
    };
    prop_oneof![3 => lines(Just("\r\n").boxed()), 2 => lines(end.boxed()), 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(messages in prop::collection::vec(
        (any_message(), 0u8..32, prop::collection::vec("[a-zA-Z$][a-z0-9]{0,5}", 0..3), 100_000i64..4_000_000_000, -720i16..720), 0..6)) {
        let mut file = Vec::new();
        let mut expected = Vec::new();
        for (message, bits, words, unix, zone_minutes) in messages {
            let mut flags = FlagNames { system: SystemFlags::from_bits(bits), keywords: Vec::new() };
            words.iter().filter_map(|w| Keyword::parse(w.as_bytes())).for_each(|k| flags.add_keyword(k));
            let date = InternalDate { unix, zone_minutes };
            write(&message, &flags, date, &mut file);
            expected.push((message, flags, Some(date)));
        }
        let got: Vec<_> = read(&file).into_iter().map(|(m, e)| (m, e.said.flags, e.date)).collect();
        prop_assert_eq!(got, expected);
    }
}
