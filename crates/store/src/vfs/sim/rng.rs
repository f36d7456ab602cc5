//! Chance that comes again: the same seed gives the same numbers, on every machine.

/// A small generator of numbers (the mixing function of a counter); for tests, never for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Everything that follows is decided by the seed.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        // Neighbouring seeds shall not begin alike.
        let mut rng = Rng(seed ^ 0x5eed_0f9e_4f01_d0a7);
        rng.0 = rng.draw();
        rng
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`; 0 if there is none.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.draw() % n }
    }

    /// An index into something of this length.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Another generator, whose numbers do not depend on how many of this one are drawn later.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.draw())
    }
}
