//! Which message has which sequence number: the pure view that a session has of its mailbox.
//!
//! RFC 3501 s.2.3.1, s.7.4.1, RFC 2180 s.3: numbers change only when the client is told. So the map says what *was told*, and a
//! desk compares it with what is. Runs of UIDs without gaps are one entry; a copy is a shared pointer.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::ids::{Runs, SeqEnd, SeqNum, SeqSet, Uid};

/// Consecutive UIDs, which therefore have consecutive sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// The first UID.
    uid: u32,
    /// How many messages come before it.
    before: u32,
    /// How many UIDs.
    count: u32,
}

impl Run {
    fn last(self) -> u32 {
        self.uid + (self.count - 1)
    }
}

/// Sequence numbers to UIDs and back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidMap {
    runs: Arc<Vec<Run>>,
}

/// A sequence number beyond the last message (RFC 3501 s.9 `seq-number`): the command is answered BAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such message sequence number")]
pub struct NoSuchMessage;

impl UidMap {
    /// From UIDs in rising order; one out of order is passed over.
    #[must_use]
    pub fn from_rising(uids: impl IntoIterator<Item = Uid>) -> UidMap {
        let mut map = UidMap::default();
        map.append(uids);
        map
    }

    /// From runs of UIDs: O(runs).
    #[must_use]
    pub fn from_runs(uids: &Runs) -> UidMap {
        let mut map = UidMap::default();
        map.append_runs(uids);
        map
    }

    /// How many messages there are: the number of EXISTS.
    #[must_use]
    pub fn exists(&self) -> u32 {
        self.runs.last().map_or(0, |r| r.before + r.count)
    }

    /// The largest UID.
    #[must_use]
    pub fn last_uid(&self) -> Option<Uid> {
        self.runs.last().and_then(|r| Uid::new(r.last()))
    }

    /// The UID at a sequence number. O(log runs).
    #[must_use]
    pub fn uid(&self, seq: SeqNum) -> Option<Uid> {
        let n = seq.get() - 1;
        let i = self.runs.partition_point(|r| r.before <= n).checked_sub(1)?;
        let run = self.runs.get(i)?;
        if n - run.before < run.count { Uid::new(run.uid + (n - run.before)) } else { None }
    }

    /// The sequence number of a UID. O(log runs).
    #[must_use]
    pub fn seq(&self, uid: Uid) -> Option<SeqNum> {
        let n = uid.get();
        let i = self.runs.partition_point(|r| r.uid <= n).checked_sub(1)?;
        let run = self.runs.get(i)?;
        if n - run.uid < run.count { SeqNum::new(run.before + (n - run.uid) + 1) } else { None }
    }

    /// Adds messages behind the last one: UIDs in rising order, above [`UidMap::last_uid`]; others are passed over.
    pub fn append(&mut self, uids: impl IntoIterator<Item = Uid>) {
        let mut uids = uids.into_iter().peekable();
        if uids.peek().is_none() {
            return;
        }
        let runs = Arc::make_mut(&mut self.runs);
        for uid in uids {
            push(runs, uid.get(), uid.get());
        }
    }

    /// Adds messages behind the last one; UIDs not above [`UidMap::last_uid`] are passed over. O(runs added).
    pub fn append_runs(&mut self, uids: &Runs) {
        if uids.is_empty() {
            return;
        }
        let runs = Arc::make_mut(&mut self.runs);
        for &(first, last) in uids.as_slice() {
            push(runs, first, last);
        }
    }

    /// Takes messages out. Returns the numbers to tell with EXPUNGE, in the order in which to tell them: from the
    /// highest down, so that each is right whatever was told before it. O(runs + messages gone).
    pub fn remove(&mut self, uids: &Runs) -> Vec<SeqNum> {
        let gone = self.present(uids);
        if gone.is_empty() {
            return Vec::new();
        }
        let mut told: Vec<SeqNum> = self.numbered(&gone).map(|(seq, _)| seq).collect();
        told.reverse();
        let mut kept = Vec::with_capacity(self.runs.len() + gone.as_slice().len());
        let mut holes = gone.as_slice().iter().peekable();
        for run in self.runs.iter() {
            let mut from = run.uid;
            // Holes lie within the runs, since they were cut to what is present.
            while let Some(&&(first, last)) = holes.peek()
                && first <= run.last()
            {
                if first > from {
                    push(&mut kept, from, first - 1);
                }
                from = last.saturating_add(1);
                if last <= run.last() {
                    holes.next();
                } else {
                    break;
                }
            }
            // `from` stands still at the largest UID when a hole ended there.
            let hole_at_end = gone.contains(run.last());
            if from <= run.last() && !hole_at_end {
                push(&mut kept, from, run.last());
            }
        }
        self.runs = Arc::new(kept);
        told
    }

    /// Those of the UIDs that are in the mailbox. O(runs of both).
    #[must_use]
    pub fn present(&self, uids: &Runs) -> Runs {
        let mut found = Runs::default();
        let Some(&(first, _)) = uids.as_slice().first() else { return found };
        let mut i = self.runs.partition_point(|r| r.last() < first);
        for &(a, b) in uids.as_slice() {
            while self.runs.get(i).is_some_and(|r| r.last() < a) {
                i += 1;
            }
            let mut at = i;
            while let Some(run) = self.runs.get(at).filter(|r| r.uid <= b) {
                found.add(run.uid.max(a), run.last().min(b));
                at += 1;
            }
            i = at.saturating_sub(1).max(i);
        }
        found
    }

    /// All UIDs, as runs.
    #[must_use]
    pub fn all(&self) -> Runs {
        let mut all = Runs::default();
        for run in self.runs.iter() {
            all.add(run.uid, run.last());
        }
        all
    }

    /// The UIDs of a set of message sequence numbers.
    ///
    /// # Errors
    /// A number is above the last message's, or `*` in an empty mailbox (RFC 3501 s.9).
    pub fn uids_of_sequence(&self, set: &SeqSet) -> Result<Runs, NoSuchMessage> {
        let exists = self.exists();
        let beyond = |e: SeqEnd| match e {
            SeqEnd::Number(n) => n.get() > exists,
            SeqEnd::Largest => exists == 0,
        };
        // `1:*` of an empty mailbox is what every client asks first; it is no fault to find nothing.
        if exists == 0 && set.ranges.iter().all(|&(a, b)| a == SeqEnd::Largest || b == SeqEnd::Largest) {
            return Ok(Runs::default());
        }
        if set.ranges.iter().any(|&(a, b)| beyond(a) || beyond(b)) {
            return Err(NoSuchMessage);
        }
        Ok(self.uids_of_numbers(&set.resolve(NonZeroU32::new(exists))))
    }

    /// The UIDs at these sequence numbers; numbers beyond the last message are passed over.
    #[must_use]
    pub fn uids_of_numbers(&self, numbers: &Runs) -> Runs {
        let mut uids = Runs::default();
        for &(a, b) in numbers.as_slice() {
            let from = self.runs.partition_point(|r| r.before + r.count < a);
            for run in self.runs[from..].iter().take_while(|r| r.before < b) {
                let first = (a - 1).max(run.before) - run.before;
                let last = b.min(run.before + run.count) - run.before - 1;
                uids.add(run.uid + first, run.uid + last);
            }
        }
        uids
    }

    /// Those of the UIDs in a set that are in the mailbox; `*` is the largest UID. Nothing here is an error: UIDs
    /// that are gone are passed over (RFC 3501 s.6.4.8).
    #[must_use]
    pub fn uids_of_set(&self, set: &SeqSet) -> Runs {
        self.present(&set.resolve(self.last_uid().and_then(|u| NonZeroU32::new(u.get()))))
    }

    /// The messages among `uids`, rising, each with its sequence number. O(1) a message.
    pub fn numbered<'a>(&'a self, uids: &'a Runs) -> impl Iterator<Item = (SeqNum, Uid)> + 'a {
        let mut i = 0;
        uids.as_slice().iter().flat_map(move |&(a, b)| {
            while self.runs.get(i).is_some_and(|r| r.last() < a) {
                i += 1;
            }
            self.runs[i..].iter().take_while(move |r| r.uid <= b).flat_map(move |run| {
                (run.uid.max(a)..=run.last().min(b))
                    .filter_map(|uid| Some((SeqNum::new(run.before + (uid - run.uid) + 1)?, Uid::new(uid)?)))
            })
        })
    }
}

/// Adds UIDs behind the last run, or to it.
fn push(runs: &mut Vec<Run>, first: u32, last: u32) {
    let Some(end) = runs.last_mut() else {
        if first > 0 && first <= last {
            runs.push(Run { uid: first, before: 0, count: (last - first).saturating_add(1) });
        }
        return;
    };
    let Some(next) = end.last().checked_add(1) else { return };
    let first = first.max(next);
    if first > last {
        return;
    }
    let count = last - first + 1;
    if first == next {
        end.count += count;
    } else {
        let before = end.before + end.count;
        runs.push(Run { uid: first, before, count });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(text: &str) -> SeqSet {
        let end = |s: &str| match s {
            "*" => SeqEnd::Largest,
            n => SeqEnd::Number(n.parse().expect("a number")),
        };
        let ranges = text.split(',').map(|r| {
            let (a, b) = r.split_once(':').unwrap_or((r, r));
            (end(a), end(b))
        });
        SeqSet { ranges: ranges.collect() }
    }

    fn map(uids: &[u32]) -> UidMap {
        UidMap::from_rising(uids.iter().filter_map(|&n| Uid::new(n)))
    }

    #[test]
    fn sequence_sets() {
        let m = map(&[5, 6, 7, 20, 30]);
        for (text, want) in [
            ("1:*", Ok("5:7,20,30")),
            ("*", Ok("30")),
            ("4,2", Ok("6,20")),
            ("3:2", Ok("6:7")),
            ("*:4", Ok("20,30")),
            ("6", Err(NoSuchMessage)),
            ("1:6", Err(NoSuchMessage)),
        ] {
            assert_eq!(
                m.uids_of_sequence(&set(text)).map(|r| r.to_string()),
                want.map(str::to_owned),
                "{text}"
            );
        }
        let empty = UidMap::default();
        assert!(empty.uids_of_sequence(&set("1:*")).is_ok_and(|r| r.is_empty()));
        assert!(empty.uids_of_sequence(&set("1")).is_err());
        assert!(empty.uids_of_set(&set("1:*")).is_empty());
        assert_eq!(m.uids_of_set(&set("8:*")).to_string(), "20,30");
        assert_eq!(m.uids_of_set(&set("900:*")).to_string(), "30", "RFC 3501 s.9: the last message, always");
        assert_eq!(m.uids_of_set(&set("8:19")).to_string(), "");
    }

    #[test]
    fn the_largest_numbers() {
        let mut m = UidMap::default();
        let mut uids = Runs::default();
        uids.add(1, u32::MAX);
        m.append_runs(&uids);
        assert_eq!(m.exists(), u32::MAX);
        assert_eq!(m.last_uid().map(Uid::get), Some(u32::MAX));
        m.append(Uid::new(7));
        assert_eq!(m.exists(), u32::MAX, "nothing comes after the largest UID");
        let mut tail = Runs::default();
        tail.add(u32::MAX - 1, u32::MAX);
        assert_eq!(m.remove(&tail).len(), 2);
        assert_eq!(m.exists(), u32::MAX - 2);
    }

    #[test]
    fn a_copy_shares_and_does_not_change() {
        let mut m = map(&[1, 2, 3]);
        let told = m.clone();
        assert!(Arc::ptr_eq(&m.runs, &told.runs));
        m.remove(&[2].into_iter().collect());
        assert_eq!((m.exists(), told.exists()), (2, 3));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Append(Vec<u32>),
        Remove(Vec<u32>),
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(ops in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(1u32..5, 1..20).prop_map(Op::Append),
                proptest::collection::vec(1u32..120, 1..20).prop_map(Op::Remove),
            ], 1..12)) {
            let mut map = UidMap::default();
            let mut model: Vec<u32> = Vec::new();
            for op in ops {
                match op {
                    Op::Append(steps) => {
                        let mut last = model.last().copied().unwrap_or(0).max(map.last_uid().map_or(0, Uid::get));
                        for step in steps {
                            last += step;
                            model.push(last);
                            map.append(Uid::new(last));
                        }
                    }
                    Op::Remove(uids) => {
                        let told = map.remove(&uids.iter().copied().collect());
                        // A client that takes the numbers one by one ends with the same messages.
                        let mut client = model.clone();
                        for seq in told {
                            client.remove(seq.get() as usize - 1);
                        }
                        model.retain(|u| !uids.contains(u));
                        prop_assert_eq!(&client, &model);
                    }
                }
                prop_assert_eq!(map.exists() as usize, model.len());
                prop_assert_eq!(map.all().iter().collect::<Vec<_>>(), model.clone());
                for (i, &u) in model.iter().enumerate() {
                    let (seq, uid) = (SeqNum::new(i as u32 + 1).unwrap(), Uid::new(u).unwrap());
                    prop_assert_eq!(map.uid(seq), Some(uid));
                    prop_assert_eq!(map.seq(uid), Some(seq));
                }
                prop_assert_eq!(map.uid(SeqNum::new(model.len() as u32 + 1).unwrap()), None);
                for u in 1..150 {
                    let uid = Uid::new(u).unwrap();
                    prop_assert_eq!(map.seq(uid).is_some(), model.contains(&u));
                }
            }
        }

        #[test]
        fn sets_agree_with_a_plain_list(
            uids in proptest::collection::btree_set(1u32..80, 0..40),
            asked in proptest::collection::vec((1u32..90, 0u32..12), 0..8),
        ) {
            let plain: Vec<u32> = uids.iter().copied().collect();
            let map = UidMap::from_rising(plain.iter().filter_map(|&n| Uid::new(n)));
            let mut runs = Runs::default();
            for (a, n) in asked {
                runs.add(a, a + n);
            }
            let want: Vec<u32> = plain.iter().copied().filter(|&u| runs.contains(u)).collect();
            prop_assert_eq!(map.present(&runs).iter().collect::<Vec<_>>(), want.clone());
            let numbered: Vec<(u32, u32)> = map.numbered(&runs).map(|(s, u)| (s.get(), u.get())).collect();
            let model: Vec<(u32, u32)> = want
                .iter()
                .map(|u| (plain.iter().position(|p| p == u).unwrap() as u32 + 1, *u))
                .collect();
            prop_assert_eq!(numbered, model);
            let by_number: Vec<u32> =
                runs.iter().filter_map(|n| plain.get(n as usize - 1).copied()).collect();
            prop_assert_eq!(map.uids_of_numbers(&runs).iter().collect::<Vec<_>>(), by_number);
            prop_assert_eq!(UidMap::from_runs(&map.all()), map);
        }
    }
}
