//! What is in the data directory: the log's files, their first pages, and whether any is missing.

use std::sync::Arc;

use super::OpenError;
use crate::group::BORDER;
use crate::segment::{self, Bad, DIR, Header, main_path, parse_name};
use crate::shared::at;
use crate::vfs::{File, Open, Vfs, read_full};

/// A main segment.
#[derive(Debug)]
pub(crate) struct Main {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn File>,
    pub(crate) len: u64,
}

/// The log's files.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of their numbers.
    pub(crate) mains: Vec<Main>,
    pub(crate) sides: Vec<u32>,
}

impl Found {
    /// Whether a replay from its first segment gives everything: it is where the log once began, as it was written. Change
    /// records go from a log only when two snapshots hold what they did; then a snapshot is the only beginning.
    pub(crate) fn is_whole(&self) -> bool {
        self.mains.first().is_some_and(|first| first.header.previous == 0 && first.header.seq == 1)
    }
}

/// Lists and reads, changes nothing. `how` says whether main segments may be written afterwards.
pub(crate) fn look(vfs: &dyn Vfs, how: Open) -> Result<Found, OpenError> {
    let mut found = Found::default();
    if !vfs.exists(DIR).map_err(at("looking for the log"))? {
        return Ok(found);
    }
    let mut names: Vec<(u32, bool)> =
        vfs.list(DIR).map_err(at("listing the log"))?.iter().filter_map(|n| parse_name(n)).collect();
    names.sort_unstable();
    for (number, main) in names {
        if !main {
            found.sides.push(number);
            continue;
        }
        let path = main_path(number);
        let file = vfs.open(&path, how).map_err(at(&path))?;
        let mut page = vec![0; BORDER as usize];
        let read = read_full(&*file, &mut page, 0).map_err(at(&path))?;
        let len = file.len().map_err(at(&path))?;
        let header = match segment::Header::decode(&page[..read]) {
            Ok(header) if header.number == number => header,
            Err(Bad::Newer(format)) => return Err(OpenError::Newer(format!("{path} has format {format}"))),
            _ => return Err(OpenError::Missing(format!("{path} has no readable first page"))),
        };
        found.mains.push(Main { header, file, len });
    }
    complete(&found)?;
    Ok(found)
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
