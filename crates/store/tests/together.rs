//! Many at once: eight threads that append, flag and expunge; watches that wake; changes that agree with a model.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use common::*;
use proptest::prelude::*;
use store::{FlagChange, Intent, Row};
use wire::flag::SystemFlag;
use wire::ids::{ModSeq, Runs};

#[test]
fn eight_threads_lose_nothing_and_mix_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let uids: Vec<(u32, u32)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u32)
            .map(|t| {
                let store = &store;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for i in 0..60 {
                        let n = t * 1000 + i;
                        let uid = append(store, mailbox, n).get();
                        // Acknowledged is visible, at once, to whoever asks.
                        let row =
                            store.view(mailbox).unwrap().row(wire::ids::Uid::new(uid).unwrap()).unwrap();
                        assert_eq!(read(store, &row), served(n));
                        if i % 3 == 0 {
                            flag(store, mailbox, &[(uid, uid)], &[SystemFlag::Seen], &[]);
                        }
                        if i % 5 == 4 {
                            let gone =
                                Intent::Expunge { mailbox, uids: runs(&[(uid, uid)]), only_deleted: false };
                            store.ask(gone).unwrap();
                        } else {
                            mine.push((uid, n));
                        }
                    }
                    mine
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    let health = store.health();
    assert!(health.groups < health.commits, "commits share groups: {health:?}");
    let expected: BTreeMap<u32, u32> = uids.into_iter().collect();
    let check = |store: &store::Store| {
        let rows: Vec<Row> = store.view(mailbox).unwrap().rows().collect();
        assert_eq!(
            rows.iter().map(|r| r.uid.get()).collect::<Vec<_>>(),
            expected.keys().copied().collect::<Vec<_>>()
        );
        let mut seen = 0;
        for (row, message) in store.messages(&rows) {
            let n = expected[&row.uid.get()];
            assert_eq!(message.unwrap().to_vec().unwrap(), served(n));
            assert_eq!(row.flags.has(SystemFlag::Seen), (n % 1000).is_multiple_of(3));
            seen += 1;
        }
        assert_eq!(seen, expected.len());
    };
    check(&store);
    let before = picture(&store);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = open(dir.path());
    check(&store);
    assert_eq!(picture(&store), before);
}

struct Flag(AtomicBool);
impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_watch_wakes_after_the_change_is_visible() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_with(dir.path(), |o| o.threads = false);
    let account = furnish(&store);
    let mailbox = inbox(&store, account);
    let (mut watch, mut of_account) = (store.watch(mailbox), store.watch_account(account));
    let woken = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert_eq!(watch.poll_changed(&mut cx), Poll::Pending);
    assert_eq!(of_account.poll_changed(&mut cx), Poll::Pending);
    let mut batch = store::Batch::new();
    let octets = batch.body(body(1));
    let append =
        Intent::Append { mailbox, body: octets, prefix: prefix(1), flags: Default::default(), date: None };
    batch.push(append);
    let commit = store.commit(batch);
    assert!(commit.ready().is_none() && !woken.0.load(Ordering::SeqCst));
    assert!(store.step_commit());
    assert!(woken.0.load(Ordering::SeqCst));
    let at = commit.wait().unwrap().at;
    assert_eq!(watch.poll_changed(&mut cx), Poll::Ready(at));
    assert_eq!(store.changes_since(mailbox, ModSeq(at.0 - 1)).unwrap().rows.len(), 1);
    assert_eq!(watch.poll_changed(&mut cx), Poll::Pending);
    assert_eq!(of_account.poll_changed(&mut cx), Poll::Pending);
    store.ask(Intent::SetPassword { account, password: "$new$".into() }).unwrap();
    assert!(matches!(of_account.poll_changed(&mut cx), Poll::Ready(_)));
    assert_eq!(store.directory().account(account).unwrap().credentials, 2);
    store.ask(Intent::RemoveAccount { account }).unwrap();
    assert!(matches!(of_account.poll_changed(&mut cx), Poll::Ready(_)));
    assert!(matches!(watch.poll_changed(&mut cx), Poll::Ready(_)), "a mailbox that goes is a change");
    assert!(matches!(store.view(mailbox), Err(store::ReadError::NoSuchMailbox)));
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32),
    Flag(u32, u32, bool),
    Expunge(u32, u32),
    Apply,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u32..6).prop_map(Step::Append),
        4 => (1u32..40, 0u32..20, any::<bool>()).prop_map(|(a, n, on)| Step::Flag(a, a + n, on)),
        3 => (1u32..40, 0u32..6).prop_map(|(a, n)| Step::Expunge(a, a + n)),
        2 => Just(Step::Apply),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn changes_since_agrees_with_a_model(steps in prop::collection::vec(any_step(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let stepped = || open_with(dir.path(), |o| o.threads = false).0;
        let mut store = stepped();
        let account = furnish(&store);
        let mailbox = inbox(&store, account);
        // At each point: the mod-sequence, and UID to seen.
        let mut now: BTreeMap<u32, bool> = BTreeMap::new();
        let mut history = vec![(store.head(mailbox).unwrap().highest_modseq, now.clone())];
        for step in steps {
            match step {
                Step::Append(n) => for _ in 0..n { now.insert(append(&store, mailbox, n).get(), false); },
                Step::Flag(a, b, on) => {
                    let names = names(&[SystemFlag::Seen], &[]);
                    let change = if on { FlagChange::Add(names) } else { FlagChange::Remove(names) };
                    store.ask(Intent::Flags { mailbox, uids: runs(&[(a, b)]), change, unchanged_since: None }).unwrap();
                    now.range_mut(a..=b).for_each(|(_, seen)| *seen = on);
                }
                Step::Expunge(a, b) => {
                    store.ask(Intent::Expunge { mailbox, uids: runs(&[(a, b)]), only_deleted: false }).unwrap();
                    now.retain(|uid, _| !(a..=b).contains(uid));
                }
                Step::Apply => { store.step_apply(); }
                Step::Reopen => { drop(store); store = stepped(); }
            }
            let head = store.head(mailbox).unwrap();
            prop_assert_eq!(head.unseen as usize, now.values().filter(|&&seen| !seen).count());
            for (since, then) in &history {
                let changes = store.changes_since(mailbox, *since).unwrap();
                prop_assert!(changes.vanished_complete);
                prop_assert_eq!(changes.upto, head.highest_modseq);
                // Whoever knew `then` and is told this knows `now`.
                let mut told = then.clone();
                told.retain(|uid, _| !changes.vanished.contains(*uid));
                for row in &changes.rows {
                    told.insert(row.uid.get(), row.flags.has(SystemFlag::Seen));
                }
                prop_assert_eq!(&told, &now);
                // And nothing is told that did not change.
                for row in &changes.rows {
                    let uid = row.uid.get();
                    prop_assert!(row.modseq > *since, "{uid}");
                }
                let gone: Runs = then.keys().copied().filter(|uid| !now.contains_key(uid)).collect();
                prop_assert!(gone.iter().all(|uid| changes.vanished.contains(uid)));
            }
            history.push((head.highest_modseq, now.clone()));
        }
    }
}
