//! Transforms: the trained frequencies changed for evaluation, `yarn({trained}, factor=8)`.

use std::ops::Range;

use super::freqs::{ResolvedConfig, error_at};
use crate::diag::{Diagnostic, Place};
use crate::freq::{self, Context, FrequencySet};
use crate::results;
use crate::spec::node::Node;
use crate::spec::types::Spec;

/// Stands for the trained set in a transform.
const TRAINED: &str = "{trained}";

/// A transform as a spec declares it.
#[derive(Debug)]
pub struct Transform {
    /// What reports call it.
    pub name: String,
    /// Canonical, `target_len` filled in: what it computes does not depend on the lengths
    /// that a spec declares later.
    pub expression: String,
    node: Node,
    text: String,
}

impl Transform {
    /// The transformed set of one kind of layers; `context` has the present length.
    ///
    /// # Errors
    /// As [`freq::evaluate`], at places in the transform.
    pub fn apply(
        &self,
        trained: &FrequencySet,
        context: &Context,
    ) -> Result<FrequencySet, Vec<freq::Error>> {
        freq::evaluate(&self.text.replace(TRAINED, &trained.expression), context)
            .map_err(|errors| errors.into_iter().map(|e| self.whole(e)).collect())
    }

    /// Places in the text with the trained set written out are none of the spec's.
    fn whole(&self, mut error: freq::Error) -> freq::Error {
        error.span = 0..self.text.len();
        error
    }

    /// The place of a part of the expression in the TOML file.
    pub fn inside(&self, span: &Range<usize>) -> Place {
        let end = self.text.len();
        self.node.inside(span.start.min(end)..span.end.min(end))
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
        let canonical = match freq::parse(&text.replace(TRAINED, "geo(theta=10k)")) {
            Ok(expr) => {
                let stand_in = freq::parse("geo(theta=10k)").expect("good");
                freq::canonical(&expr).replace(&freq::canonical(&stand_in), TRAINED)
            }
            Err(errors) => {
                found.extend(errors.into_iter().map(|e| error_at(node, e)));
                continue;
            }
        };
        let transform = Transform {
            name: name.to_owned(),
            expression: with_target_len(&canonical, context.target_len),
            node: node.clone(),
            text: text.to_owned(),
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
        if !canonical.contains(TRAINED) {
            found.push(
                Diagnostic::warning(
                    "freq::ignores-trained",
                    format!("the transform `{name}` does not use the trained frequencies"),
                )
                .at(node.place.clone(), format!("no {TRAINED} in it"))
                .help(format!(
                    "every config is evaluated with this set; {TRAINED} stands for its own"
                )),
            );
        }
        transforms.push(transform);
    }
    transforms
}

/// Writes the value of `target_len` where a canonical form uses it: the length that is aimed at
/// grows with the evaluation lengths, and a result must keep the frequencies that it was made with.
fn with_target_len(canonical: &str, target_len: Option<u64>) -> String {
    const NAME: &str = "target_len";
    let Some(target_len) = target_len else { return canonical.to_owned() };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = canonical;
    while let Some(at) = rest.find(NAME) {
        let (before, after) = (&rest[..at], &rest[at + NAME.len()..]);
        out.push_str(before);
        // In quotes stands a formula, whose names are its own; before `=` one of its parameters.
        let quoted = out.matches('"').count() % 2 == 1;
        let part = out.ends_with(is_name) || after.starts_with(|c| is_name(c) || c == '=');
        if quoted || part {
            out.push_str(NAME);
        } else {
            out.push_str(&target_len.to_string());
        }
        rest = after;
    }
    out.push_str(rest);
    out
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

#[cfg(test)]
mod tests {
    use super::with_target_len;

    #[test]
    fn the_target_length_is_filled_in_where_the_name_stands() {
        let fill = |text| with_target_len(text, Some(512));
        assert_eq!(
            fill("pi@1({trained}, factor=target_len / 64)"),
            "pi@1({trained}, factor=512 / 64)"
        );
        assert_eq!(fill("scale@1({trained}, c=target_len2)"), "scale@1({trained}, c=target_len2)");
        let own = "expr@1(\"target_len^(-k/K)\", target_len=3)";
        assert_eq!(fill(own), own);
        assert_eq!(with_target_len("c=target_len", None), "c=target_len");
    }
}
