//! IMAP where clients seldom go, against the real binary: each test is a defect that was found there.
//!
//! RFC 3501.

use super::demo;
use super::support::client::Lines;
use super::support::server::Demo;

/// A session with INBOX selected that holds `message` alone as UID 2 (the welcome is gone).
fn with_message(demo: &Demo, message: &[u8]) -> Lines {
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    s.imap("e1", "SELECT INBOX").unwrap();
    s.imap("e2", "STORE 1 +FLAGS.SILENT (\\Deleted)").unwrap();
    s.imap("e3", "EXPUNGE").unwrap();
    let end = s.append("e4", "INBOX", message).unwrap();
    assert!(end.starts_with("e4 OK"), "{end}");
    s
}

/// A message whose lines end with LF alone is kept as it came, and read as its structure is.
#[test]
fn a_header_of_lf_lines_ends_where_its_structure_says() {
    let demo = demo();
    let mut s = with_message(&demo, b"From: a@b\nSubject: lf\n\nbody\r\n\r\n");
    for (item, told) in [
        ("BODY.PEEK[HEADER]", "{23}"),
        ("BODY.PEEK[TEXT]", "{8}"),
        ("BODY.PEEK[1]", "{8}"),
        ("BODY.PEEK[HEADER.FIELDS (Subject)]", "{13}"),
    ] {
        let (lines, end) = s.imap("f", &format!("FETCH 1 {item}")).unwrap();
        assert!(end.starts_with("f OK") && lines[0].ends_with(told), "{item}: {lines:?}");
    }
    assert!(demo.stop().success());
}

/// An answer of one line that is larger than the output's bound: it waits for the client, and goes on.
#[test]
fn a_search_finds_more_than_the_output_holds() {
    let demo = demo();
    let mut s = with_message(&demo, b"Subject: many\r\n\r\n");
    for n in 0..15 {
        let (_, end) = s.imap("c", "COPY 1:* INBOX").unwrap();
        assert!(end.starts_with("c OK"), "{n}: {end}");
    }
    let (lines, end) = s.imap("s", "SEARCH ALL").unwrap();
    assert!(end.starts_with("s OK") && lines[0].ends_with(" 32767 32768"), "{end}");
    assert!(lines[0].len() > 150_000, "one line, and a long one");
    assert!(demo.stop().success());
}
