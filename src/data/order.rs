//! Which rows of the token stream make a batch.
//!
//! A row is `seq_len` consecutive tokens: row r is `tokens[r * seq_len .. (r + 1) * seq_len]`,
//! the rest of the stream is dropped. Batch s of an epoch is entries
//! `s * batch_size .. (s + 1) * batch_size` of the epoch's order. The order is a pure function
//! of (seed, step), so resuming needs no state.

use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::rng;

/// In which order the rows of an epoch are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// One permutation of all rows per (seed, epoch).
    #[default]
    Shuffled,
    /// As they stand in the stream; the same in every epoch.
    Sequential,
}

/// The rows of every batch of a training run.
#[derive(Debug)]
pub struct Order {
    kind: OrderKind,
    seed: u64,
    rows: u32,
    batch_size: u32,
    /// The last epoch asked for and its permutation: only a memo.
    epoch: Mutex<Option<(u64, Arc<[u32]>)>>,
}

impl Order {
    /// The order of `rows` rows in batches of `batch_size`.
    ///
    /// # Errors
    /// If there is not one whole batch, or more rows than 2^32 - 1.
    pub fn new(kind: OrderKind, seed: u64, rows: u64, batch_size: u64) -> Result<Self, Error> {
        let narrow = |n: u64, what: &str| {
            u32::try_from(n).map_err(|_| Error::Config {
                what: format!("{n} {what} are more than {}", u32::MAX),
                remedy: "lower `max_tokens` or `batch_size`, or raise `seq_len`".to_owned(),
            })
        };
        if batch_size == 0 || rows < batch_size {
            return Err(Error::Config {
                what: format!("{rows} rows do not fill one batch of {batch_size}"),
                remedy: "give more train tokens, a smaller `batch_size` (at least 1) or a smaller `seq_len`".to_owned(),
            });
        }
        let (rows, batch_size) = (narrow(rows, "rows")?, narrow(batch_size, "rows a batch")?);
        Ok(Self { kind, seed, rows, batch_size, epoch: Mutex::new(None) })
    }

    /// Whole batches in one epoch, at least 1: floor(rows / batch_size).
    pub fn steps_per_epoch(&self) -> u64 {
        u64::from(self.rows / self.batch_size)
    }

    /// The row at place `index` of the batch of `step`; steps run on over epochs.
    ///
    /// # Panics
    /// If `index` is not below the batch size.
    pub fn row(&self, step: u64, index: u64) -> u64 {
        assert!(
            index < u64::from(self.batch_size),
            "place {index} of a batch of {}",
            self.batch_size
        );
        let (epoch, batch) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        // Below rows: batch < rows / batch_size and index < batch_size.
        let place = (batch * u64::from(self.batch_size) + index) as usize;
        match self.kind {
            OrderKind::Sequential => place as u64,
            OrderKind::Shuffled => u64::from(self.permutation(epoch)[place]),
        }
    }

    /// All rows of the batch of `step`, in order.
    pub fn batch(&self, step: u64) -> Vec<u64> {
        (0..u64::from(self.batch_size)).map(|index| self.row(step, index)).collect()
    }

    fn permutation(&self, epoch: u64) -> Arc<[u32]> {
        let mut memo = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        match &*memo {
            Some((known, permutation)) if *known == epoch => Arc::clone(permutation),
            _ => {
                let name = format!("epoch-{epoch}");
                let permutation: Arc<[u32]> =
                    rng::permutation(self.seed, "order", &name, self.rows).into();
                *memo = Some((epoch, Arc::clone(&permutation)));
                permutation
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reference_protocol_has_762_steps() {
        let order = Order::new(OrderKind::Shuffled, 42, 24_414, 32).unwrap();
        assert_eq!(order.steps_per_epoch(), 762);
        let expected = rng::permutation(42, "order", "epoch-0", 24_414);
        let batch = order.batch(5);
        assert!(batch.iter().copied().eq(expected[160..192].iter().map(|&r| u64::from(r))));
        // Step 762 opens the second epoch with its own permutation.
        let second = rng::permutation(42, "order", "epoch-1", 24_414);
        assert_eq!(order.row(762, 0), u64::from(second[0]));
        // Going back gives the same rows again.
        assert_eq!(order.batch(5), batch);
    }

    #[test]
    fn too_few_rows_are_an_error() {
        for (rows, batch_size) in [(0, 1), (3, 4), (5, 0), (1 << 33, 2)] {
            let error = Order::new(OrderKind::Sequential, 1, rows, batch_size).unwrap_err();
            assert_eq!(error.kind(), super::super::ErrorKind::Input);
        }
    }

    proptest! {
        #[test]
        fn an_epoch_reads_every_row_at_most_once(
            rows in 1u64..500, batch_size in 1u64..20, seed: u64, epoch in 0u64..3, shuffled: bool,
        ) {
            prop_assume!(rows >= batch_size);
            let kind = if shuffled { OrderKind::Shuffled } else { OrderKind::Sequential };
            let order = Order::new(kind, seed, rows, batch_size).unwrap();
            let steps = order.steps_per_epoch();
            let mut seen: Vec<u64> =
                (epoch * steps..(epoch + 1) * steps).flat_map(|step| order.batch(step)).collect();
            prop_assert_eq!(seen.len() as u64, steps * batch_size);
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len() as u64, steps * batch_size);
            prop_assert!(seen.iter().all(|&row| row < rows));
        }
    }
}
