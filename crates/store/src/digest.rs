//! Digests of messages: kept beside the log, never synced, made again whenever they are missing.
//!
//! `digest/NNNNNNNN` belongs to the main segment of that number: entries one after another, each with a header of 24
//! octets {magic, ordinal, version of the derivation, length, crc32c of the octets, crc32c of the 20 before}, found by
//! the ordinal of the delivery. Deleting these files is always safe.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::{Put, Take};
use crate::id::Location;
use crate::intent::{BodyRef, Prefix};
use crate::options::{Derive, Octets};
use crate::read::ReadError;
use crate::spool::Spooled;
use crate::vfs::{File, Open, Vfs, read_full, write_full};

/// The directory.
pub(crate) const DIR: &str = "digest";
const MAGIC: u32 = u32::from_le_bytes(*b"PfDg");
const HEADER: usize = 24;
/// Sidecars whose entries are known at a time.
const KNOWN: usize = 64;
/// Octets of bodies that may wait for their digest; what is beyond is derived when first asked for.
const WAITING: usize = 8 << 20;
/// No digest is larger.
const LARGEST: u32 = 16 << 20;

/// Bodies that have just been committed, and the deliveries whose digests can be made of them.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) bodies: Vec<Spooled>,
    pub(crate) delivered: Vec<(Location, BodyRef, Prefix)>,
}

impl Job {
    fn octets(&self) -> usize {
        self.bodies.iter().filter_map(Spooled::octets).map(<[u8]>::len).sum()
    }
}

#[derive(Debug)]
struct Sidecar {
    file: Arc<dyn File>,
    end: u64,
    /// Ordinal to offset and length of the octets; only those of the present derivation.
    entries: HashMap<u32, (u64, u32, u32)>,
}

#[derive(Debug, Default)]
struct Known {
    sidecars: HashMap<u32, (u64, Arc<Mutex<Sidecar>>)>,
    tick: u64,
}

pub(crate) struct Digests {
    vfs: Arc<dyn Vfs>,
    derive: Arc<dyn Derive>,
    known: Mutex<Known>,
    jobs: Mutex<(VecDeque<Job>, usize)>,
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests").field("known", &self.known).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(segment: u32) -> String {
    format!("{DIR}/{segment:08}")
}

/// Forgets the digests of segments from this one on: their octets may not be those that were digested.
pub(crate) fn forget_from(vfs: &dyn Vfs, segment: u32) -> io::Result<()> {
    for name in vfs.list(DIR)? {
        if name.parse::<u32>().map_or(true, |n| n >= segment) {
            vfs.remove_file(&format!("{DIR}/{name}"))?;
        }
    }
    Ok(())
}

impl Digests {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, derive: Arc<dyn Derive>) -> Digests {
        Digests { vfs, derive, known: Mutex::default(), jobs: Mutex::default() }
    }

    /// Digests are wanted of what has just been committed: some time soon, if there is not too much of it.
    pub(crate) fn later(&self, job: Job) {
        let mut jobs = lock(&self.jobs);
        let octets = job.octets();
        if jobs.1 + octets <= WAITING {
            jobs.1 += octets;
            jobs.0.push_back(job);
        }
    }

    /// Makes the digests that were asked for.
    pub(crate) fn work(&self) {
        loop {
            let Some(job) = lock(&self.jobs).0.pop_front() else { return };
            for (content, body, prefix) in &job.delivered {
                let Some(octets) = job.bodies.get(body.0).and_then(Spooled::octets) else { continue };
                let body = octets.get(prefix.replaces as usize..).unwrap_or_default();
                let mut message = InMemory { parts: [&prefix.octets, body] };
                let _ = self.get_or_derive(*content, &mut message);
            }
            lock(&self.jobs).1 -= job.octets();
        }
    }

    /// Leaves out all digests of a segment but those of these deliveries. That it cannot be done only costs space.
    pub(crate) fn keep_only(&self, segment: u32, deliveries: &BTreeSet<u32>) {
        let Ok(old) = self.sidecar(segment) else { return };
        let mut old = lock(&old);
        if let Ok(new) = old.without(&*self.vfs, segment, self.derive.version(), deliveries) {
            *old = new;
        }
    }

    fn sidecar(&self, segment: u32) -> io::Result<Arc<Mutex<Sidecar>>> {
        let mut known = lock(&self.known);
        known.tick += 1;
        let tick = known.tick;
        if let Some((used, sidecar)) = known.sidecars.get_mut(&segment) {
            *used = tick;
            return Ok(sidecar.clone());
        }
        let sidecar = Arc::new(Mutex::new(Sidecar::open(&*self.vfs, segment, self.derive.version())?));
        if known.sidecars.len() >= KNOWN {
            let oldest = known.sidecars.iter().min_by_key(|(_, (used, _))| *used).map(|(&n, _)| n);
            if let Some(oldest) = oldest {
                known.sidecars.remove(&oldest);
            }
        }
        known.sidecars.insert(segment, (tick, sidecar.clone()));
        Ok(sidecar)
    }

    /// The digest that is kept of a delivery.
    pub(crate) fn get(&self, content: Location) -> Option<Arc<[u8]>> {
        let sidecar = self.sidecar(content.segment).ok()?;
        let (file, (offset, length, crc)) = {
            let sidecar = lock(&sidecar);
            (sidecar.file.clone(), *sidecar.entries.get(&content.ordinal)?)
        };
        let mut octets = vec![0; length as usize];
        let whole = read_full(&*file, &mut octets, offset).is_ok_and(|n| n == octets.len());
        (whole && crc32c::crc32c(&octets) == crc).then(|| octets.into())
    }

    /// The digest of a delivery: kept, or made now and kept.
    pub(crate) fn get_or_derive(
        &self,
        content: Location,
        message: &mut dyn Octets,
    ) -> Result<Arc<[u8]>, ReadError> {
        if let Some(kept) = self.get(content) {
            return Ok(kept);
        }
        let octets = self.derive.derive(message);
        // That it cannot be kept only costs time.
        if let Ok(sidecar) = self.sidecar(content.segment) {
            let _ = lock(&sidecar).put(content.ordinal, self.derive.version(), &octets);
        }
        Ok(octets.into())
    }
}

impl Sidecar {
    fn open(vfs: &dyn Vfs, segment: u32, version: u32) -> io::Result<Sidecar> {
        let path = path(segment);
        let file = match vfs.open(&path, Open::ReadWrite) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => vfs.open(&path, Open::CreateNew)?,
            other => other?,
        };
        let mut sidecar = Sidecar { file, end: 0, entries: HashMap::new() };
        sidecar.scan(version)?;
        Ok(sidecar)
    }

    /// Finds the entries; whatever follows the last whole one is written over.
    fn scan(&mut self, version: u32) -> io::Result<()> {
        let len = self.file.len()?;
        let mut window = vec![0; 256 * 1024];
        let (mut from, mut filled) = (0, 0);
        while self.end + HEADER as u64 <= len {
            let inside = self.end >= from && self.end + HEADER as u64 <= from + filled as u64;
            if !inside {
                from = self.end;
                filled = read_full(&*self.file, &mut window, from)?;
            }
            let at = (self.end - from) as usize;
            let Some((ordinal, of, length, crc)) = window[..filled].get(at..at + HEADER).and_then(entry)
            else {
                break;
            };
            let data = self.end + HEADER as u64;
            if length > LARGEST || data + u64::from(length) > len {
                break;
            }
            if of == version {
                self.entries.insert(ordinal, (data, length, crc));
            }
            self.end = data + u64::from(length);
        }
        Ok(())
    }

    /// A file with some of the entries, in this one's place.
    fn without(
        &self,
        vfs: &dyn Vfs,
        segment: u32,
        version: u32,
        keep: &BTreeSet<u32>,
    ) -> io::Result<Sidecar> {
        let beside = format!("{}.new", path(segment));
        match vfs.remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut new = Sidecar { file: vfs.open(&beside, Open::CreateNew)?, end: 0, entries: HashMap::new() };
        for (&ordinal, &(offset, length, crc)) in &self.entries {
            let mut octets = vec![0; length as usize];
            let whole = read_full(&*self.file, &mut octets, offset)? == octets.len();
            if keep.contains(&ordinal) && whole && crc32c::crc32c(&octets) == crc {
                new.put(ordinal, version, &octets)?;
            }
        }
        vfs.rename(&beside, &path(segment))?;
        Ok(new)
    }

    fn put(&mut self, ordinal: u32, version: u32, octets: &[u8]) -> io::Result<()> {
        let Some(length) = u32::try_from(octets.len()).ok().filter(|&n| n <= LARGEST) else { return Ok(()) };
        let crc = crc32c::crc32c(octets);
        let mut entry = Vec::with_capacity(HEADER + octets.len());
        entry.u32(MAGIC);
        entry.u32(ordinal);
        entry.u32(version);
        entry.u32(length);
        entry.u32(crc);
        let own = crc32c::crc32c(&entry);
        entry.u32(own);
        entry.extend_from_slice(octets);
        write_full(&*self.file, &entry, self.end)?;
        self.entries.insert(ordinal, (self.end + HEADER as u64, length, crc));
        self.end += entry.len() as u64;
        Ok(())
    }
}

/// An entry's ordinal, version, length and CRC.
fn entry(header: &[u8]) -> Option<(u32, u32, u32, u32)> {
    let mut take = Take::new(header);
    let sound = take.u32()? == MAGIC;
    let entry = (take.u32()?, take.u32()?, take.u32()?, take.u32()?);
    (sound && take.u32()? == crc32c::crc32c(&header[..HEADER - 4])).then_some(entry)
}

/// A message whose octets are in two pieces in memory.
pub(crate) struct InMemory<'a> {
    pub(crate) parts: [&'a [u8]; 2],
}

impl Octets for InMemory<'_> {
    fn len(&self) -> u64 {
        (self.parts[0].len() + self.parts[1].len()) as u64
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let Ok(mut offset) = usize::try_from(offset) else { return Ok(0) };
        let mut done = 0;
        for part in self.parts {
            let rest = part.get(offset..).unwrap_or_default();
            offset = offset.saturating_sub(part.len());
            let n = rest.len().min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&rest[..n]);
            done += n;
        }
        Ok(done)
    }
    fn whole(&self) -> Option<[&[u8]; 2]> {
        Some(self.parts)
    }
}
