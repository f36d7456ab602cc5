//! A disk under the recorded process: what is on the platter, and what the power may take away.
//!
//! What was synced stays. Of what was not, each sector of 512 octets, each length and each change of a directory is there
//! or not, in any order: the worst that POSIX allows, as if the file system had no journal. A rename within a directory is
//! whole; between two directories the new name and the end of the old one are two changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::trace::{Action, Inode, Octets, Step};
use crate::heavy::copy_file;

const SECTOR: usize = 512;

/// Numbers that follow from a seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// One of `0..below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }
}

/// How much of what was not synced is on the platter.
#[derive(Clone, Copy, Debug)]
enum Luck {
    None,
    All,
    /// Each by itself, at so many percent.
    Each(u64),
    /// The first so many changes, the next one in part.
    First(usize),
}

impl Luck {
    fn of(dice: &mut Dice, changes: usize) -> Luck {
        match dice.roll(6) {
            0 | 1 => Luck::None,
            2 => Luck::All,
            3 => Luck::First(dice.roll(changes as u64 + 1) as usize),
            _ => Luck::Each(1 + dice.roll(99)),
        }
    }

    fn keeps(self, dice: &mut Dice, change: usize) -> bool {
        match self {
            Luck::None => false,
            Luck::All => true,
            Luck::Each(percent) => dice.roll(100) < percent,
            Luck::First(n) => change < n || change == n && dice.roll(2) == 0,
        }
    }
}

/// Which syncs are believed: to show that the test would notice if they were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believe {
    /// All.
    All,
    /// Those of directories only.
    NamesOnly,
    /// Those of files only.
    OctetsOnly,
}

#[derive(Clone, Copy, Debug)]
enum Edit {
    Write(Octets),
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct FileNode {
    /// What it was before the recording began.
    base: Option<PathBuf>,
    /// As the process sees it.
    length: u64,
    platter: Vec<Edit>,
    pending: Vec<(u64, Edit)>,
}

impl FileNode {
    fn edit(&mut self, position: u64, edit: Edit) {
        let end = match edit {
            Edit::Length(length) => length,
            Edit::Write(octets) => self.length.max(octets.at + octets.length as u64),
        };
        if end != self.length {
            self.length = end;
            self.pending.push((position, Edit::Length(end)));
        }
        if matches!(edit, Edit::Write(_)) {
            self.pending.push((position, edit));
        }
    }

    fn sync(&mut self, before: u64) {
        let stays = self.pending.iter().position(|(at, _)| *at > before).unwrap_or(self.pending.len());
        self.platter.extend(self.pending.drain(..stays).map(|(_, edit)| edit));
    }

    fn write(&self, to: &Path, trace: &File, dice: &mut Dice) {
        let file = match &self.base {
            Some(base) => {
                copy_file(base, to);
                File::options().write(true).open(to).unwrap()
            }
            None => File::create(to).unwrap(),
        };
        let put = |octets: &Octets, from: usize, to: usize| {
            let mut part = vec![0; to - from];
            trace.read_exact_at(&mut part, octets.place + from as u64).unwrap();
            file.write_all_at(&part, octets.at + from as u64).unwrap();
        };
        let mut length = file.metadata().unwrap().len();
        for edit in &self.platter {
            match edit {
                Edit::Write(octets) => put(octets, 0, octets.length),
                Edit::Length(to) => {
                    length = *to;
                    file.set_len(*to).unwrap();
                }
            }
        }
        let luck = Luck::of(dice, self.pending.len());
        for (n, (_, edit)) in self.pending.iter().enumerate() {
            match edit {
                Edit::Length(to) if luck.keeps(dice, n) => {
                    length = *to;
                    file.set_len(*to).unwrap();
                }
                Edit::Length(_) => {}
                Edit::Write(octets) => {
                    let mut from = 0;
                    while from < octets.length {
                        let at = octets.at as usize + from;
                        let to = octets.length.min(from + SECTOR - at % SECTOR);
                        if luck.keeps(dice, n) {
                            put(octets, from, to);
                        }
                        from = to;
                    }
                }
            }
        }
        // Sectors beyond the length that got there have no place in the file.
        file.set_len(length).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, Number),
    Unlink(String),
    Rename(String, String, Number),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Number>) {
        match self {
            Change::Link(name, number) => drop(names.insert(name.clone(), *number)),
            Change::Unlink(name) => drop(names.remove(name)),
            Change::Rename(from, to, number) => {
                if names.get(from) == Some(number) {
                    names.remove(from);
                }
                names.insert(to.clone(), *number);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct DirNode {
    view: BTreeMap<String, Number>,
    platter: BTreeMap<String, Number>,
    pending: Vec<(u64, Change)>,
}

impl DirNode {
    fn change(&mut self, position: u64, change: Change) {
        change.apply(&mut self.view);
        self.pending.push((position, change));
    }

    fn sync(&mut self, before: u64) {
        let stays = self.pending.iter().position(|(at, _)| *at > before).unwrap_or(self.pending.len());
        for (_, change) in self.pending.drain(..stays) {
            change.apply(&mut self.platter);
        }
    }

    fn names(&self, dice: &mut Dice) -> BTreeMap<String, Number> {
        let luck = Luck::of(dice, self.pending.len());
        let mut names = self.platter.clone();
        for (n, (_, change)) in self.pending.iter().enumerate() {
            if luck.keeps(dice, n) {
                change.apply(&mut names);
            }
        }
        names
    }
}

/// A file or directory, never another.
type Number = usize;

#[derive(Clone, Debug)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// The disk, as far as the steps given to it go.
#[derive(Clone, Debug)]
pub struct Disk {
    /// By a number of their own, since a file system gives an inode's number again.
    nodes: BTreeMap<Number, Node>,
    numbers: BTreeMap<Inode, Number>,
    root: Number,
    believe: Believe,
    /// Until the trace comes to this position, all syncs are believed.
    doubts_from: u64,
    /// Only below names that begin so syncs are doubted: those files and directories.
    doubted: (&'static str, BTreeSet<Number>),
    /// When the syncs that have not ended began.
    syncs: BTreeMap<u64, u64>,
}

impl Disk {
    /// A disk that holds a directory as it is now, all of it on the platter. `copy` is a copy of it that stays as it is.
    /// `doubted`: only what is made with a name that begins so is not believed to be synced; empty for everything.
    pub fn new(directory: &Path, copy: &Path, believe: Believe, doubted: &'static str) -> Disk {
        let (nodes, numbers, syncs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let doubted = (doubted, BTreeSet::new());
        let mut disk = Disk { nodes, numbers, root: 0, believe, doubts_from: 0, doubted, syncs };
        disk.root = disk.take(directory, copy);
        disk
    }

    /// Which syncs it believes.
    pub fn believes(&self) -> Believe {
        self.believe
    }

    /// All syncs are believed until the trace comes to a position.
    pub fn doubt_from(&mut self, position: u64) {
        self.doubts_from = position;
    }

    fn add(&mut self, inode: Inode, node: Node) -> Number {
        let number = self.nodes.len();
        self.nodes.insert(number, node);
        self.numbers.insert(inode, number);
        number
    }

    fn take(&mut self, path: &Path, copy: &Path) -> Number {
        let found = path.metadata().unwrap();
        if !found.is_dir() {
            let base = Some(copy.to_owned());
            let node = FileNode { base, length: found.len(), ..FileNode::default() };
            return self.add(found.ino(), Node::File(node));
        }
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(path).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // A socket is not copied, and nobody misses it.
            if copy.join(&name).exists() {
                names.insert(name.clone(), self.take(&path.join(&name), &copy.join(&name)));
            }
        }
        let node = DirNode { view: names.clone(), platter: names, pending: Vec::new() };
        self.add(found.ino(), Node::Dir(node))
    }

    fn dir(&mut self, path: &str) -> &mut DirNode {
        let mut at = self.root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(Node::Dir(dir)) = self.nodes.get(&at) else { panic!("{path} is not in a directory") };
            at = *dir.view.get(name).unwrap_or_else(|| panic!("{path} was never made"));
        }
        match self.nodes.get_mut(&at) {
            Some(Node::Dir(dir)) => dir,
            _ => panic!("{path} is no directory"),
        }
    }

    /// Does what the process did.
    pub fn step(&mut self, step: &Step) {
        let position = step.end;
        match &step.action {
            Action::Create(path, inode) => {
                let number = self.add(*inode, Node::File(FileNode::default()));
                self.name(path, number, position);
            }
            Action::MakeDir(path, inode) => {
                let number = self.add(*inode, Node::Dir(DirNode::default()));
                self.name(path, number, position);
            }
            Action::Write(inode, octets) => self.edit(*inode, position, Edit::Write(*octets)),
            Action::Truncate(inode, length) => self.edit(*inode, position, Edit::Length(*length)),
            Action::Allocate(inode, length) => {
                if let Some(Node::File(file)) = self.node(*inode)
                    && file.length < *length
                {
                    self.edit(*inode, position, Edit::Length(*length));
                }
            }
            Action::Rename(from, to, inode) => {
                let ((above, old), (target, new)) = (split(from), split(to));
                let number = self.numbers[inode];
                if above == target {
                    let change = Change::Rename(old.into(), new.into(), number);
                    self.dir(above).change(position, change);
                } else {
                    self.name(to, number, position);
                    self.dir(above).change(position, Change::Unlink(old.into()));
                }
            }
            Action::Unlink(path) => {
                let (above, name) = split(path);
                self.dir(above).change(position, Change::Unlink(name.into()));
            }
            Action::SyncBegins(which) => drop(self.syncs.insert(*which, position)),
            Action::SyncEnds(inode, which) => {
                let begun = self.syncs.remove(which).unwrap();
                let doubted = self.doubted.0.is_empty()
                    || self.numbers.get(inode).is_some_and(|number| self.doubted.1.contains(number));
                let believe =
                    if position < self.doubts_from || !doubted { Believe::All } else { self.believe };
                match self.node(*inode) {
                    Some(Node::File(file)) if believe != Believe::NamesOnly => file.sync(begun),
                    Some(Node::Dir(dir)) if believe != Believe::OctetsOnly => dir.sync(begun),
                    _ => {}
                }
            }
        }
    }

    fn name(&mut self, path: &str, number: Number, position: u64) {
        if path.starts_with(self.doubted.0) {
            self.doubted.1.insert(number);
        }
        let (above, name) = split(path);
        self.dir(above).change(position, Change::Link(name.into(), number));
    }

    fn node(&mut self, inode: Inode) -> Option<&mut Node> {
        self.nodes.get_mut(self.numbers.get(&inode)?)
    }

    fn edit(&mut self, inode: Inode, position: u64, edit: Edit) {
        // What has no name any more is of no interest.
        if let Some(Node::File(file)) = self.node(inode) {
            file.edit(position, edit);
        }
    }

    /// The power goes: makes a directory of what is left.
    pub fn lose_power(&self, to: &Path, trace: &File, dice: &mut Dice) {
        self.write(self.root, to, trace, dice);
    }

    fn write(&self, number: Number, to: &Path, trace: &File, dice: &mut Dice) {
        match self.nodes.get(&number) {
            Some(Node::File(file)) => file.write(to, trace, dice),
            Some(Node::Dir(dir)) => {
                std::fs::create_dir(to).unwrap();
                for (name, number) in dir.names(dice) {
                    self.write(number, &to.join(name), trace, dice);
                }
            }
            None => {}
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
