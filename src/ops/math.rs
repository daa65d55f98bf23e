//! Vector arithmetic in plain Rust, inlined into the kernels of each instruction path.
//!
//! Sums run over [`LANES`] fixed partial sums, so their order does not depend on the vector
//! width, and rounding differs between paths by fused multiply-add alone.
#![expect(clippy::inline_always, reason = "bodies must take on their caller's target features")]

use super::isa::Simd;

/// Partial sums of a reduction: one AVX-512 vector.
pub(crate) const LANES: usize = 16;

/// e^x within 2 ulp on [-87.3, 88.3], clamped to that range outside; NaN stays NaN.
///
/// Range reduction x = n ln 2 + r, |r| <= ln 2 / 2, and the Cephes `expf` polynomial in r.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    // Written so that NaN passes both comparisons (and each is one min/max instruction).
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.3 { 88.3 } else { x };
    let shifted = S::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = S::mul_add(n, -355.0 / 512.0, x);
    let r = S::mul_add(n, 2.121_944_4e-4, r);
    let p = 1.987_569_1e-4;
    let p = S::mul_add(p, r, 1.398_199_9e-3);
    let p = S::mul_add(p, r, 8.333_452e-3);
    let p = S::mul_add(p, r, 4.166_579_6e-2);
    let p = S::mul_add(p, r, 1.666_666_5e-1);
    let p = S::mul_add(p, r, 0.5);
    let y = S::mul_add(p, r * r, r) + 1.0;
    // The constant's own bits leave the word on the shift; what stays is n + bias.
    f32::from_bits(shifted.to_bits().wrapping_add(127) << 23) * y
}

/// Sum of the lanes, in a fixed tree.
#[inline(always)]
pub(crate) fn add_lanes(lanes: [f32; LANES]) -> f32 {
    let mut s = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            s[j] += s[j + width];
        }
        width /= 2;
    }
    s[0]
}

/// Inner product of two slices of one length.
#[inline(always)]
pub(crate) fn dot<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for j in 0..LANES {
            lanes[j] = S::mul_add(x[j], y[j], lanes[j]);
        }
    }
    for (j, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[j] = S::mul_add(*x, *y, lanes[j]);
    }
    add_lanes(lanes)
}

/// Largest element, negative infinity for none; NaN is passed over (the sums keep it).
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for j in 0..LANES {
            lanes[j] = if x[j] > lanes[j] { x[j] } else { lanes[j] };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

/// Sum of e^(x - `offset`).
#[inline(always)]
pub(crate) fn sum_exp<S: Simd>(a: &[f32], offset: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for j in 0..LANES {
            lanes[j] += exp::<S>(x[j] - offset);
        }
    }
    for (j, x) in rest.iter().enumerate() {
        lanes[j] += exp::<S>(*x - offset);
    }
    add_lanes(lanes)
}

/// Replaces each x by e^(x - `offset`) and returns their sum, with the bits of [`sum_exp`].
#[inline(always)]
pub(crate) fn exp_in_place<S: Simd>(a: &mut [f32], offset: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = a.chunks_exact_mut(LANES);
    for x in &mut chunks {
        for j in 0..LANES {
            x[j] = exp::<S>(x[j] - offset);
            lanes[j] += x[j];
        }
    }
    for (j, x) in chunks.into_remainder().iter_mut().enumerate() {
        *x = exp::<S>(*x - offset);
        lanes[j] += *x;
    }
    add_lanes(lanes)
}

/// Natural logarithm through `libm`, so that every platform has the same bits.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    libm::log(f64::from(x)) as f32
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Fma, Portable};
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_and_keeps_nan() {
        for i in -87_000i32..88_000 {
            let x = i as f32 / 1000.0;
            let want = libm::exp(f64::from(x));
            for got in [exp::<Portable>(x), exp::<Fma>(x)] {
                let error = (f64::from(got) - want).abs() / want;
                assert!(error < 2.4e-7, "{x}: {got} {want}");
            }
        }
        assert!(exp::<Portable>(f32::NAN).is_nan());
        assert!(exp::<Fma>(f32::NAN).is_nan());
        assert!(exp::<Portable>(-1e30) < 1.3e-38);
        assert!(exp::<Fma>(1e30).is_finite());
    }

    #[test]
    fn reductions_take_every_element_once() {
        for len in [0, 1, 15, 16, 17, 40] {
            let a: Vec<f32> = (0..len).map(|i| i as f32 - 3.0).collect();
            let ones = vec![1.0; len];
            let sum: f32 = a.iter().sum();
            assert_eq!(dot::<Portable>(&a, &ones), sum);
            let want = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&a), want);
            let mut b = a.clone();
            let total = exp_in_place::<Portable>(&mut b, 1.0);
            assert_eq!(total.to_bits(), sum_exp::<Portable>(&a, 1.0).to_bits());
        }
    }
}
