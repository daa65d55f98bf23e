//! Blocked matrix multiply: both operands packed into panels, tiles computed in parallel.
//!
//! C\[i\]\[j\] is a sum over blocks of k in order, within a block over p in order. Block sizes
//! are constants, so the bits of an element depend on its row of A, its column of B and k: not
//! on the thread count, nor on how many other rows or columns are computed with it.
#![expect(unsafe_code, reason = "tiles of one buffer are written from many tasks")]

use rayon::prelude::*;

use super::Write;
use super::cpu::Cpu;
use super::isa::Isa;
use super::parallel::SharedMut;
#[cfg(target_arch = "aarch64")]
use super::tile::NeonTile;
#[cfg(target_arch = "x86_64")]
use super::tile::{Avx2Tile, Avx512Tile};
use super::tile::{PANEL, PortableTile, Tile};

/// Longest run of k in one panel: a panel of B then fits the first-level cache.
const K_BLOCK: usize = 256;
/// Rows and columns packed at a time: bounds scratch at 2 * 4096 * 256 values.
const PACK_BLOCK: usize = 4096;
/// Most rows of C in one task (a multiple of every tile's MR): its part of A fits the second level.
const TASK_ROWS: usize = 192;
/// Most columns of C in one task (a multiple of every tile's NR).
const TASK_COLS: usize = 256;
/// Tasks a thread, if the matrix is large enough: fewer leave threads waiting for the last one.
const TASKS_A_THREAD: usize = 8;
/// Most panels packed by one task.
const PACK_PANELS: usize = 8;

/// A read-only matrix with strides: a matrix or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `data` as rows of `cols` values.
    pub(crate) fn rows(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose of `data` seen as rows of `cols` values.
    pub(crate) fn transposed(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: 1, col_stride: cols }
    }

    fn transpose(self) -> Self {
        Self { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn holds(self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// Values of scratch that a multiply needs, at most, whose sizes do not exceed `largest`.
#[must_use]
pub fn gemm_scratch(largest: usize) -> u64 {
    2 * (largest.min(PACK_BLOCK) * K_BLOCK) as u64
}

/// C\[m, n\] = A\[m, k\] B\[k, n\], or C += A B; C is dense and row-major.
pub(crate) fn gemm(
    cpu: &Cpu,
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    write: Write,
) {
    assert!(a.holds(m, k) && b.holds(k, n) && c.len() == m * n, "operands match their sizes");
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => gemm_with::<Avx2Tile>(cpu, (m, n, k), a, b, c, write),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => gemm_with::<Avx512Tile>(cpu, (m, n, k), a, b, c, write),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => gemm_with::<NeonTile>(cpu, (m, n, k), a, b, c, write),
        _ => gemm_with::<PortableTile>(cpu, (m, n, k), a, b, c, write),
    }
}

fn gemm_with<T: Tile>(
    cpu: &Cpu,
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    write: Write,
) {
    if k == 0 {
        if write == Write::Set {
            c.fill(0.0);
        }
        return;
    }
    // Equal blocks: 512 + 8 would otherwise cost a block of 8.
    let k_block = k.div_ceil(k.div_ceil(K_BLOCK)).next_multiple_of(8);
    let padded = |len: usize, to: usize| len.min(PACK_BLOCK).next_multiple_of(to);
    let mut a_panels = cpu.pool().take(padded(m, T::MR) * k_block);
    let mut b_panels = cpu.pool().take(padded(n, T::NR) * k_block);
    let out = SharedMut::new(c);
    for n0 in (0..n).step_by(PACK_BLOCK) {
        let cols = PACK_BLOCK.min(n - n0);
        for m0 in (0..m).step_by(PACK_BLOCK) {
            let rows = PACK_BLOCK.min(m - m0);
            for k0 in (0..k).step_by(k_block) {
                let depth = k_block.min(k - k0);
                pack::<T>(
                    (&mut a_panels, a, m0, rows),
                    (&mut b_panels, b.transpose(), n0, cols),
                    k0,
                    depth,
                );
                let mode = if k0 == 0 { write } else { Write::Add };
                let (a_panels, b_panels) = (&a_panels[..], &b_panels[..]);
                let col_tasks = cols.div_ceil(TASK_COLS);
                let task_rows = share(rows, T::MR, TASK_ROWS / T::MR, col_tasks);
                let row_tasks = rows.div_ceil(task_rows);
                (0..row_tasks * col_tasks).into_par_iter().for_each(|task| {
                    let (i0, j0) = (task / col_tasks * task_rows, task % col_tasks * TASK_COLS);
                    let (i1, j1) = ((i0 + task_rows).min(rows), (j0 + TASK_COLS).min(cols));
                    for j in (j0..j1).step_by(T::NR) {
                        let b_panel = &b_panels[j * depth..][..T::NR * depth];
                        for i in (i0..i1).step_by(T::MR) {
                            let a_panel = &a_panels[i * depth..][..T::MR * depth];
                            let (tile_rows, tile_cols) = (T::MR.min(rows - i), T::NR.min(cols - j));
                            // SAFETY: panels hold MR and NR values per step (asserted by the
                            // slices); the tile lies in C, and only this task writes it.
                            unsafe {
                                let at = out.at((m0 + i) * n + n0 + j);
                                let (a, b) = (a_panel.as_ptr(), b_panel.as_ptr());
                                if (tile_rows, tile_cols) == (T::MR, T::NR) {
                                    T::run::<PANEL>(depth, a, T::MR, b, T::NR, at, n, mode);
                                } else {
                                    edge::<T>(depth, a, b, at, n, (tile_rows, tile_cols), mode);
                                }
                            }
                        }
                    }
                });
            }
        }
    }
}

/// Rows that one task takes of `rows`, in whole panels of `width` and at most `most` of them,
/// where every share of the rows is `times` tasks. Who computes a tile does not change its bits.
fn share(rows: usize, width: usize, most: usize, times: usize) -> usize {
    let wanted = (TASKS_A_THREAD * rayon::current_num_threads()).div_ceil(times);
    (rows.div_ceil(width) / wanted).clamp(1, most) * width
}

/// A tile that C holds only in part: computed whole beside it, then copied.
///
/// # Safety
/// As [`Tile::run`] for packed panels, with C holding `rows` x `cols` of the tile.
unsafe fn edge<T: Tile>(
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    c_step: usize,
    (rows, cols): (usize, usize),
    write: Write,
) {
    let mut tile = [0.0f32; 12 * 32];
    assert!(T::MR * T::NR <= tile.len(), "the largest tile is 12 x 32");
    // SAFETY: the tile's own buffer is large enough; C is touched inside rows x cols only.
    unsafe {
        T::run::<PANEL>(depth, a, T::MR, b, T::NR, tile.as_mut_ptr(), T::NR, Write::Set);
        for i in 0..rows {
            for j in 0..cols {
                let at = c.add(i * c_step + j);
                let sum = tile[i * T::NR + j];
                *at = if write == Write::Add { *at + sum } else { sum };
            }
        }
    }
}

/// (panels, matrix, first row, rows): what one operand's packing needs.
type Operand<'p, 'a> = (&'p mut [f32], Matrix<'a>, usize, usize);

/// Packs steps `k0..k0 + depth` of both operands, in parallel.
fn pack<T: Tile>(a: Operand<'_, '_>, b: Operand<'_, '_>, k0: usize, depth: usize) {
    rayon::join(|| pack_operand(a, T::MR, k0, depth), || pack_operand(b, T::NR, k0, depth));
}

fn pack_operand(
    (panels, matrix, first, rows): Operand<'_, '_>,
    width: usize,
    k0: usize,
    depth: usize,
) {
    let used = rows.next_multiple_of(width) * depth;
    let per_task = share(rows, width, PACK_PANELS, 1);
    panels[..used].par_chunks_mut(per_task * depth).enumerate().for_each(|(task, chunk)| {
        for (panel, out) in chunk.chunks_exact_mut(width * depth).enumerate() {
            let row = task * per_task + panel * width;
            pack_panel(out, matrix, (first + row, width.min(rows - row)), width, (k0, depth));
        }
    });
}

/// `out[p][i] = matrix[first + i][k0 + p]`, zero for the rows that the matrix lacks.
fn pack_panel(
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

fn pack_width<const W: usize>(
    out: &mut [f32],
    Matrix { data, row_stride, col_stride }: Matrix<'_>,
    (first, rows): (usize, usize),
    (k0, depth): (usize, usize),
) {
    let (steps, rest) = out.as_chunks_mut::<W>();
    debug_assert!(rest.is_empty() && steps.len() == depth && rows <= W);
    if rows < W {
        steps.fill([0.0; W]);
    }
    if row_stride == 1 {
        for (p, step) in steps.iter_mut().enumerate() {
            let source = &data[(k0 + p) * col_stride + first..][..rows];
            match source.first_chunk::<W>() {
                Some(whole) => *step = *whole,
                None => step[..rows].copy_from_slice(source),
            }
        }
        return;
    }
    assert!(col_stride == 1, "a matrix or its transpose");
    let row = |i: usize| &data[(first + i) * row_stride + k0..][..depth];
    let mut i = 0;
    while i + 4 <= rows.min(W) {
        let sources = [row(i), row(i + 1), row(i + 2), row(i + 3)].map(|r| r.as_chunks::<4>());
        let (blocks, tail) = steps.as_chunks_mut::<4>();
        for (b, block) in blocks.iter_mut().enumerate() {
            let columns = transpose4(sources.map(|(chunks, _)| chunks[b]));
            for (step, column) in block.iter_mut().zip(columns) {
                step[i..i + 4].copy_from_slice(&column);
            }
        }
        for (q, step) in tail.iter_mut().enumerate() {
            step[i..i + 4].copy_from_slice(&sources.map(|(_, rest)| rest[q]));
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

#[cfg(test)]
mod tests {
    use super::super::testing::{cpus, noise};
    use super::*;

    #[test]
    fn equals_the_plain_sum_on_odd_sizes() {
        let sizes = [
            (1, 1, 1),
            (1, 33, 7),
            (5, 1, 300),
            (13, 31, 257),
            (64, 96, 520),
            (200, 300, 40),
            (97, 65, 1),
        ];
        for cpu in cpus() {
            for (m, n, k) in sizes {
                let (a, b) = (noise(m * k, "a"), noise(k * n, "b"));
                let start = noise(m * n, "c");
                for (a_t, b_t) in [(false, false), (false, true), (true, false), (true, true)] {
                    let left = if a_t { Matrix::transposed(&a, m) } else { Matrix::rows(&a, k) };
                    let right = if b_t { Matrix::transposed(&b, k) } else { Matrix::rows(&b, n) };
                    let at = |x: Matrix<'_>, i, j| {
                        f64::from(x.data[i * x.row_stride + j * x.col_stride])
                    };
                    for write in [Write::Set, Write::Add] {
                        let mut c = start.clone();
                        gemm(&cpu, (m, n, k), left, right, &mut c, write);
                        for i in 0..m {
                            for j in 0..n {
                                let mut want: f64 =
                                    (0..k).map(|p| at(left, i, p) * at(right, p, j)).sum();
                                if write == Write::Add {
                                    want += f64::from(start[i * n + j]);
                                }
                                let error = (f64::from(c[i * n + j]) - want).abs();
                                assert!(error < 2e-6 * (k as f64).sqrt() + 1e-6, "{m} {n} {k}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_is_computed_with_it() {
        let (m, n, k) = (150, 70, 300);
        let (a, b) = (noise(m * k, "a"), noise(k * n, "b"));
        for cpu in cpus() {
            let mut whole = vec![0.0; m * n];
            let right = Matrix::rows(&b, n);
            gemm(&cpu, (m, n, k), Matrix::rows(&a, k), right, &mut whole, Write::Set);
            for rows in [1, 7, 64] {
                let mut part = vec![0.0; rows * n];
                let left = Matrix::rows(&a[20 * k..(20 + rows) * k], k);
                gemm(&cpu, (rows, n, k), left, right, &mut part, Write::Set);
                assert_eq!(part, whole[20 * n..(20 + rows) * n]);
            }
        }
    }
}
