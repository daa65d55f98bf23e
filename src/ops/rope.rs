//! The table of rotary angles (Su et al. 2021), rotate-half layout.

use rayon::prelude::*;

/// cos and sin of position * `inv_freq`, each \[`len`, `inv_freq.len()`\], times `scale`.
///
/// The angle is the f32 product of position and frequency, as training codes compute it: at
/// 16,384 positions this rounding is part of the numbers. Its cosine and sine are rounded to
/// f32 once, from `libm` in f64, so every platform has the same bits.
#[must_use]
pub fn rope_table(inv_freq: &[f32], scale: f32, len: usize) -> (Vec<f32>, Vec<f32>) {
    let half = inv_freq.len();
    let (mut cos, mut sin) = (vec![0.0; len * half], vec![0.0; len * half]);
    if half > 0 {
        let rows = cos.par_chunks_mut(half).zip(sin.par_chunks_mut(half)).enumerate();
        rows.for_each(|(position, (cos, sin))| {
            for ((cos, sin), &frequency) in cos.iter_mut().zip(sin).zip(inv_freq) {
                let angle = f64::from(position as f32 * frequency);
                *cos = libm::cos(angle) as f32 * scale;
                *sin = libm::sin(angle) as f32 * scale;
            }
        });
    }
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_rounded_to_f32_before_the_cosine() {
        let frequency = 0.749_894_2_f32;
        let (cos, sin) = rope_table(&[1.0, frequency], 0.5, 16_384);
        let angle = 16_383.0f32 * frequency;
        assert_eq!(cos[2 * 16_383 + 1], libm::cos(f64::from(angle)) as f32 * 0.5);
        assert_eq!(sin[2 * 16_383 + 1], libm::sin(f64::from(angle)) as f32 * 0.5);
        assert_eq!((cos[0], sin[0]), (0.5, 0.0));
    }
}
