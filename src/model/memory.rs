//! Memory that a run will need, predicted from its shape alone.

use super::Config;
use super::evaluation::EVALUATION_CHUNK;
use super::workspace::Workspace;
use crate::ops::{AttentionShape, attention_scratch, gemm_scratch, rows_at_once, rows_per_chunk};

/// The process itself: `xp run` with nothing left to do has 11 MiB.
const FIXED_BYTES: u64 = 12 << 20;

fn bytes(values: u128) -> u64 {
    u64::try_from(values.saturating_mul(4)).unwrap_or(u64::MAX).saturating_add(FIXED_BYTES)
}

/// (attention of a forward pass, of a backward pass, logits and panels of multiplies).
fn scratch(config: &Config, shape: AttentionShape, threads: usize) -> (u128, u128, u128) {
    let vocab_size = config.vocab_size;
    let (forward, backward) = attention_scratch(shape, threads);
    let positions = (shape.rows as u128).saturating_mul(shape.seq_len as u128);
    let logits =
        (rows_per_chunk(vocab_size) as u128).min(positions).saturating_mul(vocab_size as u128);
    let largest = vocab_size.max(usize::try_from(positions).unwrap_or(usize::MAX));
    (forward.into(), backward.into(), logits.saturating_add(gemm_scratch(largest, threads).into()))
}

/// Bytes of training on so many threads: parameters, gradients, two moments, scratch, activations of the rows of a
/// granule that go through the model at once ([`rows_at_once`]).
#[must_use]
pub fn training_memory(
    config: &Config,
    micro_batch_size: usize,
    seq_len: usize,
    threads: usize,
) -> u64 {
    let granule = config.attention_shape(micro_batch_size, seq_len, config.head_dim);
    let rows = rows_at_once(granule, config.vocab_size, threads);
    let positions = |rows: usize| (rows as u128).saturating_mul(seq_len as u128);
    let (wide, matrix) = Workspace::<()>::values_per_position(config);
    let per_granule = u128::from(Workspace::<()>::values_per_granule(config));
    let per_position = u128::from(wide) + u128::from(matrix) - per_granule;
    let of_part = positions(rows).saturating_mul(per_position);
    let activations =
        of_part.saturating_add(positions(micro_batch_size).saturating_mul(per_granule));
    let arenas = u128::from(config.num_parameters()).saturating_mul(4);
    let rope = (seq_len as u128).saturating_mul(config.head_dim as u128);
    let shape = AttentionShape { rows, ..granule };
    let (forward, backward, rest) = scratch(config, shape, threads);
    let parts = [arenas, activations, rope, forward, backward, rest];
    bytes(parts.into_iter().fold(0, u128::saturating_add))
}

/// Hidden, attention and intermediate size, heads, head dimension.
fn widths(config: &Config) -> [u128; 5] {
    let Config { hidden_size, intermediate_size, heads, head_dim, .. } = *config;
    [hidden_size, config.attention_size(), intermediate_size, heads, head_dim].map(|x| x as u128)
}

/// Bytes of evaluating one sequence of `length` tokens on so many threads: parameters, buffers, scratch.
#[must_use]
pub fn evaluation_memory(config: &Config, length: usize, threads: usize) -> u64 {
    let [d, a, f, heads, head_dim] = widths(config);
    let per_position = (d + 4 * a + heads).saturating_add(1 + head_dim);
    let chunk = (EVALUATION_CHUNK.min(length) as u128).saturating_mul(d + 3 * f + 1);
    let buffers = (length as u128).saturating_mul(per_position).saturating_add(chunk);
    let shape = config.attention_shape(1, length, config.head_dim);
    let (attention, _, rest) = scratch(config, shape, threads);
    let parts = [u128::from(config.num_parameters()), buffers, attention, rest];
    bytes(parts.into_iter().fold(0, u128::saturating_add))
}

/// What a run asks of a CUDA device.
#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
#[derive(Debug, Clone, Copy)]
pub struct DeviceDemand {
    /// Precision of the matrix inputs.
    pub precision: crate::ops::Precision,
    /// Rows of one granule, 0 if nothing is trained.
    pub rows: usize,
    /// Tokens of a row.
    pub seq_len: usize,
    /// The longest sequence that is evaluated, 0 if none is.
    pub evaluated: usize,
}

#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
impl DeviceDemand {
    /// Bytes of device memory at the peak: of training or of the longest evaluation.
    #[must_use]
    pub fn bytes(self, config: &Config) -> u64 {
        use crate::ops::Precision;
        use crate::ops::cuda::scratch_bytes;

        let p = self.precision.bytes() as u128;
        let parameters = u128::from(config.num_parameters());
        let rounded = if self.precision == Precision::F32 { 0 } else { p };
        let [d, a, f, heads, head_dim] = widths(config);
        let scratch = |rows: usize, seq_len: usize, training: bool| {
            let shape = config.attention_shape(rows, seq_len, config.head_dim);
            scratch_bytes(shape, (config.hidden_size, config.vocab_size), self.precision, training)
        };

        let positions = (self.rows as u128).saturating_mul(self.seq_len as u128);
        let (wide, matrix) = Workspace::<()>::values_per_position(config);
        let a_position = 4 * u128::from(wide) + p * u128::from(matrix) + rounded * d;
        let training = (16 + rounded)
            .saturating_mul(parameters)
            .saturating_add(positions.saturating_mul(a_position))
            .saturating_add(4 * head_dim * self.seq_len as u128)
            .saturating_add(scratch(self.rows, self.seq_len, true));

        let length = self.evaluated as u128;
        let chunk = EVALUATION_CHUNK.min(self.evaluated) as u128;
        let a_position = 4 * (d + heads + 1 + head_dim) + p * 4 * a;
        let evaluation = (4 + rounded)
            .saturating_mul(parameters)
            .saturating_add(length.saturating_mul(a_position))
            .saturating_add(chunk.saturating_mul(p * (d + 3 * f) + 4))
            .saturating_add(scratch(1, self.evaluated, false));
        let training = if self.rows > 0 { training } else { 0 };
        u64::try_from(training.max(evaluation)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::reference;
    use super::*;

    #[test]
    fn the_reference_model_evaluates_16k_tokens_under_a_gigabyte_and_a_half() {
        let predicted = evaluation_memory(&reference(), 16_384, 2);
        assert!(predicted < 1536 << 20, "{predicted}");
        assert!(predicted > 50_928_128 * 4);
    }

    #[test]
    fn the_reference_batch_trains_in_under_three_gigabytes_on_two_threads() {
        let of = |rows| training_memory(&reference(), rows, 2048, 2);
        assert!(of(32) < 3 << 30, "{}", of(32));
        // Of a further row only the residual stream's gradient and the losses are held.
        assert_eq!(of(32) - of(31), 2048 * (512 + 1) * 4);
    }

    #[test]
    fn memory_grows_linearly_with_length_and_absurd_sizes_saturate() {
        let at = |length| training_memory(&reference(), 1, length, 2) as f64;
        let (step, twice) = (at(8192) - at(4096), at(16_384) - at(8192));
        assert!((twice / step - 2.0).abs() < 0.01, "{step} {twice}");
        assert_eq!(training_memory(&reference(), usize::MAX, usize::MAX, 2), u64::MAX);
        let absurd = Config { hidden_size: usize::MAX, heads: usize::MAX, ..reference() };
        assert_eq!(evaluation_memory(&absurd, usize::MAX, 2), u64::MAX);
    }
}
