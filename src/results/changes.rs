//! What differs between two declarations, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde_json::Value;

use super::{Config, Declared, Point, Transform, WinRule};
use crate::canonical::{self, Difference};

impl Declared {
    /// What differs from `self` to `new`, in words, one entry a change; empty if only the order
    /// of seeds, configs or points does.
    #[must_use]
    pub fn changes_to(&self, new: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        set_changes(&mut changes, "seeds", &self.seeds, &new.seeds);
        value_change(&mut changes, "repeats", &self.repeats, &new.repeats);
        point_changes(&mut changes, self, new);
        set_changes(&mut changes, "report lengths", &self.report_lengths, &new.report_lengths);
        value_change(&mut changes, "std_ddof", &self.std_ddof, &new.std_ddof);
        win_changes(&mut changes, &self.win, &new.win);
        changes
    }
}

/// The keys (dotted paths) whose values differ, each with both values: `schedule.lr: 0.001 → 0.003`.
#[must_use]
pub fn changed_keys(old: &Value, new: &Value) -> Vec<String> {
    let show = |value: Option<Value>| brief(&value.unwrap_or_default());
    canonical::differences(old, new)
        .into_iter()
        .map(|Difference { key, left, right }| {
            let key = if key.is_empty() { "protocol" } else { &key };
            format!("{key}: {} → {}", show(left), show(right))
        })
        .collect()
}

/// A value short enough for a message; an absent one reads `none`.
fn brief(value: &Value) -> String {
    const LONGEST: usize = 60;
    if value.is_null() {
        return "none".to_owned();
    }
    let text = canonical::to_string(value);
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

pub(super) fn paired_points<'a>(
    old: &'a Declared,
    new: &'a Declared,
) -> impl Iterator<Item = (&'a Point, &'a Point)> {
    let new_by_name: BTreeMap<_, _> = new.points.iter().map(|p| (p.name.as_deref(), p)).collect();
    old.points
        .iter()
        .filter_map(move |point| new_by_name.get(&point.name.as_deref()).map(|new| (point, *new)))
}

pub(super) fn paired_configs<'a>(
    old: &'a Point,
    new: &'a Point,
) -> impl Iterator<Item = (&'a Config, &'a Config)> {
    let new_by_name: BTreeMap<_, _> = new.configs.iter().map(|c| (c.name.as_str(), c)).collect();
    old.configs
        .iter()
        .filter_map(move |config| new_by_name.get(config.name.as_str()).map(|new| (config, *new)))
}

pub(super) fn place(point: &Point) -> String {
    point.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default()
}

pub(super) fn frequencies_changed(was: &Config, is: &Config) -> String {
    let name = &is.name;
    if was.expression != is.expression {
        return format!("frequencies of {name} changed: {} → {}", was.expression, is.expression);
    }
    let why = if was.expr_id == is.expr_id {
        "the arithmetic of this xp is another"
    } else {
        "another head_dim, length or rope_dtype"
    };
    format!("frequencies of {name} changed, {}: {why}", is.expression)
}

fn point_changes(changes: &mut Vec<String>, old: &Declared, new: &Declared) {
    let names = |declared: &Declared| -> Vec<String> {
        declared.points.iter().filter_map(|point| point.name.clone()).collect()
    };
    set_changes(changes, "points", &names(old), &names(new));
    if old.points.iter().any(|p| p.name.is_none()) != new.points.iter().any(|p| p.name.is_none()) {
        let now = if new.points.iter().any(|p| p.name.is_none()) { "no longer" } else { "now" };
        changes.push(format!("the experiment {now} sweeps protocols"));
    }
    for (old_point, new_point) in paired_points(old, new) {
        let place = place(new_point);
        let mut own = Vec::new();
        let names = |point: &Point| -> Vec<String> {
            point.configs.iter().map(|config| config.name.clone()).collect()
        };
        set_changes(&mut own, "configs", &names(old_point), &names(new_point));
        config_changes(&mut own, old_point, new_point);
        let training = changed_keys(&old_point.training, &new_point.training);
        if !training.is_empty() {
            own.push(format!("training protocol changed: {}", training.join(", ")));
        }
        let lengths = own.len();
        length_changes(&mut own, old_point, new_point);
        transform_changes(&mut own, old_point, new_point);
        let evaluation = changed_keys(
            &comparable_evaluation(&old_point.evaluation),
            &comparable_evaluation(&new_point.evaluation),
        );
        if !evaluation.is_empty() {
            own.push(format!("evaluation changed: {}", evaluation.join(", ")));
        }
        let protocol_changed = old_point.protocol != new_point.protocol;
        if protocol_changed && training.is_empty() && own.len() == lengths {
            own.push(format!("protocol id: {} → {}", old_point.protocol, new_point.protocol));
        }
        numerics_change(&mut own, old, old_point, new, new_point, training.is_empty());
        changes.extend(own.into_iter().map(|change| format!("{place}{change}")));
    }
}

fn config_changes(changes: &mut Vec<String>, old: &Point, new: &Point) {
    for (was, is) in paired_configs(old, new) {
        if was.vec_id != is.vec_id {
            changes.push(frequencies_changed(was, is));
        } else if was.expression != is.expression {
            changes.push(format!(
                "{} rewritten, same frequencies: {} → {}",
                is.name, was.expression, is.expression
            ));
        }
        value_change(changes, &format!("baseline of {}", is.name), &was.baseline, &is.baseline);
    }
}

fn length_changes(changes: &mut Vec<String>, old: &Point, new: &Point) {
    let lengths = |point: &Point| -> Vec<u64> { point.lengths.keys().copied().collect() };
    set_changes(changes, "evaluation lengths", &lengths(old), &lengths(new));
    let words = |chunks: &Option<u64>| chunks.map_or("all".to_owned(), |n| n.to_string());
    for (length, was) in &old.lengths {
        if let Some(is) = new.lengths.get(length) {
            value_change(changes, &format!("chunks at {length}"), &words(was), &words(is));
        }
    }
}

fn transform_changes(changes: &mut Vec<String>, old: &Point, new: &Point) {
    let named = |point: &'_ Point, name: &str| -> Option<Transform> {
        point.transforms.iter().find(|transform| transform.name == name).cloned()
    };
    let without = |these: &Point, others: &Point| -> Vec<Transform> {
        these.transforms.iter().filter(|t| named(others, &t.name).is_none()).cloned().collect()
    };
    let (mut removed, mut added) = (without(old, new), without(new, old));
    removed.retain(|was| {
        let renamed = added.iter().position(|is| is.expression == was.expression);
        let renamed = renamed.map(|index| added.remove(index));
        if let Some(is) = &renamed {
            let expression = &was.expression;
            changes.push(format!("transform {} renamed {}: {expression}", was.name, is.name));
        }
        renamed.is_none()
    });
    for (verb, these) in [("added", added), ("removed", removed)] {
        let words = |transform: &Transform| {
            let Transform { name, expression } = transform;
            if name == expression { name.clone() } else { format!("{name} = {expression}") }
        };
        let list: Vec<String> = these.iter().map(words).collect();
        if !list.is_empty() {
            changes.push(format!("transforms {verb}: {}", list.join("; ")));
        }
    }
    for was in &old.transforms {
        if let Some(is) = named(new, &was.name) {
            let what = format!("transform {}", is.name);
            value_change(changes, &what, &was.expression, &is.expression);
        }
    }
}

/// Train ids that moved although nothing in the declaration did: another numerics version.
fn numerics_change(
    changes: &mut Vec<String>,
    old: &Declared,
    old_point: &Point,
    new: &Declared,
    new_point: &Point,
    same_training: bool,
) {
    let moved = same_training
        && paired_configs(old_point, new_point).filter(|(a, b)| a.vec_id == b.vec_id).any(
            |(was, is)| {
                let by_seed: BTreeMap<_, _> = new.seeds.iter().zip(&is.train_ids).collect();
                old.seeds
                    .iter()
                    .zip(&was.train_ids)
                    .any(|(seed, id)| by_seed.get(seed).is_some_and(|new_id| *new_id != id))
            },
        );
    if moved {
        changes.push("train ids changed with nothing else: another numerics version".to_owned());
    }
}

fn win_changes(changes: &mut Vec<String>, old: &WinRule, new: &WinRule) {
    let rule = |win: &WinRule| win.rule.name();
    value_change(changes, "win rule", &rule(old), &rule(new));
    value_change(changes, "win rule, primary_length", &old.primary_length, &new.primary_length);
    let transform = |win: &WinRule| win.transform.clone().unwrap_or("as trained".to_owned());
    value_change(changes, "win rule, transform", &transform(old), &transform(new));
    let guard = |win: &WinRule| {
        win.guard.map_or("none".to_owned(), |guard| {
            format!("at most {} % worse at {}", guard.max_worse_pct, guard.length)
        })
    };
    value_change(changes, "win rule, guard", &guard(old), &guard(new));
    value_change(
        changes,
        "win rule, max_std_over_gap",
        &old.max_std_over_gap,
        &new.max_std_over_gap,
    );
    value_change(
        changes,
        "win rule, min_seeds_better",
        &old.min_seeds_better,
        &new.min_seeds_better,
    );
    let tie = |win: &WinRule| {
        win.tie_margin_pct.map_or("none".to_owned(), |margin| format!("{margin} %"))
    };
    value_change(changes, "win rule, tie_margin_pct", &tie(old), &tie(new));
    let gain = |win: &WinRule| win.min_gain.map_or("none".to_owned(), |gain| gain.to_string());
    value_change(changes, "win rule, min_gain", &gain(old), &gain(new));
    let list = |numbers: Vec<String>| match numbers.is_empty() {
        true => "none".to_owned(),
        false => numbers.join(", "),
    };
    let tuning = |win: &WinRule| list(win.tuning_seeds.iter().map(u64::to_string).collect());
    value_change(changes, "win rule, tuning_seeds", &tuning(old), &tuning(new));
    let looks = |win: &WinRule| list(win.looks.iter().map(u32::to_string).collect());
    value_change(changes, "win rule, looks", &looks(old), &looks(new));
}

fn value_change<T: Display + PartialEq>(changes: &mut Vec<String>, what: &str, old: &T, new: &T) {
    if old != new {
        changes.push(format!("{what}: {old} → {new}"));
    }
}

fn set_changes<T: Display + Ord>(changes: &mut Vec<String>, what: &str, old: &[T], new: &[T]) {
    let before: BTreeSet<&T> = old.iter().collect();
    let after: BTreeSet<&T> = new.iter().collect();
    for (verb, these, without) in [("added", new, &before), ("removed", old, &after)] {
        let list: Vec<String> =
            these.iter().filter(|item| !without.contains(item)).map(T::to_string).collect();
        if !list.is_empty() {
            changes.push(format!("{what} {verb}: {}", list.join(", ")));
        }
    }
}

/// An evaluation part without the keys `lengths`, `chunks` and `transforms`, wherever they stand:
/// what must agree for two perplexities in one column, over one number of chunks, to be comparable.
#[must_use]
pub fn comparable_evaluation(evaluation: &Value) -> Value {
    match evaluation {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, _)| !matches!(key.as_str(), "lengths" | "chunks" | "transforms"))
                .map(|(key, value)| (key.clone(), comparable_evaluation(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing::{GEO, HYBRID, config, declared};
    use crate::results::{Rule, SeedShare};

    fn changed(edit: impl FnOnce(&mut Declared)) -> Vec<String> {
        let mut new = declared();
        edit(&mut new);
        declared().changes_to(&new)
    }

    #[test]
    fn every_kind_of_change_is_said_in_words() {
        let add_seeds = |d: &mut Declared| d.seeds.extend([4, 5]);
        assert_eq!(changed(add_seeds), ["seeds added: 4, 5"]);
        assert_eq!(changed(|d| d.seeds = vec![42, 123]), ["seeds removed: 7"]);
        let add = |d: &mut Declared| d.points[0].configs.push(config("new", GEO, &[42, 123, 7]));
        assert_eq!(changed(add), ["configs added: new"]);
        assert_eq!(
            changed(|d| {
                d.points[0].lengths.insert(32768, Some(10));
                d.points[0].lengths.insert(2048, None);
                d.points[0].protocol = "p1".to_owned();
            }),
            ["evaluation lengths added: 32768", "chunks at 2048: 10 → all"]
        );
        assert_eq!(
            changed(|d| {
                d.win.rule = Rule::Seeds;
                d.win.guard = None;
                d.win.max_std_over_gap = 1.0;
                d.win.tie_margin_pct = Some(0.5);
                d.win.min_seeds_better = SeedShare { num: 1, den: 2 };
                d.win.primary_length = 8192;
                d.std_ddof = 0;
                d.report_lengths = vec![8192];
            }),
            [
                "report lengths added: 8192",
                "report lengths removed: 2048, 16384",
                "std_ddof: 1 → 0",
                "win rule: auto → seeds",
                "win rule, primary_length: 16384 → 8192",
                "win rule, guard: at most 1 % worse at 2048 → none",
                "win rule, max_std_over_gap: 0.5 → 1",
                "win rule, min_seeds_better: 2/3 → 1/2",
                "win rule, tie_margin_pct: none → 0.5 %",
            ]
        );
        assert_eq!(
            changed(|d| {
                d.points[0].training["schedule"]["lr"] = serde_json::json!(3e-4);
                d.points[0].evaluation["slicing"] = serde_json::json!("sliding");
                d.points[0].protocol = "p1".to_owned();
            }),
            [
                "training protocol changed: schedule.lr: 0.0006 → 0.0003",
                "evaluation changed: slicing: \"sequential\" → \"sliding\"",
            ]
        );
        assert_eq!(
            changed(|d| d.points[0].configs[1].vec_id = "v".to_owned()),
            [
                "frequencies of hybrid_a0.2_t100k changed, hybrid_a0.2_t100k(): the arithmetic of this xp \
              is another"
            ]
        );
        assert_eq!(
            changed(|d| {
                d.points[0].configs[1].vec_id = "v".to_owned();
                d.points[0].configs[1].expr_id = "e".to_owned();
            }),
            [
                "frequencies of hybrid_a0.2_t100k changed, hybrid_a0.2_t100k(): another head_dim, length \
              or rope_dtype"
            ]
        );
        assert_eq!(
            changed(|d| d.points[0].configs[1].train_ids[0] = "t".to_owned()),
            ["train ids changed with nothing else: another numerics version"]
        );
        assert_eq!(
            changed(|d| d.points[0].name = Some("lr=1".to_owned())),
            ["points added: lr=1", "the experiment now sweeps protocols"]
        );
        assert_eq!(
            changed(|d| d.points[0].configs[2].baseline = HYBRID.to_owned()),
            ["baseline of anchpoly_p3.9_omf0.3_t500k: geo_500k → hybrid_a0.2_t100k"]
        );
    }

    #[test]
    fn transforms_are_named_in_words_as_lengths_are() {
        let transform = |name: &str, expression: &str| Transform {
            name: name.to_owned(),
            expression: expression.to_owned(),
        };
        let (yarn, pi) = ("yarn({trained}, factor=8)", "pi({trained}, factor=2)");
        let with = |transforms: &[Transform]| {
            let mut declared = declared();
            declared.points[0].transforms = transforms.to_vec();
            // The protocol id moves with the evaluation part, and needs no words of its own.
            let of = |t: &Transform| (t.expression.clone(), serde_json::json!({"2048": 10}));
            let object: serde_json::Map<_, _> = transforms.iter().map(of).collect();
            declared.points[0].protocol = format!("p{}", transforms.len());
            declared.points[0].evaluation["transforms"] = object.into();
            declared
        };
        let both = with(&[transform("yarn8", yarn), transform(pi, pi)]);
        assert_eq!(
            declared().changes_to(&both),
            ["transforms added: yarn8 = yarn({trained}, factor=8); pi({trained}, factor=2)"]
        );
        let one = with(&[transform("yarn8", yarn)]);
        assert_eq!(both.changes_to(&one), ["transforms removed: pi({trained}, factor=2)"]);
        let mut renamed = with(&[transform("yarn", yarn)]);
        renamed.win.transform = Some("yarn".to_owned());
        assert_eq!(
            one.changes_to(&renamed),
            [
                "transform yarn8 renamed yarn: yarn({trained}, factor=8)",
                "win rule, transform: as trained → yarn",
            ]
        );
        let other = with(&[transform("yarn8", pi)]);
        assert_eq!(
            one.changes_to(&other),
            ["transform yarn8: yarn({trained}, factor=8) → pi({trained}, factor=2)"]
        );
        let reversed = with(&[transform(pi, pi), transform("yarn8", yarn)]);
        assert_eq!(both.changes_to(&reversed), Vec::<String>::new());
    }

    /// A declaration without transforms has the form, and so the hash, that it had before there
    /// were any.
    #[test]
    fn the_committed_locks_keep_their_hashes() {
        let results = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let mut seen = 0;
        for folder in std::fs::read_dir(results).unwrap() {
            let path = folder.unwrap().path().join("lock.json");
            if path.is_file() {
                let lock = super::super::store::read_lock(&path).unwrap().unwrap();
                assert_eq!(lock.declared.hash(), lock.declared_hash, "{}", path.display());
                assert_eq!(lock.declared.changes_to(&lock.declared), Vec::<String>::new());
                seen += 1;
            }
        }
        assert!(seen >= 2, "{seen} lock files");
    }
}
