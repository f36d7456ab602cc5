//! What comes of tries, many of them in a commit: nothing is lost, nothing told twice, and one line that does not fit holds
//! up no other.

use super::*;
use crate::flow::queue::fate::{self, Action, Fate};
use crate::flow::queue::settle::{Came, Tried, Via, settle_all};
use crate::flow::queue::{Entry, Id, Recipient, Trouble};

const HOUR: i64 = 3_600;

fn now() -> i64 {
    crate::clock::wall().seconds
}

impl Home {
    /// Messages of alice to bob@far.test, taken so long ago, with Message-IDs so long.
    async fn waiting(&self, messages: &[(i64, usize)]) {
        for (n, (ago, id)) in messages.iter().enumerate() {
            let name = format!("m{n:03}");
            let entry = Entry {
                from: "<alice@home.test>".into(),
                at: now() - ago,
                message_id: "x".repeat(*id),
                ..Entry::default()
            };
            let recipient = Recipient { to: "bob@far.test".into(), next: now() - 1, ..Recipient::default() };
            let mut batch = Batch::new();
            let body = batch.body(b"Subject: one\r\n\r\nIt rains.\r\n".to_vec());
            let recipients = [recipient];
            line::enqueue(&mut batch, &name, body, store::Prefix::default(), &entry, &recipients);
            self.house.store.commit(batch).await.unwrap();
            self.house.queue.arrived(&Id::from(name.as_str()), &recipients);
        }
    }

    /// All that is due is tried, and nobody is there. Says whether all was written down, and in how many commits.
    async fn nobody_is_there(&self) -> (bool, u64) {
        let to = self.house.queue.destination("far.test");
        let mut leases: Vec<_> = std::iter::from_fn(|| self.house.queue.lease(&to)).collect();
        let via = Arc::new(Via::default());
        let tried = leases.iter_mut().map(|lease| {
            let later =
                |number: &u16| (*number, Came::Later(Trouble::new("", "nobody is there")), via.clone());
            Tried { came: lease.recipients.iter().map(|(number, _)| later(number)).collect(), lease }
        });
        let before = self.commits().await;
        let settled = settle_all(&self.house, tried.collect()).await;
        (settled.is_ok(), self.commits().await - before)
    }

    /// From here on the disk has no room for new mail.
    fn fill_up(&mut self) {
        self.house.store.close().unwrap();
        let store = small_store::open_with(self._dir.path(), 1 << 62);
        self.house.queue = Queue::open(&store, Settings::default()).unwrap();
        self.house.keyring = Keyring::new(store.clone());
        self.house.store = store;
        assert!(self.house.is_full());
    }

    /// The number of the last commit. This one changes nothing, and has none.
    async fn commits(&self) -> u64 {
        let intent = Intent::Strike { book: store::Book::Fates, key: b"none".to_vec() };
        self.house.store.commit(Batch::of(intent)).await.unwrap().at.0
    }

    fn fates(&self) -> Vec<Fate> {
        let mut all = Vec::new();
        fate::since(&self.house.store, 0, |fate| {
            all.push(fate);
            true
        })
        .unwrap();
        all
    }

    fn recipients(&self) -> Vec<Recipient> {
        let mut all = Vec::new();
        line::each_recipient(&self.house.store, |_, _, recipient| all.push(recipient)).unwrap();
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_off_together_is_one_commit() {
    let home = Home::new().await;
    home.waiting(&[(0, 5); 60]).await;
    assert_eq!(home.nobody_is_there().await, (true, 1));
    let all = home.recipients();
    assert_eq!(all.len(), 60);
    assert!(all.iter().all(|recipient| recipient.tries == 1 && recipient.next > now() && !recipient.told));
    assert_eq!((home.fates().len(), home.count(ALICE), home.house.queue.count()), (0, 0, (60, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_long_is_told_once_and_what_is_given_up_is_told_with_its_fate() {
    let home = Home::new().await;
    let messages: Vec<_> = (0..45).map(|n| (if n < 15 { 100 * HOUR } else { 5 * HOUR }, 5)).collect();
    home.waiting(&messages).await;
    // Twenty reports at a time.
    assert_eq!(home.nobody_is_there().await, (true, 3));
    assert_eq!(home.count(ALICE), 45);
    let fates = home.fates();
    assert_eq!(fates.len(), 15);
    assert!(fates.iter().all(|fate| fate.action == Action::Expired && fate.what == "nobody is there"));
    assert!(home.recipients().len() == 30 && home.recipients().iter().all(|recipient| recipient.told));
    assert_eq!(line::messages(&home.house.store, None, 100).unwrap().len(), 30);

    let which = crate::flow::queue::change::Which::default();
    let retry = crate::flow::queue::change::Change::Retry;
    crate::flow::queue::change::change(&home.house.store, Some(&home.house.queue), &which, retry)
        .await
        .unwrap();
    assert_eq!(home.nobody_is_there().await, (true, 1));
    assert_eq!((home.count(ALICE), home.fates().len()), (45, 15));
    assert!(home.recipients().iter().all(|recipient| recipient.tries == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_does_not_fit_holds_up_its_own_message_only() {
    let home = Home::new().await;
    let mut messages = [(100 * HOUR, 5); 30];
    // Its fate has no room beside such a Message-ID.
    messages[7].1 = 3_340;
    home.waiting(&messages).await;
    let (settled, _) = home.nobody_is_there().await;
    assert!(!settled);
    assert_eq!((home.count(ALICE), home.fates().len(), home.recipients().len()), (29, 29, 1));
    let left = line::messages(&home.house.store, None, 100).unwrap();
    assert_eq!(left.iter().map(|queued| &*queued.id).collect::<Vec<_>>(), ["m007"]);
    assert_eq!(home.house.queue.count(), (1, 0), "it is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_for_new_mail_keeps_no_try_from_being_written_down() {
    let mut home = Home::new().await;
    home.waiting(&[(100 * HOUR, 5), (5 * HOUR, 5), (0, 5)]).await;
    home.fill_up();
    assert!(home.send(None, &["alice@home.test"], "From: x@far.test\n\nhello\n").await.is_err());
    let (settled, _) = home.nobody_is_there().await;
    assert!(settled);
    assert_eq!((home.count(ALICE), home.fates().len(), home.recipients().len()), (2, 1, 2));

    // A host that took it for one, and refuses another: neither is asked again.
    let to = home.house.queue.destination("far.test");
    let which = crate::flow::queue::change::Which::default();
    let retry = crate::flow::queue::change::Change::Retry;
    let House { store, queue, .. } = &home.house;
    crate::flow::queue::change::change(store, Some(queue), &which, retry).await.unwrap();
    let mut leases: Vec<_> = std::iter::from_fn(|| home.house.queue.lease(&to)).collect();
    let via = Arc::new(Via::default());
    let ends = [
        Came::Taken { said: "250 ok".into(), reports: false },
        Came::Never(Trouble::new("mx.far.test", "550 no")),
    ];
    let tried = leases.iter_mut().zip(ends).map(|(lease, came)| Tried {
        came: lease.recipients.iter().map(|(n, _)| (*n, came.clone(), via.clone())).collect(),
        lease,
    });
    settle_all(&home.house, tried.collect()).await.unwrap();
    assert_eq!((home.count(ALICE), home.fates().len(), home.recipients().len()), (3, 3, 0));
}
