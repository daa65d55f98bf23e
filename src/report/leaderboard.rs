//! Configs of several experiments, or of several sweep points, ranked together.

use super::input::Input;
use super::model::{Experiment, Group, Leaderboard, Section, Standing, place};
use super::operating::Claimed;
use super::search::{self, Selection, Values};
use super::section::by_mean;
use crate::canonical;
use crate::results::{Point, Transform, changed_keys, comparable_evaluation};

/// Ranks across experiments; `None` for a single experiment. Sweep points of one experiment
/// are protocols of their own and are not ranked with each other.
///
/// Configs stand in one group if their training parts are the same, their evaluation parts but
/// for lengths, chunks and transforms, their primary columns (a transform by its expression, not
/// its name), and the chunks asked for there.
pub(super) fn build(inputs: &[Input], experiments: &[Experiment]) -> Option<Leaderboard> {
    if inputs.len() < 2 {
        return None;
    }
    let mut groups: Vec<(Key, Group, Values)> = Vec::new();
    for (input, experiment) in inputs.iter().zip(experiments) {
        let claimed = Claimed::of(experiment);
        for (point, section) in input.declared.points.iter().zip(&experiment.sections) {
            let key = Key::of(point, section);
            let member = place(&experiment.name, section.point.as_deref());
            let entries = standings(experiment, section);
            let same = groups.iter_mut().find(|(known, ..)| known.is_same(&key));
            let own = search::values(&claimed, section, &experiment.seeds);
            if let Some((_, group, values)) = same {
                values.extend(own);
                group.members.push(member);
                group.entries.extend(entries);
            } else {
                let group = Group {
                    members: vec![member],
                    primary_length: section.primary_length,
                    primary_transform: key.transform.clone(),
                    selection: None,
                    entries,
                };
                groups.push((key, group, own));
            }
        }
    }
    let drift = groups.split_first().map_or(Vec::new(), |((first, group, _), others)| {
        let differs = |(key, other, _): &(Key, Group, _)| {
            format!(
                "{} against {}: {}",
                other.members.join(", "),
                group.members.join(", "),
                first.differences(key).join(", ")
            )
        };
        others.iter().map(differs).collect()
    });
    let groups = groups
        .into_iter()
        .map(|(_, group, values)| ranked(Group { selection: Selection::of(&values), ..group }))
        .collect();
    Some(Leaderboard { groups, drift })
}

/// What two perplexities must share to be comparable.
struct Key {
    training: serde_json::Value,
    evaluation: serde_json::Value,
    primary_length: u64,
    transform: Option<Transform>,
    chunks: Option<u64>,
    text: String,
}

impl Key {
    fn of(point: &Point, section: &Section) -> Self {
        let primary_length = section.primary_length;
        // One that is not declared is known by its name alone.
        let transform = section.primary_transform.as_ref().map(|name| {
            let undeclared = || Transform { name: name.clone(), expression: name.clone() };
            section.transform(name).cloned().unwrap_or_else(undeclared)
        });
        let training = point.training.clone();
        let evaluation = comparable_evaluation(&point.evaluation);
        let chunks = point.lengths.get(&primary_length).copied().flatten();
        let text = format!(
            "{}\n{}\n{primary_length} {chunks:?}\n{:?}",
            canonical::to_string(&training),
            canonical::to_string(&evaluation),
            transform.as_ref().map(|transform| &transform.expression)
        );
        Self { training, evaluation, primary_length, transform, chunks, text }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }

    fn differences(&self, other: &Self) -> Vec<String> {
        let mut keys = changed_keys(&self.training, &other.training);
        keys.extend(changed_keys(&self.evaluation, &other.evaluation));
        if self.primary_length != other.primary_length {
            let (from, to) = (self.primary_length, other.primary_length);
            keys.push(format!("primary_length: {from} → {to}"));
        }
        let expression = |key: &Self| key.transform.as_ref().map(|t| t.expression.clone());
        let (from, to) = (expression(self), expression(other));
        if from != to {
            let words = |transform: Option<String>| transform.unwrap_or("as trained".to_owned());
            keys.push(format!("transform of the claim: {} → {}", words(from), words(to)));
        }
        if self.chunks != other.chunks {
            let words = |chunks: Option<u64>| chunks.map_or("all".to_owned(), |n| n.to_string());
            keys.push(format!("chunks: {} → {}", words(self.chunks), words(other.chunks)));
        }
        keys
    }
}

fn standings(experiment: &Experiment, section: &Section) -> Vec<Standing> {
    let of = |index: &usize| {
        let row = &section.rows[*index];
        let cell = row.primary();
        Standing {
            rank: None,
            experiment: experiment.name.clone(),
            point: section.point.clone(),
            config: row.config.clone(),
            mean_pm_std: cell.map(|cell| cell.mean_pm_std.clone()).unwrap_or_default(),
            mean: cell.and_then(|cell| cell.mean),
            n: cell.map_or(0, |cell| cell.n),
            n_expected: row.n_expected,
            baseline: row.baseline.clone(),
            gap: cell.and_then(|cell| cell.gap),
            gap_pct: cell.and_then(|cell| cell.gap_pct),
            verdict: row.verdict,
            reason: row.reason.clone(),
        }
    };
    section.ranking.iter().map(of).collect()
}

/// Sorted by mean (stable: ties keep the order of the experiments); equal means share a rank.
fn ranked(mut group: Group) -> Group {
    group.entries.sort_by(|a, b| by_mean(a.mean, b.mean));
    let mut previous: Option<(f64, usize)> = None;
    for (index, entry) in group.entries.iter_mut().enumerate() {
        entry.rank = entry.mean.map(|mean| match previous {
            Some((before, rank)) if before == mean => rank,
            _ => index + 1,
        });
        previous = entry.mean.zip(entry.rank);
    }
    group
}
