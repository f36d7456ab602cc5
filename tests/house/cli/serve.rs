//! `penfold serve`: what it says, what it needs, how it ends, and who may talk to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::process::Signal;

use super::{Host, Serving, shown_by};

#[test]
fn a_new_server_says_where_it_listens_and_what_is_missing() {
    let host = Host::new();
    let server = host.serve();
    for needle in
        ["smtp", "submissions", "imaps", "pop3s", "127.0.0.1:", "Still missing", "penfold domain add"]
    {
        assert!(server.page.contains(needle), "{needle} is missing:\n{}", server.page);
    }
    assert!(!server.page.contains("127.0.0.1:0\n"), "the ports that the system chose:\n{}", server.page);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.directory.path().join("run/c.sock")), 0o600);
    assert!(server.stop().success());
    assert!(!host.directory.path().join("run/c.sock").exists());
}

#[test]
fn every_port_answers_when_it_says_so() {
    let host = Host::new();
    let server = host.serve();
    let port = |protocol: &str| {
        let line = server.page.lines().find(|line| line.split_whitespace().next() == Some(protocol)).unwrap();
        line.rsplit(':').next().unwrap().parse::<u16>().unwrap()
    };
    for (protocol, greeting) in
        [("smtp", "220 "), ("submission", "220 "), ("imap", "* OK "), ("pop3", "+OK ")]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", port(protocol))).unwrap();
        let mut octets = [0; 5];
        stream.read_exact(&mut octets).unwrap();
        let said = String::from_utf8_lossy(&octets);
        assert!(said.starts_with(greeting), "{protocol} said {said:?}");
    }
}

#[test]
fn status_shows_the_running_server_and_fails_without_one() {
    let host = Host::new();
    let server = host.serve();
    let page = host.run(&["status"]);
    assert_eq!(page.code, 0, "{}", page.err);
    for needle in
        ["mail.b.test", "PROTOCOL", "imaps", "SHA-256", "Store", "in order", "0 domains, 0 accounts"]
    {
        assert!(page.out.contains(needle), "{needle} is missing:\n{}", page.out);
    }
    let status = host.run(&["status", "--json"]).json();
    assert_eq!(status["server"]["pid"], server.pid());
    assert_eq!(status["server"]["listeners"].as_array().unwrap().len(), 7);
    assert_eq!(status["server"]["certificate"]["self_signed"], true);
    assert_eq!(status["store"]["mode"], "serving");
    assert!(server.stop().success());

    let after = host.run(&["status", "--json"]);
    assert_eq!((after.code, &after.json()["server"]), (5, &serde_json::Value::Null));
    assert!(host.run(&["status"]).out.contains("not running"));
}

#[test]
fn a_port_in_use_is_named_with_its_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let host = Host::new();
    let directory = "hostname = \"mail.b.test\"\ndata_dir = \"data\"\ncontrol = \"c.sock\"\n[listen]\n";
    host.configure(&format!("{directory}smtp = [\"127.0.0.1:{port}\"]\n"));
    let done = host.run(&["serve"]);
    assert_eq!(done.code, 1, "{}", done.err);
    for needle in [&format!("127.0.0.1:{port}"), "smtp", "in use", "ss -ltnp", "[listen]"] {
        assert!(done.err.contains(needle), "{needle} is missing: {}", done.err);
    }
}

#[test]
fn a_second_server_says_that_one_runs_and_a_hidden_one_that_the_directory_is_held() {
    let host = Host::new();
    let server = host.serve();
    let second = host.run(&["serve"]);
    assert_eq!(second.code, 5, "{}", second.err);
    assert!(second.err.contains(&format!("runs already with this configuration (process {})", server.pid())));

    // The same directory under a configuration with another socket: nobody answers there, and the lock is held.
    let text = std::fs::read_to_string(host.config()).unwrap().replace("run/c.sock", "run/other.sock");
    host.configure(&text);
    let done = host.run(&["account", "list"]);
    assert_eq!(done.code, 5, "{} {}", done.out, done.err);
    assert!(done.err.contains("in use") && done.err.contains("What to do:"), "{}", done.err);
}

#[test]
fn signals_end_it_with_0_and_hangup_does_not() {
    for signal in [Signal::TERM, Signal::INT] {
        let host = Host::new();
        let mut server = host.serve();
        server.signal(Signal::HUP);
        assert_eq!(host.run(&["status"]).code, 0, "it runs on after SIGHUP");
        server.signal(signal);
        assert!(server.child.wait().unwrap().success());
        assert!(server.log().contains("SIGHUP"), "{}", server.log());
    }
}

#[test]
fn an_open_session_is_told_and_does_not_hold_up_the_end() {
    let host = Host::new();
    let server = host.serve();
    let line = server.page.lines().find(|line| line.trim_start().starts_with("smtp ")).unwrap();
    let mut stream = TcpStream::connect(line.split_whitespace().last().unwrap()).unwrap();
    let mut octets = [0; 4];
    stream.read_exact(&mut octets).unwrap();
    assert!(server.stop().success());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\r\n421 "), "{rest:?}");
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let host = Host::new();
    let path = host.directory.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let mut command = host.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &path);
    let server = Serving::start(command);
    let mut heard = String::new();
    let mut hear = |until: &str| {
        while !heard.contains(until) {
            let mut octets = [0; 1024];
            let n =
                socket.recv(&mut octets).unwrap_or_else(|e| panic!("{until} was not heard: {e}; {heard}"));
            heard.push_str(&String::from_utf8_lossy(&octets[..n]));
        }
    };
    hear("READY=1");
    assert!(server.stop().success());
    hear("STOPPING=1");
}

#[test]
fn the_control_socket_takes_no_nonsense() {
    let host = Host::new();
    let server = host.serve();
    let mut stream = UnixStream::connect(host.directory.path().join("run/c.sock")).unwrap();
    stream.write_all(b"{\"version\":1,\"request\":{\"account-add\":{\"pass\":\"hunter22\"}}}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("error") && !reply.contains("hunter22"), "{reply}");
    assert!(!server.log().contains("hunter22"));
    assert_eq!(host.run(&["status"]).code, 0);
}

#[test]
fn what_others_see_of_a_server_has_no_secrets() {
    let host = Host::new();
    host.run(&["domain", "add", "b.test"]);
    let server = host.serve();
    let made = host.run(&["account", "add", "anna@b.test", "--json"]).json();
    let password = made["password"].as_str().unwrap();
    let other =
        host.run_with(&["account", "password", "anna@b.test", "--password-stdin"], "another password\n");
    assert_eq!(other.code, 0, "{}", other.err);
    let seen = format!("{}{}{}", shown_by(server.pid()), server.log(), other.out);
    assert!(
        seen.contains("serve") && !seen.contains(password) && !seen.contains("another password"),
        "{seen}"
    );
}

#[test]
fn what_a_killed_server_leaves_behind_is_in_nobodys_way() {
    let host = Host::new();
    host.run(&["domain", "add", "b.test"]);
    let server = host.serve();
    server.signal(Signal::KILL);
    drop(server);
    assert!(host.directory.path().join("run/c.sock").exists());
    // The socket is dead: the command works on the data directory.
    assert_eq!(host.run(&["domain", "add", "c.test"]).code, 0);
    let server = host.serve();
    let domains = host.run(&["domain", "list", "--json"]).json();
    assert_eq!(domains.as_array().unwrap().len(), 2);
    assert!(server.stop().success());
}

#[test]
fn a_second_signal_does_not_wait_for_connections() {
    let host = Host::new();
    host.run(&["domain", "add", "b.test"]);
    host.run(&["account", "add", "anna@b.test"]);
    let mut server = host.serve();
    let line = server.page.lines().find(|line| line.trim_start().starts_with("smtp ")).unwrap();
    let mut stream = TcpStream::connect(line.split_whitespace().last().unwrap()).unwrap();
    stream.write_all(b"EHLO x.test\r\nMAIL FROM:<>\r\nRCPT TO:<anna@b.test>\r\nDATA\r\n").unwrap();
    let (mut said, mut octets) = (String::new(), [0; 1024]);
    while !said.contains("\r\n354 ") {
        let n = stream.read(&mut octets).unwrap();
        assert!(n > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&octets[..n]));
    }
    // In the midst of a message it would be given its 30 seconds.
    server.signal(Signal::TERM);
    while !server.log().contains("stopping") {
        std::thread::yield_now();
    }
    server.signal(Signal::TERM);
    assert!(server.child.wait().unwrap().success());
    assert!(server.log().contains("asked a second time"), "{}", server.log());
}
