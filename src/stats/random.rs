//! Random numbers that are the same everywhere: whole-number steps, and `libm` for what is not.

use std::f64::consts::TAU;

/// `SplitMix64` (Steele, Lea and Flood 2014).
pub(super) struct SplitMix(u64);

impl SplitMix {
    /// Seeded by a sequence of words.
    pub fn seeded_by(words: impl Iterator<Item = u64>) -> Self {
        let mut state = Self(0x5851_f42d_4c95_7f2d);
        for word in words {
            state.0 ^= word;
            state.0 = state.next();
        }
        state
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `n`, by multiplication (Lemire 2019); the bias is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Two independent standard normal values (Box and Muller 1958).
    pub fn normal_pair(&mut self) -> (f64, f64) {
        // 53 bits, never 0, whose logarithm is infinite.
        let unit = |word: u64| ((word >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let (a, b) = (unit(self.next()), unit(self.next()));
        let radius = libm::sqrt(-2.0 * libm::log(a));
        (radius * libm::cos(TAU * b), radius * libm::sin(TAU * b))
    }
}
