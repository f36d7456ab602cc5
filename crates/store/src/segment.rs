//! Segments: the files of the log, their names, their first page, and the handles through which they are read.
//!
//! A main segment is preallocated; its first page says which segment came before and where that one ends (what lies
//! beyond was in doubt and is nobody's). A compacted one (`crate::compact`) stands in its place. A side segment holds one large body (`crate::side`). Both share one sequence
//! of numbers; a location does not say which kind its segment is, the list of main segments does.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::{Put, Take};
use crate::compact;
use crate::compact::format::Places;
use crate::group::BORDER;
use crate::id::{MailboxId, UnixTime};
use crate::options::Sabotage;
use crate::read::ReadError;
use crate::state::block::Row;
use crate::trouble::Troubles;
use crate::vfs::{File, Open, Vfs};

/// The log's directory.
pub(crate) const DIR: &str = "log";
/// Where things are made before they have their name.
pub(crate) const TMP: &str = "tmp";
/// The format of main segments.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"PFSEGM01";
/// Handles kept open for reading.
const HANDLES: usize = 96;
const PAGE: usize = BORDER as usize;

/// A secret that keys the chain of groups, and the public tag that stands for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) secret: [u8; 16],
    pub(crate) tag: u32,
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Epoch({:08x})", self.tag)
    }
}

/// The first page of a main segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Which store; made once.
    pub(crate) store: u128,
    pub(crate) epoch: Epoch,
    pub(crate) number: u32,
    /// The main segment before; 0 for the first.
    pub(crate) previous: u32,
    /// Where that one's last good group ends.
    pub(crate) previous_end: u64,
    /// The first group's number.
    pub(crate) seq: u64,
    /// The chain of the group before.
    pub(crate) chain: u128,
    pub(crate) time: UnixTime,
}

/// Why a first page cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    Damaged,
    /// Written by a newer version.
    Newer(u32),
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(PAGE);
        to.extend_from_slice(MAGIC);
        to.u32(FORMAT);
        to.u32(self.number);
        to.u128(self.store);
        to.extend_from_slice(&self.epoch.secret);
        to.u32(self.epoch.tag);
        to.u32(self.previous);
        to.u64(self.previous_end);
        to.u64(self.seq);
        to.u128(self.chain);
        to.i64(self.time.secs);
        to.u32(self.time.nanos);
        seal(to)
    }

    pub(crate) fn decode(page: &[u8]) -> Result<Header, Bad> {
        Header::fields(&mut sealed(page, MAGIC, FORMAT)?).ok_or(Bad::Damaged)
    }

    fn fields(take: &mut Take<'_>) -> Option<Header> {
        Some(Header {
            number: take.u32()?,
            store: take.u128()?,
            epoch: Epoch { secret: take.slice(16)?.try_into().ok()?, tag: take.u32()? },
            previous: take.u32()?,
            previous_end: take.u64()?,
            seq: take.u64()?,
            chain: take.u128()?,
            time: UnixTime { secs: take.i64()?, nanos: take.u32()? },
        })
    }
}

/// The first page of a file of the log: its fields, zeros, and the CRC of both.
pub(crate) fn seal(mut fields: Vec<u8>) -> Vec<u8> {
    fields.resize(PAGE - 4, 0);
    let crc = crc32c::crc32c(&fields);
    fields.u32(crc);
    fields
}

/// What stands in such a page behind its magic number and its format.
pub(crate) fn sealed<'p>(page: &'p [u8], magic: &[u8; 8], format: u32) -> Result<Take<'p>, Bad> {
    let page = page.get(..PAGE).ok_or(Bad::Damaged)?;
    let (front, crc) = page.split_at(PAGE - 4);
    let mut take = Take::new(front);
    if crc != crc32c::crc32c(front).to_le_bytes() || take.slice(8) != Some(magic) {
        return Err(Bad::Damaged);
    }
    match take.u32().ok_or(Bad::Damaged)? {
        is if is == format => Ok(take),
        other => Err(Bad::Newer(other)),
    }
}

/// A main segment's path.
pub(crate) fn main_path(number: u32) -> String {
    format!("{DIR}/{number:08}.seg")
}

/// A side segment's path.
pub(crate) fn side_path(number: u32) -> String {
    format!("{DIR}/{number:08}.side")
}

/// A compacted main segment's path; generations begin with 2.
pub(crate) fn compacted_path(number: u32, generation: u32) -> String {
    format!("{DIR}/{number:08}.g{generation}")
}

/// A main segment's path in a generation; the first is the segment as it was written.
pub(crate) fn generation_path(number: u32, generation: u32) -> String {
    if generation > 1 { compacted_path(number, generation) } else { main_path(number) }
}

/// What a file of the log's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A main segment of this generation.
    Main(u32),
    Side,
}

/// What a name in the log's directory is: a segment's number and kind.
pub(crate) fn parse_name(name: &str) -> Option<(u32, Kind)> {
    let (number, kind) = name.split_once('.')?;
    if number.len() != 8 {
        return None;
    }
    let number = number.parse().ok().filter(|&n| n > 0)?;
    match kind {
        "seg" => Some((number, Kind::Main(1))),
        "side" => Some((number, Kind::Side)),
        kind => {
            let digits = kind.strip_prefix('g').filter(|n| !n.starts_with(['0', '+']))?;
            let generation = digits.parse().ok()?;
            (generation > 1).then_some((number, Kind::Main(generation)))
        }
    }
}

/// A main segment's file, open for reading, and where its records lie in it.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) file: Arc<dyn File>,
    /// Of a compacted one.
    places: Option<Arc<Places>>,
}

impl Opened {
    /// A segment as it was written.
    pub(crate) fn written(file: Arc<dyn File>) -> Opened {
        Opened { file, places: None }
    }

    /// A compacted one.
    pub(crate) fn compacted(file: Arc<dyn File>, places: Places) -> Opened {
        Opened { file, places: Some(Arc::new(places)) }
    }

    /// Where the record with this ordinal begins; `None` if it is not there any more.
    pub(crate) fn place(&self, ordinal: u32) -> Option<u64> {
        match &self.places {
            None => Some(u64::from(ordinal) * 8),
            Some(places) => places.offset(ordinal),
        }
    }
}

/// A main segment, as it is known without its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The tag of its epoch.
    pub(crate) tag: u32,
    pub(crate) generation: u32,
}

/// The log's files, as readers see them.
#[derive(Debug)]
pub(crate) struct Files {
    vfs: Arc<dyn Vfs>,
    pub(crate) sabotage: Sabotage,
    /// Told when something cannot be read.
    pub(crate) troubles: Arc<Troubles>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    mains: BTreeMap<u32, Known>,
    open: HashMap<u32, (u64, Opened)>,
    tick: u64,
    next: u32,
}

impl Files {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, sabotage: Sabotage, troubles: Arc<Troubles>) -> Files {
        Files { vfs, sabotage, troubles, inner: Mutex::new(Inner { next: 1, ..Inner::default() }) }
    }

    /// A segment's file could not be read, or holds something else than what was written.
    pub(crate) fn blame(&self, number: u32, error: &ReadError) {
        let path = self.path(number);
        match error {
            ReadError::Io(error) => self.troubles.note(path, error),
            ReadError::Damaged(_) => self.troubles.note(path, "its octets are not what was written"),
            ReadError::NoSuchMailbox | ReadError::Index(_) => {}
        }
    }

    /// A segment's path, of whatever kind and generation it is.
    pub(crate) fn path(&self, number: u32) -> String {
        match self.lock().mains.get(&number) {
            Some(known) => generation_path(number, known.generation),
            None => side_path(number),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a main segment known; whoever asks for it from now on gets it in this generation.
    pub(crate) fn add_main(&self, number: u32, known: Known, opened: Option<Opened>) {
        let mut inner = self.lock();
        inner.mains.insert(number, known);
        inner.next = inner.next.max(number.saturating_add(1));
        inner.open.remove(&number);
        if let Some(opened) = opened {
            inner.keep(number, opened);
        }
    }

    /// A side segment is about to be removed.
    pub(crate) fn forget(&self, number: u32) {
        self.lock().open.remove(&number);
    }

    /// Main segments, in the order of their numbers.
    pub(crate) fn mains(&self) -> Vec<(u32, Known)> {
        self.lock().mains.iter().map(|(&number, &known)| (number, known)).collect()
    }

    /// A number is in use.
    pub(crate) fn taken(&self, number: u32) {
        let mut inner = self.lock();
        inner.next = inner.next.max(number.saturating_add(1));
    }

    /// A number that no segment has.
    pub(crate) fn next_number(&self) -> io::Result<u32> {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next = number.checked_add(1).ok_or_else(|| io::Error::other("segment numbers are used up"))?;
        Ok(number)
    }

    /// The public tag of the epoch in which a main segment was written; 0 if it is not known.
    pub(crate) fn tag_of(&self, number: u32) -> u32 {
        self.lock().mains.get(&number).map_or(0, |known| known.tag)
    }

    /// See [`crate::Store::unique_id`].
    pub(crate) fn unique_id(&self, mailbox: MailboxId, row: &Row) -> String {
        format!("{:08x}.{:x}.{:x}", self.tag_of(row.content.segment), mailbox.0, row.uid.get())
    }

    /// Whether it is a main segment.
    pub(crate) fn is_main(&self, number: u32) -> bool {
        self.lock().mains.contains_key(&number)
    }

    /// A segment's file, for reading.
    pub(crate) fn file(&self, number: u32) -> io::Result<Opened> {
        loop {
            let known = {
                let mut inner = self.lock();
                inner.tick += 1;
                let tick = inner.tick;
                if let Some((used, opened)) = inner.open.get_mut(&number) {
                    *used = tick;
                    return Ok(opened.clone());
                }
                inner.mains.get(&number).copied()
            };
            let opened = self.open(number, known);
            let mut inner = self.lock();
            if inner.mains.get(&number).copied() != known {
                // It was compacted meanwhile.
                continue;
            }
            let opened = opened?;
            inner.keep(number, opened.clone());
            return Ok(opened);
        }
    }

    fn open(&self, number: u32, known: Option<Known>) -> io::Result<Opened> {
        let Some(Known { generation, .. }) = known else {
            return Ok(Opened::written(self.vfs.open(&side_path(number), Open::Read)?));
        };
        let path = generation_path(number, generation);
        let file = self.vfs.open(&path, Open::Read)?;
        if generation == 1 {
            return Ok(Opened::written(file));
        }
        match compact::format::open(&*file, number)? {
            Ok(compacted) => Ok(Opened::compacted(file, compacted.places)),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path} is damaged"))),
        }
    }
}

impl Inner {
    fn keep(&mut self, number: u32, opened: Opened) {
        if self.open.len() >= HANDLES {
            let oldest = self.open.iter().min_by_key(|(_, (used, _))| *used).map(|(&n, _)| n);
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
            }
        }
        self.tick += 1;
        self.open.insert(number, (self.tick, opened));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            store: 7,
            epoch: Epoch { secret: [9; 16], tag: 0xabcd },
            number: 4,
            previous: 2,
            previous_end: 12288,
            seq: 1000,
            chain: 55,
            time: UnixTime { secs: -1, nanos: 3 },
        }
    }

    #[test]
    fn a_first_page_comes_back_and_no_other() {
        let mut page = header().encode();
        assert_eq!(page.len(), PAGE);
        assert_eq!(&page[..16], b"PFSEGM01\x01\0\0\0\x04\0\0\0");
        assert_eq!(Header::decode(&page), Ok(header()));
        for at in (0..PAGE).step_by(7) {
            page[at] ^= 1;
            assert_eq!(Header::decode(&page), Err(Bad::Damaged));
            page[at] ^= 1;
        }
        assert_eq!(Header::decode(&page[..100]), Err(Bad::Damaged));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut page = header().encode();
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..PAGE - 4]).to_le_bytes();
        page[PAGE - 4..].copy_from_slice(&crc);
        assert_eq!(Header::decode(&page), Err(Bad::Newer(2)));
    }

    #[test]
    fn names_are_told_apart() {
        assert_eq!(parse_name("00000012.seg"), Some((12, Kind::Main(1))));
        assert_eq!(parse_name("00000012.g3"), Some((12, Kind::Main(3))));
        assert_eq!(parse_name("00000012.side"), Some((12, Kind::Side)));
        for name in [
            "12.seg",
            "00000012.g1",
            "00000012.g02",
            "00000012.g",
            "00000012.g+2",
            "00000000.seg",
            "0000001x.seg",
            "00000012.seg.new",
            "00000012",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
