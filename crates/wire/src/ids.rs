//! Numbers that IMAP and the store speak of: UIDs, sequence numbers, mod-sequences, and sets of them.
//!
//! RFC 3501 s.2.3.1, s.9 (`sequence-set`), RFC 7162. A number is made only by a parser, the record reader or the
//! store's counters, never by `From<u32>`.

use std::fmt;
use std::num::NonZeroU32;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The first of its kind: 1.
            pub const FIRST: $name = $name(NonZeroU32::MIN);

            /// `None` for zero, which no protocol allows.
            #[must_use]
            pub const fn new(n: u32) -> Option<$name> {
                match NonZeroU32::new(n) {
                    Some(n) => Some($name(n)),
                    None => None,
                }
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0.get()
            }

            /// The next one; `None` when the 32 bits are used up.
            #[must_use]
            pub fn next(self) -> Option<$name> {
                self.0.checked_add(1).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Unique identifier of a message within a mailbox (RFC 3501 s.2.3.1.1). Never reused.
    Uid
}
number! {
    /// Unique identifier validity value of a mailbox (RFC 3501 s.2.3.1.1).
    UidValidity
}
number! {
    /// Message sequence number within a session's view of a mailbox (RFC 3501 s.2.3.1.2).
    SeqNum
}

/// A mod-sequence (RFC 7162 s.3.1): the store-wide number of the commit that last touched a row. 63 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModSeq(pub u64);

impl fmt::Display for ModSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One end of a range in a `sequence-set`: a number, or `*`, the largest in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqEnd {
    /// A number.
    Number(NonZeroU32),
    /// `*`.
    Largest,
}

/// A `sequence-set` as written by a client, not yet resolved against a mailbox (RFC 3501 s.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqSet {
    /// Ranges in the order given; a single number is a range with equal ends.
    pub ranges: Vec<(SeqEnd, SeqEnd)>,
}

impl SeqSet {
    /// The set as sorted, merged runs of plain numbers, `*` taken as `largest`.
    ///
    /// `largest` is the largest UID or sequence number in use; `None` for an empty mailbox, where `*` matches nothing.
    #[must_use]
    pub fn resolve(&self, largest: Option<NonZeroU32>) -> Runs {
        let end = |e: SeqEnd| match e {
            SeqEnd::Number(n) => Some(n.get()),
            SeqEnd::Largest => largest.map(NonZeroU32::get),
        };
        let mut runs = Runs::default();
        for &(a, b) in &self.ranges {
            if let (Some(a), Some(b)) = (end(a), end(b)) {
                runs.add(a.min(b), a.max(b));
            }
        }
        runs
    }
}

/// A set of numbers above zero as sorted, disjoint, inclusive runs; neighbours are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Runs(Vec<(u32, u32)>);

impl Runs {
    /// The runs, sorted, inclusive.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(a, b)| u64::from(b - a) + 1).sum()
    }

    /// Adds the inclusive run `a..=b`. Appending in rising order is O(1); elsewhere O(n).
    pub fn add(&mut self, a: u32, b: u32) {
        debug_assert!(a <= b && a > 0, "a run is rising and above zero");
        if let Some(last) = self.0.last_mut() {
            if a > last.1 {
                if a == last.1 + 1 {
                    last.1 = b;
                } else {
                    self.0.push((a, b));
                }
                return;
            }
        } else {
            self.0.push((a, b));
            return;
        }
        // Somewhere inside: merge with every run it touches.
        let from = self.0.partition_point(|&(_, e)| e.saturating_add(1) < a);
        let to = self.0.partition_point(|&(s, _)| s <= b.saturating_add(1));
        if from == to {
            self.0.insert(from, (a, b));
        } else {
            let merged = (a.min(self.0[from].0), b.max(self.0[to - 1].1));
            self.0.splice(from..to, [merged]);
        }
    }

    /// Adds one number.
    pub fn insert(&mut self, n: u32) {
        self.add(n, n);
    }

    /// Whether `n` is in it. O(log runs).
    #[must_use]
    pub fn contains(&self, n: u32) -> bool {
        let i = self.0.partition_point(|&(_, e)| e < n);
        self.0.get(i).is_some_and(|&(s, _)| s <= n)
    }

    /// Every number, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|&(a, b)| a..=b)
    }
}

impl FromIterator<u32> for Runs {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Runs {
        let mut runs = Runs::default();
        for n in numbers {
            runs.insert(n);
        }
        runs
    }
}

/// Printed as an IMAP `sequence-set`: `1:3,7`. An empty set prints nothing.
impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(a, b)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if a == b { write!(f, "{a}")? } else { write!(f, "{a}:{b}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn star_of_an_empty_mailbox_matches_nothing() {
        let set = SeqSet { ranges: vec![(SeqEnd::Number(NonZeroU32::MIN), SeqEnd::Largest)] };
        assert!(set.resolve(None).is_empty());
        assert_eq!(set.resolve(NonZeroU32::new(4)).to_string(), "1:4");
    }

    proptest! {
        #[test]
        fn runs_agree_with_a_plain_set(adds in proptest::collection::vec((1u32..60, 0u32..9), 0..30)) {
            let mut runs = Runs::default();
            let mut model = BTreeSet::new();
            for (a, n) in adds {
                runs.add(a, a + n);
                model.extend(a..=a + n);
            }
            prop_assert_eq!(runs.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(runs.count() as usize, model.len());
            for n in 0..80 {
                prop_assert_eq!(runs.contains(n), model.contains(&n));
            }
            for w in runs.as_slice().windows(2) {
                prop_assert!(w[0].1 + 1 < w[1].0, "neighbours are merged");
            }
        }
    }
}
