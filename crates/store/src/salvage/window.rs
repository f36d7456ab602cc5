//! A file seen through a window that moves forward: records are looked at where they lie, whatever the file's size.

use std::io;
use std::sync::Arc;

use crate::record::{HEADER, Header};
use crate::vfs::{File, read_full};

/// Octets of the window, unless more is asked for.
const SIZE: usize = 256 << 10;
/// Of one through which a single record is looked at.
const SMALL: usize = 4 << 10;
/// No record's meta is larger: a group is not. A damaged number must not ask for memory.
const LARGEST: u64 = 256 << 20;

#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) file: Arc<dyn File>,
    pub(crate) len: u64,
    size: usize,
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn File>) -> io::Result<Window> {
        let len = file.len()?;
        Ok(Window { file, len, size: SIZE, start: 0, buffer: Vec::new() })
    }

    /// For one record.
    pub(crate) fn small(file: Arc<dyn File>) -> io::Result<Window> {
        Ok(Window { size: SMALL, ..Window::new(file)? })
    }

    /// Exactly so many octets from an offset on; `None` beyond the end.
    pub(crate) fn at(&mut self, offset: u64, wanted: u64) -> io::Result<Option<&[u8]>> {
        let end = offset.saturating_add(wanted);
        if end > self.len || wanted > LARGEST {
            return Ok(None);
        }
        let inside = self.start <= offset && end <= self.start + self.buffer.len() as u64;
        if !inside {
            let size = (wanted as usize).max(self.size).min((self.len - offset) as usize);
            self.buffer.resize(size, 0);
            let read = read_full(&*self.file, &mut self.buffer, offset)?;
            self.buffer.truncate(read);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer.get(from..from + wanted as usize))
    }

    /// The record's header at an offset, if there is one that is whole.
    pub(crate) fn header(&mut self, offset: u64) -> io::Result<Option<Header>> {
        Ok(self.at(offset, HEADER as u64)?.and_then(Header::read))
    }

    /// The meta of the record at an offset; `None` unless it is unharmed.
    pub(crate) fn meta(&mut self, offset: u64, header: &Header) -> io::Result<Option<&[u8]>> {
        let whole = HEADER as u64 + u64::from(header.meta_len);
        Ok(self.at(offset, whole)?.and_then(|octets| header.meta(octets)))
    }
}
