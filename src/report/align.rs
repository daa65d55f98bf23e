//! Are two carryings-out the same experiment? What must be equal is compared exactly, and what is
//! measured against how far a re-run of the same seed moves.

use std::collections::BTreeMap;

use serde::Serialize;

use super::input::{Index, Input, index};
use super::reruns::{self, RerunNoise};
use super::words;
use crate::results::{Details, Entry, Record, Status, changed_keys, comparable_evaluation};
use crate::stats::{RerunTest, rerun_test};

/// Level of the tests against re-run noise: one of the shift and one of the spread, half of 5 % each.
const LEVEL: f64 = 0.025;
/// Relative difference of the first batch's loss that is still rounding, between device classes.
const ROUNDING: f64 = 1e-5;

/// What may be said of two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Alignment {
    /// Every number is the same.
    Equal,
    /// What must be equal is, and the rest lies within re-run noise.
    Aligned,
    /// It cannot be told: nothing says how far a re-run moves, or nothing is there to compare.
    Unknown,
    /// They differ by more than re-runs do, or in what must be equal.
    Different,
    /// They follow different protocols: no comparison.
    Drift,
}

impl Alignment {
    /// The word, in capitals.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Equal => "EQUAL",
            Self::Aligned => "ALIGNED",
            Self::Unknown => "UNKNOWN",
            Self::Different => "DIFFERENT",
            Self::Drift => "DRIFT",
        }
    }
}

/// Two experiments side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alignments {
    /// The word over all.
    pub verdict: Alignment,
    /// Why.
    pub reason: String,
    /// Protocol keys that differ.
    pub protocol: Vec<String>,
    /// What must be equal, a line each.
    pub exact: Vec<Exact>,
    /// What is measured, by length.
    pub lengths: Vec<Length>,
    /// Runs that only one side has.
    pub unpaired: Vec<String>,
}

/// A loss, and the device class that it was computed on.
type Loss = (f64, Option<String>);

/// Something that must be equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exact {
    /// What: `frequencies`, `training tokens`, `validation tokens`, `initial weights`, `first batch loss`.
    pub what: &'static str,
    /// Runs in which both sides say it and it is equal.
    pub equal: usize,
    /// Runs in which it differs, with both values.
    pub differing: Vec<String>,
    /// Runs in which a side does not say it.
    pub unknown: usize,
}

/// The runs of both sides at one evaluation length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Length {
    /// Evaluation length, in tokens.
    pub length: u64,
    /// The word at this length.
    pub verdict: Alignment,
    /// Re-run std of log-perplexity; `None` if nothing says it.
    pub rerun_std: Option<f64>,
    /// Its degrees of freedom; `None` if it was given.
    pub rerun_df: Option<usize>,
    /// The test against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<RerunTest>,
    /// Run by run.
    pub pairs: Vec<Pair>,
}

/// One run of both sides at one length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Sweep point, config and seed.
    pub run: String,
    /// Perplexity on the first side.
    pub a: f64,
    /// Perplexity on the second side.
    pub b: f64,
    /// How much larger the larger is than the smaller, in percent.
    pub difference_pct: f64,
    /// ln of the second over the first.
    pub log_ratio: f64,
}

/// One side: its declaration and records, and what lies beside them.
pub struct Side<'a> {
    /// Declaration, lock, records.
    pub input: &'a Input,
    /// By path of the record.
    pub details: &'a BTreeMap<String, Details>,
}

/// Compares two sides. `noise` has further attempts to learn re-run noise from, besides the two sides'
/// own; `given` is a known std of log-perplexity by length, which then counts alone.
#[must_use]
pub fn align(a: &Side, b: &Side, noise: &[&Input], given: &BTreeMap<u64, f64>) -> Alignments {
    let (of_a, of_b) = (index(&a.input.listing), index(&b.input.listing));
    let protocol = protocol_differences(a.input, b.input);
    let mut pairs: Vec<(String, &Entry, &Entry)> = Vec::new();
    let mut unpaired = Vec::new();
    for (key, theirs) in &of_a {
        let name = run_name(key);
        match (first(theirs), of_b.get(key).and_then(|entries| first(entries))) {
            (Some(ours), Some(other)) => pairs.push((name, ours, other)),
            _ => unpaired.push(format!("{name} (only in the first)")),
        }
    }
    let only_b = of_b.keys().filter(|key| !of_a.contains_key(*key));
    unpaired.extend(only_b.map(|key| format!("{} (only in the second)", run_name(key))));
    let exact = exact(&pairs, a.details, b.details);
    let others: Vec<Index> = noise.iter().map(|input| index(&input.listing)).collect();
    let all = [&of_a, &of_b].into_iter().chain(&others).flat_map(|index| index.values());
    let measured = reruns::noise(all.map(Vec::as_slice));
    let lengths = lengths(&pairs, &measured, given, a.details, b.details);
    let (verdict, reason) = verdict(&protocol, &exact, &lengths);
    Alignments { verdict, reason, protocol, exact, lengths, unpaired }
}

fn first<'a>(entries: &[&'a Entry]) -> Option<&'a Entry> {
    entries.iter().find(|e| matches!(e.record.status, Status::Done | Status::Imported)).copied()
}

fn run_name((point, config, seed): &(Option<&str>, &str, u64)) -> String {
    let point = point.map(|point| format!("{point}/")).unwrap_or_default();
    format!("{point}{config} seed {seed}")
}

/// Keys in which the protocols of points of one name differ, apart from lengths and chunks, which
/// move no number that both have.
fn protocol_differences(a: &Input, b: &Input) -> Vec<String> {
    let mut found = Vec::new();
    for point in &a.declared.points {
        let Some(other) = b.declared.point(point.name.as_deref()) else { continue };
        found.extend(changed_keys(&point.training, &other.training));
        let evaluation = [point, other].map(|point| comparable_evaluation(&point.evaluation));
        found.extend(changed_keys(&evaluation[0], &evaluation[1]));
    }
    found
}

fn exact(
    pairs: &[(String, &Entry, &Entry)],
    of_a: &BTreeMap<String, Details>,
    of_b: &BTreeMap<String, Details>,
) -> Vec<Exact> {
    fn check<T: PartialEq>(
        what: &'static str,
        pairs: &[(String, &Entry, &Entry)],
        of: impl Fn(&Entry, bool) -> Option<T>,
        same: impl Fn(&T, &T) -> bool,
        show: impl Fn(&T) -> String,
    ) -> Exact {
        let mut exact = Exact { what, equal: 0, differing: Vec::new(), unknown: 0 };
        for (name, a, b) in pairs {
            match (of(a, true), of(b, false)) {
                (Some(a), Some(b)) if same(&a, &b) => exact.equal += 1,
                (Some(a), Some(b)) => {
                    exact.differing.push(format!("{name}: {} and {}", show(&a), show(&b)));
                }
                _ => exact.unknown += 1,
            }
        }
        exact
    }
    let hash = |what, of: &dyn Fn(&Record) -> Option<String>| {
        let of = |entry: &Entry, _| of(&entry.record).filter(|text| !text.is_empty());
        let short = |text: &String| text.chars().take(12).collect::<String>();
        check(what, pairs, of, |a, b| a == b, short)
    };
    let loss = |entry: &Entry, is_a: bool| {
        let details = (if is_a { of_a } else { of_b }).get(&entry.path)?;
        let class = details.provenance.as_ref().map(|p| p.device_class.clone());
        Some((details.steps.first()?.loss?, class.filter(|class| !class.is_empty())))
    };
    // On one device class to the bit; elsewhere sums are taken in another order.
    let close = |(a, class_a): &Loss, (b, class_b): &Loss| {
        let one_class = class_a.is_some() && class_a == class_b;
        a == b || (!one_class && (a - b).abs() <= ROUNDING * a.abs().max(b.abs()))
    };
    vec![
        hash("frequencies", &|r| r.freq.as_ref().map(|f| f.vec_id.clone())),
        hash("training tokens", &|r| r.data.as_ref().map(|d| d.train_tokens.clone())),
        hash("validation tokens", &|r| r.data.as_ref().map(|d| d.validation_tokens.clone())),
        hash("initial weights", &|r| r.train.as_ref().and_then(|t| t.init.clone())),
        check("first batch loss", pairs, loss, close, |(loss, _)| loss.to_string()),
    ]
}

fn lengths(
    pairs: &[(String, &Entry, &Entry)],
    measured: &[RerunNoise],
    given: &BTreeMap<u64, f64>,
    of_a: &BTreeMap<String, Details>,
    of_b: &BTreeMap<String, Details>,
) -> Vec<Length> {
    let mut by_length: BTreeMap<u64, Vec<(Pair, bool)>> = BTreeMap::new();
    for (name, a, b) in pairs {
        for (&length, result) in &a.record.eval {
            let other = b.record.eval.get(&length);
            let (Some(ppl_a), Some(nll_a)) = (result.ppl, result.nll) else { continue };
            let Some((ppl_b, nll_b)) = other.and_then(|other| other.ppl.zip(other.nll)) else {
                continue;
            };
            let (small, large) = (ppl_a.min(ppl_b), ppl_a.max(ppl_b));
            let pair = Pair {
                run: name.clone(),
                a: ppl_a,
                b: ppl_b,
                difference_pct: 100.0 * (large - small) / small,
                log_ratio: nll_b - nll_a,
            };
            let must = must_be_equal(a, b, of_a, of_b);
            by_length.entry(length).or_default().push((pair, must));
        }
    }
    let length = |(length, pairs): (u64, Vec<(Pair, bool)>)| {
        let broken = pairs.iter().any(|(pair, must)| *must && pair.log_ratio != 0.0);
        let pairs: Vec<Pair> = pairs.into_iter().map(|(pair, _)| pair).collect();
        let (std, df) = match (given.get(&length), measured.iter().find(|n| n.length == length)) {
            (Some(std), _) => (Some(*std), None),
            (None, Some(noise)) => (Some(noise.std), Some(noise.df)),
            (None, None) => (None, None),
        };
        let differences: Vec<f64> = pairs.iter().map(|pair| pair.log_ratio).collect();
        let test = std.and_then(|std| rerun_test(&differences, std, df));
        let verdict = if differences.iter().all(|d| *d == 0.0) {
            Alignment::Equal
        } else if broken || std == Some(0.0) {
            Alignment::Different
        } else {
            match &test {
                None => Alignment::Unknown,
                Some(test) if test.shift < LEVEL || test.spread < LEVEL => Alignment::Different,
                Some(_) => Alignment::Aligned,
            }
        };
        Length { length, verdict, rerun_std: std, rerun_df: df, test, pairs }
    };
    by_length.into_iter().map(length).collect()
}

/// Whether two native runs of one train id on one device class: then the bits must be the same.
fn must_be_equal(
    a: &Entry,
    b: &Entry,
    of_a: &BTreeMap<String, Details>,
    of_b: &BTreeMap<String, Details>,
) -> bool {
    let class = |entry: &Entry, details: &BTreeMap<String, Details>| {
        let provenance = details.get(&entry.path)?.provenance.as_ref()?;
        Some(provenance.device_class.clone()).filter(|class| !class.is_empty())
    };
    !a.record.train_id.is_empty()
        && a.record.train_id == b.record.train_id
        && class(a, of_a).is_some()
        && class(a, of_a) == class(b, of_b)
}

fn verdict(protocol: &[String], exact: &[Exact], lengths: &[Length]) -> (Alignment, String) {
    if !protocol.is_empty() {
        let keys = words::list(protocol);
        return (Alignment::Drift, format!("the protocols differ: {keys}"));
    }
    let broken: Vec<&str> =
        exact.iter().filter(|e| !e.differing.is_empty()).map(|exact| exact.what).collect();
    if !broken.is_empty() {
        return (Alignment::Different, format!("not the same {}", broken.join(", ")));
    }
    let at = |word: Alignment| -> Vec<u64> {
        lengths.iter().filter(|l| l.verdict == word).map(|l| l.length).collect()
    };
    let different = at(Alignment::Different);
    let unknown = at(Alignment::Unknown);
    if !different.is_empty() {
        let reason = format!("more than re-runs differ at {}", words::list(different));
        return (Alignment::Different, reason);
    }
    if lengths.is_empty() {
        return (Alignment::Unknown, "no run and length that both have".to_owned());
    }
    if !unknown.is_empty() {
        let known = match at(Alignment::Aligned) {
            aligned if aligned.is_empty() => String::new(),
            aligned => format!("within re-run noise at {}, but ", words::list(aligned)),
        };
        let reason = format!(
            "{known}nothing says how far a re-run moves at {}: run one side with `repeats`, name results \
             that have several attempts with --noise, or give --rerun-std",
            words::list(unknown)
        );
        return (Alignment::Unknown, reason);
    }
    if at(Alignment::Aligned).is_empty() {
        return (Alignment::Equal, "every number is the same".to_owned());
    }
    (Alignment::Aligned, "the differences are what re-runs of one seed differ by".to_owned())
}

impl Alignments {
    /// In lines, for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}: {}\n\n", self.verdict.word(), words::printable(&self.reason));
        for exact in &self.exact {
            let mut parts = Vec::new();
            if exact.equal > 0 {
                parts.push(format!("{} equal", exact.equal));
            }
            if !exact.differing.is_empty() {
                let which = words::printable(&words::list(&exact.differing));
                parts.push(format!("{} DIFFERENT ({which})", exact.differing.len()));
            }
            if exact.unknown > 0 {
                parts.push(format!("{} not recorded by both", exact.unknown));
            }
            if !parts.is_empty() {
                out.push_str(&format!("{:<18} {}\n", exact.what, parts.join(", ")));
            }
        }
        for length in &self.lengths {
            let noise = match (length.rerun_std, length.rerun_df) {
                (None, _) => "re-run noise unknown".to_owned(),
                (Some(std), None) => format!("re-run std {:.2} % (given)", 100.0 * std),
                (Some(std), Some(df)) => {
                    format!("re-run std {:.2} % (measured, df {df})", 100.0 * std)
                }
            };
            let test = length.test.map_or(String::new(), |test| {
                let (shift, spread) = (words::p_value(test.shift), words::p_value(test.spread));
                format!("; shift p {shift}, spread p {spread}")
            });
            out.push_str(&format!(
                "\nat {} tokens: {}  {noise}{test}\n",
                length.length,
                length.verdict.word()
            ));
            let width = length.pairs.iter().map(|p| p.run.chars().count()).max().unwrap_or(0);
            for pair in &length.pairs {
                out.push_str(&format!(
                    "  {:<width$}  {:>10}  {:>10}  {:>6.2} %\n",
                    words::printable(&pair.run),
                    words::number(pair.a),
                    words::number(pair.b),
                    pair.difference_pct
                ));
            }
        }
        if !self.unpaired.is_empty() {
            out.push_str(&format!(
                "\nnot compared: {}\n",
                words::printable(&words::list(&self.unpaired))
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::{GEO, HYBRID, declared, record};
    use crate::results::{Listing, Provenance, Step};

    fn input(records: Vec<Record>) -> Input {
        let entry = |record: Record| Entry {
            path: format!("{}/seed-{}/run.json", record.config, record.seed),
            attempt: 1,
            record,
        };
        let listing =
            Listing { entries: records.into_iter().map(entry).collect(), problems: Vec::new() };
        Input { declared: declared(), lock: None, listing }
    }

    fn imported(config: &str, ppl: &[(u64, f64)]) -> Record {
        let mut record = record(config, 42, ppl);
        (record.status, record.train, record.freq) = (Status::Imported, None, None);
        record.train_id = String::new();
        record
    }

    fn compared(a: &Input, b: &Input, noise: &[&Input], given: &[(u64, f64)]) -> Alignments {
        let none = BTreeMap::new();
        let side = |input| Side { input, details: &none };
        align(&side(a), &side(b), noise, &given.iter().copied().collect())
    }

    #[test]
    fn the_reference_pair_is_re_run_noise() {
        // geo_500k_ALIGN and geo_10k_ALIGN of results_A.json and results_B.json at 16384.
        let a = input(vec![imported(GEO, &[(16384, 16.991)]), imported(HYBRID, &[(16384, 20.0)])]);
        let b = input(vec![imported(GEO, &[(16384, 17.947)]), imported(HYBRID, &[(16384, 22.86)])]);
        let unknown = compared(&a, &b, &[], &[]);
        assert_eq!(unknown.verdict, Alignment::Unknown);
        assert!(unknown.reason.contains("at 16384"), "{}", unknown.reason);
        let aligned = compared(&a, &b, &[], &[(16384, 0.058)]);
        assert_eq!(aligned.verdict, Alignment::Aligned);
        assert!((aligned.lengths[0].pairs[0].difference_pct - 5.6).abs() < 0.05);
        // Were re-runs ten times as close, it would be evidence.
        assert_eq!(compared(&a, &b, &[], &[(16384, 0.0058)]).verdict, Alignment::Different);
        // Measured on attempts of a third experiment.
        let mut third = input(vec![imported(GEO, &[(16384, 18.224)])]);
        let mut again = imported(GEO, &[(16384, 16.791)]);
        again.seed = 42;
        third.listing.entries.push(Entry { path: String::new(), attempt: 2, record: again });
        let measured = compared(&a, &b, &[&third], &[]);
        assert_eq!((measured.lengths[0].rerun_df, measured.verdict), (Some(1), Alignment::Aligned));
    }

    #[test]
    fn what_must_be_equal_is_compared_exactly() {
        let run = |init: &str, ppl: f64| {
            let mut record = record(GEO, 42, &[(2048, ppl)]);
            record.train.as_mut().unwrap().init = Some(init.to_owned());
            record
        };
        let details = |class: &str, loss: f64| {
            let provenance = Provenance { device_class: class.to_owned(), ..Provenance::default() };
            let step = Step { step: 0, lr: 0.0, loss: Some(loss), grad_norm: None };
            let own =
                Details { provenance: Some(provenance), steps: vec![step], ..Details::default() };
            BTreeMap::from([(format!("{GEO}/seed-42/run.json"), own)])
        };
        let verdict = |a: (&str, f64, &str, f64), b: (&str, f64, &str, f64)| {
            let inputs = [input(vec![run(a.0, a.1)]), input(vec![run(b.0, b.1)])];
            let of = [details(a.2, a.3), details(b.2, b.3)];
            let side = |i: usize| Side { input: &inputs[i], details: &of[i] };
            align(&side(0), &side(1), &[], &BTreeMap::from([(2048, 0.005)])).verdict
        };
        let here = ("w", 6.8, "cpu avx2", 10.0);
        assert_eq!(verdict(here, here), Alignment::Equal);
        assert_eq!(verdict(here, ("v", 6.8, "cpu avx2", 10.0)), Alignment::Different, "init");
        let near = ("w", 6.8, "cpu avx2", 10.000_001);
        assert_eq!(verdict(here, near), Alignment::Different, "the loss, on one device class");
        assert_eq!(verdict(here, ("w", 6.8, "cpu avx512", 10.1)), Alignment::Different, "loss");
        assert_eq!(verdict(here, ("w", 6.81, "cpu avx2", 10.0)), Alignment::Different, "bits");
        let other = ("w", 6.81, "cpu avx512", 10.000_001);
        assert_eq!(
            verdict(here, other),
            Alignment::Aligned,
            "another device class rounds otherwise"
        );
        assert_eq!(verdict(here, ("w", 7.8, "cpu avx512", 10.0)), Alignment::Different);
    }

    #[test]
    fn other_protocols_are_no_comparison() {
        let a = input(vec![record(GEO, 42, &[(2048, 6.8)])]);
        let mut b = a.clone();
        b.declared.points[0].training["schedule"]["lr"] = serde_json::json!(3e-4);
        let drift = compared(&a, &b, &[], &[]);
        assert_eq!(drift.verdict, Alignment::Drift);
        assert!(drift.reason.contains("schedule.lr: 0.0006 → 0.0003"), "{}", drift.reason);
        let nothing = compared(&a, &input(Vec::new()), &[], &[]);
        assert_eq!(nothing.verdict, Alignment::Unknown);
        assert_eq!(nothing.unpaired, ["geo_500k seed 42 (only in the first)"]);
    }
}
