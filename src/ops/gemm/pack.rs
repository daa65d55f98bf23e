//! Packing: rows of a matrix along k into the panels that the micro-kernels read.

use super::super::buffer::LINE;
use super::super::isa::simd_kernel;
use super::super::tile::prefetch;
use super::Matrix;

/// Steps of k that are fetched ahead of the one packed.
const AHEAD: usize = 8;

simd_kernel! {
    /// `out[i / width][p][i % width] = matrix[first + i][k0 + p]`, zero where a panel has rows that the
    /// matrix lacks.
    pub(super) fn pack<S>(
        out: &mut [f32],
        matrix: Matrix<'_>,
        rows: (usize, usize),
        width: usize,
        steps: (usize, usize),
    ) {
        // Widths known to the compiler: the copies below are then a few instructions each.
        match width {
            4 => pack_width::<4>(out, matrix, rows, steps),
            6 => pack_width::<6>(out, matrix, rows, steps),
            8 => pack_width::<8>(out, matrix, rows, steps),
            12 => pack_width::<12>(out, matrix, rows, steps),
            16 => pack_width::<16>(out, matrix, rows, steps),
            32 => pack_width::<32>(out, matrix, rows, steps),
            _ => unreachable!("no micro-kernel has {width} rows or columns"),
        }
    }
}

#[expect(clippy::inline_always, reason = "must take on the target features of its caller")]
#[inline(always)]
fn pack_width<const W: usize>(
    out: &mut [f32],
    matrix: Matrix<'_>,
    rows: (usize, usize),
    steps: (usize, usize),
) {
    let panel_len = W * steps.1;
    if !rows.1.is_multiple_of(W) {
        let last = out.len() - panel_len;
        out[last..].fill(0.0);
    }
    if matrix.row_stride == 1 {
        pack_along_rows::<W>(out, matrix, rows, steps);
        return;
    }
    for (panel, out) in out.chunks_exact_mut(panel_len).enumerate() {
        let (first, rows) = (rows.0 + panel * W, W.min(rows.1 - panel * W));
        pack_along_steps::<W>(out, matrix, (first, rows), steps);
    }
}

/// Panels of a matrix whose rows are adjacent in memory: step by step over all panels, so that what is
/// read lies together.
#[expect(clippy::inline_always, reason = "must take on the target features of its caller")]
#[inline(always)]
fn pack_along_rows<const W: usize>(
    out: &mut [f32],
    Matrix { data, col_stride, .. }: Matrix<'_>,
    (first, rows): (usize, usize),
    (k0, depth): (usize, usize),
) {
    let panel_len = W * depth;
    for p in 0..depth {
        let at = (k0 + p) * col_stride + first;
        for line in (0..rows).step_by(LINE) {
            prefetch(data.as_ptr().wrapping_add(at + AHEAD * col_stride + line));
        }
        let (whole, rest) = data[at..][..rows].as_chunks::<W>();
        let mut to = p * W;
        for chunk in whole {
            out[to..][..W].copy_from_slice(chunk);
            to += panel_len;
        }
        if !rest.is_empty() {
            out[to..][..rest.len()].copy_from_slice(rest);
        }
    }
}

/// One panel of a matrix whose steps are adjacent in memory: four of its rows at a time.
#[expect(clippy::inline_always, reason = "must take on the target features of its caller")]
#[inline(always)]
fn pack_along_steps<const W: usize>(
    out: &mut [f32],
    Matrix { data, row_stride, col_stride }: Matrix<'_>,
    (first, rows): (usize, usize),
    (k0, depth): (usize, usize),
) {
    assert!(col_stride == 1, "a matrix or its transpose");
    let (steps, _) = out.as_chunks_mut::<W>();
    let row = |i: usize| &data[(first + i) * row_stride + k0..][..depth];
    let mut i = 0;
    while i + 4 <= rows {
        let sources = [row(i), row(i + 1), row(i + 2), row(i + 3)];
        let blocks = sources.map(|r| r.as_chunks::<4>().0);
        let (whole, tail) = steps.as_chunks_mut::<4>();
        for (b, block) in whole.iter_mut().enumerate() {
            if b.is_multiple_of(LINE / 4) {
                // The same rows of the next panel.
                for source in sources {
                    prefetch(source.as_ptr().wrapping_add(W * row_stride + b * 4));
                }
            }
            let columns = transpose4(blocks.map(|row| row[b]));
            for (step, column) in block.iter_mut().zip(columns) {
                step[i..i + 4].copy_from_slice(&column);
            }
        }
        let done = depth - tail.len();
        for (q, step) in tail.iter_mut().enumerate() {
            step[i..i + 4].copy_from_slice(&sources.map(|r| r[done + q]));
        }
        i += 4;
    }
    for i in i..rows {
        for (step, &x) in steps.iter_mut().zip(row(i)) {
            step[i] = x;
        }
    }
}

/// The transpose of four rows of four.
#[inline]
fn transpose4(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            __m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
        };
        // SAFETY: [f32; 4] and __m128 are the same 16 bytes; x86-64 always has SSE.
        unsafe {
            let [a, b, c, d] = std::mem::transmute::<[[f32; 4]; 4], [__m128; 4]>(rows);
            let (low, low2) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
            let (high, high2) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
            std::mem::transmute::<[__m128; 4], [[f32; 4]; 4]>([
                _mm_movelh_ps(low, low2),
                _mm_movehl_ps(low2, low),
                _mm_movelh_ps(high, high2),
                _mm_movehl_ps(high2, high),
            ])
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::array::from_fn(|i| rows.map(|row| row[i]))
    }
}
