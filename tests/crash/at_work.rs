//! `kill -9` while the server makes a snapshot or compacts a segment, and mail comes.
//!
//! Each round begins with a copy of a directory in which a server has that to do as soon as it looks.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::heavy::{self, Heavy, names};
use crate::support::server::Demo;
use crate::{BINARY, load_until, log_in, round, rounds};

/// What the kill met.
#[derive(Debug, Default)]
struct Met {
    at_work: usize,
    done: usize,
}

/// What the server does by itself, and how a directory shows it.
struct Work {
    name: &'static str,
    from: fn(&Heavy) -> PathBuf,
    begun: fn(&Path) -> bool,
    done: fn(&Path) -> bool,
    /// It is over soon: the kill comes as soon as it has begun, and the load comes before.
    short: bool,
}

fn kills(work: &Work, rounds: usize) -> Met {
    let Work { name, begun, done, .. } = work;
    let heavy = Heavy::get();
    let place = tempfile::tempdir().unwrap();
    let mut met = Met::default();
    for n in 0..rounds {
        let data = place.path().join(n.to_string());
        heavy::copy(&(work.from)(&heavy), &data);
        let (mut truth, mut seen) = heavy.truth();
        let demo = Demo::start(BINARY, Some(&data), &[]);
        seen.look(&mut log_in(&demo), &mut truth);
        let truth = (Mutex::new(truth), Condvar::new());
        let until = |there: &dyn Fn() -> bool| {
            load_until(&demo, n, &seen, &truth, |_| heavy::wait_for(there, &demo));
        };
        if work.short {
            truth.0.lock().unwrap().pace = Duration::from_millis(60);
            until(&|| begun(&data) || done(&data));
        } else if n % 4 == 3 {
            // Right behind the renaming, before the old file has gone or soon after.
            until(&|| done(&data));
        } else {
            heavy::wait_for(|| begun(&data), &demo);
            round(&demo, n, 1 + (n * 89) % 500, &seen, &truth);
        }
        demo.kill();
        let state = if done(&data) {
            met.done += 1;
            "done"
        } else if begun(&data) {
            met.at_work += 1;
            "at work"
        } else {
            "between"
        };
        let _ = writeln!(std::io::stderr(), "{name}, round {n}: {state} at the kill");
        // Twice: what the first one puts in order is there for the second.
        for _ in 0..2 {
            let demo = Demo::start(BINARY, Some(&data), &[]);
            seen.look(&mut log_in(&demo), &mut truth.0.lock().unwrap());
            let log = demo.log();
            assert!(!log.contains("\"ERROR\""), "{log}");
            demo.kill();
        }
        std::fs::remove_dir_all(&data).unwrap();
    }
    met
}

#[test]
fn what_was_acknowledged_survives_kill_9_while_a_segment_is_compacted() {
    let work = Work {
        name: "compaction",
        from: Heavy::with_two_snapshots,
        begun: |data| names(data, "tmp", ".g2").len() == 1,
        done: |data| names(data, "log", ".g2").len() == 1,
        short: false,
    };
    let met = kills(&work, rounds(10));
    assert!(met.at_work > 0, "no kill met a compaction: {met:?}");
}

#[test]
fn what_was_acknowledged_survives_kill_9_while_a_snapshot_is_made() {
    let work = Work {
        name: "snapshot",
        from: Heavy::with_one_snapshot,
        begun: |data| names(data, "tmp", ".snap").len() == 1,
        done: |data| names(data, "snapshot", ".snap").len() == 2,
        short: true,
    };
    let met = kills(&work, rounds(4));
    assert!(met.at_work + met.done > 0, "no kill met a snapshot: {met:?}");
}
