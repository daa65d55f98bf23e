//! The frequency sets of a point: each config's expressions evaluated, as trained and under every
//! transform, and what there is to say about them, at its place in the TOML file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::controls;
use super::findings::{Grouped, diagnostic, error_at};
use super::layers::{KINDS, LayerSets, ResolvedConfig};
use super::transforms::{self, Transform};
use crate::diag::Diagnostic;
use crate::freq::{self, Context};
use crate::spec::load;
use crate::spec::node::Node;
use crate::spec::types::{self, Control, Freq, Spec};
use crate::{eval, model, train};

/// What the frequency sets of a point are evaluated for.
pub struct Setting {
    /// head_dim, the lengths, the rounding; no present length.
    context: Context,
    /// Layers of the model.
    layers: usize,
    /// Evaluation lengths.
    lengths: Vec<u64>,
}

impl Setting {
    /// A broken model shape must not hide a broken expression: most are checked at any head_dim.
    pub fn new(
        spec: &Spec,
        model: Option<&model::Config>,
        train: Option<&train::Config>,
        eval: Option<&eval::Config>,
    ) -> Option<Self> {
        let lengths = eval.map_or(Vec::new(), |eval| eval.lengths.clone());
        Some(Self {
            context: Context {
                head_dim: u32::try_from(model.map_or(64, |m| m.head_dim)).ok()?,
                train_len: train.map(|t| t.seq_len),
                target_len: lengths.iter().copied().max(),
                seq_len: None,
                rope_dtype: spec.model.rope_dtype.unwrap_or_default(),
            },
            layers: model.map_or(1, |m| m.layers),
            lengths,
        })
    }
}

/// The configs of a point, with their sets as trained and under the point's transforms.
pub fn configs(
    document: &Node,
    spec: &Spec,
    setting: &Setting,
    found: &mut Vec<Diagnostic>,
) -> (Option<Vec<ResolvedConfig>>, Vec<Transform>) {
    let transforms = transforms::read(document, spec, &setting.context, found);
    let first = spec.config.first().and_then(|c| c.name.clone());
    let experiment_baseline = spec.experiment.baseline.clone().or(first);
    let mut resolved = Vec::new();
    let mut checks = Grouped::default();
    let mut complete = true;
    for (i, config) in spec.config.iter().enumerate() {
        let written = Written::of(document, config, i);
        let baseline = config.baseline.clone().or_else(|| experiment_baseline.clone());
        let (Some(written), Some(baseline)) = (written, baseline) else {
            complete = false;
            continue;
        };
        match written.trained(setting, &mut checks) {
            Ok(freq) => {
                let transformed = transforms
                    .iter()
                    .map(|transform| transform.applied(&written.name, &freq, setting, &mut checks))
                    .collect();
                resolved.push(ResolvedConfig { name: written.name, baseline, freq, transformed });
            }
            Err(errors) => {
                complete = false;
                found.extend(errors);
            }
        }
    }
    found.extend(checks.told());
    same_sets(document, &resolved, found);
    // A control may be among what is not complete.
    if complete {
        match spec.experiment.control {
            Some(Control::SameTheta) => controls::same_theta(document, &resolved, found),
            None => controls::base_confounded(document, &resolved, found),
        }
        controls::grids_differ(document, &resolved, found);
    }
    transforms::without_effect(document, &transforms, &resolved, found);
    (complete.then_some(resolved), transforms)
}

/// The expressions of a config, as written.
struct Written<'a> {
    name: String,
    /// One expression, or those of the kinds of layers in the order of [`KINDS`].
    expressions: Vec<(&'a Node, &'a str)>,
    pattern: Option<&'a str>,
}

impl<'a> Written<'a> {
    /// `None` if something is missing or a template could not be rendered: it is told already.
    fn of(document: &'a Node, config: &'a types::Config, index: usize) -> Option<Self> {
        let name = config.name.clone()?;
        let node = document.at(&["config", &index.to_string(), "freq"])?;
        let (texts, pattern) = match config.freq.as_ref()? {
            Freq::Same(text) => (vec![(node, text.as_str())], None),
            Freq::PerLayer(freq) => {
                let [local, global] = KINDS;
                let texts = vec![
                    (node.get(local)?, freq.local.as_str()),
                    (node.get(global)?, freq.global.as_str()),
                ];
                (texts, Some(freq.pattern.as_str()))
            }
        };
        let sound =
            |pattern: &str| !pattern.is_empty() && pattern.bytes().all(|c| b"LG".contains(&c));
        let rendered = texts.iter().all(|(_, text)| !text.contains("{{"));
        (rendered && pattern.is_none_or(sound)).then_some(Self {
            name,
            expressions: texts,
            pattern,
        })
    }

    fn trained(
        &self,
        setting: &Setting,
        checks: &mut Grouped,
    ) -> Result<LayerSets, Vec<Diagnostic>> {
        let mut sets = Vec::new();
        let mut errors = Vec::new();
        for (node, text) in &self.expressions {
            let expr = freq::parse_with(text, &freq::Folder(load::folder(node)));
            match expr.and_then(|expr| freq::evaluate_expr(&expr, &setting.context)) {
                Ok(set) => {
                    checks.checks(&self.name, &set, |check| node.inside(check.span.clone()));
                    sets.push(set);
                }
                Err(found) => errors.extend(found.into_iter().map(|e| error_at(node, e))),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let global = self.pattern.and_then(|pattern| Some((sets.pop()?, pattern)));
        let local = sets.pop().expect("each expression gave a set");
        Ok(match global {
            Some((global, pattern)) => LayerSets::per_layer(local, global, pattern, setting.layers),
            None => LayerSets::same(local, setting.layers),
        })
    }
}

impl Transform {
    /// The sets of a config under this transform, by evaluation length.
    fn applied(
        &self,
        config: &str,
        trained: &LayerSets,
        setting: &Setting,
        findings: &mut Grouped,
    ) -> BTreeMap<u64, Arc<LayerSets>> {
        let mut by_length = BTreeMap::new();
        let applied: Vec<_> = trained.sets().iter().map(|set| self.apply(set)).collect();
        for &length in &setting.lengths {
            let context = Context { seq_len: Some(length), ..setting.context.clone() };
            let who = format!("{config} under {} at {length}", self.name);
            let mut sets = Vec::new();
            for expr in &applied {
                let expr = expr.as_ref().map_err(Clone::clone);
                match expr.and_then(|expr| freq::evaluate_expr(expr, &context)) {
                    Ok(set) => {
                        findings.checks(&who, &set, |check| self.inside(&check.span));
                        sets.push(set);
                    }
                    Err(errors) => {
                        for error in errors {
                            let place = self.inside(&error.span);
                            findings.add(&who, diagnostic(error, place));
                        }
                    }
                }
            }
            if sets.len() == trained.sets().len() {
                by_length.insert(length, Arc::new(trained.with(sets)));
            }
        }
        by_length
    }
}

fn same_sets(document: &Node, configs: &[ResolvedConfig], found: &mut Vec<Diagnostic>) {
    for (i, config) in configs.iter().enumerate() {
        let Some(first) = configs[..i].iter().position(|c| c.freq.vec_id == config.freq.vec_id)
        else {
            continue;
        };
        found.push(
            Diagnostic::warning(
                "freq::same-set",
                format!(
                    "`{}` and `{}` are the same frequency set",
                    configs[first].name, config.name
                ),
            )
            .at(document.place_of(&["config", &i.to_string(), "freq"]), "same numbers")
            .at(document.place_of(&["config", &first.to_string(), "freq"]), "as here")
            .help("it is trained once and reported under both names"),
        );
    }
}
