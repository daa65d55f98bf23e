//! Where the spread of a config's results comes from.

use serde::Serialize;

use super::{Looked, key};
use crate::report::model::Section;
use crate::results::{Details, Entry};
use crate::stats::components;

/// Standard deviations of a config's log-perplexity in the column of the claim, source by source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Noise {
    /// Config name.
    pub config: String,
    /// Between seeds, re-run noise taken off.
    pub seed: f64,
    /// Between re-runs of one seed; `None` if no seed was run twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun: Option<f64>,
    /// Of the mean over the chunks of the text; `None` for imported results. Common to all runs on
    /// one text, so not part of the other two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<f64>,
}

/// One entry a config with results of two seeds.
pub(super) fn of(section: &Section, looked: &[Looked]) -> Vec<Noise> {
    let key = key(section, &section.primary());
    let noise = |one: &Looked| {
        let runs: Vec<Vec<Vec<f64>>> = one
            .seeds
            .iter()
            .map(|(_, attempts)| {
                let losses = |(entry, details): &(&Entry, &Details)| {
                    let chunks = details.chunks.get(&key);
                    let losses = chunks.and_then(|c| c.iter().map(|chunk| chunk.loss).collect());
                    losses.or_else(|| {
                        Some(vec![entry.record.results(key.0.as_deref())?.get(&key.1)?.nll?])
                    })
                };
                attempts.iter().filter_map(losses).collect()
            })
            .collect();
        let parts = components(&runs)?;
        Some(Noise {
            config: one.config.to_owned(),
            seed: parts.seed.sqrt(),
            rerun: parts.rerun.map(f64::sqrt),
            chunk: parts.chunk.map(f64::sqrt),
        })
    };
    looked.iter().filter_map(noise).collect()
}
