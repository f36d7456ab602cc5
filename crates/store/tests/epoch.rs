//! A new epoch: after a loss of what was acknowledged, or a restore, no client can take a new message for one that is
//! gone. Begun once for a loss, whatever happens while it is begun, and never without a loss.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use store::index::model::{Fate, ModelHost};
use store::vfs::sim::{Rot, SimDisk};
use store::{Came, Intent, MailboxId, NoDigest, Opening, Options, Outcome, Store, Tuning};

fn segment(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("log/{number:08}.seg"))
}

/// Where groups begin in a segment.
fn groups(octets: &[u8]) -> Vec<u64> {
    let pages = octets.chunks(4096).enumerate();
    pages.filter(|(_, page)| page.starts_with(b"PFGROUP1")).map(|(n, _)| n as u64 * 4096).collect()
}

fn zero(path: &Path, at: u64) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0; 4096], at).unwrap();
}

/// UIDVALIDITY, UIDNEXT and HIGHESTMODSEQ of every mailbox.
fn heads(store: &Store) -> BTreeMap<MailboxId, (u32, u32, u64)> {
    let directory = store.directory();
    let accounts: Vec<_> = directory.accounts().map(|a| a.id).collect();
    let mailboxes = accounts.iter().flat_map(|&a| directory.mailboxes_of(a));
    mailboxes
        .map(|info| {
            let head = store.head(info.id).unwrap();
            assert_eq!(head.uid_validity, info.uid_validity);
            (info.id, (head.uid_validity.get(), head.uid_next.unwrap().get(), head.highest_modseq.0))
        })
        .collect()
}

/// Every mailbox is another one for its clients, and so is every number that is given out.
fn all_new(before: &BTreeMap<MailboxId, (u32, u32, u64)>, store: &Store) {
    let now = heads(store);
    let most = before.values().map(|h| h.0).max().unwrap();
    let commits = before.values().map(|h| h.2).max().unwrap();
    for (id, (validity, _, modseq)) in &now {
        assert!(*validity > most, "mailbox {id}: UIDVALIDITY {validity} after {most}");
        assert!(*modseq > commits + (1 << 32), "mailbox {id}: HIGHESTMODSEQ {modseq} after {commits}");
    }
    let validities: std::collections::BTreeSet<u32> = now.values().map(|h| h.0).collect();
    assert_eq!(validities.len(), now.len(), "each has its own");
}

/// However it is opened from now on, it is the same, and no other epoch is begun.
fn settled(dir: &Path, before: &str) {
    for drop_index in [false, true, true] {
        if drop_index {
            std::fs::remove_dir_all(dir.join("index")).unwrap();
        }
        let (store, opening) = open(dir);
        assert_eq!(opening.renewed, None, "{opening:?}");
        assert_eq!(picture(&store), before);
        store.close().unwrap();
        drop(store);
        let (store, opening) = open(dir);
        assert_eq!((&opening.renewed, &opening.came), (&None, &Came::Clean));
        assert_eq!(picture(&store), before);
    }
}

#[test]
fn a_lost_group_at_the_end_begins_a_new_epoch_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    append(&store, inbox, 1);
    assert_eq!(append(&store, inbox, 2).get(), 2);
    let before = heads(&store);
    let old = store.unique_id(inbox, &store.view(inbox).unwrap().at(1).unwrap());
    store.close().unwrap();
    drop(store);
    let last = *groups(&std::fs::read(segment(dir.path(), 1)).unwrap()).last().unwrap();
    zero(&segment(dir.path(), 1), last);
    let (store, opening) = open(dir.path());
    assert!(opening.renewed.is_some(), "{opening:?}");
    all_new(&before, &store);
    // The lost message's UID is given out again, under another UIDVALIDITY and with another name for POP3.
    assert_eq!(append(&store, inbox, 3).get(), 2);
    let row = store.view(inbox).unwrap().at(1).unwrap();
    assert_ne!(store.unique_id(inbox, &row), old);
    let account = match store.ask(Intent::AddAccount {
        login: "bob".into(),
        password: "$hash$".into(),
        addresses: vec![],
    }) {
        Ok(Outcome::Account(id)) => id,
        other => panic!("{other:?}"),
    };
    assert!(account.get() > 1_000, "an id that was given out and lost does not come again");
    let picture = picture(&store);
    drop(store);
    settled(dir.path(), &picture);
}

#[test]
fn a_lost_segment_at_the_end_begins_a_new_epoch_in_a_file_of_another_number() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    let mut n = 0;
    while !segment(dir.path(), 2).exists() {
        n += 1;
        append(&store, inbox, n);
    }
    append(&store, inbox, n + 1);
    let before = heads(&store);
    store.close().unwrap();
    drop(store);
    std::fs::remove_file(segment(dir.path(), 2)).unwrap();
    let (store, opening) = open(dir.path());
    assert!(opening.renewed.is_some(), "{opening:?}");
    all_new(&before, &store);
    assert!(!segment(dir.path(), 2).exists() && segment(dir.path(), 3).exists());
    append(&store, inbox, 1);
    let picture = picture(&store);
    drop(store);
    settled(dir.path(), &picture);
}

#[test]
fn a_lost_group_in_the_middle_begins_a_new_epoch_and_uids_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    for n in 1..=5 {
        append(&store, inbox, n);
    }
    let before = heads(&store);
    drop(store);
    let starts = groups(&std::fs::read(segment(dir.path(), 1)).unwrap());
    // The last but one: message 4, so that nothing after it tells of the mailbox's next UID but message 5.
    zero(&segment(dir.path(), 1), starts[starts.len() - 2]);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, opening) = open(dir.path());
    assert!(opening.renewed.is_some(), "{opening:?}");
    all_new(&before, &store);
    let there = picture(&store);
    let heads = heads(&store);
    drop(store);
    settled(dir.path(), &there);
    // Message 5 rots too, and no snapshot is left: it was there when the epoch began, so its UID stays used.
    std::fs::remove_dir_all(dir.path().join("snapshot")).unwrap();
    zero(&segment(dir.path(), 1), starts[starts.len() - 1]);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, opening) = open(dir.path());
    assert_eq!(opening.renewed, None, "an epoch that came after it settles it: {opening:?}");
    let (validity, next, _) = heads[&inbox];
    let head = store.head(inbox).unwrap();
    assert_eq!((head.uid_validity.get(), head.uid_next.unwrap().get(), head.exists), (validity, next, 3));
}

#[test]
fn a_restored_store_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    append(&store, inbox(&store, account), 1);
    let before = heads(&store);
    store.close().unwrap();
    drop(store);
    std::fs::write(dir.path().join("restored"), b"").unwrap();
    let (store, opening) = open(dir.path());
    assert!(opening.renewed.is_some());
    all_new(&before, &store);
    let picture = picture(&store);
    drop(store);
    assert!(!dir.path().join("restored").exists());
    settled(dir.path(), &picture);
}

// ---- the same, with the power failing at each step of it ----------------------------------------------------------

struct Machine {
    disk: SimDisk,
    model: Arc<ModelHost>,
    boot: u32,
}

impl Machine {
    fn new() -> Machine {
        let disk = SimDisk::new(7);
        let model = Arc::new(ModelHost::new(disk.vfs()));
        Machine { disk, model, boot: 0 }
    }

    fn open(&self) -> Result<(Store, Opening), store::OpenError> {
        let mut options = options(Path::new("/nowhere"));
        options = Options {
            vfs: self.disk.vfs(),
            index: self.model.clone(),
            derive: Arc::new(NoDigest),
            boot_id: Some(format!("boot-{}", self.boot)),
            tuning: Tuning { segment: 64 << 10, ..options.tuning },
            threads: false,
            ..options
        };
        Store::open(options)
    }

    fn power_cut(&mut self, fate: Fate) {
        self.disk.restart(true);
        self.boot += 1;
        self.model = Arc::new(self.model.restart(self.disk.vfs(), fate));
    }
}

/// A store with two messages, closed, of which the second has turned into zeros. What clients knew of it.
fn with_a_loss() -> (Machine, BTreeMap<MailboxId, (u32, u32, u64)>) {
    let mut machine = Machine::new();
    let (store, _) = machine.open().unwrap();
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    append(&store, inbox, 1);
    append(&store, inbox, 2);
    let before = heads(&store);
    store.close().unwrap();
    drop(store);
    machine.power_cut(Fate::Kept);
    let log = machine.disk.vfs().read("log/00000001.seg").unwrap();
    let last = *groups(&log).last().unwrap();
    for sector in 0..8 {
        machine.disk.rot("log/00000001.seg", last + sector * 512, Rot::ZeroSector);
    }
    (machine, before)
}

#[test]
fn the_proof_of_a_loss_survives_a_power_cut_at_each_step_of_the_opening() {
    let mut completed = false;
    for step in 0.. {
        let (mut machine, before) = with_a_loss();
        machine.disk.crash_in(step);
        let first = machine.open().map(|(_, opening)| opening);
        completed = first.is_ok() && !machine.disk.is_off();
        // sled after a power cut is anything; STATE is ours, and was synced.
        machine.power_cut(if step % 2 == 0 { Fate::Kept } else { Fate::Ruined });
        let (store, opening) = machine.open().unwrap();
        all_new(&before, &store);
        if completed {
            assert!(first.unwrap().renewed.is_some() && opening.renewed.is_none());
            break;
        }
    }
    assert!(completed);
}
