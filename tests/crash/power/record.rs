//! The binary at work under the recorder: clients of every kind, and what each was told, by the position in the trace.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::tape::Tape;
use super::trace::Clock;
use crate::heavy;
use crate::load::{self, CLIENTS, Client};
use crate::model::{Seen, Truth};
use crate::support::client::{Lines, message};
use crate::support::server::Demo;
use crate::{BINARY, log_in};

/// Octets of Bob's messages.
const BOBS: usize = 3_000;

/// Something that somebody was told, besides what the load's clients know.
#[derive(Clone, Debug)]
pub enum Fact {
    Alias(String),
    Account(String),
    /// A message for Bob, by SMTP.
    Delivered(String),
    /// Messages that Bob took away by POP3, with one QUIT.
    Deleted(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Told {
    pub begun: u64,
    pub answered: Option<u64>,
    pub fact: Fact,
}

/// Facts, as they are made.
struct Facts<'a> {
    clock: Clock,
    told: &'a Mutex<Vec<Told>>,
}

impl Facts<'_> {
    /// Makes something a fact; whether it was acknowledged.
    fn make(&self, fact: Fact, make: impl FnOnce() -> bool) -> bool {
        let begun = self.clock.now();
        let done = make();
        let answered = done.then(|| self.clock.now());
        self.told.lock().unwrap().push(Told { begun, answered, fact });
        done
    }
}

/// A run of `penfold backup`.
#[derive(Clone, Debug)]
pub struct Run {
    pub begun: u64,
    /// When it had said that it is done.
    pub done: u64,
    /// The manifest of the backup that it made.
    pub manifest: String,
}

/// Where backups are made, in the directory that is recorded: nobody has made it before.
pub const BACKUPS: &str = "backups/of/penfold";

/// A binary that worked under a recorder.
pub struct Recording {
    pub tape: Tape,
    pub truth: Truth,
    pub told: Vec<Told>,
    /// Backups that were made meanwhile.
    pub runs: Vec<Run>,
    /// From here on all mailboxes are there.
    pub ready: u64,
}

/// How long a load goes on.
#[derive(Clone, Copy)]
pub enum Until<'a> {
    /// So many commands are acknowledged.
    Commands(usize),
    /// The server has done something by itself. Clients take their time.
    There(&'a dyn Fn(&Path) -> bool),
}

/// How a recording is made.
pub struct Plan<'a> {
    pub name: &'static str,
    /// The directory to begin with.
    pub from: Option<&'a Path>,
    pub truth: Truth,
    pub seen: Seen,
    /// Names what is sent.
    pub round: usize,
    /// How long each of the load's phases goes on.
    pub phases: &'a [Until<'a>],
    /// Clean ends and new starts between the phases.
    pub restarts: bool,
    /// Backups all the while, by the server, and where nobody serves between two phases.
    pub backups: bool,
}

pub fn record(plan: Plan) -> Recording {
    let place = tempfile::tempdir().unwrap();
    let disk = place.path().canonicalize().unwrap().join("disk");
    let data = disk.join("data");
    match plan.from {
        Some(from) => heavy::copy(from, &data),
        None => std::fs::create_dir_all(&data).unwrap(),
    }
    let mut tape = Tape::begin(plan.name, place, &disk, if plan.backups { "backups" } else { "" });
    let environment = tape.recorder.environment(&disk);
    let start = || {
        let mut command = Command::new(BINARY);
        command.envs(environment.clone());
        Demo::start_by(command, Some(&data), &[])
    };
    let Plan { mut truth, mut seen, phases, restarts, .. } = plan;
    truth.record(tape.recorder.clock(), &seen);
    let mut demo = start();
    if plan.from.is_none() {
        load::make_mailboxes(&mut log_in(&demo));
    }
    let ready = tape.recorder.clock().now();
    if plan.from.is_some() {
        seen.look(&mut log_in(&demo), &mut truth);
    }
    let (truth, told) = ((Mutex::new(truth), Condvar::new()), Mutex::new(Vec::new()));
    let runs = Mutex::new(Vec::new());
    let back_up = |by: Command| back_up(by, &disk, &tape.recorder.clock(), &runs);
    for (n, until) in phases.iter().enumerate() {
        let facts = || Facts { clock: tape.recorder.clock(), told: &told };
        let last = n + 1 == phases.len();
        let beside = || {
            // Two at least, and the last one may go on when the clients have ended.
            for n in 0.. {
                if !plan.backups || n > 1 && truth.0.lock().unwrap().enough {
                    return;
                }
                back_up(Command::new(BINARY));
            }
        };
        phase(&demo, plan.round + n, *until, (&truth, &seen), &facts, &beside);
        if last {
            break;
        }
        if restarts {
            assert!(demo.stop().success());
            if plan.backups {
                let mut command = Command::new(BINARY);
                command.envs(environment.clone());
                back_up(command);
            }
            demo = start();
        }
        seen.look(&mut log_in(&demo), &mut truth.0.lock().unwrap());
    }
    demo.kill();
    let mut truth = truth.0.into_inner().unwrap();
    truth.stop_recording();
    let (told, runs) = (told.into_inner().unwrap(), runs.into_inner().unwrap());
    tape.end();
    Recording { tape, truth, told, runs, ready }
}

/// Makes a backup by a command that names the binary; of earlier ones one stays.
fn back_up(mut by: Command, disk: &Path, clock: &Clock, runs: &Mutex<Vec<Run>>) {
    by.arg("backup").arg(disk.join(BACKUPS)).args(["--keep", "2", "--json", "--config"]);
    by.arg(disk.join("data/config.toml")).stdin(Stdio::null());
    let begun = clock.now();
    let output = by.output().unwrap();
    let done = clock.now();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let manifest = report["backup"]["manifest"].as_str().unwrap().to_owned();
    runs.lock().unwrap().push(Run { begun, done, manifest });
}

/// All clients at once, until so many commands are acknowledged.
fn phase<'a>(
    demo: &Demo,
    round: usize,
    until: Until,
    (truth, seen): (&(Mutex<Truth>, Condvar), &Seen),
    facts: &(dyn Fn() -> Facts<'a> + Sync),
    beside: &(dyn Fn() + Sync),
) {
    let before = {
        let mut truth = truth.0.lock().unwrap();
        truth.enough = false;
        truth.pace = match until {
            Until::Commands(_) => Duration::ZERO,
            Until::There(_) => Duration::from_millis(60),
        };
        truth.acknowledged
    };
    std::thread::scope(|s| {
        for number in 0..CLIENTS {
            s.spawn(move || Client::new(number, round, truth).work(demo, seen));
        }
        s.spawn(|| administer(demo, round, &facts(), || truth.0.lock().unwrap().enough));
        s.spawn(beside);
        s.spawn(|| bob(demo, round, &facts(), || truth.0.lock().unwrap().enough));
        match until {
            Until::Commands(count) => {
                let few = |truth: &mut Truth| truth.acknowledged < before + count;
                drop(truth.1.wait_while(truth.0.lock().unwrap(), few).unwrap());
            }
            Until::There(is) => heavy::wait_for(|| is(&demo.data()), demo),
        }
        truth.0.lock().unwrap().enough = true;
    });
}

fn administer(demo: &Demo, round: usize, facts: &Facts, enough: impl Fn() -> bool) {
    for n in 0..20 {
        if enough() && n > 1 {
            return;
        }
        let alias = format!("alias-{round}-{n}@demo.test");
        let added = penfold(&demo.data(), &["alias", "add", &alias, "alice@demo.test"]);
        assert!(facts.make(Fact::Alias(alias.clone()), || added().is_some()), "{alias}");
        let account = format!("account-{round}-{n}@demo.test");
        let added = penfold(&demo.data(), &["account", "add", &account]);
        assert!(facts.make(Fact::Account(account.clone()), || added().is_some()), "{account}");
    }
}

/// A command of the binary, for a running server; what it printed.
pub fn penfold(data: &Path, words: &[&str]) -> impl FnOnce() -> Option<String> + use<> {
    let mut command = Command::new(BINARY);
    command.args(words).arg("--json").arg("--config").arg(data.join("config.toml")).stdin(Stdio::null());
    move || {
        let output = command.output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

/// Mail for Bob, who takes the older half of it away by POP3.
fn bob(demo: &Demo, round: usize, facts: &Facts, enough: impl Fn() -> bool) {
    let mut smtp = Lines::plain(demo.addr("smtp")).unwrap();
    smtp.smtp_reply().unwrap();
    smtp.smtp("EHLO bob.example").unwrap();
    for n in 0..200 {
        if enough() && n > 7 {
            return;
        }
        let id = format!("bob-{round}-{n}");
        let octets = message(&id, BOBS);
        let mut delivered = || smtp.deliver("sender@example.net", "bob@demo.test", &octets).unwrap();
        assert!(facts.make(Fact::Delivered(id), || delivered().starts_with("250")));
        if n % 8 == 7 {
            take_away(demo, facts);
        }
    }
}

fn take_away(demo: &Demo, facts: &Facts) {
    let (user, password) = demo.account(1);
    let mut s = Lines::plain(demo.addr("pop3")).unwrap();
    s.line().unwrap();
    let mut ask = |command: &str| {
        s.send(format!("{command}\r\n").as_bytes()).unwrap();
        let answer = s.line().unwrap();
        assert!(answer.starts_with("+OK"), "{command}: {answer}");
        answer
    };
    ask(&format!("USER {user}"));
    ask(&format!("PASS {password}"));
    let count: usize = ask("STAT").split(' ').nth(1).unwrap().parse().unwrap();
    let mut ids = Vec::new();
    for number in 1..=count / 2 {
        s.send(format!("RETR {number}\r\nDELE {number}\r\n").as_bytes()).unwrap();
        s.line().unwrap();
        loop {
            let line = s.line().unwrap();
            if let Some(id) = line.strip_prefix("Message-ID: <").and_then(|l| l.strip_suffix("@example.net>"))
            {
                ids.push(id.to_owned());
            }
            if line == "." {
                break;
            }
        }
        assert!(s.line().unwrap().starts_with("+OK"));
    }
    let quit = || {
        s.send(b"QUIT\r\n").unwrap();
        s.line().unwrap().starts_with("+OK")
    };
    assert!(facts.make(Fact::Deleted(ids), quit));
}

/// Which ids Bob has, each whole.
pub fn bobs(demo: &Demo) -> BTreeSet<String> {
    let (user, password) = demo.account(1);
    let mut s = Lines::plain(demo.addr("imap")).unwrap();
    s.imap_login(&user, &password);
    s.imap("e", "EXAMINE INBOX").unwrap();
    s.send(b"f UID FETCH 1:* BODY.PEEK[]\r\n").unwrap();
    let mut ids = BTreeSet::new();
    loop {
        let line = s.line().unwrap();
        if line.starts_with("f ") {
            assert!(line.starts_with("f OK"), "{line}");
            return ids;
        }
        let Some(open) = line.rfind('{').filter(|_| line.ends_with('}')) else { continue };
        let octets = s.take(line[open + 1..line.len() - 1].parse().unwrap()).unwrap();
        let text = String::from_utf8_lossy(&octets);
        let id = text.split("Message-ID: <").nth(1).and_then(|r| r.split_once("@example.net>"));
        let Some((id, _)) = id else { continue }; // The demo's welcome.
        assert!(octets.ends_with(&message(id, BOBS)), "{id} is there but not whole");
        assert!(ids.insert(id.to_owned()), "{id} is there more than once");
    }
}
