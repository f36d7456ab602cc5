//! What strangers throw at a mail server, thrown at the real binary. After each attack the server still answers, and
//! its peak memory stays bounded.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::client::{Lines, message};
use support::server::Demo;

/// Peak resident memory that none of these may reach: two argon2 hashes (38 MiB) and a debug binary are in it.
const PEAK_KIB: u64 = 160 * 1024;

fn demo() -> Demo {
    Demo::start(env!("CARGO_BIN_EXE_penfold"), None, &[])
}

/// The server still takes mail and serves it, and has not grown.
fn well(demo: &mut Demo) {
    assert!(demo.alive(), "the server is gone: {}", demo.log());
    let mut s = Lines::plain(demo.addr("smtp")).unwrap();
    s.smtp_reply().unwrap();
    s.smtp("EHLO after.example").unwrap();
    let r = s.deliver("x@example.net", "alice@demo.test", &message("after", 2_000)).unwrap();
    assert!(r.starts_with("250"), "{r}");
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    let (_, done) = s.imap("a", "SELECT INBOX").unwrap();
    assert!(done.starts_with("a OK"), "{done}");
    assert!(!demo.log().contains("panicked"), "{}", demo.log());
    let peak = demo.memory_kib("VmHWM");
    assert!(peak < PEAK_KIB, "peak memory {peak} KiB");
}

/// Sends everything, whether or not the peer still listens, and returns what it said until it closed or fell silent.
fn throw(demo: &Demo, service: &str, octets: &[u8]) -> String {
    let s = TcpStream::connect(demo.addr(service)).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    s.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut w = s.try_clone().unwrap();
    let octets = octets.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = w.write_all(&octets);
        let _ = w.shutdown(std::net::Shutdown::Write);
    });
    let mut all = Vec::new();
    let mut r = s;
    let mut buf = [0; 65536];
    while let Ok(n @ 1..) = r.read(&mut buf) {
        all.extend_from_slice(&buf[..n]);
        assert!(all.len() < 50 << 20, "an answer without end");
    }
    let _ = r.shutdown(std::net::Shutdown::Both);
    writer.join().unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

const SERVICES: [&str; 4] = ["smtp", "submission", "imap", "pop3"];
const TLS_SERVICES: [&str; 3] = ["submissions", "imaps", "pop3s"];

#[test]
fn a_command_line_of_a_megabyte() {
    let mut demo = demo();
    let mut line = vec![b'A'; 1 << 20];
    line.extend_from_slice(b"\r\n");
    for service in SERVICES {
        let said = throw(&demo, service, &line);
        let refused = said.contains("\r\n500 ")
            || said.contains("BAD")
            || said.contains("-ERR")
            || said.contains("BYE");
        assert!(refused, "{service}: {said:.300}");
    }
    well(&mut demo);
}

#[test]
fn binary_junk_nuls_and_invalid_utf8() {
    let mut demo = demo();
    // A fixed generator: the same junk each run.
    let mut x = 0x9E37_79B9_7F4A_7C15u64;
    let junk: Vec<u8> = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    })
    .take(32_768)
    .flatten()
    .collect();
    for service in SERVICES.into_iter().chain(TLS_SERVICES) {
        throw(&demo, service, &junk);
        throw(&demo, service, &[0; 100_000]);
        throw(&demo, service, b"a LOGIN \"\xff\xfe\" \"\xc3\x28\"\r\nEHLO \xff\r\nUSER \xc0\xaf\r\n\x00\r\n");
        throw(&demo, service, &b"\r\n".repeat(10_000));
        throw(&demo, service, &b"\n".repeat(10_000));
    }
    well(&mut demo);
}

#[test]
fn imap_literals_that_lie() {
    let mut demo = demo();
    let (user, password) = demo.account(0);
    for announced in [
        "{4294967296}",
        "{4294967296+}",
        "{99999999999999999999+}",
        "{4000000000+}",
        "{65537+}",
        "{-1}",
        "{}",
    ] {
        let said = throw(&demo, "imap", format!("a LOGIN {announced}\r\nxxxx\r\nb NOOP\r\n").as_bytes());
        // A literal that may still be whole leaves nothing to say when the client goes away in its midst.
        let refused = said.contains("a BAD") || said.contains("a NO") || said.contains("BYE");
        assert!((refused || announced == "{65537+}") && !said.contains("\r\n+ "), "{announced}: {said}");
        assert!(!said.contains("a OK"), "{announced}: {said}");
        let append = format!("l LOGIN {user} {password}\r\na APPEND INBOX {announced}\r\nxxxx\r\nb NOOP\r\n");
        let said = throw(&demo, "imap", append.as_bytes());
        assert!(!said.contains("a OK"), "{announced}: {said}");
    }
    // A literal begun and not finished leaves nothing behind.
    let said = throw(
        &demo,
        "imap",
        format!("l LOGIN {user} {password}\r\na APPEND INBOX {{1000000+}}\r\nhalf").as_bytes(),
    );
    assert!(!said.contains("a OK"), "{said}");
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    let (status, _) = s.imap("s", "STATUS INBOX (MESSAGES)").unwrap();
    assert!(status[0].contains("MESSAGES 1)"), "only the welcome: {status:?}");
    well(&mut demo);
}

#[test]
fn nesting_without_end() {
    let mut demo = demo();
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    s.imap("a", "SELECT INBOX").unwrap();
    for nested in [
        format!("SEARCH {}ALL{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SEARCH {}ALL", "NOT ".repeat(10_000)),
        format!("SEARCH {}ALL ALL", "OR ALL ".repeat(5_000)),
        format!("FETCH 1 BODY[{}]", "1.".repeat(20_000)),
        format!("FETCH 1 ({}FLAGS{})", "(".repeat(10_000), ")".repeat(10_000)),
        format!("LIST \"\" \"{}\"", "%*".repeat(20_000)),
        format!("LIST \"\" \"{}x\"", "*a".repeat(450)),
        format!("CREATE \"{}\"", "a/".repeat(5_000)),
    ] {
        let (_, done) = s.imap("n", &nested).unwrap();
        let fine = done.starts_with("n BAD") || done.starts_with("n NO") || nested.starts_with("LIST");
        assert!(fine, "{:.60}: {done}", nested);
    }
    // 1,000 MIME parts within each other: described as deep as the limit goes, in linear time.
    let mut deep = String::from("Subject: deep\r\nMIME-Version: 1.0\r\n");
    for i in 0..1_000 {
        deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n"));
    }
    deep.push_str("Content-Type: text/plain\r\n\r\nthe bottom\r\n");
    let mut wide = String::from(
        "Subject: wide\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
    );
    for _ in 0..20_000 {
        wide.push_str("--b\r\n\r\nx\r\n");
    }
    let mut messages = String::from("Subject: messages\r\n");
    for _ in 0..1_000 {
        messages.push_str("Content-Type: message/rfc822\r\n\r\n");
    }
    for m in [deep, wide, messages] {
        let mut smtp = Lines::plain(demo.addr("smtp")).unwrap();
        smtp.smtp_reply().unwrap();
        smtp.smtp("EHLO deep.example").unwrap();
        let r = smtp.deliver("x@example.net", "alice@demo.test", m.as_bytes()).unwrap();
        assert!(r.starts_with("250"), "{r}");
    }
    let (_, done) =
        s.imap("f", "FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[1.1.1.1.HEADER])").unwrap();
    assert!(done.starts_with("f OK"), "{done}");
    let (_, done) = s.imap("t", "SEARCH BODY \"the bottom\"").unwrap();
    assert!(done.starts_with("t OK"), "{done}");
    well(&mut demo);
}

#[test]
fn smuggling_is_refused_on_the_mx() {
    let mut demo = demo();
    for end in ["\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n"] {
        let smuggled = format!(
            "EHLO x.example\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<alice@demo.test>\r\nDATA\r\nSubject: outer\r\n\r\n\
             x{end}MAIL FROM:<b@example.net>\r\nRCPT TO:<alice@demo.test>\r\nDATA\r\nSubject: inner\r\n\r\nx\r\n.\r\nQUIT\r\n"
        );
        let said = throw(&demo, "smtp", smuggled.as_bytes());
        assert_eq!(said.matches("\r\n354 ").count(), 1, "{end:?} ended nothing: {said}");
        assert!(!said.contains("stored as") && said.contains("\r\n5"), "{end:?}: {said}");
    }
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    let (status, _) = s.imap("s", "STATUS INBOX (MESSAGES)").unwrap();
    assert!(status[0].contains("MESSAGES 1)"), "only the welcome: {status:?}");
    well(&mut demo);
}

#[test]
fn what_is_pipelined_behind_starttls_is_dropped() {
    let mut demo = demo();
    for (service, lead, injected, marks) in [
        (
            "smtp",
            "EHLO x\r\nSTARTTLS\r\n",
            "MAIL FROM:<evil@example.net>\r\nVRFY x\r\n",
            ["252", "250 2.1.0"],
        ),
        ("imap", "a STARTTLS\r\n", "b NOOP\r\nc CAPABILITY\r\n", ["b OK", "c OK"]),
        ("pop3", "STLS\r\n", "NOOP\r\nCAPA\r\n", ["Capability", "IMPLEMENTATION"]),
    ] {
        let said = throw(&demo, service, format!("{lead}{injected}").as_bytes());
        for mark in marks {
            assert!(!said.contains(mark), "{service} answered in plain text: {said}");
        }
    }
    well(&mut demo);
}

#[test]
fn too_many_connections_from_one_address_and_a_crowd_of_idle_ones() {
    let mut demo = demo();
    let mut crowd = Vec::new();
    for i in 0..1_000u32 {
        let last = u8::try_from(2 + i / 40).unwrap();
        let mut s = Lines::plain_from(last, demo.addr(SERVICES[i as usize % 4])).unwrap();
        let greeting = s.line().unwrap();
        let fine =
            greeting.starts_with("220 ") || greeting.starts_with("* OK") || greeting.starts_with("+OK");
        assert!(fine || i > 990, "{i}: {greeting}");
        crowd.push(s);
    }
    drop(crowd);
    let mut from_one: Vec<Lines> = Vec::new();
    let mut refused = None;
    for i in 0..60 {
        let mut s = Lines::plain_from(99, demo.addr("smtp")).unwrap();
        match s.line() {
            Ok(l) if l.starts_with("220") => from_one.push(s),
            other => {
                refused = Some((i, other));
                break;
            }
        }
    }
    let (at, how) = refused.expect("the 51st from one address is refused");
    assert_eq!(at, 50, "{how:?}");
    assert!(how.unwrap().starts_with("421"), "told why");
    drop(from_one);
    // The places are free again once the server has seen them leave.
    for _ in 0..200 {
        let mut s = Lines::plain_from(99, demo.addr("smtp")).unwrap();
        if s.line().is_ok_and(|l| l.starts_with("220")) {
            well(&mut demo);
            return;
        }
    }
    panic!("the places of closed connections are not given back");
}

#[test]
fn a_message_above_the_limit_and_a_client_that_leaves_in_the_middle() {
    let mut demo = demo();
    let mut s = Lines::plain(demo.addr("smtp")).unwrap();
    s.smtp_reply().unwrap();
    s.smtp("EHLO big.example").unwrap();
    let r = s.smtp("MAIL FROM:<x@example.net> SIZE=60000000").unwrap();
    assert!(r.starts_with("552 5.3.4"), "{r}");
    // Without SIZE the limit is found on the way: the rest is read and thrown away, memory stays.
    s.send(b"MAIL FROM:<x@example.net>\r\nRCPT TO:<alice@demo.test>\r\nDATA\r\n").unwrap();
    for _ in 0..3 {
        s.smtp_reply().unwrap();
    }
    let line = [b'x'; 998].into_iter().chain(*b"\r\n").collect::<Vec<u8>>().repeat(1_000);
    for _ in 0..52 {
        s.send(&line).unwrap();
    }
    s.send(b".\r\n").unwrap();
    let r = s.smtp_reply().unwrap();
    assert!(r.starts_with("552 5.3.4"), "{r}");
    // One body line of 40 MB is allowed.
    s.send(b"MAIL FROM:<x@example.net>\r\nRCPT TO:<alice@demo.test>\r\nDATA\r\nSubject: one line\r\n\r\n")
        .unwrap();
    for _ in 0..3 {
        s.smtp_reply().unwrap();
    }
    for _ in 0..40 {
        s.send(&[b'y'; 1_000_000]).unwrap();
    }
    s.send(b"\r\n.\r\n").unwrap();
    let r = s.smtp_reply().unwrap();
    assert!(r.starts_with("250"), "{r}");
    throw(
        &demo,
        "smtp",
        b"EHLO x\r\nMAIL FROM:<x@example.net>\r\nRCPT TO:<alice@demo.test>\r\nDATA\r\nSubject: half\r\n\r\nnot finished",
    );
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    let (status, _) = s.imap("s", "STATUS INBOX (MESSAGES)").unwrap();
    assert!(status[0].contains("MESSAGES 2)"), "the welcome and the one line: {status:?}");
    well(&mut demo);
}

#[test]
fn guessing_passwords_is_slowed_and_then_refused() {
    let mut demo = demo();
    let (user, password) = demo.account(0);
    // Forty guessers at once; those who come back find that they are no longer looked at.
    let mut guessers: Vec<Lines> =
        (0..40).map(|_| Lines::plain_from(77, demo.addr("imap")).unwrap()).collect();
    for s in &mut guessers {
        s.line().unwrap();
    }
    let mut round = |n: usize| -> Vec<String> {
        for (i, s) in guessers.iter_mut().enumerate() {
            s.send(format!("a LOGIN {user} guess{n}-{i}\r\n").as_bytes()).unwrap();
        }
        guessers.iter_mut().filter_map(|s| s.imap_until("a").ok()).map(|(_, done)| done).collect()
    };
    let first = round(1);
    assert!(first.iter().all(|done| done.starts_with("a NO [AUTHENTICATIONFAILED]")), "{first:?}");
    let second = round(2);
    assert!(second.iter().all(|done| done.starts_with("a NO ")), "{second:?}");
    let refused = second
        .iter()
        .filter(|done| done.contains("too many failed logins") || done.contains("Too many"))
        .count();
    assert!(
        refused >= 20,
        "forty wrong guesses from one address, and only {refused} are refused: {second:?}"
    );
    // Another address of the same household is not locked out.
    let mut s = Lines::plain_from(78, demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    well(&mut demo);
}

#[test]
fn a_hundred_fetches_that_nobody_reads() {
    let mut demo = demo();
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    // More than the sockets between us take.
    for i in 0..300 {
        let done = s.append(&format!("a{i}"), "INBOX", &message(&format!("big-{i}"), 100_000)).unwrap();
        assert!(done.contains(" OK "), "{done}");
    }
    let before = demo.memory_kib("VmRSS");
    // From two addresses: one may have fifty connections.
    let stalled: Vec<Lines> = (0..100)
        .map(|n| {
            let mut s = Lines::plain_from(2 + n % 2, demo.addr("imap")).unwrap();
            s.imap_login(&user, &password);
            s.imap("s", "SELECT INBOX").unwrap();
            s.send(b"f FETCH 1:* BODY.PEEK[]\r\n").unwrap();
            s
        })
        .collect();
    // It works until all of them are full.
    let (mut cpu, mut idle) = (demo.cpu_ms(), 0);
    while idle < 4 {
        std::thread::sleep(Duration::from_millis(300));
        let now = demo.cpu_ms();
        idle = if now == cpu { idle + 1 } else { 0 };
        cpu = now;
    }
    let grown = demo.memory_kib("VmRSS").saturating_sub(before);
    println!("100 stalled FETCHes: {before} KiB, and {grown} KiB");
    // 16 MiB for all, and each some 0.3 to 0.5 MiB; before what is read ahead was bounded, it was 1.5 MiB each.
    assert!(grown < 96 * 1024, "100 clients that take nothing cost {grown} KiB");
    // Who reads is served by the side of them, if in small steps.
    let (octets, answers) =
        s.imap_drain("x", "EXAMINE INBOX").and_then(|_| s.imap_drain("y", "FETCH 1:* BODY.PEEK[]")).unwrap();
    assert!(octets > 300 * 100_000 && answers >= 301, "{octets} octets in {answers} answers");
    drop(stalled);
    well(&mut demo);
}
