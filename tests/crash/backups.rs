//! `kill -9` while the server makes a backup and mail comes: nothing acknowledged is lost, the next run finishes what was
//! begun, and what is restored from it is exactly what was acknowledged.
//!
//! One data directory goes through all rounds. Each backup directory has two: in the first everything is to be copied, in
//! the second what came since.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::heavy::{self, Heavy, names};
use crate::model::{Seen, Truth};
use crate::support::server::Demo;
use crate::{BINARY, load_until, log_in, rounds};

/// A backup directory, and what can be seen of a run in it.
struct Place {
    dir: PathBuf,
    manifests: usize,
}

impl Place {
    fn new(dir: PathBuf) -> Place {
        let mut place = Place { dir, manifests: 0 };
        place.manifests = place.count();
        place
    }

    fn count(&self) -> usize {
        let there = names(&self.dir, "", "");
        there.iter().filter(|name| name.starts_with("MANIFEST-") && !name.ends_with(".new")).count()
    }

    /// A file is being written.
    fn is_begun(&self) -> bool {
        !names(&self.dir, "tmp", "").is_empty()
    }

    /// Some have their names, and the next run need not copy them.
    fn is_noted(&self) -> bool {
        self.dir.join("UNFINISHED").metadata().is_ok_and(|file| file.len() > 0)
    }

    fn is_done(&self) -> bool {
        self.count() > self.manifests
    }
}

/// The program, on the configuration of a data directory.
fn penfold(config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words).arg("--json").arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn fine(mut command: Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// The kill comes as soon as a run is so far; which that is differs from round to round.
fn kill_in_a_backup(demo: &Demo, n: usize, place: &Place, seen: &Seen, truth: &(Mutex<Truth>, Condvar)) {
    let far_enough = || match n % 8 {
        0 | 4 => place.is_begun() || place.is_done(),
        2 => place.is_noted() || place.is_done(),
        6 => place.is_done(),
        // Little is new: whatever is seen of it first.
        _ => place.is_begun() || place.is_noted() || place.is_done(),
    };
    let mut run = None;
    load_until(demo, n, seen, truth, |_| {
        let config = demo.data().join("config.toml");
        run = Some(penfold(&config, &["backup", place.dir.to_str().unwrap()]).spawn().unwrap());
        heavy::wait_for(far_enough, demo);
    });
    run.unwrap().wait_with_output().unwrap();
}

/// What is in a backup, in an empty directory and served from there, is what must be there: no more and no less.
fn restored_is(dir: &Path, into: &Path, seen: &Seen, truth: &Truth) {
    let config = into.with_extension("toml");
    let (name, socket) = (into.display(), into.with_extension("sock"));
    let text =
        format!("hostname = \"mail.demo.test\"\ndata_dir = \"{name}\"\ncontrol = \"{}\"\n", socket.display());
    std::fs::write(&config, text).unwrap();
    fine(penfold(&config, &["restore", dir.to_str().unwrap()]));
    let demo = Demo::start(BINARY, Some(into), &[]);
    let (mut seen, mut truth) = (seen.clone(), truth.copy());
    seen.begin_anew();
    seen.look(&mut log_in(&demo), &mut truth);
    let log = demo.log();
    assert!(log.contains("restored from a backup") && !log.contains("\"ERROR\""), "{log}");
    demo.kill();
    std::fs::remove_dir_all(into).unwrap();
}

#[test]
fn what_was_acknowledged_survives_kill_9_while_a_backup_is_made_and_is_in_the_next_one() {
    let rounds = rounds(8);
    let heavy = Heavy::get();
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    heavy::copy(&heavy.with_one_snapshot(), &data);
    let (truth, mut seen) = heavy.truth();
    let truth = (Mutex::new(truth), Condvar::new());
    let mut met = 0;
    for n in 0..rounds {
        let place = Place::new(root.path().join(format!("backup-{}", n / 2)));
        let demo = Demo::start(BINARY, Some(&data), &[]);
        seen.look(&mut log_in(&demo), &mut truth.0.lock().unwrap());
        truth.0.lock().unwrap().pace = Duration::from_millis(10);
        kill_in_a_backup(&demo, n, &place, &seen, &truth);
        demo.kill();
        let state = if place.is_done() {
            "done"
        } else if place.is_begun() || place.is_noted() {
            met += 1;
            "at work"
        } else {
            "between"
        };
        let _ = writeln!(std::io::stderr(), "backup, round {n}: {state} at the kill");
        let demo = Demo::start(BINARY, Some(&data), &[]);
        seen.look(&mut log_in(&demo), &mut truth.0.lock().unwrap());
        let log = demo.log();
        assert!(!log.contains("\"ERROR\""), "{log}");
        // The next run finishes it, whether the server makes it or nobody serves.
        let (dir, config) = (place.dir.to_str().unwrap(), data.join("config.toml"));
        if n % 4 < 2 {
            fine(penfold(&config, &["backup", dir]));
            demo.kill();
        } else {
            demo.kill();
            fine(penfold(&config, &["backup", dir]));
        }
        assert!(!place.is_begun() && !place.is_noted() && place.is_done());
        fine(penfold(&config, &["backup", "verify", dir]));
        if n % 2 == 1 || n + 1 == rounds {
            restored_is(&place.dir, &root.path().join("again"), &seen, &truth.0.lock().unwrap());
            std::fs::remove_dir_all(&place.dir).unwrap();
        }
    }
    // Those of a first backup cannot miss it, and but for the last of them come before its end.
    assert!(met >= rounds / 4, "of {rounds} kills {met} met a backup");
}
