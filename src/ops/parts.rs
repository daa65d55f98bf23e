//! How many rows go through a model at once on the CPU.
//!
//! Activations of fewer rows take less memory: a granule of 32 x 2048 tokens would hold 12 GiB of them for the
//! reference model, 4 rows hold 1.5.

use super::AttentionShape;
use super::gemm::K_BLOCK;
use super::{rms_norm, rows_per_chunk};

/// Positions that are enough: with 2048 a step of 32 x 512 tokens (size M of `tests/bench/step.rs`) took 5 % longer,
/// with 8192 it takes as long as in one part.
const POSITIONS: usize = 8192;
/// Positions that a thread should find.
const POSITIONS_A_THREAD: usize = 1024;
/// Heads of rows that a thread should find: attention's backward pass makes a task of each.
const HEADS_A_THREAD: usize = 4;

/// Rows of a part of a granule on so many threads: all of the granule, if parts would come to other bits.
///
/// Three sums run over the positions of a granule, each block by block and the blocks in order: the gradients of weights
/// (`gemm::K_BLOCK`), of gains (`rms_norm::ROWS`), and of the head ([`rows_per_chunk`]). Parts that end where blocks
/// do go on where the part before has ended.
#[must_use]
pub fn rows_at_once(granule: AttentionShape, vocab_size: usize, threads: usize) -> usize {
    let AttentionShape { rows, seq_len, heads, .. } = granule;
    let positions = rows.saturating_mul(seq_len);
    // Otherwise the blocks of its multiplies are shorter.
    if positions == 0 || !positions.is_multiple_of(K_BLOCK) {
        return rows;
    }
    let blocks = lcm(lcm(K_BLOCK, rms_norm::ROWS), rows_per_chunk(vocab_size));
    let step = blocks / gcd(blocks, seq_len);
    let wanted = POSITIONS.max(threads.saturating_mul(POSITIONS_A_THREAD)).div_ceil(seq_len);
    let wanted = wanted.max(threads.saturating_mul(HEADS_A_THREAD).div_ceil(heads.max(1)));
    wanted.checked_next_multiple_of(step).map_or(rows, |part| part.min(rows))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lcm(a: usize, b: usize) -> usize {
    a / gcd(a, b) * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granule(rows: usize, seq_len: usize) -> AttentionShape {
        AttentionShape { rows, seq_len, heads: 8, head_dim: 64, rotary_dim: 64 }
    }

    #[test]
    fn parts_end_where_the_blocks_of_every_sum_do() {
        assert_eq!(rows_at_once(granule(32, 2048), 50_304, 2), 4);
        assert_eq!(rows_at_once(granule(32, 512), 4096, 2), 16);
        // 96 positions: only 16 rows are whole blocks of 512.
        assert_eq!(rows_at_once(granule(200, 96), 4096, 2), 96);
        // A head of 261 rows a chunk: 261 * 256 positions.
        assert_eq!(rows_at_once(granule(600, 256), 128_256, 2), 261);
        // Blocks of 200 positions.
        assert_eq!(rows_at_once(granule(98, 100), 4096, 2), 98);
        assert_eq!(rows_at_once(granule(2, 512), 4096, 2), 2);
        assert_eq!(rows_at_once(granule(usize::MAX, usize::MAX), 4096, 2), usize::MAX);
    }

    #[test]
    fn many_threads_get_enough_to_do() {
        assert_eq!(rows_at_once(granule(32, 2048), 50_304, 16), 8);
        assert_eq!(rows_at_once(granule(32, 8192), 50_304, 16), 8);
        assert_eq!(rows_at_once(granule(32, 2048), 50_304, 96), 32);
    }
}
