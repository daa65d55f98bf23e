//! What an evaluation covers: chunks by transform and length.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::eval;

/// Chunks by evaluation length; `None` is all.
pub type Chunks = BTreeMap<u64, Option<u64>>;

/// What an evaluation asks for or a run holds: chunks by transform (its canonical expression;
/// `None`, which comes first, is the frequencies as trained) and length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(pub BTreeMap<Option<String>, Chunks>);

impl Coverage {
    /// What a spec asks for.
    #[must_use]
    pub fn of(eval: &eval::Config) -> Self {
        let chunks: Chunks = eval.lengths.iter().map(|&length| (length, eval.chunks)).collect();
        let transforms = eval.transforms.iter().map(|t| Some(t.expression.clone()));
        Self([None].into_iter().chain(transforms).map(|of| (of, chunks.clone())).collect())
    }

    /// What the evaluation part of a protocol or of a record covers.
    #[must_use]
    pub fn read(evaluation: &Json) -> Self {
        let mut coverage = BTreeMap::from([(None, chunks(&evaluation["chunks"]))]);
        for (transform, by_length) in evaluation["transforms"].as_object().into_iter().flatten() {
            coverage.insert(Some(transform.clone()), chunks(by_length));
        }
        Self(coverage)
    }

    /// An evaluation part that covers this: `chunks` as `{"2048": 10}` with `"all"` for all, and
    /// `transforms` by canonical expression, if there are any.
    #[must_use]
    pub fn of_part(&self, evaluation: &Json) -> Json {
        let mut part = evaluation.clone();
        let chunks = |by_length: &Chunks| -> Json {
            let word = |n: Option<u64>| n.map_or(json!("all"), |n| json!(n));
            by_length.iter().map(|(length, n)| (length.to_string(), word(*n))).collect()
        };
        part["chunks"] = chunks(self.0.get(&None).unwrap_or(&Chunks::new()));
        let transforms: serde_json::Map<String, Json> = self
            .0
            .iter()
            .filter(|(_, by_length)| !by_length.is_empty())
            .filter_map(|(transform, by_length)| Some((transform.clone()?, chunks(by_length))))
            .collect();
        if transforms.is_empty() {
            part.as_object_mut().and_then(|keys| keys.shift_remove("transforms"));
        } else {
            part["transforms"] = transforms.into();
        }
        part
    }

    /// The larger of two, length by length.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for (transform, by_length) in &other.0 {
            let own = union.0.entry(transform.clone()).or_default();
            for (&length, &n) in by_length {
                own.entry(length)
                    .and_modify(|held| *held = if covers(*held, n) { *held } else { n })
                    .or_insert(n);
            }
        }
        union
    }

    /// What `self` lacks of what is `wanted`: transform, length, and chunks held (if any) and
    /// wanted.
    #[must_use]
    pub fn missing<'w>(&self, wanted: &'w Self) -> Vec<Missing<'w>> {
        let mut missing = Vec::new();
        for (transform, by_length) in &wanted.0 {
            let own = self.0.get(transform);
            for (&length, &wanted) in by_length {
                let held = own.and_then(|own| own.get(&length)).copied();
                if !held.is_some_and(|held| covers(held, wanted)) {
                    let transform = transform.as_deref();
                    missing.push(Missing { transform, length, held, wanted });
                }
            }
        }
        missing
    }
}

/// A length of which chunks are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing<'w> {
    /// Canonical expression of the transform; `None` as trained.
    pub transform: Option<&'w str>,
    /// Evaluation length.
    pub length: u64,
    /// Chunks held, if the length is held at all; inside, `None` is all.
    pub held: Option<Option<u64>>,
    /// Chunks wanted; `None` is all.
    pub wanted: Option<u64>,
}

/// An evaluation part without what it covers: what must agree for perplexities to be comparable.
#[must_use]
pub fn comparable(evaluation: &Json) -> Json {
    let mut part = evaluation.clone();
    if let Some(keys) = part.as_object_mut() {
        keys.shift_remove("chunks");
        keys.shift_remove("transforms");
    }
    part
}

fn chunks(by_length: &Json) -> Chunks {
    let entries = by_length.as_object().into_iter().flatten();
    entries.filter_map(|(length, n)| Some((length.parse().ok()?, n.as_u64()))).collect()
}

fn covers(held: Option<u64>, wanted: Option<u64>) -> bool {
    match (held, wanted) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(held), Some(wanted)) => held >= wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_read_as_it_is_written_and_transforms_only_stand_if_there_are_some() {
        let plain =
            json!({"data": "d", "slicing": "sequential", "chunks": {"64": 4, "128": "all"}});
        assert_eq!(Coverage::read(&plain).of_part(&plain), plain);
        let mut with = plain.clone();
        with["transforms"] = json!({"pi@1({trained}, factor=2)": {"64": 4}});
        assert_eq!(Coverage::read(&with).of_part(&plain), with);
        assert_eq!(Coverage::read(&plain).of_part(&with), plain);
        assert_eq!(comparable(&with), comparable(&plain));
    }

    #[test]
    fn coverages_unite_to_the_larger_and_nothing_is_lost() {
        let a = Coverage::read(
            &json!({"chunks": {"64": 4, "128": "all"}, "transforms": {"a": {"64": 1}}}),
        );
        let b = Coverage::read(
            &json!({"chunks": {"64": 8, "128": 2, "256": 1}, "transforms": {"b": {"64": 2}}}),
        );
        let union = a.union(&b);
        let wanted = json!({
            "chunks": {"64": 8, "128": "all", "256": 1},
            "transforms": {"a": {"64": 1}, "b": {"64": 2}},
        });
        assert_eq!(union, Coverage::read(&wanted));
        assert_eq!(union, b.union(&a));
        assert_eq!(union.missing(&a), []);
        let missing = a.missing(&union);
        let told: Vec<_> = missing.iter().map(|m| (m.transform, m.length, m.held)).collect();
        assert_eq!(told, [(None, 64, Some(Some(4))), (None, 256, None), (Some("b"), 64, None)]);
    }
}
