//! Python's imaplib, poplib and smtplib, in one script each, run as they come.

use std::process::Command;

use super::{demo, have, ok};

#[test]
fn python_libraries_read_and_send() {
    if !have("python3", &["--version"], "python3") {
        return;
    }
    let demo = demo();
    let (alice, alice_password) = demo.account(0);
    let (bob, bob_password) = demo.account(1);
    let text = ok(
        Command::new("python3")
            .args(["-I", "-c", include_str!("mail.py")])
            .arg(demo.certificate())
            .args([&alice, &alice_password, &bob, &bob_password])
            .args(
                ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"]
                    .map(|s| format!("{s}={}", demo.addr(s).port())),
            ),
        &demo,
    );
    assert!(text.contains("all well"), "{text}");
}
