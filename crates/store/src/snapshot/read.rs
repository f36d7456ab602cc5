//! A snapshot's file, read from the front, a piece at a time, and believed only if all of it is what was written.

use std::hash::Hasher as _;
use std::io;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::format::{First, Item, PAGE};
use crate::record::{self, HEADER, Header};
use crate::segment::Bad;
use crate::vfs::{File, Open, Vfs, read_full};

/// Octets read at a time.
const STEP: usize = 1 << 20;

/// Why a snapshot is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    /// Not what was written, from about this octet on.
    #[error("{what} at octet {at}")]
    Damaged { at: u64, what: &'static str },
    /// Written by a newer version.
    #[error("it was written by a newer version: {0}")]
    Newer(String),
    /// The disk failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The sum of a snapshot's octets, begun.
pub(crate) fn sum_of(store: u128) -> SipHasher24 {
    SipHasher24::new_with_key(&store.to_le_bytes())
}

/// The first page alone.
pub(crate) fn first(vfs: &dyn Vfs, path: &str) -> Result<First, Flaw> {
    let mut source = Source::open(vfs, path)?;
    source.first().map(|(first, _)| first)
}

/// Reads all of it and tells `each` of every record but the last, in order. Whatever `each` was told counts only if the
/// answer is `Ok`: then every octet of the file is as it was written.
///
/// With `trusting` (a way to break the store on purpose), what is damaged is passed over in silence.
pub(crate) fn read(
    vfs: &dyn Vfs,
    path: &str,
    trusting: bool,
    each: &mut dyn FnMut(Item) -> Result<(), &'static str>,
) -> Result<First, Flaw> {
    let mut source = Source::open(vfs, path)?;
    let (first, mut sum) = source.first()?;
    let (mut items, mut rows) = (0, 0);
    loop {
        let damaged = |at: u64, what| Err(Flaw::Damaged { at, what });
        let at = source.at();
        let (header, octets) = match source.record()? {
            Some(record) => record,
            None if trusting => return Ok(first),
            None => return damaged(at, "there is no whole record"),
        };
        let total = header.total();
        let Some(meta) = header.meta(octets).filter(|_| header.data_len == 0) else {
            if trusting {
                source.pass(total);
                continue;
            }
            return damaged(at, "a record is damaged");
        };
        let item = match Item::decode(&header, meta) {
            Ok(item) => item,
            Err(record::Bad::Newer(kind, version)) => {
                return Err(Flaw::Newer(format!("a record of kind {kind}, version {version}")));
            }
            Err(record::Bad::Damaged) => return damaged(at, "a record is not what any version wrote"),
        };
        if let Some(Item::End(end)) = &item {
            let sound = (end.items, end.rows, end.sum) == (items, rows, sum.finish128().as_u128())
                && rows == first.rows
                && at + total == source.len;
            return if sound || trusting { Ok(first) } else { damaged(at, "the sum is another one") };
        }
        sum.write(octets);
        items += 1;
        if let Some(Item::Rows { blocks, .. }) = &item {
            rows += blocks.iter().map(|b| b.len() as u64).sum::<u64>();
        }
        if let Some(item) = item
            && let Err(what) = each(item)
            && !trusting
        {
            return damaged(at, what);
        }
        source.pass(total);
    }
}

/// A file read forward.
struct Source {
    file: Arc<dyn File>,
    len: u64,
    /// Where in the file the buffer begins.
    start: u64,
    buffer: Vec<u8>,
    /// Where in the buffer we are.
    from: usize,
}

impl Source {
    fn open(vfs: &dyn Vfs, path: &str) -> io::Result<Source> {
        let file = vfs.open(path, Open::Read)?;
        let len = file.len()?;
        // What has just been written would come back from memory, whatever the disk made of it.
        file.uncache();
        Ok(Source { file, len, start: 0, buffer: Vec::new(), from: 0 })
    }

    fn at(&self) -> u64 {
        self.start + self.from as u64
    }

    fn pass(&mut self, octets: u64) {
        // What is passed has been looked at, so it is in the buffer.
        self.from += usize::try_from(octets).unwrap_or(usize::MAX).min(self.buffer.len() - self.from);
    }

    /// At least `wanted` octets from here on; `None` if the file has fewer.
    fn want(&mut self, wanted: u64) -> io::Result<Option<&[u8]>> {
        let left = self.len.saturating_sub(self.at());
        let Ok(wanted) = usize::try_from(wanted) else { return Ok(None) };
        if wanted as u64 > left {
            return Ok(None);
        }
        if self.buffer.len() - self.from < wanted {
            self.start += self.from as u64;
            self.buffer.drain(..std::mem::take(&mut self.from));
            let have = self.buffer.len();
            let most = usize::try_from(left).unwrap_or(STEP).min(STEP);
            self.buffer.resize(wanted.max(most), 0);
            let read = read_full(&*self.file, &mut self.buffer[have..], self.start + have as u64)?;
            self.buffer.truncate(have + read);
        }
        Ok(self.buffer.get(self.from..).filter(|rest| rest.len() >= wanted))
    }

    fn first(&mut self) -> Result<(First, SipHasher24), Flaw> {
        let damaged = Flaw::Damaged { at: 0, what: "there is no whole first page" };
        let Some(page) = self.want(PAGE as u64)?.and_then(|rest| rest.get(..PAGE)) else {
            return Err(damaged);
        };
        let first = match First::decode(page) {
            Ok(first) => first,
            Err(Bad::Newer(format)) => return Err(Flaw::Newer(format!("format {format}"))),
            Err(Bad::Damaged) => return Err(damaged),
        };
        let mut sum = sum_of(first.store);
        sum.write(page);
        self.pass(PAGE as u64);
        Ok((first, sum))
    }

    /// The record here with its header, if all of it is there.
    fn record(&mut self) -> io::Result<Option<(Header, &[u8])>> {
        let Some(header) = self.want(HEADER as u64)?.and_then(Header::read) else { return Ok(None) };
        let Ok(total) = usize::try_from(header.total()) else { return Ok(None) };
        Ok(self.want(header.total())?.and_then(|rest| rest.get(..total)).map(|octets| (header, octets)))
    }
}
