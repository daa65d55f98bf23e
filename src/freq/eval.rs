//! Expression and context to a frequency set.

use super::ast::{Argument, Expr, Scalar, Value};
use super::checks;
use super::context::{Context, RopeDtype};
use super::error::{CONTEXT, Error, Errors, NOT_FINITE, RANGE};
use super::families::{ArgumentValue, Call, Interval, Kind, Shape};
use super::files::{Files, NoFiles};
use super::parser::{self, MAX_DEPTH, MAX_SOURCE_BYTES};
use super::resolve;
use super::set::{FrequencySet, expr_id, vec_id};
use super::{canonical, error};

/// Most operations of one evaluation: far above what the largest tables of the largest head take.
const MAX_WORK: usize = 1 << 24;

/// Parses and types an expression that names no file.
///
/// # Errors
/// As [`parse_with`].
pub fn parse(source: &str) -> Result<Expr, Vec<Error>> {
    parse_with(source, &NoFiles)
}

/// Parses and types an expression; tables in files are read and become part of it.
///
/// # Errors
/// Every error that can be found without a context; after an error of grammar only that one.
pub fn parse_with(source: &str, files: &dyn Files) -> Result<Expr, Vec<Error>> {
    let (lets, body) = parser::program(source)?;
    let expr = resolve::resolve(&lets, &body, files, false)?;
    check_size(&expr)?;
    Ok(expr)
}

/// What is printed must be readable again.
pub(super) fn check_size(expr: &Expr) -> Result<(), Vec<Error>> {
    if expr.measure().0 > MAX_DEPTH {
        return Err(vec![parser::too_deep(expr.name_span.0.clone())]);
    }
    let length = canonical(expr).len();
    if length <= MAX_SOURCE_BYTES {
        return Ok(());
    }
    Err(vec![Error::new(
        error::TOO_LARGE,
        expr.name_span.0.clone(),
        format!("the expression is {length} bytes long in canonical form"),
        format!("at most {MAX_SOURCE_BYTES} bytes are taken"),
    )])
}

/// Parses an expression that names no file and evaluates it for a context.
///
/// # Errors
/// Those of [`parse`] and [`evaluate_expr`].
pub fn evaluate(source: &str, context: &Context) -> Result<FrequencySet, Vec<Error>> {
    evaluate_expr(&parse(source)?, context)
}

/// Evaluates an expression for a context.
///
/// # Errors
/// Arguments out of range, a context that lacks something, and frequencies that are not finite,
/// negative, zero where the family does not declare it, or above 2π.
pub fn evaluate_expr(expr: &Expr, context: &Context) -> Result<FrequencySet, Vec<Error>> {
    context.check(&expr.span.0).map_err(|error| vec![error])?;
    if expr.work(context.channels()) > MAX_WORK {
        return Err(vec![Error::new(
            error::TOO_LARGE,
            expr.name_span.0.clone(),
            format!("the expression costs too much at head_dim {}", context.head_dim),
            format!("more than {MAX_WORK} operations"),
        )]);
    }
    let mut evaluation =
        Evaluation { errors: Errors::default(), thetas: Vec::new(), grids: Vec::new() };
    let shape = evaluation.expr(expr, context);
    let Evaluation { mut errors, mut thetas, grids } = evaluation;
    if let Some(shape) = &shape {
        errors.extend(checks::faults(shape, expr));
    }
    errors.finish()?;
    let shape = shape.expect("without an error there is a set");
    thetas.sort_by(f64::total_cmp);
    thetas.dedup();
    let expression = canonical(expr);
    Ok(FrequencySet {
        head_dim: context.head_dim,
        expr_id: expr_id(&expression, expr, context),
        vec_id: vec_id(&shape.inv_freq, context.rope_dtype, shape.attention_scale),
        checks: checks::checks(&shape, expr, context),
        grids,
        rope_dtype: context.rope_dtype,
        theta: if let [theta] = thetas[..] { Some(theta) } else { None },
        thetas,
        depends_on_seq_len: expr.mentions("seq_len"),
        expression,
        inv_freq: shape.inv_freq,
        attention_scale: shape.attention_scale,
    })
}

/// The set of which two ids, (expr_id, vec_id), were written down, and what it was evaluated for. An expression in
/// canonical form has the digits; what it does not say is the rounding and the length aimed at: those that give the
/// ids. (Both: a set that no rounding changes has one vec_id, and its transforms may still differ.)
///
/// `None` if no rounding and none of `target_lens` gives them, for this `head_dim` and `train_len`.
#[must_use]
pub fn recover(
    source: &str,
    (expr_id, vec_id): (&str, &str),
    (head_dim, train_len): (u32, Option<u64>),
    target_lens: impl IntoIterator<Item = Option<u64>>,
) -> Option<(FrequencySet, Context)> {
    target_lens.into_iter().find_map(|target_len| {
        RopeDtype::NAMES.into_iter().find_map(|(rope_dtype, _)| {
            let context = Context { head_dim, train_len, target_len, seq_len: None, rope_dtype };
            let set = evaluate(source, &context).ok()?;
            (set.expr_id == expr_id && set.vec_id == vec_id).then_some((set, context))
        })
    })
}

struct Evaluation {
    errors: Errors,
    thetas: Vec<f64>,
    grids: Vec<&'static str>,
}

impl Evaluation {
    fn expr(&mut self, expr: &Expr, context: &Context) -> Option<Shape> {
        let family = expr.family;
        let before = self.errors.len();
        if context.channels() < family.min_channels {
            self.errors.push(Error::new(
                CONTEXT,
                expr.name_span.0.clone(),
                format!(
                    "{} divides by K - 1, and head_dim {} has K = {}",
                    family.name,
                    context.head_dim,
                    context.channels()
                ),
                format!("needs head_dim >= {}", 2 * family.min_channels),
            ));
        }
        let values: Vec<_> =
            expr.arguments.iter().map(|argument| self.argument(expr, context, argument)).collect();
        let mut call = None;
        let mut narrowed = None;
        let mut chosen = expr.inner.as_slice();
        if let Some(values) = values.into_iter().collect::<Option<_>>() {
            let own = Call { expr, context, inner: Vec::new(), values };
            let head_dim = family.inner_head_dim.map(|narrow| narrow(&own)).transpose();
            let choice = family.choose.map(|choose| choose(&own)).transpose();
            match (head_dim, choice) {
                (Ok(head_dim), Ok(choice)) => {
                    narrowed = head_dim.map(|head_dim| Context { head_dim, ..context.clone() });
                    chosen = choice.map_or(chosen, |i| &expr.inner[i..=i]);
                    call = Some(own);
                }
                (Err(error), _) | (_, Err(error)) => {
                    self.errors.push(error);
                    return None;
                }
            }
        } else if family.choose.is_some() {
            return None;
        }
        let inner: Vec<_> = chosen
            .iter()
            .map(|inner| self.expr(inner, narrowed.as_ref().unwrap_or(context)))
            .collect();
        if self.errors.len() > before {
            return None;
        }
        let mut call = call?;
        call.inner = inner.into_iter().collect::<Option<_>>()?;
        match (family.eval)(&call) {
            Ok(shape) => Some(shape),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    fn argument<'e>(
        &mut self,
        expr: &Expr,
        context: &Context,
        argument: &'e Argument,
    ) -> Option<ArgumentValue<'e>> {
        match &argument.value {
            Value::Number(scalar) => {
                let value = self.number(context, &argument.name, scalar)?;
                let interval = match expr.family.param(&argument.name).map(|param| param.kind) {
                    Some(Kind::Number(interval)) => interval,
                    _ => Interval::ANY,
                };
                if !interval.contains(value) {
                    self.errors.push(Error::new(
                        RANGE,
                        argument.span.0.clone(),
                        format!(
                            "`{}` of {} must be {interval}, not {}",
                            argument.name,
                            expr.family.name,
                            canonical::number(value)
                        ),
                        "out of range",
                    ));
                    return None;
                }
                if argument.name == "theta" {
                    self.thetas.push(value);
                }
                Some(ArgumentValue::Number(value))
            }
            Value::List(items) => {
                let values: Vec<_> =
                    items.iter().map(|item| self.number(context, &argument.name, item)).collect();
                values.into_iter().collect::<Option<_>>().map(ArgumentValue::List)
            }
            Value::Choice(word) => {
                if argument.name == "grid" && !self.grids.contains(word) {
                    self.grids.push(word);
                }
                Some(ArgumentValue::Choice(word))
            }
            Value::Formula(formula) => Some(ArgumentValue::Formula(formula)),
        }
    }

    /// A finite number of the context.
    fn number(&mut self, context: &Context, parameter: &str, scalar: &Scalar) -> Option<f64> {
        let before = self.errors.len();
        scalar.names(&mut |name, span| {
            if context.value(name).is_none() {
                self.errors.push(Context::unknown_length(name, span.clone()));
            }
        });
        if self.errors.len() > before {
            return None;
        }
        let lookup = |name: &str| context.value(name).unwrap_or(f64::NAN);
        let value = scalar.eval(&lookup);
        if !value.is_finite() {
            let what = if value.is_nan() { "not a number" } else { "infinite" };
            let culprit = scalar.culprit(&lookup).span.0.clone();
            let message = format!("the value of `{parameter}` is {what}");
            self.errors.push(Error::new(NOT_FINITE, culprit, message, "not finite"));
            return None;
        }
        Some(value)
    }
}
