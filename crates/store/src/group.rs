//! Groups: what reaches the disk with one fdatasync, whole or not at all. Pure encoding and decoding.
//!
//! A group begins on a 4,096-octet border of its segment, so that no write touches a page that holds acknowledged octets:
//!
//! ```text
//! 0 magic "PFGROUP1" · 8 format u32 · 12 zero u32 · 16 epoch secret · 32 segment u32 · 36 zero u32 · 40 offset u64
//! 48 seq u64 · 56 time s i64 · 64 time ns u32 · 68 zero u32 · 72 first commit u64 · 80 length u64
//! 88 chain of the group before · 104 zeros · 124 crc32c of the 124 octets before
//! 128 records (length octets) · then the chain, 16 octets · then zeros up to the next border
//! ```
//!
//! The chain is SipHash-2-4-128, keyed with the epoch's secret, of the header and the records. The secret never leaves
//! the log, so no message can hold octets that pass for a group.

use std::hash::Hasher as _;
use std::io;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::codec::{Put, Take};
use crate::id::UnixTime;
use crate::vfs::{File, read_full};

/// Octets of a group's header.
pub(crate) const HEADER: usize = 128;
/// Octets of the chain after the records.
pub(crate) const CHAIN: usize = 16;
/// Groups begin on multiples of this.
pub(crate) const BORDER: u64 = 4096;
/// The format of groups and records.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"PFGROUP1";
/// So much of a group is read at a time.
const PIECE: usize = 1 << 20;

/// What a group says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) secret: [u8; 16],
    pub(crate) segment: u32,
    /// Where in the segment it begins.
    pub(crate) offset: u64,
    /// One more than the group before, for ever.
    pub(crate) seq: u64,
    pub(crate) time: UnixTime,
    pub(crate) first_commit: u64,
    /// Octets of its records.
    pub(crate) length: u64,
    /// The chain of the group before.
    pub(crate) previous: u128,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut to = Vec::with_capacity(HEADER);
        to.extend_from_slice(MAGIC);
        to.u32(FORMAT);
        to.u32(0);
        to.extend_from_slice(&self.secret);
        to.u32(self.segment);
        to.u32(0);
        to.u64(self.offset);
        to.u64(self.seq);
        to.i64(self.time.secs);
        to.u32(self.time.nanos);
        to.u32(0);
        to.u64(self.first_commit);
        to.u64(self.length);
        to.u128(self.previous);
        to.resize(HEADER - 4, 0);
        let crc = crc32c::crc32c(&to);
        to.u32(crc);
        let mut header = [0; HEADER];
        header.copy_from_slice(&to);
        header
    }

    /// The header at the front of `octets`; `None` if it is not one of ours, whole.
    pub(crate) fn decode(octets: &[u8]) -> Option<Header> {
        let whole = octets.get(..HEADER)?;
        let mut take = Take::new(whole);
        if take.slice(8)? != MAGIC || take.u32()? != FORMAT || take.u32()? != 0 {
            return None;
        }
        let secret = take.slice(16)?.try_into().ok()?;
        let segment = take.u32()?;
        take.u32()?;
        let header = Header {
            secret,
            segment,
            offset: take.u64()?,
            seq: take.u64()?,
            time: UnixTime { secs: take.i64()?, nanos: take.u32().filter(|_| take.u32().is_some())? },
            first_commit: take.u64()?,
            length: take.u64()?,
            previous: take.u128()?,
        };
        take.slice(HEADER - 4 - 104)?;
        let sound = take.u32()? == crc32c::crc32c(&whole[..HEADER - 4]);
        (sound && header.length.is_multiple_of(8) && header.offset.is_multiple_of(BORDER)).then_some(header)
    }

    /// The format of a group of this epoch that a newer version wrote: where magic, format, secret and CRC stand never
    /// changes. Without the secret a message could pass for one.
    pub(crate) fn newer(octets: &[u8], secret: &[u8; 16]) -> Option<u32> {
        let whole = octets.get(..HEADER)?;
        let mut take = Take::new(whole);
        let ours = take.slice(8)? == MAGIC;
        let format = take.u32()?;
        take.u32()?;
        let known = take.slice(16)? == secret;
        let sound = whole[HEADER - 4..] == crc32c::crc32c(&whole[..HEADER - 4]).to_le_bytes();
        (ours && known && sound && format > FORMAT).then_some(format)
    }

    /// Octets from its beginning to the next group's; `None` if no file could hold it.
    pub(crate) fn total(&self) -> Option<u64> {
        self.length.checked_add((HEADER + CHAIN) as u64)?.checked_next_multiple_of(BORDER)
    }
}

/// The chain of a group whose records are these pieces, one after another.
pub(crate) fn chain<'a>(
    secret: &[u8; 16],
    header: &[u8; HEADER],
    records: impl Iterator<Item = &'a [u8]>,
) -> u128 {
    // The header holds the chain before, so that one is in it too.
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(header);
    records.for_each(|piece| hasher.write(piece));
    hasher.finish128().as_u128()
}

/// The chain of a group that lies in a file, read a piece at a time; `None` unless all of it is there, unharmed.
pub(crate) fn check_file(header: &Header, file: &dyn File) -> io::Result<Option<u128>> {
    let mut hasher = SipHasher24::new_with_key(&header.secret);
    let end = header.offset.saturating_add(HEADER as u64).saturating_add(header.length);
    let mut at = header.offset;
    let mut piece = vec![0; PIECE];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let read = read_full(file, &mut piece[..wanted], at)?;
        if read < wanted {
            return Ok(None);
        }
        hasher.write(&piece[..read]);
        at += read as u64;
    }
    let mut found = [0; CHAIN];
    let whole = read_full(file, &mut found, at)? == CHAIN;
    let chain = hasher.finish128().as_u128();
    Ok((whole && found == chain.to_le_bytes()).then_some(chain))
}

/// The chain of the group that `octets` begins with and its records; `None` unless all of it is there, unharmed.
pub(crate) fn check<'a>(header: &Header, octets: &'a [u8]) -> Option<(u128, &'a [u8])> {
    let length = usize::try_from(header.length).ok()?;
    let front: &[u8; HEADER] = octets.get(..HEADER)?.try_into().ok()?;
    let records = octets.get(HEADER..HEADER.checked_add(length)?)?;
    let found = octets.get(HEADER + length..)?.get(..CHAIN)?;
    let chain = chain(&header.secret, front, std::iter::once(records));
    (found == chain.to_le_bytes()).then_some((chain, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            secret: *b"0123456789abcdef",
            segment: 3,
            offset: 8192,
            seq: 77,
            time: UnixTime { secs: 1_800_000_000, nanos: 5 },
            first_commit: 99,
            length: 16,
            previous: 0xfeed,
        }
    }

    #[test]
    fn a_group_has_the_octets_that_it_had_from_the_first_day() {
        let octets = header().encode();
        assert_eq!(&octets[..16], b"PFGROUP1\x01\0\0\0\0\0\0\0");
        assert_eq!(octets[40..56], [0, 32, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(octets[88..92], [0xed, 0xfe, 0, 0]);
        let chain = chain(&header().secret, &octets, [&b"abcdefgh"[..], b"ijklmnop"].into_iter());
        assert_eq!(format!("{chain:032x}"), KNOWN_CHAIN);
        assert_eq!(u32::from_le_bytes(octets[124..].try_into().unwrap()), KNOWN_CRC);
    }
    const KNOWN_CHAIN: &str = "1070a4ac9148ed1a2855d31aac8371a6";
    const KNOWN_CRC: u32 = 458_259_217;

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let secret = header().secret;
        let mut octets = header().encode();
        assert_eq!(Header::newer(&octets, &secret), None);
        octets[8] = 2;
        assert_eq!(Header::newer(&octets, &secret), None, "its CRC is another's");
        let crc = crc32c::crc32c(&octets[..HEADER - 4]).to_le_bytes();
        octets[HEADER - 4..].copy_from_slice(&crc);
        assert_eq!((Header::newer(&octets, &secret), Header::decode(&octets)), (Some(2), None));
        assert_eq!(Header::newer(&octets, b"somebody else's."), None);
    }

    #[test]
    fn a_group_is_whole_or_nothing() {
        let front = header().encode();
        let mut octets = front.to_vec();
        octets.extend_from_slice(b"abcdefghijklmnop");
        let whole = chain(&header().secret, &front, std::iter::once(&octets[HEADER..]));
        octets.u128(whole);
        assert_eq!(check(&header(), &octets), Some((whole, &b"abcdefghijklmnop"[..])));
        assert_eq!(check(&header(), &octets[..octets.len() - 1]), None);
        for at in HEADER..octets.len() {
            octets[at] ^= 4;
            assert_eq!(check(&header(), &octets), None, "octet {at}");
            octets[at] ^= 4;
        }
        for at in 0..HEADER {
            octets[at] ^= 4;
            assert_eq!(Header::decode(&octets), None, "octet {at}");
            octets[at] ^= 4;
        }
    }

    proptest! {
        #[test]
        fn a_header_comes_back(secret: [u8; 16], segment: u32, page in 0u64..1 << 40, seq: u64, secs: i64, nanos: u32, first_commit: u64, words in 0u64..1 << 40, previous: u128) {
            let header = Header { secret, segment, offset: page * BORDER, seq, time: UnixTime { secs, nanos }, first_commit, length: words * 8, previous };
            prop_assert_eq!(Header::decode(&header.encode()), Some(header));
        }
    }
}
