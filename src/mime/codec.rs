//! How a digest is written: LEB128 numbers and counted octets. Reading never panics and takes nothing for granted.

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    loop {
        let [low, ..] = n.to_le_bytes();
        n >>= 7;
        if n == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends octets with their count.
pub(super) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_number(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

/// Appends octets that may be absent.
pub(super) fn put_option(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) => {
            put_number(out, octets.len() as u64 + 1);
            out.extend_from_slice(octets);
        }
        None => put_number(out, 0),
    }
}

/// Appends a signed number.
pub(super) fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_number(out, n.wrapping_shl(1).cast_unsigned() ^ (n >> 63).cast_unsigned());
}

/// Reads what the above wrote. Each method gives `None` when the octets are not what they should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (&b, rest) = self.rest.split_first()?;
            self.rest = rest;
            n |= u64::from(b & 0x7f).checked_shl(shift)?;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    /// A count of things that take an octet each at least.
    pub(super) fn count(&mut self) -> Option<usize> {
        let n = usize::try_from(self.number()?).ok()?;
        (n <= self.rest.len()).then_some(n)
    }

    pub(super) fn octets(&mut self) -> Option<&'a [u8]> {
        let len = self.count()?;
        let (octets, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(octets)
    }

    pub(super) fn option(&mut self) -> Option<Option<&'a [u8]>> {
        let Some(len) = self.number()?.checked_sub(1) else { return Some(None) };
        let (octets, rest) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(Some(octets))
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let n = self.number()?;
        Some((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(n: u64, i: i64, a: Vec<u8>, b: Option<Vec<u8>>) {
            let mut out = Vec::new();
            put_number(&mut out, n);
            put_signed(&mut out, i);
            put_octets(&mut out, &a);
            put_option(&mut out, b.as_deref());
            let mut reader = Reader { rest: &out };
            prop_assert_eq!(reader.number(), Some(n));
            prop_assert_eq!(reader.signed(), Some(i));
            prop_assert_eq!(reader.octets(), Some(&a[..]));
            prop_assert_eq!(reader.option(), Some(b.as_deref()));
            prop_assert!(reader.rest.is_empty());
        }

        #[test]
        fn junk_is_no_harm(junk: Vec<u8>) {
            let mut reader = Reader { rest: &junk };
            while reader.octets().is_some() && reader.option().is_some() && reader.count().is_some() {}
        }
    }
}
