//! What was expunged comes back: listed, with its flags, from deleted mailboxes too, until it is given up.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::*;
use store::index::sled::SledHost;
use store::index::{Each, Index, IndexError, IndexHost, Pair, Writes};
use store::{
    AccountId, BackTo, Clock, CommitError, Intent, MailboxId, Options, Outcome, Refused, RetainedFilter,
    RetainedMessage, Store, UnixTime,
};
use wire::flag::{SpecialUse, SystemFlag};

fn listed(store: &Store, all: bool) -> Vec<RetainedMessage> {
    let filter = RetainedFilter { all, ..RetainedFilter::default() };
    store.retained(&filter).unwrap().map(Result::unwrap).collect()
}

/// Path, UID, keywords, whether the mailbox went; newest first.
fn seen(store: &Store, all: bool) -> Vec<String> {
    let line = |m: &RetainedMessage| {
        let keywords: Vec<_> = m.from.keywords_of(&m.row).map(wire::flag::Keyword::as_str).collect();
        let gone = if m.from.mailbox_gone { " gone" } else { "" };
        format!("{} {} {}{gone}", m.from.path, m.row.uid, keywords.join(" ")).trim_end().to_owned()
    };
    listed(store, all).iter().map(line).collect()
}

fn expunge(store: &Store, mailbox: MailboxId, uids: &[(u32, u32)]) {
    store.ask(Intent::Expunge { mailbox, uids: runs(uids), only_deleted: false }).unwrap();
}

fn create(store: &Store, account: AccountId, path: &str, special_use: Option<SpecialUse>) -> MailboxId {
    let create = Intent::CreateMailbox { account, path: path.into(), special_use, subscribe: true };
    match store.ask(create).unwrap() {
        Outcome::Created(id) => id,
        other => panic!("{other:?}"),
    }
}

fn undelete(store: &Store, n: usize, to: BackTo) -> Result<Outcome, CommitError> {
    let m = listed(store, true).remove(n);
    let uids = [m.row.uid.get()].into_iter().collect();
    store.ask(Intent::Undelete { from: m.from.id, uids, to })
}

/// Everything that is listed, a batch for all.
fn undelete_all(store: &Store) -> Vec<Outcome> {
    let mut batch = store::Batch::new();
    let mut last = None;
    for m in listed(store, false) {
        if last.replace(m.from.id) != Some(m.from.id) {
            let uids = m.from.rows().map(|row| row.uid.get()).collect();
            batch.push(Intent::Undelete { from: m.from.id, uids, to: BackTo::Home });
        }
    }
    store.done(batch).unwrap().outcomes
}

/// The same before and after the index was told, after a kill, after a clean close and after a rebuild.
fn always(store: Store, options: &Options, check: impl Fn(&Store)) -> Store {
    check(&store);
    settle(&store);
    check(&store);
    drop(store);
    let store = Store::open(options.clone()).unwrap().0;
    check(&store);
    store.close().unwrap();
    drop(store);
    let (store, opening) = Store::open(options.clone()).unwrap();
    assert_eq!(opening.came, store::Came::Clean);
    check(&store);
    drop(store);
    options.vfs.remove_dir_all("index").unwrap();
    let (store, _) = Store::open(options.clone()).unwrap();
    check(&store);
    store
}

#[test]
fn an_expunged_message_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (options, _) = stepped(dir.path(), 14);
    let (store, _) = Store::open(options.clone()).unwrap();
    let account = furnish(&store);
    let inbox = inbox(&store, account);
    for n in 1..=100 {
        append(&store, inbox, n);
    }
    flag(&store, inbox, &[(40, 45)], &[SystemFlag::Seen, SystemFlag::Deleted], &["todo", "$Junk"]);
    let was = store.view(inbox).unwrap().row(wire::ids::Uid::new(42).unwrap()).unwrap();
    expunge(&store, inbox, &[(41, 43)]);
    let must = ["INBOX 43 todo $Junk", "INBOX 42 todo $Junk", "INBOX 41 todo $Junk"];
    let store = always(store, &options, |store| assert_eq!(seen(store, false), must));
    let m = listed(&store, false).remove(1);
    assert_eq!(read(&store, &m.row), served(42));
    match undelete(&store, 1, BackTo::Home).unwrap() {
        Outcome::Undeleted { mailbox, from, to, .. } => {
            assert_eq!((mailbox, from.to_string(), to.to_string()), (inbox, "42".into(), "101".into()));
        }
        other => panic!("{other:?}"),
    }
    let must = ["INBOX 43 todo $Junk", "INBOX 41 todo $Junk"];
    let store = always(store, &options, |store| {
        assert_eq!(seen(store, true), must);
        let view = store.view(inbox).unwrap();
        let row = view.row(wire::ids::Uid::new(101).unwrap()).unwrap();
        assert_eq!(
            (row.content, row.size, row.date, row.thread),
            (was.content, was.size, was.date, was.thread)
        );
        assert!(row.flags.has(SystemFlag::Seen) && !row.flags.has(SystemFlag::Deleted));
        assert_eq!(view.keywords_of(&row).count(), 2);
        assert_eq!(read(store, &row), served(42));
    });
    // It is back already, so it cannot come back.
    let again = Intent::Undelete { from: m.from.id, uids: runs(&[(42, 42)]), to: BackTo::Home };
    assert_eq!(store.ask(again).unwrap_err(), CommitError::Refused(Refused::NotRetained));
    undelete_all(&store);
    assert_eq!(seen(&store, true), [""; 0]);
    always(store, &options, |store| {
        assert_eq!(store.view(inbox).unwrap().exists(), 100);
        assert_eq!(seen(store, true), [""; 0]);
    });
}

#[test]
fn a_deleted_mailbox_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (options, _) = stepped(dir.path(), 14);
    let (store, _) = Store::open(options.clone()).unwrap();
    let account = furnish(&store);
    let lists = create(&store, account, "Lists/rust", None);
    let inbox = inbox(&store, account);
    // 70 rows: more than one block.
    (1..=70).for_each(|n| {
        append(&store, lists, n);
    });
    append(&store, inbox, 71);
    expunge(&store, lists, &[(5, 5)]);
    flag(&store, lists, &[(6, 6)], &[SystemFlag::Flagged], &["kept"]);
    let junk = store.directory().special(account, SpecialUse::Junk).unwrap().id;
    append(&store, junk, 72);
    for mailbox in [lists, junk] {
        store.ask(Intent::DeleteMailbox { mailbox }).unwrap();
    }
    store.ask(Intent::Subscribe { account, path: "Lists/rust".into(), on: false }).unwrap();
    let store = always(store, &options, |store| {
        let seen = seen(store, false);
        assert_eq!(seen.len(), 71);
        assert_eq!((seen[0].as_str(), seen[1].as_str()), ("Junk 1  gone", "Lists/rust 70  gone"));
        assert_eq!((seen[65].as_str(), seen[70].as_str()), ("Lists/rust 6 kept gone", "Lists/rust 5"));
    });
    undelete_all(&store);
    always(store, &options, |store| {
        let directory = store.directory();
        assert_eq!(seen(store, true), [""; 0]);
        let new = directory.mailbox_at(account, "Lists/rust").unwrap();
        assert!(new.id != lists && directory.account(account).unwrap().subscriptions.contains("Lists/rust"));
        let view = store.view(new.id).unwrap();
        assert_eq!(view.exists(), 70);
        let octets: Vec<_> = view.rows().map(|row| read(store, &row)).collect();
        // What the mailbox had when it went, in its order, then what had gone before.
        let order = (1..=4).chain(6..=70).chain([5]);
        assert!(octets.into_iter().eq(order.map(served)));
        let flagged: Vec<_> = view.rows().filter(|r| r.flags.has(SystemFlag::Flagged)).collect();
        assert!(flagged.len() == 1 && view.keywords_of(&flagged[0]).count() == 1);
        assert_eq!(directory.special(account, SpecialUse::Junk).unwrap().path, "Junk");
    });
}

#[test]
fn what_lives_on_elsewhere_is_hidden_and_what_went_twice_is_listed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let (inbox, work) = (inbox(&store, account), create(&store, account, "Work", None));
    (1..=3).for_each(|n| {
        append(&store, inbox, n);
    });
    store.ask(Intent::Move { from: inbox, uids: runs(&[(1, 2)]), to: work }).unwrap();
    assert_eq!(seen(&store, false), [""; 0]);
    assert_eq!(seen(&store, true), ["INBOX 2", "INBOX 1"]);
    expunge(&store, work, &[(2, 2)]);
    assert_eq!(seen(&store, false), ["Work 2"]);
    assert_eq!(seen(&store, true), ["Work 2", "INBOX 2", "INBOX 1"]);
    undelete(&store, 1, BackTo::Home).unwrap();
    assert_eq!(store.view(inbox).unwrap().exists(), 2);
    assert_eq!(seen(&store, false), [""; 0]);
    let other = RetainedFilter { path: Some("Work".into()), all: true, ..RetainedFilter::default() };
    assert_eq!(store.retained(&other).unwrap().count(), 1);
}

#[test]
fn where_messages_come_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let work = create(&store, account, "Work", None);
    (1..=4).for_each(|n| {
        append(&store, work, n);
    });
    let back = |to: BackTo| match undelete(&store, 0, to).unwrap() {
        Outcome::Undeleted { mailbox, .. } => mailbox,
        other => panic!("{other:?}"),
    };
    // Renamed: the mailbox is the same.
    expunge(&store, work, &[(4, 4)]);
    store.ask(Intent::RenameMailbox { mailbox: work, to: "Play".into() }).unwrap();
    assert_eq!(back(BackTo::Home), work);
    // Gone, and another has its name.
    expunge(&store, work, &[(3, 3)]);
    store.ask(Intent::DeleteMailbox { mailbox: work }).unwrap();
    let play = create(&store, account, "Play", None);
    assert_eq!(back(BackTo::Home), play);
    // Where it is told.
    let inbox = inbox(&store, account);
    assert_eq!(back(BackTo::Mailbox(inbox)), inbox);
    store.ask(Intent::DeleteMailbox { mailbox: play }).unwrap();
    let gone = undelete(&store, 0, BackTo::Mailbox(play)).unwrap_err();
    assert_eq!(gone, CommitError::Refused(Refused::NoSuchMailbox));
    // An account that is gone: only where it is told.
    store.ask(Intent::RemoveAccount { account }).unwrap();
    let add = Intent::AddAccount { login: "bob".into(), password: "$hash$".into(), addresses: vec![] };
    let Outcome::Account(bob) = store.ask(add).unwrap() else { panic!("no account") };
    let gone = undelete(&store, 0, BackTo::Home).unwrap_err();
    assert_eq!(gone, CommitError::Refused(Refused::NoSuchAccount));
    let into = store.directory().mailbox_at(bob, "INBOX").unwrap().id;
    assert_eq!(back(BackTo::Mailbox(into)), into);
    assert_eq!(back(BackTo::Path { account: bob, path: "inbox".into() }), into);
    let made = back(BackTo::Path { account: bob, path: "Old/mail".into() });
    let directory = store.directory();
    assert_eq!(directory.mailbox(made).unwrap().path, "Old/mail");
    assert!(directory.account(bob).unwrap().subscriptions.contains("Old/mail"));
}

#[test]
fn several_expunges_of_one_batch_are_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (options, _) = stepped(dir.path(), 14);
    let (store, _) = Store::open(options.clone()).unwrap();
    let inbox = inbox(&store, furnish(&store));
    (1..=9).for_each(|n| {
        append(&store, inbox, n);
    });
    let mut batch = store::Batch::new();
    for uids in [runs(&[(7, 8)]), runs(&[(2, 3)])] {
        batch.push(Intent::Expunge { mailbox: inbox, uids, only_deleted: false });
    }
    store.done(batch).unwrap();
    let must = ["INBOX 8", "INBOX 7", "INBOX 3", "INBOX 2"];
    let store = always(store, &options, |store| assert_eq!(seen(store, false), must));
    assert_eq!(listed(&store, false)[0].from.len(), 4);
}

/// A clock that stands until it is moved; with `jump` the wall clock alone.
#[derive(Debug, Default)]
struct Still {
    seconds: AtomicU64,
    jump: AtomicU64,
}

impl Clock for Still {
    fn wall(&self) -> UnixTime {
        let seconds = self.seconds.load(Ordering::SeqCst) + self.jump.load(Ordering::SeqCst);
        UnixTime { secs: 1_800_000_000 + seconds as i64, nanos: 0 }
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }
}

const DAY: u64 = 24 * 3_600;

/// Steps until nothing is to be done.
fn settle(store: &Store) {
    for _ in 0..4 {
        while store.step_apply() || store.step_commit() {}
    }
}

fn stepped(dir: &std::path::Path, days: u16) -> (Options, Arc<Still>) {
    let clock = Arc::new(Still::default());
    let mut options = options(dir);
    options.clock = clock.clone();
    options.threads = false;
    options.tuning.undelete_days = days;
    (options, clock)
}

#[test]
fn after_its_days_and_one_more_it_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, clock) = stepped(dir.path(), 3);
    let (store, _) = Store::open(options.clone()).unwrap();
    let inbox = inbox(&store, furnish(&store));
    (1..=3).for_each(|n| {
        append(&store, inbox, n);
    });
    expunge(&store, inbox, &[(1, 1)]);
    clock.seconds.fetch_add(DAY, Ordering::SeqCst);
    expunge(&store, inbox, &[(2, 2)]);
    clock.seconds.fetch_add(3 * DAY, Ordering::SeqCst);
    settle(&store);
    assert_eq!(seen(&store, false), ["INBOX 2", "INBOX 1"], "exactly four days, and the hour is not over");
    clock.seconds.fetch_add(3_600, Ordering::SeqCst);
    settle(&store);
    assert_eq!(seen(&store, false), ["INBOX 2"]);
    // Fewer days at the next opening.
    drop(store);
    options.tuning.undelete_days = 1;
    let (store, _) = Store::open(options.clone()).unwrap();
    assert_eq!(seen(&store, false), ["INBOX 2"]);
    settle(&store);
    assert_eq!(seen(&store, false), [""; 0]);
    // A replay forgets the same, whatever the days are now.
    drop(store);
    options.tuning.undelete_days = 100;
    options.vfs.remove_dir_all("index").unwrap();
    let (store, _) = Store::open(options).unwrap();
    assert_eq!(seen(&store, false), [""; 0]);
}

#[test]
fn with_no_days_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (options, _) = stepped(dir.path(), 0);
    let (store, _) = Store::open(options).unwrap();
    let inbox = inbox(&store, furnish(&store));
    (1..=3).for_each(|n| {
        append(&store, inbox, n);
    });
    for n in 1..=3 {
        expunge(&store, inbox, &[(n, n)]);
        settle(&store);
        assert_eq!(seen(&store, true), [""; 0]);
    }
}

#[test]
fn while_the_clock_cannot_be_believed_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (options, clock) = stepped(dir.path(), 1);
    let (store, _) = Store::open(options).unwrap();
    let inbox = inbox(&store, furnish(&store));
    (1..=3).for_each(|n| {
        append(&store, inbox, n);
    });
    expunge(&store, inbox, &[(1, 1)]);
    settle(&store);
    clock.jump.fetch_add(9 * DAY, Ordering::SeqCst);
    // The first look asks; the committer sees the jump before it does anything.
    clock.seconds.fetch_add(61, Ordering::SeqCst);
    settle(&store);
    assert!(store.health().time_frozen);
    expunge(&store, inbox, &[(2, 2)]);
    clock.seconds.fetch_add(DAY - 3_600, Ordering::SeqCst);
    settle(&store);
    assert_eq!(seen(&store, false), ["INBOX 2", "INBOX 1"]);
    clock.seconds.fetch_add(7_200, Ordering::SeqCst);
    settle(&store);
    assert_eq!(seen(&store, false), ["INBOX 2"]);
}

/// An index whose batches wait while a gate is shut, and that does something before it next gives rows of an expunge.
#[derive(Debug)]
struct Waiting {
    below: Arc<dyn IndexHost>,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    /// Shut, and somebody waits before it.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
    before_rows: Before,
}

#[derive(Default)]
struct Before(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Before")
    }
}

impl Gate {
    fn set(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.changed.notify_all();
    }
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        while state.0 {
            state.1 = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.1 = false;
    }
    fn until_somebody_waits(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| !state.1).unwrap());
    }
}

impl IndexHost for Waiting {
    fn open(&self, dir: &str) -> Result<Arc<dyn Index>, IndexError> {
        Ok(Arc::new(WaitingIndex(self.below.open(dir)?, self.gate.clone())))
    }
}

#[derive(Debug)]
struct WaitingIndex(Arc<dyn Index>, Arc<Gate>);

impl Index for WaitingIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.0.get(key)
    }
    fn scan(&self, prefix: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        if prefix.first() == Some(&b'y') {
            let before = self.1.before_rows.0.lock().unwrap().take();
            before.into_iter().for_each(|act| act());
        }
        self.0.scan(prefix, each)
    }
    fn range(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        self.0.range(from, to, each)
    }
    fn page(&self, from: &[u8], to: &[u8], octets: usize) -> Result<Vec<Pair>, IndexError> {
        self.0.page(from, to, octets)
    }
    fn apply(&self, writes: Writes) -> Result<(), IndexError> {
        self.1.pass();
        self.0.apply(writes)
    }
    fn flush(&self) -> Result<(), IndexError> {
        self.0.flush()
    }
    fn close(&self) -> Result<(), IndexError> {
        self.0.close()
    }
}

#[test]
fn what_is_on_its_way_to_the_index_is_listed_and_can_be_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let mut options = options(dir.path());
    options.index = Arc::new(Waiting { below: Arc::new(SledHost::new(dir.path())), gate: gate.clone() });
    let (store, _) = Store::open(options).unwrap();
    let inbox = inbox(&store, furnish(&store));
    for n in 1..=3 {
        append(&store, inbox, n);
    }
    gate.set(true);
    expunge(&store, inbox, &[(1, 2)]);
    gate.until_somebody_waits();
    assert_eq!(seen(&store, false), ["INBOX 2", "INBOX 1"]);
    undelete(&store, 0, BackTo::Home).unwrap();
    // Over what is on its way lies what came later.
    assert_eq!(seen(&store, false), ["INBOX 1"]);
    gate.set(false);
    while store.health().overlay > 0 {
        assert_eq!(seen(&store, false), ["INBOX 1"]);
    }
    assert_eq!(seen(&store, false), ["INBOX 1"]);
    store.close().unwrap();
}

#[test]
fn an_entry_that_changes_while_it_is_read_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let mut options = options(dir.path());
    options.index = Arc::new(Waiting { below: Arc::new(SledHost::new(dir.path())), gate: gate.clone() });
    options.tuning.apply_every = Duration::from_millis(1);
    let (store, _) = Store::open(options).unwrap();
    let inbox = inbox(&store, furnish(&store));
    for n in 1..=3 {
        append(&store, inbox, n);
    }
    expunge(&store, inbox, &[(1, 3)]);
    let from = listed(&store, false)[0].from.id;
    let applied = |store: &Store| {
        while store.health().overlay > 0 {
            std::thread::yield_now();
        }
    };
    applied(&store);
    let other = store.clone();
    // Its head is read by then.
    *gate.before_rows.0.lock().unwrap() = Some(Box::new(move || {
        let back = Intent::Undelete { from, uids: runs(&[(2, 2)]), to: BackTo::Home };
        other.ask(back).unwrap();
        applied(&other);
    }));
    assert_eq!(seen(&store, false), ["INBOX 3", "INBOX 1"]);
    assert_eq!(store.health().condemned, None);
    store.close().unwrap();
}

#[test]
fn a_list_can_be_made_while_others_delete_and_bring_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| o.tuning.apply_every = Duration::from_millis(1));
    let inbox = inbox(&store, furnish(&store));
    for n in 1..=100 {
        append(&store, inbox, n);
    }
    expunge(&store, inbox, &[(1, 100)]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..60 {
                // One of the old entry, and what came back goes again.
                let m = listed(&store, false).pop().unwrap();
                let uids = [m.row.uid.get()].into_iter().collect();
                let back = store.ask(Intent::Undelete { from: m.from.id, uids, to: BackTo::Home }).unwrap();
                let Outcome::Undeleted { to, .. } = back else { panic!("{back:?}") };
                store.ask(Intent::Expunge { mailbox: inbox, uids: to, only_deleted: false }).unwrap();
            }
            stop.store(true, Ordering::SeqCst);
        });
        while !stop.load(Ordering::SeqCst) && !writer.is_finished() {
            // What moves while the list is made may be missing; nothing is in it twice, and nothing breaks.
            let contents: BTreeSet<_> = listed(&store, true).iter().map(|m| m.row.content).collect();
            let once: BTreeSet<_> = listed(&store, false).iter().map(|m| m.row.content).collect();
            assert!(!once.is_empty() && contents.len() <= 100 && once.len() <= 100);
        }
        writer.join().unwrap();
    });
    assert_eq!(store.health().condemned, None);
    assert_eq!(listed(&store, false).len(), 100);
}
