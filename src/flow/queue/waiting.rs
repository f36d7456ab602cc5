//! What waits, by where it goes: the queue as the runner sees it. In memory only, a few dozen octets for each recipient;
//! what is durable stands in the store's books.
//!
//! A destination is a domain, or a relay for all. Fair between senders: within a destination each has its turn, however
//! many messages another has there. Pure: it is told the time.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::line::Id;

/// Where messages go together.
pub type Destination = Arc<str>;

/// Recipients of one message that go to one destination, taken out to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The message.
    pub id: Id,
    /// Whose it is; 0 is nobody's.
    pub of: u32,
    /// The recipients' numbers.
    pub numbers: Vec<u16>,
}

/// When, which message, which recipient; and whether it was put off, rather than meant for then from the start.
type Place = (i64, Id, u16, bool);

/// What waits for one destination.
#[derive(Debug, Default)]
struct Waits {
    /// By sender.
    senders: HashMap<u32, BTreeSet<Place>>,
    /// Senders that have something here, the next one first.
    turns: VecDeque<u32>,
    /// Connections under way.
    couriers: usize,
    /// None is begun before this, in seconds since 1970.
    not_before: i64,
    /// How many in a row have failed.
    failures: u32,
    /// One has got through since the last failure: more may be begun.
    proven: bool,
}

impl Waits {
    fn first(&self) -> Option<i64> {
        let first = self.senders.values().filter_map(|places| places.first()).map(|(due, ..)| *due).min();
        first.map(|due| due.max(self.not_before))
    }
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub couriers: usize,
    /// ... to one destination.
    pub each: usize,
    /// Recipients in one transaction.
    pub recipients: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        // RFC 5321 s.4.5.3.1.8: every server takes a hundred recipients.
        Limits { couriers: 20, each: 4, recipients: 100 }
    }
}

/// Everything that waits.
#[derive(Debug, Default)]
pub struct Waiting {
    destinations: HashMap<Destination, Waits>,
    /// Destinations for which a connection may be begun, by the time from which on.
    due: BTreeSet<(i64, Destination)>,
    /// What `due` says of each destination.
    said: HashMap<Destination, i64>,
    /// Where each message's recipients are, and how many are left, those under way included.
    left: HashMap<Id, u32>,
    couriers: usize,
    recipients: usize,
    /// Under way.
    taken: usize,
}

impl Waiting {
    /// A recipient waits from `next` on. `put_off`: it would have gone before, had its hosts answered.
    pub fn add(&mut self, to: &Destination, of: u32, id: &Id, number: u16, next: i64, put_off: bool) {
        self.put(to, of, (next, id.clone(), number, put_off));
        *self.left.entry(id.clone()).or_default() += 1;
    }

    fn put(&mut self, to: &Destination, of: u32, place: Place) {
        let waits = self.destinations.entry(to.clone()).or_default();
        let places = waits.senders.entry(of).or_default();
        if places.is_empty() {
            waits.turns.push_back(of);
        }
        if places.insert(place) {
            self.recipients += 1;
        }
        self.tell(to);
    }

    /// Sets what `due` says of a destination.
    fn tell(&mut self, to: &Destination) {
        let first = self.destinations.get(to).and_then(Waits::first);
        let said = match first {
            Some(first) => self.said.insert(to.clone(), first),
            None => self.said.remove(to),
        };
        if said != first {
            said.map(|said| self.due.remove(&(said, to.clone())));
            first.map(|first| self.due.insert((first, to.clone())));
        }
        if first.is_none() && self.destinations.get(to).is_some_and(|w| w.couriers == 0) {
            self.destinations.remove(to);
        }
    }

    /// A destination for which a connection is to be begun now: it counts as under way from here on.
    pub fn begin(&mut self, now: i64, limits: Limits) -> Option<Destination> {
        if self.couriers >= limits.couriers {
            return None;
        }
        let may = |waits: &Waits| match waits.couriers {
            0 => true,
            // The first finds out whether anybody is there.
            n => n < limits.each && waits.proven,
        };
        let ready = self.due.iter().take_while(|(from, _)| *from <= now);
        let to = ready.map(|(_, to)| to).find(|to| self.destinations.get(*to).is_some_and(may))?.clone();
        self.couriers += 1;
        if let Some(waits) = self.destinations.get_mut(&to) {
            waits.couriers += 1;
        }
        Some(to)
    }

    /// When there is something to begin next, as far as it is not under way already.
    #[must_use]
    pub fn next(&self, now: i64) -> Option<i64> {
        // What is due and not begun waits for a connection to end, which tells.
        self.due.range((now + 1, Destination::from(""))..).next().map(|(due, _)| *due)
    }

    /// The next message for a destination, with all its recipients there that are due.
    pub fn take(&mut self, to: &Destination, now: i64, limits: Limits) -> Option<Job> {
        let waits = self.destinations.get_mut(to)?;
        for _ in 0..waits.turns.len() {
            let of = waits.turns.pop_front()?;
            let Some(places) = waits.senders.get_mut(&of) else { continue };
            let Some((due, id, ..)) = places.first().filter(|(due, ..)| *due <= now).cloned() else {
                waits.turns.push_back(of);
                continue;
            };
            let mut numbers = Vec::new();
            while numbers.len() < limits.recipients
                && let Some(place) = places.pop_first()
            {
                if (place.0, &place.1) != (due, &id) {
                    places.insert(place);
                    break;
                }
                numbers.push(place.2);
            }
            if places.is_empty() {
                waits.senders.remove(&of);
            } else {
                waits.turns.push_back(of);
            }
            self.recipients -= numbers.len();
            self.taken += numbers.len();
            self.tell(to);
            return Some(Job { id, of, numbers });
        }
        None
    }

    /// A recipient that was taken waits again.
    pub fn again(&mut self, to: &Destination, of: u32, id: &Id, number: u16, next: i64) {
        self.taken = self.taken.saturating_sub(1);
        self.put(to, of, (next, id.clone(), number, true));
    }

    /// Recipients that were taken are done with. Says how many of the message are left.
    pub fn done(&mut self, id: &Id, count: usize) -> u32 {
        self.taken = self.taken.saturating_sub(count);
        self.forget(id, count)
    }

    fn forget(&mut self, id: &Id, count: usize) -> u32 {
        let Some(left) = self.left.get_mut(id) else { return 0 };
        *left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        let left = *left;
        if left == 0 {
            self.left.remove(id);
        }
        left
    }

    /// How many recipients of a message are left, those under way included.
    #[must_use]
    pub fn left(&self, id: &str) -> u32 {
        self.left.get(id).copied().unwrap_or_default()
    }

    /// A connection has got through. Says whether it is the first since one failed: what waits need not wait then.
    pub fn proved(&mut self, to: &Destination) -> bool {
        let Some(waits) = self.destinations.get_mut(to) else { return false };
        waits.proven = true;
        waits.not_before = 0;
        std::mem::take(&mut waits.failures) > 0
    }

    /// No host of a destination was reached: for `pause` seconds nobody tries.
    pub fn failed(&mut self, to: &Destination, now: i64, pause: i64) {
        if let Some(waits) = self.destinations.get_mut(to) {
            waits.failures = waits.failures.saturating_add(1);
            waits.not_before = now.saturating_add(pause);
            waits.proven = false;
        }
        self.tell(to);
    }

    /// For `pause` seconds no connection is begun to a destination that is there.
    pub fn rest(&mut self, to: &Destination, now: i64, pause: i64) {
        if let Some(waits) = self.destinations.get_mut(to) {
            waits.not_before = now.saturating_add(pause);
            waits.proven = false;
        }
        self.tell(to);
    }

    /// Nobody waits for a destination to answer again: it may be tried now.
    pub fn unblock(&mut self, to: &Destination) {
        if let Some(waits) = self.destinations.get_mut(to) {
            waits.not_before = 0;
        }
    }

    /// A connection has ended.
    pub fn end(&mut self, to: &Destination) {
        self.couriers = self.couriers.saturating_sub(1);
        if let Some(waits) = self.destinations.get_mut(to) {
            waits.couriers = waits.couriers.saturating_sub(1);
        }
        self.tell(to);
    }

    /// Everything that was put off for a destination may go at `when`. What is held, or meant for later, stays.
    pub fn hurry(&mut self, to: &Destination, when: i64) {
        let Some(waits) = self.destinations.get_mut(to) else { return };
        for places in waits.senders.values_mut() {
            let late = places.split_off(&(when + 1, Id::from(""), 0, false));
            let sooner = |(due, id, number, put_off)| (if put_off { when } else { due }, id, number, put_off);
            places.extend(late.into_iter().map(sooner));
        }
        self.tell(to);
    }

    /// One recipient that waits goes elsewhere in time, or away with `None`. Says whether it was there: what is under
    /// way is not. `hint` is when it waits for, unless it was hurried: then all of the destination is looked through.
    pub fn shift(&mut self, to: &Destination, id: &Id, number: u16, hint: i64, next: Option<i64>) -> bool {
        let Some(waits) = self.destinations.get_mut(to) else { return false };
        let mut found = None;
        for (of, places) in &mut waits.senders {
            let hinted = [false, true].map(|put_off| (hint, id.clone(), number, put_off));
            let at = hinted.into_iter().find(|place| places.contains(place));
            let at = at.or_else(|| places.iter().find(|(_, i, n, _)| i == id && *n == number).cloned());
            if let Some(place) = at {
                places.remove(&place);
                found = Some((*of, places.is_empty()));
                break;
            }
        }
        let Some((of, empty)) = found else { return false };
        if empty {
            waits.senders.remove(&of);
            waits.turns.retain(|turn| *turn != of);
        }
        self.recipients -= 1;
        match next {
            Some(next) => self.put(to, of, (next, id.clone(), number, false)),
            None => {
                self.tell(to);
                self.forget(id, 1);
            }
        }
        true
    }

    /// How many recipients wait, and how many are under way.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.recipients, self.taken)
    }

    /// Destinations with what waits for each, those with the most first.
    #[must_use]
    pub fn by_destination(&self) -> Vec<(Destination, usize)> {
        let of = |waits: &Waits| waits.senders.values().map(BTreeSet::len).sum::<usize>();
        let mut all: Vec<_> = self.destinations.iter().map(|(to, waits)| (to.clone(), of(waits))).collect();
        all.retain(|(_, n)| *n > 0);
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// For tests and figures: messages that have recipients left.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { couriers: 3, each: 2, recipients: 100 };

    fn to(name: &str) -> Destination {
        name.into()
    }

    fn id(name: &str) -> Id {
        name.into()
    }

    #[test]
    fn recipients_of_a_message_in_one_domain_go_together() {
        let mut waiting = Waiting::default();
        for number in 0..3 {
            waiting.add(&to("a.test"), 1, &id("m"), number, 10, false);
        }
        waiting.add(&to("b.test"), 1, &id("m"), 3, 10, false);
        assert_eq!(waiting.begin(9, LIMITS), None);
        assert_eq!(waiting.next(9), Some(10));
        let first = waiting.begin(10, LIMITS).unwrap();
        let second = waiting.begin(10, LIMITS).unwrap();
        assert_ne!(first, second);
        assert_eq!(waiting.begin(10, LIMITS), None, "one connection each until it has got through");
        let job = waiting.take(&to("a.test"), 10, LIMITS).unwrap();
        assert_eq!((&*job.id, job.numbers), ("m", vec![0, 1, 2]));
        assert_eq!(waiting.take(&to("a.test"), 10, LIMITS), None);
        assert_eq!(waiting.done(&id("m"), 3), 1);
        assert_eq!(waiting.left("m"), 1);
        assert_eq!(waiting.count(), (1, 0));
    }

    #[test]
    fn a_few_recipients_at_a_time() {
        let mut waiting = Waiting::default();
        (0..5).for_each(|n| waiting.add(&to("a.test"), 1, &id("m"), n, 10, false));
        let few = Limits { recipients: 2, ..LIMITS };
        let taken: Vec<_> = std::iter::from_fn(|| waiting.take(&to("a.test"), 10, few)).collect();
        assert_eq!(
            taken.iter().map(|job| job.numbers.clone()).collect::<Vec<_>>(),
            [vec![0, 1], vec![2, 3], vec![4]]
        );
    }

    #[test]
    fn each_sender_has_a_turn_however_much_another_sends() {
        let mut waiting = Waiting::default();
        for n in 0..100 {
            waiting.add(&to("a.test"), 1, &id(&format!("bulk{n:03}")), 0, 10, false);
        }
        waiting.add(&to("a.test"), 2, &id("one"), 0, 11, false);
        waiting.add(&to("a.test"), 2, &id("two"), 0, 11, false);
        let taken: Vec<_> = (0..5).map(|_| waiting.take(&to("a.test"), 12, LIMITS).unwrap().id).collect();
        assert_eq!(
            taken.iter().map(|id| &**id).collect::<Vec<_>>(),
            ["bulk000", "one", "bulk001", "two", "bulk002"]
        );
    }

    #[test]
    fn a_destination_that_is_not_reached_is_left_alone_and_what_waits_goes_when_it_answers() {
        let mut waiting = Waiting::default();
        let a = to("a.test");
        waiting.add(&a, 1, &id("m"), 0, 10, false);
        waiting.add(&a, 1, &id("n"), 0, 500, true);
        waiting.add(&a, 1, &id("o"), 0, 500, false);
        assert_eq!(waiting.begin(10, LIMITS), Some(a.clone()));
        let job = waiting.take(&a, 10, LIMITS).unwrap();
        waiting.failed(&a, 10, 30);
        waiting.again(&a, job.of, &job.id, 0, 20);
        waiting.end(&a);
        assert_eq!(waiting.begin(39, LIMITS), None);
        assert_eq!(waiting.next(20), Some(40));
        assert_eq!(waiting.begin(40, LIMITS), Some(a.clone()));
        assert!(waiting.proved(&a));
        assert!(!waiting.proved(&a));
        waiting.hurry(&a, 41);
        assert_eq!(
            waiting.begin(41, LIMITS),
            Some(a.clone()),
            "a second connection, once the first got through"
        );
        assert_eq!(&*waiting.take(&a, 41, LIMITS).unwrap().id, "m");
        assert_eq!(&*waiting.take(&a, 41, LIMITS).unwrap().id, "n");
        assert_eq!(waiting.take(&a, 41, LIMITS), None, "what is meant for later is not hurried");
        assert!(waiting.shift(&a, &id("o"), 0, 500, None));
        waiting.done(&id("m"), 1);
        waiting.done(&id("n"), 1);
        waiting.end(&a);
        waiting.end(&a);
        assert!(waiting.destinations.is_empty() && waiting.due.is_empty() && waiting.said.is_empty());
        assert_eq!((waiting.count(), waiting.couriers, waiting.messages()), ((0, 0), 0, 0));
    }

    #[test]
    fn one_of_many_can_be_moved_or_taken_away() {
        let mut waiting = Waiting::default();
        let a = to("a.test");
        (0..3).for_each(|n| waiting.add(&a, 1, &id("m"), n, 10, false));
        assert!(waiting.shift(&a, &id("m"), 1, 10, Some(99)));
        assert!(waiting.shift(&a, &id("m"), 2, 7, None));
        assert!(!waiting.shift(&a, &id("m"), 2, 7, None));
        assert!(!waiting.shift(&to("b.test"), &id("m"), 0, 10, None));
        assert_eq!(waiting.take(&a, 10, LIMITS).unwrap().numbers, [0]);
        assert!(!waiting.shift(&a, &id("m"), 0, 10, None), "it is under way");
        assert_eq!((waiting.left("m"), waiting.next(10)), (2, Some(99)));
    }
}
