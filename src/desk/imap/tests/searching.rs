//! SEARCH.

use super::house::House;

const MESSAGES: [(&str, &str); 4] = [
    (
        "(\\Seen $Work) \"01-Feb-1994 23:30:00 -0800\"",
        "From: Bob <bob@x.test>\r\nTo: alice@demo.test\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nplain text here\r\n",
    ),
    (
        "(\\Flagged) \"02-Feb-1994 00:10:00 +0000\"",
        "From: Carol <carol@x.test>\r\nCc: bob@x.test\r\nSubject: two\r\nX-Mailer: Penfold\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\nR3L832UgYXVzIE38bmNoZW4=\r\n",
    ),
    (
        "\"03-Feb-1994 00:00:00 +0000\"",
        "Subject: three\r\n\r\nlonger body of the third message, longer than the others by far\r\n",
    ),
    ("(\\Deleted)", "Bcc: dave@x.test\r\nMessage-ID: <4@x>\r\n\r\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    for (head, message) in MESSAGES {
        c.append(&format!("INBOX {head}"), message).await;
    }
    for (key, expected) in [
        ("ALL", " 1 2 3 4"),
        ("2:3", " 2 3"),
        ("*", " 4"),
        ("UID 3:9", " 3 4"),
        ("UID 9:*", " 4"),
        ("9", ""),
        ("SEEN", " 1"),
        ("UNSEEN", " 2 3 4"),
        ("FLAGGED", " 2"),
        ("UNFLAGGED SEEN", " 1"),
        ("DELETED", " 4"),
        ("UNDELETED", " 1 2 3"),
        ("ANSWERED", ""),
        ("DRAFT", ""),
        ("KEYWORD $work", " 1"),
        ("UNKEYWORD $Work", " 2 3 4"),
        ("KEYWORD $none", ""),
        ("RECENT", " 1 2 3 4"),
        ("NEW", " 2 3 4"),
        ("OLD", ""),
        ("FROM bob", " 1"),
        ("TO ALICE@demo", " 1"),
        ("CC bob", " 2"),
        ("BCC dave", " 4"),
        ("SUBJECT GR\u{dc}SSE", " 1"),
        ("SUBJECT \"\"", " 1 2 3"),
        ("HEADER x-mailer pen", " 2"),
        ("HEADER X-Mailer \"\"", " 2"),
        ("HEADER Message-ID <4@x>", " 4"),
        ("BODY \"PLAIN TEXT\"", " 1"),
        ("BODY m\u{fc}nchen", " 2"),
        ("BODY penfold", ""),
        ("TEXT penfold", " 2"),
        ("TEXT gr\u{fc}\u{df}e", " 1 2"),
        ("BODY \"text here\" BODY plain", " 1"),
        ("NOT BODY text TEXT bob", " 2"),
        ("OR BODY text TEXT two", " 1 2"),
        ("OR BODY nowhere (TEXT two BODY aus)", " 2"),
        ("OR (BODY text NOT BODY text) OR TEXT text BODY text", " 1 2"),
        ("LARGER 110", " 1 2"),
        ("SMALLER 50", " 4"),
        ("BEFORE 2-Feb-1994", " 1"),
        ("ON 2-Feb-1994", " 2"),
        ("SINCE 2-Feb-1994", " 2 3 4"),
        ("SENTON 7-Feb-1994", " 1"),
        ("SENTBEFORE 7-Feb-1994", ""),
        ("SENTSINCE 7-Feb-1994", " 1"),
        ("OR FROM bob CC bob", " 1 2"),
        ("NOT (OR FROM bob CC bob)", " 3 4"),
        ("OR (SEEN) (FLAGGED SUBJECT two)", " 1 2"),
    ] {
        let charset = if key.is_ascii() { "" } else { "CHARSET UTF-8 " };
        // Non-ASCII goes as a literal, as clients send it.
        let command = match key.split_once(' ') {
            Some((name, word)) if !key.is_ascii() => {
                format!("SEARCH {charset}{name} {{{}+}}\r\n{word}", word.len())
            }
            _ => format!("SEARCH {charset}{key}"),
        };
        c.hears(&command, &format!("* SEARCH{expected}\n. OK Searched")).await;
    }
    c.hears("UID SEARCH CHARSET us-ascii FLAGGED", "* SEARCH 2\n. OK Searched").await;
    c.hears("SEARCH CHARSET KOI8-R ALL", ". NO [BADCHARSET (US-ASCII UTF-8)] ~").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_those_told() {
    let house = House::new().await;
    let mut c = house.in_inbox().await;
    for i in 0..5 {
        c.append("INBOX", &format!("Subject: {i}\r\n\r\n")).await;
    }
    c.run("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    c.hears("EXPUNGE", "* 2 EXPUNGE\n. OK Expunged").await;
    c.hears("SEARCH SUBJECT 4", "* SEARCH 4\n. OK Searched").await;
    c.hears("UID SEARCH SUBJECT 4", "* SEARCH 5\n. OK Searched").await;
    c.hears("SEARCH 2:3", "* SEARCH 2 3\n. OK Searched").await;
    c.hears("UID SEARCH 2:3", "* SEARCH 3 4\n. OK Searched").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_longer_than_the_output_may_be() {
    let house = House::new().await;
    house.fill(30_000).await;
    let mut c = house.in_inbox().await;
    let answer = c.run("UID SEARCH ALL").await;
    assert!(answer.len() > crate::net::HIGH_WATER, "long enough to have to wait: {}", answer.len());
    assert!(answer.ends_with(" 29999 30000\n. OK Searched"));
    let answer = c.run("UID FETCH 1:* (FLAGS)").await;
    assert!(answer.ends_with("* 30000 FETCH (UID 30000 FLAGS (\\Recent))\n. OK Fetched"));
    assert_eq!(answer.lines().count(), 30_001);
}
