//! A backup on its way back into a data directory, which then begins a new epoch.
//!
//! `restoring` lies in the directory from the first moment to the last: a store does not open where it is, and another
//! run goes on. At the end `restored` takes its place: the next opening gives every mailbox a new UIDVALIDITY, so that
//! no mail program takes a message that comes now for one that came after the backup and is lost.

use std::io;
use std::sync::Arc;

use super::copy::IDLE_SYNC;
use super::manifest::{Entry, Manifest};
use super::pump::STEP;
use super::tree::Backups;
use super::{BackupError, BackupProgress, DIRS, LOCK, Watch, lock, names, reading, remove, writing};
use crate::open::epoch::{RESTORED, RESTORING};
use crate::vfs::{File, Open, Vfs, sync_name_of_root, write_full};

/// A restore that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Files written, or found as they should be.
    pub files: u64,
    /// Their octets.
    pub octets: u64,
    /// Of these, octets that an interrupted run had written already.
    pub found: u64,
}

impl Backups {
    /// Writes a backup into a data directory, which must be empty, or left by a restore that was interrupted. Every file
    /// is compared with its sum on the way. `config.toml` is not written: see [`Backups::small`].
    ///
    /// # Errors
    /// When something is there, or a file is damaged: then the directory is no store, and a run with another backup may
    /// follow.
    pub fn restore(
        &self,
        manifest: &Manifest,
        to: Arc<dyn Vfs>,
        watch: Watch<'_>,
    ) -> Result<Restored, BackupError> {
        let vfs = &*to;
        vfs.create_dir_all("").map_err(writing("the data directory"))?;
        let there = names(vfs, "").map_err(reading("the data directory"))?;
        let goes_on = there.iter().any(|name| name == RESTORING);
        let harmless =
            |name: &str| [LOCK, "lost+found"].contains(&name) || name == format!("{RESTORING}.new");
        if let Some(other) = there.iter().find(|name| !goes_on && !harmless(name)) {
            return Err(BackupError::NotEmpty(other.clone()));
        }
        let _lock = lock(vfs)?;
        let name = manifest.name();
        vfs.replace(RESTORING, name.as_bytes()).map_err(writing(RESTORING))?;
        vfs.real_path().map_or(Ok(()), sync_name_of_root).map_err(writing("the data directory's name"))?;
        remove(vfs, RESTORED)?;
        for dir in DIRS {
            vfs.create_dir_all(dir).map_err(writing(dir))?;
            // Of a run that was to restore another backup.
            for name in names(vfs, dir).map_err(reading(dir))? {
                let path = format!("{dir}/{name}");
                if !manifest.entries.iter().any(|entry| entry.path == path) {
                    remove(vfs, &path)?;
                }
            }
        }
        let mut work = Work {
            from: self,
            vfs,
            watch,
            progress: BackupProgress { total: manifest.octets(), ..BackupProgress::default() },
            found: 0,
        };
        for (path, pieces) in manifest.paths().filter(|(path, _)| path.contains('/')) {
            work.file(path, pieces)?;
            work.progress.files += 1;
        }
        let (files, octets, found) = (work.progress.files, work.progress.done, work.found);
        for dir in DIRS {
            vfs.sync_dir(dir).map_err(writing(dir))?;
        }
        vfs.replace(RESTORED, name.as_bytes()).map_err(writing(RESTORED))?;
        // Only now, when the other marker is durable.
        remove(vfs, RESTORING)?;
        vfs.sync_dir("").map_err(writing("the data directory"))?;
        Ok(Restored { files, octets, found })
    }
}

/// Is shown octets of a piece, and where in it they lie.
type Each<'a> = &'a mut dyn FnMut(&[u8], u64) -> Result<(), BackupError>;

struct Work<'w> {
    from: &'w Backups,
    vfs: &'w dyn Vfs,
    watch: Watch<'w>,
    progress: BackupProgress,
    found: u64,
}

impl Work<'_> {
    fn file(&mut self, path: &str, pieces: &[Entry]) -> Result<(), BackupError> {
        let len = pieces.last().map_or(0, |last| last.to);
        if self.is_there(path, len, pieces)? {
            return Ok(());
        }
        remove(self.vfs, path)?;
        let target = self.vfs.open(path, Open::CreateNew).map_err(writing(path))?;
        target.preallocate(len).map_err(writing(path))?;
        let mut unsynced = 0;
        for piece in pieces {
            let source = self.from.vfs.open(&piece.name, Open::Read).map_err(reading(&piece.name))?;
            let sum = self.sum(&*source, 0, piece, &mut |octets, at| {
                write_full(&*target, octets, piece.from + at).map_err(writing(path))?;
                unsynced += octets.len() as u64;
                if unsynced >= IDLE_SYNC {
                    unsynced = 0;
                    target.sync_data().map_err(writing(path))?;
                }
                Ok(())
            })?;
            if sum != Some(piece.sum) {
                let what = "its octets are not those that were copied".to_owned();
                return Err(BackupError::Damaged { file: piece.name.clone(), what });
            }
        }
        target.sync_all().map_err(writing(path))
    }

    /// Whether an interrupted run has written this file, and it is what it should be.
    fn is_there(&mut self, path: &str, len: u64, pieces: &[Entry]) -> Result<bool, BackupError> {
        let file = match self.vfs.open(path, Open::ReadWrite) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(reading(path)(e)),
        };
        if file.len().map_err(reading(path))? != len {
            return Ok(false);
        }
        let before = self.progress.done;
        for piece in pieces {
            if self.sum(&*file, piece.from, piece, &mut |_, _| Ok(()))? != Some(piece.sum) {
                self.progress.done = before;
                return Ok(false);
            }
        }
        // It may be in memory only.
        file.sync_all().map_err(writing(path))?;
        self.found += len;
        Ok(true)
    }

    /// The sum of a piece that begins at an offset of a file; `None` if the file is shorter. `each` is shown its octets.
    fn sum(
        &mut self,
        file: &dyn File,
        offset: u64,
        piece: &Entry,
        each: Each<'_>,
    ) -> Result<Option<[u8; 32]>, BackupError> {
        let mut sum = (self.from.sums.0)();
        let len = piece.len();
        let mut step = vec![0; STEP.min(usize::try_from(len).unwrap_or(STEP))];
        let mut at = 0;
        while at < len {
            let most = step.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
            let read = file.read_at(&mut step[..most], offset + at).map_err(reading(&piece.name))?;
            if read == 0 {
                return Ok(None);
            }
            sum.update(&step[..read]);
            each(&step[..read], at)?;
            at += read as u64;
            self.progress.done += read as u64;
            if !(self.watch)(&self.progress) {
                return Err(BackupError::Stopped);
            }
        }
        Ok(Some(sum.finish()))
    }
}
