//! A body on its way in: small in memory, large straight into a segment of its own.

use std::io;

/// Why a body could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk has no room for new mail.
    #[error("no space left for new mail")]
    Full,
    /// Larger than any message may be.
    #[error("larger than any message may be")]
    TooLarge,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
}

/// Takes a body's octets as they come. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct Spool {}

impl Spool {
    /// Adds octets. May block on the disk once the body is large.
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn push(&mut self, _octets: &[u8]) -> Result<(), SpoolError> {
        unimplemented!()
    }
    /// Octets so far.
    #[must_use]
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether the next `push` or `finish` may block on the disk.
    #[must_use]
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn is_large(&self) -> bool {
        unimplemented!()
    }
    /// The body is whole. Blocks on an fdatasync if it is large.
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn finish(self) -> Result<Spooled, SpoolError> {
        unimplemented!()
    }
}

/// A whole body, to be put into a [`crate::Batch`]. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Spooled {
    octets: Vec<u8>,
}

impl Spooled {
    /// Its octets' number.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.octets.len() as u64
    }
    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The octets, if they are in memory.
    #[must_use]
    pub fn octets(&self) -> Option<&[u8]> {
        Some(&self.octets)
    }
    /// Reads at an offset, wherever it is; fewer octets than asked for only at the end.
    #[expect(clippy::unimplemented, reason = "the signature lands before the body")]
    pub fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> io::Result<usize> {
        unimplemented!()
    }
}

impl From<Vec<u8>> for Spooled {
    fn from(octets: Vec<u8>) -> Spooled {
        Spooled { octets }
    }
}
