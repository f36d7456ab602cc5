//! A backup directory as it is read: its manifests, and each backup as the data directory that it came from.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::manifest::{Entry, Manifest, number_of};
use super::{ABOUT, BackupError, MANIFEST, READERS, Sums, reading, sum_of};
use crate::id::UnixTime;
use crate::vfs::{File, Lock, Open, Source, Tree, Vfs};

/// A manifest that was found, good or not.
#[derive(Clone, Debug)]
pub struct FoundManifest {
    /// Its file.
    pub file: String,
    number: u64,
    /// What it says, or what is wrong with it.
    pub manifest: Result<Manifest, String>,
}

/// A backup directory.
#[derive(Debug)]
pub struct Backups {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) sums: SumsOf,
    /// The newest first.
    found: Vec<FoundManifest>,
    /// What is listed stays.
    _reads: Option<Box<dyn Lock>>,
}

/// Looks for the lock again so often, and after this time: whoever removes manifests is done in a moment.
const TRIES: u32 = 200;
const AGAIN: Duration = Duration::from_millis(50);

/// Takes part in the lock of those who read; `None` where there is none: on a disk that is only read, or one that nobody
/// has written to since this lock was thought of.
fn readers(vfs: &dyn Vfs) -> Result<Option<Box<dyn Lock>>, BackupError> {
    for _ in 0..TRIES {
        match vfs.lock_shared(READERS) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
            other => return Ok(other.ok()),
        }
    }
    Err(BackupError::Busy { holder: vfs.lock_holder(READERS) })
}

/// [`Sums`], which cannot be shown.
pub(super) struct SumsOf(pub(super) Sums);

impl std::fmt::Debug for SumsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SHA-256")
    }
}

impl Backups {
    /// Reads the manifests of a directory. As long as this lives, no run removes a backup there.
    ///
    /// # Errors
    /// When it cannot be read, or nothing says that it is a backup directory.
    pub fn open(vfs: Arc<dyn Vfs>, sums: &Sums) -> Result<Backups, BackupError> {
        let reads = readers(&*vfs)?;
        Ok(Backups { _reads: reads, ..Backups::list(vfs, sums)? })
    }

    fn list(vfs: Arc<dyn Vfs>, sums: &Sums) -> Result<Backups, BackupError> {
        let names = vfs.list("").map_err(reading("the directory"))?;
        if !names.iter().any(|name| name == ABOUT || name.starts_with(MANIFEST)) {
            return Err(BackupError::NotABackup(format!("there is neither {ABOUT} nor a manifest")));
        }
        let mut found = Vec::new();
        for file in names {
            let Some(number) = number_of(&file) else { continue };
            let manifest = match vfs.read(&file) {
                Ok(octets) => Manifest::decode(&octets, sums),
                Err(error) => Err(format!("it cannot be read: {error}")),
            };
            let manifest = manifest.and_then(|manifest| match manifest.name() == file {
                true => Ok(manifest),
                false => Err("its name is another's".into()),
            });
            found.push(FoundManifest { file, number, manifest });
        }
        found.sort_by_key(|found| std::cmp::Reverse(found.number));
        Ok(Backups { vfs, sums: SumsOf(sums.clone()), found, _reads: None })
    }

    /// As [`Backups::open`], of this store and no other, for whoever writes there.
    pub(super) fn of_store(vfs: Arc<dyn Vfs>, sums: &Sums, store: u128) -> Result<Backups, BackupError> {
        let about = match vfs.read(ABOUT) {
            Ok(about) => about,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(reading(ABOUT)(e)),
        };
        let about = String::from_utf8_lossy(&about).into_owned();
        let said = about.lines().find_map(|line| u128::from_str_radix(line.strip_prefix("store ")?, 16).ok());
        let backups = Backups::list(vfs, sums)?;
        let others = backups.good().any(|manifest| manifest.store != store);
        if others || said.is_some_and(|said| said != store) {
            return Err(BackupError::OfAnotherStore);
        }
        Ok(backups)
    }

    /// All manifests, the newest first.
    #[must_use]
    pub fn manifests(&self) -> &[FoundManifest] {
        &self.found
    }

    /// Those that can be used, the newest first.
    pub fn good(&self) -> impl Iterator<Item = &Manifest> {
        self.found.iter().filter_map(|found| found.manifest.as_ref().ok())
    }

    /// The newest that was taken at this time or before.
    #[must_use]
    pub fn at(&self, time: UnixTime) -> Option<&Manifest> {
        self.good().find(|manifest| manifest.taken <= time)
    }

    /// Manifests that are of no use, with what is wrong.
    pub fn damaged(&self) -> impl Iterator<Item = (&str, &str)> {
        let bad = |found: &FoundManifest| found.manifest.is_err();
        self.found.iter().filter(move |found| bad(found)).map(|found| {
            let what = found.manifest.as_ref().err().map_or("", String::as_str);
            (found.file.as_str(), what)
        })
    }

    pub(super) fn last_number(&self) -> u64 {
        self.found.first().map_or(0, |found| found.number)
    }

    pub(super) fn add(&mut self, manifest: Manifest) {
        let found = FoundManifest { file: manifest.name(), number: manifest.number, manifest: Ok(manifest) };
        self.found.insert(0, found);
    }

    /// Files of manifests that are older than the `keep` newest good ones.
    pub(super) fn beyond(&self, keep: usize) -> Vec<String> {
        let oldest = self.good().nth(keep - 1).map_or(0, |manifest| manifest.number);
        self.found.iter().filter(|found| found.number < oldest).map(|found| found.file.clone()).collect()
    }

    pub(super) fn forget(&mut self, files: &[String]) {
        self.found.retain(|found| !files.contains(&found.file));
    }

    /// A backup as a data directory: for [`crate::Reader`], inside of [`crate::vfs::ReadOnly`].
    #[must_use]
    pub fn tree(&self, manifest: &Manifest) -> Joined {
        let files = manifest.paths().map(|(path, pieces)| (path.to_owned(), Arc::from(pieces))).collect();
        Joined { vfs: self.vfs.clone(), files }
    }

    /// A whole small file of a backup, its sum compared; `None` if the backup has none of that path.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn small(&self, manifest: &Manifest, path: &str) -> Result<Option<Vec<u8>>, BackupError> {
        let Some(entry) = manifest.entries.iter().find(|entry| entry.path == path) else { return Ok(None) };
        let octets = self.vfs.read(&entry.name).map_err(reading(&entry.name))?;
        if sum_of(&self.sums.0, &octets) != entry.sum {
            return Err(BackupError::Damaged {
                file: entry.name.clone(),
                what: "its sum is another one".into(),
            });
        }
        Ok(Some(octets))
    }
}

/// A backup as the data directory that it came from: pieces are joined.
#[derive(Debug)]
pub struct Joined {
    vfs: Arc<dyn Vfs>,
    files: BTreeMap<String, Arc<[Entry]>>,
}

impl Tree for Joined {
    fn open(&self, path: &str) -> io::Result<Arc<dyn Source>> {
        let pieces = self.files.get(path).ok_or(io::ErrorKind::NotFound)?.clone();
        // One descriptor for most; a segment in pieces opens each when it is read.
        let only = match &*pieces {
            [entry] => Some(Vfs::open(&*self.vfs, &entry.name, Open::Read)?),
            _ => None,
        };
        Ok(Arc::new(Pieces { vfs: self.vfs.clone(), pieces, only }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let below = |path: &String| match dir {
            "" => path.split('/').next().map(str::to_owned),
            dir => path.strip_prefix(dir)?.strip_prefix('/').map(str::to_owned),
        };
        let mut names: Vec<String> = self.files.keys().filter_map(below).collect();
        names.dedup();
        if names.is_empty() && !dir.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }
}

#[derive(Debug)]
struct Pieces {
    vfs: Arc<dyn Vfs>,
    pieces: Arc<[Entry]>,
    only: Option<Arc<dyn File>>,
}

impl Source for Pieces {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = self.pieces.partition_point(|piece| piece.to <= offset);
        let Some(piece) = self.pieces.get(at) else { return Ok(0) };
        let most = buf.len().min(usize::try_from(piece.to - offset).unwrap_or(usize::MAX));
        let file = match &self.only {
            Some(file) => file.clone(),
            None => Vfs::open(&*self.vfs, &piece.name, Open::Read)?,
        };
        file.read_at(&mut buf[..most], offset - piece.from)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.pieces.last().map_or(0, |last| last.to))
    }
}
