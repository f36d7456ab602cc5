//! Where the disk has failed since the store was opened: which file, how often, since when. For people, who can do
//! something about it; nothing here decides anything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::UnixTime;
use crate::options::Clock;

/// At most so many files are listed: a disk that dies takes them all.
const FILES: usize = 100;

/// A file that the disk failed to read, write or sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// The file, in the data directory.
    pub file: String,
    /// How often.
    pub count: u64,
    /// When it first happened.
    pub since: UnixTime,
    /// What happened last.
    pub what: String,
}

/// The list.
#[derive(Default)]
pub(crate) struct Troubles {
    clock: Option<Arc<dyn Clock>>,
    list: Mutex<BTreeMap<String, DiskError>>,
}

impl fmt::Debug for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Troubles").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Troubles {
    /// An empty one, of a store with this clock.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Troubles {
        Troubles { clock: Some(clock), list: Mutex::default() }
    }

    /// The disk failed.
    pub(crate) fn note(&self, file: impl Into<String>, what: impl fmt::Display) {
        let (file, what) = (file.into(), what.to_string());
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = list.get_mut(&file) {
            known.count += 1;
            known.what = what;
        } else if list.len() < FILES {
            let since = self.clock.as_ref().map(|clock| clock.wall()).unwrap_or_default();
            list.insert(file.clone(), DiskError { file, count: 1, since, what });
        }
    }

    pub(crate) fn list(&self) -> Vec<DiskError> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
