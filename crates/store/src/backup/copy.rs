//! A backup being made: what no backup has yet is copied, then the manifest is written.
//!
//! Each file is written in `tmp/`, synced in pieces, renamed; when its name is durable it is noted in `UNFINISHED`, so
//! that a run that is interrupted leaves nothing to be done twice. The manifest comes last. A failure at any moment
//! leaves the backups that were there as they were.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::known::Known;
use super::list::{Contents, Part, contents};
use super::manifest::{Entry, Manifest, noted};
use super::pace::Pace;
use super::pump::pump;
use super::tree::Backups;
use super::{
    ABOUT, Backed, BackupError, BackupProgress, BackupTo, DIRS, Extra, MANIFEST, READERS, TMP, UNFINISHED,
    Watch, lock, names, reading, remove, sum_of, writing,
};
use crate::shared::Shared;
use crate::vfs::{File, Open, Vfs, sync_name_of_root, write_full};

/// Octets synced at a time when the store has nothing else to write; else each step is synced, so that no delivery waits
/// long behind it.
pub(super) const IDLE_SYNC: u64 = 16 << 20;
/// Files and octets whose names are made durable together.
const NAMED: (usize, u64) = (256, 64 << 20);
/// A segment in more pieces than this is copied anew, in one.
const PIECES: usize = 64;

/// Makes a backup of a store that is open.
pub(crate) fn copy(
    shared: &Shared,
    to: &mut BackupTo<'_>,
    make_snapshot: &mut dyn FnMut() -> Result<(), BackupError>,
) -> Result<Backed, BackupError> {
    let vfs = to.vfs.clone();
    vfs.create_dir_all("").map_err(writing("the directory"))?;
    // Each time: an earlier run may have died in between.
    vfs.real_path().map_or(Ok(()), sync_name_of_root).map_err(writing("the directory's name"))?;
    // Before anything is put there: it may be somebody else's directory.
    begin(shared, &*vfs, to)?;
    let _lock = lock(&*vfs)?;
    if !vfs.exists(READERS).map_err(reading(READERS))? {
        // So that who may only read finds it.
        drop(vfs.lock(READERS).map_err(writing(READERS))?);
    }
    let before = Backups::of_store(vfs.clone(), &to.sums, shared.store)?;
    let mut run = Run::new(shared, to, before)?;
    run.tidy()?;
    let _hold = (!shared.tuning.sabotage.backup_without_hold()).then(|| shared.holds.hold());
    let listed = contents(shared, &|part| run.known.has(part), make_snapshot)?;
    run.all(listed)
}

/// A directory that holds the backups of this store, or nothing: then it is marked.
fn begin(shared: &Shared, vfs: &dyn Vfs, to: &BackupTo<'_>) -> Result<(), BackupError> {
    let there = names(vfs, "").map_err(reading("the directory"))?;
    let ours = |name: &str| name == ABOUT || name.starts_with(MANIFEST);
    if there.iter().any(|name| ours(name)) {
        return Backups::of_store(to.vfs.clone(), &to.sums, shared.store).map(drop);
    }
    // What a run that came no further has left, and what file systems have.
    let about_new = format!("{ABOUT}.new");
    let nothing = |name: &str| ["lost+found", super::LOCK, &about_new].contains(&name);
    if let Some(other) = there.iter().find(|name| !nothing(name)) {
        return Err(BackupError::NotABackup(format!("there is {other}, which no backup has made")));
    }
    let about = format!(
        "penfold-backup 1\nstore {:032x}\n\n\
         Made by `penfold backup`. It is as secret as the mail in it. Change nothing here by hand:\n\
         `penfold backup verify DIR` says whether it is whole, `penfold restore DIR` brings it back.\n",
        shared.store
    );
    vfs.replace(ABOUT, about.as_bytes()).map_err(writing(ABOUT))
}

/// Tells how far it is, and asks whether to go on.
fn go_on(shared: &Shared, watch: Watch<'_>, progress: &BackupProgress) -> Result<(), BackupError> {
    if watch(progress) && !shared.stopping() { Ok(()) } else { Err(BackupError::Stopped) }
}

/// A file in `tmp/`, about to get its name.
#[derive(Debug)]
struct Written {
    tmp: String,
    entry: Entry,
}

struct Run<'r, 'w> {
    shared: &'r Shared,
    to: &'r mut BackupTo<'w>,
    vfs: Arc<dyn Vfs>,
    before: Backups,
    known: Known,
    /// Names in the backup directory, with their lengths.
    there: HashMap<String, u64>,
    noted: Vec<Entry>,
    unfinished: Option<(Arc<dyn File>, u64)>,
    waiting: Vec<Written>,
    waiting_octets: u64,
    tmp: u64,
    progress: BackupProgress,
    new_files: u64,
    new_octets: u64,
    pace: Pace,
    warnings: Vec<String>,
}

impl<'r, 'w> Run<'r, 'w> {
    fn new(
        shared: &'r Shared,
        to: &'r mut BackupTo<'w>,
        before: Backups,
    ) -> Result<Run<'r, 'w>, BackupError> {
        let vfs = to.vfs.clone();
        for dir in DIRS.into_iter().chain([TMP]) {
            vfs.create_dir_all(dir).map_err(writing(dir))?;
        }
        let mut there = HashMap::new();
        for dir in DIRS.into_iter().chain([""]) {
            for name in names(&*vfs, dir).map_err(reading(dir))? {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                // What goes meanwhile, or is a directory, is not there.
                if let Ok(len) = vfs.len(&path) {
                    there.insert(path, len);
                }
            }
        }
        let text = match vfs.read(UNFINISHED) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(reading(UNFINISHED)(e)),
        };
        let mut noted = noted(&text);
        noted.retain(|entry| there.get(&entry.name) == Some(&entry.len()));
        let manifests = before.good().flat_map(|manifest| manifest.entries.iter().cloned());
        let known = Known::of(manifests.chain(noted.iter().cloned()), &there);
        let warnings = before.damaged().map(|(name, what)| format!("{name} is no backup: {what}")).collect();
        Ok(Run {
            shared,
            to,
            vfs,
            before,
            known,
            there,
            noted,
            unfinished: None,
            waiting: Vec::new(),
            waiting_octets: 0,
            tmp: 0,
            progress: BackupProgress::default(),
            new_files: 0,
            new_octets: 0,
            pace: Pace::default(),
            warnings,
        })
    }

    /// Removes what an interrupted run has left and nobody can use.
    fn tidy(&mut self) -> Result<(), BackupError> {
        let vfs = &*self.vfs.clone();
        for name in names(vfs, TMP).map_err(reading(TMP))? {
            remove(vfs, &format!("{TMP}/{name}"))?;
        }
        // Its names may have come through a power cut without what makes them last.
        for dir in DIRS.into_iter().chain([""]) {
            vfs.sync_dir(dir).map_err(writing(dir))?;
        }
        let noted = std::mem::take(&mut self.noted);
        self.sweep(&noted)?;
        if !noted.is_empty() || self.there.contains_key(UNFINISHED) {
            let text: String = noted.iter().map(Entry::noted).collect();
            vfs.replace(UNFINISHED, text.as_bytes()).map_err(writing(UNFINISHED))?;
        }
        self.noted = noted;
        Ok(())
    }

    /// Removes files that nothing names; how many octets that were. Nothing goes as long as a manifest cannot be read:
    /// who knows what it names.
    fn sweep(&mut self, noted: &[Entry]) -> Result<u64, BackupError> {
        if self.before.damaged().next().is_some() {
            return Ok(0);
        }
        let manifests = self.before.good().flat_map(|manifest| &manifest.entries);
        let named: HashSet<&str> = manifests.chain(noted).map(|entry| entry.name.as_str()).collect();
        let is_file = |name: &str| name.contains('/') || name.starts_with("config.toml");
        let left: Vec<(String, u64)> = self
            .there
            .iter()
            .filter(|(name, _)| is_file(name) && !named.contains(name.as_str()))
            .map(|(name, len)| (name.clone(), *len))
            .collect();
        let mut octets = 0;
        for (name, len) in left {
            remove(&*self.vfs, &name)?;
            self.there.remove(&name);
            octets += len;
        }
        Ok(octets)
    }

    fn all(mut self, listed: Contents) -> Result<Backed, BackupError> {
        let Contents { reached, parts, warnings } = listed;
        self.warnings.extend(warnings);
        let extras = std::mem::take(&mut self.to.extras);
        let mut plan = Vec::with_capacity(parts.len());
        for part in parts {
            let file = self.shared.vfs.open(&part.path, Open::Read).map_err(reading(&part.path))?;
            let mut pieces = self.known.pieces(&part, &*file).map_err(reading(&part.path))?;
            if pieces.len() >= PIECES {
                pieces.clear();
            }
            let from = pieces.last().map_or(0, |last| last.to);
            // An empty file is a piece, too.
            let missing = (from < part.len || pieces.is_empty()).then_some(from);
            self.progress.total += part.len - missing.unwrap_or(part.len);
            // Descriptors are few; the hold keeps the file where it is.
            plan.push((part, pieces, missing));
        }
        self.progress.total += extras.iter().map(|extra| extra.octets.len() as u64).sum::<u64>();
        let mut entries = Vec::new();
        for (part, pieces, missing) in plan {
            entries.extend(pieces);
            if let Some(from) = missing {
                entries.push(self.piece(&part, from)?);
            }
            self.tell()?;
        }
        for extra in extras {
            entries.push(self.extra(extra)?);
        }
        self.name()?;
        self.finish(reached, entries)
    }

    fn tell(&mut self) -> Result<(), BackupError> {
        go_on(self.shared, self.to.watch, &self.progress)
    }

    /// A name that no file has.
    fn free_name(&mut self, base: String) -> String {
        let mut name = base.clone();
        let mut n = 1;
        while self.there.contains_key(&name) {
            n += 1;
            name = format!("{base}~{n}");
        }
        name
    }

    fn tmp(&mut self) -> String {
        self.tmp += 1;
        format!("{TMP}/{}", self.tmp)
    }

    /// Copies a file from an offset on.
    fn piece(&mut self, part: &Part, from: u64) -> Result<Entry, BackupError> {
        let tmp = self.tmp();
        let copied = self.copy_to(part, from, &tmp);
        if copied.is_err() {
            // On a full disk the room is wanted; otherwise the next run removes it.
            let _ = self.vfs.remove_file(&tmp);
        }
        let sum = copied?;
        let base = match part.grows {
            Some(_) => format!("{}.{from}-{}", part.path, part.len),
            None => part.path.clone(),
        };
        let (path, mark) = (part.path.clone(), part.mark);
        let name = self.free_name(base);
        self.written(tmp, Entry { sum, from, to: part.len, mark, path, name })
    }

    fn copy_to(&mut self, part: &Part, from: u64, tmp: &str) -> Result<[u8; 32], BackupError> {
        let source = self.shared.vfs.open(&part.path, Open::Read).map_err(reading(&part.path))?;
        let target = self.vfs.open(tmp, Open::CreateNew).map_err(writing(tmp))?;
        let octets = part.len - from;
        target.preallocate(octets).map_err(writing(tmp))?;
        let shared = self.shared;
        let pace = &self.pace;
        let due = |unsynced: u64| pace.is_busy(shared) || unsynced >= IDLE_SYNC;
        let mut sum = (self.to.sums)();
        let (progress, watch) = (&mut self.progress, &mut *self.to.watch);
        let mut fill = |step: &mut [u8], at: u64| {
            let read = source.read_at(step, from + at).map_err(reading(&part.path))?;
            if read == 0 {
                return Err(reading(&part.path)(io::ErrorKind::UnexpectedEof.into()));
            }
            sum.update(&step[..read]);
            progress.done += read as u64;
            go_on(shared, watch, progress).map(|()| read)
        };
        pump((&*target, tmp), octets, &due, &|| pace.rest(shared), &mut fill)?;
        // It is not read again: memory is for mail that is.
        target.uncache();
        Ok(sum.finish())
    }

    fn extra(&mut self, extra: Extra) -> Result<Entry, BackupError> {
        let Extra { path, octets } = extra;
        let (sum, len) = (sum_of(&self.to.sums, &octets), octets.len() as u64);
        self.progress.done += len;
        let same = |e: &&Entry| (e.from, e.to, e.sum) == (0, len, sum);
        if let Some(known) = self.known.of_path(&path).iter().find(same) {
            return Ok(known.clone());
        }
        let tmp = self.tmp();
        let file = self.vfs.open(&tmp, Open::CreateNew).map_err(writing(&tmp))?;
        write_full(&*file, &octets, 0).and_then(|()| file.sync_all()).map_err(writing(&tmp))?;
        let name = self.free_name(path.clone());
        self.written(tmp, Entry { sum, from: 0, to: len, mark: 0, path, name })
    }

    /// A file is durable in `tmp/`.
    fn written(&mut self, tmp: String, entry: Entry) -> Result<Entry, BackupError> {
        self.there.insert(entry.name.clone(), entry.len());
        self.new_files += 1;
        self.new_octets += entry.len();
        self.progress.files += 1;
        self.waiting_octets += entry.len();
        self.waiting.push(Written { tmp, entry: entry.clone() });
        if self.waiting.len() >= NAMED.0 || self.waiting_octets >= NAMED.1 {
            self.name()?;
        }
        Ok(entry)
    }

    /// Gives files their names, makes them durable, and notes that they are there.
    fn name(&mut self) -> Result<(), BackupError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_octets = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let vfs = &*self.vfs;
        let mut dirs = BTreeMap::new();
        for Written { tmp, entry } in &waiting {
            vfs.rename(tmp, &entry.name).map_err(writing(&entry.name))?;
            dirs.insert(crate::vfs::parent(&entry.name), ());
        }
        let unsynced = self.shared.tuning.sabotage.backup_names_not_synced();
        for dir in dirs.keys().copied().filter(|_| !unsynced) {
            vfs.sync_dir(dir).map_err(writing(dir))?;
        }
        let (file, end) = match &mut self.unfinished {
            Some(open) => open,
            none => {
                if !vfs.exists(UNFINISHED).map_err(reading(UNFINISHED))? {
                    vfs.replace(UNFINISHED, b"").map_err(writing(UNFINISHED))?;
                }
                let file = vfs.open(UNFINISHED, Open::ReadWrite).map_err(writing(UNFINISHED))?;
                let end = file.len().map_err(reading(UNFINISHED))?;
                none.insert((file, end))
            }
        };
        let text: String = waiting.iter().map(|written| written.entry.noted()).collect();
        write_full(&**file, text.as_bytes(), *end)
            .and_then(|()| file.sync_data())
            .map_err(writing(UNFINISHED))?;
        *end += text.len() as u64;
        Ok(())
    }

    /// Removes the manifests of backups that are more than are kept, unless somebody reads some.
    fn retire(&mut self) -> Result<Vec<String>, BackupError> {
        let old = self.before.beyond(self.to.keep.max(1));
        if old.is_empty() {
            return Ok(old);
        }
        let _alone = match self.vfs.lock(READERS) {
            Ok(alone) => alone,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let n = old.len();
                self.warnings.push(format!("older backups that were to go ({n}) stay: somebody reads them"));
                return Ok(Vec::new());
            }
            Err(e) => return Err(writing(READERS)(e)),
        };
        for old in &old {
            remove(&*self.vfs, old)?;
        }
        // No manifest may come back without its files.
        self.vfs.sync_dir("").map_err(writing("the directory"))?;
        self.before.forget(&old);
        Ok(old)
    }

    /// The manifest; then what is too old goes.
    fn finish(mut self, reached: crate::Reached, entries: Vec<Entry>) -> Result<Backed, BackupError> {
        self.tell()?;
        let manifest = Manifest {
            store: self.shared.store,
            number: self.before.last_number() + 1,
            taken: crate::UnixTime { nanos: 0, ..self.shared.clock.wall() },
            reached,
            entries,
        };
        let name = manifest.name();
        // Directories made by this run: their names are in the root, which this syncs.
        self.vfs.replace(&name, &manifest.encode(&self.to.sums)).map_err(writing(&name))?;
        remove(&*self.vfs, UNFINISHED)?;
        let (files, octets) = (manifest.files(), manifest.octets());
        self.before.add(manifest);
        let removed = self.retire()?;
        let removed_octets = self.sweep(&[])?;
        Ok(Backed {
            manifest: name,
            reached,
            files,
            octets,
            new_files: self.new_files,
            new_octets: self.new_octets,
            removed,
            removed_octets,
            warnings: self.warnings,
        })
    }
}
