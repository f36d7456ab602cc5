//! A snapshot's file being written: gently, a piece at a time, each piece synced before the next.
//!
//! The log's fdatasync waits behind whatever else the disk has to do. A piece is small, so that no delivery waits long.

use std::hash::Hasher as _;
use std::io;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::format::{End, First, Item};
use super::read::sum_of;
use super::{DIR, path_of};
use crate::segment::TMP;
use crate::vfs::{File, Open, Vfs, write_full};

/// Octets of a piece.
const STEP: usize = 1 << 20;

/// Writes a snapshot. Dropped unfinished, it removes its file.
#[derive(Debug)]
pub(crate) struct Writer<'v> {
    vfs: &'v dyn Vfs,
    file: Arc<dyn File>,
    path: String,
    seq: u64,
    buffer: Vec<u8>,
    /// Octets in the file.
    written: u64,
    sum: SipHasher24,
    items: u64,
    rows: u64,
    finished: bool,
}

impl<'v> Writer<'v> {
    pub(crate) fn new(vfs: &'v dyn Vfs, first: &First) -> io::Result<Writer<'v>> {
        let seq = first.position.seq;
        let path = format!("{TMP}/{seq:016x}.snap");
        match vfs.remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = vfs.open(&path, Open::CreateNew)?;
        let (buffer, sum) = (first.encode(), sum_of(first.store));
        Ok(Writer { vfs, file, path, seq, buffer, written: 0, sum, items: 0, rows: 0, finished: false })
    }

    /// Adds a record. Says whether a piece was written: then is a good time to ask whether to go on.
    pub(crate) fn push(&mut self, item: &Item) -> io::Result<bool> {
        item.encode(&mut self.buffer);
        self.items += 1;
        if let Item::Rows { blocks, .. } = item {
            self.rows += blocks.iter().map(|b| b.len() as u64).sum::<u64>();
        }
        let full = self.buffer.len() >= STEP;
        if full {
            self.sum.write(&self.buffer);
            self.write_out()?;
        }
        Ok(full)
    }

    fn write_out(&mut self) -> io::Result<()> {
        write_full(&*self.file, &self.buffer, self.written)?;
        self.file.sync_data()?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends it, makes it durable, and gives it its name. Says how many octets it has.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.sum.write(&self.buffer);
        let end = End { items: self.items, rows: self.rows, sum: self.sum.finish128().as_u128() };
        Item::End(end).encode(&mut self.buffer);
        self.write_out()?;
        self.file.sync_all()?;
        self.vfs.create_dir_all(DIR)?;
        self.vfs.rename(&self.path, &path_of(self.seq))?;
        self.finished = true;
        self.vfs.sync_dir(DIR)?;
        // The directory's own name: an earlier process may have made it and gone before this.
        self.vfs.sync_dir("")?;
        Ok(self.written)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // What is left of it goes at the next start.
            let _ = self.vfs.remove_file(&self.path);
        }
    }
}
