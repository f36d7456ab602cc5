//! What the tests of backups share: making one, reading it, and what is held against it.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::collections::BTreeMap;
use std::fs;
use std::hash::Hasher as _;
use std::path::Path;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use store::vfs::{ReadOnly, Vfs};
use store::{
    AccountId, Backed, BackupError, BackupProgress, BackupTo, Backups, Batch, Extra, Intent, MailboxId,
    Opening, Options, Outcome, Reader, RealVfs, Start, Store, Summing, Sums,
};
use wire::flag::{FlagNames, SystemFlag};

use crate::common::{self, *};

/// No SHA-256 (the store has none), but 32 octets that tell octets apart.
pub struct Sip(SipHasher24);

impl Summing for Sip {
    fn update(&mut self, octets: &[u8]) {
        self.0.write(octets);
    }
    fn finish(self: Box<Self>) -> [u8; 32] {
        let mut sum = [0; 32];
        sum[..16].copy_from_slice(&self.0.finish128().as_u128().to_le_bytes());
        sum
    }
}

pub fn sums() -> Sums {
    Arc::new(|| Box::new(Sip(SipHasher24::new())))
}

pub fn extras() -> Vec<Extra> {
    let extra = |path: &str, text: &str| Extra { path: path.into(), octets: text.as_bytes().to_vec() };
    vec![extra("config.toml", "hostname = \"x\"\n"), extra("tls/key.pem", "a key\n")]
}

pub fn backup_to(
    store: &Store,
    vfs: Arc<dyn Vfs>,
    keep: usize,
    watch: &mut dyn FnMut(&BackupProgress) -> bool,
) -> Result<Backed, BackupError> {
    store.backup(&mut BackupTo { vfs, sums: sums(), keep, extras: extras(), watch })
}

pub fn backup(store: &Store, to: &Path) -> Backed {
    backup_to(store, Arc::new(RealVfs::new(to)), 7, &mut |_| true).unwrap()
}

pub fn backups(dir: &Path) -> Backups {
    Backups::open(Arc::new(RealVfs::new(dir)), &sums()).unwrap()
}

pub fn restore(from: &Path, to: &Path) {
    let backups = backups(from);
    let manifest = backups.good().next().unwrap();
    backups.restore(manifest, Arc::new(RealVfs::new(to)), &mut |_| true).unwrap();
}

pub fn open(dir: &Path) -> (Store, Opening) {
    open_with(dir, |_| {})
}

pub fn open_with(dir: &Path, change: impl FnOnce(&mut Options)) -> (Store, Opening) {
    fs::create_dir_all(dir).unwrap();
    common::open_with(dir, change)
}

/// Something of everything that a store can hold.
pub fn live(store: &Store, account: AccountId, from: u32, large: bool) {
    let inbox = inbox(store, account);
    for n in from..from + 6 {
        append(store, inbox, n);
    }
    let last = store.view(inbox).unwrap().last_uid().unwrap().get();
    flag(store, inbox, &[(last - 3, last)], &[SystemFlag::Seen], &[&format!("word{from}"), "$Junk"]);
    let path = format!("Work/{from}");
    let make = Intent::CreateMailbox { account, path, special_use: None, subscribe: true };
    let Outcome::Created(work) = store.ask(make).unwrap() else { panic!() };
    store.ask(Intent::Copy { from: inbox, uids: runs(&[(last - 2, last)]), to: work }).unwrap();
    store
        .ask(Intent::Expunge { mailbox: inbox, uids: runs(&[(last - 5, last - 5)]), only_deleted: false })
        .unwrap();
    if large {
        let mut batch = Batch::new();
        let body = batch.body(vec![b'x'; 300 << 10]);
        let (flags, prefix) = (FlagNames::default(), prefix(from));
        batch.push(Intent::Append { mailbox: work, body, prefix, flags, date: None });
        store.done(batch).unwrap();
    }
    let address = format!("a{from}@example.org");
    store.ask(Intent::AddAlias { address, to: vec!["alice@example.org".into()] }).unwrap();
    store.ask(Intent::SetPassword { account, password: format!("$hash{from}$") }).unwrap();
}

/// Everything but what a new epoch must change: UIDVALIDITY and mod-sequences.
pub fn contents(store: &impl Shows) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let directory = store.directory();
    writeln!(text, "{:?}", directory.domains().collect::<Vec<_>>()).unwrap();
    writeln!(text, "{:?}", directory.targets().collect::<Vec<_>>()).unwrap();
    for account in directory.accounts() {
        writeln!(text, "{account:?} {} {:?}", account.password, account.subscriptions).unwrap();
        for info in directory.mailboxes_of(account.id) {
            let (view, head) = (store.view(info.id), store.head(info.id).unwrap());
            let (path, special) = (&info.path, info.special_use);
            writeln!(text, "  {path} {special:?} {:?} {} {}", head.uid_next, head.unseen, head.octets)
                .unwrap();
            for row in view.rows() {
                let keywords: Vec<_> = view.keywords_of(&row).collect();
                let octets = store.octets(&row);
                let sum = octets.iter().fold(0u64, |s, &b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
                let id = store.unique_id(info.id, &row);
                let (uid, flags, date, save) = (row.uid, row.flags, row.date, row.save_date);
                writeln!(text, "    {uid} {flags:?} {keywords:?} {date:?} {save:?} {sum:x} {id}").unwrap();
            }
        }
    }
    text
}

pub fn validities(store: &impl Shows) -> BTreeMap<MailboxId, u32> {
    let directory = store.directory();
    let all = directory.accounts().flat_map(|account| directory.mailboxes_of(account.id));
    all.map(|info| (info.id, store.head(info.id).unwrap().uid_validity.get())).collect()
}

/// The newest backup, read as a store.
pub fn read_back(backups: &Backups) -> Reader {
    let tree = backups.tree(backups.good().next().unwrap());
    Reader::open(Arc::new(ReadOnly(tree)), Start::Snapshot, &|_| {}).unwrap()
}

pub fn files(root: &Path) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, path.metadata().unwrap().len());
            }
        }
    }
    files
}

pub fn assert_whole(backups: &Backups, what: &str) {
    let verified = backups.verify(false, &mut |_| true).unwrap();
    assert!(verified.is_whole(), "{what}: {verified:?}");
}
