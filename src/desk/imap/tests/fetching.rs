//! SELECT, FETCH, STORE, APPEND.

use super::house::{House, same};

const PLAIN: &str = "From: Bob <bob@x.test>\r\nTo: alice@demo.test\r\nSubject: Hi\r\nMessage-ID: <1@x>\r\n\r\nHello,\r\nAlice\r\n";
const PARTS: &str = "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_opened() {
    let house = House::new().await;
    let mut c = house.client().await;
    c.hears(
        "SELECT inbox",
        r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
          * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags
          * 0 EXISTS
          * 0 RECENT
          * OK [UIDVALIDITY #] UIDs valid
          * OK [UIDNEXT 1] Next UID
          . OK [READ-WRITE] Selected",
    )
    .await;
    c.hears("FETCH 1:* FLAGS", ". BAD ~").await;
    c.hears("UID FETCH 1:* FLAGS", ". OK ~").await;
    let answer = c.append("INBOX", PLAIN).await;
    same(&answer, "* 1 EXISTS\n* 1 RECENT\n. OK [APPENDUID # 1] Appended", "APPEND to the selected mailbox");
    c.append("INBOX (\\Seen $Work)", PARTS).await;
    let mut other = house.client().await;
    other
        .hears(
            "EXAMINE INBOX",
            r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Work)
              * OK [PERMANENTFLAGS ()] Flags
              * 2 EXISTS
              * 0 RECENT
              * OK [UNSEEN 1] First unseen
              * OK [UIDVALIDITY #] UIDs valid
              * OK [UIDNEXT 3] Next UID
              . OK [READ-ONLY] Selected",
        )
        .await;
    other.hears("STORE 1 +FLAGS (\\Seen)", ". NO [READ-ONLY] ~").await;
    other.hears("FETCH 1 BODY[TEXT]", "* 1 FETCH (BODY[TEXT] {15}\nHello,\nAlice\n)\n. OK Fetched").await;
    other.hears("SELECT nowhere", ". NO [NONEXISTENT] ~").await;
    other.hears("FETCH 1 FLAGS", ". BAD No mailbox is selected").await;
    // Not marked by EXAMINE.
    c.hears(
        "FETCH 1:2 FLAGS",
        "* 1 FETCH (FLAGS (\\Recent))\n* 2 FETCH (FLAGS (\\Seen \\Recent $Work))\n. OK Fetched",
    )
    .await;
    let mut third = house.client().await;
    let answer = third.run("SELECT INBOX").await;
    assert!(answer.contains("* 0 RECENT"), "claimed by the first session: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_a_message() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    c.append("INBOX (\\Flagged) \"17-Jul-1996 02:44:25 -0700\"", PLAIN).await;
    c.append("INBOX", PARTS).await;
    c.hears(
        "FETCH 1 FULL",
        r#"* 1 FETCH (FLAGS (\Flagged \Recent) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 94 ENVELOPE (NIL "Hi" (("Bob" NIL "bob" "x.test")) (("Bob" NIL "bob" "x.test")) (("Bob" NIL "bob" "x.test")) ((NIL NIL "alice" "demo.test")) NIL NIL NIL "<1@x>") BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7BIT" 15 2))
          . OK Fetched"#,
    )
    .await;
    c.hears(
        "UID FETCH 2 (BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[2.MIME] BODY.PEEK[HEADER.FIELDS (SUBJECT X)] BODY.PEEK[3])",
        r#"* 2 FETCH (UID 2 BODYSTRUCTURE (("text" "plain" ("charset" "us-ascii") NIL NIL "7BIT" 3 0 NIL NIL NIL NIL)("text" "html" ("charset" "us-ascii") NIL NIL "7BIT" 3 0 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL) BODY[1] {3}
          one BODY[2.MIME] {27}
          Content-Type: text/html

           BODY[HEADER.FIELDS (SUBJECT X)] {18}
          Subject: parts

           BODY[3] NIL)
          . OK Fetched"#,
    )
    .await;
    for (item, expected) in [
        ("BODY.PEEK[]<0.5>", "BODY[]<0> {5}\nFrom:"),
        ("BODY.PEEK[]<92.50>", "BODY[]<92> {2}\n"),
        ("BODY.PEEK[]<500.1>", "BODY[]<500> {0}\n"),
        ("BODY.PEEK[TEXT]<2.3>", "BODY[TEXT]<2> {3}\nllo"),
        (
            "RFC822.HEADER",
            "RFC822.HEADER {79}\nFrom: Bob <bob@x.test>\nTo: alice@demo.test\nSubject: Hi\nMessage-ID: <1@x>\n\n",
        ),
        ("BODY.PEEK[1]", "BODY[1] {15}\nHello,\nAlice\n"),
        (
            "BODY.PEEK[HEADER.FIELDS.NOT (FROM TO MESSAGE-ID)]",
            "BODY[HEADER.FIELDS.NOT (FROM TO MESSAGE-ID)] {15}\nSubject: Hi\n\n",
        ),
    ] {
        c.hears(&format!("FETCH 1 {item}"), &format!("* 1 FETCH ({expected})\n. OK Fetched")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_marks_as_seen() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    c.append("INBOX", PLAIN).await;
    c.append("INBOX (\\Seen)", PLAIN).await;
    let mut other = house.in_inbox().await;
    c.hears("FETCH 1:2 RFC822.TEXT", "* 1 FETCH (RFC822.TEXT {15}\nHello,\nAlice\n FLAGS (\\Seen \\Recent))\n* 2 FETCH (RFC822.TEXT {15}\nHello,\nAlice\n)\n. OK Fetched").await;
    c.hears("NOOP", ". OK ~").await;
    other.hears("NOOP", "* 1 FETCH (UID 1 FLAGS (\\Seen))\n. OK Done").await;
    c.hears("STORE 1 -FLAGS (\\Seen)", "* 1 FETCH (FLAGS (\\Recent))\n. OK Stored").await;
    c.hears(
        "UID FETCH 1 (FLAGS BODY[1])",
        "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent) BODY[1] {15}\nHello,\nAlice\n)\n. OK Fetched",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_are_stored() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    for _ in 0..3 {
        c.append("INBOX", PLAIN).await;
    }
    c.hears(
        "STORE 1:2 +FLAGS ($Label1 \\Answered)",
        r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Label1)
          * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Label1 \*)] Flags
          * 1 FETCH (FLAGS (\Answered \Recent $Label1))
          * 2 FETCH (FLAGS (\Answered \Recent $Label1))
          . OK Stored",
    )
    .await;
    c.hears("UID STORE 2,9 -FLAGS ($LABEL1)", "* 2 FETCH (UID 2 FLAGS (\\Answered \\Recent))\n. OK Stored")
        .await;
    c.hears("UID STORE 1:* FLAGS.SILENT (\\Draft)", ". OK Stored").await;
    c.hears("UID STORE 9 FLAGS (\\Draft)", ". OK ~").await;
    c.hears("STORE 4 FLAGS (\\Draft)", ". BAD ~").await;
    c.hears(
        "FETCH 1:* (UID FLAGS)",
        r"* 1 FETCH (UID 1 FLAGS (\Draft \Recent))
          * 2 FETCH (UID 2 FLAGS (\Draft \Recent))
          * 3 FETCH (UID 3 FLAGS (\Draft \Recent))
          . OK Fetched",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_streams_in_and_out() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    let mut message = b"Subject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nfirst\r\n--b\r\nContent-Type: application/x\r\n\r\n".to_vec();
    while message.len() < 3_000_000 {
        message.extend_from_slice(format!("line {}\r\n", message.len()).as_bytes());
    }
    message.extend_from_slice(b"\r\n--b\r\n\r\nlast\r\n--b--\r\n");
    let answer = c.append_octets("INBOX", &message).await;
    assert!(answer.ends_with(" 1] Appended"), "{answer}");
    let whole = c.run("FETCH 1 BODY.PEEK[]").await;
    let expected = String::from_utf8(message.clone()).unwrap();
    assert!(whole.contains(&expected), "the message comes back octet for octet");
    c.hears(
        "FETCH 1 (BODY.PEEK[3] BODY.PEEK[1])",
        "* 1 FETCH (BODY[3] {4}\nlast BODY[1] {5}\nfirst)\n. OK Fetched",
    )
    .await;
    let header = "Subject: large\nContent-Type: multipart/mixed; boundary=b\n\n";
    c.hears("FETCH 1 BODY.PEEK[HEADER]", &format!("* 1 FETCH (BODY[HEADER] {{61}}\n{header})\n. OK Fetched"))
        .await;
    c.hears("FETCH 1 BODY.PEEK[TEXT]<0.3>", "* 1 FETCH (BODY[TEXT]<0> {3}\n--b)\n. OK Fetched").await;
    c.hears(
        "FETCH 1 BODY.PEEK[HEADER.FIELDS (subject)]",
        "* 1 FETCH (BODY[HEADER.FIELDS (subject)] {18}\nSubject: large\n\n)\n. OK Fetched",
    )
    .await;
    c.hears("SEARCH BODY \"line 2999\" HEADER Content-Type mixed", "* SEARCH 1\n. OK Searched").await;
    let at = 2_000_000;
    let piece = &expected[at..at + 100_000];
    let answer = c.run(&format!("FETCH 1 BODY.PEEK[]<{at}.100000>")).await;
    same(&answer, &format!("* 1 FETCH (BODY[]<{at}> {{100000}}\n{piece})\n. OK Fetched"), "a piece");
    // Refused before it is sent; and nothing is lost of what follows.
    c.hears("APPEND INBOX {4000000000}", ". NO [TOOBIG] ~").await;
    c.hears("NOOP", ". OK ~").await;
    let answer = c.append("Nowhere", "A: b\r\n\r\n").await;
    assert!(answer.starts_with(". NO [TRYCREATE]"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_in_one_fetch() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    let body = "x".repeat(10_000);
    for i in 0..300 {
        c.append("INBOX", &format!("Subject: {i}\r\n\r\n{body}{i}\r\n")).await;
    }
    let answer = c.run("FETCH 1:* (UID BODY.PEEK[])").await;
    for i in [0, 1, 150, 298, 299] {
        let one = format!("Subject: {i}\r\n\r\n{body}{i}\r\n");
        let n = i + 1;
        assert!(answer.contains(&format!("* {n} FETCH (UID {n} BODY[] {{{}}}\r\n{one})", one.len())), "{i}");
    }
    assert_eq!(answer.matches(" FETCH (").count(), 300);
    let answer = c.run("UID FETCH 100:199,300 (ENVELOPE)").await;
    assert_eq!(answer.matches(" FETCH (").count(), 101);
    assert!(answer.contains("* 300 FETCH (UID 300 ENVELOPE (NIL \"299\" "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_hold_does_not_change_what_is_served() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    let lines = |octets: usize| -> String { (0..octets / 12).map(|i| format!("line {i:05}\r\n")).collect() };
    let wide: String = (0..4_000).map(|i| format!("X-{i}: {i:020}\r\n")).collect();
    let parts = |body: &str| {
        format!(
            "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{body}--b\r\n\r\nlast\r\n--b--\r\n"
        )
    };
    for message in [
        PLAIN.to_owned(),
        format!("Subject: half a megabyte\r\n\r\n{}", lines(500_000)),
        format!("{wide}Subject: wide\r\n\r\nbody\r\n"),
        parts(&lines(300_000)),
        parts(&lines(2_000_000)),
        PARTS.to_owned(),
    ] {
        let answer = c.append("INBOX", &message).await;
        assert!(answer.contains("APPENDUID"), "{answer}");
    }
    for items in [
        "BODY.PEEK[]",
        "BODY.PEEK[]<70000.100000>",
        "(BODY.PEEK[HEADER] BODY.PEEK[TEXT])",
        "(BODY.PEEK[1] BODY.PEEK[2]<1.2> BODY.PEEK[1.MIME] ENVELOPE BODYSTRUCTURE)",
        "(UID BODY.PEEK[HEADER.FIELDS.NOT (X-7)] RFC822.SIZE)",
        "BODY.PEEK[HEADER.FIELDS.NOT (X-7)]<40000.50000>",
        "BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
        "(FLAGS ENVELOPE)",
    ] {
        let alone = c.run(&format!("FETCH 1:* {items}")).await;
        let held = house.ahead.take(8 << 20).and_then(|first| Some((first, house.ahead.take(7 << 20)?)));
        assert!(held.is_some(), "an answered FETCH has given back what it held");
        let beside = c.run(&format!("FETCH 1:* {items}")).await;
        assert!(alone == beside, "{items}: {} and {} octets", alone.len(), beside.len());
        drop(held);
    }
}
