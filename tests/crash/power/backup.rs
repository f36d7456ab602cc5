//! The power goes while backups are made, in a directory that the first of them makes: what is there then is whole, or
//! openly unfinished and finished by the next run. What a run had said to be done is there, and what is restored holds at
//! least what was acknowledged before that run began, and nothing that was begun after it ended.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::disk::Believe;
use super::record::{BACKUPS, Plan, Recording, Run, Until, record};
use super::tape::Cut;
use super::{Known, again};
use crate::model::{Seen, Truth};
use crate::support::server::Demo;
use crate::{BINARY, heavy, log_in};

impl Known<'_> {
    /// A cut has taken nothing from the backups that some runs made.
    fn check_backups(&self, runs: &[Run], cut: Cut, left: &Path) {
        if cut.position < self.ready {
            drop(self.check(cut, left));
            return;
        }
        let dir = left.join(BACKUPS);
        let done = runs.iter().rev().find(|run| run.done <= cut.position);
        let under_way = runs.iter().find(|run| run.begun <= cut.position && run.done > cut.position);
        let into = left.join("restored");
        match newest(&dir) {
            Ok(manifest) => {
                let run = [under_way, done].into_iter().flatten().find(|run| run.manifest == manifest);
                let run =
                    run.unwrap_or_else(|| panic!("{manifest} is neither of {done:?} nor of {under_way:?}"));
                self.restored(run, cut, &dir, &into);
            }
            Err(said) => {
                assert!(done.is_none(), "a backup that was made is not there or not whole: {said}");
                let restored = restore(&dir, &into);
                assert!(!restored.status.success(), "half a backup was restored: {}", words(&restored));
            }
        }
        self.goes_on(cut, left, &dir);
    }

    /// What is in a run's backup, is what was there while it ran.
    fn restored(&self, run: &Run, cut: Cut, dir: &Path, into: &Path) {
        let (from, to) = (run.begun, run.done.min(cut.position));
        let demo = serve_restored(dir, into);
        let (truth, mut seen) = self.truth.at(to);
        seen.begin_anew();
        let shown = seen.read(&mut log_in(&demo), &truth);
        self.truth.was_between(from, to, shown);
        self.check_facts((from, to), &demo);
        demo.kill();
        std::fs::remove_dir_all(into).unwrap();
    }

    /// The server starts on what is left, and the next run makes a backup of that, whoever makes it.
    fn goes_on(&self, cut: Cut, left: &Path, dir: &Path) {
        let (demo, mut truth, mut seen) = self.check(cut, left);
        let data = demo.data();
        let mut command = penfold(&["backup"]);
        command.arg(dir).args(["--keep", "2", "--config"]).arg(data.join("config.toml"));
        if cut.seed.is_multiple_of(2) {
            fine(command);
            demo.kill();
        } else {
            demo.kill();
            fine(command);
        }
        assert!(heavy::names(dir, "tmp", "").is_empty() && !dir.join("UNFINISHED").exists());
        let said = fine(verify(dir));
        // Whatever no backup needs is gone.
        let there: usize = ["log", "snapshot", "tls"].map(|of| heavy::names(dir, of, "").len()).iter().sum();
        let configs = heavy::names(dir, "", "").iter().filter(|name| name.starts_with("config.toml")).count();
        assert_eq!(said["files"], there + configs, "{said}");
        if cut.seed.is_multiple_of(3) {
            let demo = serve_restored(dir, &left.join("restored"));
            seen.begin_anew();
            seen.look(&mut log_in(&demo), &mut truth);
            demo.kill();
        }
    }
}

fn penfold(words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words).arg("--json").stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// What a command printed at its good end.
fn fine(mut command: Command) -> serde_json::Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", words(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn verify(dir: &Path) -> Command {
    let mut command = penfold(&["backup", "verify"]);
    command.arg(dir);
    command
}

/// The newest backup of a directory where all are whole; else what is said of there being none. A damaged one is an error.
fn newest(dir: &Path) -> Result<String, String> {
    let output = verify(dir).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match said["backups"].as_array().map(Vec::as_slice) {
        None | Some([]) => Err(words(&output)),
        Some([newest, ..]) => {
            assert!(output.status.success(), "half a backup passes for one: {}", words(&output));
            Ok(newest["file"].as_str().unwrap().to_owned())
        }
    }
}

fn restore(dir: &Path, into: &Path) -> Output {
    let (config, socket) = (into.with_extension("toml"), into.with_extension("sock"));
    let (name, socket) = (into.display(), socket.display());
    let text = format!("hostname = \"mail.demo.test\"\ndata_dir = \"{name}\"\ncontrol = \"{socket}\"\n");
    std::fs::write(&config, text).unwrap();
    let mut command = penfold(&["restore"]);
    command.arg(dir).arg("--config").arg(config).output().unwrap()
}

/// A server on what was restored into an empty directory.
fn serve_restored(dir: &Path, into: &Path) -> Demo {
    let restored = restore(dir, into);
    assert!(restored.status.success(), "{}", words(&restored));
    let demo = Demo::start(BINARY, Some(into), &[]);
    let log = demo.log();
    assert!(log.contains("restored from a backup") && !log.contains("\"ERROR\""), "{log}");
    demo
}

#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    ignore = "the recorder knows only Linux on x86-64"
)]
fn a_backup_is_whole_or_openly_unfinished_after_a_power_cut() {
    let plan = Plan {
        name: "backups",
        from: None,
        truth: Truth::default(),
        seen: Seen::default(),
        round: 0,
        phases: &[Until::Commands(150), Until::Commands(100), Until::Commands(100)],
        restarts: true,
        backups: true,
    };
    let Recording { mut tape, truth, told, runs, ready } = record(plan);
    let (known, runs) = (Known { truth: &truth, told: &told, ready }, &runs[..]);
    let acknowledged = truth.acknowledged + told.len();
    let _ = writeln!(std::io::stderr(), "{}, {} backups", tape.summary(acknowledged), runs.len());
    let mut near = tape.names(|path| path.starts_with("backups"));
    // As often as all of these: at the moment when a run has said that it is done.
    let told: Vec<usize> = runs.iter().map(|run| tape.step_at(run.done) - 1).collect();
    near.extend(told.iter().cycle().take(near.len()));
    let check = |cut: Cut, left: &Path| known.check_backups(runs, cut, left);
    tape.survives(16, 4, &near, again, &check);
    for believe in [Believe::NamesOnly, Believe::OctetsOnly] {
        tape.shows_the_loss(believe, ready, &near, &check);
    }
}
