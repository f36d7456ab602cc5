//! The power goes: what the real binary did to its directory is written down, and replayed onto a disk that loses what was
//! not synced, at many places. The binary must then show all that a client had been told before the cut.
//!
//! What a client knew is known to the position in the trace: it reads how far the trace has come before it sends a command
//! and after it has read the answer. A cut between the two leaves the command done or not; a cut behind both leaves it
//! done. `PENFOLD_POWER_CUTS=n` makes n times as many cuts. A failing cut leaves what the power cut left, as it was before
//! the binary was started on it, and prints the command that starts it on a copy.

mod backup;
pub mod disk;
mod record;
mod sending;
mod tape;
pub mod trace;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use crate::heavy::{self, Heavy};
use crate::model::{Seen, Truth};
use crate::support::client::message;
use crate::support::server::Demo;
use crate::{BINARY, log_in};
use disk::Believe;
use record::{Fact, Plan, Recording, Told, Until, bobs, penfold, record};
use tape::Cut;

impl Recording {
    /// Steps that do something to a name that matters.
    fn names(&self) -> Vec<usize> {
        let matter = ["data/log/", "data/snapshot/", "data/tmp/", "data/index/STATE"];
        self.tape.names(|path| matter.iter().any(|of| path.starts_with(of)))
    }

    /// All cuts lose nothing.
    fn survives(&mut self, count: u64, seed: u64) {
        let _ =
            writeln!(std::io::stderr(), "{}", self.tape.summary(self.truth.acknowledged + self.told.len()));
        let names = self.names();
        let Recording { tape, truth, told, ready, .. } = self;
        let known = Known { truth, told, ready: *ready };
        tape.survives(count, seed, &names, again, &|cut, left| drop(known.check(cut, left)));
    }

    /// A disk that only pretends loses something, and this test sees it.
    fn shows_the_loss(&mut self, believe: Believe) {
        let names = self.names();
        let Recording { tape, truth, told, ready, .. } = self;
        let known = Known { truth, told, ready: *ready };
        tape.shows_the_loss(believe, *ready, &names, &|cut, left| drop(known.check(cut, left)));
    }
}

/// What starts the binary again on what a cut left.
fn again(left: &Path) -> String {
    format!("{BINARY} demo --dir {}/data", left.display())
}

/// What clients knew when, while a binary was recorded.
struct Known<'a> {
    truth: &'a Truth,
    told: &'a [Told],
    /// From here on all mailboxes are there.
    ready: u64,
}

impl Known<'_> {
    /// The binary shows what must be there after a cut, and works on: it, and what is there then.
    fn check(&self, cut: Cut, left: &Path) -> (Demo, Truth, Seen) {
        let data = left.join("data");
        let mut demo = Demo::start(BINARY, Some(&data), &[]);
        let (mut truth, mut seen) = self.truth.at(cut.position);
        if cut.position >= self.ready {
            seen.look(&mut log_in(&demo), &mut truth);
        }
        self.check_facts((cut.position, cut.position), &demo);
        let log = demo.log();
        assert!(!log.contains("\"ERROR\"") && !log.contains("of no use"), "{log}");
        let octets = message("afterwards", 500);
        let answer = log_in(&demo).append("x", "INBOX", &octets).unwrap();
        assert!(answer.starts_with("x OK"), "{answer}");
        truth.has(0, ("INBOX".into(), "afterwards".into()), octets.len());
        // What it showed is what the next one shows.
        if cut.seed.is_multiple_of(4) && cut.position >= self.ready {
            demo.kill();
            demo = Demo::start(BINARY, Some(&data), &[]);
            seen.look(&mut log_in(&demo), &mut truth);
        }
        (demo, truth, seen)
    }

    /// What stands behind the mailboxes of the load is as it was at some time between two positions.
    fn check_facts(&self, (from, to): (u64, u64), demo: &Demo) {
        let list = |what: &str| penfold(&demo.data(), &[what, "list"])().unwrap();
        let (aliases, accounts, has) = (list("alias"), list("account"), bobs(demo));
        let done = |told: &Told| told.answered.is_some_and(|at| at <= from);
        let mut gone = BTreeSet::new();
        let mut perhaps_gone: Vec<&Vec<String>> = Vec::new();
        let mut delivered = BTreeSet::new();
        for told in self.told.iter().filter(|told| told.begun <= to) {
            match &told.fact {
                Fact::Deleted(ids) if done(told) => gone.extend(ids),
                Fact::Deleted(ids) => perhaps_gone.push(ids),
                Fact::Delivered(id) if done(told) => drop(delivered.insert(id)),
                _ => {}
            }
        }
        for ids in &perhaps_gone {
            let of: Vec<&String> = ids.iter().filter(|id| delivered.contains(id)).collect();
            let there = of.iter().filter(|id| has.contains(**id)).count();
            assert!(there == 0 || there == of.len(), "half of a QUIT: {ids:?}, {has:?}");
        }
        for told in self.told {
            let (what, there) = match &told.fact {
                Fact::Alias(address) => (address, aliases.contains(&format!("\"{address}\""))),
                Fact::Account(address) => (address, accounts.contains(&format!("\"{address}\""))),
                Fact::Delivered(id) if gone.contains(id) => {
                    assert!(!has.contains(id), "{id} is there again");
                    continue;
                }
                Fact::Delivered(id) if perhaps_gone.iter().any(|ids| ids.contains(id)) => continue,
                Fact::Delivered(id) => (id, has.contains(id)),
                Fact::Deleted(_) => continue,
            };
            if done(told) {
                assert!(there, "{what} was acknowledged and is gone");
            } else if told.begun > to {
                assert!(!there, "{what} comes from nowhere");
            }
        }
    }
}

#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    ignore = "the recorder knows only Linux on x86-64"
)]
fn what_was_acknowledged_survives_a_power_cut() {
    let plan = Plan {
        name: "a new store",
        from: None,
        truth: Truth::default(),
        seen: Seen::default(),
        round: 0,
        phases: &[Until::Commands(300), Until::Commands(200), Until::Commands(400)],
        restarts: true,
        backups: false,
    };
    let mut recording = record(plan);
    recording.survives(50, 1);
    recording.shows_the_loss(Believe::NamesOnly);
    recording.shows_the_loss(Believe::OctetsOnly);
    a_power_cut_while_it_opens(&recording);
}

/// What the first cut left, and then another one, while that is put in order or soon after.
fn a_power_cut_while_it_opens(first: &Recording) {
    let place = first.tape.place.path().canonicalize().unwrap();
    for seed in 0..2 {
        let cut = first.tape.cuts(40, 90 + seed, &first.names())[30];
        let left = place.join(format!("second-{seed}"));
        first.tape.lose(first.tape.disk(&place.join("disk")), cut, &left);
        let (truth, seen) = first.truth.at(cut.position);
        let plan = Plan {
            name: "what a power cut left",
            from: Some(&left.join("data")),
            truth,
            seen,
            round: 10,
            phases: &[Until::Commands(20)],
            restarts: false,
            backups: false,
        };
        record(plan).survives(10, 3 + seed);
    }
}

#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    ignore = "the recorder knows only Linux on x86-64"
)]
fn a_power_cut_while_snapshots_are_made_and_segments_compacted_loses_nothing() {
    let heavy = Heavy::get();
    let (truth, seen) = heavy.truth();
    let plan = Plan {
        name: "snapshots and compaction",
        from: Some(&heavy.with_one_snapshot()),
        truth,
        seen,
        round: 0,
        phases: &[
            Until::There(&|data| heavy::names(data, "snapshot", ".snap").len() == 2),
            Until::There(&|data| heavy::names(data, "log", ".g2").len() == 1),
            Until::Commands(50),
        ],
        restarts: false,
        backups: false,
    };
    record(plan).survives(30, 2);
}
