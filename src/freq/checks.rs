//! What can be said of a frequency set by looking at it.

use std::f64::consts::{PI, TAU};

use super::ast::Expr;
use super::context::Context;
use super::error::{
    ABOVE_PI, ALIASING, ATTENTION_SCALE, Check, Error, F32_COLLISION, F32_ZERO, LONGER_THAN_TARGET,
    LONGER_THAN_TRAIN, NEAR_DUPLICATE, NEGATIVE, NOT_FINITE, NOT_MONOTONE, RECIPROCAL, Severity,
    ZERO,
};
use super::families::Shape;

/// Neighbours whose ratio differs from 1 by less are near duplicates.
const NEAR: f64 = 1e-3;

/// What makes a set unusable: at most one error of each kind, each with its first channel.
pub(super) fn faults(shape: &Shape, expr: &Expr) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut find = |code, wrong: &dyn Fn(f64) -> bool, what: &str, help: Option<&str>| {
        let Some(k) = shape.inv_freq.iter().position(|w| wrong(*w)) else { return };
        let count = shape.inv_freq.iter().filter(|w| wrong(**w)).count();
        let mut error = Error::new(
            code,
            expr.span.0.clone(),
            format!("the frequency of channel {k} is {}: {what}", shape.inv_freq[k]),
            format!("{count} of {} channels", shape.inv_freq.len()),
        );
        error.help = help.map(str::to_owned);
        errors.push(error);
    };
    find(NOT_FINITE, &|w| !w.is_finite(), "not finite", None);
    find(NEGATIVE, &|w| w < 0.0, "negative", None);
    if !declares_zeros(expr) {
        let help = "zeros that are meant are written out with table([...])";
        find(ZERO, &|w| w == 0.0, "the channel would not rotate", Some(help));
    }
    let help = "above 2 pi a frequency acts like its value modulo 2 pi; scale or clip it";
    find(ALIASING, &|w| w.is_finite() && w > TAU, "above 2 pi", Some(help));
    errors
}

fn declares_zeros(expr: &Expr) -> bool {
    expr.family.declares_zeros || expr.inner.iter().any(declares_zeros)
}

/// What is suspicious or worth knowing of a set without [`faults`].
pub(super) fn checks(shape: &Shape, expr: &Expr, context: &Context) -> Vec<Check> {
    let w = &shape.inv_freq;
    let mut checks = Vec::new();
    let mut add = |code, severity, message: Option<String>| {
        if let Some(message) = message {
            checks.push(Check { code, severity, span: expr.span.0.clone(), message });
        }
    };
    let above = channels(w, |w| w > PI);
    add(ABOVE_PI, Severity::Warning, above.map(|found| format!("above pi: {found}")));

    let rises = pairs(w, |a, b| b > a);
    add(NOT_MONOTONE, Severity::Warning, rises.map(|p| format!("higher than the one before: {p}")));

    let near = pairs(w, |a, b| b > 0.0 && a >= b && a / b - 1.0 < NEAR);
    add(NEAR_DUPLICATE, Severity::Warning, near.map(|p| format!("closer than 0.1 %: {p}")));

    let round = |w: f64| context.rope_dtype.round(w);
    add(F32_COLLISION, Severity::Warning, collisions(w, round));

    let lost = channels(w, |w| w > 0.0 && round(w) == 0.0);
    add(F32_ZERO, Severity::Warning, lost.map(|found| format!("zero in f32: {found}")));

    let scale = shape.attention_scale;
    let far = (!(0.5..=2.0).contains(&scale))
        .then(|| format!("the attention scale {scale} is outside 0.5 to 2: logits get its square"));
    add(ATTENTION_SCALE, Severity::Warning, far);

    // Twice rounded, as software does that stores the reciprocal of the f32.
    let moved = channels(w, |w| 1.0 / (1.0 / round(w)) != round(w));
    let moved = moved.map(|found| format!("not exact where divisors are stored: {found}"));
    add(RECIPROCAL, Severity::Info, moved);

    for (code, name, length) in [
        (LONGER_THAN_TRAIN, "train_len", context.train_len),
        (LONGER_THAN_TARGET, "target_len", context.target_len),
    ] {
        let message = length.and_then(|length| {
            let found = channels(w, |w| TAU / w > length as f64)?;
            Some(format!("period longer than {name} {length}: {found}"))
        });
        add(code, Severity::Info, message);
    }
    checks
}

/// "3 of 32 channels (29 to 31)", or nothing if there are none.
fn channels(w: &[f64], found: impl Fn(f64) -> bool) -> Option<String> {
    let found: Vec<usize> = (0..w.len()).filter(|k| found(w[*k])).collect();
    let (first, last) = (found.first()?, found.last()?);
    let which = match last - first + 1 {
        1 => format!("{first}"),
        span if span == found.len() => format!("{first} to {last}"),
        _ => format!("first {first}, last {last}"),
    };
    Some(format!("{} of {} channels ({which})", found.len(), w.len()))
}

/// "3 of 31 neighbours (first: channels 4 and 5)", or nothing if there are none.
fn pairs(w: &[f64], found: impl Fn(f64, f64) -> bool) -> Option<String> {
    let mut found = (1..w.len()).filter(|k| found(w[k - 1], w[*k]));
    let first = found.next()?;
    let count = found.count() + 1;
    Some(format!(
        "{count} of {} neighbours (first: channels {} and {first})",
        w.len() - 1,
        first - 1
    ))
}

/// Channels other than zeros that have the f32 frequency of another.
fn collisions(w: &[f64], round: impl Fn(f64) -> f32) -> Option<String> {
    let mut bits: Vec<u32> =
        w.iter().map(|w| round(*w)).filter(|w| *w != 0.0).map(f32::to_bits).collect();
    bits.sort_unstable();
    let shared: usize =
        bits.chunk_by(|a, b| a == b).map(<[u32]>::len).filter(|count| *count > 1).sum();
    (shared > 0)
        .then(|| format!("the same f32 as another channel: {shared} of {} channels", w.len()))
}
