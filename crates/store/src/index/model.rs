//! An index for tests: a map in memory that can be put back, lose its last writes, fail, panic and hang, on purpose and
//! always in the same way.
//!
//! A small file `model` in its directory stands for its files, so that removing or renaming the directory on the
//! simulated disk removes or renames the index, and a rename that a crash undoes is undone for it too.

use super::{Each, Index, IndexError, IndexHost, Pair, Writes, page_of};
use crate::vfs::Vfs;
use crate::vfs::sim::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What goes wrong at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers with an error, and so does every call after it.
    Error,
    /// It panics.
    Panic,
    /// It does not come back before [`ModelHost::release`].
    Hang,
}

/// What is left of the indexes after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Every batch.
    Kept,
    /// All but the last few, at most those since the last flush: a process that died with its buffers.
    LostSuffix(usize),
    /// As it was after so many batches, flushed or not: a power cut, or an older copy.
    Older(usize),
    /// Of an index that was open, each key by itself is as it was at some moment or another, by this seed: a power cut
    /// under files that nobody synced. One that was closed is kept.
    Scrambled(u64),
    /// Files that cannot be opened.
    Ruined,
}

/// Makes model indexes, which outlive it in [`ModelHost::restart`].
#[derive(Debug)]
pub struct ModelHost {
    vfs: Arc<dyn Vfs>,
    shared: Arc<Shared>,
    life: u64,
}

#[derive(Debug, Default)]
struct Shared {
    world: Mutex<World>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct World {
    life: u64,
    calls: u64,
    fault: Option<(u64, Fault)>,
    sick: bool,
    hanging: bool,
    shelves: Vec<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    batches: Vec<Writes>,
    flushed: usize,
    rows: Rows,
    ruined: bool,
    /// How many batches there were when it was opened, while it is.
    open_since: Option<usize>,
}

impl ModelHost {
    /// One with no indexes yet, whose directories are on `vfs`.
    pub fn new(vfs: Arc<dyn Vfs>) -> ModelHost {
        ModelHost { vfs, shared: Arc::default(), life: 0 }
    }

    /// The process ended and another began, on what `vfs` shows now: what was opened before answers no more.
    #[must_use]
    pub fn restart(&self, vfs: Arc<dyn Vfs>, fate: Fate) -> ModelHost {
        let mut world = self.world();
        world.life += 1;
        world.fault = None;
        world.sick = false;
        for shelf in &mut world.shelves {
            let whole = shelf.batches.len();
            match fate {
                Fate::Kept => {}
                Fate::LostSuffix(lost) => shelf.cut(whole.saturating_sub(lost).max(shelf.flushed)),
                Fate::Older(batches) => shelf.cut(batches.min(whole)),
                Fate::Scrambled(seed) => shelf.scramble(&mut Rng::new(seed)),
                Fate::Ruined => shelf.ruined = true,
            }
            shelf.open_since = None;
        }
        let life = world.life;
        drop(world);
        self.release();
        ModelHost { vfs, shared: Arc::clone(&self.shared), life }
    }

    /// The call so many calls from now goes wrong (0: the next).
    pub fn fail_in(&self, calls: u64, fault: Fault) {
        let mut world = self.world();
        world.fault = Some((world.calls + calls, fault));
    }

    /// Lets calls that hang go on.
    pub fn release(&self) {
        self.world().hanging = false;
        self.shared.released.notify_all();
    }

    /// How many batches the newest index has taken.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.world().shelves.last().map_or(0, |shelf| shelf.batches.len())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.shared)
    }
}

impl Shelf {
    fn cut(&mut self, batches: usize) {
        self.batches.truncate(batches);
        self.flushed = self.flushed.min(batches);
        self.rows.clear();
        for writes in &self.batches {
            apply(&mut self.rows, writes.clone());
        }
    }
}

impl Shelf {
    fn scramble(&mut self, rng: &mut Rng) {
        let Some(sound) = self.open_since else { return };
        let later = self.batches.split_off(sound.min(self.batches.len()));
        self.cut(self.batches.len());
        let mut now = self.rows.clone();
        for writes in later {
            apply(&mut now, writes.clone());
            for (key, _) in writes {
                if rng.chance(50) {
                    match now.get(&key) {
                        Some(value) => self.rows.insert(key, value.clone()),
                        None => self.rows.remove(&key),
                    };
                }
            }
        }
        // Opening writes too: what was there before is not safe either.
        self.rows.retain(|_, _| rng.chance(95));
        // From here on this is what it holds.
        let mut all = Writes::new();
        self.rows.iter().for_each(|(key, value)| all.put(key.clone(), value.clone()));
        self.batches = vec![all];
        self.flushed = 1;
    }
}

fn apply(rows: &mut Rows, writes: Writes) {
    for (key, value) in writes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    // A panic on purpose happens after the lock is given back; a test that fails under it must not hide behind this.
    shared.world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IndexHost for ModelHost {
    fn open(&self, dir: &str) -> Result<Arc<dyn Index>, IndexError> {
        let disk = |e: std::io::Error| IndexError::Condemned(e.to_string().into());
        let token = format!("{dir}/model");
        let known = match self.vfs.read(&token) {
            Ok(octets) => std::str::from_utf8(&octets).ok().and_then(|text| text.parse::<usize>().ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(disk(e)),
        };
        let shelf = {
            let mut world = self.world();
            match known.filter(|at| *at < world.shelves.len()) {
                Some(at) if world.shelves[at].ruined => {
                    return Err(IndexError::Condemned("its files are ruined".into()));
                }
                Some(at) => at,
                None => {
                    world.shelves.push(Shelf::default());
                    world.shelves.len() - 1
                }
            }
        };
        self.vfs.create_dir_all(dir).map_err(disk)?;
        self.vfs.replace(&token, shelf.to_string().as_bytes()).map_err(disk)?;
        let open =
            Model { shared: Arc::clone(&self.shared), life: self.life, shelf, closed: Mutex::new(false) };
        open.with(|shelf| shelf.open_since = Some(shelf.batches.len()))?;
        Ok(Arc::new(open))
    }
}

#[derive(Debug)]
struct Model {
    shared: Arc<Shared>,
    life: u64,
    shelf: usize,
    closed: Mutex<bool>,
}

impl Model {
    fn with<T>(&self, call: impl FnOnce(&mut Shelf) -> T) -> Result<T, IndexError> {
        if *self.closed.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(IndexError::Closed);
        }
        let mut world = lock(&self.shared);
        let at = world.calls;
        world.calls += 1;
        if world.life != self.life || world.sick {
            return Err(IndexError::Condemned("it failed before, or its process ended".into()));
        }
        match world.fault {
            Some((when, Fault::Error)) if at >= when => {
                world.sick = true;
                return Err(IndexError::Condemned("an error, as asked".into()));
            }
            Some((when, Fault::Panic)) if at == when => {
                drop(world);
                panic!("a panic, as asked");
            }
            Some((when, Fault::Hang)) if at == when => {
                world.hanging = true;
                world = self
                    .shared
                    .released
                    .wait_while(world, |world| world.hanging)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            _ => {}
        }
        Ok(call(&mut world.shelves[self.shelf]))
    }

    fn walk(&self, chosen: impl Fn(&[u8]) -> bool, each: Each<'_>) -> Result<(), IndexError> {
        // Copied, so that `each` may ask the index for something.
        let rows: Vec<_> = self.with(|shelf| {
            shelf.rows.iter().filter(|(key, _)| chosen(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
        })?;
        for (key, value) in &rows {
            each(key, value);
        }
        Ok(())
    }
}

impl Index for Model {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.with(|shelf| shelf.rows.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        self.walk(|key| key.starts_with(prefix), each)
    }

    fn range(&self, from: &[u8], to: &[u8], each: Each<'_>) -> Result<(), IndexError> {
        self.walk(|key| from <= key && key < to, each)
    }

    fn page(&self, from: &[u8], to: &[u8], octets: usize) -> Result<Vec<Pair>, IndexError> {
        self.with(|shelf| {
            let all = shelf.rows.iter().skip_while(|(key, _)| key.as_slice() < from);
            let chosen = all.take_while(|(key, _)| key.as_slice() < to);
            page_of(chosen.map(|(k, v)| Ok((k.clone(), v.clone()))), octets)
        })?
    }

    fn apply(&self, writes: Writes) -> Result<(), IndexError> {
        self.with(|shelf| {
            shelf.batches.push(writes.clone());
            apply(&mut shelf.rows, writes);
        })
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.with(|shelf| shelf.flushed = shelf.batches.len())
    }

    fn close(&self) -> Result<(), IndexError> {
        self.with(|shelf| {
            shelf.flushed = shelf.batches.len();
            shelf.open_since = None;
        })?;
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }
}
