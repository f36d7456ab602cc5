//! A store in a temporary directory, with one domain and one account.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::index::sled::SledHost;
use store::{
    AccountId, Batch, Book, Changes, Clock, Commit, CommitError, Committed, Content, Directory, FlagChange,
    Head, Intent, Line, MailboxId, NoDigest, Opening, Options, Outcome, Prefix, Reader, RealVfs, Row, Store,
    Tuning, UnixTime, View,
};
use wire::flag::{FlagNames, Keyword, SystemFlag, SystemFlags};
use wire::ids::{ModSeq, Runs, Uid};

/// A clock that is one second further each time it is looked at.
#[derive(Debug, Default)]
pub struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn wall(&self) -> UnixTime {
        UnixTime { secs: 1_800_000_000 + (self.0.load(Ordering::Relaxed) as i64), nanos: 0 }
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub fn options(dir: &Path) -> Options {
    static SEED: AtomicU64 = AtomicU64::new(1);
    Options {
        vfs: Arc::new(RealVfs::new(dir)),
        index: Arc::new(SledHost::new(dir)),
        derive: Arc::new(NoDigest),
        clock: Arc::new(Ticking::default()),
        random: Arc::new(|buf| {
            for octet in buf {
                *octet = (SEED.fetch_add(7, Ordering::Relaxed) % 251) as u8;
            }
        }),
        progress: Arc::new(|_| {}),
        condemned: Arc::new(|why| eprintln!("condemned: {why}")),
        boot_id: Some("this boot".into()),
        tuning: Tuning {
            segment: 1 << 20,
            reserve: 0,
            reserve_percent: 0,
            lock_wait: Duration::ZERO,
            ..Tuning::default()
        },
        threads: true,
    }
}

pub fn open(dir: &Path) -> (Store, Opening) {
    Store::open(options(dir)).unwrap()
}

pub fn open_with(dir: &Path, change: impl FnOnce(&mut Options)) -> (Store, Opening) {
    let mut options = options(dir);
    change(&mut options);
    Store::open(options).unwrap()
}

pub trait Ask {
    fn ask(&self, intent: Intent) -> Result<Outcome, CommitError>;
    fn done(&self, batch: Batch) -> Result<Committed, CommitError>;
}

impl Ask for Store {
    fn ask(&self, intent: Intent) -> Result<Outcome, CommitError> {
        Ok(self.done(Batch::of(intent))?.outcomes.remove(0))
    }
    fn done(&self, batch: Batch) -> Result<Committed, CommitError> {
        let commit: Commit = self.commit(batch);
        while commit.ready().is_none() && self.step_commit() {}
        commit.wait()
    }
}

/// A domain and an account.
pub fn furnish(store: &Store) -> AccountId {
    store.ask(Intent::AddDomain { name: "example.org".into() }).unwrap();
    let add = Intent::AddAccount {
        login: "alice".into(),
        password: "$hash$".into(),
        addresses: vec!["alice@example.org".into()],
    };
    match store.ask(add).unwrap() {
        Outcome::Account(id) => id,
        other => panic!("{other:?}"),
    }
}

pub fn inbox(store: &Store, account: AccountId) -> MailboxId {
    store.directory().mailbox_at(account, "INBOX").unwrap().id
}

/// A message whose octets say which one it is.
pub fn body(n: u32) -> Vec<u8> {
    let mut octets = format!("From: a@example.org\r\nSubject: {n}\r\n\r\n").into_bytes();
    while octets.len() < 3000 {
        octets.extend_from_slice(format!("line {n} {}\r\n", octets.len()).as_bytes());
    }
    octets
}

pub fn prefix(n: u32) -> Prefix {
    Prefix { octets: format!("Return-Path: <{n}@example.org>\r\n").into_bytes(), replaces: 0 }
}

pub fn append(store: &Store, mailbox: MailboxId, n: u32) -> Uid {
    let mut batch = Batch::new();
    let body = batch.body(body(n));
    batch.push(Intent::Append { mailbox, body, prefix: prefix(n), flags: FlagNames::default(), date: None });
    match store.done(batch).unwrap().outcomes[0] {
        Outcome::Placed { uid, .. } => uid,
        ref other => panic!("{other:?}"),
    }
}

/// A message that is in no mailbox, under a line of the queue.
pub fn keep(store: &Store, n: u32, octets: Vec<u8>) -> Content {
    let mut batch = Batch::new();
    let body = batch.body(octets);
    let (key, value) = (n.to_be_bytes().to_vec(), format!("line {n}").into_bytes());
    batch.push(Intent::Keep { book: Book::Queue, key, body, prefix: prefix(n), value });
    match store.done(batch).unwrap().outcomes[0] {
        Outcome::Kept(content) => content,
        ref other => panic!("{other:?}"),
    }
}

pub fn strike(store: &Store, n: u32) {
    store.ask(Intent::Strike { book: Book::Queue, key: n.to_be_bytes().to_vec() }).unwrap();
}

pub fn served(n: u32) -> Vec<u8> {
    [prefix(n).octets, body(n)].concat()
}

pub fn read(store: &Store, row: &Row) -> Vec<u8> {
    store.message(row).unwrap().to_vec().unwrap()
}

pub fn runs(text: &[(u32, u32)]) -> Runs {
    let mut runs = Runs::default();
    text.iter().for_each(|&(a, b)| runs.add(a, b));
    runs
}

pub fn names(system: &[SystemFlag], keywords: &[&str]) -> FlagNames {
    let mut names =
        FlagNames { system: system.iter().fold(SystemFlags::NONE, |s, &f| s.with(f)), keywords: vec![] };
    keywords.iter().for_each(|k| names.add_keyword(Keyword::parse(k.as_bytes()).unwrap()));
    names
}

pub fn flag(
    store: &Store,
    mailbox: MailboxId,
    uids: &[(u32, u32)],
    system: &[SystemFlag],
    keywords: &[&str],
) -> Outcome {
    let change = FlagChange::Add(names(system, keywords));
    store.ask(Intent::Flags { mailbox, uids: runs(uids), change, unchanged_since: None }).unwrap()
}

/// A store, or a directory that is only read.
pub trait Shows {
    fn directory(&self) -> Arc<Directory>;
    fn head(&self, id: MailboxId) -> Option<Head>;
    fn view(&self, id: MailboxId) -> View;
    fn octets(&self, row: &Row) -> Vec<u8>;
    fn unique_id(&self, id: MailboxId, row: &Row) -> String;
    fn all_changes(&self, id: MailboxId) -> Changes;
    /// Lines of books, each with the octets that it names.
    fn books(&self) -> Vec<(Vec<u8>, Line, Option<Vec<u8>>)>;
}

impl Shows for Store {
    fn directory(&self) -> Arc<Directory> {
        Store::directory(self)
    }
    fn head(&self, id: MailboxId) -> Option<Head> {
        Store::head(self, id)
    }
    fn view(&self, id: MailboxId) -> View {
        Store::view(self, id).unwrap()
    }
    fn octets(&self, row: &Row) -> Vec<u8> {
        read(self, row)
    }
    fn unique_id(&self, id: MailboxId, row: &Row) -> String {
        Store::unique_id(self, id, row)
    }
    fn all_changes(&self, id: MailboxId) -> Changes {
        self.changes_since(id, ModSeq(0)).unwrap()
    }
    fn books(&self) -> Vec<(Vec<u8>, Line, Option<Vec<u8>>)> {
        let mut all = Vec::new();
        for book in Book::ALL {
            for (key, line) in self.lines(book, &[], None, usize::MAX).unwrap() {
                let octets = line.content.map(|c| self.content(c).unwrap().to_vec().unwrap());
                all.push(([&[book as u8], &key[..]].concat(), line, octets));
            }
        }
        all
    }
}

impl Shows for Reader {
    fn directory(&self) -> Arc<Directory> {
        Reader::directory(self).clone()
    }
    fn head(&self, id: MailboxId) -> Option<Head> {
        Reader::head(self, id)
    }
    fn view(&self, id: MailboxId) -> View {
        Reader::view(self, id).unwrap()
    }
    fn octets(&self, row: &Row) -> Vec<u8> {
        self.message(row).unwrap().to_vec().unwrap()
    }
    fn unique_id(&self, id: MailboxId, row: &Row) -> String {
        Reader::unique_id(self, id, row)
    }
    fn all_changes(&self, id: MailboxId) -> Changes {
        self.changes_since(id, ModSeq(0)).unwrap()
    }
    fn books(&self) -> Vec<(Vec<u8>, Line, Option<Vec<u8>>)> {
        let octets = |line: &Line| line.content.map(|c| self.content(c).unwrap().to_vec().unwrap());
        self.lines().map(|(name, line)| (name.to_vec(), line.clone(), octets(line))).collect()
    }
}

/// Everything a client could see, as text.
pub fn picture(store: &impl Shows) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let directory = store.directory();
    writeln!(text, "{:?}", directory.domains().collect::<Vec<_>>()).unwrap();
    writeln!(text, "{:?}", directory.targets().collect::<Vec<_>>()).unwrap();
    for account in directory.accounts() {
        writeln!(
            text,
            "{account:?} {} {:?} {:?}",
            account.password, account.mailboxes, account.subscriptions
        )
        .unwrap();
        for info in directory.mailboxes_of(account.id) {
            let view = store.view(info.id);
            assert_eq!(Some(*view.head()), store.head(info.id));
            writeln!(text, "  {info:?} {:?} {:?}", view.head(), view.keywords()).unwrap();
            for (n, row) in view.rows().enumerate() {
                assert_eq!(view.at(n as u32), Some(row));
                assert_eq!(view.position(row.uid), Some(n as u32));
                let octets = store.octets(&row);
                assert_eq!(octets.len(), row.size as usize);
                let sum = octets.iter().fold(0u64, |s, &b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
                writeln!(text, "    {row:?} {sum:x} {}", store.unique_id(info.id, &row)).unwrap();
            }
            let vanished = store.all_changes(info.id);
            writeln!(text, "    vanished {} {}", vanished.vanished, vanished.vanished_complete).unwrap();
        }
    }
    for (name, line, octets) in store.books() {
        let sum = octets.iter().flatten().fold(0u64, |s, &b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
        writeln!(text, "line {name:?} {line:?} {sum:x}").unwrap();
    }
    text
}
