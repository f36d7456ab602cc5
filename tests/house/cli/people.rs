//! Domains, accounts and aliases: the same words and exit codes whether a server runs or not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::Host;

/// A command, what it ends with, and a word of its answer.
type Step = (&'static [&'static str], i32, &'static str);

/// From nothing to a household and back. Passwords are read from standard input, so that both runs print the same.
const STORY: &[Step] = &[
    (&["account", "add", "anna@b.test", "--password-stdin"], 3, "b.test is not a domain of this server"),
    (&["domain", "add", "B.test"], 0, "b.test is a domain of this server now"),
    (&["domain", "add", "b.test"], 4, "already"),
    (&["domain", "add", "not a domain"], 2, "is not a domain name"),
    (&["account", "list"], 0, "There are no accounts yet"),
    (&["account", "add", "Anna@b.test", "--password-stdin"], 0, "anna@b.test"),
    (&["account", "add", "anna@b.test", "--password-stdin"], 4, "taken already"),
    (&["account", "add", "ben@b.test", "--password-stdin"], 0, "ben@b.test"),
    (&["account", "add", "ben", "--password-stdin"], 2, "is not a mail address"),
    (&["account", "list"], 0, "ACCOUNT"),
    (&["account", "list", "--json"], 0, "\"login\":\"anna@b.test\""),
    (&["account", "quota", "anna@b.test"], 0, "has no quota"),
    (&["account", "quota", "anna@b.test", "--storage", "1.5G"], 0, "Its quota is 1.5 GB."),
    (&["account", "quota", "anna@b.test", "--messages", "1000"], 0, "Its quota is 1.5 GB, 1,000 messages."),
    (&["account", "list"], 0, "1.5 GB, 1,000 messages"),
    (&["account", "list", "--json"], 0, "\"messages_quota\":1000,\"octets_quota\":1500000000}"),
    (&["account", "quota", "anna@b.test", "--none", "--json"], 0, "\"octets_quota\":null}"),
    (&["account", "quota", "anna@b.test", "--none", "--messages", "1"], 2, "cannot be used with"),
    (&["account", "quota", "anna@b.test", "--storage", "much"], 2, "500M"),
    (&["account", "quota", "nobody@b.test", "--none"], 3, "no account nobody@b.test"),
    (
        &["account", "limit", "anna@b.test"],
        0,
        "messages        as limits.messages_a_day in the configuration says; 0 so far",
    ),
    (&["account", "limit", "anna@b.test", "--messages-a-day", "5000"], 0, "messages        5,000; 0 so far"),
    (&["account", "limit", "anna@b.test", "--new-recipients-a-day", "0"], 0, "new recipients  0; 0 so far"),
    (&["account", "list", "--json"], 0, "\"messages_a_day\":5000,\"new_recipients_a_day\":0,"),
    (&["account", "limit", "anna@b.test", "--default", "--json"], 0, "\"messages_a_day\":null,"),
    (&["account", "limit", "anna@b.test", "--default", "--messages-a-day", "1"], 2, "cannot be used with"),
    (&["account", "limit", "nobody@b.test", "--default"], 3, "no account nobody@b.test"),
    (&["account", "password", "anna@b.test", "--password-stdin"], 0, "new password"),
    (&["account", "password", "nobody@b.test", "--password-stdin"], 3, "no account nobody@b.test"),
    (&["alias", "add", "family@b.test", "anna@b.test", "BEN@b.test"], 0, "goes to anna@b.test, ben@b.test"),
    (&["alias", "add", "family@b.test", "anna@b.test"], 4, "taken already"),
    (&["alias", "add", "out@b.test", "x@elsewhere.test"], 0, "goes to x@elsewhere.test"),
    (&["alias", "remove", "out@b.test", "--yes"], 0, "out@b.test"),
    // Its letters are known there only; they make it no other address here.
    (
        &[
            "alias",
            "add",
            "out@b.test",
            "\u{39d}\u{3af}\u{3ba}\u{3bf}\u{3c2}@B\u{fc}cher.test",
            "\u{3bd}\u{3af}\u{3ba}\u{3bf}\u{3c3}@b\u{fc}cher.test",
        ],
        0,
        "goes to \u{39d}\u{3af}\u{3ba}\u{3bf}\u{3c2}@xn--bcher-kva.test now.",
    ),
    (&["alias", "remove", "out@b.test", "--yes"], 0, "out@b.test"),
    (&["alias", "add", "info@b.test", "nobody@b.test"], 3, "nobody has the address"),
    (&["alias", "add", "me@b.test", "me@b.test"], 1, "cannot lead to itself"),
    (&["alias", "add", "all@b.test", "family@b.test"], 0, "all@b.test"),
    (
        &["account", "address", "add", "anna@b.test", "A.Smith@B.test"],
        0,
        "a.smith@b.test is an address of anna@b.test",
    ),
    (
        &["account", "address", "add", "a.smith@b.test", "third@b.test", "--json"],
        0,
        "\"login\":\"anna@b.test\"",
    ),
    (&["account", "address", "add", "ben@b.test", "a.smith@b.test"], 4, "an address of anna@b.test"),
    (&["account", "address", "add", "ben@b.test", "family@b.test"], 4, "an alias for"),
    (&["account", "address", "add", "ben@b.test", "anna@b.test"], 4, "taken already"),
    (&["account", "address", "add", "ben@b.test", "x@elsewhere.test"], 3, "elsewhere.test is not a domain"),
    (&["account", "address", "add", "nobody@b.test", "x@b.test"], 3, "no account nobody@b.test"),
    (&["account", "add", "third@b.test", "--password-stdin"], 4, "an address of anna@b.test"),
    (&["account", "list"], 0, "a.smith@b.test, third@b.test"),
    (
        &["account", "list", "--json"],
        0,
        "\"addresses\":[\"anna@b.test\",\"a.smith@b.test\",\"third@b.test\"]",
    ),
    (&["alias", "remove", "third@b.test", "--yes"], 3, "account address remove anna@b.test third@b.test"),
    (&["alias", "add", "third-time@b.test", "third@b.test"], 0, "goes to third@b.test"),
    (
        &["account", "address", "remove", "anna@b.test", "third@b.test", "--yes"],
        1,
        "is where third-time@b.test leads",
    ),
    (&["alias", "remove", "third-time@b.test", "--yes"], 0, "gone"),
    (&["account", "address", "remove", "anna@b.test", "third@b.test"], 2, "add --yes"),
    (
        &["account", "address", "remove", "anna@b.test", "third@b.test", "--yes"],
        0,
        "no address of anna@b.test any more",
    ),
    (
        &["account", "address", "remove", "anna@b.test", "third@b.test", "--yes"],
        3,
        "not an address of the account anna@b.test",
    ),
    (
        &["account", "address", "remove", "ben@b.test", "a.smith@b.test", "--yes"],
        3,
        "not an address of the account ben@b.test",
    ),
    (&["account", "address", "remove", "a.smith@b.test", "anna@b.test", "--yes"], 1, "logs in with"),
    (&["alias", "list"], 0, "family@b.test"),
    (&["alias", "list", "--json"], 0, "\"to\":[\"anna@b.test\",\"ben@b.test\"]"),
    (&["account", "password", "family@b.test", "--password-stdin"], 3, "is an alias for"),
    (&["alias", "remove", "anna@b.test", "--yes"], 3, "not an alias"),
    (&["alias", "remove", "family@b.test", "--yes"], 1, "is where all@b.test leads"),
    (&["alias", "remove", "all@b.test", "--yes"], 0, "gone"),
    (&["account", "remove", "anna@b.test", "--yes"], 1, "is where family@b.test leads"),
    (&["account", "remove", "anna@b.test"], 2, "add --yes"),
    (&["domain", "list"], 0, "b.test"),
    (&["domain", "list", "--json"], 0, "{\"name\":\"b.test\",\"accounts\":2,\"aliases\":1}"),
    (
        &["domain", "remove", "b.test", "--yes"],
        1,
        "b.test still has a.smith@b.test, anna@b.test, ben@b.test, family@b.test",
    ),
    (&["alias", "remove", "family@b.test", "--yes"], 0, "gone"),
    (&["account", "remove", "anna@b.test", "--yes"], 0, "gone, with 0 messages"),
    (&["account", "remove", "anna@b.test", "--yes"], 3, "no account"),
    (&["account", "remove", "ben@b.test", "--yes", "--json"], 0, "\"messages\":0"),
    (&["domain", "remove", "b.test", "--yes"], 0, "no domain of this server any more"),
    (&["domain", "remove", "b.test", "--yes"], 3, "is not a domain"),
];

/// Tells the story on a host; everything that was printed, for comparison.
fn tell(host: &Host) -> String {
    let mut said = String::new();
    for (args, code, word) in STORY {
        let done = host.run_with(args, "a good password\n");
        let all = format!("{}{}", done.out, done.err);
        assert_eq!(done.code, *code, "{args:?}: {all}");
        assert!(all.contains(word), "{args:?}: {word:?} is missing: {all}");
        assert!(!all.contains("a good password"), "{args:?}: {all}");
        if done.code != 0 {
            assert_eq!(done.out, "", "{args:?}: errors go to standard error");
        }
        said.push_str(&format!("$ {args:?}\n{all}"));
    }
    said
}

#[test]
fn with_and_without_a_server_the_same_is_done_and_said() {
    let (without, with) = (Host::new(), Host::new());
    let alone = tell(&without);
    let server = with.serve();
    let together = tell(&with);
    assert_eq!(alone, together);
    assert!(!server.log().contains("a good password"), "{}", server.log());
    assert!(server.stop().success());
}

#[test]
fn what_was_done_without_a_server_is_there_when_it_runs() {
    let host = Host::new();
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    let made = host.run(&["account", "add", "anna@b.test", "--json"]).json();
    assert!(made["password"].as_str().unwrap().len() >= 16);
    let server = host.serve();
    assert!(!server.page.contains("Still missing"), "{}", server.page);
    let accounts = host.run(&["account", "list", "--json"]).json();
    assert_eq!(accounts[0]["login"], "anna@b.test");
    assert!(server.stop().success());
    assert_eq!(host.run(&["account", "list", "--json"]).json(), accounts);
}

/// Connects to a service of a running server, says each line, and returns once the last has an answer of its own
/// that holds `word`.
fn session(server: &super::Serving, service: &str, lines: &[&str], word: &str) -> TcpStream {
    let mut words = server.page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let at = words.find(|w| w.first() == Some(&service)).unwrap_or_else(|| panic!("{}", server.page));
    let mut stream = TcpStream::connect(at.last().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut said = String::new();
    let mut octets = [0; 4096];
    for line in lines {
        stream.write_all(line.as_bytes()).unwrap();
    }
    while !said.contains(word) {
        let n = stream.read(&mut octets).unwrap();
        assert!(n > 0, "closed without {word:?}: {said}");
        said.push_str(&String::from_utf8_lossy(&octets[..n]));
    }
    stream
}

/// What a session hears until it is closed.
fn rest(mut stream: TcpStream) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn sessions_hear_why_they_end_and_a_message_under_way_is_not_waited_for() {
    let host = Host::new();
    let text = std::fs::read_to_string(host.config()).unwrap();
    host.configure(&format!("{text}[tls]\noptional_on_loopback = true\n"));
    let server = host.serve();
    host.run(&["domain", "add", "b.test"]);
    let login = |password: &str, plain: &str| {
        let data = format!(
            "EHLO x\r\nAUTH PLAIN {plain}\r\nMAIL FROM:<anna@b.test>\r\nRCPT TO:<anna@b.test>\r\nDATA\r\n"
        );
        let smtp = session(&server, "submission", &[&data], "\r\n354 ");
        (&smtp).write_all(b"From: anna@b.test\r\n\r\nhal").unwrap();
        let login = format!("a LOGIN anna@b.test \"{password}\"\r\n");
        let idle = session(&server, "imap", &[&login, "b IDLE\r\n"], "+ idling");
        let append = session(&server, "imap", &[&login, "b APPEND INBOX {9}\r\n"], "+ Go ahead");
        (&append).write_all(b"half").unwrap();
        let pop3 = format!("USER anna@b.test\r\nPASS {password}\r\n");
        let pop3 = session(&server, "pop3", &[&pop3], " messages (");
        [smtp, idle, append, pop3]
    };
    let hears = |sessions: [TcpStream; 4], smtp: &str, imap: &str, pop3: &str| {
        let [a, b, c, d] = sessions.map(rest);
        assert_eq!((a.as_str(), b.as_str(), c.as_str(), d.as_str()), (smtp, imap, imap, pop3));
    };
    host.run_with(&["account", "add", "anna@b.test", "--password-stdin"], "the first words\n");
    let sessions = login("the first words", "AGFubmFAYi50ZXN0AHRoZSBmaXJzdCB3b3Jkcw==");
    host.run_with(&["account", "password", "anna@b.test", "--password-stdin"], "the second words\n");
    hears(
        sessions,
        "421 4.7.0 your password was changed, log in with the new one\r\n",
        "* BYE Your password was changed, log in with the new one\r\n",
        "-ERR [AUTH] your password was changed, log in with the new one\r\n",
    );
    let sessions = login("the second words", "AGFubmFAYi50ZXN0AHRoZSBzZWNvbmQgd29yZHM=");
    assert_eq!(host.run(&["account", "remove", "anna@b.test", "--yes"]).code, 0);
    hears(
        sessions,
        "421 4.7.0 your account was removed\r\n",
        "* BYE Your account was removed\r\n",
        "-ERR [AUTH] your account was removed\r\n",
    );
    assert!(server.stop().success());
}

#[test]
fn a_made_password_is_shown_once_and_one_that_was_given_never() {
    let host = Host::new();
    host.run(&["domain", "add", "b.test"]);
    let made = host.run(&["account", "add", "anna@b.test"]);
    assert!(made.out.contains("Password") && made.out.contains("once"), "{}", made.out);
    let given =
        host.run_with(&["account", "add", "ben@b.test", "--password-stdin", "--json"], "my own words\n");
    assert_eq!(given.json()["password"], serde_json::Value::Null);
    for (input, word) in [("short\n", "at least 8"), ("\n", "no password"), ("", "no password")] {
        let done = host.run_with(&["account", "password", "ben@b.test", "--password-stdin"], input);
        assert!(done.code == 2 && done.err.contains(word), "{input:?}: {} {}", done.code, done.err);
    }
    let prompt = host.run(&["account", "password", "ben@b.test", "--prompt"]);
    assert!(prompt.code == 2 && prompt.err.contains("--password-stdin"), "{}", prompt.err);
}

#[test]
fn reading_makes_nothing_and_says_what_would() {
    let host = Host::new();
    for args in [&["account", "list"][..], &["domain", "list"], &["alias", "list"]] {
        assert_eq!(host.run(args).code, 0, "{args:?}");
    }
    assert_eq!(host.run(&["account", "remove", "a@b.test", "--yes"]).code, 3);
    let status = host.run(&["status"]);
    assert!(status.code == 5 && status.err.contains("no server runs"), "{} {}", status.code, status.err);
    assert!(!host.data().exists());
}

#[test]
fn errors_are_json_for_scripts() {
    let host = Host::new();
    let done = host.run(&["domain", "remove", "b.test", "--yes", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&done.err).unwrap();
    assert_eq!((done.code, &error["kind"]), (3, &"not-found".into()));
    assert!(error["error"].as_str().unwrap().contains("b.test") && error["advice"].is_string());
}

#[test]
fn root_becomes_the_owner_of_the_data_before_it_writes() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return super::skipped("only root can become another user");
    }
    let host = Host::new();
    let nobody = 65_534;
    std::fs::create_dir(host.data()).unwrap();
    chown(host.data(), Some(nobody), Some(nobody)).unwrap();
    // The temporary directory is root's own: the owner of the data must be able to pass through it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.directory.path(), open).unwrap();
    let done = host.run(&["domain", "add", "b.test"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let mut open = vec![host.data()];
    let mut files = 0;
    while let Some(path) = open.pop() {
        let found = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (nobody, nobody), "{}", path.display());
        if found.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(found.mode() & 0o077, 0, "{} is for its owner alone", path.display());
            files += 1;
        }
    }
    assert!(files > 0);
    let serve = host.run(&["serve"]);
    assert!(serve.code == 1 && serve.err.contains("belongs to another user"), "{} {}", serve.code, serve.err);
}

#[test]
fn what_is_not_there_is_said_before_anybody_is_asked_whether_it_should_go() {
    let host = Host::new();
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    let made = host.run_with(&["account", "add", "anna@b.test", "--password-stdin"], "a good password\n");
    assert_eq!(made.code, 0, "{}", made.err);
    for (args, word) in [
        (&["account", "address", "remove", "anna@b.test", "other@b.test"][..], "other@b.test"),
        (&["account", "address", "remove", "nobody@b.test", "other@b.test"], "nobody@b.test"),
        (&["alias", "remove", "info@b.test"], "info@b.test"),
        (&["domain", "remove", "c.test"], "c.test"),
    ] {
        let done = host.run(args);
        assert!(!done.err.contains("terminal") && done.err.contains(word), "{args:?}: {}", done.err);
        assert_eq!(done.code, 3, "{args:?}: {}", done.err);
    }
    let asked = host.run(&["domain", "remove", "B.test"]);
    assert!(asked.code == 2 && asked.err.contains("terminal"), "{}", asked.err);
}

#[test]
fn a_data_directory_that_is_open_to_others_is_closed_and_nothing_else_is() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open = || std::fs::Permissions::from_mode(0o755);
    std::fs::create_dir(host.data()).unwrap();
    std::fs::set_permissions(host.data(), open()).unwrap();
    assert_eq!(host.run(&["domain", "add", "b.test"]).code, 0);
    assert_eq!(mode(&host.data()), 0o700);
    std::fs::set_permissions(host.data(), open()).unwrap();
    let server = host.serve();
    assert_eq!(mode(&host.data()), 0o700);
    assert!(server.log().contains("other users could look into it"), "{}", server.log());
    drop(server);
    // Somebody else's directory, named by mistake.
    let other = host.directory.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter"), "x").unwrap();
    std::fs::set_permissions(&other, open()).unwrap();
    let text = std::fs::read_to_string(host.config()).unwrap();
    host.configure(&text.replace("data_dir = \"data\"", "data_dir = \"other\""));
    let server = host.serve();
    assert_eq!(mode(&other), 0o755);
    assert!(server.log().contains("OTHER USERS CAN LOOK INTO IT"), "{}", server.log());
}
