//! What is in the data directory: the log's files, their first pages, and whether any is missing.

use std::sync::Arc;

use super::OpenError;
use super::epoch::RESTORING;
use crate::compact;
use crate::compact::format::Front;
use crate::group::BORDER;
use crate::segment::{self, Bad, DIR, Header, Kind, Known, generation_path, main_path, parse_name};
use crate::shared::at;
use crate::vfs::{File, Open, Vfs, read_full};

/// A main segment.
#[derive(Debug)]
pub(crate) struct Main {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn File>,
    pub(crate) len: u64,
    /// If it is compacted: its groups are gone, and this was the last of them.
    pub(crate) compacted: Option<Front>,
}

impl Main {
    /// As readers are to know it.
    pub(crate) fn known(&self) -> Known {
        Known { tag: self.header.epoch.tag, generation: self.compacted.map_or(1, |front| front.generation) }
    }
}

/// The log's files.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of their numbers.
    pub(crate) mains: Vec<Main>,
    pub(crate) sides: Vec<u32>,
    /// Files of generations that a newer one stands for.
    pub(crate) superseded: Vec<String>,
}

impl Found {
    /// Whether a replay from its first segment gives everything: it is where the log once began, as it was written. Change
    /// records go from a log only when two snapshots hold what they did; then a snapshot is the only beginning.
    pub(crate) fn is_whole(&self) -> bool {
        self.mains.first().is_some_and(|first| first.header.previous == 0 && first.header.seq == 1)
            && self.mains.iter().all(|main| main.compacted.is_none())
    }
}

/// Lists and reads, changes nothing. `how` says whether main segments may be written afterwards.
pub(crate) fn look(vfs: &dyn Vfs, how: Open) -> Result<Found, OpenError> {
    let mut found = Found::default();
    if vfs.exists(RESTORING).map_err(at(RESTORING))? {
        return Err(OpenError::HalfRestored);
    }
    if !vfs.exists(DIR).map_err(at("looking for the log"))? {
        return Ok(found);
    }
    let mut names: Vec<(u32, Kind)> =
        vfs.list(DIR).map_err(at("listing the log"))?.iter().filter_map(|n| parse_name(n)).collect();
    // The newest generation of a number comes first.
    names.sort_unstable_by_key(|&(number, kind)| (number, std::cmp::Reverse(kind)));
    for (number, kind) in names {
        match kind {
            Kind::Side => found.sides.push(number),
            Kind::Main(generation) if found.mains.last().is_some_and(|m| m.header.number == number) => {
                // A generation gets its name when it is durable.
                found.superseded.push(generation_path(number, generation));
            }
            Kind::Main(generation) => found.mains.push(main(vfs, number, generation, how)?),
        }
    }
    complete(&found)?;
    Ok(found)
}

/// Reads a main segment's first pages.
fn main(vfs: &dyn Vfs, number: u32, generation: u32, how: Open) -> Result<Main, OpenError> {
    let path = generation_path(number, generation);
    let file = vfs.open(&path, how).map_err(at(&path))?;
    let len = file.len().map_err(at(&path))?;
    let read = if generation > 1 {
        let opened = compact::format::open(&*file, number).map_err(at(&path))?;
        opened.map(|compacted| (compacted.header, Some(compacted.front)))
    } else {
        let mut page = vec![0; BORDER as usize];
        let read = read_full(&*file, &mut page, 0).map_err(at(&path))?;
        segment::Header::decode(&page[..read]).map(|header| (header, None))
    };
    match read {
        Ok((header, compacted)) if header.number == number => Ok(Main { header, file, len, compacted }),
        Err(Bad::Newer(format)) => Err(OpenError::Newer(format!("{path} has format {format}"))),
        _ => Err(OpenError::Missing(format!("{path} has no readable first page"))),
    }
}

/// Every main segment names the one before it; the first names none.
fn complete(found: &Found) -> Result<(), OpenError> {
    let mut before = 0;
    for main in &found.mains {
        if main.header.previous != before {
            let missing = main_path(main.header.previous);
            return Err(OpenError::Missing(match main.header.previous {
                0 => format!("{} begins a log that has already begun", main_path(main.header.number)),
                _ => format!("{missing} is not there"),
            }));
        }
        if main.header.store != found.mains[0].header.store {
            let path = main_path(main.header.number);
            return Err(OpenError::Missing(format!("{path} belongs to another store")));
        }
        before = main.header.number;
    }
    Ok(())
}
