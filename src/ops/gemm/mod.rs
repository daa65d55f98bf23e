//! Blocked matrix multiply: both operands packed into panels, tiles computed in parallel.
//!
//! C\[i\]\[j\] is a sum over blocks of k in order, within a block over p in order. Block sizes
//! are constants, so the bits of an element depend on its row of A, its column of B and k: not
//! on the thread count, nor on how many other rows or columns are computed with it.
//!
//! The operand with fewer rows (of A) or columns (of B) is packed once, for all tasks. Of the other a task
//! packs its own share into memory of its own, which its core's second-level cache holds: packed in whole it
//! would go out to memory and come back. A task carries a share of C through several blocks of k, for the
//! same reason.
#![expect(unsafe_code, reason = "tiles of one buffer are written from many tasks")]

mod pack;

use std::ops::Range;

use rayon::prelude::*;

use super::Write;
use super::cpu::Cpu;
use super::isa::Isa;
use super::parallel::SharedMut;
#[cfg(target_arch = "aarch64")]
use super::tile::NeonTile;
#[cfg(target_arch = "x86_64")]
use super::tile::{Avx2Tile, Avx512Tile};
use super::tile::{PANELS, PortableTile, Tile};
use pack::pack;

/// Longest run of k in one panel: a panel of B then fits the first-level cache.
pub(super) const K_BLOCK: usize = 256;
/// Rows or columns of the shared operand that are packed at a time.
const SHARED: usize = 4096;
/// Most rows of C whose panels a task passes by one panel of B: they fit the second-level cache. A
/// multiple of every tile's MR.
const TASK_ROWS: usize = 192;
/// Most columns of B that a task packs for itself (a multiple of every tile's NR).
const TASK_COLS: usize = 256;
/// Fewest panels of the shared operand that a task goes through: what it packs itself is then used often.
const FEWEST_SHARED: usize = 4;
/// Values of the shared operand that are packed at a time, unless one block of k has more: half a megabyte
/// stays in the second-level cache from task to task.
const DEEP: usize = 1 << 17;
/// Tasks a thread, if the matrix is large enough: fewer leave threads waiting for the last one.
const TASKS_A_THREAD: usize = 8;
/// Most panels of the shared operand that one task packs.
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

/// Values of scratch that a multiply on so many threads needs, at most, whose sizes do not exceed `largest`.
#[must_use]
pub fn gemm_scratch(largest: usize, threads: usize) -> u64 {
    let own = largest.min(TASK_ROWS.max(TASK_COLS)) * K_BLOCK;
    let shared = (largest.min(SHARED) * K_BLOCK).max(DEEP);
    shared as u64 + (own as u64).saturating_mul(threads as u64)
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
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if write == Write::Set {
            c.fill(0.0);
        }
        return;
    }
    // Equal blocks: 512 + 8 would otherwise cost a block of 8.
    let k_block = k.div_ceil(k.div_ceil(K_BLOCK)).next_multiple_of(8);
    let out = Out { start: SharedMut::new(c), columns: n, write };
    let (a, b) = (
        Operand { matrix: a, len: m, width: T::MR },
        Operand { matrix: b.transpose(), len: n, width: T::NR },
    );
    // Each share of a task's own operand is packed once for every part of the shared one: that is
    // cheapest where the own operand is the larger one.
    if m >= n {
        multiply::<T, true>(cpu, (a, TASK_ROWS), b, (k, k_block), out);
    } else {
        multiply::<T, false>(cpu, (b, TASK_COLS), a, (k, k_block), out);
    }
}

/// One operand of a multiply, seen as rows along k.
#[derive(Clone, Copy)]
struct Operand<'a> {
    matrix: Matrix<'a>,
    /// Its rows (of A) or columns (of B).
    len: usize,
    /// How many of them make a panel.
    width: usize,
}

impl Operand<'_> {
    /// Values that `len` of its rows take in whole panels of `depth` steps.
    fn packed(&self, len: usize, depth: usize) -> usize {
        len.next_multiple_of(self.width) * depth
    }
}

/// Where the products go.
#[derive(Clone, Copy)]
struct Out {
    start: SharedMut,
    columns: usize,
    write: Write,
}

/// All of C, where tasks pack A (`OWN_A`) or B for themselves, at most `most` of its rows a task.
fn multiply<T: Tile, const OWN_A: bool>(
    cpu: &Cpu,
    (own, most): (Operand<'_>, usize),
    shared: Operand<'_>,
    (k, k_block): (usize, usize),
    out: Out,
) {
    let isa = cpu.isa();
    let a_block = shared.packed(shared.len.min(SHARED), k_block);
    let deep = (DEEP / a_block).clamp(1, k.div_ceil(k_block)) * k_block;
    let mut panels = cpu.pool().take(a_block * (deep / k_block));
    for first in (0..shared.len).step_by(SHARED) {
        let len = SHARED.min(shared.len - first);
        let grid = Grid::new((own.len, own.width, most), (len, shared.width));
        for k0 in (0..k).step_by(deep) {
            let end = k.min(k0 + deep);
            let panels = &mut panels[..shared.packed(len, end - k0)];
            pack_shared(isa, panels, (shared, first, len), k0..end, k_block);
            let panels = &*panels;
            (0..grid.tasks()).into_par_iter().for_each(|task| {
                let (mine, theirs) = grid.task(task);
                let mut own_panels = cpu.pool().take(own.packed(mine.len(), k_block));
                for at in (k0..end).step_by(k_block) {
                    let depth = k_block.min(end - at);
                    let own_panels = &mut own_panels[..own.packed(mine.len(), depth)];
                    let rows = (mine.start, mine.len());
                    pack(isa, own_panels, own.matrix, rows, own.width, (at, depth));
                    let own = Part { panels: own_panels, at: mine.start, len: mine.len() };
                    let start = shared.packed(len, at - k0) + theirs.start * depth;
                    let shared = Part {
                        panels: &panels[start..][..shared.packed(theirs.len(), depth)],
                        at: first + theirs.start,
                        len: theirs.len(),
                    };
                    let write = if at == 0 { out.write } else { Write::Add };
                    let (a, b) = if OWN_A { (&own, &shared) } else { (&shared, &own) };
                    // SAFETY: the tasks' shares of C do not overlap.
                    unsafe { tiles::<T>(a, b, depth, Out { write, ..out }) };
                }
            });
        }
    }
}

/// How C is split into tasks: each has a share of the own operand and a part of the shared one.
///
/// Who computes a tile does not change its bits: the number of threads may stand in this.
struct Grid {
    /// (all of the own operand, one share).
    own: (usize, usize),
    /// (all of the shared operand, one part).
    shared: (usize, usize),
}

impl Grid {
    /// Of lengths, widths of a panel, and the most of the own operand that a task may have.
    fn new((own, own_width, most): (usize, usize, usize), (shared, width): (usize, usize)) -> Self {
        let wanted = TASKS_A_THREAD * rayon::current_num_threads();
        let most = most / own_width;
        let share = (own.div_ceil(own_width) / wanted).clamp((most / 8).max(1), most) * own_width;
        // Too few shares: then several tasks have the same one, and each packs it.
        let parts = wanted.div_ceil(own.div_ceil(share));
        let panels = shared.div_ceil(width);
        let part = panels.div_ceil(parts).max(FEWEST_SHARED.min(panels)) * width;
        Self { own: (own, share), shared: (shared, part) }
    }

    fn tasks(&self) -> usize {
        self.own.0.div_ceil(self.own.1) * self.shared.0.div_ceil(self.shared.1)
    }

    /// The rows of the own operand and of the shared one of a task.
    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let parts = self.shared.0.div_ceil(self.shared.1);
        let range = |(len, share): (usize, usize), i: usize| i * share..((i + 1) * share).min(len);
        (range(self.own, task / parts), range(self.shared, task % parts))
    }
}

/// Packed panels of some rows of A or columns of B.
struct Part<'a> {
    panels: &'a [f32],
    /// The first of them.
    at: usize,
    len: usize,
}

/// The tiles of C of some rows and columns, for one block of k.
///
/// # Safety
/// They lie within C, and no other task touches them.
unsafe fn tiles<T: Tile>(a: &Part<'_>, b: &Part<'_>, depth: usize, out: Out) {
    for i0 in (0..a.len).step_by(TASK_ROWS) {
        for j in (0..b.len).step_by(T::NR) {
            let b_panel = &b.panels[j * depth..][..T::NR * depth];
            for i in (i0..a.len.min(i0 + TASK_ROWS)).step_by(T::MR) {
                let a_panel = &a.panels[i * depth..][..T::MR * depth];
                let (rows, cols) = (T::MR.min(a.len - i), T::NR.min(b.len - j));
                // SAFETY: panels hold MR and NR values per step (asserted by the slices); the tile
                // lies in C, and only this task writes it.
                unsafe {
                    let at = out.start.at((a.at + i) * out.columns + b.at + j);
                    let (a, b) = (a_panel.as_ptr(), b_panel.as_ptr());
                    if (rows, cols) == (T::MR, T::NR) {
                        T::run::<PANELS>(depth, a, T::MR, b, T::NR, at, out.columns, out.write);
                    } else {
                        edge::<T>(depth, a, b, at, out.columns, (rows, cols), out.write);
                    }
                }
            }
        }
    }
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
        T::run::<PANELS>(depth, a, T::MR, b, T::NR, tile.as_mut_ptr(), T::NR, Write::Set);
        for i in 0..rows {
            for j in 0..cols {
                let at = c.add(i * c_step + j);
                let sum = tile[i * T::NR + j];
                *at = if write == Write::Add { *at + sum } else { sum };
            }
        }
    }
}

/// Packs `len` rows from `first` on: block by block of k, each in panels.
fn pack_shared(
    isa: Isa,
    panels: &mut [f32],
    (shared, first, len): (Operand<'_>, usize, usize),
    steps: Range<usize>,
    k_block: usize,
) {
    let Operand { matrix, width, .. } = shared;
    let wanted = TASKS_A_THREAD * rayon::current_num_threads();
    let share = (len.div_ceil(width) / wanted).clamp(1, PACK_PANELS) * width;
    panels.par_chunks_mut(shared.packed(len, k_block)).enumerate().for_each(|(block, panels)| {
        let at = steps.start + block * k_block;
        let depth = k_block.min(steps.end - at);
        panels.par_chunks_mut(share * depth).enumerate().for_each(|(task, panels)| {
            let row = task * share;
            let rows = (first + row, share.min(len - row));
            pack(isa, panels, matrix, rows, width, (at, depth));
        });
    });
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
            // Several blocks of k at a time, and the last one shorter; either operand the larger.
            (40, 30, 1500),
            (30, 200, 1500),
            (0, 5, 3),
            (5, 0, 3),
            (5, 3, 0),
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
    fn more_of_both_operands_than_are_packed_at_a_time() {
        let (m, n, k) = (SHARED + 4, SHARED + 3, 3);
        let (a, b) = (noise(m * k, "a"), noise(k * n, "b"));
        for cpu in cpus() {
            let mut c = vec![f32::NAN; m * n];
            let (left, right) = (Matrix::rows(&a, k), Matrix::rows(&b, n));
            gemm(&cpu, (m, n, k), left, right, &mut c, Write::Set);
            assert!(c.iter().all(|x| x.is_finite()));
            for i in [0, SHARED - 1, SHARED, m - 1] {
                for j in [0, SHARED - 1, SHARED, n - 1] {
                    let want: f32 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                    assert!((c[i * n + j] - want).abs() < 1e-6, "{i} {j}");
                }
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let (a, b) = (noise(130 * 700, "a"), noise(700 * 130, "b"));
        for cpu in cpus() {
            for (m, n) in [(130, 70), (70, 130), (12, 130)] {
                let with = |threads| {
                    let pool =
                        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let (left, right) = (&a[..m * 700], &b[..700 * n]);
                    let (left, right) = (Matrix::rows(left, 700), Matrix::rows(right, n));
                    let mut c = vec![0.0; m * n];
                    pool.install(|| gemm(&cpu, (m, n, 700), left, right, &mut c, Write::Set));
                    c
                };
                let one = with(1);
                for threads in [2, 3, 40] {
                    assert_eq!(one, with(threads), "{m} {n} {threads}");
                }
            }
        }
    }

    #[test]
    fn tasks_cover_c_once_whatever_the_number_of_threads() {
        for threads in [1, 3, 64] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (own, shared) in [(1, 1), (12, 40), (4096, 256), (5000, 4096), (193, 4000)] {
                let grid = pool.install(|| Grid::new((own, 12, TASK_ROWS), (shared, 32)));
                let mut covered = 0;
                for task in 0..grid.tasks() {
                    let (mine, theirs) = grid.task(task);
                    assert!(mine.len() <= TASK_ROWS && mine.start % 12 == 0);
                    assert_eq!(theirs.start % 32, 0);
                    covered += mine.len() * theirs.len();
                }
                assert_eq!(covered, own * shared, "{threads} {own} {shared}");
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
