//! Begins a courier whenever something is due, as many as there may be, and tidies up what has become old.

use std::sync::Arc;
use std::time::Duration;

use store::{Batch, Book, Intent, ReadError, Store};
use tokio::task::JoinSet;

use super::Queue;
use super::courier::Courier;
use super::fate;
use super::lease::Lease;
use super::line::{self, Trouble};
use super::outward::Outward;
use super::settle::{Came, Via, settle};
use super::waiting::Destination;
use crate::disk;
use crate::flow::secure::sts::Kept;

/// How often old fates are looked for.
const TIDY: Duration = Duration::from_secs(3_600);
/// The longest wait: a clock that was set wrong is noticed.
const LONGEST: i64 = 60;

impl Queue {
    /// Something is to be looked at.
    pub(super) fn ring(&self) {
        self.0.bell.notify_one();
    }

    fn begin(&self) -> Option<Destination> {
        self.waiting().begin(line::now(), self.settings().limits)
    }

    fn end(&self, to: &Destination) {
        self.waiting().end(to);
        self.ring();
    }

    /// A host has let us in. Says whether that is news; then what waits for it goes at once.
    pub(super) fn proved(&self, to: &Destination) -> bool {
        let news = {
            let mut waiting = self.waiting();
            let news = waiting.proved(to);
            if news {
                waiting.hurry(to, line::now());
            }
            news
        };
        self.ring();
        news
    }

    /// No host of a destination could be reached.
    pub(super) fn unreached(&self, to: &Destination, pause: i64) {
        self.waiting().failed(to, line::now(), pause);
    }

    /// Hosts of a destination were reached, and wish to be left alone.
    pub(super) fn rest(&self, to: &Destination, pause: i64) {
        self.waiting().rest(to, line::now(), pause);
    }

    /// Delivers what waits until the server stops. What is under way then may end.
    pub async fn run(self, outward: Arc<Outward>) {
        let mut couriers = JoinSet::new();
        let mut tidy = tokio::time::interval(TIDY);
        let stopped = outward.stop.clone().stopped();
        tokio::pin!(stopped);
        loop {
            while let Some(to) = self.begin() {
                couriers.spawn(courier(outward.clone(), self.clone(), to));
            }
            let wait = self.waiting().next(line::now()).map_or(LONGEST, |next| next - line::now());
            let wait = Duration::from_secs(u64::try_from(wait.clamp(1, LONGEST)).unwrap_or(1));
            tokio::select! {
                () = &mut stopped => break,
                () = self.0.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = tidy.tick() => {
                    self.tidy().await;
                    outward.house.tidy_allowances(line::now()).await;
                }
            }
            while couriers.try_join_next().is_some() {}
        }
        // Their connections have been told, and have their own time limits.
        while couriers.join_next().await.is_some() {}
    }

    /// Gives up fates that are older than they are kept, and policies that hold no more.
    async fn tidy(&self) {
        loop {
            let old = disk::blocking(|| old(self.store(), line::now()));
            match old {
                Ok(Some(batch)) => {
                    if disk::commit(self.store(), batch).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "what is old cannot be tidied up");
                    return;
                }
            }
        }
    }
}

/// A batch that gives up some of what is old; `None` when there is nothing.
fn old(store: &Store, now: i64) -> Result<Option<Batch>, ReadError> {
    if let Some(batch) = fate::old(store, now)? {
        return Ok(Some(batch));
    }
    let over = |value: &[u8]| !Kept::decode(value).is_some_and(|kept| kept.holds(now));
    let mut batch = Batch::new();
    for (key, line) in store.lines(Book::Policies, &[], None, usize::MAX)? {
        if over(&line.value) {
            batch.push(Intent::Strike { book: Book::Policies, key });
        }
    }
    Ok((!batch.is_empty()).then_some(batch))
}

/// Ends a courier's time, however it ends.
struct Ends<'a>(&'a Queue, &'a Destination);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

async fn courier(outward: Arc<Outward>, queue: Queue, to: Destination) {
    let _ends = Ends(&queue, &to);
    if outward.world.is_some() {
        while let Some(lease) = queue.lease(&to) {
            if !shown(&outward, lease).await {
                return;
            }
        }
        return;
    }
    if let Some(courier) = Courier::new(&outward, &queue, &to) {
        courier.run().await;
    }
}

/// In the demo nothing leaves this host: what would have been sent is put into an account of it.
async fn shown(outward: &Outward, mut lease: Lease) -> bool {
    let Some(account) = outward.world else { return false };
    let store = &outward.house.store;
    let inbox = store.directory().mailbox_at(account, "INBOX").map(|mailbox| mailbox.id);
    let (Some(mailbox), content) = (inbox, lease.queued.content) else { return false };
    let octets = disk::blocking(|| store.content(content).and_then(|message| message.to_vec()));
    let placed = match octets {
        Ok(octets) => {
            let mut batch = Batch::new();
            let body = batch.body(octets);
            let to: Vec<&str> = lease.recipients.iter().map(|(_, recipient)| recipient.to.as_str()).collect();
            let head =
                format!("Return-Path: {}\r\nDelivered-To: {}\r\n", lease.queued.entry.from, to.join(", "));
            let prefix = store::Prefix { octets: head.into_bytes(), replaces: 0 };
            let flags = wire::flag::FlagNames::default();
            batch.push(Intent::Append { mailbox, body, prefix, flags, date: None });
            disk::commit(store, batch).await.map(drop).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let via = Via { host: "world@demo.test".into(), ..Via::default() };
    let came = match placed {
        Ok(()) => Came::Taken { said: "shown in the demo, and not sent".into(), reports: false },
        Err(why) => Came::Later(Trouble::new("", why)),
    };
    let via = Arc::new(via);
    let came = lease.recipients.iter().map(|(number, _)| (*number, came.clone(), via.clone())).collect();
    settle(&outward.house, &mut lease, came).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tests::Home;

    #[tokio::test(flavor = "multi_thread")]
    async fn policies_that_hold_no_more_are_struck_and_no_other() {
        let home = Home::new().await;
        let store = &home.house.store;
        let day = 86_400;
        let keep = async |domain: &str, fetched: i64, max_age: u32| {
            let policy = format!("version: STSv1\nmode: enforce\nmx: mx.{domain}\nmax_age: {max_age}\n");
            let value = format!("x-fetched: {fetched}\nx-id: 1\n{policy}").into_bytes();
            assert!(Kept::decode(&value).is_some());
            let key = domain.as_bytes().to_vec();
            store.commit(Batch::of(Intent::Write { book: Book::Policies, key, value })).await.unwrap();
        };
        let kept = || {
            let lines = store.lines(Book::Policies, &[], None, 100).unwrap();
            lines.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
        };
        let now = line::now();
        keep("old.test", now - 2 * day, 86_400).await;
        keep("new.test", now - 2 * day, 3 * 86_400).await;
        assert!(old(store, now - 1 - day).unwrap().is_none(), "a second before its end it holds");
        home.house.queue.tidy().await;
        assert_eq!(kept(), ["new.test"]);
        let batch = old(store, now + day).unwrap().unwrap();
        store.commit(batch).await.unwrap();
        assert!(kept().is_empty());
    }
}
