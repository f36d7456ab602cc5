//! What a message says of itself: envelope, structure, sections, and its text as people read it.
//!
//! It reads octets and never changes them. The result is a [`Digest`], which the store keeps for each message
//! ([`Deriver`]), so that ENVELOPE, BODYSTRUCTURE, a section of a 50 MB message or a search by header needs no
//! second look at the message. Junk gives an odd digest, never an error or a panic; time is linear and memory
//! bounded whatever the message (`wire::limits::{MIME_DEPTH, MIME_PARTS, HEADER}`).
//!
//! RFC 5322, RFC 2045 to 2047, RFC 2183, RFC 3501 s.6.4.5 and s.7.4.2. mail-parser gives character sets and dates;
//! the walk over the parts is our own, since IMAP needs to know where each octet is.

mod address;
mod codec;
mod digest;
mod field;
pub mod header;
mod section;
pub mod text;
mod transfer;
mod walk;
pub mod words;

use store::{Derive, Octets, ReadError};

pub use digest::{Digest, Part, SearchHeader, Sent};
pub use section::{What, header_fields, locate};
pub use transfer::Encoding;

/// Looks at the header fields of a message and of all its parts while it streams by: whether it can travel as mail of
/// before RFC 6532.
pub struct Headers(walk::Walker);

impl Default for Headers {
    fn default() -> Headers {
        Headers(walk::Walker::new())
    }
}

impl Headers {
    /// The next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        self.0.push(octets);
    }

    /// The message is whole: whether its header fields are ASCII. Not, to be on the safe side, if there are more of them
    /// than are looked at, or a message in it says itself that its fields are not (`message/global`, RFC 6532 s.3.7).
    #[must_use]
    pub fn are_ascii(self) -> bool {
        self.0.headers_are_ascii()
    }
}

/// Octets read at a time of a message that is not in memory.
const WINDOW: usize = 256 * 1024;

/// Makes the digests that the store keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deriver;

impl Derive for Deriver {
    fn version(&self) -> u32 {
        digest::VERSION.into()
    }

    fn derive(&self, message: &mut dyn Octets) -> Vec<u8> {
        // An empty digest is no digest: who reads it makes one for himself (see `derive`), and meets the error.
        derive(message).unwrap_or_default()
    }
}

/// The digest of a message, read in one pass and in pieces.
pub fn derive(message: &mut dyn Octets) -> Result<Vec<u8>, ReadError> {
    let mut walker = walk::Walker::new();
    if let Some(pieces) = message.whole() {
        pieces.iter().for_each(|piece| walker.push(piece));
        return Ok(digest::encode(&walker.finish()));
    }
    let mut window = vec![0; WINDOW];
    let mut at = 0;
    loop {
        let read = message.read_at(at, &mut window)?;
        let Some(octets) = window.get(..read).filter(|o| !o.is_empty()) else { break };
        walker.push(octets);
        at += read as u64;
    }
    Ok(digest::encode(&walker.finish()))
}

/// The digest of a message that is in memory.
#[must_use]
pub fn digest_of(message: &[u8]) -> Vec<u8> {
    let mut walker = walk::Walker::new();
    walker.push(message);
    digest::encode(&walker.finish())
}

#[cfg(test)]
mod tests;
