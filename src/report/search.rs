//! What a search over many configs shows of itself: how much its best looks better than it is, and
//! whether the best lies at the end of what was tried.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::Section;
use super::operating::Claimed;
use super::words;
use crate::results::{Declared, Swept};
use crate::stats::{expected_best, kept_share, mean, std};

/// Fewest configs that are a search; fewest values that are a range.
const FEWEST: usize = 4;
const FEWEST_VALUES: usize = 3;

/// (config, log-perplexities over seeds) of every config.
pub(super) type Values = Vec<(String, Vec<f64>)>;

/// The best of several configs, and what it is once it is not chosen for being the best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selection {
    /// Configs with a mean.
    pub candidates: usize,
    /// The best of them.
    pub best: String,
    /// Its perplexity, exp of its mean log-perplexity over seeds.
    pub ppl: f64,
    /// By how many standard errors the best of so many equal configs looks better than it is.
    pub expected_best: f64,
    /// Standard error of a config's mean log-perplexity, from the spread over seeds pooled over configs;
    /// `None` with one seed each.
    pub standard_error: Option<f64>,
    /// Share of its distance from the mean of all that remains after shrinking.
    pub kept_share: Option<f64>,
    /// Its perplexity after shrinking.
    pub shrunk_ppl: Option<f64>,
}

impl Selection {
    /// From (name, log-perplexities over seeds) of every config; `None` with few of them.
    pub(super) fn of(configs: &[(String, Vec<f64>)]) -> Option<Self> {
        let means: Vec<(&str, f64)> = configs
            .iter()
            .filter_map(|(name, values)| Some((name.as_str(), mean(values)?)))
            .collect();
        if means.len() < FEWEST {
            return None;
        }
        let (best, at) =
            means.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).expect("some are there");
        let (mut squares, mut df, mut runs) = (0.0, 0, 0);
        for (_, values) in configs.iter().filter(|(_, values)| !values.is_empty()) {
            runs += values.len();
            if let Some(std) = std(values, 1) {
                squares += std * std * (values.len() - 1) as f64;
                df += values.len() - 1;
            }
        }
        let per_config = runs as f64 / means.len() as f64;
        let variance = (df > 0).then(|| squares / df as f64 / per_config);
        let all: Vec<f64> = means.iter().map(|(_, mean)| *mean).collect();
        let center = all.iter().sum::<f64>() / all.len() as f64;
        let kept = variance.and_then(|variance| kept_share(&all, variance));
        Some(Self {
            candidates: means.len(),
            best: best.to_owned(),
            ppl: libm::exp(at),
            expected_best: words::ten_digits(expected_best(means.len())),
            standard_error: variance.map(f64::sqrt),
            kept_share: kept,
            shrunk_ppl: kept.map(|kept| libm::exp(center + kept * (at - center))),
        })
    }

    /// In a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { candidates, best, expected_best, .. } = self;
        let ppl = words::number(self.ppl);
        match (self.kept_share, self.shrunk_ppl, self.standard_error) {
            (Some(kept), Some(shrunk), Some(error)) => format!(
                "Best of {candidates}: {best}, {ppl}. Were all equal, the best would still look better than \
                 the rest by {expected_best:.2} standard errors of {:.1} %; shrunk towards the mean of all \
                 (James-Stein, {:.0} % of the distance kept) it is {}.",
                100.0 * error,
                100.0 * kept,
                words::number(shrunk)
            ),
            _ => format!(
                "Best of {candidates}: {best}, {ppl}. Were all equal, the best would still look better than \
                 the rest by {expected_best:.2} standard deviations of a run, which one seed does not \
                 tell: run the first few again with seeds that nothing was chosen on."
            ),
        }
    }
}

/// The log-perplexities over seeds of a section's configs in the column of the claim.
pub(super) fn values(claimed: &Claimed, section: &Section, seeds: &[u64]) -> Values {
    let of = |config: &String| {
        let values = seeds.iter().filter_map(|seed| claimed.nll(section, config, *seed));
        (config.clone(), values.collect())
    };
    section.rows.iter().map(|row| of(&row.config)).collect()
}

/// Says of every swept parameter whether the best value is the first or last of its range.
pub(super) fn grid_edges(declared: &Declared, sections: &[Section]) -> Vec<String> {
    let mut found = Vec::new();
    for (point, section) in declared.points.iter().zip(sections) {
        let mean = |name: &str| section.rows.iter().find(|row| row.config == name)?.primary()?.mean;
        // One [[config]] table is one search.
        let mut tables: BTreeMap<u32, Vec<(&str, &Swept, f64)>> = BTreeMap::new();
        for config in &point.configs {
            if let (Some(swept), Some(mean)) = (&config.swept, mean(&config.name)) {
                tables.entry(swept.table).or_default().push((&config.name, swept, mean));
            }
        }
        let place = point.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        for configs in tables.values() {
            let Some((name, best, _)) = configs.iter().min_by(|a, b| a.2.total_cmp(&b.2)) else {
                continue;
            };
            for (key, value) in &best.values {
                let tried = configs.iter().filter_map(|(_, swept, _)| swept.values.get(key));
                found.extend(
                    at_edge(key, *value, tried).map(|edge| format!("{place}{edge} ({name})")),
                );
            }
        }
    }
    // A key of the protocol: by the best config of each point.
    let points: Vec<(&BTreeMap<String, f64>, f64)> = declared
        .points
        .iter()
        .zip(sections)
        .filter_map(|(point, section)| {
            let best = section.rows.get(*section.ranking.first()?)?;
            Some((&point.swept, best.primary()?.mean?))
        })
        .collect();
    if let Some((best, _)) = points.iter().min_by(|a, b| a.1.total_cmp(&b.1)) {
        for (key, value) in *best {
            let tried = points.iter().filter_map(|(swept, _)| swept.get(key));
            found.extend(at_edge(key, *value, tried));
        }
    }
    found
}

fn at_edge<'a>(key: &str, best: f64, tried: impl Iterator<Item = &'a f64>) -> Option<String> {
    let mut values: Vec<f64> = tried.copied().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let (first, last) = (*values.first()?, *values.last()?);
    if values.len() < FEWEST_VALUES || (best != first && best != last) {
        return None;
    }
    let side = if best == first { "below" } else { "above" };
    Some(format!(
        "Grid edge: of {key} = {} the best is {best}, at the end of the range; {side} it nothing was tried",
        words::list(&values)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(of: &[&[f64]]) -> Values {
        of.iter().enumerate().map(|(i, values)| (format!("c{i}"), values.to_vec())).collect()
    }

    #[test]
    fn the_best_of_noise_is_shrunk_to_the_mean_and_of_a_signal_it_stays() {
        assert_eq!(Selection::of(&values(&[&[3.0], &[2.9], &[3.1]])), None, "three are no search");
        let noise = [[3.0, 2.8], [2.9, 3.1], [3.1, 2.85], [2.95, 2.9], [2.8, 3.2]];
        let noise: Vec<&[f64]> = noise.iter().map(<[f64; 2]>::as_slice).collect();
        let of_noise = Selection::of(&values(&noise)).unwrap();
        assert_eq!((of_noise.candidates, of_noise.kept_share), (5, Some(0.0)));
        let grand = noise.iter().copied().flatten().sum::<f64>() / 10.0;
        assert!((of_noise.shrunk_ppl.unwrap() - grand.exp()).abs() < 1e-9);
        let signal = [[3.0, 3.01], [2.0, 2.01], [4.0, 4.01], [2.5, 2.51]];
        let signal: Vec<&[f64]> = signal.iter().map(<[f64; 2]>::as_slice).collect();
        let of_signal = Selection::of(&values(&signal)).unwrap();
        assert_eq!(of_signal.best, "c1");
        assert!(of_signal.kept_share.unwrap() > 0.999);
        assert!(of_signal.words().contains("it is 7.4"), "{}", of_signal.words());
        // One seed each says nothing of the noise.
        let once = Selection::of(&values(&[&[3.0], &[2.9], &[3.1], &[], &[2.8]])).unwrap();
        assert_eq!((once.candidates, once.kept_share, once.standard_error), (4, None, None));
        assert!(once.words().contains("1.03 standard deviations of a run"), "{}", once.words());
    }

    #[test]
    fn the_end_of_a_range_is_told_and_its_middle_is_not() {
        let edge = |best: f64, tried: &[f64]| at_edge("alpha", best, tried.iter());
        let told = edge(0.3, &[0.1, 0.2, 0.3, 0.3]).unwrap();
        assert!(
            told.contains("of alpha = 0.1, 0.2, 0.3 the best is 0.3") && told.contains("above it")
        );
        assert!(edge(0.1, &[0.3, 0.1, 0.2]).unwrap().contains("below it"));
        assert_eq!(edge(0.2, &[0.1, 0.2, 0.3]), None);
        assert_eq!(edge(0.2, &[0.1, 0.2]), None, "two values are no range");
    }
}
