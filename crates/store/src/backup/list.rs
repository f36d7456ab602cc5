//! What belongs to a position of the log: which files, and how far each of them counts.
//!
//! Only while a hold lasts is the list any good. Nothing is locked meanwhile: whatever is written to the log later lies
//! behind the position.

use std::hash::Hasher as _;
use std::io;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::{BackupError, reading};
use crate::compact::work;
use crate::group::{self, HEADER};
use crate::reader::Reached;
use crate::segment::{Known, generation_path, side_path};
use crate::shared::Shared;
use crate::snapshot::{self, SnapshotError, load, path_of};
use crate::state::world::Position;
use crate::vfs::{File, Open, Vfs, read_full};

/// What of a file tells it from another of its name: the front, which says what it is...
const FRONT: usize = 8 << 10;
/// ...and the end, where tables and sums are.
const BACK: usize = 64 << 10;

/// A file that belongs to a position, up to where it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) path: String,
    pub(crate) len: u64,
    pub(crate) mark: u128,
    /// It grows, or did: an earlier backup may have its front. The mark is the chain at its end then.
    pub(crate) grows: Option<Grows>,
}

/// A main segment as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grows {
    secret: [u8; 16],
    number: u32,
}

impl Grows {
    /// Whether the log had this chain where an earlier backup ended: then everything before is what that backup has.
    pub(crate) fn had(&self, file: &dyn File, end: u64, chain: u128) -> io::Result<bool> {
        let mut front = [0; HEADER];
        let read = read_full(file, &mut front, end)?;
        let header = group::Header::decode(&front[..read]);
        Ok(header.is_some_and(|header| {
            (header.secret, header.segment, header.offset, header.previous)
                == (self.secret, self.number, end, chain)
        }))
    }
}

/// Everything that a backup of a store must have.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) reached: Reached,
    pub(crate) parts: Vec<Part>,
    pub(crate) warnings: Vec<String>,
}

/// Lists what belongs to what is published now. `known` says whether a backup has a snapshot of this path, length and
/// mark: one that was good when it was copied need not be read again.
pub(crate) fn contents(
    shared: &Shared,
    known: &dyn Fn(&Part) -> bool,
    make_snapshot: &mut dyn FnMut() -> Result<(), BackupError>,
) -> Result<Contents, BackupError> {
    let mut warnings = Vec::new();
    let mut parts = snapshots(shared, known, &mut warnings)?;
    if parts.is_empty() && shared.world.read().position.seq > 0 {
        match make_snapshot() {
            // As long as nothing was ever left out of the log, it is enough by itself.
            Err(BackupError::Snapshot(SnapshotError::Full))
                if shared.files.mains().iter().all(|(_, known)| known.generation == 1) =>
            {
                warnings.push("there is no room for a snapshot: a restore will take longer".into());
            }
            made => made?,
        }
        parts = snapshots(shared, known, &mut warnings)?;
    }
    let (position, sides) = {
        let published = shared.world.read();
        (published.position, published.sides.keys().copied().collect::<Vec<u32>>())
    };
    parts.extend(mains(shared, &position)?);
    for number in sides {
        let path = side_path(number);
        match whole(&*shared.vfs, &path) {
            Ok(part) => parts.push(part),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                warnings.push(format!("{path} is missing in the store: the message in it is lost"));
            }
            Err(e) => return Err(reading(path)(e)),
        }
    }
    let Position { seq, time, commit, segment, end, .. } = position;
    Ok(Contents { reached: Reached { seq, time, commit, segment, end }, parts, warnings })
}

/// A whole file, with what tells it from others of its name.
fn whole(vfs: &dyn Vfs, path: &str) -> io::Result<Part> {
    let file = vfs.open(path, Open::Read)?;
    let len = file.len()?;
    let mut octets = vec![0; FRONT + BACK];
    let front = read_full(&*file, &mut octets[..FRONT], 0)?;
    let back = read_full(&*file, &mut octets[front..], (front as u64).max(len.saturating_sub(BACK as u64)))?;
    let mut hasher = SipHasher24::new();
    hasher.write_u64(len);
    hasher.write(&octets[..front + back]);
    Ok(Part { path: path.to_owned(), len, mark: hasher.finish128().as_u128(), grows: None })
}

/// The good snapshots among the two newest that are known to the store, and that its log goes on from.
fn snapshots(
    shared: &Shared,
    known: &dyn Fn(&Part) -> bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<Part>, BackupError> {
    let vfs = &*shared.vfs;
    // A newer one is being made just now, and nobody has read it back yet.
    let Some(newest) = shared.snapshots.known().last else { return Ok(Vec::new()) };
    let compacted = shared.files.mains().iter().rev().find(|(_, k)| k.generation > 1).map_or(0, |m| m.0);
    let mut parts = Vec::new();
    for seq in snapshot::list(vfs).map_err(reading(snapshot::DIR))?.into_iter().rev() {
        if seq > newest.seq || parts.len() == 2 {
            continue;
        }
        let path = path_of(seq);
        let part = whole(vfs, &path).map_err(reading(&path))?;
        let first = match known(&part) {
            true => snapshot::read::first(vfs, &path),
            false => load::verify(vfs, &path),
        };
        match first {
            Ok(first) if first.store == shared.store && first.position.segment > compacted => {
                parts.push(part);
            }
            // Of another store, or older than what was compacted: of no use here.
            Ok(_) => {}
            Err(flaw) => warnings.push(format!("{path} is not copied: {flaw}")),
        }
    }
    parts.reverse();
    Ok(parts)
}

/// Main segments: those that are written to no more, and the last up to the position.
fn mains(shared: &Shared, position: &Position) -> Result<Vec<Part>, BackupError> {
    let mut mains = shared.files.mains();
    mains.retain(|(number, _)| *number <= position.segment);
    let header = |number: u32, known: Known| {
        let path = generation_path(number, known.generation);
        work::header(shared, number, known).map_err(|e| reading(path)(io::Error::other(e)))
    };
    let mut parts = Vec::with_capacity(mains.len());
    // From the last on: each says where the one before it ends.
    let (mut end, mut chain) = (position.end, position.chain);
    for (number, known) in mains.into_iter().rev() {
        let path = generation_path(number, known.generation);
        let first = header(number, known)?;
        parts.push(if known.generation > 1 {
            whole(&*shared.vfs, &path).map_err(reading(&path))?
        } else {
            let grows = Some(Grows { secret: first.epoch.secret, number });
            Part { path, len: end, mark: chain, grows }
        });
        (end, chain) = (first.previous_end, first.chain);
    }
    parts.reverse();
    Ok(parts)
}
