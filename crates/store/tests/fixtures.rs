//! Data directories that earlier versions wrote, opened for ever. CONTRIBUTING.md says how one is added.
//!
//! `fixtures/NAME/` holds a directory without its index; `FILES` has each file's path and length (zeros at the end are left
//! out), `SHOWN` what is in it.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;
#[path = "common/full.rs"]
mod full;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use full::*;
use store::{Batch, Intent, Outcome, RealVfs, RetainedFilter, Store};
use wire::flag::{FlagNames, SystemFlag};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// All that a store holds, in words that stay the same whatever the code calls things.
fn shown(store: &Store) -> String {
    let mut text = String::new();
    let sum = |octets: &[u8]| octets.iter().fold(0u64, |s, &b| s.wrapping_mul(31).wrapping_add(b.into()));
    let row_text = |row: &store::Row, keywords: Vec<&str>| {
        let flags: Vec<&str> = row.flags.iter().map(|f| f.name()).collect();
        format!(
            "uid {} modseq {} {flags:?} {keywords:?} size {} date {}{:+} saved {} octets {:016x}",
            row.uid.get(),
            row.modseq.0,
            row.size,
            row.date.unix,
            row.date.zone_minutes,
            row.save_date,
            sum(&read(store, row)),
        )
    };
    let directory = store.directory();
    writeln!(text, "domains {:?}", directory.domains().collect::<Vec<_>>()).unwrap();
    for (alias, to) in directory.aliases() {
        writeln!(text, "alias {alias} {to:?}").unwrap();
    }
    for account in directory.accounts() {
        let (login, password, created) = (&account.login, &account.password, account.created.secs);
        writeln!(text, "account {login} {password} {:?} created {created}", account.addresses).unwrap();
        writeln!(text, "  subscribed {:?}", account.subscriptions).unwrap();
        for info in directory.mailboxes_of(account.id) {
            let view = store.view(info.id).unwrap();
            let (validity, next) = (info.uid_validity.get(), view.uid_next().unwrap().get());
            let special = info.special_use.map(|s| s.attribute());
            writeln!(text, "  mailbox {} {validity} next {next} {special:?}", info.path).unwrap();
            for row in view.rows() {
                let words = view.keywords_of(&row).map(|k| k.as_str()).collect();
                writeln!(text, "    {} {}", row_text(&row, words), store.unique_id(info.id, &row)).unwrap();
            }
        }
    }
    let filter = RetainedFilter { all: true, ..RetainedFilter::default() };
    for one in store.retained(&filter).unwrap() {
        let one = one.unwrap();
        let words = one.from.keywords_of(&one.row).map(|k| k.as_str()).collect();
        writeln!(text, "expunged from {} {}", one.from.path, row_text(&one.row, words)).unwrap();
    }
    text
}

fn unpack(from: &Path, to: &Path) {
    let list = fs::read_to_string(from.join("FILES")).unwrap();
    for line in list.lines() {
        let (path, length) = line.rsplit_once(' ').unwrap();
        fs::create_dir_all(to.join(path).parent().unwrap()).unwrap();
        let mut octets = fs::read(from.join(path)).unwrap();
        octets.resize(length.parse().unwrap(), 0);
        fs::write(to.join(path), octets).unwrap();
    }
}

#[test]
fn every_data_directory_that_was_ever_written_opens() {
    let mut found = 0;
    for entry in fs::read_dir(home()).unwrap() {
        let fixture = entry.unwrap().path();
        let must = fs::read_to_string(fixture.join("SHOWN")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack(&fixture, dir.path());
        let v = store::verify::verify(Arc::new(RealVfs::new(dir.path())), None, &|_, _| {}).unwrap();
        assert_eq!(v.problems, [], "{fixture:?}");
        assert!(v.figures.compacted > 0 && v.figures.snapshots == 2 && v.figures.sides > 0);
        assert!(v.figures.retained > 0 && v.figures.groups > 10, "{:?}", v.figures);
        for _ in 0..2 {
            let (store, opening) = open_with(dir.path(), |o| small(o, 14));
            assert_eq!((&opening.rot[..], &opening.renewed), (&[][..], &None), "{fixture:?}");
            assert_eq!(shown(&store), must, "{fixture:?}");
            store.close().unwrap();
        }
        found += 1;
    }
    assert!(found > 0);
}

/// Writes a fixture with this version of the program: `PENFOLD_FIXTURE=log-v2 cargo test -p penfold-store --test
/// fixtures -- --ignored`.
#[test]
#[ignore = "run by hand when the log's format changes"]
fn make_a_fixture() {
    let to = home().join(std::env::var("PENFOLD_FIXTURE").expect("PENFOLD_FIXTURE names it"));
    assert!(!to.exists(), "a fixture is never changed");
    let dir = tempfile::tempdir().unwrap();
    let tiny = |o: &mut store::Options, days| {
        small(o, days);
        o.tuning.segment = 16 << 10;
        o.tuning.side_above = 6 << 10;
    };
    let (store, _) = open_with(dir.path(), |o| tiny(o, 0));
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    let make =
        Intent::CreateMailbox { account, path: "Wörk/Deep".into(), special_use: None, subscribe: true };
    let Ok(Outcome::Created(work)) = store.ask(make) else { panic!() };
    let alias = Intent::AddAlias { address: "post@example.org".into(), to: vec!["alice@example.org".into()] };
    store.ask(alias).unwrap();
    (1..=9).for_each(|n| _ = append(&store, inbox, n));
    flag(&store, inbox, &[(2, 9)], &[SystemFlag::Seen], &["todo"]);
    store.ask(Intent::Copy { from: inbox, uids: runs(&[(4, 5)]), to: work }).unwrap();
    store.ask(Intent::Expunge { mailbox: inbox, uids: runs(&[(1, 7)]), only_deleted: false }).unwrap();
    let mut batch = Batch::new();
    let body = batch.body(body(77).repeat(3));
    let flags = FlagNames::default();
    batch.push(Intent::Append { mailbox: work, body, prefix: prefix(77), flags, date: None });
    store.done(batch).unwrap();
    for n in 20..23 {
        append(&store, inbox, n);
        settle(&store);
        store.snapshot().unwrap();
        settle(&store);
    }
    assert!(store.health().compacted_segments > 0, "{:?}", store.health());
    drop(store);
    let (store, _) = open_with(dir.path(), |o| tiny(o, 14));
    (30..=32).for_each(|n| _ = append(&store, inbox, n));
    flag(&store, inbox, &[(9, 9)], &[SystemFlag::Flagged], &["$Junk"]);
    store.ask(Intent::Expunge { mailbox: inbox, uids: runs(&[(8, 8)]), only_deleted: false }).unwrap();
    store.ask(Intent::Move { from: inbox, uids: runs(&[(10, 10)]), to: work }).unwrap();
    settle(&store);
    let must = shown(&store);
    drop(store);
    let mut list = String::new();
    for below in ["log", "snapshot"] {
        fs::create_dir_all(to.join(below)).unwrap();
        for path in files_in(dir.path(), below, "") {
            let mut octets = fs::read(&path).unwrap();
            let name = path.strip_prefix(dir.path()).unwrap();
            writeln!(list, "{} {}", name.display(), octets.len()).unwrap();
            octets.truncate(octets.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1));
            fs::write(to.join(name), octets).unwrap();
        }
    }
    fs::write(to.join("FILES"), list).unwrap();
    fs::write(to.join("SHOWN"), must).unwrap();
}
