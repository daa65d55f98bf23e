//! The win rule as a sentence, and what a reader must know before believing a number.

use std::collections::BTreeSet;

use super::amended::never_frozen;
use super::arm::LEVEL;
use super::column::Column;
use super::input::Input;
use super::model::{RunRow, Section};
use super::verdict::{RECORD_LEVEL, Verdict, effective_rule};
use super::words;
use crate::results::{Declared, Lock, Rule, SharedDocuments, Status};
use crate::stats::smallest_p;

/// The rule in words, with everything that it depends on.
pub(super) fn rule_in_words(declared: &Declared) -> String {
    let win = &declared.win;
    let n = declared.claim_seeds().len();
    let ddof = declared.std_ddof;
    let rule = effective_rule(win.rule, n);
    let name = match (win.rule, rule) {
        (Rule::Auto, Some(rule)) => {
            format!("rule `{}`, which `auto` means for {n} seeds", rule.name())
        }
        (rule, _) => format!("rule `{}`", rule.name()),
    };
    let guard = win.guard.zip(Column::of_guard(win)).map_or(String::new(), |(guard, column)| {
        format!(", and at {} at most {} % worse", column.tokens(), guard.max_worse_pct)
    });
    let primary = Column::of_claim(win).tokens();
    let conditions = match rule {
        None => {
            return format!("With {n} seed nothing is claimed, whatever the means: EXPLORATORY.");
        }
        Some(Rule::Ci) => "the paired t interval (95 %) of the difference in mean log-perplexity \
                           lies above zero after Holm's correction over the compared configs"
            .to_owned(),
        Some(Rule::Record) => format!(
            "mean log-perplexity lower by more than {} nats at p < {} (paired t, one-sided, after \
             Holm's correction over the compared configs), all runs supplied",
            win.min_gain.unwrap_or(0.0),
            words::ten_digits(1.0 - RECORD_LEVEL)
        ),
        Some(_) => format!(
            "mean perplexity lower than the baseline's, the larger std (ddof = {ddof}) at most {} \
             of the gap, at least {} of the paired seeds better",
            win.max_std_over_gap, win.min_seeds_better
        ),
    };
    let tie = win.tie_margin_pct.map_or(String::new(), |margin| {
        format!(
            " TIE where neither holds and the 95 % interval of the difference is within {margin} % of the \
             perplexity."
        )
    });
    let looks = match win.looks.as_slice() {
        [] => String::new(),
        looks => format!(
            " Looks were declared at {} seeds, each at its share of the level.",
            words::list(looks)
        ),
    };
    format!(
        "WIN at {primary} ({name}): {conditions}{guard}. LOSS is the same the other way round.{tie}{looks}"
    )
}

/// The caveats that apply, most important first.
pub(super) fn of(input: &Input, sections: &[Section], runs: &[RunRow]) -> Vec<String> {
    let Input { declared, lock, .. } = input;
    let n = declared.claim_seeds().len();
    let mut caveats = Vec::new();
    let verdicts: BTreeSet<Verdict> =
        sections.iter().flat_map(|s| &s.rows).filter_map(|row| row.verdict).collect();
    if let Some(why) = never_frozen(input) {
        caveats.push(format!("Nothing can be claimed: {why}."));
    }
    if verdicts.contains(&Verdict::Drift) {
        caveats.push(
            "DRIFT: some results were made under another protocol. They are in no mean; compare \
             nothing with them."
                .to_owned(),
        );
    }
    if verdicts.contains(&Verdict::Incomplete) {
        caveats.push(
            "INCOMPLETE: the mean is over the seeds that are there. A seed that diverged or was \
             never run might have been the worst."
                .to_owned(),
        );
    }
    overlap(&mut caveats, declared, lock.as_ref());
    if !declared.win.tuning_seeds.is_empty() {
        caveats.push(format!(
            "Configs were chosen on {}: in no mean and no claim.",
            words::seeds(&declared.win.tuning_seeds)
        ));
    }
    if n == 1 {
        caveats.push(
            "One seed: the spread over seeds is unknown, and the best of several configs looks \
             better than it is. This table can suggest what to run next, nothing more."
                .to_owned(),
        );
    }
    let compared = sections
        .iter()
        .map(|section| section.rows.iter().filter(|row| !row.is_baseline()).count())
        .max()
        .unwrap_or(0);
    if effective_rule(declared.win.rule, n) == Some(Rule::Seeds) && compared > 1 {
        caveats.push(format!(
            "{compared} configs are compared, and rule `seeds` does not correct for that: each is \
             a further chance of a false claim."
        ));
    }
    if n > 1 {
        caveats.push(
            "p and the interval are of the paired t test on log-perplexity, for each config \
             alone; they are not what the verdict rests on unless the rule is `ci`."
                .to_owned(),
        );
    }
    if n > 1 && smallest_p(n) > 1.0 - LEVEL {
        caveats.push(format!(
            "5 % is not attainable at n = {n} by the exact tests (sign flip, signs, signed ranks): their \
             smallest p is {}.",
            words::number(smallest_p(n))
        ));
    }
    if declared.std_ddof == 0 {
        caveats.push(
            "std is the population's (ddof = 0), smaller than the sample's: by 18 % with three \
             seeds."
                .to_owned(),
        );
    }
    origins(&mut caveats, sections, runs);
    further_results(&mut caveats, input, runs);
    numerics(&mut caveats, declared, lock.as_ref(), runs);
    caveats
}

/// Validation text that was trained on.
fn overlap(caveats: &mut Vec<String>, declared: &Declared, lock: Option<&Lock>) {
    let Some(lock) = lock else { return };
    let mut told = BTreeSet::new();
    for point in &declared.points {
        let key = SharedDocuments::key(&point.training, &point.evaluation);
        let Some(shared) = lock.overlap.get(&key).filter(|shared| shared.documents > 0) else {
            continue;
        };
        let share = 100.0 * shared.tokens as f64 / shared.of_tokens.max(1) as f64;
        let text = format!(
            "{} of {} validation documents ({share:.1} % of the tokens) are in the training text too, word \
             for word: what is measured on them is memory. It is the same for all configs.",
            shared.documents, shared.of_documents,
        );
        if told.insert(text.clone()) {
            caveats.push(text);
        }
    }
}

fn origins(caveats: &mut Vec<String>, sections: &[Section], runs: &[RunRow]) {
    let imported = runs.iter().any(|run| run.status == Status::Imported);
    let native = runs.iter().any(|run| run.status != Status::Imported);
    if imported {
        let which = if native { "Some results were" } else { "All results were" };
        caveats.push(format!(
            "{which} imported: measured elsewhere. That they follow the spec's protocol is the \
             importer's word, not checked by xp."
        ));
        if sections.iter().any(|section| !section.transforms.is_empty()) {
            caveats.push(
                "Imported results are as trained: under a transform they have no number."
                    .to_owned(),
            );
        }
    }
}

fn further_results(caveats: &mut Vec<String>, input: &Input, runs: &[RunRow]) {
    let further: BTreeSet<(&str, u64)> = runs
        .iter()
        .filter(|run| run.attempt > 1)
        .map(|run| (run.config.as_str(), run.seed))
        .collect();
    if !further.is_empty() {
        let names = further.iter().map(|(config, seed)| format!("{config} seed {seed}"));
        caveats.push(format!(
            "Several attempts of one config and seed: {}. The first counts; the others stand in \
             runs.csv and show how far a re-run moves.",
            words::list(names)
        ));
    }
    let declared = &input.declared;
    let seeds: BTreeSet<u64> = declared.seeds.iter().copied().collect();
    let configs: BTreeSet<(Option<&str>, &str)> = declared
        .points
        .iter()
        .flat_map(|point| {
            point.configs.iter().map(|config| (point.name.as_deref(), config.name.as_str()))
        })
        .collect();
    let undeclared: BTreeSet<String> = input
        .listing
        .entries
        .iter()
        .map(|entry| &entry.record)
        .filter(|record| {
            let config = (record.point.as_deref(), record.config.as_str());
            !configs.contains(&config) || !seeds.contains(&record.seed)
        })
        .map(|record| {
            let point = record.point.as_ref().map(|point| format!("{point}/")).unwrap_or_default();
            format!("{point}{} seed {}", record.config, record.seed)
        })
        .collect();
    if !undeclared.is_empty() {
        caveats.push(format!(
            "Results that are not declared, so in no mean: {}. They stand in runs.csv.",
            words::list(&undeclared)
        ));
    }
}

/// Native results whose train id no declaration names: made by another numerics version.
fn numerics(caveats: &mut Vec<String>, declared: &Declared, lock: Option<&Lock>, runs: &[RunRow]) {
    let known: BTreeSet<&str> = lock
        .into_iter()
        .flat_map(Lock::versions)
        .chain([declared])
        .flat_map(|declared| &declared.points)
        .flat_map(|point| &point.configs)
        .flat_map(|config| &config.train_ids)
        .map(String::as_str)
        .collect();
    let configs: BTreeSet<&str> =
        declared.points.iter().flat_map(|p| &p.configs).map(|c| c.name.as_str()).collect();
    let other: BTreeSet<(&str, u64)> = runs
        .iter()
        .filter(|run| run.status == Status::Done && declared.seeds.contains(&run.seed))
        .filter(|run| configs.contains(run.config.as_str()))
        .filter(|run| !known.contains(run.train_id.as_str()))
        .map(|run| (run.config.as_str(), run.seed))
        .collect();
    if !other.is_empty() {
        let names = other.iter().map(|(config, seed)| format!("{config} seed {seed}"));
        caveats.push(format!(
            "Train ids that the declaration does not name (another numerics version?): {}.",
            words::list(names)
        ));
    }
}
