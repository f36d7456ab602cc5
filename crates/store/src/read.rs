//! A message's octets: prefix and body as one, read where they lie in the log and checked as read.

use std::io;
use std::sync::Arc;

use crate::id::Location;
use crate::options::Octets;
use crate::state::block::Row;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The mailbox does not exist (any more).
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// The log's octets at this place are not what was written.
    #[error("the log is damaged at {0}")]
    Damaged(Location),
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
    /// The index failed; the next start rebuilds it.
    #[error(transparent)]
    Index(#[from] crate::index::IndexError),
}

/// A message's octets as served. It stays readable when the message is expunged.
#[derive(Debug)]
pub struct Message {
    pub(crate) prefix: Arc<[u8]>,
}

impl Message {
    /// RFC822.SIZE.
    #[must_use]
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    /// Whether it has no octets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads at an offset; fewer octets than asked for only at the end. Reads and checks only the 64 KiB pieces that
    /// it needs.
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize, ReadError> {
        unimplemented!()
    }
    /// Everything in one piece or two, if the whole message is in memory (messages up to about 1 MiB are).
    #[must_use]
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn whole(&self) -> Option<[&[u8]; 2]> {
        unimplemented!()
    }
    /// The header with the empty line that ends it; everything if there is none.
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn header(&self) -> Result<Vec<u8>, ReadError> {
        unimplemented!()
    }
    /// All octets.
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn to_vec(&self) -> Result<Vec<u8>, ReadError> {
        unimplemented!()
    }
}

impl Octets for Message {
    fn len(&self) -> u64 {
        Message::len(self)
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        Message::read_at(self, offset, buf)
    }
    fn whole(&self) -> Option<[&[u8]; 2]> {
        Message::whole(self)
    }
}

/// Messages one after another, neighbours read together. See [`crate::Store::messages`].
#[derive(Debug)]
pub struct Messages<'a> {
    #[expect(dead_code, reason = "the signature lands before the body")]
    pub(crate) rows: &'a [Row],
}

impl Iterator for Messages<'_> {
    type Item = (Row, Result<Message, ReadError>);
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
