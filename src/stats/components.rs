//! Where the spread of results comes from: seeds, re-runs of a seed, chunks of the evaluation.

use serde::Serialize;

/// Variances of one result from each source; negative estimates are given as zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Components {
    /// Between seeds.
    pub seed: f64,
    /// Between re-runs of one seed; `None` if no seed was run twice.
    pub rerun: Option<f64>,
    /// Of the mean over the evaluation's chunks; `None` if no run has two chunks. It is common to
    /// all runs that are evaluated on the same text, so it is not part of the two above.
    pub chunk: Option<f64>,
    /// Degrees of freedom of `rerun`.
    pub rerun_df: usize,
}

/// Splits the variance of results: `runs[seed][attempt]` are the losses of the chunks of a run, whose
/// mean is its result.
///
/// Assumes seeds, re-runs and chunks to be drawn independently, with one variance each: the
/// one-way random-effects analysis of variance with unequal group sizes for seeds and re-runs, and
/// the mean over runs of (variance of chunks)/chunks. Source: Searle, Casella and `McCulloch` (1992),
/// "Variance Components", section 3.6.
///
/// `None` with fewer than two seeds, or if a value is not finite.
#[must_use]
pub fn components(runs: &[Vec<Vec<f64>>]) -> Option<Components> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let groups: Vec<Vec<f64>> = runs
        .iter()
        .map(|attempts| {
            attempts.iter().filter(|chunks| !chunks.is_empty()).map(|c| mean(c)).collect()
        })
        .filter(|group: &Vec<f64>| !group.is_empty())
        .collect();
    if groups.len() < 2 || groups.iter().flatten().any(|value| !value.is_finite()) {
        return None;
    }
    let squares = |values: &[f64], center: f64| -> f64 {
        values.iter().map(|value| (value - center) * (value - center)).sum()
    };
    let total = groups.iter().map(Vec::len).sum::<usize>() as f64;
    let grand = groups.iter().flatten().sum::<f64>() / total;
    let within: f64 = groups.iter().map(|group| squares(group, mean(group))).sum();
    let between: f64 = groups
        .iter()
        .map(|group| group.len() as f64 * (mean(group) - grand) * (mean(group) - grand))
        .sum();
    let seeds = groups.len() as f64;
    let rerun_df = groups.iter().map(|group| group.len() - 1).sum::<usize>();
    let rerun = (rerun_df > 0).then(|| within / rerun_df as f64);
    let sizes: f64 = groups.iter().map(|group| (group.len() * group.len()) as f64).sum();
    let size = (total - sizes / total) / (seeds - 1.0);
    let seed = ((between / (seeds - 1.0) - rerun.unwrap_or(0.0)) / size).max(0.0);
    let of_chunks: Vec<f64> = runs
        .iter()
        .flatten()
        .filter(|chunks| chunks.len() > 1)
        .map(|chunks| {
            let n = chunks.len() as f64;
            squares(chunks, mean(chunks)) / (n - 1.0) / n
        })
        .collect();
    let chunk = (!of_chunks.is_empty()).then(|| mean(&of_chunks));
    Some(Components { seed, rerun, chunk, rerun_df })
}
