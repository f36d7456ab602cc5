//! Little-endian numbers, strings and runs: how records and index values are written, and read without trust.

use wire::ids::Runs;

/// Appends values.
pub(crate) trait Put {
    fn u8(&mut self, n: u8);
    fn u32(&mut self, n: u32);
    fn u64(&mut self, n: u64);
    fn u128(&mut self, n: u128);
    fn i16(&mut self, n: i16);
    fn i64(&mut self, n: i64);
    fn bytes(&mut self, b: &[u8]);
    fn str(&mut self, s: &str);
    fn runs(&mut self, r: &Runs);
}

impl Put for Vec<u8> {
    fn u8(&mut self, n: u8) {
        self.push(n);
    }
    fn u32(&mut self, n: u32) {
        self.extend_from_slice(&n.to_le_bytes());
    }
    fn u64(&mut self, n: u64) {
        self.extend_from_slice(&n.to_le_bytes());
    }
    fn u128(&mut self, n: u128) {
        self.extend_from_slice(&n.to_le_bytes());
    }
    fn i16(&mut self, n: i16) {
        self.extend_from_slice(&n.to_le_bytes());
    }
    fn i64(&mut self, n: i64) {
        self.extend_from_slice(&n.to_le_bytes());
    }
    /// A length of 32 bits, and the octets. The checks before the log keep everything far below that.
    fn bytes(&mut self, b: &[u8]) {
        self.u32(b.len() as u32);
        self.extend_from_slice(b);
    }
    fn str(&mut self, s: &str) {
        self.bytes(s.as_bytes());
    }
    fn runs(&mut self, r: &Runs) {
        self.u32(r.as_slice().len() as u32);
        for &(from, to) in r.as_slice() {
            self.u32(from);
            self.u32(to);
        }
    }
}

/// Takes values off the front; `None` once they run out or cannot be.
#[derive(Clone, Debug)]
pub(crate) struct Take<'a> {
    rest: &'a [u8],
}

impl<'a> Take<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Take<'a> {
        Take { rest: octets }
    }
    pub(crate) fn slice(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_le_bytes)
    }
    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = self.u32()?;
        self.slice(usize::try_from(n).ok()?)
    }
    pub(crate) fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
    pub(crate) fn string(&mut self) -> Option<String> {
        self.str().map(str::to_owned)
    }
    /// Runs as they were written: sorted, apart, above zero. Anything else is no set of runs.
    pub(crate) fn runs(&mut self) -> Option<Runs> {
        let n = self.u32()?;
        let mut runs = Runs::default();
        let mut least = 1;
        for _ in 0..n {
            let (from, to) = (self.u32()?, self.u32()?);
            if from < least || to < from {
                return None;
            }
            runs.add(from, to);
            // Neighbours would have been merged, so there is at least one number between two runs.
            least = to.saturating_add(2);
        }
        Some(runs)
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The next multiple of 8.
pub(crate) const fn pad8(n: u64) -> u64 {
    n.next_multiple_of(8)
}
