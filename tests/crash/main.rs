//! `kill -9` of the real binary under load: what was acknowledged is there, whole, once.
//!
//! Eight connections, four of SMTP and four of IMAP APPEND, each with one message out at a time. When enough has
//! been acknowledged, at a moment that differs each round, the process is killed and started again on the same
//! directory. `PENFOLD_CRASH_ROUNDS` sets the number of rounds.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use support::client::{Lines, message};
use support::server::Demo;

const BINARY: &str = env!("CARGO_BIN_EXE_penfold");
/// Octets of each message: some stay in a group, and every eighth is large enough to be a side segment.
const SMALL: usize = 6_000;
const LARGE: usize = 300_000;

/// What the clients know: ids sent, and of those the acknowledged.
#[derive(Default)]
struct Ledger {
    sent: BTreeMap<String, usize>,
    acknowledged: BTreeSet<String>,
}

fn size_of(n: usize) -> usize {
    if n % 8 == 7 { LARGE } else { SMALL }
}

/// One client: sends until the connection breaks.
fn work(demo: &Demo, client: usize, round: usize, ledger: &(Mutex<Ledger>, Condvar)) {
    let acknowledged = |id: &str| {
        ledger.0.lock().unwrap().acknowledged.insert(id.to_owned());
        ledger.1.notify_all();
    };
    let smtp = client.is_multiple_of(2);
    let Ok(mut s) = Lines::plain(demo.addr(if smtp { "smtp" } else { "imap" })) else { return };
    if smtp {
        if s.smtp_reply().is_err() || s.smtp("EHLO crash.example").is_err() {
            return;
        }
    } else {
        let (user, password) = demo.account(0);
        if s.line().is_err() || s.imap("l", &format!("LOGIN {user} {password}")).is_err() {
            return;
        }
    }
    for n in 0.. {
        let id = format!("r{round}-c{client}-{n}");
        let m = message(&id, size_of(n));
        ledger.0.lock().unwrap().sent.insert(id.clone(), m.len());
        let answer = if smtp {
            s.deliver("sender@example.net", "alice@demo.test", &m)
        } else {
            s.append("a", "INBOX", &m)
        };
        match answer {
            Ok(r) if r.starts_with("250") || r.starts_with("a OK") => acknowledged(&id),
            Ok(r) => panic!("refused: {r}"),
            Err(_) => return,
        }
    }
}

/// Every message of INBOX by its id, with how often it is there; each is compared octet for octet.
fn inventory(demo: &Demo, sent: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    let (_, done) = s.imap("a", "SELECT INBOX").unwrap();
    assert!(done.starts_with("a OK"), "{done}");
    let mut found = BTreeMap::new();
    s.send(b"b FETCH 1:* (BODY.PEEK[])\r\n").unwrap();
    loop {
        let line = s.line().unwrap();
        if line.starts_with("b ") {
            assert!(line.starts_with("b OK"), "{line}");
            return found;
        }
        let Some(open) = line.rfind('{').filter(|_| line.ends_with('}')) else { continue };
        let n: usize = line[open + 1..line.len() - 1].parse().unwrap();
        let octets = s.take(n).unwrap();
        let text = String::from_utf8_lossy(&octets);
        let id = text.split("Message-ID: <").nth(1).and_then(|r| r.split_once("@example.net>"));
        let Some((id, _)) = id else { continue }; // The demo's welcome.
        let size = *sent.get(id).unwrap_or_else(|| panic!("{id} was never sent"));
        let whole = message(id, size);
        assert!(
            octets.ends_with(&whole),
            "{id} is there but not whole: {} of {} octets",
            octets.len(),
            whole.len()
        );
        *found.entry(id.to_owned()).or_insert(0) += 1;
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("PENFOLD_CRASH_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(50);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let ledger = (Mutex::new(Ledger::default()), Condvar::new());
    let mut idle_rounds = 0;
    for round in 0..rounds {
        let demo = Demo::start(BINARY, Some(&data), &[]);
        let (sent_before, before) = {
            let l = ledger.0.lock().unwrap();
            (l.sent.len(), l.acknowledged.len())
        };
        // A different number each round, so that the kill falls at different moments of a group.
        let enough = before + 3 + (round * 7) % 23;
        let finished = AtomicUsize::new(0);
        let pid = rustix::process::Pid::from_raw(i32::try_from(demo.pid()).unwrap()).unwrap();
        let in_flight = std::thread::scope(|s| {
            for client in 0..8 {
                let (demo, ledger, finished) = (&demo, &ledger, &finished);
                s.spawn(move || {
                    work(demo, client, round, ledger);
                    finished.fetch_add(1, Ordering::Relaxed);
                    ledger.1.notify_all();
                });
            }
            let mut l = ledger.0.lock().unwrap();
            while l.acknowledged.len() < enough && finished.load(Ordering::Relaxed) < 8 {
                l = ledger.1.wait(l).unwrap();
            }
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            (l.sent.len() - sent_before) - (l.acknowledged.len() - before)
        });
        let l = ledger.0.lock().unwrap();
        let acknowledged = l.acknowledged.len();
        drop(l);
        demo.kill();
        // Straight to stderr: the test runner would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "round {round}: {} acknowledged, {in_flight} in flight at the kill",
            acknowledged - before
        );
        assert!(acknowledged >= enough, "the clients ended before the kill");
        idle_rounds += usize::from(in_flight == 0);

        // Look at everything now and then, and at the end; a start each round is what tears.
        if round % 5 == 4 || round + 1 == rounds {
            let demo = Demo::start(BINARY, Some(&data), &[]);
            let l = ledger.0.lock().unwrap();
            let found = inventory(&demo, &l.sent);
            for id in &l.acknowledged {
                assert_eq!(found.get(id), Some(&1), "{id} was acknowledged");
            }
            for (id, times) in &found {
                assert_eq!(*times, 1, "{id} is there more than once");
            }
            drop(l);
            demo.stop();
        }
    }
    assert!(
        idle_rounds * 2 < rounds.max(1),
        "rounds with nothing in flight prove nothing: {idle_rounds} of {rounds}"
    );
}
