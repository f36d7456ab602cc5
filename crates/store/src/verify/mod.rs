//! Whether a data directory is as it was written: everything is read, and what is wrong is said with what mends it.
//!
//! Nothing of the log is changed. A directory that a server runs on can be looked at too: what it writes meanwhile is not
//! seen, and what seems wrong is looked at twice, since a file may go or come in between. The index can only be compared
//! when no server runs: opening it writes in it.
//!
//! `log` reads segments, `rows` holds every message's row against its record, `index` the index against a replay.

mod index;
mod log;
mod rows;

use std::io;
use std::sync::Arc;

use crate::digest;
use crate::index::IndexHost;
use crate::open::found::{self, Found};
use crate::open::{OpenError, Rot};
use crate::reader::{Reader, Start};
use crate::shared::INDEX;
use crate::snapshot::{self, load, path_of, read};
use crate::vfs::{Lock, Open, ReadOnly, Vfs};

/// What mends a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// It is made again from the log: at the next start, or now with `--repair`.
    Rebuild,
    /// A new snapshot; `--repair` makes one.
    Snapshot,
    /// A backup. Without one nothing does; what is intact is served all the same.
    Restore,
    /// A backup, or a salvage: the store does not open.
    Salvage,
    /// A newer version of the program.
    Newer,
}

/// A message that a problem concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Whose, by login name.
    pub account: String,
    /// In which mailbox.
    pub mailbox: String,
    /// Its UID.
    pub uid: u32,
    /// Whether it was expunged and can still be brought back.
    pub expunged: bool,
    /// The first octets of its Subject as they stand in it, if that can be read.
    pub subject: Option<Vec<u8>>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, in the data directory.
    pub file: String,
    /// Where in it, and how many octets, if that can be said.
    pub place: Option<(u64, u64)>,
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub mend: Mend,
    /// Messages that cannot be read because of it: the first hundred.
    pub messages: Vec<Victim>,
    /// Further ones.
    pub more: u64,
}

/// Messages that are named for one problem.
const NAMED: usize = 100;

impl Problem {
    fn new(file: impl Into<String>, what: impl Into<String>, mend: Mend) -> Problem {
        let (file, what) = (file.into(), what.into());
        Problem { file, place: None, what, mend, messages: Vec::new(), more: 0 }
    }

    fn at(self, from: u64, octets: u64) -> Problem {
        Problem { place: Some((from, octets)), ..self }
    }

    fn concerns(&mut self, victim: Victim) {
        if self.messages.len() < NAMED { self.messages.push(victim) } else { self.more += 1 }
    }

    fn of(error: &OpenError) -> Problem {
        let mend = if matches!(error, OpenError::Newer(_)) { Mend::Newer } else { Mend::Salvage };
        Problem::new("log", error.to_string(), mend)
    }
}

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Main segments.
    pub segments: u64,
    /// Of these, compacted.
    pub compacted: u64,
    /// Groups.
    pub groups: u64,
    /// Records.
    pub records: u64,
    /// Bodies of messages.
    pub bodies: u64,
    /// Octets of the log's files.
    pub octets: u64,
    /// Segments of large bodies.
    pub sides: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Messages in mailboxes.
    pub messages: u64,
    /// Expunged messages that can be brought back.
    pub retained: u64,
    /// Files of digests, which are only counted.
    pub digests: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is worth knowing, and no problem.
    pub notes: Vec<String>,
    /// How much was read.
    pub figures: Figures,
    /// Why the index was not compared, if it was not.
    pub index_skipped: Option<String>,
    /// Whether a server runs on it.
    pub running: bool,
}

impl Verified {
    /// Whether `--repair` mends all of it.
    #[must_use]
    pub fn is_derived_only(&self) -> bool {
        self.problems.iter().all(|p| matches!(p.mend, Mend::Rebuild | Mend::Snapshot))
    }

    /// Whether any problem is mended so.
    #[must_use]
    pub fn wants(&self, mend: Mend) -> bool {
        self.problems.iter().any(|p| p.mend == mend)
    }
}

/// Told of octets read, of so many.
pub type Pace<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// What is needed to look into the index.
#[derive(Clone, Copy, Debug)]
pub struct IndexAccess<'a> {
    /// Opens it.
    pub host: &'a dyn IndexHost,
    /// This boot of the machine.
    pub boot_id: Option<&'a str>,
}

/// Reads everything.
///
/// # Errors
/// There is no store at all.
pub fn verify(
    disk: Arc<dyn Vfs>,
    index: Option<IndexAccess<'_>>,
    progress: Pace<'_>,
) -> Result<Verified, OpenError> {
    let (held, running) = lock(&*disk);
    let vfs: Arc<dyn Vfs> = Arc::new(ReadOnly(disk.clone()));
    let (mut verified, reader) = look(&vfs, running, progress)?;
    if running && !verified.problems.is_empty() {
        // A segment may have been compacted, a snapshot replaced, a group been half written.
        let (again, _) = look(&vfs, running, progress)?;
        let still = |p: &Problem| again.problems.iter().any(|q| (&p.file, p.place) == (&q.file, q.place));
        verified.problems.retain(still);
    }
    verified.running = running;
    let skip = |why: &str| Some(why.to_owned());
    verified.index_skipped = match (&held, index, &reader) {
        _ if running => skip("a server runs on it, and opening the index writes in it"),
        (Some(_), Some(access), Some((found, reader))) => {
            index::compare(&disk, access, found, reader, &mut verified.problems)
        }
        (None, ..) => skip("the data directory cannot be locked"),
        (_, None, _) => skip("it was not asked for"),
        (.., None) => skip("the log cannot be replayed"),
    };
    Ok(verified)
}

/// The lock, if it is free, or whether a server has it.
fn lock(disk: &dyn Vfs) -> (Option<Box<dyn Lock>>, bool) {
    match disk.lock("lock") {
        Ok(held) => (Some(held), false),
        Err(e) => (None, e.kind() == io::ErrorKind::WouldBlock),
    }
}

type Replayed = Option<(Found, Reader)>;

fn look(vfs: &Arc<dyn Vfs>, running: bool, progress: Pace<'_>) -> Result<(Verified, Replayed), OpenError> {
    let mut out = Verified::default();
    let found = match found::look(&**vfs, Open::Read) {
        Ok(found) if found.mains.is_empty() => {
            return Err(OpenError::NotAStore("there is no log".into()));
        }
        Ok(found) => found,
        Err(error) => {
            out.problems.push(Problem::of(&error));
            return Ok((out, None));
        }
    };
    let reader = match Reader::open(vfs.clone(), Start::Snapshot, &|_| {}) {
        Ok(reader) => Some(reader),
        Err(error) => {
            out.problems.push(Problem::of(&error));
            None
        }
    };
    snapshots(&**vfs, &found, reader.as_ref(), &mut out);
    let mut log = log::Log { vfs: &**vfs, found: &found, out: &mut out, running, progress, done: 0 };
    let checked = log.check(reader.as_ref());
    if let Err(error) = checked {
        out.problems.push(Problem::new("log", format!("it cannot be read: {error}"), Mend::Salvage));
    }
    if let Some(reader) = &reader {
        rows::check(reader, &mut out);
        remember(reader, running, &mut out);
    }
    out.figures.digests = vfs.list(digest::DIR).map_or(0, |names| names.len() as u64);
    Ok((out, reader.map(|reader| (found, reader))))
}

/// What the replay found that nobody else did.
fn remember(reader: &Reader, running: bool, out: &mut Verified) {
    let damage = reader.damage();
    for rot in &damage.rot {
        let meets = |p: &Problem| {
            p.file == rot.file
                && p.place.is_some_and(|(from, n)| from < rot.offset + rot.octets && rot.offset < from + n)
        };
        if !out.problems.iter().any(meets) {
            let problem = Problem::new(&rot.file, &rot.what, Mend::Restore);
            out.problems.push(problem.at(rot.offset, rot.octets));
        }
    }
    if let Some(torn) = damage.torn.as_ref().filter(|_| !running) {
        let Rot { file, offset, octets, .. } = torn;
        out.notes.push(format!(
            "{file}: {octets} octets at {offset} are a group that was never finished; nobody was told that it is kept, and \
             the next start puts it aside"
        ));
    }
    if damage.orphans > 0 {
        let what = format!("{} records are about mailboxes that are not there", damage.orphans);
        out.problems.push(Problem::new("log", what, Mend::Restore));
    }
}

fn snapshots(vfs: &dyn Vfs, found: &Found, reader: Option<&Reader>, out: &mut Verified) {
    let store = found.mains.first().map(|main| main.header.store);
    let mut bad = |file: String, what: String| {
        if !out.problems.iter().any(|p| p.file == file) {
            out.problems.push(Problem::new(file, what, Mend::Snapshot));
        }
    };
    let list = match snapshot::list(vfs) {
        Ok(list) => list,
        Err(error) => return bad(snapshot::DIR.into(), error.to_string()),
    };
    for &seq in &list {
        let path = path_of(seq);
        match load::verify(vfs, &path) {
            Ok(first) if Some(first.store) == store && first.position.seq == seq => {}
            Ok(_) => bad(path, "it belongs to another store, or has another's name".into()),
            // One that goes while we look has done its work.
            Err(read::Flaw::Io(e)) if e.kind() == io::ErrorKind::NotFound => {}
            Err(flaw) => bad(path, flaw.to_string()),
        }
    }
    for known in reader.iter().flat_map(|reader| &reader.damage().bad_snapshots) {
        bad(known.file.clone(), known.what.clone());
    }
    out.figures.snapshots = list.len() as u64;
}

/// Removes what is derived from the log, so that the next opening makes it again. The store must not be open.
///
/// # Errors
/// Those of the disk.
pub fn forget_derived(disk: &dyn Vfs) -> io::Result<()> {
    disk.remove_dir_all(INDEX)?;
    disk.remove_dir_all(digest::DIR)?;
    disk.sync_dir("")
}
