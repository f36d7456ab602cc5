//! Rows, and the blocks of up to 32 in which they live: the same octets in memory and in the index.
//!
//! A row is 44 octets. Keyword sets (128 bits) are rare and repeat, so a block lists those that it uses once each and a
//! row names one. A block never changes; a change makes another. Its layout, little-endian:
//!
//! ```text
//! 0 version u8 · 1 rows u8 · 2 sets u8 · 3 zero · 4 crc32c u32 of all from 8 on
//! 8 newest mod-sequence u64 · 16 rows · then sets, 16 octets each
//! row: 0 uid u32 · 4 mod-sequence u56, set u8 (0 none, n the n-th) · 12 size u32 · 16 date i40, flags u8, zone i16
//!      24 save date u32 · 28 segment u32 · 32 ordinal u32 · 36 thread u64
//! ```

use wire::flag::SystemFlags;
use wire::ids::{ModSeq, Uid};

use crate::id::{InternalDate, Location, ThreadId};

/// Rows in a full block.
pub const BLOCK_ROWS: usize = 32;
const HEADER: usize = 16;
const ROW: usize = 44;
const SET: usize = 16;
const VERSION: u8 = 1;
const MODSEQ_MASK: u64 = (1 << 56) - 1;

/// A message in a mailbox, without its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its UID.
    pub uid: Uid,
    /// The commit that last changed it.
    pub modseq: ModSeq,
    /// System flags.
    pub flags: SystemFlags,
    /// Keywords: bit n is the n-th of [`crate::View::keywords`].
    pub keywords: u128,
    /// RFC822.SIZE: prefix and body as served.
    pub size: u32,
    /// INTERNALDATE.
    pub date: InternalDate,
    /// When it came into this mailbox, in seconds since 1970 (RFC 8514 SAVEDATE).
    pub save_date: u32,
    /// Its conversation.
    pub thread: ThreadId,
    /// The record that says which octets it is: the same for all copies of one delivery.
    pub content: Location,
}

/// Up to 32 rows with rising UIDs.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    octets: Box<[u8]>,
}

fn u32_at(octets: &[u8], at: usize) -> u32 {
    octets.get(at..at + 4).and_then(|s| s.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(octets: &[u8], at: usize) -> u64 {
    octets.get(at..at + 8).and_then(|s| s.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl Block {
    /// Packs rows (1 to 32, UIDs rising).
    #[must_use]
    pub fn pack(rows: &[Row]) -> Block {
        debug_assert!(!rows.is_empty() && rows.len() <= BLOCK_ROWS, "a block has 1 to 32 rows");
        let mut sets: Vec<u128> = Vec::new();
        let mut octets = Vec::with_capacity(HEADER + rows.len() * ROW);
        octets.extend_from_slice(&[VERSION, rows.len().min(BLOCK_ROWS) as u8, 0, 0, 0, 0, 0, 0]);
        let newest = rows.iter().map(|r| r.modseq.0).max().unwrap_or(0);
        octets.extend_from_slice(&newest.to_le_bytes());
        for row in rows {
            let set = match row.keywords {
                0 => 0,
                k => match sets.iter().position(|&s| s == k) {
                    Some(i) => i + 1,
                    None => {
                        sets.push(k);
                        sets.len()
                    }
                },
            };
            octets.extend_from_slice(&row.uid.get().to_le_bytes());
            octets.extend_from_slice(&((row.modseq.0 & MODSEQ_MASK) | ((set as u64) << 56)).to_le_bytes());
            octets.extend_from_slice(&row.size.to_le_bytes());
            let date = row.date.unix.clamp(-(1 << 39), (1 << 39) - 1) as u64 & ((1 << 40) - 1);
            let zone = u64::from(row.date.zone_minutes as u16);
            octets.extend_from_slice(&(date | u64::from(row.flags.bits()) << 40 | zone << 48).to_le_bytes());
            octets.extend_from_slice(&row.save_date.to_le_bytes());
            octets.extend_from_slice(&row.content.segment.to_le_bytes());
            octets.extend_from_slice(&row.content.ordinal.to_le_bytes());
            octets.extend_from_slice(&row.thread.0.to_le_bytes());
        }
        for set in &sets {
            octets.extend_from_slice(&set.to_le_bytes());
        }
        octets[2] = sets.len() as u8;
        let crc = crc32c::crc32c(&octets[8..]);
        octets[4..8].copy_from_slice(&crc.to_le_bytes());
        Block { octets: octets.into() }
    }

    /// Takes a block's octets as kept; `None` unless they are whole and could have been packed.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Block> {
        let &[VERSION, rows @ 1..=32, sets @ 0..=32, 0, ..] = octets else { return None };
        let whole = HEADER + usize::from(rows) * ROW + usize::from(sets) * SET;
        if octets.len() != whole || u32_at(octets, 4) != crc32c::crc32c(&octets[8..]) {
            return None;
        }
        let block = Block { octets: octets.into() };
        let mut last = 0;
        for i in 0..block.len() {
            let at = HEADER + i * ROW;
            let uid = u32_at(octets, at);
            if uid <= last || u64_at(octets, at + 4) >> 56 > u64::from(sets) {
                return None;
            }
            last = uid;
        }
        Some(block)
    }

    /// The octets, to be kept.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.octets[1])
    }

    /// The highest mod-sequence of its rows.
    #[must_use]
    pub fn newest(&self) -> u64 {
        u64_at(&self.octets, 8)
    }

    /// The UID of row `i`; 0 beyond the last.
    #[must_use]
    pub fn uid_at(&self, i: usize) -> u32 {
        if i < self.len() { u32_at(&self.octets, HEADER + i * ROW) } else { 0 }
    }

    /// Row `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<Row> {
        if i >= self.len() {
            return None;
        }
        let row = self.octets.get(HEADER + i * ROW..HEADER + (i + 1) * ROW)?;
        let change = u64_at(row, 4);
        let dated = u64_at(row, 16);
        let keywords = match (change >> 56) as usize {
            0 => 0,
            n => {
                let at = HEADER + self.len() * ROW + (n - 1) * SET;
                self.octets.get(at..at + SET).and_then(|s| s.try_into().ok()).map_or(0, u128::from_le_bytes)
            }
        };
        Some(Row {
            uid: Uid::new(u32_at(row, 0))?,
            modseq: ModSeq(change & MODSEQ_MASK),
            flags: SystemFlags::from_bits((dated >> 40) as u8),
            keywords,
            size: u32_at(row, 12),
            // Shifted up and down again, so that the 40th bit is the sign.
            date: InternalDate { unix: ((dated << 24) as i64) >> 24, zone_minutes: (dated >> 48) as i16 },
            save_date: u32_at(row, 24),
            thread: ThreadId(u64_at(row, 36)),
            content: Location { segment: u32_at(row, 28), ordinal: u32_at(row, 32) },
        })
    }

    /// The first row whose UID is at least `uid`; `len` if there is none.
    #[must_use]
    pub fn lower_bound(&self, uid: u32) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.uid_at(middle) < uid { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        pub(crate) fn any_row()(uid in 1u32.., modseq in 0u64..1 << 56, flags in 0u8..32, k in prop::sample::select(vec![0u128, 1, 1 << 127, u128::MAX, 77]),
            size: u32, unix in -(1i64 << 39)..1 << 39, zone: i16, save_date: u32, thread: u64, segment: u32, ordinal: u32) -> Row {
            Row { uid: Uid::new(uid).unwrap(), modseq: ModSeq(modseq), flags: SystemFlags::from_bits(flags), keywords: k, size,
                date: InternalDate { unix, zone_minutes: zone }, save_date, thread: ThreadId(thread), content: Location { segment, ordinal } }
        }
    }

    fn rising(mut rows: Vec<Row>) -> Vec<Row> {
        rows.sort_by_key(|r| r.uid);
        rows.dedup_by_key(|r| r.uid);
        rows
    }

    proptest! {
        #[test]
        fn a_block_gives_back_its_rows(rows in prop::collection::vec(any_row(), 1..=32)) {
            let rows = rising(rows);
            let block = Block::pack(&rows);
            prop_assert_eq!(block.rows().collect::<Vec<_>>(), rows.clone());
            prop_assert_eq!(block.newest(), rows.iter().map(|r| r.modseq.0).max().unwrap());
            prop_assert!(block.octets().len() <= 4096);
            let again = Block::from_octets(block.octets());
            prop_assert_eq!(again.as_ref(), Some(&block));
            for (i, row) in rows.iter().enumerate() {
                prop_assert_eq!(block.lower_bound(row.uid.get()), i);
            }
        }

        #[test]
        fn a_changed_octet_is_seen(rows in prop::collection::vec(any_row(), 1..=4), at: prop::sample::Index, bit in 0u8..8) {
            let mut octets = Block::pack(&rising(rows)).octets().to_vec();
            let at = at.index(octets.len());
            octets[at] ^= 1 << bit;
            prop_assert!(Block::from_octets(&octets).is_none());
        }

        #[test]
        fn junk_is_no_block(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Block::from_octets(&junk).is_none());
        }
    }
}
