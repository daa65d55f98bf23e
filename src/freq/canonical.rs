//! The canonical form: one spelling for each expression, which parses back to it.
//!
//! `name@version(families, parameters in declared order, own parameters by name)`, `, ` between
//! arguments, no space around `=`; ` + - * / ` with spaces, `^` without; only the parentheses that
//! the precedences need; numbers as [`number`] writes them.

use super::ast::{Argument, Expr, Op, Scalar, ScalarKind, Value};
use super::families::{AT, Kind, TRAINED};

/// Writes the canonical form.
#[must_use]
pub fn canonical(expr: &Expr) -> String {
    let mut out = String::new();
    write_expr(&mut out, expr);
    out
}

/// The shortest decimal that reads back as the same double. Whole numbers have no `.0`; from
/// 1e16 on and below 1e-4 there is an exponent.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn write_expr(out: &mut String, expr: &Expr) {
    out.push_str(expr.family.name);
    if *expr.family == TRAINED {
        return;
    }
    out.push('@');
    out.push_str(&expr.family.version.to_string());
    if *expr.family == AT {
        write_rule(out, expr);
        return;
    }
    out.push('(');
    let mut first = true;
    for inner in &expr.inner {
        separate(out, &mut first);
        write_expr(out, inner);
    }
    for argument in &expr.arguments {
        separate(out, &mut first);
        let kind = expr.family.param(&argument.name).map(|param| param.kind);
        write_argument(out, argument, !kind.is_some_and(Kind::is_positional));
    }
    out.push(')');
}

/// `(len<=2048: a, else: b)`.
fn write_rule(out: &mut String, expr: &Expr) {
    let bounds = expr.arguments.iter().find_map(|argument| match &argument.value {
        Value::List(bounds) => Some(bounds.as_slice()),
        _ => None,
    });
    let mut bounds = bounds.unwrap_or_default().iter();
    out.push('(');
    for inner in &expr.inner {
        if let Some(bound) = bounds.next() {
            out.push_str("len<=");
            write_scalar(out, bound);
            out.push_str(": ");
            write_expr(out, inner);
            out.push_str(", ");
        } else {
            out.push_str("else: ");
            write_expr(out, inner);
        }
    }
    out.push(')');
}

fn separate(out: &mut String, first: &mut bool) {
    if !*first {
        out.push_str(", ");
    }
    *first = false;
}

/// The value of an argument, as the canonical form has it.
pub(super) fn argument_value(argument: &Argument) -> String {
    let mut out = String::new();
    write_argument(&mut out, argument, false);
    out
}

fn write_argument(out: &mut String, argument: &Argument, named: bool) {
    if named {
        out.push_str(&argument.name);
        out.push('=');
    }
    match &argument.value {
        Value::Number(scalar) => write_scalar(out, scalar),
        Value::Choice(word) => out.push_str(word),
        Value::List(items) => {
            out.push('[');
            let mut first = true;
            for item in items {
                separate(out, &mut first);
                write_scalar(out, item);
            }
            out.push(']');
        }
        // Formulas hold no strings, so no quote occurs in them.
        Value::Formula(formula) => {
            out.push('"');
            write_scalar(out, formula);
            out.push('"');
        }
    }
}

/// Binding power of what never needs parentheses.
const ATOM: u8 = u8::MAX;

fn power(scalar: &Scalar) -> u8 {
    match &scalar.kind {
        ScalarKind::Number(_) | ScalarKind::Name(_) | ScalarKind::Call(..) => ATOM,
        ScalarKind::Neg(_) => Op::NEG_POWER,
        ScalarKind::Binary(op, ..) => op.power(),
    }
}

fn write_scalar(out: &mut String, scalar: &Scalar) {
    match &scalar.kind {
        ScalarKind::Number(value) => out.push_str(&number(*value)),
        ScalarKind::Name(name) => out.push_str(name),
        ScalarKind::Neg(inner) => {
            out.push('-');
            write_operand(out, inner, Op::NEG_POWER);
        }
        ScalarKind::Binary(op, left, right) => {
            // `^` is to the right: on its left, a power needs parentheses too.
            let left_power = if *op == Op::Pow { op.power() + 1 } else { op.power() };
            write_operand(out, left, left_power);
            if *op == Op::Pow {
                out.push('^');
            } else {
                out.push(' ');
                out.push(op.symbol());
                out.push(' ');
            }
            write_operand(out, right, op.right_power());
        }
        ScalarKind::Call(function, arguments) => {
            out.push_str(function.name());
            out.push('(');
            let mut first = true;
            for argument in arguments {
                separate(out, &mut first);
                write_scalar(out, argument);
            }
            out.push(')');
        }
    }
}

fn write_operand(out: &mut String, operand: &Scalar, min_power: u8) {
    if power(operand) < min_power {
        out.push('(');
        write_scalar(out, operand);
        out.push(')');
    } else {
        write_scalar(out, operand);
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn of(source: &str) -> String {
        canonical(&parse(source).unwrap_or_else(|errors| panic!("{source}: {errors:?}")))
    }

    #[test]
    fn numbers_are_shortest_and_whole_ones_have_no_point() {
        for (value, text) in [
            (500_000.0, "500000"),
            (0.1, "0.1"),
            (0.0, "0"),
            (1e16, "1e16"),
            (1e-5, "1e-5"),
            (1e15, "1000000000000000"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            assert_eq!(number(value), text);
            assert_eq!(number(value).parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn spellings_of_one_expression_have_one_form() {
        let form = "geo@1(theta=500000, grid=std)";
        for source in [
            "geo(theta=500k)",
            "geo( theta = 5e5 )",
            "geo(theta=0.5M)",
            "geo@1(grid=std,theta=500e3,)",
            "let base = 500k; geo(theta=base)",
            "let g = geo(theta=(500000)); g",
        ] {
            assert_eq!(of(source), form, "{source}");
        }
        assert_eq!(of("geo()"), "geo@1(theta=10000, grid=std)");
    }

    #[test]
    fn defaults_are_filled_in_and_parameters_are_in_declared_order() {
        assert_eq!(
            of("sigmoid(omf=.3, theta=10k)"),
            "sigmoid@1(theta=10000, steepness=8, midpoint=0.5, omf=0.3)"
        );
        assert_eq!(
            of("mix(geo(theta=1k), clip(geo(), max=1/2))"),
            "mix@1(geo@1(theta=1000, grid=std), clip@1(geo@1(theta=10000, grid=std), max=1 / 2), alpha=0.2)"
        );
        assert_eq!(of("table([1,0.50, -(1-2)])"), "table@1([1, 0.5, -(1 - 2)])");
    }

    #[test]
    fn a_formula_is_written_in_canonical_spelling_and_its_parameters_by_name() {
        assert_eq!(
            of("expr('theta ^ ((-k)/K)*( b )', theta=500k, b=1.0)"),
            "expr@1(\"theta^(-k / K) * b\", b=1, theta=500000)"
        );
    }

    #[test]
    fn only_needed_parentheses_are_written() {
        for (formula, form) in [
            ("(k+1)*2", "(k + 1) * 2"),
            ("k+(1*2)", "k + 1 * 2"),
            ("k-(1-2)", "k - (1 - 2)"),
            ("(k-1)-2", "k - 1 - 2"),
            ("k/(1*2)", "k / (1 * 2)"),
            ("(k^2)^3", "(k^2)^3"),
            ("k^(2^3)", "k^2^3"),
            ("(-k)^2", "(-k)^2"),
            ("-(k^2)", "-k^2"),
            ("2^(-k)", "2^(-k)"),
            ("2^-k", "2^(-k)"),
            ("-(-k)", "--k"),
            ("-(k*2)", "-(k * 2)"),
            ("k*(-2)", "k * -2"),
            ("max(k,(u))", "max(k, u)"),
        ] {
            let source = format!("expr(\"{formula}\")");
            assert_eq!(of(&source), format!("expr@1(\"{form}\")"), "{formula}");
            assert_eq!(parse(&of(&source)).unwrap(), parse(&source).unwrap(), "{formula}");
        }
    }
}
