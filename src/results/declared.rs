//! What an experiment declared before its first run, as `lock.json` freezes it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Record;
use crate::canonical;

/// `lock.json`: the declaration as frozen at the first run, and what was added since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    /// Format version, [`Lock::SCHEMA`].
    pub schema: u32,
    /// When the first run (or import) began, UTC, ISO 8601.
    pub frozen: String,
    /// Whether there were results by then, as where a lock.json was lost: it says nothing of what was
    /// declared before them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_results: bool,
    /// blake3 of the declaration's canonical JSON.
    pub declared_hash: String,
    /// The declaration as frozen.
    pub declared: Declared,
    /// Seeds, configs, lengths, rules added or changed later, oldest first.
    #[serde(default)]
    pub amendments: Vec<Amendment>,
    /// What the declared data turned out to be when tokens were first made of it, by
    /// [`TokenData::key`]. Later runs must find the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, TokenData>,
    /// Validation documents that are training documents too, by [`SharedDocuments::key`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overlap: BTreeMap<String, SharedDocuments>,
    /// Train ids that had results in another experiment when they were declared here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub known: BTreeSet<String>,
}

/// The tokens of a split as they were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenData {
    /// blake3 of the stored tokens.
    pub id: String,
    /// How many there are.
    pub tokens: u64,
    /// Documents that they come from.
    pub documents: u64,
    /// Commit of a hub dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Commit of a hub tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_revision: Option<String>,
}

impl TokenData {
    /// The key of a split: the hash of what its tokens depend on, as [`Point`] has it under `data`.
    #[must_use]
    pub fn key(identity: &serde_json::Value) -> String {
        canonical::id("tokens", identity)
    }
}

/// Documents of the validation split that the training split has as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedDocuments {
    /// So many documents,
    pub documents: u64,
    /// of so many of the validation split,
    pub of_documents: u64,
    /// with so many tokens,
    pub tokens: u64,
    /// of so many of the validation split.
    pub of_tokens: u64,
}

impl SharedDocuments {
    /// The key of two splits: the hash of what both token streams depend on.
    #[must_use]
    pub fn key(training: &serde_json::Value, evaluation: &serde_json::Value) -> String {
        canonical::id("overlap", &serde_json::json!([training["data"], evaluation["data"]]))
    }
}

impl Lock {
    /// The point under which a run was declared, as the newest declaration that has the run says it.
    #[must_use]
    pub fn point_of(&self, record: &Record) -> Option<&Point> {
        let versions: Vec<_> = self.versions().collect();
        versions.into_iter().rev().find_map(|declared| {
            let point = declared.point(record.point.as_deref())?;
            let config = point.configs.iter().find(|config| config.name == record.config)?;
            config.train_ids.contains(&record.train_id).then_some(point)
        })
    }

    /// Every train id that was ever declared.
    #[must_use]
    pub fn train_ids(&self) -> BTreeSet<&str> {
        let points = self.versions().flat_map(|declared| &declared.points);
        let configs = points.flat_map(|point| &point.configs);
        configs.flat_map(|config| &config.train_ids).map(String::as_str).collect()
    }

    /// The longest length at a point in every declaration, oldest first: what frequencies that look at
    /// the length aimed at may have been evaluated for.
    pub fn longest_lengths(&self, point: Option<&str>) -> impl Iterator<Item = Option<u64>> {
        self.versions().map(move |declared| declared.point(point)?.lengths.keys().copied().max())
    }

    /// The version that this build writes; a newer one on disk is refused.
    pub const SCHEMA: u32 = 1;
}

/// A dated change of the declaration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Amendment {
    /// When, UTC, ISO 8601.
    pub date: String,
    /// What, in words, one entry a change: `seeds added: 4, 5`.
    pub changes: Vec<String>,
    /// Whether results existed at that time.
    pub after_results: bool,
    /// The declaration from then on.
    pub declared: Declared,
}

/// What a spec declares of its experiment: all that a report needs to judge the records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    /// Experiment name.
    pub experiment: String,
    /// Declared seeds, in the spec's order.
    pub seeds: Vec<u64>,
    /// How many times every (config, seed) is carried out; the first counts.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub repeats: u32,
    /// One point, unless the spec sweeps protocols.
    pub points: Vec<Point>,
    /// Lengths that the report shows.
    pub report_lengths: Vec<u64>,
    /// 1 (sample) or 0 (population).
    pub std_ddof: u8,
    /// The win rule.
    pub win: WinRule,
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_once(repeats: &u32) -> bool {
    *repeats == 1
}

/// One protocol of an experiment and the configs compared under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Folder name under the experiment; `None` if the spec sweeps no protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Protocol id.
    pub protocol: String,
    /// Training length, in tokens.
    pub seq_len: u64,
    /// Chunks asked for, by evaluation length; `None` means all.
    pub lengths: BTreeMap<u64, Option<u64>>,
    /// Transforms of the trained frequencies under which every length is evaluated besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Transform>,
    /// The training part of the protocol, canonical: what `DRIFT` messages compare key by key.
    pub training: serde_json::Value,
    /// The evaluation part of the protocol, canonical.
    pub evaluation: serde_json::Value,
    /// The configs, in the spec's order.
    pub configs: Vec<Config>,
    /// Keys and variables of the experiment-wide sweep that are numbers, at this point.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub swept: BTreeMap<String, f64>,
}

/// A transform of the trained frequencies for evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transform {
    /// What reports call it.
    pub name: String,
    /// Canonical expression with `{trained}` in place of the trained set.
    pub expression: String,
}

/// A named frequency set and what it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Config name.
    pub name: String,
    /// Name of the config it is compared with; its own name for the baseline itself.
    pub baseline: String,
    /// Canonical expression.
    pub expression: String,
    /// Hash of the canonical expression.
    pub expr_id: String,
    /// Hash of the f32 bytes.
    pub vec_id: String,
    /// Train ids by seed, in the order of the declared seeds.
    pub train_ids: Vec<String>,
    /// What of it was swept; `None` if it is of no sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<Swept>,
}

/// Where in a sweep a config stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swept {
    /// Which `[[config]]` table of the spec, from 0.
    pub table: u32,
    /// Its variables that are numbers.
    pub values: BTreeMap<String, f64>,
}

/// The rule by which a win may be claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WinRule {
    /// Which rule.
    pub rule: Rule,
    /// The length at which the claim is made.
    pub primary_length: u64,
    /// Name of the transform under which the claim is made; `None`: as trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
    /// Not more than so much worse at another length.
    pub guard: Option<Guard>,
    /// Rule `seeds`: the larger std may be at most this times the gap.
    pub max_std_over_gap: f64,
    /// Rule `seeds`: at least this share of the paired seeds better.
    pub min_seeds_better: SeedShare,
    /// TIE within so many percent of the perplexity; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie_margin_pct: Option<f64>,
    /// Rule `record`: the gain in mean log-perplexity to be exceeded, nats a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_gain: Option<f64>,
    /// Seeds on which configs were chosen: in no mean and no claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuning_seeds: Vec<u64>,
    /// Numbers of seeds at which results are looked at, each at its share of the level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<u32>,
}

impl WinRule {
    /// A rule as it is where a spec says nothing more of it; without a guard.
    #[must_use]
    pub fn new(rule: Rule, primary_length: u64) -> Self {
        Self {
            rule,
            primary_length,
            transform: None,
            guard: None,
            max_std_over_gap: 0.5,
            min_seeds_better: SeedShare { num: 2, den: 3 },
            tie_margin_pct: None,
            min_gain: None,
            tuning_seeds: Vec::new(),
            looks: Vec::new(),
        }
    }

    /// How many looks share the level.
    #[must_use]
    pub fn num_looks(&self) -> usize {
        self.looks.len().max(1)
    }
}

impl Declared {
    /// blake3 of the canonical JSON (sorted keys, no spaces), in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        canonical_hash(&serde_json::to_value(self).expect("Declared has string keys only"))
    }

    /// The point of a name.
    #[must_use]
    pub fn point(&self, name: Option<&str>) -> Option<&Point> {
        self.points.iter().find(|point| point.name.as_deref() == name)
    }

    /// The declared seeds but those that configs were chosen on.
    #[must_use]
    pub fn claim_seeds(&self) -> Vec<u64> {
        let tuning = &self.win.tuning_seeds;
        self.seeds.iter().copied().filter(|seed| !tuning.contains(seed)).collect()
    }
}

/// blake3 of a JSON value's canonical form.
pub(super) fn canonical_hash(value: &serde_json::Value) -> String {
    blake3::hash(canonical::to_string(value).as_bytes()).to_hex().to_string()
}

/// Which win rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// By n: 1 nothing, 2 to 4 `seeds`, from 5 `ci`.
    Auto,
    /// Mean, std against gap, share of seeds.
    Seeds,
    /// Paired interval of log-perplexity, Holm-corrected.
    Ci,
    /// A stated gain exceeded at p < 0.01, Holm-corrected, with all runs supplied.
    Record,
}

impl Rule {
    /// The rule's name in a spec.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Seeds => "seeds",
            Self::Ci => "ci",
            Self::Record => "record",
        }
    }
}

/// A length at which a winner may not be much worse, under the transform of the claim.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Evaluation length, in tokens.
    pub length: u64,
    /// Allowed worsening, in percent of the baseline's mean perplexity.
    pub max_worse_pct: f64,
}

/// A share of seeds as an exact fraction: `2/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SeedShare {
    /// Numerator.
    pub num: u32,
    /// Denominator, at least 1 and at least `num`.
    pub den: u32,
}

impl SeedShare {
    /// Whether `better` of `n` seeds reach the share, in whole numbers.
    #[must_use]
    pub fn is_met(self, better: usize, n: usize) -> bool {
        better as u64 * u64::from(self.den) >= n as u64 * u64::from(self.num)
    }
}

impl std::fmt::Display for SeedShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl From<SeedShare> for String {
    fn from(share: SeedShare) -> Self {
        share.to_string()
    }
}

impl TryFrom<String> for SeedShare {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parsed = text.split_once('/').and_then(|(num, den)| {
            Some(Self { num: num.trim().parse().ok()?, den: den.trim().parse().ok()? })
        });
        parsed
            .filter(|share| share.den > 0 && share.num <= share.den)
            .ok_or_else(|| format!("`{text}` is not a share like \"2/3\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::declared;

    #[test]
    fn the_hash_is_of_the_content_not_of_the_order_of_keys() {
        let a = serde_json::json!({"b": 1, "a": {"d": 2.5, "c": [1, 2]}});
        let b = serde_json::json!({"a": {"c": [1, 2], "d": 2.5}, "b": 1});
        assert_eq!(canonical::to_string(&a), r#"{"a":{"c":[1,2],"d":2.5},"b":1}"#);
        assert_eq!(canonical_hash(&a), canonical_hash(&b));
        let mut other = declared();
        other.win.max_std_over_gap = 1.0;
        assert_ne!(declared().hash(), other.hash());
    }
}
