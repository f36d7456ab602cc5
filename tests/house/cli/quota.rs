//! An account's quota as its peers meet it: other servers at RCPT, its own programs at APPEND and COPY.

use super::undelete::client::Lines;
use super::undelete::{ALICE, Demo};

const MESSAGE: &[u8] = b"From: a@c.test\r\nSubject: x\r\n\r\nHello\r\n";

fn smtp(demo: &Demo) -> Lines {
    let mut smtp = Lines::plain(demo.address("smtp")).unwrap();
    smtp.smtp_reply().unwrap();
    assert!(smtp.smtp("EHLO c.test").unwrap().starts_with("250 "));
    smtp
}

fn quota(demo: &Demo, args: &[&str]) {
    let done = demo.run(&[&["account", "quota", ALICE], args].concat());
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn a_full_mailbox_is_told_at_rcpt_and_nothing_taken_there_is_refused_later() {
    let demo = Demo::new();
    let mut early = smtp(&demo);
    assert!(early.smtp("MAIL FROM:<a@c.test>").unwrap().starts_with("250 "));
    assert!(early.smtp(&format!("RCPT TO:<{ALICE}>")).unwrap().starts_with("250 "));
    // Two recipients that lead to one account.
    assert!(early.smtp("RCPT TO:<alice+list@demo.test>").unwrap().starts_with("250 "));
    // The welcome is there already.
    quota(&demo, &["--messages", "1"]);
    let mut late = smtp(&demo);
    assert!(late.smtp("MAIL FROM:<a@c.test>").unwrap().starts_with("250 "));
    let refused = late.smtp(&format!("RCPT TO:<{ALICE}>")).unwrap();
    assert!(refused.starts_with("452 4.2.2 "), "{refused}");
    // Somebody else's mail goes on.
    assert!(late.smtp("RCPT TO:<bob@demo.test>").unwrap().starts_with("250 "));
    assert!(early.smtp("DATA").unwrap().starts_with("354 "));
    early.send(&[MESSAGE, b".\r\n"].concat()).unwrap();
    let taken = early.smtp_reply().unwrap();
    assert!(taken.starts_with("250 "), "{taken}");
    let accounts = demo.run(&["account", "list"]).out;
    let alice = accounts.lines().find(|line| line.starts_with(ALICE)).unwrap();
    assert!(alice.split_whitespace().nth(1) == Some("2") && alice.contains("1 message"), "{alice}");
    // What the sender says of the size counts.
    quota(&demo, &["--none"]);
    quota(&demo, &["--storage", "1M"]);
    let mut large = smtp(&demo);
    assert!(large.smtp("MAIL FROM:<a@c.test> SIZE=1000000").unwrap().starts_with("250 "));
    assert!(large.smtp(&format!("RCPT TO:<{ALICE}>")).unwrap().starts_with("452 4.2.2 "));
    assert!(large.smtp("RSET").unwrap().starts_with("250 "));
    assert!(large.smtp("MAIL FROM:<a@c.test> SIZE=900000").unwrap().starts_with("250 "));
    assert!(large.smtp(&format!("RCPT TO:<{ALICE}>")).unwrap().starts_with("250 "));
}

#[test]
fn append_copy_and_undelete_keep_to_the_quota_and_move_and_expunge_go_on() {
    let demo = Demo::new();
    let mut imap = demo.imap();
    let no = |end: &str| assert!(end.starts_with("a NO [OVERQUOTA]"), "{end}");
    assert!(imap.0.append("a", "INBOX", MESSAGE).unwrap().starts_with("a OK"));
    quota(&demo, &["--messages", "2"]);
    no(&imap.0.append("a", "INBOX", MESSAGE).unwrap());
    imap.ok("SELECT INBOX");
    no(&imap.0.imap("a", "COPY 1 Archive").unwrap().1);
    imap.ok("MOVE 1 Archive");
    imap.ok(r"STORE 1 +FLAGS (\Deleted)");
    imap.ok("EXPUNGE");
    assert!(imap.0.append("a", "INBOX", MESSAGE).unwrap().starts_with("a OK"));
    let restore = demo.run(&["undelete", "restore", "--account", ALICE, "--yes"]);
    assert!(restore.code == 1 && restore.err.contains("quota"), "{} {}", restore.code, restore.err);
    quota(&demo, &["--messages", "3"]);
    assert_eq!(demo.run(&["undelete", "restore", "--account", ALICE, "--yes"]).code, 0);
    let accounts = demo.run(&["account", "list", "--json"]).json();
    let alice = accounts.as_array().unwrap().iter().find(|row| row["login"] == ALICE).unwrap();
    assert_eq!((&alice["messages"], &alice["messages_quota"]), (&3.into(), &3.into()));
}
