//! Transforms: the trained frequencies changed for evaluation, `yarn({trained}, factor=8)`.

use std::ops::Range;

use super::findings::error_at;
use super::layers::ResolvedConfig;
use crate::diag::{Diagnostic, Place};
use crate::freq::{self, Context, Expr, FrequencySet};
use crate::results;
use crate::spec::load;
use crate::spec::node::Node;
use crate::spec::types::Spec;

/// A transform as a spec declares it.
#[derive(Debug)]
pub struct Transform {
    /// What reports call it.
    pub name: String,
    /// Canonical, `target_len` filled in: what it computes does not depend on the lengths
    /// that a spec declares later.
    pub expression: String,
    transform: freq::Transform,
    node: Node,
}

impl Transform {
    /// The expression of the transformed set of one kind of layers.
    ///
    /// # Errors
    /// As [`freq::Transform::apply`].
    pub fn apply(&self, trained: &FrequencySet) -> Result<Expr, Vec<freq::Error>> {
        let trained = freq::parse(&trained.expression).expect("a canonical form can be read");
        self.transform.apply(&trained)
    }

    /// The place of a part of the expression in the TOML file.
    pub fn inside(&self, span: &Range<usize>) -> Place {
        self.node.inside(span.clone())
    }

    /// As declarations have it.
    pub fn declared(&self) -> results::Transform {
        results::Transform { name: self.name.clone(), expression: self.expression.clone() }
    }
}

/// The transforms of a point; those with errors are left out.
pub fn read(
    document: &Node,
    spec: &Spec,
    context: &Context,
    found: &mut Vec<Diagnostic>,
) -> Vec<Transform> {
    let mut transforms: Vec<Transform> = Vec::new();
    let written = spec.eval.transform.as_ref().map(|t| t.list()).unwrap_or_default();
    for (name, text, keys) in written {
        let path: Vec<&str> =
            ["eval", "transform"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        let Some(node) = document.at(&path) else { continue };
        // A template that could not be rendered is told already.
        if text.contains("{{") {
            continue;
        }
        let parsed = freq::parse_transform(text, &freq::Folder(load::folder(node)));
        let transform = match parsed {
            Ok(transform) => match context.target_len {
                Some(target_len) => transform.with_target_len(target_len),
                None => transform,
            },
            Err(errors) => {
                found.extend(errors.into_iter().map(|e| error_at(node, e)));
                continue;
            }
        };
        let transform = Transform {
            name: name.to_owned(),
            expression: transform.canonical(),
            transform,
            node: node.clone(),
        };
        if let Some(first) = transforms.iter().find(|t| t.expression == transform.expression) {
            found.push(
                Diagnostic::error(
                    "spec::duplicate-transform",
                    format!("`{}` and `{name}` are the same transform", first.name),
                )
                .at(node.place.clone(), "the same")
                .at(first.node.place.clone(), "as here")
                .help(format!("both are {}", transform.expression)),
            );
            continue;
        }
        if !transform.transform.uses_trained() {
            found.push(
                Diagnostic::warning(
                    "freq::ignores-trained",
                    format!("the transform `{name}` does not use the trained frequencies"),
                )
                .at(node.place.clone(), "no {trained} in it")
                .help("every config is evaluated with this set; {trained} stands for its own"),
            );
        }
        transforms.push(transform);
    }
    transforms
}

/// Warns of a transform that leaves every trained set as it is at every length.
pub fn without_effect(
    document: &Node,
    transforms: &[Transform],
    configs: &[ResolvedConfig],
    found: &mut Vec<Diagnostic>,
) {
    for (i, transform) in transforms.iter().enumerate() {
        let unchanged = |config: &ResolvedConfig| {
            let by_length = &config.transformed[i];
            !by_length.is_empty() && by_length.values().all(|s| s.vec_id == config.freq.vec_id)
        };
        if !configs.is_empty() && configs.iter().all(unchanged) {
            found.push(
                Diagnostic::warning(
                    "freq::no-effect",
                    format!("the transform `{}` changes nothing", transform.name),
                )
                .at(transform.node.place.clone(), "every set stays as trained at every length")
                .at(document.place_of(&["eval", "lengths"]), "the lengths")
                .help("its results would be those without it: drop it"),
            );
        }
    }
}
