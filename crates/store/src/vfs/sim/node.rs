//! Files and directories of the simulated disk: what a process sees, what is on the platter, and what lies between.

use super::rng::Rng;
use std::collections::BTreeMap;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

pub(super) type Ino = u64;

/// How much of what was not synced is on the platter after the power went.
#[derive(Clone, Copy, Debug)]
enum Luck {
    /// Nothing.
    None,
    /// All.
    All,
    /// Each change or sector by itself, at so many percent: any order, any subset.
    Each(u64),
    /// The first so many changes, the next one in part.
    First(usize),
}

impl Luck {
    fn of(rng: &mut Rng, changes: usize) -> Luck {
        match rng.below(6) {
            0 | 1 => Luck::None,
            2 => Luck::All,
            3 => Luck::First(rng.index(changes + 1)),
            _ => Luck::Each(1 + rng.below(99)),
        }
    }

    fn keeps(self, rng: &mut Rng, change: usize) -> bool {
        match self {
            Luck::None => false,
            Luck::All => true,
            Luck::Each(percent) => rng.chance(percent),
            Luck::First(n) => change < n || change == n && rng.chance(50),
        }
    }
}

#[derive(Clone, Debug)]
enum Dirty {
    /// Whole sectors as they were in the page cache after the write; the last may be cut by the end of the file.
    Sectors(usize, Vec<u8>),
    Len(usize),
}

/// A file's octets.
#[derive(Debug, Default)]
pub(super) struct FileNode {
    /// In the page cache: what a read gives.
    pub(super) view: Vec<u8>,
    platter: Vec<u8>,
    dirty: Vec<Dirty>,
    /// What is written to it becomes something else on the way.
    pub(super) garbled: bool,
}

impl FileNode {
    pub(super) fn write(&mut self, at: usize, octets: &[u8]) {
        let end = at + octets.len();
        if end > self.view.len() {
            resize(&mut self.view, end);
            self.dirty.push(Dirty::Len(end));
        }
        self.view[at..end].copy_from_slice(octets);
        let from = at / SECTOR * SECTOR;
        let to = end.next_multiple_of(SECTOR).min(self.view.len());
        self.dirty.push(Dirty::Sectors(from, self.view[from..to].to_vec()));
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len != self.view.len() {
            resize(&mut self.view, len);
            self.dirty.push(Dirty::Len(len));
        }
    }

    pub(super) fn sync(&mut self) {
        let mut rng = Rng::new(0);
        self.platter = self.settled(&mut rng, Luck::All);
        self.dirty.clear();
    }

    /// What Linux does when a page cannot be written: it reports that once, calls the page clean, and a later sync
    /// finds nothing to do. Whether a read still sees it depends on whether the page was evicted since.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        let luck = Luck::of(rng, self.dirty.len());
        self.platter = self.settled(rng, luck);
        self.dirty.clear();
        if rng.chance(50) {
            self.view.clone_from(&self.platter);
        }
    }

    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        if !self.dirty.is_empty() {
            let luck = Luck::of(rng, self.dirty.len());
            self.platter = self.settled(rng, luck);
            self.dirty.clear();
        }
        self.view.clone_from(&self.platter);
    }

    /// Changes octets where they lie, as a failing disk does: neither a write nor a sync is needed for it.
    pub(super) fn rot(&mut self, at: usize, change: impl Fn(&mut u8)) {
        for image in [&mut self.view, &mut self.platter] {
            if let Some(octet) = image.get_mut(at) {
                change(octet);
            }
        }
    }

    /// The platter after a part of the changes reached it.
    fn settled(&self, rng: &mut Rng, luck: Luck) -> Vec<u8> {
        let mut image = self.platter.clone();
        let mut len = image.len();
        for (i, change) in self.dirty.iter().enumerate() {
            match change {
                Dirty::Len(to) if luck.keeps(rng, i) => {
                    len = *to;
                    image.truncate(len);
                }
                Dirty::Len(_) => {}
                Dirty::Sectors(from, octets) => {
                    for (n, sector) in octets.chunks(SECTOR).enumerate() {
                        let at = from + n * SECTOR;
                        if luck.keeps(rng, i) {
                            if image.len() < at + sector.len() {
                                image.resize(at + sector.len(), 0);
                            }
                            image[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        // Sectors beyond the length that got there have no place in the file.
        resize(&mut image, len);
        image
    }
}

/// `Vec::resize` with zeros, which takes its time over megabytes in a build without optimisation.
fn resize(octets: &mut Vec<u8>, len: usize) {
    if len <= octets.len() {
        octets.truncate(len);
        octets.shrink_to_fit();
    } else {
        let mut longer = vec![0; len];
        longer[..octets.len()].copy_from_slice(octets);
        *octets = longer;
    }
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, Ino),
    Unlink(String),
    Rename(String, String, Ino),
}

/// A directory's names.
#[derive(Debug, Default)]
pub(super) struct DirNode {
    /// What a process sees.
    pub(super) view: BTreeMap<String, Ino>,
    platter: BTreeMap<String, Ino>,
    changes: Vec<Change>,
}

impl DirNode {
    pub(super) fn link(&mut self, name: &str, ino: Ino) {
        self.view.insert(name.to_owned(), ino);
        self.changes.push(Change::Link(name.to_owned(), ino));
    }

    pub(super) fn unlink(&mut self, name: &str) {
        self.view.remove(name);
        self.changes.push(Change::Unlink(name.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, ino: Ino) {
        self.view.remove(from);
        self.view.insert(to.to_owned(), ino);
        self.changes.push(Change::Rename(from.to_owned(), to.to_owned(), ino));
    }

    pub(super) fn sync(&mut self) {
        self.platter.clone_from(&self.view);
        self.changes.clear();
    }

    /// Each change is there or not, a rename whole: as if the file system had no journal, which is the worst that the
    /// rules of POSIX allow; often only the first few, as a journal would have it.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        let luck = Luck::of(rng, self.changes.len());
        for (i, change) in std::mem::take(&mut self.changes).into_iter().enumerate() {
            if !luck.keeps(rng, i) {
                continue;
            }
            match change {
                Change::Link(name, ino) => {
                    self.platter.insert(name, ino);
                }
                Change::Unlink(name) => {
                    self.platter.remove(&name);
                }
                Change::Rename(from, to, ino) => {
                    if self.platter.get(&from) == Some(&ino) {
                        self.platter.remove(&from);
                    }
                    self.platter.insert(to, ino);
                }
            }
        }
        self.view.clone_from(&self.platter);
    }
}

#[derive(Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}
