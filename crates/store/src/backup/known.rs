//! Which files a backup directory has, so that they need not be copied: by path, length and mark, never by name alone.

use std::collections::HashMap;
use std::io;

use super::list::Part;
use super::manifest::Entry;
use crate::vfs::File;

/// Files that are in the backup directory, whole.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By path; those of the newest backup first.
    by_path: HashMap<String, Vec<Entry>>,
}

impl Known {
    pub(super) fn of(entries: impl Iterator<Item = Entry>, there: &HashMap<String, u64>) -> Known {
        let mut known = Known::default();
        for entry in entries.filter(|entry| there.get(&entry.name) == Some(&entry.len())) {
            known.by_path.entry(entry.path.clone()).or_default().push(entry);
        }
        known
    }

    pub(super) fn of_path(&self, path: &str) -> &[Entry] {
        self.by_path.get(path).map_or(&[], Vec::as_slice)
    }

    fn whole(&self, part: &Part) -> Option<&Entry> {
        let same = |e: &&Entry| (e.from, e.to, e.mark) == (0, part.len, part.mark);
        self.of_path(&part.path).iter().find(same)
    }

    pub(super) fn has(&self, part: &Part) -> bool {
        self.whole(part).is_some()
    }

    /// Pieces of a growing file, one behind the other from its front, that are what the file holds now: as far as any
    /// backup goes.
    pub(super) fn pieces(&self, part: &Part, file: &dyn File) -> io::Result<Vec<Entry>> {
        let Some(grows) = part.grows else { return Ok(self.whole(part).cloned().into_iter().collect()) };
        let entries = self.of_path(&part.path);
        let mut pieces: Vec<Entry> = Vec::new();
        'next: loop {
            let at = pieces.last().map_or(0, |last| last.to);
            for entry in entries.iter().filter(|e| e.from == at && e.to > at && e.to <= part.len) {
                let same = if entry.to == part.len {
                    entry.mark == part.mark
                } else {
                    grows.had(file, entry.to, entry.mark)?
                };
                if same {
                    pieces.push(entry.clone());
                    continue 'next;
                }
            }
            return Ok(pieces);
        }
    }
}
