//! The power goes: what the real binary did to its directory is written down, and replayed onto a disk that loses what was
//! not synced, at many places. The binary must then show all that a client had been told before the cut.
//!
//! What a client knew is known to the position in the trace: it reads how far the trace has come before it sends a command
//! and after it has read the answer. A cut between the two leaves the command done or not; a cut behind both leaves it
//! done. `PENFOLD_POWER_CUTS=n` makes n times as many cuts. A failing cut leaves what the power cut left, as it was before
//! the binary was started on it, and prints the command that starts it on a copy.

pub mod disk;
mod record;
pub mod trace;

use std::any::Any;
use std::collections::BTreeSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};

use store::RealVfs;
use store::index::state::{self, Left};

use crate::heavy::{self, Heavy};
use crate::model::{Seen, Truth};
use crate::support::client::message;
use crate::support::server::Demo;
use crate::{BINARY, log_in};
use disk::{Believe, Dice, Disk};
use record::{Fact, Plan, Recording, Told, Until, bobs, penfold, record};
use trace::{Action, Step};

/// The next boot of the machine.
fn boot_anew(data: &Path) {
    let vfs = RealVfs::new(data);
    if let Ok(mut state) = state::read(&vfs, "index")
        && let Left::Running { boot } = &mut state.left
    {
        *boot = Some("the-boot-after-the-power-cut".into());
        state::write(&vfs, "index", &state).unwrap();
    }
}

/// A place in a recording where the power goes.
#[derive(Clone, Copy, Debug)]
struct Cut {
    step: usize,
    position: u64,
    seed: u64,
}

impl Recording {
    /// So many cuts, in order: anywhere, and half of them next to something that happens to a name.
    fn cuts(&self, count: u64, seed: u64) -> Vec<Cut> {
        let mut dice = Dice::new(seed);
        let names = |step: &Step| {
            let path = match &step.action {
                Action::Rename(_, to, _) => to,
                Action::Create(path, _) | Action::Unlink(path) => path,
                _ => return false,
            };
            ["log/", "snapshot/", "tmp/", "index/STATE"].iter().any(|of| path.starts_with(of))
        };
        let named: Vec<usize> = (0..self.steps.len()).filter(|n| names(&self.steps[*n])).collect();
        let mut cuts: Vec<Cut> = (0..count)
            .map(|n| {
                let any = dice.roll(self.steps.len() as u64) as usize;
                let near = named[dice.roll(named.len() as u64) as usize] + dice.roll(4) as usize;
                let step = if n % 2 == 0 { any } else { near.min(self.steps.len() - 1) };
                Cut { step, position: self.steps[step].end, seed: dice.roll(u64::MAX) }
            })
            .collect();
        cuts.sort_by_key(|cut| cut.step);
        cuts
    }

    /// Makes the cuts, two at a time, and says which of them lost something.
    fn cut(&mut self, cuts: &[Cut], believe: Believe, only_first: bool) -> Vec<(Cut, String)> {
        let mut disk =
            self.disks.swap_remove(self.disks.iter().position(|disk| disk.believes() == believe).unwrap());
        let octets = self.recorder.octets();
        let failed = Mutex::new(Vec::new());
        let (give, take) = mpsc::sync_channel::<(Cut, PathBuf)>(1);
        let take = Mutex::new(take);
        std::thread::scope(|s| {
            let give = give;
            let (this, failed, take) = (&*self, &failed, &take);
            for _ in 0..2 {
                s.spawn(move || {
                    while let Ok((cut, data)) = { take.lock().unwrap().recv() } {
                        match catch_unwind(AssertUnwindSafe(|| this.check(cut, &data))) {
                            Ok(()) => std::fs::remove_dir_all(&data).unwrap(),
                            Err(panic) => failed.lock().unwrap().push((cut, text_of(&*panic))),
                        }
                    }
                });
            }
            let mut done = 0;
            for (n, cut) in cuts.iter().enumerate() {
                if only_first && !failed.lock().unwrap().is_empty() {
                    break;
                }
                while done <= cut.step {
                    disk.step(&this.steps[done]);
                    done += 1;
                }
                let data = this.place.path().join(format!("{believe:?}-{n}"));
                disk.lose_power(&data, &octets, &mut Dice::new(cut.seed));
                give.send((*cut, data)).unwrap();
            }
        });
        failed.into_inner().unwrap()
    }

    /// The binary shows what must be there after a cut.
    fn check(&self, cut: Cut, data: &Path) {
        boot_anew(data);
        let demo = Demo::start(BINARY, Some(data), &[]);
        let (mut truth, mut seen) = self.truth.at(cut.position);
        if cut.position >= self.ready {
            seen.look(&mut log_in(&demo), &mut truth);
        }
        self.check_facts(cut, &demo);
        let log = demo.log();
        assert!(!log.contains("\"ERROR\"") && !log.contains("of no use"), "{log}");
        // It works, and what it showed is what the next one shows.
        let octets = message("afterwards", 500);
        let answer = log_in(&demo).append("x", "INBOX", &octets).unwrap();
        assert!(answer.starts_with("x OK"), "{answer}");
        if cut.seed.is_multiple_of(4) && cut.position >= self.ready {
            demo.kill();
            let demo = Demo::start(BINARY, Some(data), &[]);
            truth.has(0, ("INBOX".into(), "afterwards".into()), octets.len());
            seen.look(&mut log_in(&demo), &mut truth);
        }
    }

    fn check_facts(&self, cut: Cut, demo: &Demo) {
        let list = |what: &str| penfold(&demo.data(), &[what, "list"])().unwrap();
        let (aliases, accounts, has) = (list("alias"), list("account"), bobs(demo));
        let done = |told: &Told| told.answered.is_some_and(|at| at <= cut.position);
        let mut gone = BTreeSet::new();
        let mut perhaps_gone: Vec<&Vec<String>> = Vec::new();
        for told in self.told.iter().filter(|told| told.begun <= cut.position) {
            match &told.fact {
                Fact::Deleted(ids) if done(told) => gone.extend(ids),
                Fact::Deleted(ids) => perhaps_gone.push(ids),
                _ => {}
            }
        }
        for ids in &perhaps_gone {
            let there = ids.iter().filter(|id| has.contains(*id)).count();
            assert!(there == 0 || there == ids.len(), "half of a QUIT: {ids:?}, {has:?}");
        }
        for told in &self.told {
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
            } else if told.begun > cut.position {
                assert!(!there, "{what} comes from nowhere");
            }
        }
    }

    /// What was recorded, in words.
    fn summary(&self) -> String {
        let count = |which: fn(&Action) -> bool| self.steps.iter().filter(|s| which(&s.action)).count();
        let octets: usize = self
            .steps
            .iter()
            .map(|step| if let Action::Write(_, octets) = &step.action { octets.length } else { 0 })
            .sum();
        format!(
            "{}: {} operations, {} MiB in {} writes, {} syncs, {} renames; {} commands acknowledged",
            self.name,
            self.steps.len(),
            octets >> 20,
            count(|a| matches!(a, Action::Write(..))),
            count(|a| matches!(a, Action::SyncEnds(..))),
            count(|a| matches!(a, Action::Rename(..))),
            self.truth.acknowledged + self.told.len(),
        )
    }

    /// All cuts lose nothing.
    fn survives(&mut self, count: u64, seed: u64) {
        let _ = writeln!(std::io::stderr(), "{}", self.summary());
        let times: u64 = std::env::var("PENFOLD_POWER_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
        let cuts = self.cuts(count * times, seed);
        let begin = self.disks.iter().find(|disk| disk.believes() == Believe::All).unwrap().clone();
        let failed = self.cut(&cuts, Believe::All, false);
        let _ = writeln!(
            std::io::stderr(),
            "{}: {} cuts, {} lost something",
            self.name,
            cuts.len(),
            failed.len()
        );
        let Some((cut, why)) = failed.first() else { return };
        // For whoever looks into it: the same cut once more, and nobody has started on what it leaves.
        self.place.disable_cleanup(true);
        let (lost, again) = (self.place.path().join("lost"), self.place.path().join("again"));
        self.lose(begin, *cut, &lost);
        panic!(
            "{} of {} cuts lost something; {cut:?}: {why}\nThe binary again, on what this cut left:\n    cp -a {} {} && \
             {BINARY} demo --dir {}",
            failed.len(),
            cuts.len(),
            lost.display(),
            again.display(),
            again.display()
        );
    }

    /// What a cut leaves of the directory that the recording began with.
    fn lose(&self, mut begin: Disk, cut: Cut, to: &Path) {
        self.steps[..=cut.step].iter().for_each(|step| begin.step(step));
        begin.lose_power(to, &self.recorder.octets(), &mut Dice::new(cut.seed));
        boot_anew(to);
    }

    /// A disk that only pretends loses something, and this test sees it.
    fn shows_the_loss(&mut self, believe: Believe) {
        let mut cuts = self.cuts(40, 7);
        cuts.retain(|cut| cut.position > self.ready);
        for disk in &mut self.disks {
            disk.doubt_from(self.ready);
        }
        let failed = self.cut(&cuts, believe, true);
        let (cut, why) = failed.first().unwrap_or_else(|| panic!("with {believe:?} nothing is lost"));
        let why = why.lines().next().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "{believe:?} is noticed at step {}: {why}", cut.step);
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default()
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
    };
    let mut recording = record(plan);
    recording.survives(50, 1);
    recording.shows_the_loss(Believe::NamesOnly);
    recording.shows_the_loss(Believe::OctetsOnly);
    a_power_cut_while_it_opens(&recording);
}

/// What the first cut left, and then another one, while that is put in order or soon after.
fn a_power_cut_while_it_opens(first: &Recording) {
    let place = first.place.path().canonicalize().unwrap();
    for seed in 0..2 {
        let cut = first.cuts(40, 90 + seed)[30];
        let disk = Disk::new(&place.join("data"), &place.join("begin"), Believe::All);
        let data = place.join(format!("second-{seed}"));
        first.lose(disk, cut, &data);
        let (truth, seen) = first.truth.at(cut.position);
        let plan = Plan {
            name: "what a power cut left",
            from: Some(&data),
            truth,
            seen,
            round: 10,
            phases: &[Until::Commands(20)],
            restarts: false,
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
    };
    record(plan).survives(30, 2);
}
