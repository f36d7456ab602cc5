//! A recording as it is replayed: where the power goes, what is left then, and who looks at that.

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};

use store::RealVfs;
use store::index::state::{self, Left};

use super::disk::{Believe, Dice, Disk};
use super::trace::{Action, Recorder, Step};
use crate::heavy;

/// What a process did to a directory, and to the data directory in it, which is called `data`.
pub struct Tape {
    pub name: &'static str,
    pub place: tempfile::TempDir,
    pub recorder: Recorder,
    /// The directory when the recording began, once for each way to believe in syncs.
    disks: Vec<Disk>,
    pub steps: Vec<Step>,
}

/// A place in a recording where the power goes.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub step: usize,
    pub position: u64,
    pub seed: u64,
}

/// Looks at what a cut left in a directory, and panics if something is lost.
pub type Check<'a> = &'a (dyn Fn(Cut, &Path) + Sync);

/// The next boot of the machine.
pub fn boot_anew(data: &Path) {
    let vfs = RealVfs::new(data);
    if let Ok(mut state) = state::read(&vfs, "index")
        && let Left::Running { boot } = &mut state.left
    {
        *boot = Some("the-boot-after-the-power-cut".into());
        state::write(&vfs, "index", &state).unwrap();
    }
}

impl Tape {
    /// A tape of what happens to a directory from now on. `doubted`: names that begin so are those whose syncs a disk that
    /// only pretends does not do.
    pub fn begin(
        name: &'static str,
        place: tempfile::TempDir,
        directory: &Path,
        doubted: &'static str,
    ) -> Tape {
        let root = place.path().canonicalize().unwrap();
        let copy = root.join("begin");
        heavy::copy(directory, &copy);
        let recorder = Recorder::build(&root);
        let disks = [Believe::All, Believe::NamesOnly, Believe::OctetsOnly];
        let disks = disks.map(|believe| Disk::new(directory, &copy, believe, doubted)).into();
        Tape { name, place, recorder, disks, steps: Vec::new() }
    }

    /// Nothing is recorded any more.
    pub fn end(&mut self) {
        self.steps = self.recorder.steps();
    }

    /// Steps that do something to a name that is meant.
    pub fn names(&self, meant: impl Fn(&str) -> bool) -> Vec<usize> {
        let is_meant = |n: &usize| match &self.steps[*n].action {
            Action::Create(path, _) | Action::MakeDir(path, _) => meant(path),
            Action::Rename(_, path, _) | Action::Unlink(path) => meant(path),
            _ => false,
        };
        (0..self.steps.len()).filter(is_meant).collect()
    }

    /// The first step after a position.
    pub fn step_at(&self, position: u64) -> usize {
        self.steps.partition_point(|step| step.end <= position)
    }

    /// So many cuts, in order: anywhere, and half of them next to one of some steps.
    pub fn cuts(&self, count: u64, seed: u64, near: &[usize]) -> Vec<Cut> {
        let mut dice = Dice::new(seed);
        let mut cuts: Vec<Cut> = (0..count)
            .map(|n| {
                let any = dice.roll(self.steps.len() as u64) as usize;
                let near = near[dice.roll(near.len() as u64) as usize] + dice.roll(4) as usize;
                let step = if n % 2 == 0 { any } else { near.min(self.steps.len() - 1) };
                Cut { step, position: self.steps[step].end, seed: dice.roll(u64::MAX) }
            })
            .collect();
        cuts.sort_by_key(|cut| cut.step);
        cuts
    }

    /// Makes the cuts, two at a time, and says which of them lost something.
    fn cut(&mut self, cuts: &[Cut], mut disk: Disk, only_first: bool, check: Check) -> Vec<(Cut, String)> {
        let octets = self.recorder.octets();
        let failed = Mutex::new(Vec::new());
        let (give, take) = mpsc::sync_channel::<(Cut, PathBuf)>(1);
        let take = Mutex::new(take);
        std::thread::scope(|s| {
            let give = give;
            let (this, failed, take) = (&*self, &failed, &take);
            for _ in 0..2 {
                s.spawn(move || {
                    while let Ok((cut, left)) = { take.lock().unwrap().recv() } {
                        match catch_unwind(AssertUnwindSafe(|| check(cut, &left))) {
                            Ok(()) => std::fs::remove_dir_all(&left).unwrap(),
                            Err(panic) => failed.lock().unwrap().push((cut, text_of(&*panic))),
                        }
                    }
                });
            }
            let believe = disk.believes();
            let mut done = 0;
            for (n, cut) in cuts.iter().enumerate() {
                if only_first && !failed.lock().unwrap().is_empty() {
                    break;
                }
                while done <= cut.step {
                    disk.step(&this.steps[done]);
                    done += 1;
                }
                let left = this.place.path().join(format!("{believe:?}-{n}"));
                disk.lose_power(&left, &octets, &mut Dice::new(cut.seed));
                boot_anew(&left.join("data"));
                give.send((*cut, left)).unwrap();
            }
        });
        failed.into_inner().unwrap()
    }

    fn take(&mut self, believe: Believe) -> Disk {
        self.disks.swap_remove(self.disks.iter().position(|disk| disk.believes() == believe).unwrap())
    }

    /// What a cut leaves of the directory that the recording began with.
    pub fn lose(&self, mut begin: Disk, cut: Cut, to: &Path) {
        self.steps[..=cut.step].iter().for_each(|step| begin.step(step));
        begin.lose_power(to, &self.recorder.octets(), &mut Dice::new(cut.seed));
        boot_anew(&to.join("data"));
    }

    /// A disk as it was when the recording began.
    pub fn disk(&self, directory: &Path) -> Disk {
        Disk::new(directory, &self.place.path().canonicalize().unwrap().join("begin"), Believe::All, "")
    }

    /// All cuts lose nothing: so many of them, times what the environment says. `again` is what starts the binary on a
    /// directory that a cut left.
    pub fn survives(
        &mut self,
        count: u64,
        seed: u64,
        near: &[usize],
        again: impl Fn(&Path) -> String,
        check: Check,
    ) {
        let times: u64 = std::env::var("PENFOLD_POWER_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
        let cuts = self.cuts(count * times, seed, near);
        let disk = self.take(Believe::All);
        let begin = disk.clone();
        let failed = self.cut(&cuts, disk, false, check);
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
        let (lost, copy) = (self.place.path().join("lost"), self.place.path().join("again"));
        self.lose(begin, *cut, &lost);
        panic!(
            "{} of {} cuts lost something; {cut:?}: {why}\nThe binary again, on what this cut left:\n    cp -a {} {} && {}",
            failed.len(),
            cuts.len(),
            lost.display(),
            copy.display(),
            again(&copy)
        );
    }

    /// A disk that only pretends, from a position on, loses something, and the check sees it.
    pub fn shows_the_loss(&mut self, believe: Believe, from: u64, near: &[usize], check: Check) {
        let mut cuts = self.cuts(40, 7, near);
        cuts.retain(|cut| cut.position > from);
        let mut disk = self.take(believe);
        disk.doubt_from(from);
        let failed = self.cut(&cuts, disk, true, check);
        let (cut, why) = failed.first().unwrap_or_else(|| panic!("with {believe:?} nothing is lost"));
        let why = why.lines().next().unwrap_or_default();
        let _ =
            writeln!(std::io::stderr(), "{}: {believe:?} is noticed at step {}: {why}", self.name, cut.step);
    }

    /// What was recorded, in words.
    pub fn summary(&self, acknowledged: usize) -> String {
        let count = |which: fn(&Action) -> bool| self.steps.iter().filter(|s| which(&s.action)).count();
        let octets: usize = self
            .steps
            .iter()
            .map(|step| if let Action::Write(_, octets) = &step.action { octets.length } else { 0 })
            .sum();
        format!(
            "{}: {} operations, {} MiB in {} writes, {} syncs, {} renames; {acknowledged} commands acknowledged",
            self.name,
            self.steps.len(),
            octets >> 20,
            count(|a| matches!(a, Action::Write(..))),
            count(|a| matches!(a, Action::SyncEnds(..))),
            count(|a| matches!(a, Action::Rename(..))),
        )
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default()
}
