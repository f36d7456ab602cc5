//! Everything read again: each file of each backup against its sum, and the newest backup as the store that it is.

use std::collections::HashMap;
use std::sync::Arc;

use super::manifest::{Entry, Manifest};
use super::pump::STEP;
use super::tree::Backups;
use super::{BackupError, BackupProgress, Watch};
use crate::reader::{Damage, Reader, Start};
use crate::state::block::Row;
use crate::vfs::{Open, ReadOnly, Vfs};

/// Rows whose messages are read together.
const TOGETHER: usize = 256;
/// Damaged messages that are told one by one; more are counted.
const TOLD: usize = 1_000;

/// What was found of one backup.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its manifest's file.
    pub file: String,
    /// The manifest, if it can be read.
    pub manifest: Option<Manifest>,
    /// What is wrong; nothing if the backup is whole.
    pub problems: Vec<String>,
}

/// What the newest backup holds, opened as a store.
#[derive(Clone, Debug)]
pub struct Newest {
    /// Its manifest's file.
    pub file: String,
    /// Messages in all mailboxes.
    pub messages: u64,
    /// Of these, such that cannot be read.
    pub damaged: u64,
    /// Which: account, mailbox, UID and what is wrong, up to a thousand.
    pub which: Vec<String>,
    /// What is wrong with the log.
    pub damage: Damage,
    /// Why it cannot be opened at all, if so.
    pub refused: Option<String>,
}

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Backups, the newest first.
    pub backups: Vec<Checked>,
    /// The newest that has a manifest.
    pub newest: Option<Newest>,
    /// Files read.
    pub files: u64,
    /// Octets read.
    pub octets: u64,
}

impl Verified {
    /// Whether there is a backup, and nothing is wrong with any.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let sound = |newest: &Newest| {
            newest.refused.is_none()
                && newest.damaged == 0
                && !newest.damage.is_loss()
                && newest.damage.torn.is_none()
                && newest.damage.bad_snapshots.is_empty()
        };
        self.backups.iter().all(|backup| backup.problems.is_empty())
            && self.newest.as_ref().is_some_and(sound)
    }
}

impl Backups {
    /// Reads everything again: of all backups, or of the newest only.
    ///
    /// # Errors
    /// Only when it is stopped: what is wrong is in the answer.
    pub fn verify(&self, newest_only: bool, watch: Watch<'_>) -> Result<Verified, BackupError> {
        let most = if newest_only { 1 } else { usize::MAX };
        let found = &self.manifests()[..self.manifests().len().min(most)];
        let mut progress = BackupProgress::default();
        let mut sums: HashMap<&str, Result<[u8; 32], String>> = HashMap::new();
        let entries = || found.iter().filter_map(|f| f.manifest.as_ref().ok()).flat_map(|m| &m.entries);
        let mut seen = std::collections::HashSet::new();
        progress.total = entries().filter(|e| seen.insert(e.name.as_str())).map(Entry::len).sum();
        for entry in entries() {
            if !sums.contains_key(entry.name.as_str()) {
                let sum = self.sum(entry, &mut progress, watch)?;
                sums.insert(&entry.name, sum);
                progress.files += 1;
            }
        }
        let backups = found.iter().map(|found| {
            let file = found.file.clone();
            match &found.manifest {
                Err(what) => Checked { file, manifest: None, problems: vec![what.clone()] },
                Ok(manifest) => {
                    let problems =
                        manifest.entries.iter().filter_map(|e| wrong(e, sums.get(e.name.as_str())));
                    Checked { file, problems: problems.collect(), manifest: Some(manifest.clone()) }
                }
            }
        });
        let backups = backups.collect();
        let (files, octets) = (progress.files, progress.done);
        let newest = match found.iter().find_map(|found| found.manifest.as_ref().ok()) {
            Some(manifest) => Some(self.read(manifest, progress, watch)?),
            None => None,
        };
        Ok(Verified { backups, newest, files, octets })
    }

    /// The sum of a file as it is now.
    fn sum(
        &self,
        entry: &Entry,
        progress: &mut BackupProgress,
        watch: Watch<'_>,
    ) -> Result<Result<[u8; 32], String>, BackupError> {
        let mut read = || -> std::io::Result<Option<[u8; 32]>> {
            let file = self.vfs.open(&entry.name, Open::Read)?;
            if file.len()? != entry.len() {
                return Err(std::io::Error::other(format!(
                    "it has {} octets, not {}",
                    file.len()?,
                    entry.len()
                )));
            }
            // From the disk, not from memory.
            file.uncache();
            let mut sum = (self.sums.0)();
            let mut step = vec![0; STEP.min(usize::try_from(entry.len()).unwrap_or(STEP)).max(1)];
            let mut at = 0;
            loop {
                let read = file.read_at(&mut step, at)?;
                if read == 0 {
                    return Ok(Some(sum.finish()));
                }
                sum.update(&step[..read]);
                at += read as u64;
                progress.done += read as u64;
                if !watch(progress) {
                    return Ok(None);
                }
            }
        };
        match read() {
            Ok(Some(sum)) => Ok(Ok(sum)),
            Ok(None) => Err(BackupError::Stopped),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Opens a backup as a store, and reads every message.
    fn read(
        &self,
        manifest: &Manifest,
        mut progress: BackupProgress,
        watch: Watch<'_>,
    ) -> Result<Newest, BackupError> {
        let vfs: Arc<dyn Vfs> = Arc::new(ReadOnly(self.tree(manifest)));
        let mut newest = Newest {
            file: manifest.name(),
            messages: 0,
            damaged: 0,
            which: Vec::new(),
            damage: Damage::default(),
            refused: None,
        };
        let reader = match Reader::open(vfs, Start::Snapshot, &|_| {}) {
            Ok(reader) => reader,
            Err(error) => {
                newest.refused = Some(error.to_string());
                return Ok(newest);
            }
        };
        newest.damage = reader.damage().clone();
        if reader.reached().seq != manifest.reached.seq {
            newest.refused = Some(format!(
                "its log ends with group {}, not {}",
                reader.reached().seq,
                manifest.reached.seq
            ));
        }
        for account in reader.directory().accounts() {
            for mailbox in reader.directory().mailboxes_of(account.id) {
                let Some(view) = reader.view(mailbox.id) else { continue };
                let rows: Vec<Row> = view.rows().collect();
                for some in rows.chunks(TOGETHER) {
                    for (row, message) in reader.messages(some) {
                        newest.messages += 1;
                        if let Err(error) = message.and_then(|message| check(&message)) {
                            newest.damaged += 1;
                            if newest.which.len() < TOLD {
                                let (login, path, uid) = (&account.login, &mailbox.path, row.uid);
                                newest.which.push(format!("{login}, {path}, UID {uid}: {error}"));
                            }
                        }
                    }
                    progress.done = progress.total;
                    if !watch(&progress) {
                        return Err(BackupError::Stopped);
                    }
                }
            }
        }
        Ok(newest)
    }
}

/// Reads a message to its end, a part at a time: its checksums are compared on the way.
fn check(message: &crate::Message) -> Result<(), crate::ReadError> {
    let mut part = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        let read = message.read_at(at, &mut part)?;
        if read == 0 {
            return Ok(());
        }
        at += read as u64;
    }
}

fn wrong(entry: &Entry, sum: Option<&Result<[u8; 32], String>>) -> Option<String> {
    match sum? {
        Ok(sum) if *sum == entry.sum => None,
        Ok(_) => Some(format!("{}: its octets are not those that were copied", entry.name)),
        Err(error) => Some(format!("{}: {error}", entry.name)),
    }
}
