//! The backward pass: one task a head, probabilities recomputed block by block.
//!
//! With S = q kᵀ, P = exp(S - lse), dP = dO vᵀ, δ = Σ dO O and dS = P (dP - δ):
//! dq = dS k, dk = dSᵀ q, dv = Pᵀ dO.
#![expect(unsafe_code, reason = "micro-kernels over raw panels; tasks write disjoint heads")]

use rayon::prelude::*;

use super::super::Write;
use super::super::cpu::Cpu;
use super::super::isa::{Isa, simd_kernel};
use super::super::math::{dot, exp};
use super::super::parallel::SharedMut;
#[cfg(target_arch = "aarch64")]
use super::super::tile::NeonTile;
#[cfg(target_arch = "x86_64")]
use super::super::tile::{Avx2Tile, Avx512Tile};
use super::super::tile::{COLUMNS, PortableTile, ROWS, Tile};
use super::panels::{Head, transpose};
use super::{AttentionShape, KEY_BLOCK, QUERY_BLOCK};

simd_kernel! {
    /// Scores become P, `d_scores` (holding dP) becomes dS; masked places become zero.
    fn gradient_block<S>(
        scores: &mut [f32],
        d_scores: &mut [f32],
        rows: usize,
        visible: isize,
        width: usize,
        lse: &[f32],
        delta: &[f32],
    ) {
        for i in 0..rows {
            let count = (visible + i as isize).clamp(0, width as isize) as usize;
            let (p, p_masked) = scores[i * KEY_BLOCK..][..KEY_BLOCK].split_at_mut(count);
            let (ds, ds_masked) = d_scores[i * KEY_BLOCK..][..KEY_BLOCK].split_at_mut(count);
            let (lse, delta) = (lse[i], delta[i]);
            for (p, ds) in p.iter_mut().zip(ds) {
                *p = exp::<S>(*p - lse);
                *ds = *p * (*ds - delta);
            }
            p_masked.fill(0.0);
            ds_masked.fill(0.0);
        }
    }
}

simd_kernel! {
    /// Σ a b.
    fn inner<S>(a: &[f32], b: &[f32]) -> f32 {
        dot::<S>(a, b)
    }
}

/// `d_qkv` = gradient with respect to q, k and v before rotation; undefined if the CPU was asked to
/// stop meanwhile.
pub(crate) fn backward(
    cpu: &Cpu,
    shape: AttentionShape,
    saved: (&[f32], &[f32], &[f32]),
    rope: (&[f32], &[f32]),
    d_out: &[f32],
    d_qkv: &mut [f32],
) {
    let (qkv, out, lse) = saved;
    shape.check(qkv.len(), rope.0.len().min(rope.1.len()), out.len(), lse.len());
    assert!(d_out.len() == out.len() && d_qkv.len() == qkv.len(), "gradients have their sizes");
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => backward_with::<Avx2Tile>(cpu, shape, saved, rope, d_out, d_qkv),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => backward_with::<Avx512Tile>(cpu, shape, saved, rope, d_out, d_qkv),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => backward_with::<NeonTile>(cpu, shape, saved, rope, d_out, d_qkv),
        _ => backward_with::<PortableTile>(cpu, shape, saved, rope, d_out, d_qkv),
    }
}

fn backward_with<T: Tile>(
    cpu: &Cpu,
    shape: AttentionShape,
    (qkv, out, lse): (&[f32], &[f32], &[f32]),
    (cos, sin): (&[f32], &[f32]),
    d_out: &[f32],
    d_qkv: &mut [f32],
) {
    let AttentionShape { rows, seq_len, heads, head_dim, .. } = shape;
    let padded = head_dim.next_multiple_of(T::NR);
    // Whole blocks of keys: gradients of k and v are written in whole tiles.
    let length = seq_len.next_multiple_of(KEY_BLOCK);
    let d_qkv = SharedMut::new(d_qkv);
    let scratch_len =
        length * (2 * head_dim + 3 * padded) + QUERY_BLOCK * (3 * padded + 2 * KEY_BLOCK);
    (0..rows * heads).into_par_iter().for_each_init(
        || cpu.pool().take(scratch_len),
        |scratch, index| {
            if cpu.go_on().is_err() {
                return;
            }
            let head = Head { shape, qkv, cos, sin, row: index / heads, index: index % heads };
            let (key_panels, rest) = scratch.split_at_mut(length * head_dim);
            let (value_panels, rest) = rest.split_at_mut(length * head_dim);
            let (keys, rest) = rest.split_at_mut(length * padded);
            let (d_keys, rest) = rest.split_at_mut(length * padded);
            let (d_values, rest) = rest.split_at_mut(length * padded);
            let (queries, rest) = rest.split_at_mut(QUERY_BLOCK * padded);
            let (d_outs, rest) = rest.split_at_mut(QUERY_BLOCK * padded);
            let (d_queries, rest) = rest.split_at_mut(QUERY_BLOCK * padded);
            let (scores, d_scores) = rest.split_at_mut(QUERY_BLOCK * KEY_BLOCK);
            head.load_rows(2, padded, keys); // values, until their transpose is taken
            transpose(keys, padded, head_dim, T::NR, value_panels);
            head.load_rows(1, padded, keys);
            transpose(keys, padded, head_dim, T::NR, key_panels);
            d_keys.fill(0.0);
            d_values.fill(0.0);

            for first in (0..seq_len).step_by(QUERY_BLOCK) {
                let count = QUERY_BLOCK.min(seq_len - first);
                head.load_queries(first, count, padded, queries);
                d_queries.fill(0.0);
                d_outs.fill(0.0);
                let mut delta = [0.0f32; QUERY_BLOCK];
                for i in 0..count {
                    let at = head.out_offset(first + i);
                    let row = &d_out[at..at + head_dim];
                    delta[i] = inner(cpu.isa(), row, &out[at..at + head_dim]);
                    d_outs[i * padded..][..head_dim].copy_from_slice(row);
                }
                let lse = &lse[head.lse_offset(first)..][..count];
                let query_tiles = (0..count).step_by(T::MR);
                for k0 in (0..first + count).step_by(KEY_BLOCK) {
                    let width = KEY_BLOCK.min(first + count - k0);
                    for j in (0..width).step_by(T::NR) {
                        let at = (k0 + j) * head_dim..(k0 + j + T::NR) * head_dim;
                        let (k, v) = (&key_panels[at.clone()], &value_panels[at]);
                        for i in query_tiles.clone() {
                            let (from, to) = (i * padded, i * KEY_BLOCK + j);
                            // SAFETY: MR divides QUERY_BLOCK and NR KEY_BLOCK, so both tiles
                            // lie in their blocks; the panels are sliced above.
                            unsafe {
                                let (a, b) = (queries.as_ptr().add(from), k.as_ptr());
                                let c = scores.as_mut_ptr().add(to);
                                T::run::<ROWS>(
                                    head_dim,
                                    a,
                                    padded,
                                    b,
                                    T::NR,
                                    c,
                                    KEY_BLOCK,
                                    Write::Set,
                                );
                                let (a, b) = (d_outs.as_ptr().add(from), v.as_ptr());
                                let c = d_scores.as_mut_ptr().add(to);
                                T::run::<ROWS>(
                                    head_dim,
                                    a,
                                    padded,
                                    b,
                                    T::NR,
                                    c,
                                    KEY_BLOCK,
                                    Write::Set,
                                );
                            }
                        }
                    }
                    let visible = first as isize + 1 - k0 as isize;
                    gradient_block(cpu.isa(), scores, d_scores, count, visible, width, lse, &delta);
                    for j in (0..padded).step_by(T::NR) {
                        for i in query_tiles.clone() {
                            // SAFETY: rows of A are rows of `d_scores`; B's steps are rows of
                            // `keys` from k0, `width` of them; C lies in `d_queries`.
                            unsafe {
                                let a = d_scores.as_ptr().add(i * KEY_BLOCK);
                                let b = keys.as_ptr().add(k0 * padded + j);
                                let c = d_queries.as_mut_ptr().add(i * padded + j);
                                T::run::<ROWS>(
                                    width,
                                    a,
                                    KEY_BLOCK,
                                    b,
                                    padded,
                                    c,
                                    padded,
                                    Write::Add,
                                );
                            }
                        }
                        for i in (0..width).step_by(T::MR) {
                            let to = (k0 + i) * padded + j;
                            // SAFETY: MR divides KEY_BLOCK and `length` is whole blocks, so
                            // tiles lie in d_keys and d_values; A is read transposed, `count`
                            // rows of KEY_BLOCK; B's steps are rows of d_outs and queries.
                            unsafe {
                                let a = d_scores.as_ptr().add(i);
                                let b = queries.as_ptr().add(j);
                                let c = d_keys.as_mut_ptr().add(to);
                                T::run::<COLUMNS>(
                                    count,
                                    a,
                                    KEY_BLOCK,
                                    b,
                                    padded,
                                    c,
                                    padded,
                                    Write::Add,
                                );
                                let a = scores.as_ptr().add(i);
                                let b = d_outs.as_ptr().add(j);
                                let c = d_values.as_mut_ptr().add(to);
                                T::run::<COLUMNS>(
                                    count,
                                    a,
                                    KEY_BLOCK,
                                    b,
                                    padded,
                                    c,
                                    padded,
                                    Write::Add,
                                );
                            }
                        }
                    }
                }
                for i in 0..count {
                    // SAFETY: a task owns its head's parts of every row of its sequence.
                    let to = unsafe { d_qkv.slice(head.offset(0, first + i), head_dim) };
                    let from = &d_queries[i * padded..][..head_dim];
                    head.unrotate(first + i, shape.softmax_scale(), from, to);
                }
            }
            for position in 0..seq_len {
                let at = position * padded..position * padded + head_dim;
                // SAFETY: as above.
                let (dk, dv) = unsafe {
                    let dk = d_qkv.slice(head.offset(1, position), head_dim);
                    (dk, d_qkv.slice(head.offset(2, position), head_dim))
                };
                head.unrotate(position, 1.0, &d_keys[at.clone()], dk);
                dv.copy_from_slice(&d_values[at]);
            }
        },
    );
}
