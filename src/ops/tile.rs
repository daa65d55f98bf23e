//! The micro-kernels of the matrix multiply: one tile of C held in registers.
#![expect(unsafe_code, reason = "SIMD intrinsics over raw panels")]

use super::Write;

/// How the operands of a tile lie: both in packed panels, whose steps are then known to the compiler.
pub(crate) const PANELS: u8 = 0;
/// The left one's neighbours in i adjacent.
pub(crate) const COLUMNS: u8 = 1;
/// The left one's neighbours in p adjacent.
pub(crate) const ROWS: u8 = 2;

/// A matrix-multiply tile of one instruction path.
pub(crate) trait Tile: Copy + Send + Sync + 'static {
    /// Rows of the tile.
    const MR: usize;
    /// Columns of the tile.
    const NR: usize;

    /// C = A B or C += A B for one MR x NR tile: each element is the sum over p in order,
    /// then added to C at once, so its bits depend on `k` alone.
    ///
    /// A\[i\]\[p\] is at `a + p * a_step + i` ([`COLUMNS`]) or `a + i * a_step + p` ([`ROWS`]),
    /// B\[p\]\[j\] at `b + p * b_step + j`, C\[i\]\[j\] at `c + i * c_step + j`. [`PANELS`] are
    /// columns with steps of MR and NR, whatever is given.
    ///
    /// # Safety
    /// All these elements for i < MR, j < NR, p < k are readable, those of C writable and not
    /// shared; the processor has the path.
    #[expect(clippy::too_many_arguments, reason = "three strided operands")]
    unsafe fn run<const LAYOUT: u8>(
        k: usize,
        a: *const f32,
        a_step: usize,
        b: *const f32,
        b_step: usize,
        c: *mut f32,
        c_step: usize,
        write: Write,
    );
}

/// The plain tile: 4 x 8.
#[derive(Clone, Copy)]
pub(crate) struct PortableTile;

impl Tile for PortableTile {
    const MR: usize = 4;
    const NR: usize = 8;

    unsafe fn run<const LAYOUT: u8>(
        k: usize,
        a: *const f32,
        a_step: usize,
        b: *const f32,
        b_step: usize,
        c: *mut f32,
        c_step: usize,
        write: Write,
    ) {
        let (a_step, b_step) =
            if LAYOUT == PANELS { (Self::MR, Self::NR) } else { (a_step, b_step) };
        let mut acc = [[0.0f32; Self::NR]; Self::MR];
        // SAFETY: every address is one that the contract of `run` lists.
        unsafe {
            for p in 0..k {
                let b_row = &*b.add(p * b_step).cast::<[f32; Self::NR]>();
                for (i, row) in acc.iter_mut().enumerate() {
                    let x = *a.add(if LAYOUT == ROWS { i * a_step + p } else { p * a_step + i });
                    for j in 0..Self::NR {
                        row[j] += x * b_row[j];
                    }
                }
            }
            for (i, row) in acc.iter().enumerate() {
                let c_row = &mut *c.add(i * c_step).cast::<[f32; Self::NR]>();
                for j in 0..Self::NR {
                    c_row[j] = if write == Write::Add { c_row[j] + row[j] } else { row[j] };
                }
            }
        }
    }
}

/// Asks for the cache line at an address, which need not be one of this process; elsewhere than on x86-64
/// nothing is asked.
#[inline]
pub(crate) fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and faults nowhere; x86-64 always has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! simd_tile {
    (
        $(#[$doc:meta])* $name:ident, $feature:literal, $lanes:literal,
        $mr:literal rows: $($i:literal)*,
        $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Tile for $name {
            const MR: usize = $mr;
            const NR: usize = 2 * $lanes;

            unsafe fn run<const LAYOUT: u8>(
                k: usize,
                a: *const f32,
                a_step: usize,
                b: *const f32,
                b_step: usize,
                c: *mut f32,
                c_step: usize,
                write: Write,
            ) {
                #[target_feature(enable = $feature)]
                #[expect(clippy::too_many_arguments, reason = "three strided operands")]
                unsafe fn tile<const LAYOUT: u8>(
                    k: usize,
                    a: *const f32,
                    a_step: usize,
                    b: *const f32,
                    b_step: usize,
                    c: *mut f32,
                    c_step: usize,
                    write: Write,
                ) {
                    let (a_step, b_step) =
                        if LAYOUT == PANELS { ($mr, 2 * $lanes) } else { (a_step, b_step) };
                    let mut acc = [[$zero(); 2]; $mr];
                    // SAFETY: every address is one that the contract of `run` lists.
                    unsafe {
                        macro_rules! step {
                            ($p:expr) => {
                                let p = $p;
                                let b_row = b.add(p * b_step);
                                let b0 = $load(b_row);
                                let b1 = $load(b_row.add($lanes));
                                // Spelled out row by row: a loop over an array of vectors is
                                // not reliably kept in registers.
                                $(
                                    let at = match LAYOUT {
                                        ROWS => $i * a_step + p,
                                        _ => p * a_step + $i,
                                    };
                                    let x = $splat(*a.add(at));
                                    acc[$i][0] = $fma(x, b0, acc[$i][0]);
                                    acc[$i][1] = $fma(x, b1, acc[$i][1]);
                                )*
                            };
                        }
                        let mut p = 0;
                        if LAYOUT == PANELS {
                            // Two at a time: counting steps takes places that sums could have. Not
                            // where rows are read: the compiler would pair their loads, and spill sums.
                            macro_rules! two_steps {
                                () => {
                                    step!(p);
                                    step!(p + 1);
                                    p += 2;
                                };
                            }
                            // C is wanted after the sums, and comes from far: its rows are asked for
                            // eight steps apart, so that no request queues before those of the panels.
                            let pairs = (k / (2 * $mr)).min(4);
                            for row in 0..if pairs > 0 { $mr } else { 0 } {
                                prefetch(c.add(row * c_step));
                                prefetch(c.add(row * c_step + $lanes));
                                for _ in 0..pairs {
                                    two_steps!();
                                }
                            }
                            while p + 2 <= k {
                                two_steps!();
                            }
                        }
                        while p < k {
                            step!(p);
                            p += 1;
                        }
                        if write == Write::Add {
                            $(
                                let c_row = c.add($i * c_step);
                                acc[$i][0] = $add($load(c_row), acc[$i][0]);
                                acc[$i][1] = $add($load(c_row.add($lanes)), acc[$i][1]);
                            )*
                        }
                        $(
                            let c_row = c.add($i * c_step);
                            $store(c_row, acc[$i][0]);
                            $store(c_row.add($lanes), acc[$i][1]);
                        )*
                    }
                }
                // SAFETY: the contract of `run`.
                unsafe { tile::<LAYOUT>(k, a, a_step, b, b_step, c, c_step, write) }
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::NeonTile;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Tile, Avx512Tile};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PANELS, ROWS, Tile, Write, prefetch};
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };

    simd_tile!(
        /// 6 x 16: 12 of the 16 registers are sums.
        Avx2Tile, "avx2,fma", 8, 6 rows: 0 1 2 3 4 5,
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps,
        _mm256_add_ps
    );
    simd_tile!(
        /// 12 x 32: 24 of the 32 registers are sums.
        Avx512Tile, "avx512f", 16, 12 rows: 0 1 2 3 4 5 6 7 8 9 10 11,
        _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps,
        _mm512_add_ps
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{PANELS, ROWS, Tile, Write, prefetch};
    use std::arch::aarch64::{
        float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vst1q_f32,
    };

    #[target_feature(enable = "neon")]
    fn zero() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    #[target_feature(enable = "neon")]
    fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    simd_tile!(
        /// 12 x 8: 24 of the 32 registers are sums.
        NeonTile, "neon", 4, 12 rows: 0 1 2 3 4 5 6 7 8 9 10 11,
        zero, vld1q_f32, vst1q_f32, vdupq_n_f32, fma, vaddq_f32
    );
}
