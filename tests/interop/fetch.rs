//! Clients that fetch: curl, fetchmail, getmail6.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::support::client::{Lines, message};
use super::support::server::Demo;
use super::{demo, have, ok, run};

/// Delivers `n` messages to alice over SMTP.
fn deliver(demo: &Demo, n: usize) {
    let mut s = Lines::plain(demo.addr("smtp")).unwrap();
    s.smtp_reply().unwrap();
    s.smtp("EHLO interop.example").unwrap();
    for i in 0..n {
        let r = s
            .deliver("sender@example.net", "alice@demo.test", &message(&format!("fetch-{i}"), 3_000))
            .unwrap();
        assert!(r.starts_with("250"), "{r}");
    }
}

#[test]
fn curl_reads_over_imap_and_pop3() {
    if !have("curl", &["--version"], "curl") {
        return;
    }
    let demo = demo();
    deliver(&demo, 1);
    let (alice, password) = demo.account(0);
    let user = format!("{alice}:{password}");
    for (scheme, service, path, more) in [
        ("imaps", "imaps", "INBOX;MAILINDEX=2", &[][..]),
        ("imap", "imap", "INBOX;MAILINDEX=2", &["--ssl-reqd"][..]),
        ("pop3s", "pop3s", "2", &[][..]),
        ("pop3", "pop3", "2", &["--ssl-reqd"][..]),
    ] {
        let url = format!("{scheme}://localhost:{}/{path}", demo.addr(service).port());
        let got = ok(
            Command::new("curl")
                .args(["-sS", &url, "--user", &user])
                .args(more)
                .arg("--cacert")
                .arg(demo.certificate()),
            &demo,
        );
        assert!(got.contains("Subject: message fetch-0"), "{url}: {got}");
    }
    let url = format!("imaps://localhost:{}/INBOX?TEXT%20fetch-0", demo.addr("imaps").port());
    let got = ok(
        Command::new("curl").args(["-sS", &url, "--user", &user, "--cacert"]).arg(demo.certificate()),
        &demo,
    );
    assert_eq!(got.trim(), "* SEARCH 2");
    let url = format!("imaps://localhost:{}/", demo.addr("imaps").port());
    let got = ok(
        Command::new("curl").args(["-sS", &url, "--user", &user, "--cacert"]).arg(demo.certificate()),
        &demo,
    );
    assert!(got.contains("INBOX") && got.contains("\\Sent"), "{got}");
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn fetchmail_fetches_by_pop3_and_imap() {
    if !have("fetchmail", &["--version"], "fetchmail") {
        return;
    }
    for (protocol, service) in [("POP3", "pop3s"), ("IMAP", "imaps")] {
        let (demo, dir) = (demo(), tempfile::tempdir().unwrap());
        deliver(&demo, 20);
        let (alice, password) = demo.account(0);
        let got = dir.path().join("got");
        let rc = dir.path().join("fetchmailrc");
        private(
            &rc,
            &format!(
                "poll localhost protocol {protocol} port {} username \"{alice}\" password \"{password}\" ssl \
                 sslcertck sslcertfile \"{}\" keep mda \"cat >> {}\"\n",
                demo.addr(service).port(),
                demo.certificate().display(),
                got.display()
            ),
        );
        let fetch = || {
            let mut c = Command::new("fetchmail");
            c.args(["--nodetach", "-d", "0", "--idfile"]).arg(dir.path().join("ids")).arg("-f").arg(&rc);
            run(c.env("FETCHMAILHOME", dir.path()).env("HOME", dir.path()))
        };
        let o = fetch();
        let text = [o.stdout, o.stderr].concat();
        assert!(o.status.success(), "{protocol}: {}\n{}", String::from_utf8_lossy(&text), demo.log());
        let all = std::fs::read_to_string(&got).unwrap();
        for i in 0..20 {
            assert!(all.contains(&format!("Subject: message fetch-{i}\n")), "{protocol}: {i} is missing");
        }
        // Kept on the server, known by UIDL or \Seen: a second run brings nothing new (exit code 1).
        let o = fetch();
        let text = String::from_utf8_lossy(&o.stdout).into_owned();
        assert_eq!(o.status.code(), Some(1), "{protocol}: {text}");
        assert_eq!(std::fs::read_to_string(&got).unwrap().len(), all.len(), "{protocol}");
    }
}

#[test]
fn getmail_fetches_by_pop3_and_imap_and_deletes() {
    if !have("getmail", &["--version"], "getmail6") {
        return;
    }
    for (retriever, service, more) in [
        ("SimplePOP3SSLRetriever", "pop3s", ""),
        ("SimpleIMAPSSLRetriever", "imaps", "mailboxes = (\"INBOX\",)\n"),
    ] {
        let (demo, dir) = (demo(), tempfile::tempdir().unwrap());
        deliver(&demo, 20);
        let (alice, password) = demo.account(0);
        let got = dir.path().join("got");
        private(
            &dir.path().join("getmailrc"),
            &format!(
                "[retriever]\ntype = {retriever}\nserver = localhost\nport = {}\nusername = {alice}\npassword = {password}\n\
                 ca_certs = {}\n{more}\n[destination]\ntype = MDA_external\npath = /bin/sh\n\
                 arguments = (\"-c\", \"cat >> {}\")\nallow_root_commands = true\n\n[options]\ndelete = true\n\
                 read_all = true\n",
                demo.addr(service).port(),
                demo.certificate().display(),
                got.display()
            ),
        );
        // This client sometimes misses the end of its own delivery process and waits for ever; what it has not
        // deleted it fetches again.
        let done = (1..=3).any(|_| {
            let mut c = Command::new("timeout");
            c.args(["15", "getmail", "--getmaildir"]).arg(dir.path()).env("HOME", dir.path());
            let o = run(&mut c);
            let text = [o.stdout, o.stderr].concat();
            println!("{retriever}: {}\n{}", o.status, String::from_utf8_lossy(&text));
            o.status.success()
        });
        assert!(done, "{retriever}: {}", demo.log());
        let all = std::fs::read_to_string(&got).unwrap();
        let subjects: BTreeSet<&str> = all.lines().filter(|l| l.starts_with("Subject: ")).collect();
        assert_eq!(subjects.len(), 21, "{retriever}: with the welcome");
        let mut s = Lines::plain(demo.addr("imap")).unwrap();
        s.imap_login(&alice, &password);
        let (status, _) = s.imap("a", "STATUS INBOX (MESSAGES)").unwrap();
        assert!(status[0].ends_with("(MESSAGES 0)"), "{retriever} deletes what it fetched: {status:?}");
    }
}
