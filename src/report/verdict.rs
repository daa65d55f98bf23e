//! What the win rules allow to be said of a config against its baseline in one column.
//!
//! Pure: arms and a rule in, a word and its reason out. Every verdict is antisymmetric: with
//! config and baseline exchanged `WIN` becomes `LOSS` and nothing else changes.

use serde::Serialize;

use super::arm::{Arm, Comparison, LEVEL, compare};
use super::column::Column;
use super::words;
use crate::results::{Guard, Rule, WinRule};

/// From this many seeds on, rule `auto` is rule `ci`: std does not shrink with n, so that rule
/// `seeds` loses power as seeds are added.
const AUTO_CI_FROM: usize = 5;

/// What may be said of a config against its baseline in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The rule holds.
    Win,
    /// The rule holds the other way round.
    Loss,
    /// The rule holds in neither direction, and the interval lies inside the declared margin.
    Tie,
    /// All results are there and the rule holds in neither direction.
    Inconclusive,
    /// A declared seed of the config or of its baseline is missing, failed or diverged.
    Incomplete,
    /// One seed: nothing can be said.
    Exploratory,
    /// Protocols differ: no comparison.
    Drift,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 7] = [
        Self::Win,
        Self::Loss,
        Self::Tie,
        Self::Inconclusive,
        Self::Incomplete,
        Self::Exploratory,
        Self::Drift,
    ];

    /// The word, in capitals.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Win => "WIN",
            Self::Loss => "LOSS",
            Self::Tie => "TIE",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Incomplete => "INCOMPLETE",
            Self::Exploratory => "EXPLORATORY",
            Self::Drift => "DRIFT",
        }
    }

    /// Whether the word claims something, rather than saying why nothing is claimed.
    #[must_use]
    pub fn is_claim(self) -> bool {
        matches!(self, Self::Win | Self::Loss)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// All that a verdict depends on.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The config's seeds in the column.
    pub config: &'a Arm,
    /// The baseline's seeds in the column.
    pub baseline: &'a Arm,
    /// [`super::compare`] of the two.
    pub comparison: &'a Comparison,
    /// The rule.
    pub win: &'a WinRule,
    /// p of the rule's test after Holm's correction, and the number of comparisons.
    pub holm: Option<(f64, usize)>,
    /// Where the guard applies: the guard, and both arms at its length under the transform of the
    /// claim.
    pub guard: Option<(Guard, &'a Arm, &'a Arm)>,
}

/// A verdict and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The word.
    pub verdict: Verdict,
    /// The reason, one sentence without a full stop.
    pub reason: String,
}

/// Level of rule `record`.
pub const RECORD_LEVEL: f64 = 0.99;

/// The p-value that Holm's correction is of: two-sided of the paired t test on log-perplexity; with rule
/// `record` one-sided of a gain (or, where the mean is worse, a loss) beyond the stated one.
#[must_use]
pub fn test_p(comparison: &Comparison, win: &WinRule) -> Option<f64> {
    let paired = comparison.paired?;
    Some(match win.rule {
        Rule::Record => {
            let directed = if paired.mean < 0.0 { paired.negated() } else { paired };
            directed.beyond(win.min_gain.unwrap_or(0.0))
        }
        Rule::Auto | Rule::Seeds | Rule::Ci => paired.p,
    })
}

/// The rule that `rule` means with `n` declared seeds: `None` if nothing can be claimed.
#[must_use]
pub fn effective_rule(rule: Rule, n: usize) -> Option<Rule> {
    match (rule, n) {
        (_, 0 | 1) => None,
        (Rule::Auto, n) if n >= AUTO_CI_FROM => Some(Rule::Ci),
        (Rule::Auto, _) => Some(Rule::Seeds),
        (rule, _) => Some(rule),
    }
}

/// Decides a case: DRIFT before INCOMPLETE before EXPLORATORY before the rule.
#[must_use]
pub fn decide(case: &Case) -> Decision {
    let decision = |verdict, reason| Decision { verdict, reason };
    let drift = both(case.config, case.baseline, Arm::drift_words);
    if !drift.is_empty() {
        return decision(Verdict::Drift, drift);
    }
    let absent = both(case.config, case.baseline, Arm::absent_words);
    if !absent.is_empty() {
        return decision(Verdict::Incomplete, absent);
    }
    let Some(rule) = effective_rule(case.win.rule, case.config.seeds.len()) else {
        let reason = match case.comparison.gap_pct {
            Some(pct) if pct != 0.0 => {
                format!("one seed; {} says nothing yet", direction_words(pct))
            }
            _ => "one seed".to_owned(),
        };
        return decision(Verdict::Exploratory, reason);
    };
    let Some(gap) = case.comparison.gap else {
        return decision(Verdict::Inconclusive, "a mean is not finite".to_owned());
    };
    let (direction, outcome) = match rule {
        Rule::Ci => ci_rule(case, gap),
        Rule::Record => record_rule(case, gap),
        Rule::Auto | Rule::Seeds => seeds_rule(case, gap),
    };
    let verdict = match direction {
        Direction::Better => Verdict::Win,
        Direction::Worse => Verdict::Loss,
    };
    match outcome {
        Err(unmet) => match tie(case) {
            Some(words) => decision(Verdict::Tie, words),
            None => decision(Verdict::Inconclusive, unmet),
        },
        Ok(met) => match guard_rule(case, direction) {
            Guarded::Met(words) => decision(verdict, format!("{met}{words}")),
            Guarded::Unmet(words) => decision(Verdict::Inconclusive, format!("{met}, but {words}")),
            Guarded::Unknown(words) => decision(Verdict::Incomplete, words),
        },
    }
}

/// The seeds of a claim without any one of which the same rule would not make it: what hangs on one
/// seed is to be believed less. Empty if nothing is claimed or there are fewer than three seeds.
#[must_use]
pub fn hinges_on(case: &Case, claimed: Verdict, ddof: u8) -> Vec<u64> {
    let n = case.config.seeds.len();
    let Some(rule) = effective_rule(case.win.rule, n).filter(|_| claimed.is_claim() && n >= 3)
    else {
        return Vec::new();
    };
    let win = WinRule { rule, ..case.win.clone() };
    // The other comparisons of Holm's correction stay as they are.
    let correction = case
        .holm
        .zip(test_p(case.comparison, &win))
        .map(|((adjusted, family), p)| (if p > 0.0 { adjusted / p } else { 1.0 }, family));
    let changes = |&index: &usize| {
        let (config, baseline) = (case.config.without(index), case.baseline.without(index));
        let comparison = compare(&config, &baseline, ddof, false);
        let holm = correction
            .zip(test_p(&comparison, &win))
            .map(|((by, family), p)| ((by * p).min(1.0), family));
        let guarded = case.guard.map(|(guard, config, baseline)| {
            (guard, config.without(index), baseline.without(index))
        });
        let guard = guarded.as_ref().map(|(guard, config, baseline)| (*guard, config, baseline));
        let case = Case {
            config: &config,
            baseline: &baseline,
            comparison: &comparison,
            win: &win,
            holm,
            guard,
        };
        decide(&case).verdict != claimed
    };
    (0..n).filter(changes).map(|index| case.config.seeds[index].0).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Better,
    Worse,
}

/// `3.1 % lower` or `3.1 % higher`.
fn direction_words(gap_pct: f64) -> String {
    format!("{:.1} % {}", gap_pct.abs(), if gap_pct > 0.0 { "lower" } else { "higher" })
}

/// What is to be said of the config, then of the baseline by name.
fn both(config: &Arm, baseline: &Arm, words: impl Fn(&Arm) -> String) -> String {
    let mut parts = Vec::new();
    let own = words(config);
    if !own.is_empty() {
        parts.push(own);
    }
    let theirs = words(baseline);
    if !theirs.is_empty() {
        parts.push(format!("baseline {}: {theirs}", baseline.name));
    }
    parts.join("; ")
}

/// Rule `seeds`: mean better, the larger std small against the gap, enough paired seeds better.
/// Ok with what was met, or Err with every clause that was not, in the direction of the means.
fn seeds_rule(case: &Case, gap: f64) -> (Direction, Result<String, String>) {
    let c = case.comparison;
    let (direction, seeds, word) = if gap > 0.0 {
        (Direction::Better, c.better, "better")
    } else {
        (Direction::Worse, c.worse, "worse")
    };
    if gap == 0.0 {
        return (direction, Err("the means are equal".to_owned()));
    }
    let Some(std) = c.config.std.zip(c.baseline.std).map(|(a, b)| a.max(b)) else {
        return (direction, Err("a std is not finite".to_owned()));
    };
    let allowed = case.win.max_std_over_gap;
    let share = case.win.min_seeds_better;
    let gap = gap.abs();
    let ratio = if std / gap < 10.0 {
        format!(
            "std {} is {} of the gap {}",
            words::number(std),
            words::percent_against(std / gap, allowed),
            words::number(gap)
        )
    } else {
        format!("std {} is far above the gap {}", words::number(std), words::number(gap))
    };
    let spread_met = std <= allowed * gap;
    let seeds_met = share.is_met(seeds, c.pairs);
    let seeds_words = format!("{seeds}/{} seeds {word}", c.pairs);
    let mean_words = format!("mean {word} by {}", words::number(gap));
    if spread_met && seeds_met {
        return (direction, Ok(format!("{mean_words}; {ratio}; {seeds_words}")));
    }
    let mut unmet = Vec::new();
    if !spread_met {
        unmet.push(format!("{ratio}, the rule allows {:.0} %", 100.0 * allowed));
    }
    if !seeds_met {
        unmet.push(format!("{seeds_words}, the rule asks for {share}"));
    }
    let lead =
        if direction == Direction::Worse { format!("{mean_words}; ") } else { String::new() };
    (direction, Err(format!("{lead}{}", unmet.join("; "))))
}

/// Rule `ci`: the interval of the difference in mean log-perplexity excludes zero at the level
/// that Holm's correction leaves, which is p after correction below 5 %. The difference in mean
/// perplexity must have the same sign, or the claim would contradict the table's means.
fn ci_rule(case: &Case, gap: f64) -> (Direction, Result<String, String>) {
    let Some((paired, (p, family))) = case.comparison.paired.zip(case.holm) else {
        return (Direction::Better, Err("no paired interval can be computed".to_owned()));
    };
    let (direction, word) =
        if paired.mean > 0.0 { (Direction::Better, "lower") } else { (Direction::Worse, "higher") };
    let words = format!(
        "log-perplexity {word} by {}, p = {}{}",
        words::number(paired.mean.abs()),
        words::p_value(p),
        corrected_words(family)
    );
    let looks = case.win.num_looks();
    if p >= (1.0 - LEVEL) / looks as f64 {
        let share = match looks {
            1 => String::new(),
            looks => format!(" at the share of one of {looks} looks"),
        };
        return (direction, Err(format!("{words}: the interval does not exclude zero{share}")));
    }
    if (gap > 0.0) != (paired.mean > 0.0) || gap == 0.0 {
        let means = format!("{words}, but the mean perplexities do not differ in that direction");
        return (direction, Err(means));
    }
    (direction, Ok(words))
}

/// Rule `record`: the stated gain in mean log-perplexity is exceeded at p < 0.01, one-sided, after
/// Holm's correction.
fn record_rule(case: &Case, gap: f64) -> (Direction, Result<String, String>) {
    let Some((paired, (p, family))) = case.comparison.paired.zip(case.holm) else {
        return (Direction::Better, Err("no paired test can be computed".to_owned()));
    };
    let (direction, word) =
        if paired.mean > 0.0 { (Direction::Better, "lower") } else { (Direction::Worse, "higher") };
    let words = format!(
        "log-perplexity {word} by {}, p = {} for more than {} nats{}",
        words::number(paired.mean.abs()),
        words::p_value(p),
        case.win.min_gain.unwrap_or(0.0),
        corrected_words(family)
    );
    let level = (1.0 - RECORD_LEVEL) / case.win.num_looks() as f64;
    if p >= level {
        return (direction, Err(format!("{words}, the rule asks for less than {level}")));
    }
    if (gap > 0.0) != (paired.mean > 0.0) || gap == 0.0 {
        let means = format!("{words}, but the mean perplexities do not differ in that direction");
        return (direction, Err(means));
    }
    (direction, Ok(words))
}

fn corrected_words(family: usize) -> String {
    match family {
        0 | 1 => String::new(),
        _ => format!(" after Holm's correction for {family} comparisons"),
    }
}

/// That the interval of the difference lies inside the margin, if one is declared.
fn tie(case: &Case) -> Option<String> {
    let margin = case.win.tie_margin_pct?;
    let paired = case.comparison.paired?;
    // Lower perplexity is a positive difference of log-perplexities.
    let percent = |difference: f64| 100.0 * (1.0 - libm::exp(-difference));
    let (low, high) = (percent(paired.low), percent(paired.high));
    (-margin <= low && high <= margin).then(|| {
        format!(
            "the 95 % interval, {low:+.2} % to {high:+.2} %, is inside the margin of {margin} %"
        )
    })
}

enum Guarded {
    Met(String),
    Unmet(String),
    Unknown(String),
}

/// The one who is claimed to be better may not be much worse at the guard's length.
fn guard_rule(case: &Case, direction: Direction) -> Guarded {
    let Some((guard, config, baseline)) = case.guard else {
        return Guarded::Met(String::new());
    };
    let tokens = Column::new(guard.length, case.win.transform.as_deref()).tokens();
    let absent = both(config, baseline, |arm| {
        [arm.drift_words(), arm.absent_words()].join(" ").trim().to_owned()
    });
    let means = config.summary(1).mean.zip(baseline.summary(1).mean);
    let Some((config, baseline)) = means.filter(|_| absent.is_empty()) else {
        return Guarded::Unknown(format!("the guard at {tokens} cannot be checked: {absent}"));
    };
    let (winner, loser, who) = match direction {
        Direction::Better => (config, baseline, ""),
        Direction::Worse => (baseline, config, "the baseline is "),
    };
    let worse_pct = 100.0 * (winner - loser) / loser;
    if winner <= loser * (1.0 + guard.max_worse_pct / 100.0) {
        let words = if worse_pct > 0.0 { "worse" } else { "better" };
        let pct = worse_pct.abs();
        Guarded::Met(format!("; at {tokens} {who}{pct:.1} % {words}"))
    } else {
        Guarded::Unmet(format!(
            "{who}{worse_pct:.2} % worse at {tokens}, the guard allows {} %",
            guard.max_worse_pct
        ))
    }
}

#[cfg(test)]
mod tests;
