//! The files that octets are in: main segments in whatever generation, side segments, what an opening put aside.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::window::Window;
use crate::codec::Take;
use crate::compact::format::{self, RECORDS};
use crate::group::BORDER;
use crate::record::{self, HEADER};
use crate::segment::{self, DIR, Header, Kind, TMP, generation_path, parse_name, side_path};
use crate::vfs::{File, Open, Vfs, read_full};

/// Files kept open.
const HANDLES: usize = 64;
/// Octets of an entry of a compacted segment's table.
const ENTRY: u64 = 8;

/// A main segment's file and where its records lie.
#[derive(Clone, Debug)]
pub(crate) struct Main {
    pub(crate) path: String,
    pub(crate) file: Arc<dyn File>,
    /// Of a compacted one: as much of its table as can be believed.
    pub(crate) places: Option<Arc<BTreeMap<u32, u64>>>,
}

impl Main {
    pub(crate) fn place(&self, ordinal: u32) -> Option<u64> {
        match &self.places {
            None => Some(u64::from(ordinal) * 8),
            Some(places) => places.get(&ordinal).copied(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shelf {
    vfs: Arc<dyn Vfs>,
    /// Generations by number, the newest first.
    pub(crate) mains: BTreeMap<u32, Vec<u32>>,
    pub(crate) sides: BTreeMap<u32, String>,
    /// Torn ends that were cut off.
    pub(crate) torn: Vec<String>,
    open: HashMap<(u32, u32), Main>,
}

impl Shelf {
    /// Lists what there is. A directory that cannot be listed has nothing in it; `say` is told.
    pub(crate) fn look(vfs: Arc<dyn Vfs>, say: &mut dyn FnMut(String)) -> Shelf {
        let mut shelf = Shelf {
            vfs,
            mains: BTreeMap::new(),
            sides: BTreeMap::new(),
            torn: Vec::new(),
            open: HashMap::new(),
        };
        let vfs = shelf.vfs.clone();
        let mut list = |dir: &str| {
            vfs.list(dir).unwrap_or_else(|error| {
                if error.kind() != io::ErrorKind::NotFound || dir == DIR {
                    say(format!("{dir}: cannot be listed: {error}"));
                }
                Vec::new()
            })
        };
        for name in list(TMP) {
            let lost = name.strip_prefix("lost-").and_then(parse_name);
            if let Some((number, Kind::Side)) = lost {
                shelf.sides.insert(number, format!("{TMP}/{name}"));
            } else if name.starts_with("torn-") {
                shelf.torn.push(format!("{TMP}/{name}"));
            }
        }
        for (number, kind) in list(DIR).iter().filter_map(|name| parse_name(name)) {
            match kind {
                Kind::Side => drop(shelf.sides.insert(number, side_path(number))),
                Kind::Main(generation) => shelf.mains.entry(number).or_default().push(generation),
            }
        }
        shelf.mains.values_mut().for_each(|g| g.sort_unstable_by_key(|&n| std::cmp::Reverse(n)));
        shelf
    }

    pub(crate) fn file(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.vfs.open(path, Open::Read)
    }

    /// A segment's own first page, from whatever generation has it whole.
    pub(crate) fn header(&self, number: u32) -> Option<Header> {
        self.mains.get(&number)?.iter().find_map(|&generation| {
            let file = self.file(&generation_path(number, generation)).ok()?;
            let mut page = vec![0; BORDER as usize];
            let at = if generation > 1 { BORDER } else { 0 };
            let read = read_full(&*file, &mut page, at).ok()?;
            segment::Header::decode(&page[..read]).ok().filter(|h| h.number == number)
        })
    }

    /// A main segment in a generation.
    pub(crate) fn main(&mut self, number: u32, generation: u32) -> io::Result<Main> {
        if let Some(main) = self.open.get(&(number, generation)) {
            return Ok(main.clone());
        }
        let path = generation_path(number, generation);
        let file = self.file(&path)?;
        let places = match generation {
            1 => None,
            _ => Some(Arc::new(places(&file, number)?)),
        };
        let main = Main { path, file, places };
        if self.open.len() >= HANDLES {
            self.open.clear();
        }
        self.open.insert((number, generation), main.clone());
        Ok(main)
    }
}

/// A compacted segment's table; of a damaged one, the entries at its end that lead to records.
fn places(file: &Arc<dyn File>, number: u32) -> io::Result<BTreeMap<u32, u64>> {
    if let Ok(compacted) = format::open(&**file, number)? {
        return Ok(compacted.places.iter().collect());
    }
    let mut window = Window::new(file.clone())?;
    let mut found = BTreeMap::new();
    let mut least = (u32::MAX, u64::MAX);
    let mut at = window.len / ENTRY * ENTRY;
    // A table has no beginning of its own: it is read backwards, up to the entry of the first survivor. What was wiped out
    // is passed over; anything else that is no entry ends it, since what lies before it may be a message.
    while let Some(before) = at.checked_sub(ENTRY).filter(|&before| before > RECORDS) {
        at = before;
        let Some(entry) = window.at(at, ENTRY)? else { break };
        let mut take = Take::new(entry);
        let (Some(ordinal), Some(place)) = (take.u32(), take.u32()) else { break };
        let place = u64::from(place) * 8;
        if (ordinal, place) == (0, 0) {
            continue;
        }
        let falls = ordinal < least.0 && place < least.1 && (RECORDS..at).contains(&place);
        let mut front = [0; HEADER];
        let is_record = falls
            && read_full(&**file, &mut front, place)? == HEADER
            && record::Header::read(&front).is_some();
        if !is_record {
            break;
        }
        least = (ordinal, place);
        found.insert(ordinal, place);
        if place == RECORDS {
            break;
        }
    }
    Ok(found)
}
