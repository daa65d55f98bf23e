//! What can be wrong with an expression, and what is only suspicious.

use std::ops::Range;

/// Something that makes an expression unusable, with the place it stands at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Stable code, one of [`CODES`].
    pub code: &'static str,
    /// Byte range in the source.
    pub span: Range<usize>,
    /// What is wrong, in one phrase.
    pub message: String,
    /// What is said under the caret.
    pub label: String,
    /// What would be right.
    pub help: Option<String>,
}

impl Error {
    pub(super) fn new(
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self { code, span, message: message.into(), label: label.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Every error code, and when it is given.
pub const CODES: &[(&str, &str)] = &[
    (SYNTAX, "the text does not follow the grammar"),
    (NUMBER, "a number has an unknown suffix or does not fit in f64"),
    (
        TOO_LARGE,
        "the text, a list, or the expression with its `let`s inlined is too long, or costs too much",
    ),
    (TOO_DEEP, "the expression is nested too deeply"),
    (LET, "a `let` is repeated, unused, or takes a name that is in use"),
    (TYPE, "a family stands where a number is needed, or the other way round"),
    (UNKNOWN_FAMILY, "no family (or, in a formula, no function) of this name"),
    (UNKNOWN_VERSION, "the family has no such version"),
    (UNKNOWN_NAME, "no variable of this name"),
    (UNKNOWN_PARAMETER, "the family has no parameter of this name, or the formula does not use it"),
    (UNKNOWN_VALUE, "the parameter has no such value"),
    (DUPLICATE_PARAMETER, "a parameter is given twice"),
    (MISSING_PARAMETER, "a parameter without default is not given"),
    (ARITY, "a family or function is given too few or too many arguments by position"),
    (POSITIONAL, "an argument is given by position that has no position"),
    (RANGE, "a parameter is out of its range, or parameters contradict each other"),
    (LENGTH, "a list does not have head_dim / 2 values"),
    (FILE, "a table's file cannot be read, or is not the one that is meant"),
    (CONTEXT, "head_dim does not serve, or a length is needed and not known"),
    (NOT_FINITE, "a value is infinite or not a number"),
    (NEGATIVE, "a frequency is negative"),
    (ZERO, "a frequency is zero and the family does not declare zeros"),
    (ALIASING, "a frequency is above 2 pi: it acts like its value modulo 2 pi"),
];

pub(super) const SYNTAX: &str = "freq::syntax";
pub(super) const NUMBER: &str = "freq::number";
pub(super) const TOO_LARGE: &str = "freq::too-large";
pub(super) const TOO_DEEP: &str = "freq::too-deep";
pub(super) const LET: &str = "freq::let";
pub(super) const TYPE: &str = "freq::type";
pub(super) const UNKNOWN_FAMILY: &str = "freq::unknown-family";
pub(super) const UNKNOWN_VERSION: &str = "freq::unknown-version";
pub(super) const UNKNOWN_NAME: &str = "freq::unknown-name";
pub(super) const UNKNOWN_PARAMETER: &str = "freq::unknown-parameter";
pub(super) const UNKNOWN_VALUE: &str = "freq::unknown-value";
pub(super) const DUPLICATE_PARAMETER: &str = "freq::duplicate-parameter";
pub(super) const MISSING_PARAMETER: &str = "freq::missing-parameter";
pub(super) const ARITY: &str = "freq::arity";
pub(super) const POSITIONAL: &str = "freq::positional";
pub(super) const RANGE: &str = "freq::range";
pub(super) const LENGTH: &str = "freq::length";
pub(super) const FILE: &str = "freq::file";
pub(super) const CONTEXT: &str = "freq::context";
pub(super) const NOT_FINITE: &str = "freq::not-finite";
pub(super) const NEGATIVE: &str = "freq::negative";
pub(super) const ZERO: &str = "freq::zero";
pub(super) const ALIASING: &str = "freq::aliasing";

/// More findings than this are noise: the first ones are kept.
const MAX_ERRORS: usize = 32;

/// Collects errors, bounded, and hands them out in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<Error>);

impl Errors {
    pub(super) fn push(&mut self, error: Error) {
        if self.0.len() < MAX_ERRORS {
            self.0.push(error);
        }
    }

    pub(super) fn extend(&mut self, errors: Vec<Error>) {
        for error in errors {
            self.push(error);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_ERRORS
    }

    /// `Ok(())` if nothing was found.
    pub(super) fn finish(mut self) -> Result<(), Vec<Error>> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_by_key(|error| (error.span.start, error.span.end));
        Err(self.0)
    }
}

/// How much a [`Check`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Probably not what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

/// A finding about a frequency set that does not make it unusable.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// Stable code, one of [`CHECKS`].
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Byte range in the source of the call that gives the set.
    #[serde(skip)]
    pub span: Range<usize>,
    /// What was found, with channels and counts.
    pub message: String,
}

/// Every check code, and what it says.
pub const CHECKS: &[(&str, &str)] = &[
    (ABOVE_PI, "warning: a frequency is above pi: neighbouring positions are past half a turn"),
    (NOT_MONOTONE, "warning: a frequency is higher than the one before it"),
    (NEAR_DUPLICATE, "warning: neighbouring frequencies differ by less than 0.1 %"),
    (F32_COLLISION, "warning: channels have the same f32 frequency"),
    (F32_ZERO, "warning: a positive frequency is zero in f32"),
    (ATTENTION_SCALE, "warning: the attention scale is outside 0.5 to 2"),
    (RECIPROCAL, "info: how many f32 frequencies software that stores reciprocals changes"),
    (LONGER_THAN_TRAIN, "info: how many periods are longer than the training length"),
    (LONGER_THAN_TARGET, "info: how many periods are longer than the target length"),
];

pub(super) const ABOVE_PI: &str = "freq::above-pi";
pub(super) const NOT_MONOTONE: &str = "freq::not-monotone";
pub(super) const NEAR_DUPLICATE: &str = "freq::near-duplicate";
pub(super) const F32_COLLISION: &str = "freq::f32-collision";
pub(super) const F32_ZERO: &str = "freq::f32-zero";
pub(super) const ATTENTION_SCALE: &str = "freq::attention-scale";
pub(super) const RECIPROCAL: &str = "freq::reciprocal";
pub(super) const LONGER_THAN_TRAIN: &str = "freq::longer-than-train";
pub(super) const LONGER_THAN_TARGET: &str = "freq::longer-than-target";

/// A name of the source as it is shown in a message: in backquotes, cut if it is long.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return format!("`{text}`");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("`{start}…`")
}

/// The candidate that `name` is most likely a slip of, if one is near enough.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Nothing that long is a slip of a name of the language, and distances cost its length.
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_ascii_lowercase()), c))
        .filter(|(distance, c)| *distance <= limit && *distance < c.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// `a, b or c`.
pub(super) fn any_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// What other programs call a family or a parameter.
const ALIASES: [(&str, &str); 16] = [
    ("base", "theta"),
    ("default", "geo"),
    ("dynamic", "dynamic_ntk"),
    ("geometric", "geo"),
    ("hybrid", "mix"),
    ("linear", "pi"),
    ("llama", "llama3"),
    ("ntk_aware", "ntk"),
    ("original", "geo"),
    ("position_interpolation", "pi"),
    ("rope", "geo"),
    ("rope_theta", "theta"),
    ("s", "factor"),
    ("scale", "factor"),
    ("scaling_factor", "factor"),
    ("standard", "geo"),
];

/// "did you mean `x`?", or else what there is.
pub(super) fn suggest<'a>(
    name: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let ours = ALIASES.iter().filter(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let ours = ours.map(|(_, ours)| *ours).find(|ours| candidates.contains(ours));
    if let Some(near) = ours.or_else(|| nearest(name, candidates.iter().copied())) {
        return Some(format!("did you mean `{near}`?"));
    }
    (!candidates.is_empty()).then(|| format!("{what}: {}", candidates.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_nonsense_does_not() {
        assert_eq!(nearest("thta", ["theta", "p"]), Some("theta"));
        assert_eq!(nearest("Theta", ["theta", "p"]), Some("theta"));
        assert_eq!(nearest("anchoredpoly", ["anchored_poly", "geo"]), Some("anchored_poly"));
        assert_eq!(nearest("nosuch", ["geo", "mix", "table"]), None);
        assert_eq!(nearest("q", ["p", "c"]), None);
    }

    #[test]
    fn what_other_programs_call_it_is_known() {
        let meant = |name, known: &[&'static str]| suggest(name, "all", known.iter().copied());
        assert_eq!(meant("rope", &["nope", "geo"]).unwrap(), "did you mean `geo`?");
        assert_eq!(meant("base", &["theta", "grid"]).unwrap(), "did you mean `theta`?");
        assert_eq!(meant("base", &["p", "grid"]).unwrap(), "all: p, grid");
    }

    #[test]
    fn errors_are_bounded_and_sorted() {
        let mut errors = Errors::default();
        for i in (0..1000).rev() {
            errors.push(Error::new(SYNTAX, i..i + 1, "m", "l"));
        }
        let errors = errors.finish().unwrap_err();
        assert_eq!(errors.len(), MAX_ERRORS);
        assert!(errors.windows(2).all(|w| w[0].span.start < w[1].span.start));
    }

    #[test]
    fn codes_are_distinct() {
        let mut codes: Vec<_> = CODES.iter().chain(CHECKS).map(|(code, _)| *code).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|w| w[0] != w[1]));
    }
}
