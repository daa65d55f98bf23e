//! From the losses of chunks to perplexity, and to the loss by position.

use std::collections::BTreeMap;

use crate::results::{ChunkLoss, Evaluation, PositionLoss};

/// Sums up the losses of one chunk: `losses[p]` is the cross-entropy, in nats, of predicting
/// token p + 1. `train_len` is the training length L, by which positions are told apart:
/// [0, L/2), [L/2, L), then each octave.
#[must_use]
pub fn chunk_loss(length: u64, chunk: u64, losses: &[f32], train_len: u64) -> ChunkLoss {
    let sum: f64 = losses.iter().map(|&x| f64::from(x)).sum();
    let mean = sum / losses.len() as f64;
    let positions = buckets(losses.len() as u64, train_len)
        .into_iter()
        .map(|(from, to)| {
            let part = &losses[from as usize..to as usize];
            let sum: f64 = part.iter().map(|&x| f64::from(x)).sum();
            PositionLoss { from, to, sum: finite(sum), count: part.len() as u64 }
        })
        .collect();
    ChunkLoss {
        length,
        transform: None,
        chunk,
        tokens: losses.len() as u64,
        loss: finite(mean),
        positions,
    }
}

/// The position buckets of a chunk with `predictions` predictions.
fn buckets(predictions: u64, train_len: u64) -> Vec<(u64, u64)> {
    let mut bounds = vec![0, train_len / 2, train_len];
    while *bounds.last().expect("three bounds to begin with") < predictions {
        bounds.push(bounds[bounds.len() - 1].saturating_mul(2));
    }
    bounds
        .windows(2)
        .map(|pair| (pair[0], pair[1].min(predictions)))
        .filter(|(from, to)| from < to)
        .collect()
}

/// The metric at each length under one transform (`None`: as trained): PROTOCOL's exp(mean over chunks of the chunk's mean
/// cross-entropy), over the first `chunks[length]` chunks (`None`: all that are there).
#[must_use]
pub fn evaluations(
    lines: &[ChunkLoss],
    transform: Option<&str>,
    chunks: &BTreeMap<u64, Option<u64>>,
) -> BTreeMap<u64, Evaluation> {
    let mut metrics = BTreeMap::new();
    for (&length, &limit) in chunks {
        let mut losses: Vec<(u64, Option<f64>)> = lines
            .iter()
            .filter(|line| line.length == length && line.transform.as_deref() == transform)
            .filter(|line| limit.is_none_or(|n| line.chunk < n))
            .map(|line| (line.chunk, line.loss))
            .collect();
        if losses.is_empty() {
            continue;
        }
        losses.sort_by_key(|(chunk, _)| *chunk);
        let count = losses.len() as u64;
        let sum: Option<f64> = losses.iter().map(|(_, loss)| *loss).sum();
        let nll = sum.map(|sum| sum / count as f64);
        let ppl = nll.and_then(|nll| finite(libm::exp(nll)));
        metrics.insert(length, Evaluation { ppl, nll, chunks: Some(count) });
    }
    metrics
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_told_apart_by_the_training_length() {
        assert_eq!(buckets(63, 64), [(0, 32), (32, 63)]);
        assert_eq!(buckets(255, 64), [(0, 32), (32, 64), (64, 128), (128, 255)]);
        assert_eq!(buckets(20, 64), [(0, 20)]);
        let losses: Vec<f32> = (0..255).map(|i| i as f32).collect();
        let chunk = chunk_loss(256, 3, &losses, 64);
        assert_eq!(chunk.tokens, 255);
        assert_eq!(chunk.loss, Some(127.0));
        assert_eq!(chunk.positions.iter().map(|p| p.count).sum::<u64>(), 255);
        let sum: f64 = chunk.positions.iter().filter_map(|p| p.sum).sum();
        assert_eq!(sum, 127.0 * 255.0);
    }

    #[test]
    fn perplexity_is_the_exponential_of_the_mean_of_chunk_means() {
        let line = |chunk, loss| ChunkLoss {
            length: 8,
            transform: None,
            chunk,
            tokens: 7,
            loss,
            positions: vec![],
        };
        let lines = [line(1, Some(3.0)), line(0, Some(1.0)), line(2, Some(100.0))];
        let two = evaluations(&lines, None, &BTreeMap::from([(8, Some(2)), (16, Some(2))]));
        assert_eq!(two.len(), 1);
        assert_eq!(two[&8].nll, Some(2.0));
        assert_eq!(two[&8].ppl, Some(libm::exp(2.0)));
        assert_eq!(two[&8].chunks, Some(2));
        let all = evaluations(&lines, None, &BTreeMap::from([(8, None)]));
        assert_eq!(all[&8].chunks, Some(3));
        let transformed = ChunkLoss { transform: Some("t".into()), ..line(0, Some(2.0)) };
        let both = [line(0, Some(1.0)), transformed];
        let under_t = evaluations(&both, Some("t"), &BTreeMap::from([(8, Some(2))]));
        assert_eq!((under_t[&8].nll, under_t[&8].chunks), (Some(2.0), Some(1)));
        assert_eq!(evaluations(&both, None, &BTreeMap::from([(8, None)]))[&8].nll, Some(1.0));
        let broken = [line(0, None), line(1, Some(1.0))];
        assert_eq!(evaluations(&broken, None, &BTreeMap::from([(8, None)]))[&8].ppl, None);
    }
}
