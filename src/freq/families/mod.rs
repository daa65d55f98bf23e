//! The families: one [`Family`] each, and [`ALL`], the registry of them.
//!
//! To add a family, write its entry in a file of its own and list it in [`ALL`]. Argument
//! checks, defaults, canonical form, suggestions, `xp freq --list` and the table of REFERENCE.md
//! follow from the entry.

mod anchored;
mod band;
mod call;
mod combine;
mod evq;
mod geo;
mod given;
mod legacy;
mod listing;
mod ntk;
mod spaced;
mod turns;
mod wrap;
mod yarn;
mod zeros;

pub(super) use call::{ArgumentValue, Call, Shape};
pub(super) use combine::AT;
pub(super) use given::FORMULA_VARIABLES;
pub(super) use given::TABLE;
pub(super) use given::TRAINED;
pub use listing::{list, table};

/// Every family, in the order of the reference, those of old results last. A name may occur with
/// several versions.
pub const ALL: &[Family] = &[
    geo::GEO,
    anchored::SIGMOID,
    anchored::ANCHORED_POLY,
    given::EXPR,
    given::TABLE,
    combine::MIX,
    combine::MIX_LOG,
    combine::SPLICE,
    combine::AT,
    evq::EVQ_COSH,
    evq::EVQ_EXP,
    spaced::UNIFORM,
    spaced::LOG_UNIFORM,
    spaced::HARMONIC,
    spaced::NOPE,
    wrap::SCALE,
    wrap::CLIP,
    wrap::SORT,
    wrap::ATTN,
    wrap::RESONANCE,
    wrap::PARTIAL,
    ntk::PI,
    ntk::NTK,
    ntk::NTK_FIXED,
    ntk::NTK_MIXED,
    ntk::DYNAMIC_NTK,
    ntk::PART_NTK,
    yarn::NTK_BY_PARTS,
    yarn::YARN,
    yarn::LLAMA3,
    wrap::LONGROPE,
    band::BAND_PROFILE,
    zeros::P_ROPE,
    zeros::COPE,
    zeros::ZERO_LOW,
    zeros::FLOOR_ZERO,
    legacy::shapes::SIGMOID_1,
    legacy::shapes::SIGMOID_2,
    legacy::shapes::SIGMOID_3,
    legacy::shapes::SIGMOID_4,
    legacy::shapes::SIGMOID_5,
    legacy::shapes::POLY_1,
    legacy::shapes::POLY_2,
    legacy::shapes::POLY_3,
    legacy::shapes::HYBRID_1,
    legacy::shapes::HYBRID_2,
    legacy::shapes::HYBRID_3,
    legacy::shapes::ANCHORED_SIGMOID_1,
    legacy::shapes::ANCHORED_SIGMOID_2,
    legacy::shapes::ANCHORED_SIGMOID_3,
    legacy::shapes::ANCHORED_SIGMOID_4,
    legacy::shapes::ANCHORED_HYBRID_1,
    legacy::evq::COSH_1,
    legacy::evq::COSH_2,
    legacy::evq::HYBRID_1,
    legacy::evq::HYBRID_2,
    legacy::scaling::YARN_1,
    legacy::scaling::YARN_2,
    legacy::scaling::YARN_3,
    legacy::scaling::YARN_4,
    legacy::scaling::YARN_5,
    legacy::scaling::YARN_6,
    legacy::scaling::DYNAMIC_NTK_1,
];

/// Finds the `head_dim` of inner families from evaluated arguments.
type HeadDim = fn(&Call<'_>) -> Result<u32, super::Error>;

/// Finds the inner family to evaluate from evaluated arguments.
type Choose = fn(&Call<'_>) -> Result<usize, super::Error>;

/// A family of frequency sets: everything the language knows of it.
pub struct Family {
    /// The name in expressions.
    pub name: &'static str,
    /// Part of the canonical form. A family whose numbers change gets a new version, and the old
    /// one stays.
    pub version: u32,
    /// What it is, in one phrase.
    pub summary: &'static str,
    /// `inv_freq` of channel k, in the notation of REFERENCE.md.
    pub formula: &'static str,
    /// Where the formula is from.
    pub source: &'static str,
    /// Names of the families it takes, by position.
    pub inner: &'static [&'static str],
    /// Its parameters, in the order of the canonical form.
    pub params: &'static [Param],
    /// Whether further named numbers are taken, as variables of its formula.
    pub own_params: bool,
    /// Least number of channels: 2 if the formula divides by K - 1.
    pub min_channels: usize,
    /// Whether a frequency of zero is meant.
    pub declares_zeros: bool,
    /// Whether it is an error to leave out the version: a name that has meant several formulas.
    pub needs_version: bool,
    /// Its arguments as they are written, if they are no list of families and parameters.
    pub syntax: Option<&'static str>,
    /// Values of the context that it reads besides its arguments.
    pub reads: &'static [&'static str],
    /// `head_dim` of its inner families, if it is not the family's own.
    pub(super) inner_head_dim: Option<HeadDim>,
    /// Which one of its families it is, if it is one of them: the others are not evaluated, since
    /// what holds for another length need not make sense for this one.
    pub(super) choose: Option<Choose>,
    /// An expression that evaluates at `head_dim` 4, for the reference and the tests.
    pub example: &'static str,
    /// The frequencies.
    pub(super) eval: fn(&Call<'_>) -> Result<Shape, super::Error>,
}

/// A parameter of a family.
pub struct Param {
    /// The name in expressions.
    pub name: &'static str,
    /// What it means, in one phrase.
    pub doc: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its value if it is not given.
    pub default: Default,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A number of the interval, by name.
    Number(Interval),
    /// One of these words, by name.
    Choice(&'static [&'static str]),
    /// A list of finite numbers, by position.
    List,
    /// A list of finite numbers, by name.
    NamedList,
    /// A formula in quotes, by position.
    Formula,
}

impl Kind {
    /// Whether the argument is given by position, after the families, and has no name.
    pub(super) fn is_positional(self) -> bool {
        matches!(self, Self::List | Self::Formula)
    }
}

/// The value of a parameter that is not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// It must be given.
    Required,
    /// None: the family does without.
    Absent,
    /// This number.
    Number(f64),
    /// This word.
    Choice(&'static str),
    /// The number that this arithmetic over the context gives, written out in the canonical form.
    Computed(&'static str),
    /// The same, unless another parameter of this name is given, which makes it needless.
    ComputedUnless(&'static str, &'static str),
}

/// The numbers that a parameter takes; always finite ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    lower: Option<Bound>,
    upper: Option<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    at: f64,
    included: bool,
}

impl Interval {
    /// Any finite number.
    pub const ANY: Self = Self { lower: None, upper: None };
    /// Above zero.
    pub const POSITIVE: Self = Self::above(0.0);
    /// Zero and above.
    pub const NOT_NEGATIVE: Self =
        Self { lower: Some(Bound { at: 0.0, included: true }), upper: None };
    /// From 0 to 1, both included.
    pub const UNIT: Self = Self {
        lower: Some(Bound { at: 0.0, included: true }),
        upper: Some(Bound { at: 1.0, included: true }),
    };

    /// Above `at`.
    #[must_use]
    pub const fn above(at: f64) -> Self {
        Self { lower: Some(Bound { at, included: false }), upper: None }
    }

    /// From `at` on.
    #[must_use]
    pub const fn from(at: f64) -> Self {
        Self { lower: Some(Bound { at, included: true }), upper: None }
    }

    /// From `low` to `high`, both included.
    #[must_use]
    pub const fn between(low: f64, high: f64) -> Self {
        Self {
            lower: Some(Bound { at: low, included: true }),
            upper: Some(Bound { at: high, included: true }),
        }
    }

    /// Whether `value` is finite and inside.
    #[must_use]
    pub fn contains(self, value: f64) -> bool {
        let above = |bound: Bound| value > bound.at || (bound.included && value == bound.at);
        let below = |bound: Bound| value < bound.at || (bound.included && value == bound.at);
        value.is_finite() && self.lower.is_none_or(above) && self.upper.is_none_or(below)
    }
}

impl Param {
    /// A number that must be given.
    const fn required(name: &'static str, range: Interval, doc: &'static str) -> Self {
        Self { name, doc, kind: Kind::Number(range), default: Default::Required }
    }

    /// A number with a default.
    const fn number(name: &'static str, range: Interval, default: f64, doc: &'static str) -> Self {
        Self { name, doc, kind: Kind::Number(range), default: Default::Number(default) }
    }

    /// A number that may be left out.
    const fn optional(name: &'static str, range: Interval, doc: &'static str) -> Self {
        Self { name, doc, kind: Kind::Number(range), default: Default::Absent }
    }

    /// A number whose default depends on the context.
    const fn computed(
        name: &'static str,
        range: Interval,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, doc, kind: Kind::Number(range), default: Default::Computed(default) }
    }

    /// One of several words.
    const fn word(
        name: &'static str,
        words: &'static [&'static str],
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, doc, kind: Kind::Choice(words), default: Default::Choice(default) }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = |included, strict, or_equal| if included { or_equal } else { strict };
        match (self.lower, self.upper) {
            (None, None) => f.write_str("any number"),
            (Some(low), None) => write!(f, "{} {}", sign(low.included, ">", ">="), low.at),
            (None, Some(high)) => write!(f, "{} {}", sign(high.included, "<", "<="), high.at),
            (Some(low), Some(high)) => {
                let (above, below) =
                    (sign(low.included, ">", ">="), sign(high.included, "<", "<="));
                write!(f, "{above} {} and {below} {}", low.at, high.at)
            }
        }
    }
}

impl Family {
    /// What most entries have in common: version 1, no inner family, no parameters, positive
    /// frequencies for any number of channels.
    pub(super) const PLAIN: Self = Self {
        name: "",
        version: 1,
        summary: "",
        formula: "",
        source: "",
        inner: &[],
        params: &[],
        own_params: false,
        min_channels: 1,
        declares_zeros: false,
        needs_version: false,
        syntax: None,
        reads: &[],
        inner_head_dim: None,
        choose: None,
        example: "",
        eval: |_| unreachable!("an entry names its function"),
    };

    /// The parameter of a name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|param| param.name == name)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.version) == (other.name, other.version)
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// The versions of a family, the newest last; none if there is no such family.
pub(super) fn versions(name: &str) -> Vec<&'static Family> {
    let mut versions: Vec<_> = ALL.iter().filter(|family| family.name == name).collect();
    versions.sort_by_key(|family| family.version);
    versions
}

/// Whether there is a family of this name.
pub(super) fn is_name(name: &str) -> bool {
    ALL.iter().any(|family| family.name == name)
}

/// Every family's name, once.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let first = |i: &usize| ALL[..*i].iter().all(|earlier| earlier.name != ALL[*i].name);
    (0..ALL.len()).filter(first).map(|i| ALL[i].name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freq::{Context, ast::Function, canonical, evaluate, parse};

    #[test]
    fn entries_are_sound() {
        for (i, family) in ALL.iter().enumerate() {
            let name = family.name;
            assert!(ALL[..i].iter().all(|other| other != family), "{name}: twice");
            assert!(Function::named(name).is_none(), "{name}: also a function");
            assert!(family.version >= 1 && !family.formula.is_empty() && !family.source.is_empty());
            for (j, param) in family.params.iter().enumerate() {
                assert!(family.params[..j].iter().all(|other| other.name != param.name));
                assert!(!param.doc.is_empty(), "{name}.{}", param.name);
                match (param.kind, param.default) {
                    (Kind::Number(range), Default::Number(value)) => {
                        assert!(range.contains(value) && value >= 0.0, "{name}.{}", param.name);
                    }
                    (Kind::Choice(words), Default::Choice(word)) => assert!(words.contains(&word)),
                    (Kind::Number(_), Default::Computed(value)) => {
                        assert!(parse(&format!("scale(geo(), c={value})")).is_ok(), "{value}");
                    }
                    (Kind::Number(_), Default::ComputedUnless(value, other)) => {
                        assert!(parse(&format!("scale(geo(), c={value})")).is_ok(), "{value}");
                        assert!(family.param(other).is_some(), "{other}");
                    }
                    (Kind::Number(_) | Kind::Choice(_), Default::Required | Default::Absent)
                    | (Kind::List | Kind::NamedList | Kind::Formula, Default::Required) => {}
                    _ => panic!("{name}.{}: a default of another type", param.name),
                }
            }
        }
    }

    #[test]
    fn every_example_evaluates_and_survives_its_canonical_form() {
        for family in ALL {
            let expr = parse(family.example).expect(family.example);
            assert!(expr.family == family, "{}: not an example of it", family.example);
            assert_eq!(parse(&canonical(&expr)).unwrap(), expr, "{}", family.example);
            let context = Context {
                train_len: Some(2048),
                target_len: Some(8192),
                seq_len: Some(4096),
                ..Context::new(4)
            };
            let set = evaluate(family.example, &context).expect(family.example);
            assert_eq!(set.inv_freq.len(), if family.name == "partial" { 1 } else { 2 });
        }
    }

    #[test]
    fn too_few_channels_is_an_error_and_not_a_division_by_zero() {
        for family in ALL.iter().filter(|family| family.min_channels > 1) {
            let errors = evaluate(family.example, &Context::new(2)).unwrap_err();
            assert_eq!(errors[0].code, "freq::context", "{}", family.example);
        }
    }

    #[test]
    fn intervals_say_what_they_contain() {
        for (interval, text, inside, outside) in [
            (Interval::ANY, "any number", -5.0, f64::NAN),
            (Interval::above(1.0), "> 1", 1.5, 1.0),
            (Interval::NOT_NEGATIVE, ">= 0", 0.0, -1e-300),
            (Interval::UNIT, ">= 0 and <= 1", 1.0, 1.0 + f64::EPSILON),
            (Interval::POSITIVE, "> 0", 1e-300, 0.0),
        ] {
            assert_eq!(interval.to_string(), text);
            assert!(interval.contains(inside) && !interval.contains(outside), "{text}");
            assert!(!interval.contains(f64::INFINITY), "{text}");
        }
    }
}
