//! The store with its threads, several writers, and segments that fill all the time, on the simulated disk: what was
//! acknowledged when the power goes is there afterwards. Not replayable as the simulation is; made for races.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use store::index::IndexHost;
use store::index::guard::{Guard, Patience};
use store::index::model::{Fate, ModelHost};
use store::vfs::sim::{Rng, SimDisk};
use store::{Batch, Clock, Intent, MailboxId, NoDigest, Options, Outcome, Prefix, Store, Tuning, UnixTime};
use wire::flag::FlagNames;

#[derive(Debug, Default)]
struct CountingClock(AtomicU64);

impl Clock for CountingClock {
    fn wall(&self) -> UnixTime {
        UnixTime { secs: 1_800_000_000 + self.0.fetch_add(1, Ordering::Relaxed).cast_signed(), nanos: 0 }
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

fn options(disk: &SimDisk, model: &Arc<ModelHost>, boot: u64) -> Options {
    let vfs = disk.vfs();
    let index: Arc<dyn IndexHost> = Arc::clone(model) as _;
    Options {
        // It fails when the machine goes off under it, and is told: nothing to do.
        index: Arc::new(Guard::new(index, Arc::clone(&vfs), Patience::default(), Arc::new(|_: &str| {}))),
        vfs,
        derive: Arc::new(NoDigest),
        clock: Arc::new(CountingClock::default()),
        random: Arc::new(|to: &mut [u8]| to.fill(7)),
        progress: Arc::new(|_| {}),
        condemned: Arc::new(|_: &str| {}),
        boot_id: Some(boot.to_string()),
        tuning: Tuning {
            segment: 24 << 10,
            side_above: 3 << 10,
            ahead: 8 << 10,
            group_commits: 4,
            apply_every: Duration::from_millis(1),
            apply_octets: 2 << 10,
            overlay: 16 << 10,
            reserve: 0,
            reserve_percent: 0,
            lock_wait: Duration::ZERO,
            ..Tuning::default()
        },
        threads: true,
    }
}

/// Who it is for, in the message itself.
fn text(writer: usize, n: u64, rng: &mut Rng) -> Vec<u8> {
    let mut octets = format!("{writer} {n}\n").into_bytes();
    octets.resize(octets.len() + rng.index(4_500), b'x');
    octets
}

fn inbox(store: &Store) -> MailboxId {
    let directory = store.directory();
    directory.mailbox_at(directory.login("alice").expect("alice").id, "INBOX").expect("INBOX").id
}

/// Every message's octets, in the order of UIDs.
fn messages(store: &Store) -> Vec<Vec<u8>> {
    let view = store.view(inbox(store)).expect("a view");
    view.rows().map(|row| store.message(&row).and_then(|m| m.to_vec()).expect("readable")).collect()
}

fn round(seed: u64) {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(seed);
    let mut model = Arc::new(ModelHost::new(disk.vfs()));
    let acknowledged = Mutex::new(BTreeSet::new());
    for boot in 0..3 {
        let (store, opening) = Store::open(options(&disk, &model, boot)).expect("it opens");
        assert!(opening.rot.is_empty() && opening.missing_bodies.is_empty(), "seed {seed}: {opening:?}");
        if boot == 0 {
            let account =
                Intent::AddAccount { login: "alice".into(), password: "x".into(), addresses: Vec::new() };
            store.commit(Batch::of(account)).wait().expect("an account");
        }
        let there = messages(&store);
        let once: BTreeSet<Vec<u8>> = there.iter().cloned().collect();
        assert_eq!(once.len(), there.len(), "seed {seed}: something is there twice");
        let missing = acknowledged.lock().unwrap().difference(&once).count();
        assert_eq!(missing, 0, "seed {seed}, boot {boot}: acknowledged and gone");
        let mailbox = inbox(&store);
        store.lend_threads(|| {});
        disk.crash_in(100 + rng.below(900));
        thread::scope(|scope| {
            for writer in 0..4 {
                let (store, acknowledged, mut rng) = (&store, &acknowledged, rng.fork());
                scope.spawn(move || {
                    for n in boot * 1_000.. {
                        let octets = text(writer, n, &mut rng);
                        let mut batch = Batch::new();
                        let body = batch.body(octets.clone());
                        let (prefix, flags) = (Prefix::default(), FlagNames::default());
                        batch.push(Intent::Append { mailbox, body, prefix, flags, date: None });
                        // Some write for themselves when nobody else does.
                        let commit = if n % 3 == 0 { store.commit(batch) } else { store.commit_here(batch) };
                        match commit.wait() {
                            Ok(done) => {
                                assert!(matches!(done.outcomes[..], [Outcome::Placed { .. }]));
                                acknowledged.lock().unwrap().insert(octets);
                            }
                            Err(_) => return,
                        }
                    }
                });
            }
        });
        assert!(disk.is_off(), "seed {seed}: the store refused something before the power went");
        let power = rng.chance(70);
        disk.restart(power);
        model = Arc::new(
            model.restart(disk.vfs(), if power { Fate::Scrambled(seed) } else { Fate::LostSuffix(1) }),
        );
        drop(store);
    }
    assert!(acknowledged.lock().unwrap().len() > 30, "seed {seed}: too little happened");
}

#[test]
fn what_was_acknowledged_to_many_writers_survives_the_power_cut() {
    for seed in 0..12 {
        round(seed);
    }
}
