//! A small generator of numbers that are the same on every machine and in every release, given the same seed.
//!
//! `rand`'s generators may change between versions, and the demo's datasets have versions of their own. This one is
//! `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Nothing
//! secret comes from it.

/// The generator's state.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly spread over `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double's mantissa")]
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Nearly normal, mean 0 and deviation 1: the sum of twelve even numbers, which needs no logarithm.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Exponentially spread around a mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// A place below `len`, which is not 0.
    pub(super) fn below(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // The reference implementation's first values for the seed 1234567.
        let mut random = Random::new(1_234_567);
        let values: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(values, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn the_spreads_are_what_they_say() {
        let mut random = Random::new(7);
        let mean = |draw: &mut dyn FnMut() -> f64| (0..10_000).map(|_| draw()).sum::<f64>() / 10_000.0;
        assert!((mean(&mut || random.uniform()) - 0.5).abs() < 0.02);
        assert!(mean(&mut || random.normal()).abs() < 0.05);
        assert!((mean(&mut || random.exponential(400.0)) - 400.0).abs() < 20.0);
    }
}
