//! What has vanished from a mailbox, and when: the last runs of UIDs, and the floor below which nothing is known.
//!
//! Correctness never rests on it: below the floor the asker is told that the list is not complete.

use std::sync::Arc;

use wire::ids::{ModSeq, Runs};

use crate::codec::{Put, Take};

/// Runs kept at least (a little more, so that whole chunks can be dropped).
const KEPT: usize = 10_000;
/// Runs in a chunk: 16 octets each, so that a chunk is one small value of the index.
const CHUNK: usize = 128;

/// Runs in the order in which they vanished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    runs: Vec<(u64, u32, u32)>,
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vanished {
    /// All but the last are full.
    chunks: Arc<Vec<Arc<Chunk>>>,
    /// The number of the first chunk kept; numbers only rise.
    first: u32,
    /// What vanished at or before this may be forgotten.
    floor: u64,
}

impl Chunk {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(self.runs.len() * 16);
        for &(modseq, from, until) in &self.runs {
            to.u64(modseq);
            to.u32(from);
            to.u32(until);
        }
        to
    }
    pub(crate) fn decode(octets: &[u8]) -> Option<Chunk> {
        let mut take = Take::new(octets);
        let mut runs = Vec::new();
        while !take.is_empty() {
            let run = (take.u64()?, take.u32()?, take.u32()?);
            if run.1 == 0 || run.1 > run.2 {
                return None;
            }
            runs.push(run);
        }
        Some(Chunk { runs })
    }
}

impl Vanished {
    /// As it was kept: chunks with rising numbers, and the floor.
    pub(crate) fn from_parts(floor: u64, first: u32, chunks: Vec<Arc<Chunk>>) -> Vanished {
        Vanished { chunks: Arc::new(chunks), first, floor }
    }
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }
    pub(crate) fn first(&self) -> u32 {
        self.first
    }
    /// Chunks with their numbers.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u32, &Arc<Chunk>)> {
        (self.first..).zip(self.chunks.iter())
    }

    /// Adds what vanished with a commit.
    pub(crate) fn add(&mut self, at: ModSeq, uids: &Runs) {
        let chunks = Arc::make_mut(&mut self.chunks);
        for &(from, until) in uids.as_slice() {
            if chunks.last().is_none_or(|c| c.runs.len() >= CHUNK) {
                chunks.push(Arc::default());
            }
            if let Some(last) = chunks.last_mut() {
                Arc::make_mut(last).runs.push((at.0, from, until));
            }
        }
        let spare = chunks.len().saturating_sub(KEPT.div_ceil(CHUNK) + 1);
        for chunk in chunks.drain(..spare) {
            self.first += 1;
            self.floor = self.floor.max(chunk.runs.last().map_or(0, |r| r.0));
        }
    }

    /// Forgets all that vanished up to now.
    pub(crate) fn forget(&mut self, at: ModSeq) {
        self.first = self.first.saturating_add(self.chunks.len() as u32);
        self.chunks = Arc::default();
        self.floor = self.floor.max(at.0);
    }

    /// What vanished after a mod-sequence, and whether that is all of it.
    pub(crate) fn since(&self, since: ModSeq) -> (Runs, bool) {
        let from = self.chunks.partition_point(|c| c.runs.last().is_some_and(|r| r.0 <= since.0));
        let mut runs: Vec<(u32, u32)> = self.chunks[from..]
            .iter()
            .flat_map(|c| c.runs.iter())
            .filter(|r| r.0 > since.0)
            .map(|&(_, from, until)| (from, until))
            .collect();
        runs.sort_unstable();
        let mut set = Runs::default();
        runs.into_iter().for_each(|(from, until)| set.add(from, until));
        (set, since.0 >= self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_the_floor_says_so() {
        let mut vanished = Vanished::default();
        for n in 1..=20_000u32 {
            // Every other UID, so that runs do not merge.
            vanished.add(ModSeq(u64::from(n)), &[n * 2].into_iter().collect());
        }
        assert!(vanished.floor() > 9_000 && vanished.floor() <= 10_000, "{}", vanished.floor());
        let (_, complete) = vanished.since(ModSeq(vanished.floor() - 1));
        assert!(!complete);
        let (runs, complete) = vanished.since(ModSeq(vanished.floor()));
        assert!(complete);
        assert_eq!(runs.count(), 20_000 - vanished.floor());
        let (runs, complete) = vanished.since(ModSeq(19_998));
        assert_eq!((runs.to_string().as_str(), complete), ("39998,40000", true));
        let kept: Vec<_> =
            vanished.chunks().map(|(_, c)| Arc::new(Chunk::decode(&c.encode()).unwrap())).collect();
        let again = Vanished::from_parts(vanished.floor(), vanished.first(), kept);
        assert_eq!(again.since(ModSeq(15_000)), vanished.since(ModSeq(15_000)));
    }
}
