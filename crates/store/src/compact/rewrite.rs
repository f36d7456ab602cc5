//! Writing a segment's next generation: survivors octet for octet, in the order that they had.

use std::collections::BTreeSet;
use std::io;

use super::format::{Front, Places, RECORDS};
use crate::group::BORDER;
use crate::record::{self, HEADER, Header, PIECE};
use crate::segment::{self, Opened, TMP};
use crate::vfs::{File, Open, Vfs, read_full, write_full};

/// Octets written at a time.
const WRITE: usize = 256 << 10;
/// So much is written between two syncs, so that no delivery waits long behind one of them.
const STEP: u64 = 1 << 20;

/// Why a segment is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    /// A survivor's own header cannot be read: nobody knows where it ends.
    #[error("the record {0} of the segment is damaged")]
    Damaged(u32),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is to be rewritten.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) number: u32,
    /// The next one.
    pub(crate) generation: u32,
    pub(crate) header: segment::Header,
    pub(crate) last_seq: u64,
    /// The segment as it is.
    pub(crate) from: &'a Opened,
    /// Ordinals of the deliveries that somebody may still ask for.
    pub(crate) deliveries: &'a BTreeSet<u32>,
    /// Records that tell a salvage where each of them is now.
    pub(crate) notes: &'a [u8],
}

/// A file that is durable and not yet under its name.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) path: String,
    pub(crate) octets: u64,
}

/// Called between two pieces; an error ends the work.
pub(crate) type Pause<'a> = &'a mut dyn FnMut() -> io::Result<()>;

/// Writes the next generation to `tmp/`, synced.
pub(crate) fn rewrite(vfs: &dyn Vfs, plan: &Plan<'_>, pause: Pause<'_>) -> Result<Rewritten, RewriteError> {
    let path = format!("{TMP}/{:08}.g{}", plan.number, plan.generation);
    match vfs.remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let made = write(vfs, plan, &path, pause);
    if made.is_err() {
        // What is left of it goes at the next start.
        let _ = vfs.remove_file(&path);
    }
    Ok(Rewritten { path, octets: made? })
}

fn write(vfs: &dyn Vfs, plan: &Plan<'_>, path: &str, pause: Pause<'_>) -> Result<u64, RewriteError> {
    let file = vfs.open(path, Open::CreateNew)?;
    write_full(&*file, &plan.header.encode(), BORDER)?;
    let mut out = Out { file: &*file, at: RECORDS, buffer: Vec::new(), synced: RECORDS, pause };
    let mut places = Vec::new();
    for ordinal in survivors(plan)? {
        places.push((ordinal, place(out.at)?));
        let from = plan.from.place(ordinal).ok_or(RewriteError::Damaged(ordinal))?;
        let header = header_at(plan.from, ordinal)?;
        out.copy(&*plan.from.file, from, header.total())?;
    }
    let records_end = out.at;
    out.put(plan.notes)?;
    let places = Places::new(places);
    let table = places.encode();
    let front = Front {
        number: plan.number,
        generation: plan.generation,
        last_seq: plan.last_seq,
        records_end,
        notes_end: out.at,
        entries: places.len() as u64,
        table_crc: crc32c::crc32c(&table),
    };
    out.put(&table)?;
    out.write_out()?;
    let octets = out.at;
    file.sync_data()?;
    write_full(&*file, &front.encode(), 0)?;
    file.sync_all()?;
    Ok(octets)
}

/// Places are counted in units of 8 octets, as ordinals are: the file is never longer than the segment was.
fn place(at: u64) -> io::Result<u32> {
    u32::try_from(at / 8).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Ordinals of what stays: the deliveries, and their bodies where those are in this segment.
fn survivors(plan: &Plan<'_>) -> Result<BTreeSet<u32>, RewriteError> {
    let mut all = plan.deliveries.clone();
    for &ordinal in plan.deliveries {
        let damaged = || RewriteError::Damaged(ordinal);
        let header = header_at(plan.from, ordinal)?;
        let at = plan.from.place(ordinal).ok_or_else(damaged)?;
        let mut octets = vec![0; usize::try_from(header.data_at()).map_err(|_| damaged())?];
        let read = read_full(&*plan.from.file, &mut octets, at)?;
        let meta = header.meta(&octets[..read]).ok_or_else(damaged)?;
        let (body, _, _) = record::read_placement(header.kind, meta).ok_or_else(damaged)?;
        if body.segment == plan.number {
            all.insert(body.ordinal);
        }
    }
    Ok(all)
}

fn header_at(from: &Opened, ordinal: u32) -> Result<Header, RewriteError> {
    let damaged = || RewriteError::Damaged(ordinal);
    let mut octets = [0; HEADER];
    let read = read_full(&*from.file, &mut octets, from.place(ordinal).ok_or_else(damaged)?)?;
    Header::read(&octets[..read]).ok_or_else(damaged)
}

struct Out<'a> {
    file: &'a dyn File,
    /// Where the next octet goes.
    at: u64,
    /// What goes before it, and is not written yet.
    buffer: Vec<u8>,
    synced: u64,
    pause: Pause<'a>,
}

impl Out<'_> {
    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(octets);
        self.at += octets.len() as u64;
        if self.buffer.len() >= WRITE {
            self.write_out()?;
        }
        if self.at - self.synced >= STEP {
            self.write_out()?;
            self.file.sync_data()?;
            (self.pause)()?;
            self.synced = self.at;
        }
        Ok(())
    }

    fn write_out(&mut self) -> io::Result<()> {
        write_full(self.file, &self.buffer, self.at - self.buffer.len() as u64)?;
        self.buffer.clear();
        Ok(())
    }

    fn copy(&mut self, from: &dyn File, mut at: u64, mut octets: u64) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(octets).unwrap_or(usize::MAX).min(4 * PIECE)];
        while octets > 0 {
            let n = usize::try_from(octets).unwrap_or(usize::MAX).min(buffer.len());
            let read = read_full(from, &mut buffer[..n], at)?;
            if read < n {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.put(&buffer[..n])?;
            at += n as u64;
            octets -= n as u64;
        }
        Ok(())
    }
}

/// Whether a file that was read back holds what was planned: every survivor whole, as far as it was whole before.
pub(crate) fn verify(vfs: &dyn Vfs, plan: &Plan<'_>, path: &str) -> Result<(), RewriteError> {
    let file = vfs.open(path, Open::Read)?;
    let opened = match super::format::open(&*file, plan.number)? {
        Ok(compacted) if compacted.front.generation == plan.generation => {
            Opened::compacted(file, compacted.places)
        }
        _ => return Err(io::Error::other("what was written is not what is read").into()),
    };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for ordinal in survivors(plan)? {
        let header = header_at(plan.from, ordinal)?;
        let (Some(was), Some(is)) = (plan.from.place(ordinal), opened.place(ordinal)) else {
            return Err(RewriteError::Damaged(ordinal));
        };
        let mut done = 0;
        while done < header.total() {
            let n = usize::try_from(header.total() - done).unwrap_or(usize::MAX).min(4 * PIECE);
            old.resize(n, 0);
            new.resize(n, 0);
            let read = read_full(&*plan.from.file, &mut old, was + done)?;
            let again = read_full(&*opened.file, &mut new, is + done)?;
            if read < n || again < n || old != new {
                return Err(RewriteError::Damaged(ordinal));
            }
            done += n as u64;
        }
    }
    Ok(())
}
