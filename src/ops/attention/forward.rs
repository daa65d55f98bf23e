//! The forward pass: online softmax over blocks of keys.
#![expect(unsafe_code, reason = "micro-kernels over raw panels; tasks write disjoint rows")]

use rayon::prelude::*;

use super::super::Write;
use super::super::cpu::Cpu;
use super::super::isa::{Isa, simd_kernel};
use super::super::math::{exp, exp_in_place, ln, max};
use super::super::parallel::SharedMut;
#[cfg(target_arch = "aarch64")]
use super::super::tile::NeonTile;
#[cfg(target_arch = "x86_64")]
use super::super::tile::{Avx2Tile, Avx512Tile};
use super::super::tile::{PortableTile, ROWS, Tile};
use super::panels::{Head, transpose};
use super::{AttentionShape, KEY_BLOCK, QUERY_BLOCK};

simd_kernel! {
    /// One block of the online softmax: scores become unnormalised probabilities, and what the
    /// rows have gathered so far is rescaled to the new maximum.
    ///
    /// Row i sees `visible + i` keys of the block (negative: none), at most `width`.
    fn softmax_block<S>(
        scores: &mut [f32],
        rows: usize,
        visible: isize,
        width: usize,
        row_max: &mut [f32],
        row_sum: &mut [f32],
        out: &mut [f32],
        padded: usize,
    ) {
        for i in 0..rows {
            let count = (visible + i as isize).clamp(0, width as isize) as usize;
            let (seen, masked) = scores[i * KEY_BLOCK..][..width].split_at_mut(count);
            masked.fill(0.0);
            if seen.is_empty() {
                continue;
            }
            let top = max(seen);
            if top > row_max[i] {
                let factor = exp::<S>(row_max[i] - top);
                row_max[i] = top;
                row_sum[i] *= factor;
                for x in &mut out[i * padded..][..padded] {
                    *x *= factor;
                }
            }
            row_sum[i] += exp_in_place::<S>(seen, row_max[i]);
        }
    }
}

/// What it writes is undefined if the CPU was asked to stop meanwhile.
pub(crate) fn forward(
    cpu: &Cpu,
    shape: AttentionShape,
    qkv: &[f32],
    rope: (&[f32], &[f32]),
    out: &mut [f32],
    lse: &mut [f32],
) {
    shape.check(qkv.len(), rope.0.len().min(rope.1.len()), out.len(), lse.len());
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => forward_with::<Avx2Tile>(cpu, shape, qkv, rope, out, lse),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => forward_with::<Avx512Tile>(cpu, shape, qkv, rope, out, lse),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => forward_with::<NeonTile>(cpu, shape, qkv, rope, out, lse),
        _ => forward_with::<PortableTile>(cpu, shape, qkv, rope, out, lse),
    }
}

fn forward_with<T: Tile>(
    cpu: &Cpu,
    shape: AttentionShape,
    qkv: &[f32],
    (cos, sin): (&[f32], &[f32]),
    out: &mut [f32],
    lse: &mut [f32],
) {
    let AttentionShape { rows, seq_len, heads, head_dim, .. } = shape;
    let head_at =
        |index: usize| Head { shape, qkv, cos, sin, row: index / heads, index: index % heads };
    let padded = head_dim.next_multiple_of(T::NR);
    let length = seq_len.next_multiple_of(T::NR);
    // Packed once per head, read by every block of queries.
    let mut keys = cpu.pool().take(rows * heads * length * head_dim);
    let mut values = cpu.pool().take(rows * heads * length * padded);
    keys.par_chunks_mut(length * head_dim)
        .zip(values.par_chunks_mut(length * padded))
        .enumerate()
        .for_each(|(index, (keys, values))| {
            let head = head_at(index);
            // `values` serves as the untransposed keys first.
            head.load_rows(1, padded, values);
            transpose(values, padded, head_dim, T::NR, keys);
            head.load_rows(2, padded, values);
        });

    let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
    let blocks = seq_len.div_ceil(QUERY_BLOCK);
    let scratch_len = QUERY_BLOCK * (2 * padded + KEY_BLOCK);
    (0..rows * heads * blocks).into_par_iter().for_each_init(
        || cpu.pool().take(scratch_len),
        |scratch, task| {
            if cpu.go_on().is_err() {
                return;
            }
            let (index, block) = (task / blocks, task % blocks);
            let head = head_at(index);
            let first = block * QUERY_BLOCK;
            let count = QUERY_BLOCK.min(seq_len - first);
            let keys = &keys[index * length * head_dim..][..length * head_dim];
            let values = &values[index * length * padded..][..length * padded];
            let (queries, rest) = scratch.split_at_mut(QUERY_BLOCK * padded);
            let (sums, scores) = rest.split_at_mut(QUERY_BLOCK * padded);
            head.load_queries(first, count, padded, queries);
            sums.fill(0.0);
            let mut row_max = [f32::NEG_INFINITY; QUERY_BLOCK];
            let mut row_sum = [0.0f32; QUERY_BLOCK];
            let tile_rows = (0..count).step_by(T::MR);
            for k0 in (0..first + count).step_by(KEY_BLOCK) {
                let width = KEY_BLOCK.min(first + count - k0);
                for j in (0..width).step_by(T::NR) {
                    let panel = &keys[(k0 + j) * head_dim..][..T::NR * head_dim];
                    for i in tile_rows.clone() {
                        // SAFETY: MR divides QUERY_BLOCK and NR divides KEY_BLOCK, so the tile
                        // lies in `scores`, its rows in `queries`; the panel is sliced above.
                        unsafe {
                            T::run::<ROWS>(
                                head_dim,
                                queries.as_ptr().add(i * padded),
                                padded,
                                panel.as_ptr(),
                                T::NR,
                                scores.as_mut_ptr().add(i * KEY_BLOCK + j),
                                KEY_BLOCK,
                                Write::Set,
                            );
                        }
                    }
                }
                let visible = first as isize + 1 - k0 as isize;
                softmax_block(
                    cpu.isa(),
                    scores,
                    count,
                    visible,
                    width,
                    &mut row_max,
                    &mut row_sum,
                    sums,
                    padded,
                );
                let values = &values[k0 * padded..][..width * padded];
                for j in (0..padded).step_by(T::NR) {
                    for i in tile_rows.clone() {
                        // SAFETY: NR divides `padded`, so the tile lies in `sums` and steps of
                        // B in `values`; rows of A are rows of `scores`, `width` long at most.
                        unsafe {
                            T::run::<ROWS>(
                                width,
                                scores.as_ptr().add(i * KEY_BLOCK),
                                KEY_BLOCK,
                                values.as_ptr().add(j),
                                padded,
                                sums.as_mut_ptr().add(i * padded + j),
                                padded,
                                Write::Add,
                            );
                        }
                    }
                }
            }
            for i in 0..count {
                let inverse = 1.0 / row_sum[i];
                // SAFETY: a task owns its head's rows first..first + count of out and lse,
                // whose sizes `check` has compared with the shape.
                let (row, lse) = unsafe {
                    let row = out.slice(head.out_offset(first + i), head_dim);
                    (row, lse.slice(head.lse_offset(first + i), 1))
                };
                for (y, x) in row.iter_mut().zip(&sums[i * padded..]) {
                    *y = x * inverse;
                }
                lse[0] = row_max[i] + ln(row_sum[i]);
            }
        },
    );
}
