//! Sets that are written out: by a formula or value by value.

use std::ops::Range;

use super::super::Context;
use super::super::ast::Scalar;
use super::super::error::{Error, LENGTH, NOT_FINITE, TYPE};
use super::{ArgumentValue, Call, Default, Family, Kind, Param, Shape};

/// The variables of a formula; `expr`'s own parameters come in addition.
pub(in super::super) const FORMULA_VARIABLES: [&str; 6] = ["k", "K", "d", "t", "u", "train_len"];

/// A formula over the channels.
pub(super) const EXPR: Family = Family {
    name: "expr",
    summary: "a formula in k, K, d, t, u, train_len and parameters of its own",
    formula: "formula(k)",
    source: "the expression itself",
    params: &[Param {
        name: "formula",
        doc: "scalar arithmetic in quotes",
        kind: Kind::Formula,
        default: Default::Required,
    }],
    own_params: true,
    example: "expr(\"theta^(-k/K)\", theta=500k)",
    eval: expr,
    ..Family::PLAIN
};

/// The frequencies, value by value.
pub(in super::super) const TABLE: Family = Family {
    name: "table",
    summary: "the K frequencies, value by value; zeros are taken as meant. From a file: a JSON list, or \
              an object with such a list as `inv_freq`; its sha256 is part of the expression",
    formula: "values[k]",
    source: "the expression itself",
    syntax: Some("[...] or file=\"PATH\", sha256=\"...\""),
    params: &[Param {
        name: "values",
        doc: "K numbers, radians a position",
        kind: Kind::List,
        default: Default::Required,
    }],
    declares_zeros: true,
    example: "table([1, 0.5])",
    eval: table,
    ..Family::PLAIN
};

/// The trained set, for which a transform stands until it is applied to one.
pub(in super::super) const TRAINED: Family = Family {
    name: super::super::lexer::TRAINED,
    summary: "the trained set of a config",
    eval: |call| {
        Err(Error::new(
            TYPE,
            call.expr.span.0.clone(),
            "a transform is evaluated for a trained set",
            "no set is given for it",
        ))
    },
    ..Family::PLAIN
};

/// The value of one of [`FORMULA_VARIABLES`] at channel `k`; NaN if the context lacks it.
fn variable(name: &str, k: f64, context: &Context) -> f64 {
    let channels = context.channels() as f64;
    match name {
        "k" => k,
        "K" => channels,
        "d" => f64::from(context.head_dim),
        "t" => k / (channels - 1.0),
        "u" => k / channels,
        "train_len" => context.train_len.map_or(f64::NAN, |length| length as f64),
        _ => f64::NAN,
    }
}

fn expr(call: &Call<'_>) -> Result<Shape, Error> {
    let formula = call.formula("formula");
    let own: Vec<(&str, f64)> = call
        .expr
        .arguments
        .iter()
        .zip(&call.values)
        .filter_map(|(argument, value)| match value {
            ArgumentValue::Number(value) => Some((argument.name.as_str(), *value)),
            _ => None,
        })
        .collect();
    let lookup = |name: &str, k: f64| {
        let found = own.iter().find(|(own, _)| *own == name);
        found.map_or_else(|| variable(name, k, call.context), |(_, value)| *value)
    };
    known_in(formula, call)?;
    let inv_freq = call.per_channel(|k| formula.eval(&|name| lookup(name, k)));
    if let Some(k) = inv_freq.iter().position(|w| !w.is_finite()) {
        let culprit = formula.culprit(&|name| lookup(name, k as f64));
        let what = if inv_freq[k].is_nan() { "not a number" } else { "infinite" };
        return Err(Error::new(
            NOT_FINITE,
            culprit.span.0.clone(),
            format!("the formula is {what} at k = {k}"),
            format!("not finite at k = {k}"),
        ));
    }
    Ok(Shape::plain(inv_freq))
}

/// `train_len` and `t` are not always there; every other name was checked with the types.
fn known_in(formula: &Scalar, call: &Call<'_>) -> Result<(), Error> {
    let mut missing: Option<(&str, &Range<usize>)> = None;
    formula.names(&mut |name, span| {
        let absent = match name {
            "train_len" => call.context.train_len.is_none(),
            "t" => call.channels() < 2,
            _ => false,
        };
        if absent && missing.is_none() {
            missing = Some((name, span));
        }
    });
    match missing {
        Some(("t", span)) => Err(Error::new(
            super::super::error::CONTEXT,
            span.clone(),
            "t = k/(K-1), and head_dim 2 has one channel",
            "needs head_dim >= 4",
        )),
        Some((name, span)) => Err(Context::unknown_length(name, span.clone())),
        None => Ok(()),
    }
}

fn table(call: &Call<'_>) -> Result<Shape, Error> {
    let values = call.list("values");
    if values.len() != call.channels() {
        return Err(Error::new(
            LENGTH,
            call.place("values"),
            format!(
                "the table has {} values, and head_dim {} needs {}",
                values.len(),
                call.context.head_dim,
                call.channels()
            ),
            format!("{} values", values.len()),
        )
        .help("one frequency for each pair of dimensions: head_dim / 2"));
    }
    Ok(Shape::plain(values.to_vec()))
}
