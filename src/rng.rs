//! Named random streams: (seed, purpose, name) → numbers.
//!
//! Every random number of an experiment comes from here. A stream is ChaCha8 under a key
//! hashed from (seed, purpose, name), so it has no state to save, does not depend on which
//! device or thread asks, and adding a stream moves no other one.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// Values drawn per ChaCha stream number in [`fill_normal`]: the unit of parallel work.
const BLOCK_LEN: usize = 4096;

/// A stream of uniform random numbers under one (seed, purpose, name) key.
#[derive(Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// Opens the stream of a key at its start.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, name: &str) -> Self {
        Self::numbered(seed, purpose, name, 0)
    }

    /// Opens the sub-stream `number` of a key: independent of every other number's.
    #[must_use]
    pub fn numbered(seed: u64, purpose: &str, name: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("xp rng stream v1");
        hasher.update(&seed.to_le_bytes());
        // Lengths first, so that ("ab", "c") and ("a", "bc") are different keys.
        for part in [purpose, name] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        rng.set_stream(number);
        Self(rng)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in `0..bound`, without bias (Lemire's method with rejection).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "below(0) has no value");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// A uniform number in the open interval (0, 1), on the grid of odd multiples of 2^-54.
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
    }

    /// Two independent standard normal numbers (Box–Muller in f64, pure-Rust `libm`, so that
    /// the bits are the same on every platform).
    pub fn normal_pair(&mut self) -> (f64, f64) {
        let radius = libm::sqrt(-2.0 * libm::log(self.unit()));
        let angle = std::f64::consts::TAU * self.unit();
        (radius * libm::cos(angle), radius * libm::sin(angle))
    }
}

/// A uniform permutation of `0..len` (Fisher–Yates) under a key.
#[must_use]
pub fn permutation(seed: u64, purpose: &str, name: &str, len: u32) -> Vec<u32> {
    let mut stream = Stream::new(seed, purpose, name);
    let mut order: Vec<u32> = (0..len).collect();
    for i in (1..order.len()).rev() {
        let j = usize::try_from(stream.below(i as u64 + 1)).expect("j <= i, a usize");
        order.swap(i, j);
    }
    order
}

/// Fills `out` with N(0, `std`²) under a key; the same values for any number of threads.
pub fn fill_normal(seed: u64, purpose: &str, name: &str, std: f64, out: &mut [f32]) {
    out.par_chunks_mut(BLOCK_LEN).enumerate().for_each(|(block, chunk)| {
        let mut stream = Stream::numbered(seed, purpose, name, block as u64);
        for pair in chunk.chunks_mut(2) {
            let (a, b) = stream.normal_pair();
            for (value, normal) in pair.iter_mut().zip([a, b]) {
                *value = (normal * std) as f32;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_a_permutation_and_depends_on_every_part_of_the_key() {
        let order = permutation(42, "order", "epoch-0", 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        for other in [
            permutation(43, "order", "epoch-0", 1000),
            permutation(42, "init", "epoch-0", 1000),
            permutation(42, "order", "epoch-1", 1000),
        ] {
            assert_ne!(order, other);
        }
        assert_eq!(order, permutation(42, "order", "epoch-0", 1000));
    }

    #[test]
    fn normals_have_the_asked_moments_and_a_prefix_stays_the_same() {
        let mut long = vec![0.0f32; 40_000];
        fill_normal(7, "init", "w", 0.02, &mut long);
        let mean = long.iter().map(|&x| f64::from(x)).sum::<f64>() / 4e4;
        let var = long.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 4e4;
        assert!(mean.abs() < 5e-4, "{mean}");
        assert!((var.sqrt() / 0.02 - 1.0).abs() < 0.02, "{var}");
        let mut short = vec![0.0f32; 5_001];
        fill_normal(7, "init", "w", 0.02, &mut short);
        assert_eq!(short, long[..5_001]);
    }

    #[test]
    fn streams_are_fixed_for_ever() {
        // Committed bits: a change here changes every result ever produced.
        let mut stream = Stream::new(42, "test", "fixed");
        assert_eq!(stream.next_u64(), 4_964_556_777_217_652_154);
    }
}
