//! An account's sending limits as its mail program meets them, and as its administrator hears of them.

use super::undelete::client::Lines;
use super::undelete::{ALICE, Demo};

const BOB: &str = "bob@demo.test";
const MESSAGE: &[u8] = b"From: bob@demo.test\r\nSubject: x\r\n\r\nHello\r\n.\r\n";

fn limit(demo: &Demo, args: &[&str]) {
    let done = demo.run(&[&["account", "limit", BOB], args].concat());
    assert_eq!(done.code, 0, "{}", done.err);
}

/// What `account list --json` says of Bob.
fn bob(demo: &Demo) -> serde_json::Value {
    let rows = demo.run(&["account", "list", "--json"]).json();
    rows.as_array().unwrap().iter().find(|row| row["login"] == BOB).unwrap().clone()
}

/// RFC 4648 s.4.
fn base64(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = (0..3).fold(0, |bits, n| bits << 8 | usize::from(three.get(n).copied().unwrap_or(0)));
        let letters = (0..4).map(|n| char::from(LETTERS[bits >> (18 - 6 * n) & 63]));
        text.extend(letters.take(three.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    text
}

/// A session of Bob's mail program.
fn submission(demo: &Demo) -> Lines {
    let mut smtp = Lines::plain(demo.address("submission")).unwrap();
    smtp.smtp_reply().unwrap();
    assert!(smtp.smtp("EHLO c.test").unwrap().starts_with("250 "));
    let password = demo.ready["accounts"][1]["password"].as_str().unwrap();
    let plain = base64(format!("\0{BOB}\0{password}").as_bytes());
    assert!(smtp.smtp(&format!("AUTH PLAIN {plain}")).unwrap().starts_with("235 "));
    smtp
}

fn mail(smtp: &mut Lines) {
    assert!(smtp.smtp(&format!("MAIL FROM:<{BOB}>")).unwrap().starts_with("250 "));
}

fn rcpt(smtp: &mut Lines, to: &str) -> String {
    smtp.smtp(&format!("RCPT TO:<{to}>")).unwrap()
}

fn data(smtp: &mut Lines) -> String {
    assert!(smtp.smtp("DATA").unwrap().starts_with("354 "));
    smtp.send(MESSAGE).unwrap();
    smtp.smtp_reply().unwrap()
}

#[test]
fn who_sends_too_much_hears_until_when_and_the_administrator_hears_it_once() {
    let demo = Demo::new();
    limit(&demo, &["--messages-a-day", "2", "--new-recipients-a-day", "1"]);
    let (mut one, mut other) = (submission(&demo), submission(&demo));
    mail(&mut one);
    assert!(rcpt(&mut one, "a@far.test").starts_with("250 "));
    let refused = rcpt(&mut one, "b@far.test");
    assert!(
        refused.starts_with(
            "450 4.7.1 your limit is 1 within 24 hours for new recipients at other hosts; more from "
        ) && refused.contains(" UTC on, or ask your administrator"),
        "{refused}"
    );
    assert!(rcpt(&mut one, ALICE).starts_with("250 "), "mail that stays here is not limited");
    // Another session was let in at RCPT too, and hears it at the end.
    mail(&mut other);
    assert!(rcpt(&mut other, "c@far.test").starts_with("250 "));
    let taken = data(&mut one);
    assert!(taken.starts_with("250 "), "{taken}");
    let refused = data(&mut other);
    assert!(refused.starts_with("450 4.7.1 "), "{refused}");
    mail(&mut other);
    assert!(rcpt(&mut other, "A@far.test").starts_with("250 "));
    assert!(data(&mut other).starts_with("250 "));
    mail(&mut other);
    let refused = rcpt(&mut other, "a@far.test");
    assert!(
        refused
            .starts_with("450 4.7.1 your limit is 2 within 24 hours for messages to other hosts; more from "),
        "{refused}"
    );
    let row = bob(&demo);
    assert_eq!((&row["messages_today"], &row["new_recipients_today"]), (&2.into(), &1.into()), "{row}");
    assert_eq!((&row["messages_a_day"], &row["new_recipients_a_day"]), (&2.into(), &1.into()), "{row}");
    let mut imap = demo.imap();
    imap.ok("SELECT INBOX");
    let notices = imap.ok("SEARCH SUBJECT \"sending limit: bob@demo.test\"");
    let notices = notices.lines().find_map(|line| line.strip_prefix("* SEARCH")).unwrap();
    assert_eq!(notices.split_whitespace().count(), 1, "{notices}");
    // It counts at once, in sessions that are open too.
    limit(&demo, &["--default"]);
    assert!(rcpt(&mut other, "b@far.test").starts_with("250 "));
    limit(&demo, &["--messages-a-day", "0"]);
    let refused = rcpt(&mut other, "a@far.test");
    assert!(refused.starts_with("550 5.7.1 your account is allowed no messages to other hosts"), "{refused}");
}
