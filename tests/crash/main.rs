//! `kill -9` of the real binary under load: what was acknowledged is there, whole, once, with its flags.
//!
//! Eight connections, each with one command out at a time: three deliver by SMTP; one flags, moves and expunges what
//! they delivered in earlier rounds; four append, flag, copy, move and expunge, two of them in INBOX among the
//! deliveries. When enough has been acknowledged, at a moment that differs each round, the process is killed. The
//! next start must show, in every mailbox, exactly what was acknowledged; each command that was under way is there
//! wholly or not at all. Here the store is small; in `at_work` snapshots are made and segments compacted meanwhile, in
//! `backups` a backup is made, `power` takes the power away, and `ruin` ruins the index. `PENFOLD_CRASH_ROUNDS` sets the number of rounds.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/nameserver.rs"]
#[allow(dead_code, reason = "others ask it more")]
mod nameserver;

#[path = "../world/house.rs"]
#[allow(dead_code, reason = "others see more of it")]
mod house;

#[path = "../world/mx.rs"]
#[allow(dead_code, reason = "others say more to it")]
mod mx;

mod at_work;
mod backups;
mod heavy;
mod load;
mod model;
mod power;
mod ruin;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use load::{CLIENTS, Client};
use model::{Seen, Truth};
use support::client::Lines;
use support::server::Demo;

const BINARY: &str = env!("CARGO_BIN_EXE_penfold");

/// Logs in to IMAP as the account that has all the mail.
fn log_in(demo: &Demo) -> Lines {
    let (user, password) = demo.account(0);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    s
}

/// A round: load until so many commands are acknowledged, then the kill.
fn round(demo: &Demo, round: usize, commands: usize, seen: &Seen, truth: &(Mutex<Truth>, Condvar)) {
    let enough = truth.0.lock().unwrap().acknowledged + commands;
    load_until(demo, round, seen, truth, |finished| {
        let mut now = truth.0.lock().unwrap();
        while now.acknowledged < enough && finished.load(Ordering::Relaxed) < CLIENTS {
            now = truth.1.wait(now).unwrap();
        }
        now
    });
    let acknowledged = truth.0.lock().unwrap().acknowledged;
    assert!(acknowledged >= enough, "the clients ended before the kill: {}", demo.log());
}

/// Load until something has come about, then the kill. What is waited with is held until then: a lock, so that nobody goes on.
fn load_until<Held>(
    demo: &Demo,
    round: usize,
    seen: &Seen,
    truth: &(Mutex<Truth>, Condvar),
    wait: impl FnOnce(&AtomicUsize) -> Held,
) {
    let finished = AtomicUsize::new(0);
    let pid = rustix::process::Pid::from_raw(i32::try_from(demo.pid()).unwrap()).unwrap();
    std::thread::scope(|s| {
        for number in 0..CLIENTS {
            let finished = &finished;
            s.spawn(move || {
                Client::new(number, round, truth).work(demo, seen);
                finished.fetch_add(1, Ordering::Relaxed);
                truth.1.notify_all();
            });
        }
        let held = wait(&finished);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        drop(held);
    });
}

/// How many rounds are to be done.
fn rounds(usually: usize) -> usize {
    std::env::var("PENFOLD_CRASH_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(usually)
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = rounds(38);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let truth = (Mutex::new(Truth::default()), Condvar::new());
    let mut seen = Seen::default();
    let mut idle_rounds = 0;
    for n in 0..rounds {
        let demo = Demo::start(BINARY, Some(&data), &[]);
        if n == 0 {
            load::make_mailboxes(&mut log_in(&demo));
        } else {
            seen.look(&mut log_in(&demo), &mut truth.0.lock().unwrap());
        }
        let before = truth.0.lock().unwrap().acknowledged;
        // A different number each round, so that the kill falls at different moments of a group.
        round(&demo, n, 5 + (n * 7) % 37, &seen, &truth);
        demo.kill();
        let now = truth.0.lock().unwrap();
        let under_way: Vec<&str> = now.under_way().collect();
        idle_rounds += usize::from(under_way.is_empty());
        // Straight to stderr: the test runner would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "round {n}: {} acknowledged, {} in flight at the kill: {}",
            now.acknowledged - before,
            under_way.len(),
            under_way.join(" ")
        );
    }
    let demo = Demo::start(BINARY, Some(&data), &[]);
    seen.look(&mut log_in(&demo), &mut truth.0.lock().unwrap());
    let _ = writeln!(std::io::stderr(), "in the end: {}", seen.summary());
    demo.stop();
    assert!(
        idle_rounds * 2 < rounds.max(1),
        "rounds with nothing in flight prove nothing: {idle_rounds} of {rounds}"
    );
}
