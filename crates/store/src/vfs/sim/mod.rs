//! A disk in memory for tests, which fails in every way a real one may, as a seed decides.
//!
//! [`SimDisk`] is the machine with its disk, [`SimDisk::vfs`] what a process on it sees. When the power goes, what was
//! not synced is lost, kept or torn at sectors, in any order; when only the process is killed, all of it stays. A disk
//! can fill, fail a sync (and drop what it did not write, and say OK the next time), write short, and rot. After a
//! crash every operation fails with [`is_off`] until [`SimDisk::restart`].
//!
//! Nothing here depends on time or threads: the same calls give the same disk.

mod node;
mod rng;

#[cfg(test)]
mod tests;

pub use rng::Rng;

use super::{File, Lock, Open, Space, Vfs};
use node::{DirNode, FileNode, Ino, Node, SECTOR};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const ROOT: Ino = 1;
const TOTAL: u64 = 10 << 30;
const OFF: &str = "the simulated machine is off";

/// Whether an error says that the machine was off: not a fault to survive, but the end of that process.
#[must_use]
pub fn is_off(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.to_string() == OFF)
}

/// How octets on the platter go bad by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit (0 to 7) of the octet flips.
    Flip(u8),
    /// The sector that the octet is in reads as zeros.
    ZeroSector,
}

/// A machine with a disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    nodes: BTreeMap<Ino, Node>,
    next_ino: Ino,
    /// Rises with each restart: what an earlier process opened is of no use to it any more.
    life: u64,
    off: bool,
    operations: u64,
    syncs: u64,
    writes: u64,
    locks: BTreeMap<String, Held>,
    faults: Faults,
}

/// A lock that is held.
#[derive(Debug)]
struct Held {
    life: u64,
    shared: bool,
    holders: u32,
}

/// What goes wrong while the machine runs. Counts are from the moment of the call, 0 being the next.
#[derive(Clone, Debug, Default)]
struct Faults {
    crash_at: Option<u64>,
    sync_at: Option<u64>,
    write_at: Option<u64>,
    short_percent: u64,
    capacity: Option<u64>,
    reported: Option<u64>,
    lying_syncs: bool,
    garbled: Option<String>,
}

impl SimDisk {
    /// An empty disk; everything that chance decides on it comes from the seed.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        SimDisk {
            state: Arc::new(Mutex::new(State {
                rng: Rng::new(seed),
                nodes,
                next_ino: ROOT + 1,
                life: 0,
                off: false,
                operations: 0,
                syncs: 0,
                writes: 0,
                locks: BTreeMap::new(),
                faults: Faults::default(),
            })),
        }
    }

    /// The disk as the process that runs now sees it.
    #[must_use]
    pub fn vfs(&self) -> Arc<dyn Vfs> {
        let life = self.state().life;
        Arc::new(SimVfs { disk: self.clone(), life })
    }

    /// The machine goes off in the middle of an operation that changes the disk: so many from now.
    pub fn crash_in(&self, operations: u64) {
        let mut state = self.state();
        state.faults.crash_at = Some(state.operations + operations);
    }

    /// The machine goes off now.
    pub fn crash(&self) {
        self.state().off = true;
    }

    /// Whether it went off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// The next process begins; what an earlier one opened fails from now on, its locks are gone, planned faults are
    /// forgotten. With `power_lost`, what was not synced is kept, lost or torn first; without, only a process ended.
    pub fn restart(&self, power_lost: bool) {
        let state = &mut *self.state();
        state.life += 1;
        state.off = false;
        state.locks.clear();
        state.faults = Faults::default();
        if power_lost {
            for node in state.nodes.values_mut() {
                match node {
                    Node::File(file) => file.lose_power(&mut state.rng),
                    Node::Dir(dir) => dir.lose_power(&mut state.rng),
                }
            }
            // Only now: after a kill, a removed name may still come back when the power goes.
            state.forget_nameless();
        }
    }

    /// Nothing of what was planned goes wrong any more, until something else is planned.
    pub fn forget_faults(&self) {
        self.state().faults = Faults::default();
    }

    /// So many operations changed the disk so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// A sync of a file fails, so many from now: once.
    pub fn fail_sync_in(&self, syncs: u64) {
        let mut state = self.state();
        state.faults.sync_at = Some(state.syncs + syncs);
    }

    /// A write fails, so many from now: once.
    pub fn fail_write_in(&self, writes: u64) {
        let mut state = self.state();
        state.faults.write_at = Some(state.writes + writes);
    }

    /// So many of a hundred writes write only a part.
    pub fn short_writes(&self, percent: u64) {
        self.state().faults.short_percent = percent;
    }

    /// Only so many more octets fit; `None`: plenty.
    pub fn room(&self, octets: Option<u64>) {
        let mut state = self.state();
        let used = state.used();
        state.faults.capacity = octets.map(|octets| used + octets);
    }

    /// What [`Vfs::free_space`] says, whatever fits.
    pub fn report_free(&self, octets: Option<u64>) {
        self.state().faults.reported = octets;
    }

    /// Syncs of files say OK and do nothing: the disk that lies, against which nothing helps. For tests of tests.
    pub fn lie_about_syncs(&self, lie: bool) {
        self.state().faults.lying_syncs = lie;
    }

    /// Files made from now on under paths that begin so keep something else than what is written to them, and nobody is
    /// told: one bit of each write.
    pub fn garble(&self, prefix: &str) {
        self.state().faults.garbled = Some(prefix.to_owned());
    }

    /// Lets a file rot at an octet, without anybody's doing. False if it has no such octet.
    pub fn rot(&self, path: &str, offset: u64, how: Rot) -> bool {
        let mut state = self.state();
        let Ok(ino) = state.find(path) else { return false };
        let (Ok(file), Ok(at)) = (state.file(ino), usize::try_from(offset)) else { return false };
        if at >= file.view.len() {
            return false;
        }
        match how {
            Rot::Flip(bit) => file.rot(at, |octet| *octet ^= 1 << (bit & 7)),
            Rot::ZeroSector => {
                let from = at / SECTOR * SECTOR;
                (from..from + SECTOR).for_each(|at| file.rot(at, |octet| *octet = 0));
            }
        }
        true
    }

    /// Every file with its length, by path.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state();
        let mut found = Vec::new();
        state.walk(ROOT, "", &mut |path, file| found.push((path.to_owned(), file.view.len() as u64)));
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of an operation that changes the disk.
#[derive(PartialEq, Eq)]
enum Turn {
    Goes,
    /// The machine goes off in its middle: what of it happened, nobody hears.
    Cut,
}

fn off() -> io::Error {
    io::Error::other(OFF)
}

impl State {
    fn alive(&self, life: u64) -> io::Result<()> {
        if self.off || self.life != life { Err(off()) } else { Ok(()) }
    }

    fn change(&mut self, life: u64) -> io::Result<Turn> {
        self.alive(life)?;
        let at = self.operations;
        self.operations += 1;
        if self.faults.crash_at.is_some_and(|when| at >= when) {
            self.off = true;
            return Ok(Turn::Cut);
        }
        Ok(Turn::Goes)
    }

    /// An operation that happens whole or not: in its cut form chance decides, and it answers with an error.
    fn whole(&mut self, life: u64, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        match self.change(life)? {
            Turn::Goes => act(self),
            Turn::Cut => {
                if self.rng.chance(50) {
                    let _ = act(self);
                }
                Err(off())
            }
        }
    }

    fn find(&self, path: &str) -> io::Result<Ino> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(Node::Dir(dir)) = self.nodes.get(&at) else {
                return Err(ErrorKind::NotADirectory.into());
            };
            at = *dir.view.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn file(&mut self, ino: Ino) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn dir(&mut self, ino: Ino) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The directory a path is in, and its last name.
    fn place<'a>(&mut self, path: &'a str) -> io::Result<(&mut DirNode, &'a str)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let ino = self.find(above)?;
        Ok((self.dir(ino)?, name))
    }

    fn add(&mut self, path: &str, node: Node) -> io::Result<Ino> {
        let ino = self.next_ino;
        let (dir, name) = self.place(path)?;
        if dir.view.contains_key(name) || name.is_empty() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        dir.link(name, ino);
        self.next_ino += 1;
        self.nodes.insert(ino, node);
        Ok(ino)
    }

    fn walk(&self, ino: Ino, path: &str, each: &mut dyn FnMut(&str, &FileNode)) {
        match self.nodes.get(&ino) {
            Some(Node::File(file)) => each(path, file),
            Some(Node::Dir(dir)) => {
                for (name, ino) in &dir.view {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    self.walk(*ino, &path, each);
                }
            }
            None => {}
        }
    }

    fn used(&self) -> u64 {
        let mut used = 0;
        self.walk(ROOT, "", &mut |_, file| used += file.view.len() as u64);
        used
    }

    /// How many octets files may still grow.
    fn left(&self) -> u64 {
        self.faults.capacity.map_or(TOTAL, |capacity| capacity.saturating_sub(self.used()))
    }

    fn forget_nameless(&mut self) {
        fn mark(state: &State, ino: Ino, named: &mut Vec<Ino>) {
            named.push(ino);
            if let Some(Node::Dir(dir)) = state.nodes.get(&ino) {
                dir.view.values().for_each(|ino| mark(state, *ino, named));
            }
        }
        let mut named = Vec::new();
        mark(self, ROOT, &mut named);
        named.sort_unstable();
        self.nodes.retain(|ino, _| named.binary_search(ino).is_ok());
    }
}

#[derive(Debug)]
struct SimVfs {
    disk: SimDisk,
    life: u64,
}

impl SimVfs {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.alive(self.life)?;
        Ok(state)
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.state()?;
        let ino = if how == Open::CreateNew {
            let mut made = ROOT;
            state.whole(self.life, |state| {
                made = state.add(path, Node::File(FileNode::default()))?;
                if state.faults.garbled.as_ref().is_some_and(|prefix| path.starts_with(prefix)) {
                    state.file(made)?.garbled = true;
                }
                Ok(())
            })?;
            made
        } else {
            let ino = state.find(path)?;
            state.file(ino)?;
            ino
        };
        Ok(Arc::new(SimFile { disk: self.disk.clone(), life: self.life, ino, writable: how != Open::Read }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state()?;
        let ino = state.find(dir)?;
        Ok(state.dir(ino)?.view.keys().cloned().collect())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.state()?.find(path).is_ok())
    }

    fn len(&self, path: &str) -> io::Result<u64> {
        let mut state = self.state()?;
        let ino = state.find(path)?;
        Ok(state.file(ino)?.view.len() as u64)
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        let mut path = String::new();
        for name in dir.split('/').filter(|name| !name.is_empty()) {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
            let mut state = self.state()?;
            if let Ok(ino) = state.find(&path) {
                state.dir(ino)?;
                continue;
            }
            state.whole(self.life, |state| state.add(&path, Node::Dir(DirNode::default())).map(|_| ()))?;
        }
        self.state().map(|_| ())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.state()?.whole(self.life, |state| {
            let ino = state.find(path)?;
            state.file(ino)?;
            let (dir, name) = state.place(path)?;
            dir.unlink(name);
            Ok(())
        })
    }

    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        if !self.exists(dir)? {
            return Ok(());
        }
        for name in self.list(dir)? {
            let path = format!("{dir}/{name}");
            let is_dir = {
                let state = self.state()?;
                matches!(state.nodes.get(&state.find(&path)?), Some(Node::Dir(_)))
            };
            if is_dir { self.remove_dir_all(&path)? } else { self.remove_file(&path)? }
        }
        self.state()?.whole(self.life, |state| {
            let (above, name) = state.place(dir)?;
            above.unlink(name);
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state()?.whole(self.life, |state| {
            let ino = state.find(from)?;
            if let Ok(there) = state.find(to) {
                match (state.nodes.get(&ino), state.nodes.get(&there)) {
                    (Some(Node::File(_)), Some(Node::File(_))) => {}
                    (Some(Node::Dir(_)), Some(Node::Dir(dir))) if dir.view.is_empty() => {}
                    _ => return Err(ErrorKind::DirectoryNotEmpty.into()),
                }
            }
            let same = super::parent(from) == super::parent(to);
            let (dir, name) = state.place(to)?;
            if same {
                let from = from.rsplit_once('/').map_or(from, |(_, name)| name);
                dir.rename(from, name, ino);
            } else {
                dir.link(name, ino);
                let (dir, name) = state.place(from)?;
                dir.unlink(name);
            }
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.state()?.whole(self.life, |state| {
            let ino = state.find(dir)?;
            state.dir(ino)?.sync();
            Ok(())
        })
    }

    fn free_space(&self) -> io::Result<Space> {
        let state = self.state()?;
        Ok(Space { free: state.faults.reported.unwrap_or_else(|| state.left().min(TOTAL / 2)), total: TOTAL })
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let pid = format!("{}\n", self.life + 1);
        let mut state = self.state()?;
        if state.locks.contains_key(path) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let held = Held { life: self.life, shared: false, holders: 1 };
        let ino = match state.find(path) {
            Ok(ino) => ino,
            Err(_) => state.add(path, Node::File(FileNode::default()))?,
        };
        let file = state.file(ino)?;
        file.set_len(0);
        file.write(0, pid.as_bytes());
        state.locks.insert(path.to_owned(), held);
        Ok(Box::new(SimLock { disk: self.disk.clone(), life: self.life, path: path.to_owned() }))
    }

    fn lock_shared(&self, path: &str) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state()?;
        state.find(path)?;
        let free = Held { life: self.life, shared: true, holders: 0 };
        let held = state.locks.entry(path.to_owned()).or_insert(free);
        if !held.shared {
            return Err(ErrorKind::WouldBlock.into());
        }
        held.holders += 1;
        Ok(Box::new(SimLock { disk: self.disk.clone(), life: self.life, path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    life: u64,
    path: String,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let Some(held) = state.locks.get_mut(&self.path).filter(|held| held.life == self.life) else {
            return;
        };
        held.holders -= 1;
        if held.holders == 0 {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    life: u64,
    ino: Ino,
    writable: bool,
}

fn position(offset: u64, more: usize) -> io::Result<usize> {
    let at = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
    at.checked_add(more).filter(|end| *end <= 1 << 32).map(|_| at).ok_or(ErrorKind::FileTooLarge.into())
}

impl SimFile {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let turn = state.change(self.life)?;
        let at = state.syncs;
        state.syncs += 1;
        let mut rng = state.rng.fork();
        let fails = state.faults.sync_at == Some(at);
        let lies = state.faults.lying_syncs;
        let file = state.file(self.ino)?;
        if turn == Turn::Cut {
            // How far it came is for the loss of power to decide; a killed process's sync goes on without it.
            return Err(off());
        }
        if fails {
            file.fail_sync(&mut rng);
            return Err(io::Error::other("the simulated disk failed a sync"));
        }
        if !lies {
            file.sync();
        }
        Ok(())
    }

    fn writing(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::Error::other("opened for reading only")) }
    }
}

impl File for SimFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.writing()?;
        if slices.len() > super::MAX_SLICES {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut octets: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let at = position(offset, octets.len())?;
        let mut state = self.disk.state();
        let turn = state.change(self.life)?;
        let number = state.writes;
        state.writes += 1;
        if state.faults.write_at == Some(number) {
            return Err(io::Error::other("the simulated disk failed a write"));
        }
        let left = usize::try_from(state.left()).unwrap_or(usize::MAX);
        let short = turn == Turn::Cut || {
            let percent = state.faults.short_percent;
            percent > 0 && octets.len() > 1 && state.rng.chance(percent)
        };
        if short {
            let keep = state.rng.index(octets.len()) + usize::from(turn == Turn::Goes && octets.len() > 1);
            octets.truncate(keep.min(octets.len()));
        }
        let garble_at = if state.faults.garbled.is_some() { state.rng.index(usize::MAX) } else { 0 };
        let file = state.file(self.ino)?;
        // What lies within the file has its room already.
        let fits = file.view.len().saturating_sub(at).saturating_add(left);
        // A gap that a write beyond the end leaves takes room here too: stricter than a sparse file.
        let gap = at.saturating_sub(file.view.len());
        let fits = fits.saturating_sub(gap);
        if fits == 0 && !octets.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        octets.truncate(fits);
        if file.garbled && !octets.is_empty() {
            let at = garble_at % octets.len();
            octets[at] ^= 1;
        }
        if !octets.is_empty() {
            file.write(at, &octets);
        }
        if turn == Turn::Cut { Err(off()) } else { Ok(octets.len()) }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.alive(self.life)?;
        let file = state.file(self.ino)?;
        let Some(rest) = usize::try_from(offset).ok().and_then(|at| file.view.get(at..)) else {
            return Ok(0);
        };
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.writing()?;
        let len = position(len, 0)?;
        self.disk.state().whole(self.life, |state| {
            let left = usize::try_from(state.left()).unwrap_or(usize::MAX);
            let file = state.file(self.ino)?;
            if len.saturating_sub(file.view.len()) > left {
                return Err(ErrorKind::StorageFull.into());
            }
            if len > file.view.len() {
                file.set_len(len);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.alive(self.life)?;
        Ok(state.file(self.ino)?.view.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.writing()?;
        let len = position(len, 0)?;
        self.disk.state().whole(self.life, |state| {
            state.file(self.ino)?.set_len(len);
            Ok(())
        })
    }
}
