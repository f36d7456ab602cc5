//! `penfold import imap` from other servers: another Penfold, and Dovecot.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::support::client::{Lines, message};
use super::support::server::Demo;
use super::{demo, say};

/// Runs `penfold import imap` into bob's account of a demo.
fn import(to: &Demo, from: SocketAddr, user: &str, password: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penfold"));
    command.args(["import", "imap", "--host", "localhost", "--port", &from.port().to_string()]);
    command.args(["--user", user, "--password-stdin", "--account", &to.account(1).0, "--json"]).args(more);
    command.arg("--config").arg(to.data().join("config.toml"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = writeln!(child.stdin.take().unwrap(), "{password}");
    child.wait_with_output().unwrap()
}

fn report(output: &Output) -> serde_json::Value {
    let err = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {err}"))
}

/// What a mailbox holds: flags, date and octets of each message.
fn listed(at: SocketAddr, user: &str, password: &str, mailbox: &str) -> Vec<String> {
    let mut s = Lines::plain(at).unwrap();
    s.imap_login(user, password);
    let (_, done) = s.imap("a", &format!("EXAMINE \"{mailbox}\"")).unwrap();
    assert!(done.starts_with("a OK"), "{mailbox}: {done}");
    let (lines, _) = s.imap("b", "FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])").unwrap();
    lines.join("\n").split("FETCH (").skip(1).map(|m| m.trim_end_matches(['*', ' ']).to_owned()).collect()
}

/// Without numbers, which may differ, and in any order.
fn plain(mut messages: Vec<String>) -> Vec<String> {
    for message in &mut messages {
        if let Some(at) = message.rfind("\n* ") {
            message.truncate(at);
        }
        *message = message.replace("\\Recent ", "").replace(" \\Recent", "").replace("\\Recent", "");
    }
    messages.sort();
    messages
}

#[test]
fn an_account_moves_from_another_server_with_flags_and_dates_and_again_only_what_is_new() {
    let (from, to) = (demo(), demo());
    let (alice, password) = from.account(0);
    let mut s = Lines::plain(from.addr("imap")).unwrap();
    s.imap_login(&alice, &password);
    for name in ["Lists/Rust &- Entw&APw-rfe", "Empty"] {
        assert!(s.imap("c", &format!("CREATE \"{name}\"")).unwrap().1.starts_with("c OK"));
    }
    for i in 0..150 {
        for mailbox in ["INBOX", "Sent", "Lists/Rust &- Entw&APw-rfe"] {
            let done =
                s.append("a", &format!("\"{mailbox}\""), &message(&format!("{mailbox}-{i}"), 1_500)).unwrap();
            assert!(done.starts_with("a OK"), "{done}");
        }
    }
    // Two that look the same from afar, and are not.
    for text in ["one", "two"] {
        assert!(
            s.append("a", "INBOX", format!("Subject: x\r\n\r\n{text}\r\n").as_bytes())
                .unwrap()
                .starts_with("a OK")
        );
    }
    s.append("a", "INBOX", &message("large", 3_000_000)).unwrap();
    s.imap("s", "SELECT INBOX").unwrap();
    s.imap("s", "STORE 1:50 +FLAGS.SILENT (\\Seen \\Flagged $Forwarded)").unwrap();
    let certificate = from.certificate();
    let tls = ["--trust", certificate.to_str().unwrap()];

    let first = import(&to, from.addr("imaps"), &alice, &password, &tls);
    let told = report(&first);
    assert!(first.status.success(), "{told} {}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(told["messages"], 450 + 3 + 1, "with the welcome: {told}");
    let (bob, bobs) = to.account(1);
    for mailbox in ["INBOX", "Sent", "Lists/Rust &- Entw&APw-rfe"] {
        let there = plain(listed(from.addr("imap"), &alice, &password, mailbox));
        let mut here = plain(listed(to.addr("imap"), &bob, &bobs, mailbox));
        here.retain(|m| !m.contains("welcome-bob"));
        assert_eq!(here, there, "{mailbox}");
    }
    let mut t = Lines::plain(to.addr("imap")).unwrap();
    t.imap_login(&bob, &bobs);
    let (lines, _) = t.imap("l", "LSUB \"\" \"*\"").unwrap();
    assert!(
        lines.iter().any(|l| l.contains("Lists/Rust")) && lines.iter().any(|l| l.contains("Empty")),
        "{lines:?}"
    );

    for i in 0..3 {
        s.append("a", "INBOX", &message(&format!("later-{i}"), 1_000)).unwrap();
    }
    let dry =
        report(&import(&to, from.addr("imap"), &alice, &password, &["--insecure-on-loopback", "--dry-run"]));
    // Those without a Message-ID have to be fetched to know.
    assert_eq!((&dry["messages"], &dry["duplicates"]), (&5.into(), &452.into()), "{dry}");
    let again = [&tls[..], &["--starttls", "--connections", "1"]].concat();
    let second = import(&to, from.addr("imap"), &alice, &password, &again);
    let told = report(&second);
    assert_eq!((&told["messages"], &told["duplicates"]), (&3.into(), &454.into()), "{told}");
    let log = from.log();
    assert!(!log.contains("panic") && !to.log().contains("panic"), "{log}");
}

#[test]
fn what_is_wrong_with_a_server_is_said() {
    let (from, to) = (demo(), demo());
    let (alice, password) = from.account(0);
    let certificate = from.certificate();
    let trust = ["--trust", certificate.to_str().unwrap()];
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (at, user, more, word, advice) in [
        (from.addr("imaps"), alice.as_str(), &[][..], "no certificate that this host trusts", "--trust FILE"),
        (from.addr("imaps"), "nobody@demo.test", &trust[..], "login was refused", "app password"),
        (
            from.addr("smtp"),
            alice.as_str(),
            &["--insecure-on-loopback"][..],
            "does not greet as an IMAP server",
            "",
        ),
        (nobody, alice.as_str(), &trust[..], "does not answer", "--port"),
    ] {
        let done = import(&to, at, user, &password, more);
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && err.contains(word) && err.contains(advice), "{word}: {err}");
        assert!(!err.contains(&password), "{err}");
    }
}

/// Dovecot's `imap`, from a package that was unpacked (`.ci/run` does) or installed.
fn dovecot() -> Option<PathBuf> {
    let unpacked = std::env::var_os("PENFOLD_DOVECOT").map(PathBuf::from);
    let found = [unpacked, Some(PathBuf::from("/"))]
        .into_iter()
        .flatten()
        .map(|root| root.join("usr/lib/dovecot"))
        .find(|lib| lib.join("imap").exists());
    if found.is_none() {
        assert!(
            std::env::var_os("PENFOLD_NO_SKIP").is_none_or(|v| v != "1"),
            "dovecot's imap is missing and nothing may be skipped: set PENFOLD_DOVECOT as .ci/run does"
        );
        say("SKIPPED: dovecot-imapd is not unpacked (PENFOLD_DOVECOT; .ci/run does it)");
    }
    found
}

/// Carries octets as they come. (`io::copy` between a pipe and a socket lets the kernel hold some back.)
fn carry(from: &mut impl Read, to: &mut impl Write) {
    let mut octets = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut octets) {
        if to.write_all(&octets[..n]).is_err() {
            return;
        }
    }
}

/// Dovecot reads no mail as root.
fn mail_owner() -> (u32, u32) {
    let uid = rustix::process::getuid().as_raw();
    if uid == 0 { (65_534, 65_534) } else { (uid, rustix::process::getgid().as_raw()) }
}

/// Gives everything below a directory to whoever Dovecot reads mail as.
fn give(path: &Path) {
    let (uid, gid) = mail_owner();
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// Answers on a port with a Dovecot for each connection; whoever connects is logged in. Ends with the test.
fn serve_dovecot(lib: &Path, mail: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (lib, mail) = (lib.to_owned(), mail.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // It serves pipes, not sockets: what comes is carried over.
            let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
            let mut command = Command::new(lib.join("imap"));
            let (uid, gid) = mail_owner();
            let settings = [
                format!("mail_location=maildir:{}", mail.display()),
                format!("mail_uid={uid}"),
                format!("mail_gid={gid}"),
            ];
            command.arg("-O").args(settings.iter().flat_map(|setting| ["-o", setting]));
            command.args(["-o", "first_valid_uid=0", "-o", "first_valid_gid=0"]);
            command.env("LD_LIBRARY_PATH", &lib).env("USER", "anna").env("HOME", &mail);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let Ok(mut child) = command.spawn() else { continue };
            let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            // It ends with its connection.
            std::thread::spawn(move || carry(&mut from, &mut input));
            std::thread::spawn(move || {
                carry(&mut output, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
                child.wait()
            });
        }
    });
    at
}

#[test]
fn an_account_moves_from_dovecot_and_its_maildir_alike() {
    let Some(lib) = dovecot() else { return };
    let (to, directory) = (demo(), tempfile::tempdir().unwrap());
    let mail = directory.path().join("Maildir");
    for (folder, n, flags) in [("", 40, ":2,FS"), (".Sent", 20, ":2,Sa"), (".Entw&APw-rfe.Alt", 10, ":2,DT")]
    {
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(mail.join(folder).join(part)).unwrap();
        }
        std::fs::write(mail.join(folder).join("dovecot-keywords"), "0 $Forwarded\n").unwrap();
        for i in 0..n {
            let name = format!("{}.a{i}.host{flags}", 1_310_000_000 + i);
            let text =
                String::from_utf8(message(&format!("d-{folder}-{i}"), 800)).unwrap().replace("\r\n", "\n");
            std::fs::write(mail.join(folder).join("cur").join(name), text).unwrap();
        }
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    give(&mail);
    let at = serve_dovecot(&lib, &mail);
    let done = import(&to, at, "anna", "-", &["--insecure-on-loopback"]);
    let told = report(&done);
    assert!(done.status.success(), "{told} {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(told["messages"], 70, "{told}");
    assert_eq!(told["mailboxes"]["Entwürfe/Alt"]["placed"], 10, "{told}");
    let (bob, bobs) = to.account(1);
    let sent = listed(to.addr("imap"), &bob, &bobs, "Sent");
    assert!(
        sent.len() == 20 && sent.iter().all(|m| m.contains("\\Seen") && m.contains("$Forwarded")),
        "{sent:?}"
    );
    let again = report(&import(&to, at, "anna", "-", &["--insecure-on-loopback", "--connections", "2"]));
    assert_eq!((&again["messages"], &again["duplicates"]), (&0.into(), &70.into()), "{again}");

    // The Maildir itself, read from its files, has the same messages.
    let mut command = Command::new(env!("CARGO_BIN_EXE_penfold"));
    command.args(["import", mail.to_str().unwrap(), "--account", &bob, "--json"]);
    let files = command.arg("--config").arg(to.data().join("config.toml")).output().unwrap();
    let told = report(&files);
    assert_eq!(
        (&told["messages"], &told["duplicates"], &told["not_mail"]),
        (&0.into(), &70.into(), &0.into()),
        "{told}"
    );
}
