//! Side segments: one large body each, written once by whoever received it, then adopted by a small commit.
//!
//! ```text
//! 0 magic "PFSIDE01" · 8 format u32 · 12 number u32 · 16 store u128 · 32 octets u64 · 40 crc32c of the table u32
//! 44 zeros · 4092 crc32c of the 4092 octets before
//! 4096 the body · padded to 8 · then a crc32c for each 64 KiB of it
//! ```
//!
//! The first page is written last, with the same fdatasync; the file gets its name only then. One that no commit
//! adopted is removed at the next start.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::{Put, Take, pad8};
use crate::id::Location;
use crate::record::PIECE;
use crate::segment::{DIR, TMP, side_path};
use crate::vfs::{File, Open, Vfs, read_full, write_full};

const MAGIC: &[u8; 8] = b"PFSIDE01";
const FORMAT: u32 = 1;
const PAGE: usize = 4096;
/// Where the body begins.
pub(crate) const DATA_AT: u64 = PAGE as u64;
/// Written in steps of this size.
const STEP: usize = 256 * 1024;
/// Room is asked for in steps of this size.
const ROOM: u64 = 8 << 20;

/// The location of a side segment's body.
pub(crate) fn location(number: u32) -> Location {
    Location { segment: number, ordinal: (DATA_AT / 8) as u32 }
}

fn first_page(number: u32, store: u128, octets: u64, table_crc: u32) -> Vec<u8> {
    let mut to = Vec::with_capacity(PAGE);
    to.extend_from_slice(MAGIC);
    to.u32(FORMAT);
    to.u32(number);
    to.u128(store);
    to.u64(octets);
    to.u32(table_crc);
    to.resize(PAGE - 4, 0);
    let crc = crc32c::crc32c(&to);
    to.u32(crc);
    to
}

/// A side segment's body, from its first page and its table: octets and the CRC of each piece.
pub(crate) fn open(file: &dyn File, number: u32) -> io::Result<Option<(u64, Vec<u32>)>> {
    let mut page = vec![0; PAGE];
    if read_full(file, &mut page, 0)? < PAGE {
        return Ok(None);
    }
    let Some((octets, table_crc)) = read_page(&page, number) else { return Ok(None) };
    let pieces = octets.div_ceil(PIECE as u64);
    // The file cannot be shorter than what it says; asking it first keeps a damaged number from asking for memory.
    let end = pad8(octets).checked_add(DATA_AT).and_then(|n| n.checked_add(pieces * 4));
    let Some(end) = end.filter(|&end| file.len().is_ok_and(|len| end <= len)) else { return Ok(None) };
    let mut table = vec![0; (pieces * 4) as usize];
    if read_full(file, &mut table, end - pieces * 4)? < table.len() || crc32c::crc32c(&table) != table_crc {
        return Ok(None);
    }
    Ok(crate::record::body_crcs(&table, octets).map(|crcs| (octets, crcs)))
}

fn read_page(page: &[u8], number: u32) -> Option<(u64, u32)> {
    let (front, crc) = page.split_at_checked(PAGE - 4)?;
    let mut take = Take::new(front);
    if crc != crc32c::crc32c(front).to_le_bytes() || take.slice(8)? != MAGIC || take.u32()? != FORMAT {
        return None;
    }
    if take.u32()? != number {
        return None;
    }
    take.u128()?;
    Some((take.u64()?, take.u32()?))
}

/// Writes a side segment. Dropped unfinished, it removes its file.
#[derive(Debug)]
pub(crate) struct Writer {
    vfs: Arc<dyn Vfs>,
    file: Arc<dyn File>,
    number: u32,
    store: u128,
    /// Octets of the body so far, `buffer` included.
    octets: u64,
    room: u64,
    buffer: Vec<u8>,
    crcs: Vec<u32>,
    /// The CRC of the piece that is not full yet.
    open_crc: u32,
    finished: bool,
}

fn tmp_path(number: u32) -> String {
    format!("{TMP}/{number:08}.side")
}

impl Writer {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, number: u32, store: u128) -> io::Result<Writer> {
        let file = vfs.open(&tmp_path(number), Open::CreateNew)?;
        Ok(Writer {
            vfs,
            file,
            number,
            store,
            octets: 0,
            room: 0,
            buffer: Vec::new(),
            crcs: Vec::new(),
            open_crc: 0,
            finished: false,
        })
    }

    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    pub(crate) fn push(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            let in_piece = (self.octets % PIECE as u64) as usize;
            let n = octets.len().min(PIECE - in_piece);
            let (now, rest) = octets.split_at(n);
            self.open_crc = crc32c::crc32c_append(self.open_crc, now);
            self.buffer.extend_from_slice(now);
            self.octets += n as u64;
            if in_piece + n == PIECE {
                self.crcs.push(std::mem::take(&mut self.open_crc));
                if self.buffer.len() >= STEP {
                    self.write_out()?;
                }
            }
            octets = rest;
        }
        Ok(())
    }

    fn write_out(&mut self) -> io::Result<()> {
        let at = DATA_AT + self.octets - self.buffer.len() as u64;
        let end = at + self.buffer.len() as u64;
        if end > self.room {
            self.room = end.next_multiple_of(ROOM);
            self.file.preallocate(self.room)?;
        }
        write_full(&*self.file, &self.buffer, at)?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the segment durable under its name; a commit may adopt it now.
    pub(crate) fn finish(mut self) -> io::Result<Side> {
        if !self.octets.is_multiple_of(PIECE as u64) {
            self.crcs.push(self.open_crc);
        }
        self.write_out()?;
        let mut table = Vec::with_capacity(self.crcs.len() * 4);
        self.crcs.iter().for_each(|&crc| table.u32(crc));
        let at = DATA_AT + pad8(self.octets);
        // The padding before the table may never have been written.
        let padding = [0; 8];
        let gap = (pad8(self.octets) - self.octets) as usize;
        write_full(&*self.file, &padding[..gap], DATA_AT + self.octets)?;
        write_full(&*self.file, &table, at)?;
        write_full(
            &*self.file,
            &first_page(self.number, self.store, self.octets, crc32c::crc32c(&table)),
            0,
        )?;
        self.file.truncate(at + table.len() as u64)?;
        self.file.sync_data()?;
        self.vfs.rename(&tmp_path(self.number), &side_path(self.number))?;
        // From here on it has its name, and must be removed under it if the directory cannot be synced.
        self.finished = true;
        let side = Side {
            vfs: self.vfs.clone(),
            file: self.file.clone(),
            number: self.number,
            octets: self.octets,
            adopted: AtomicBool::new(false),
        };
        self.vfs.sync_dir(DIR)?;
        Ok(side)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            // What is left of it goes at the next start.
            let _ = self.vfs.remove_file(&tmp_path(self.number));
        }
    }
}

/// A durable side segment. Dropped before a commit may have adopted it, it removes its file.
#[derive(Debug)]
pub(crate) struct Side {
    vfs: Arc<dyn Vfs>,
    file: Arc<dyn File>,
    pub(crate) number: u32,
    pub(crate) octets: u64,
    adopted: AtomicBool,
}

impl Side {
    /// From now on the log may name it: it stays whatever happens.
    pub(crate) fn adopt(&self) {
        self.adopted.store(true, Ordering::SeqCst);
    }

    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.octets.saturating_sub(offset);
        let n = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        read_full(&*self.file, &mut buf[..n], DATA_AT + offset)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.adopted.load(Ordering::SeqCst) {
            let _ = self.vfs.remove_file(&side_path(self.number));
        }
    }
}

/// Writes slices one after another, going on after short writes and in steps of what one call takes.
pub(crate) fn write_slices(file: &dyn File, slices: &[&[u8]], mut offset: u64) -> io::Result<()> {
    let mut skip = 0;
    let mut first = 0;
    while first < slices.len() {
        let end = slices.len().min(first + crate::vfs::MAX_SLICES);
        let mut io: Vec<IoSlice<'_>> = Vec::with_capacity(end - first);
        io.push(IoSlice::new(&slices[first][skip..]));
        io.extend(slices[first + 1..end].iter().map(|s| IoSlice::new(s)));
        let mut written = file.write_at(&io, offset)?;
        offset += written as u64;
        let wanted: usize = io.iter().map(|s| s.len()).sum();
        if written > wanted || (written == 0 && wanted > 0) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while first < end && written >= slices[first].len() - skip {
            written -= slices[first].len() - skip;
            skip = 0;
            first += 1;
        }
        skip += written;
    }
    Ok(())
}
