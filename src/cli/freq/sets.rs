//! The sets that `xp freq` shows: of expressions, or of the configs of a spec.

use std::path::Path;
use std::sync::Arc;

use super::FreqArgs;
use crate::cli::common::{SpecArgs, check_spec};
use crate::cli::exit::{self, Exit};
use crate::diag::{self, Diagnostic, Place, Source};
use crate::freq::{self, Check, Context, Folder, FrequencySet};
use crate::plan::{LayerSets, Resolved};

/// A set with what it is called and compared to.
pub(super) struct Named {
    /// The expression as written; of a spec the config, the kind of layers, the transform.
    pub name: String,
    pub set: FrequencySet,
    pub train_len: Option<u64>,
    pub target_len: Option<u64>,
    /// The set that ratios are to: `--against`, or the baseline of a spec's config.
    pub reference: Option<Arc<Reference>>,
    /// Where the expression stands, for what there is to say about it; a spec's configs have
    /// `xp check` for that.
    source: Option<Arc<Source>>,
}

/// What a set is compared to.
pub(super) struct Reference {
    pub name: String,
    pub set: FrequencySet,
}

impl Named {
    /// A set compared to nothing.
    pub fn alone(name: String, set: FrequencySet, context: &Context) -> Self {
        let (train_len, target_len) = (context.train_len, context.target_len);
        Self { name, set, train_len, target_len, reference: None, source: None }
    }

    /// A set compared to another.
    pub fn compared(
        name: String,
        set: FrequencySet,
        context: &Context,
        reference: Arc<Reference>,
    ) -> Self {
        Self { reference: Some(reference), ..Self::alone(name, set, context) }
    }

    /// The frequency of channel `k` over the reference's; none without one, where that is 0, or
    /// beyond its channels.
    pub fn ratio(&self, k: usize) -> Option<f64> {
        let reference = *self.reference.as_ref()?.set.inv_freq.get(k)?;
        (reference != 0.0).then(|| self.set.inv_freq[k] / reference)
    }

    /// How often channel `k` turns within `length` positions.
    pub fn turns(&self, k: usize, length: u64) -> f64 {
        length as f64 / self.set.period(k)
    }

    /// The lengths that turns are counted in, by name.
    pub fn lengths(&self) -> Vec<(&'static str, u64)> {
        let lengths = [("train_len", self.train_len), ("target_len", self.target_len)];
        lengths.into_iter().filter_map(|(name, length)| Some((name, length?))).collect()
    }

    /// Channels whose period is longer than a length.
    pub fn longer_than(&self, length: u64) -> usize {
        (0..self.set.inv_freq.len()).filter(|k| self.set.period(*k) > length as f64).count()
    }

    /// What there is to say of an expression.
    pub fn findings(&self) -> Vec<Diagnostic> {
        let Some(source) = &self.source else { return Vec::new() };
        self.set.checks.iter().map(|check| finding(check, source)).collect()
    }
}

/// Whether an argument is a spec: no expression ends like that.
pub(super) fn is_spec(argument: &str) -> bool {
    Path::new(argument).extension().is_some_and(|extension| extension == "toml")
}

/// Why there is nothing to show.
pub(super) enum Refusal {
    /// Errors in expressions or in a spec.
    Found(Vec<Diagnostic>),
    /// A file that cannot be read.
    Exit(Exit),
}

impl From<Diagnostic> for Refusal {
    fn from(error: Diagnostic) -> Self {
        Self::Found(vec![error])
    }
}

/// The sets of the command's arguments, in their order.
pub(super) fn named(args: &FreqArgs) -> Result<Vec<Named>, Refusal> {
    let specs: Vec<&String> = args.expressions.iter().filter(|text| is_spec(text)).collect();
    match specs.as_slice() {
        [] => of_expressions(args),
        [spec] if args.expressions.len() == 1 => of_spec(Path::new(spec), args),
        _ => Err(Diagnostic::error("freq::spec", "a spec is shown alone")
            .help("give one spec, or expressions; --against takes an expression beside a spec")
            .into()),
    }
}

fn of_expressions(args: &FreqArgs) -> Result<Vec<Named>, Refusal> {
    let context = args.context.context();
    let mut errors = Vec::new();
    let mut evaluate = |name: &str, text: &str| {
        evaluated(name, text, &context).map_err(|found| errors.extend(found)).ok()
    };
    let reference = args.against.as_deref().and_then(|text| evaluate("<against>", text));
    let reference =
        reference.map(|(set, _)| Arc::new(Reference { name: set.expression.clone(), set }));
    let mut named = Vec::new();
    for text in &args.expressions {
        named.extend(evaluate("<expr>", text).map(|(set, source)| Named {
            name: text.clone(),
            set,
            train_len: context.train_len,
            target_len: context.target_len,
            reference: reference.clone(),
            source: Some(source),
        }));
    }
    if errors.is_empty() { Ok(named) } else { Err(Refusal::Found(errors)) }
}

/// A set and its source; tables in files are beside the working directory.
pub(super) fn evaluated(
    name: &str,
    text: &str,
    context: &Context,
) -> Result<(FrequencySet, Arc<Source>), Vec<Diagnostic>> {
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    freq::parse_with(text, &Folder(std::path::PathBuf::new()))
        .and_then(|expr| freq::evaluate_expr(&expr, context))
        .map(|set| (set, source.clone()))
        .map_err(|errors| errors.iter().map(|error| diagnostic(error, &source)).collect())
}

fn of_spec(path: &Path, args: &FreqArgs) -> Result<Vec<Named>, Refusal> {
    if args.context.is_given() {
        let error =
            "--head-dim, --train-len, --target-len, --seq-len and --rope-dtype go with expressions";
        return Err(Diagnostic::error("freq::spec", error).help("a spec gives them itself").into());
    }
    // A look at the sets is no sweep to be limited.
    let spec = SpecArgs { max_runs: u64::MAX, ..SpecArgs::default() };
    let checked = check_spec(path, &spec).map_err(Refusal::Exit)?;
    let (Some(checked), _) = checked else { return Err(Refusal::Found(checked.1)) };
    let mut named = Vec::new();
    for point in &checked.points {
        named.extend(of_point(point, args.against.as_deref())?);
    }
    Ok(named)
}

fn of_point(point: &Resolved, against: Option<&str>) -> Result<Vec<Named>, Refusal> {
    let protocol = &point.protocol;
    let (train_len, target_len) =
        (Some(protocol.train.seq_len), protocol.eval.lengths.iter().copied().max());
    let prefix = point.name.as_ref().map_or(String::new(), |name| format!("{name}/"));
    let config = |name: &str| point.configs.iter().find(|config| config.name == name);
    // An expression for all, or each config's own.
    let fixed = match against {
        Some(text) if config(text).is_none() => {
            let context = Context {
                head_dim: u32::try_from(protocol.model.head_dim).unwrap_or(freq::MAX_HEAD_DIM),
                train_len,
                target_len,
                seq_len: None,
                rope_dtype: point.rope_dtype,
            };
            let (set, _) = evaluated("<against>", text, &context).map_err(Refusal::Found)?;
            Some(Arc::new(Reference { name: set.expression.clone(), set }))
        }
        _ => None,
    };
    let mut named = Vec::new();
    for own in &point.configs {
        let baseline = against.and_then(config).or_else(|| config(&own.baseline));
        let mut add = |sets: &LayerSets, suffix: &str| {
            for (i, set) in sets.sets().iter().enumerate() {
                let kind =
                    sets.by_kind().map_or(String::new(), |(_, kinds)| format!(".{}", kinds[i].0));
                let reference = fixed.clone().or_else(|| {
                    let baseline = baseline?;
                    // Of the same kind of layers, if it has kinds.
                    let set = baseline.freq.sets().get(i).unwrap_or(baseline.freq.first());
                    Some(Arc::new(Reference { name: baseline.name.clone(), set: set.clone() }))
                });
                named.push(Named {
                    name: format!("{prefix}{}{kind}{suffix}", own.name),
                    set: set.clone(),
                    train_len,
                    target_len,
                    reference,
                    source: None,
                });
            }
        };
        add(&own.freq, "");
        for (transform, by_length) in protocol.eval.transforms.iter().zip(&own.transformed) {
            let same = by_length
                .values()
                .all(|sets| Some(&sets.vec_id) == by_length.values().next().map(|s| &s.vec_id));
            for (length, sets) in by_length.iter().take(if same { 1 } else { usize::MAX }) {
                let at = if same { String::new() } else { format!("@{length}") };
                add(sets, &format!(" [{}]{at}", transform.name));
            }
        }
    }
    Ok(named)
}

/// An error at its place in an expression.
pub(super) fn diagnostic(error: &freq::Error, source: &Arc<Source>) -> Diagnostic {
    let diagnostic = Diagnostic::error(error.code, error.message.clone())
        .at(Place::new(source, error.span.clone()), error.label.clone());
    match &error.help {
        Some(help) => diagnostic.help(help.clone()),
        None => diagnostic,
    }
}

/// A finding at its place in an expression.
pub(super) fn finding(check: &Check, source: &Arc<Source>) -> Diagnostic {
    let severity = match check.severity {
        freq::Severity::Warning => diag::Severity::Warning,
        freq::Severity::Info => diag::Severity::Note,
    };
    Diagnostic::new(check.code, severity, check.message.clone())
        .at(Place::new(source, check.span.clone()), "")
}

impl Refusal {
    /// Tells it; returns the exit code.
    pub fn tell(self, tell: &mut dyn FnMut(&[Diagnostic])) -> i32 {
        match self {
            Self::Found(found) => {
                tell(&found);
                i32::from(exit::USAGE)
            }
            Self::Exit(Exit { code, message }) => {
                tell(&[Diagnostic::error("freq::spec", message)]);
                i32::from(code)
            }
        }
    }
}
