//! The loss by position, and chunk against chunk: what the mean over a text hides.

use serde::Serialize;

use super::{Key, Looked, key};
use crate::report::arm::LEVEL;
use crate::report::column::Column;
use crate::report::model::Section;
use crate::report::words::ten_digits;
use crate::results::ChunkLoss;
use crate::stats::{mean, paired_t, std};

/// The loss by position in one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PositionTable {
    /// The column.
    #[serde(flatten)]
    pub column: Column,
    /// The half-open ranges of positions.
    pub buckets: Vec<(u64, u64)>,
    /// One row a config.
    pub rows: Vec<PositionRow>,
}

/// The loss by position of a config.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PositionRow {
    /// Config name.
    pub config: String,
    /// Seeds in it.
    pub n: usize,
    /// One entry a range.
    pub buckets: Vec<Bucket>,
}

/// The loss of a config in a range of positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bucket {
    /// Mean over seeds of the mean cross-entropy there, nats a token.
    pub mean: f64,
    /// Its standard deviation over seeds; `None` with one seed.
    pub std: Option<f64>,
    /// Mean over the paired seeds of the baseline's loss - this one, nats: positive is better.
    pub gap: Option<f64>,
}

/// A config against its baseline on the same chunks of text: the trained weights are given, only the
/// text varies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChunkPairs {
    /// Config name.
    pub config: String,
    /// What it is compared with.
    pub baseline: String,
    /// Chunks of the text.
    pub chunks: usize,
    /// Those with a lower loss than the baseline's, in the mean over the paired seeds.
    pub better: usize,
    /// Mean difference, baseline - config, nats a token: positive is better.
    pub mean: f64,
    /// Lower end of its 95 % interval over chunks.
    pub low: f64,
    /// Upper end of that interval.
    pub high: f64,
}

/// One table a column in which any config has chunks.
pub(super) fn tables(section: &Section, looked: &[Looked], ddof: u8) -> Vec<PositionTable> {
    let table = |column: &Column| {
        let key = key(section, column);
        let buckets = looked.iter().find_map(|one| {
            let (seed, _) = one.seeds.iter().find(|(seed, _)| one.chunks(*seed, &key).is_some())?;
            let first = one.chunks(*seed, &key)?.first()?;
            Some(first.positions.iter().map(|p| (p.from, p.to)).collect::<Vec<_>>())
        })?;
        let row = |one: &Looked| row(one, looked, &key, &buckets, ddof);
        let rows: Vec<PositionRow> = looked.iter().filter_map(row).collect();
        Some(PositionTable { column: column.clone(), buckets, rows })
    };
    section.columns.iter().filter_map(table).collect()
}

fn row(
    one: &Looked,
    looked: &[Looked],
    key: &Key,
    buckets: &[(u64, u64)],
    ddof: u8,
) -> Option<PositionRow> {
    let of = |one: &Looked, seed: u64| by_position(one.chunks(seed, key)?, buckets);
    let baseline = looked.iter().find(|other| other.config == one.baseline);
    let own: Vec<(u64, Vec<f64>)> = one
        .seeds
        .iter()
        .filter_map(|(seed, _)| of(one, *seed).map(|losses| (*seed, losses)))
        .collect();
    if own.is_empty() {
        return None;
    }
    let gaps: Vec<Vec<f64>> = match baseline.filter(|other| other.config != one.config) {
        None => Vec::new(),
        Some(baseline) => own
            .iter()
            .filter_map(|(seed, own)| {
                let theirs = of(baseline, *seed)?;
                Some(theirs.iter().zip(own).map(|(theirs, own)| theirs - own).collect())
            })
            .collect(),
    };
    let bucket = |i: usize| {
        let values: Vec<f64> = own.iter().map(|(_, losses)| losses[i]).collect();
        let differences: Vec<f64> = gaps.iter().map(|gaps: &Vec<f64>| gaps[i]).collect();
        Some(Bucket { mean: mean(&values)?, std: std(&values, ddof), gap: mean(&differences) })
    };
    let buckets = (0..buckets.len()).map(bucket).collect::<Option<Vec<_>>>()?;
    Some(PositionRow { config: one.config.to_owned(), n: own.len(), buckets })
}

/// The mean loss in each range over all chunks; `None` if they have other ranges or a loss is not
/// finite.
fn by_position(chunks: &[ChunkLoss], buckets: &[(u64, u64)]) -> Option<Vec<f64>> {
    let mut sums = vec![(0.0, 0u64); buckets.len()];
    for chunk in chunks {
        if chunk.positions.len() != buckets.len() {
            return None;
        }
        for ((position, bucket), (sum, count)) in chunk.positions.iter().zip(buckets).zip(&mut sums)
        {
            if (position.from, position.to) != *bucket {
                return None;
            }
            *sum += position.sum?;
            *count += position.count;
        }
    }
    sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / count as f64)).collect()
}

/// One entry a compared config with two chunks or more in the column of the claim.
pub(super) fn chunk_pairs(section: &Section, looked: &[Looked]) -> Vec<ChunkPairs> {
    let key = key(section, &section.primary());
    let pairs = |one: &Looked| {
        let baseline = looked.iter().find(|other| other.config == one.baseline)?;
        if baseline.config == one.config {
            return None;
        }
        let differences: Vec<Vec<f64>> = one
            .seeds
            .iter()
            .filter_map(|(seed, _)| {
                let (own, theirs) = (one.chunks(*seed, &key)?, baseline.chunks(*seed, &key)?);
                let alike = own.len() == theirs.len();
                let difference =
                    |(own, theirs): (&ChunkLoss, &ChunkLoss)| Some(theirs.loss? - own.loss?);
                own.iter()
                    .zip(theirs)
                    .map(difference)
                    .collect::<Option<Vec<f64>>>()
                    .filter(|_| alike)
            })
            .collect();
        let chunks = differences.iter().map(Vec::len).min()?;
        if differences.iter().any(|run| run.len() != chunks) {
            return None;
        }
        let over_seeds: Vec<f64> = (0..chunks)
            .map(|i| differences.iter().map(|run| run[i]).sum::<f64>() / differences.len() as f64)
            .collect();
        let paired = paired_t(&over_seeds, LEVEL)?;
        Some(ChunkPairs {
            config: one.config.to_owned(),
            baseline: one.baseline.to_owned(),
            chunks,
            better: over_seeds.iter().filter(|difference| **difference > 0.0).count(),
            mean: ten_digits(paired.mean),
            low: ten_digits(paired.low),
            high: ten_digits(paired.high),
        })
    };
    looked.iter().filter_map(pairs).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::{Details, Entry, PositionLoss, testing};

    /// Two chunks of four predictions in two ranges.
    fn details(losses: [[f64; 2]; 2]) -> Details {
        let chunk = |(i, [near, far]): (u64, [f64; 2])| ChunkLoss {
            length: 5,
            transform: None,
            chunk: i,
            tokens: 4,
            loss: Some((near + far * 3.0) / 4.0),
            positions: vec![
                PositionLoss { from: 0, to: 1, sum: Some(near), count: 1 },
                PositionLoss { from: 1, to: 4, sum: Some(far * 3.0), count: 3 },
            ],
        };
        let chunks = (0..).zip(losses).map(chunk).collect();
        Details { chunks: BTreeMap::from([((None, 5), chunks)]), ..Details::default() }
    }

    fn looked<'a>(config: &'a str, entry: &'a Entry, runs: &'a [Details]) -> Looked<'a> {
        let seeds = (1..).zip(runs.iter().map(|details| vec![(entry, details)])).collect();
        Looked { config, baseline: "geo", seeds }
    }

    #[test]
    fn losses_are_weighed_by_predictions_and_paired_by_seed() {
        let record = testing::record(testing::GEO, 1, &[]);
        let entry = Entry { path: String::new(), attempt: 1, record };
        let (geo, new) = (
            [details([[4.0, 2.0], [6.0, 2.0]]), details([[5.0, 3.0], [5.0, 3.0]])],
            [details([[4.0, 1.0], [6.0, 1.5]])],
        );
        let (geo, new) = (looked("geo", &entry, &geo), looked("new", &entry, &new));
        let buckets = [(0, 1), (1, 4)];
        let all = [geo, new];
        let row = |i: usize| row(&all[i], &all, &(None, 5), &buckets, 1).unwrap();
        let geo = row(0);
        assert_eq!((geo.n, geo.buckets[0].mean, geo.buckets[0].std), (2, 5.0, Some(0.0)));
        assert_eq!((geo.buckets[1].mean, geo.buckets[1].gap), (2.5, None));
        let new = row(1);
        assert_eq!((new.n, new.buckets[1].mean, new.buckets[1].std), (1, 1.25, None));
        assert_eq!(new.buckets[1].gap, Some(0.75), "against seed 1 of the baseline alone");
        // Other ranges are not read as these.
        assert!(
            by_position(&details([[1.0; 2]; 2]).chunks[&(None, 5)], &[(0, 2), (2, 4)]).is_none()
        );
    }
}
