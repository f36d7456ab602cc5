//! A compacted segment's file: what survived of a main segment, found by the ordinals that it always had.
//!
//! ```text
//! 0 magic "PFCOMP01" · 8 format u32 · 12 number u32 · 16 generation u32 · 20 zero u32 · 24 last group's number u64
//! 32 end of the survivors u64 · 40 end of the notes u64 · 48 entries u64 · 56 crc32c of the table u32 · zeros
//! 4092 crc32c of the 4092 octets before
//! 4096 the segment's own first page, as it was
//! 8192 survivors: records, octet for octet · then notes for a salvage: records that say where each message is now
//! then the table: ordinal u32 and place u32 (in units of 8 octets) of each survivor, ordinals rising
//! ```
//!
//! The first page is written last, before the one sync that counts; the file gets its name only then.

use std::io;

use crate::codec::{Put, Take};
use crate::group::BORDER;
use crate::segment::{self, Bad};
use crate::vfs::{File, read_full};

const MAGIC: &[u8; 8] = b"PFCOMP01";
const FORMAT: u32 = 1;
const PAGE: usize = BORDER as usize;
/// Where the survivors begin.
pub(crate) const RECORDS: u64 = 2 * BORDER;
/// Octets of a table's entry.
const ENTRY: usize = 8;

/// The first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) number: u32,
    /// 2 for the first compaction; the segment as written is the first generation.
    pub(crate) generation: u32,
    /// The segment's groups end with this one: a snapshot that is not older is needed to do without them.
    pub(crate) last_seq: u64,
    pub(crate) records_end: u64,
    pub(crate) notes_end: u64,
    pub(crate) entries: u64,
    pub(crate) table_crc: u32,
}

impl Front {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(PAGE);
        to.extend_from_slice(MAGIC);
        to.u32(FORMAT);
        to.u32(self.number);
        to.u32(self.generation);
        to.u32(0);
        to.u64(self.last_seq);
        to.u64(self.records_end);
        to.u64(self.notes_end);
        to.u64(self.entries);
        to.u32(self.table_crc);
        segment::seal(to)
    }

    pub(crate) fn decode(page: &[u8]) -> Result<Front, Bad> {
        Front::fields(&mut segment::sealed(page, MAGIC, FORMAT)?).ok_or(Bad::Damaged)
    }

    fn fields(take: &mut Take<'_>) -> Option<Front> {
        let (number, generation) = (take.u32()?, take.u32()?);
        take.u32()?;
        Some(Front {
            number,
            generation,
            last_seq: take.u64()?,
            records_end: take.u64()?,
            notes_end: take.u64()?,
            entries: take.u64()?,
            table_crc: take.u32()?,
        })
    }

    /// Octets of the whole file.
    pub(crate) fn len(&self) -> Option<u64> {
        self.entries.checked_mul(ENTRY as u64)?.checked_add(self.notes_end)
    }
}

/// Where each survivor lies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Ordinal, and place in units of 8 octets; ordinals rise.
    list: Vec<(u32, u32)>,
}

impl Places {
    pub(crate) fn new(list: Vec<(u32, u32)>) -> Places {
        debug_assert!(list.is_sorted_by(|a, b| a.0 < b.0), "each ordinal once, in order");
        Places { list }
    }

    /// The offset in the file of the record that has this ordinal; `None` if it did not survive.
    pub(crate) fn offset(&self, ordinal: u32) -> Option<u64> {
        let at = self.list.binary_search_by_key(&ordinal, |e| e.0).ok()?;
        self.list.get(at).map(|&(_, place)| u64::from(place) * 8)
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Each survivor's ordinal and offset in the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.list.iter().map(|&(ordinal, place)| (ordinal, u64::from(place) * 8))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(self.list.len() * ENTRY);
        for &(ordinal, place) in &self.list {
            to.u32(ordinal);
            to.u32(place);
        }
        to
    }

    fn decode(octets: &[u8]) -> Option<Places> {
        let mut take = Take::new(octets);
        let mut list = Vec::with_capacity(octets.len() / ENTRY);
        while !take.is_empty() {
            list.push((take.u32()?, take.u32()?));
        }
        list.is_sorted_by(|a, b| a.0 < b.0).then_some(Places { list })
    }
}

/// What a compacted segment's file says of itself, its own pages and table checked.
#[derive(Debug)]
pub(crate) struct Compacted {
    pub(crate) front: Front,
    pub(crate) header: segment::Header,
    pub(crate) places: Places,
}

/// Reads the two pages and the table. `Damaged` unless they are whole and belong together.
pub(crate) fn open(file: &dyn File, number: u32) -> io::Result<Result<Compacted, Bad>> {
    let mut pages = vec![0; RECORDS as usize];
    let read = read_full(file, &mut pages, 0)?;
    let (front, own) = pages[..read].split_at(read.min(PAGE));
    let (front, header) = match (Front::decode(front), segment::Header::decode(own)) {
        (Ok(front), Ok(header)) => (front, header),
        (Err(bad), _) | (_, Err(bad)) => return Ok(Err(bad)),
    };
    let whole = front.number == number
        && header.number == number
        && RECORDS <= front.records_end
        && front.records_end <= front.notes_end
        && front.len() == Some(file.len()?);
    let length = front.entries.checked_mul(ENTRY as u64).and_then(|n| usize::try_from(n).ok());
    let Some(length) = length.filter(|_| whole) else { return Ok(Err(Bad::Damaged)) };
    let mut table = vec![0; length];
    let read = read_full(file, &mut table, front.notes_end)?;
    if read < length || crc32c::crc32c(&table) != front.table_crc {
        return Ok(Err(Bad::Damaged));
    }
    Ok(match Places::decode(&table) {
        Some(places) => Ok(Compacted { front, header, places }),
        None => Err(Bad::Damaged),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front() -> Front {
        Front {
            number: 5,
            generation: 2,
            last_seq: 77,
            records_end: 8192 + 24,
            notes_end: 8192 + 48,
            entries: 3,
            table_crc: 9,
        }
    }

    #[test]
    fn a_first_page_comes_back_and_no_other() {
        let mut page = front().encode();
        assert_eq!(page.len(), PAGE);
        assert_eq!(&page[..24], b"PFCOMP01\x01\0\0\0\x05\0\0\0\x02\0\0\0\0\0\0\0");
        assert_eq!(Front::decode(&page), Ok(front()));
        assert_eq!(front().len(), Some(8192 + 48 + 24));
        for at in (0..PAGE).step_by(7) {
            page[at] ^= 1;
            assert_eq!(Front::decode(&page), Err(Bad::Damaged));
            page[at] ^= 1;
        }
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..PAGE - 4]).to_le_bytes();
        page[PAGE - 4..].copy_from_slice(&crc);
        assert_eq!(Front::decode(&page), Err(Bad::Newer(2)));
    }

    #[test]
    fn a_survivor_is_found_by_its_ordinal() {
        let places = Places::new(vec![(512, 1024), (700, 1040), (9000, 1041)]);
        assert_eq!(
            Places::decode(&places.encode()),
            Some(Places::new(vec![(512, 1024), (700, 1040), (9000, 1041)]))
        );
        assert_eq!((places.offset(700), places.offset(701), places.offset(0)), (Some(8320), None, None));
        assert_eq!(Places::decode(&[1; 12]), None);
        assert_eq!(Places::decode(&[1; 16]), None, "the same ordinal twice");
    }
}
