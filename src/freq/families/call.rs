//! What the function of a family is given, and what it returns.

use std::ops::Range;

use super::super::Context;
use super::super::ast::{Expr, Scalar, Value};
use super::super::error::{Error, RANGE, TYPE};

/// A frequency set on its way through an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// `inv_freq` of the K channels.
    pub(in super::super) inv_freq: Vec<f64>,
    /// Factor on cos and sin.
    pub(in super::super) attention_scale: f64,
    /// The base and the grid, if it is a geometric set.
    pub(in super::super) geometric: Option<(f64, &'static str)>,
}

impl Shape {
    /// Frequencies only: an attention scale of 1.
    pub(super) fn plain(inv_freq: Vec<f64>) -> Self {
        Self { inv_freq, attention_scale: 1.0, geometric: None }
    }

    /// The same with other frequencies, channel by channel.
    pub(super) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        self.with(self.inv_freq.iter().map(|w| f(*w)).collect())
    }

    /// Other frequencies under the same attention scale.
    pub(super) fn with(&self, inv_freq: Vec<f64>) -> Self {
        Self { inv_freq, attention_scale: self.attention_scale, geometric: None }
    }
}

/// An evaluated argument.
#[derive(Debug)]
pub(in super::super) enum ArgumentValue<'a> {
    Number(f64),
    List(Vec<f64>),
    Choice(&'static str),
    Formula(&'a Scalar),
}

/// A call with evaluated arguments: types, ranges and completeness are checked.
pub(in super::super) struct Call<'a> {
    pub(in super::super) expr: &'a Expr,
    pub(in super::super) context: &'a Context,
    pub(in super::super) inner: Vec<Shape>,
    /// In the order of `expr.arguments`.
    pub(in super::super) values: Vec<ArgumentValue<'a>>,
}

impl Call<'_> {
    /// K, the number of channels.
    pub(super) fn channels(&self) -> usize {
        self.context.channels()
    }

    /// A frequency for each k.
    pub(super) fn per_channel(&self, f: impl Fn(f64) -> f64) -> Vec<f64> {
        (0..self.channels()).map(|k| f(k as f64)).collect()
    }

    fn value(&self, name: &str) -> Option<&ArgumentValue<'_>> {
        let at = self.expr.arguments.iter().position(|argument| argument.name == name)?;
        self.values.get(at)
    }

    /// A number that may be absent.
    pub(super) fn optional(&self, name: &str) -> Option<f64> {
        match self.value(name) {
            Some(ArgumentValue::Number(value)) => Some(*value),
            _ => None,
        }
    }

    /// A number that is required or has a default.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.optional(name).expect("a family reads numbers that its entry declares")
    }

    /// A choice that is required or has a default.
    pub(super) fn choice(&self, name: &str) -> &'static str {
        match self.value(name) {
            Some(ArgumentValue::Choice(word)) => word,
            _ => unreachable!("a family reads choices that its entry declares"),
        }
    }

    /// The list of a parameter.
    pub(super) fn list(&self, name: &str) -> &[f64] {
        match self.value(name) {
            Some(ArgumentValue::List(values)) => values,
            _ => unreachable!("a family reads lists that its entry declares"),
        }
    }

    /// The formula of a parameter.
    pub(super) fn formula(&self, name: &str) -> &Scalar {
        match self.value(name) {
            Some(ArgumentValue::Formula(formula)) => formula,
            _ => unreachable!("a family reads formulas that its entry declares"),
        }
    }

    /// Where the value of a parameter stands; the family's name if it is not given.
    pub(super) fn place(&self, name: &str) -> Range<usize> {
        let argument = self.expr.arguments.iter().find(|argument| argument.name == name);
        argument.map_or(&self.expr.name_span, |argument| &argument.span).0.clone()
    }

    /// Where item `i` of the list of a parameter stands.
    pub(super) fn place_in_list(&self, name: &str, i: usize) -> Range<usize> {
        let argument = self.expr.arguments.iter().find(|argument| argument.name == name);
        match argument.map(|argument| &argument.value) {
            Some(Value::List(items)) => items[i].span.0.clone(),
            _ => self.place(name),
        }
    }

    /// The training length, which the family reads.
    pub(super) fn train_len(&self) -> Result<f64, Error> {
        self.length("train_len", self.context.train_len)
    }

    /// The present length, which the family reads.
    pub(super) fn seq_len(&self) -> Result<f64, Error> {
        self.length("seq_len", self.context.seq_len)
    }

    fn length(&self, name: &str, length: Option<u64>) -> Result<f64, Error> {
        let place = || self.expr.name_span.0.clone();
        length.map(|l| l as f64).ok_or_else(|| Context::unknown_length(name, place()))
    }

    /// The base of the inner family, for what is defined on the channel index of a standard
    /// geometric set.
    pub(super) fn inner_theta(&self) -> Result<f64, Error> {
        if let Some((theta, "std")) = self.inner[0].geometric {
            return Ok(theta);
        }
        let name = self.expr.family.name;
        let inner = &self.expr.inner[0];
        Err(Error::new(
            TYPE,
            inner.span.0.clone(),
            format!(
                "{name} works on the base of geo(theta=...), and {} has none",
                inner.family.name
            ),
            "not geo on its standard grid",
        )
        .help("yarn(ramp=log_turns), ntk_by_parts(ramp=turns), llama3 and pi take any family"))
    }

    /// A whole number from 0 to `most`.
    pub(super) fn count(&self, name: &str, most: usize) -> Result<usize, Error> {
        let value = self.number(name);
        if value.fract() == 0.0 && value <= most as f64 {
            return Ok(value as usize);
        }
        let message = format!("`{name}` is a whole number of channels up to {most}, not {value}");
        Err(self.contradiction(name, message, "not such a number"))
    }

    /// Parameters that contradict each other.
    pub(super) fn contradiction(&self, name: &str, message: String, label: &str) -> Error {
        Error::new(RANGE, self.place(name), message, label)
    }
}
