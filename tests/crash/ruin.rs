//! The index under the real binary, ruined: it opens, says what it did, and shows the same mailboxes, UIDs and flags.
//!
//! The store's own tests ruin many more; these are a sample with everything around it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use crate::heavy::{copy, names};
use crate::load;
use crate::model::{Seen, Truth};
use crate::support::server::Demo;
use crate::{BINARY, log_in, round};

/// Starts it as a supervisor would, until it shows everything; what it logged.
fn shows_everything(data: &Path, what: &str, truth: &Truth, seen: &Seen) -> String {
    let mut logs = String::new();
    for _ in 0..3 {
        let mut command = Command::new(BINARY);
        command.env("INVOCATION_ID", "as under systemd");
        // It may end itself before it is ready.
        let started = catch_unwind(AssertUnwindSafe(|| Demo::start_by(command, Some(data), &[])));
        let Ok(mut demo) = started else { continue };
        let (mut truth, mut seen) = (truth.copy(), seen.clone());
        let looked = catch_unwind(AssertUnwindSafe(|| seen.look(&mut log_in(&demo), &mut truth)));
        logs.push_str(&demo.log());
        match looked {
            Ok(()) => return logs,
            // Only an index that turned out to be bad is a reason to begin again.
            Err(_) if logs.contains("the index failed") || !demo.alive() => {}
            Err(panic) => {
                eprintln!("{what}: {logs}");
                resume_unwind(panic);
            }
        }
    }
    panic!("{what}: it never shows everything: {logs}");
}

fn db(data: &Path) -> std::path::PathBuf {
    data.join("index/db")
}

/// Changes what one of the index's files holds.
fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut octets = fs::read(path).unwrap();
    how(&mut octets);
    fs::write(path, octets).unwrap();
}

type Ruin<'a> = Box<dyn Fn(&Path) + 'a>;

/// (What is done, whether an index must be built anew, how.)
fn ruins(older: &Path) -> Vec<(String, bool, Ruin<'_>)> {
    let mut ruins: Vec<(String, bool, Ruin)> = vec![
        ("index/ removed".into(), true, Box::new(|data| fs::remove_dir_all(data.join("index")).unwrap())),
        ("db emptied".into(), true, Box::new(|data| fs::write(db(data), b"").unwrap())),
        ("db removed".into(), true, Box::new(|data| fs::remove_file(db(data)).unwrap())),
        ("STATE emptied".into(), true, Box::new(|data| fs::write(data.join("index/STATE"), b"").unwrap())),
        (
            "an older copy".into(),
            false,
            Box::new(|data| {
                fs::remove_dir_all(data.join("index")).unwrap();
                copy(older, &data.join("index"));
            }),
        ),
        #[cfg(target_os = "linux")]
        ("another boot".into(), true, Box::new(another_boot)),
    ];
    for n in 0..7_usize {
        let cut = move |data: &Path| change(&db(data), |octets| octets.truncate(octets.len() * n / 7));
        // What is left of it may be an older state that is whole.
        ruins.push((format!("db truncated to {n}/7"), n == 0, Box::new(cut)));
        let flip = move |data: &Path| {
            change(&db(data), |octets| {
                let used = octets.iter().rposition(|octet| *octet != 0).unwrap();
                octets[used * (n + 1) / 8] ^= 1 << n;
            });
        };
        ruins.push((format!("a bit of db flipped at {}/8", n + 1), false, Box::new(flip)));
    }
    ruins
}

/// As if the machine had gone down with the index in use.
fn another_boot(data: &Path) {
    use store::index::state::{self, Left};
    let vfs = store::RealVfs::new(data);
    let mut state = state::read(&vfs, "index").unwrap();
    let Left::Running { boot } = &mut state.left else { panic!("it was killed: {state:?}") };
    *boot = Some("another".into());
    state::write(&vfs, "index", &state).unwrap();
}

#[test]
fn a_ruined_index_changes_nothing_that_is_served() {
    let place = tempfile::tempdir().unwrap();
    let (data, older) = (place.path().join("data"), place.path().join("older"));
    let (mut truth, mut seen) = (Truth::default(), Seen::default());
    for n in 0..3 {
        let demo = Demo::start(BINARY, Some(&data), &[]);
        if n == 0 {
            load::make_mailboxes(&mut log_in(&demo));
        }
        seen.look(&mut log_in(&demo), &mut truth);
        let both = (Mutex::new(truth), Condvar::new());
        round(&demo, n, 150, &seen, &both);
        truth = both.0.into_inner().unwrap();
        demo.kill();
        if n == 1 {
            copy(&data.join("index"), &older);
        }
    }
    let demo = Demo::start(BINARY, Some(&data), &[]);
    seen.look(&mut log_in(&demo), &mut truth);
    demo.kill();
    let mut built = 0;
    for (n, (what, must_rebuild, ruin)) in ruins(&older).iter().enumerate() {
        let ruined = place.path().join(n.to_string());
        copy(&data, &ruined);
        ruin(&ruined);
        let log = shows_everything(&ruined, what, &truth, &seen);
        let rebuilt = log.contains("its index was rebuilt");
        assert!(rebuilt || !must_rebuild, "{what}: it does not say that it was built anew: {log}");
        assert!(!log.contains("renewed") && names(&ruined, "tmp", ".seg").len() < 5, "{what}: {log}");
        built += usize::from(rebuilt);
        fs::remove_dir_all(&ruined).unwrap();
    }
    println!("built anew: {built}");
    assert!(built >= 8, "hardly any ruin was noticed: {built}");
}
