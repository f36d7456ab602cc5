//! A group's octets before they are written: small records in one buffer, bodies where their receivers put them.

use crate::group::{BORDER, CHAIN, HEADER};
use crate::id::Location;
use crate::record::{self, Record};

/// Which body: of which request of the group, and which of its bodies.
pub(crate) type BodyKey = (usize, usize);

/// Lays out a group. Bodies are not copied: they are cut in between when the slices are made.
#[derive(Debug)]
pub(crate) struct Builder {
    segment: u32,
    /// Where in the segment the group begins.
    offset: u64,
    small: Vec<u8>,
    /// A body stands before this octet of `small`; its length.
    cuts: Vec<(usize, BodyKey, u64)>,
    bodies: u64,
}

/// How far a builder has come, to return to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    small: usize,
    cuts: usize,
    bodies: u64,
}

impl Builder {
    /// An empty group at a place; `buffer` is one to be used again.
    pub(crate) fn new(segment: u32, offset: u64, mut buffer: Vec<u8>) -> Builder {
        buffer.clear();
        buffer.resize(HEADER, 0);
        Builder { segment, offset, small: buffer, cuts: Vec::new(), bodies: 0 }
    }

    /// Octets from the group's beginning to the next record.
    fn here(&self) -> u64 {
        self.small.len() as u64 + self.bodies
    }

    fn location(&self) -> Location {
        // A segment is far smaller than 2^32 units of 8 octets: see `Tuning::segment` and the writer's `room`.
        Location { segment: self.segment, ordinal: ((self.offset + self.here()) / 8) as u32 }
    }

    /// Octets of the records so far.
    pub(crate) fn length(&self) -> u64 {
        self.here() - HEADER as u64
    }

    /// Octets that the group would take in its file.
    pub(crate) fn total(&self) -> u64 {
        (self.here() + CHAIN as u64).next_multiple_of(BORDER)
    }

    pub(crate) fn body_count(&self) -> usize {
        self.cuts.len()
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { small: self.small.len(), cuts: self.cuts.len(), bodies: self.bodies }
    }

    pub(crate) fn return_to(&mut self, mark: Mark) {
        self.small.truncate(mark.small);
        self.cuts.truncate(mark.cuts);
        self.bodies = mark.bodies;
    }

    /// Adds a record; says where it lies.
    pub(crate) fn record(&mut self, record: &Record) -> Location {
        let at = self.location();
        record.encode(&mut self.small);
        at
    }

    /// Adds a body's record; says where it lies.
    pub(crate) fn body(&mut self, key: BodyKey, octets: usize, crcs: &[u32]) -> Location {
        let at = self.location();
        record::encode_body(&mut self.small, octets as u32, crcs);
        if octets > 0 {
            self.cuts.push((self.small.len(), key, octets as u64));
            self.bodies += octets as u64;
            let padding = octets.next_multiple_of(8) - octets;
            self.small.resize(self.small.len() + padding, 0);
        }
        at
    }

    /// Puts the header in its place.
    pub(crate) fn set_header(&mut self, header: &[u8; HEADER]) {
        self.small[..HEADER].copy_from_slice(header);
    }

    /// Adds what comes after the records: the chain, and zeros to the border.
    pub(crate) fn finish(&mut self, chain: u128) {
        let total = self.total();
        self.small.extend_from_slice(&chain.to_le_bytes());
        let zeros = total - self.here();
        self.small.resize(self.small.len() + zeros as usize, 0);
    }

    /// The group's octets in order; `body` says where a body is.
    pub(crate) fn slices<'a, 'b: 'a>(&'a self, body: impl Fn(BodyKey) -> &'b [u8]) -> Vec<&'a [u8]> {
        let mut slices = Vec::with_capacity(self.cuts.len() * 2 + 1);
        let mut from = 0;
        for &(cut, key, _) in &self.cuts {
            slices.push(&self.small[from..cut]);
            slices.push(body(key));
            from = cut;
        }
        slices.push(&self.small[from..]);
        slices.retain(|s| !s.is_empty());
        slices
    }

    /// Gives the buffer back.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.small
    }
}
