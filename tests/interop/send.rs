//! Clients that send: curl, swaks, msmtp, mutt.

use std::process::Command;

use super::{demo, have, inbox, message_file, ok, run};

#[test]
fn curl_sends_to_the_mx_and_by_submission() {
    if !have("curl", &["--version"], "curl") {
        return;
    }
    let (demo, dir) = (demo(), tempfile::tempdir().unwrap());
    let (alice, password) = demo.account(0);
    let file = message_file(dir.path(), "curl-mx", "someone@example.net", &alice);
    let url = format!("smtp://{}", demo.addr("smtp"));
    ok(
        Command::new("curl")
            .args([
                "-sS",
                "--crlf",
                &url,
                "--mail-from",
                "someone@example.net",
                "--mail-rcpt",
                &alice,
                "--upload-file",
            ])
            .arg(&file),
        &demo,
    );
    let file = message_file(dir.path(), "curl-submissions", &alice, "bob@demo.test");
    let url = format!("smtps://{}", demo.addr("submissions"));
    ok(
        Command::new("curl")
            .args(["-sS", "--crlf", &url, "--user", &format!("{alice}:{password}"), "--cacert"])
            .arg(demo.certificate())
            .args(["--mail-from", &alice, "--mail-rcpt", "bob@demo.test", "--upload-file"])
            .arg(&file),
        &demo,
    );
    let got = inbox(&demo, 0);
    assert!(got.contains("Hello from curl-mx.") && got.contains("\n.a line with a dot"), "{got}");
    assert!(got.contains("Return-Path: <someone@example.net>"), "{got}");
    let got = inbox(&demo, 1);
    assert!(got.contains("Hello from curl-submissions.") && got.contains("Message-ID: <"), "{got}");
    assert!(got.contains("Date: "), "a missing Date is added: {got}");
}

#[test]
fn swaks_with_starttls_auth_and_refusals() {
    if !have("swaks", &["--version"], "swaks") {
        return;
    }
    let demo = demo();
    let (alice, password) = demo.account(0);
    let (smtp, submission) = (demo.addr("smtp").to_string(), demo.addr("submission").to_string());
    ok(
        Command::new("swaks")
            .args(["--server", &smtp, "--tls", "--from", "x@example.net", "--to", &alice])
            .args(["--header", "Subject: swaks-mx"]),
        &demo,
    );
    for method in ["PLAIN", "LOGIN"] {
        ok(
            Command::new("swaks")
                .args(["--server", &submission, "--tls", "--auth", method, "--auth-user", &alice])
                .args(["--auth-password", &password, "--from", &alice, "--to", "bob@demo.test"])
                .args(["--header", &format!("Subject: swaks-{method}")]),
            &demo,
        );
    }
    let refused = run(Command::new("swaks").args([
        "--server",
        &smtp,
        "--from",
        "x@example.net",
        "--to",
        "nobody@demo.test",
    ]));
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && text.contains("550 5.1.1"), "{text}");
    let relay = run(Command::new("swaks").args([
        "--server",
        &smtp,
        "--from",
        "x@example.net",
        "--to",
        "y@example.org",
    ]));
    let text = String::from_utf8_lossy(&relay.stdout);
    assert!(!relay.status.success() && text.contains("<** 550 5.7.1"), "no relaying: {text}");
    let wrong = run(Command::new("swaks")
        .args(["--server", &submission, "--tls", "--auth", "PLAIN", "--auth-user", &alice])
        .args(["--auth-password", "not it", "--from", &alice, "--to", "bob@demo.test"]));
    let text = String::from_utf8_lossy(&wrong.stdout);
    assert!(!wrong.status.success() && text.contains("535 5.7.8"), "{text}");
    let forged = run(Command::new("swaks")
        .args(["--server", &submission, "--tls", "--auth", "PLAIN", "--auth-user", &alice])
        .args(["--auth-password", &password, "--from", "bob@demo.test", "--to", "bob@demo.test"]));
    assert!(!forged.status.success(), "{}", String::from_utf8_lossy(&forged.stdout));
    assert!(inbox(&demo, 0).contains("swaks-mx"));
    let got = inbox(&demo, 1);
    assert!(got.contains("swaks-PLAIN") && got.contains("swaks-LOGIN"), "{got}");
}

#[test]
fn msmtp_submits() {
    if !have("msmtp", &["--version"], "msmtp") {
        return;
    }
    let (demo, dir) = (demo(), tempfile::tempdir().unwrap());
    let (alice, password) = demo.account(0);
    for (service, starttls) in [("submission", "on"), ("submissions", "off")] {
        let port = demo.addr(service).port();
        let rc = dir.path().join(format!("msmtprc-{service}"));
        let text = format!(
            "account default\nhost localhost\nport {port}\nfrom {alice}\nauth on\nuser {alice}\npassword {password}\n\
             tls on\ntls_starttls {starttls}\ntls_trust_file {}\n",
            demo.certificate().display()
        );
        std::fs::write(&rc, text).unwrap();
        std::fs::set_permissions(&rc, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let file = message_file(dir.path(), &format!("msmtp-{service}"), &alice, "bob@demo.test");
        let line = format!("msmtp -C {} bob@demo.test < {}", rc.display(), file.display());
        ok(Command::new("sh").args(["-c", &line]), &demo);
    }
    let got = inbox(&demo, 1);
    assert!(
        got.contains("Hello from msmtp-submission.") && got.contains("Hello from msmtp-submissions."),
        "{got}"
    );
}

#[test]
fn mutt_sends_in_batch_and_reads() {
    if !have("mutt", &["-v"], "mutt") {
        return;
    }
    let (demo, dir) = (demo(), tempfile::tempdir().unwrap());
    let (alice, password) = demo.account(0);
    let rc = dir.path().join("muttrc");
    let user = alice.replace('@', "%40");
    let text = format!(
        "set from={alice}\nset realname=Alice\nset smtp_url=smtps://{user}@localhost:{}\nset smtp_pass={password}\n\
         set imap_user={alice}\nset imap_pass={password}\nset folder=imaps://localhost:{}\nset spoolfile=+INBOX\n\
         set record=+Sent\nset certificate_file={}\nset ssl_usesystemcerts=no\nset header_cache=\nset quit=yes\n\
         set confirmappend=no\nset confirmcreate=no\nset delete=yes\nset mbox_type=Maildir\nset wait_key=no\n",
        demo.addr("submissions").port(),
        demo.addr("imaps").port(),
        demo.certificate().display(),
    );
    std::fs::write(&rc, text).unwrap();
    let line = format!("echo 'Hello from mutt.' | mutt -F {} -s 'mutt batch' bob@demo.test", rc.display());
    ok(Command::new("sh").args(["-c", &line]).env("HOME", dir.path()).env("TERM", "dumb"), &demo);
    assert!(inbox(&demo, 1).contains("Hello from mutt."));

    // Reading needs a terminal: `script` gives it one. Copies the whole INBOX into a Maildir and leaves.
    let copy = dir.path().join("copy");
    let keys = format!(
        "push '<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>{}<enter><quit>'",
        copy.display()
    );
    let line = format!("mutt -F {} -e \"{keys}\"", rc.display());
    let typescript = dir.path().join("typescript");
    ok(
        Command::new("script")
            .args(["-qec", &line])
            .arg(&typescript)
            .env("HOME", dir.path())
            .env("TERM", "xterm"),
        &demo,
    );
    let copied: usize =
        ["new", "cur"].iter().map(|d| std::fs::read_dir(copy.join(d)).map_or(0, Iterator::count)).sum();
    let screen = std::fs::read(&typescript).unwrap_or_default();
    assert!(copied >= 1, "mutt copied nothing: {}\n{}", String::from_utf8_lossy(&screen), demo.log());
}
