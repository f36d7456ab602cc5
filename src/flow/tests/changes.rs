//! What an administrator does to the queue while it is at work.

use super::*;
use crate::flow::queue::Destination;
use crate::flow::queue::change::{self, Change, Waits, Which, Work};

fn waits(home: &Home) -> Waits {
    let mut found = None;
    change::each(&home.house.store, &Which::default(), None, |waits| {
        found = Some(waits);
        true
    })
    .unwrap();
    found.unwrap()
}

async fn change(home: &Home, what: Change) {
    let House { store, queue, .. } = &home.house;
    assert_eq!(change::change(store, Some(queue), &Which::default(), what).await.unwrap().recipients, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_tries_what_is_being_changed() {
    let home = Home::new().await;
    home.send(Some(ALICE), &["x@far.test"], "From: alice@home.test\n\nhello\n").await.unwrap();
    let (store, queue, far) = (&home.house.store, &home.house.queue, Destination::from("far.test"));
    for what in [Change::Release, Change::Retry] {
        if what == Change::Release {
            change(&home, Change::Hold).await;
            assert!(queue.lease(&far).is_none(), "it is held");
        }
        let mut work = Work::new(store, Some(queue), what);
        work.one(&waits(&home)).unwrap();
        // Who tried it now would read what is not so any more, and write it down again.
        assert!(queue.lease(&far).is_none(), "{what:?} is not committed");
        work.commit().await.unwrap();
        drop(work);
        let lease = queue.lease(&far).unwrap();
        assert!(!lease.recipients[0].1.held);
        lease.give_back();
    }
    // What is not committed has not been.
    for what in [Change::Drop, Change::Hold, Change::Retry] {
        let mut work = Work::new(store, Some(queue), what);
        work.one(&waits(&home)).unwrap();
        assert!(queue.lease(&far).is_none(), "{what:?} is not committed");
        drop(work);
        queue.lease(&far).unwrap().give_back();
    }
    change(&home, Change::Drop).await;
    assert!(queue.lease(&far).is_none());
    assert!(line::messages(store, None, 10).unwrap().is_empty());
}
