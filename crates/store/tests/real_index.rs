//! The real index, ruined in every way that disks and people know: the store opens, says what it did, and shows the same
//! UIDs, flags, UIDVALIDITY and octets as before.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

#[path = "simulation/books.rs"]
mod books;
#[path = "simulation/kept.rs"]
#[expect(dead_code, reason = "the simulation uses the rest")]
mod kept;
#[path = "simulation/world.rs"]
#[expect(dead_code, reason = "the simulation uses the rest")]
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::index::guard::{Guard, Patience};
use store::index::sled::SledHost;
use store::vfs::Vfs;
use store::{
    Batch, Came, Clock, FlagChange, Intent, MailboxId, Opening, Options, Outcome, Prefix, RealVfs, Store,
    Tuning, UnixTime,
};
use wire::flag::{FlagNames, Keyword, SystemFlag};
use wire::ids::Runs;
use world::{Sum, World};

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn wall(&self) -> UnixTime {
        UnixTime { secs: 1_800_000_000, nanos: 0 }
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(1)
    }
}

type Condemned = Arc<Mutex<Option<String>>>;

fn options(dir: &Path, boot: Option<&str>) -> (Options, Condemned) {
    fs::create_dir_all(dir).unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(RealVfs::new(dir));
    let condemned = Condemned::default();
    let told = Arc::clone(&condemned);
    let told = Arc::new(move |why: &str| *told.lock().unwrap() = Some(why.to_owned()));
    // Some value of its own for each store: enough for an epoch's secret in a test.
    static OCTET: AtomicU8 = AtomicU8::new(1);
    let octet = OCTET.fetch_add(1, Ordering::Relaxed);
    let options = Options {
        index: Arc::new(Guard::new(
            Arc::new(SledHost::new(dir)),
            Arc::clone(&vfs),
            Patience::default(),
            told.clone(),
        )),
        vfs,
        derive: Arc::new(Sum),
        clock: Arc::new(FixedClock),
        random: Arc::new(move |to: &mut [u8]| to.fill(octet)),
        progress: Arc::new(|_| {}),
        condemned: told,
        boot_id: boot.map(str::to_owned),
        tuning: Tuning {
            segment: 1 << 20,
            side_above: 16 << 10,
            // Rows come from the index whenever they can.
            resident_rows: 0,
            apply_every: Duration::from_millis(5),
            reserve: 0,
            reserve_percent: 0,
            ..Tuning::default()
        },
        threads: true,
    };
    (options, condemned)
}

/// Opens it as a supervisor would: a process that says that its index is condemned is started again.
fn open(dir: &Path, boot: Option<&str>) -> (Store, Vec<Opening>, World) {
    let mut openings = Vec::new();
    for _ in 0..3 {
        let (options, condemned) = options(dir, boot);
        let (store, opening) = Store::open(options).expect("it opens, whatever its index is like");
        openings.push(opening);
        match World::of(&store) {
            Ok(world) => return (store, openings, world),
            Err(what) => {
                let why = condemned.lock().unwrap().clone();
                assert!(why.is_some(), "nothing is readable and nobody is told: {what}");
                // The process ends here, and another begins.
                drop(store);
            }
        }
    }
    panic!("it is condemned again and again: {openings:?}");
}

fn rebuilt(openings: &[Opening]) -> bool {
    openings.iter().any(|o| matches!(o.came, Came::Rebuilt { .. }))
}

fn flags(system: &[SystemFlag], keywords: &[&str]) -> FlagNames {
    let mut names = FlagNames::default();
    names.system = system.iter().fold(names.system, |all, flag| all.with(*flag));
    keywords.iter().for_each(|k| names.add_keyword(Keyword::parse(k.as_bytes()).unwrap()));
    names
}

fn runs(from: u32, to: u32) -> Runs {
    (from..=to).collect()
}

fn deliver(store: &Store, mailbox: MailboxId, octets: Vec<u8>) {
    let mut batch = Batch::new();
    let body = batch.body(octets);
    batch.push(Intent::Append {
        mailbox,
        body,
        prefix: Prefix::default(),
        flags: flags(&[], &[]),
        date: None,
    });
    store.commit(batch).wait().unwrap();
}

fn inbox(store: &Store) -> MailboxId {
    let directory = store.directory();
    directory.mailbox_at(directory.login("alice").unwrap().id, "INBOX").unwrap().id
}

/// Two accounts, some hundred messages, flags, a copy, expunges, a large body.
fn fill(store: &Store) {
    let mut batch = Batch::new();
    batch.push(Intent::AddDomain { name: "demo.test".into() });
    for login in ["alice", "bob"] {
        batch.push(Intent::AddAccount {
            login: login.into(),
            password: "$argon2id$x".into(),
            addresses: vec![format!("{login}@demo.test")],
        });
    }
    store.commit(batch).wait().unwrap();
    let mailbox = inbox(store);
    for n in 0..300_usize {
        deliver(store, mailbox, format!("Subject: {n}\r\n\r\n{}", "x".repeat(n * 7 % 900)).into_bytes());
    }
    deliver(store, mailbox, vec![b'y'; 40_000]);
    let directory = store.directory();
    let sent = directory.mailbox_at(directory.login("alice").unwrap().id, "Sent").unwrap().id;
    for intent in [
        Intent::Flags {
            mailbox,
            uids: runs(20, 120),
            change: FlagChange::Add(flags(&[SystemFlag::Seen, SystemFlag::Flagged], &["$Junk", "todo"])),
            unchanged_since: None,
        },
        Intent::Copy { from: mailbox, uids: runs(90, 150), to: sent },
        Intent::Expunge { mailbox, uids: runs(30, 60), only_deleted: false },
    ] {
        store.commit(Batch::of(intent)).wait().unwrap();
    }
}

struct Base {
    dir: tempfile::TempDir,
    world: World,
}

/// A store that was closed cleanly, and what it showed.
fn base() -> Base {
    let dir = tempfile::tempdir().unwrap();
    let (options, _) = options(&dir.path().join("data"), Some("boot"));
    let (store, opening) = Store::open(options).unwrap();
    assert_eq!(opening.came, Came::New);
    fill(&store);
    let world = World::of(&store).unwrap();
    store.close().unwrap();
    Base { dir, world }
}

impl Base {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A copy of the store, as a second one.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.dir.path().join(name);
        copy(&self.data(), &to);
        to
    }

    /// It shows what it showed, works, and the next one shows that too.
    fn holds(&self, dir: &Path, boot: Option<&str>, what: &str) -> Vec<Opening> {
        let (store, openings, world) = open(dir, boot);
        assert_eq!(world.differs(&self.world), None, "{what}: {openings:?}");
        assert_eq!(self.world.differs(&world), None, "{what}: {openings:?}");
        deliver(&store, inbox(&store), b"Subject: one more\r\n\r\n".to_vec());
        let after = World::of(&store).unwrap();
        let uids: Vec<u32> = after.mailbox(inbox(&store)).unwrap().rows.keys().copied().collect();
        assert_eq!(uids.last(), Some(&302), "{what}: the next UID");
        store.close().unwrap();
        drop(store);
        let (store, again, world) = open(dir, boot);
        assert_eq!(after.differs(&world), None, "{what}: the second time, {again:?}");
        assert_eq!(again[0].came, Came::Clean, "{what}: the second time");
        store.close().unwrap();
        openings
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn an_index_in_order_is_used() {
    let base = base();
    let openings = base.holds(&base.copy("clean"), Some("another boot"), "untouched");
    assert_eq!(openings[0].came, Came::Clean);
}

#[test]
fn an_index_whose_files_are_gone_is_built_anew() {
    let base = base();
    type Ruin = fn(&Path);
    let cases: [(&str, Ruin); 6] = [
        ("index/ removed", |dir| fs::remove_dir_all(dir.join("index")).unwrap()),
        ("index/STATE removed", |dir| fs::remove_file(dir.join("index/STATE")).unwrap()),
        ("index/STATE emptied", |dir| fs::write(dir.join("index/STATE"), b"").unwrap()),
        ("index/db removed", |dir| fs::remove_file(dir.join("index/db")).unwrap()),
        ("index/db emptied", |dir| fs::write(dir.join("index/db"), b"").unwrap()),
        ("index/conf ruined", |dir| fs::write(dir.join("index/conf"), b"ruined, and not briefly").unwrap()),
    ];
    for (n, (what, ruin)) in cases.into_iter().enumerate() {
        let dir = base.copy(&n.to_string());
        ruin(&dir);
        let openings = base.holds(&dir, Some("boot"), what);
        assert!(rebuilt(&openings), "{what}: {openings:?}");
    }
}

/// The index's files, with their octets.
fn index_files(data: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(data.join("index")).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let mut files: Vec<_> = files
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// Ruins the index in many ways, two at a time; says how often it was built anew.
fn ruin_often(count: usize, ruin: impl Fn(usize, &[(String, Vec<u8>)]) -> (String, Vec<u8>) + Sync) -> u32 {
    let base = base();
    let files = index_files(&base.data());
    let (next, built) = (AtomicUsize::new(0), AtomicU32::new(0));
    std::thread::scope(|s| {
        let work = || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                let dir = base.copy(&n.to_string());
                let (name, octets) = ruin(n, &files);
                fs::write(dir.join("index").join(&name), octets).unwrap();
                let openings = base.holds(&dir, Some("boot"), &format!("index/{name}, {n}"));
                built.fetch_add(u32::from(rebuilt(&openings)), Ordering::Relaxed);
                fs::remove_dir_all(dir).unwrap();
            }
        };
        s.spawn(work);
        s.spawn(work);
    });
    built.into_inner()
}

/// Where in which file the n-th of so many ruins is: nearly all in `db`, evenly spread over what holds anything, a few in each
/// of the others.
fn place(n: usize, count: usize, files: &[(String, Vec<u8>)]) -> (usize, usize) {
    let db = files.iter().position(|(name, _)| name == "db").unwrap();
    if n % 10 == 9 {
        let other = (n / 10) % files.len();
        return (other, n * 7 % files[other].1.len().max(1));
    }
    let used = files[db].1.iter().rposition(|octet| *octet != 0).unwrap() + 1;
    (db, used * n / count)
}

#[test]
fn an_index_truncated_at_50_points_is_never_believed() {
    let built = ruin_often(50, |n, files| {
        let (file, at) = place(n, 50, files);
        (files[file].0.clone(), files[file].1[..at].to_vec())
    });
    println!("built anew: {built} of 50");
    assert!(built > 25, "hardly any ruin was noticed: {built} of 50");
}

#[test]
fn an_index_with_one_of_200_bits_flipped_is_never_believed() {
    let built = ruin_often(200, |n, files| {
        let (file, at) = place(n, 200, files);
        let (name, mut octets) = files[file].clone();
        octets[at] ^= 1 << (n % 8);
        (name, octets)
    });
    println!("built anew: {built} of 200");
    // What sled has replaced since lies in its file, too, and nobody reads it.
    assert!(built > 10, "hardly any ruin was noticed: {built} of 200");
}

#[test]
fn an_index_with_many_bits_flipped_is_built_anew() {
    let built = ruin_often(8, |n, files| {
        let (name, mut octets) = files.iter().find(|(name, _)| name == "db").unwrap().clone();
        octets.iter_mut().skip(n).step_by(2_003).for_each(|octet| *octet ^= 0x10);
        (name, octets)
    });
    assert_eq!(built, 8);
}

#[test]
fn an_older_copy_of_the_index_is_caught_up_or_built_anew() {
    let base = base();
    let dir = base.copy("older");
    // Go on, then put the older index back beside the newer log.
    let (store, _, _) = open(&dir, Some("boot"));
    let sent_one = |store: &Store| deliver(store, inbox(store), b"Subject: newer\r\n\r\n".to_vec());
    sent_one(&store);
    let newer = Intent::Expunge { mailbox: inbox(&store), uids: runs(1, 5), only_deleted: false };
    let outcome = store.commit(Batch::of(newer)).wait().unwrap().outcomes;
    assert_eq!(outcome, [Outcome::Expunged(runs(1, 5))]);
    let world = World::of(&store).unwrap();
    store.close().unwrap();
    drop(store);
    fs::remove_dir_all(dir.join("index")).unwrap();
    copy(&base.data().join("index"), &dir.join("index"));
    let (store, openings, after) = open(&dir, Some("boot"));
    assert_eq!(world.differs(&after), None, "{openings:?}");
    store.close().unwrap();
}

#[test]
fn another_stores_index_is_not_used() {
    let (one, other) = (base(), base());
    let dir = one.copy("mixed");
    fs::remove_dir_all(dir.join("index")).unwrap();
    copy(&other.data().join("index"), &dir.join("index"));
    assert!(rebuilt(&one.holds(&dir, Some("boot"), "another store's index")));
}

/// A copy of the files of a store in use is what a killed process leaves, if the boot id says so; else a power cut.
#[test]
fn after_a_kill_the_index_is_used_and_after_a_power_cut_it_is_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (options, _) = options(&data, Some("boot"));
    let (store, _) = Store::open(options).unwrap();
    fill(&store);
    let world = World::of(&store).unwrap();
    let died = dir.path().join("died");
    copy(&data, &died);
    drop(store);
    let base = Base { dir, world };
    for (boot, must_rebuild) in [(Some("boot"), false), (Some("next boot"), true), (None, true)] {
        let dir = base.dir.path().join(format!("{boot:?}"));
        copy(&died, &dir);
        let openings = base.holds(&dir, boot, &format!("boot {boot:?}"));
        if must_rebuild {
            assert!(rebuilt(&openings), "{openings:?}");
        }
        assert_ne!(openings[0].came, Came::Clean, "it was not closed");
    }
}
