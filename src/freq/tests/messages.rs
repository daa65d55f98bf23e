//! Errors and checks: their codes, places, words and remedies.

use super::super::error::{CHECKS, CODES};
use super::*;

#[test]
fn errors_say_where_and_what() {
    for (source, code, place, message) in [
        ("geo(thta=10k)", "unknown-parameter", "thta", "unknown parameter `thta` of geo"),
        ("geo(theta=-1)", "range", "-1", "`theta` of geo must be > 1, not -1"),
        ("nosuch(theta=1)", "unknown-family", "nosuch", "unknown family `nosuch`"),
        ("mix(geo(), alpha=0.2)", "arity", "mix", "mix takes 2 families, and 1 is given"),
        ("geo() + geo()", "type", "geo() + geo()", "`+` works on numbers, not on families"),
        ("-geo()", "type", "-geo()", "`-` works on numbers, not on families"),
        ("geo(500k)", "positional", "500k", "the numbers of geo are given by name"),
        ("scale(geo(), 2)", "positional", "2", "the numbers of scale are given by name"),
        ("scale(geo())", "missing-parameter", "scale", "scale needs `c`: the constant"),
        ("geo(theta=2, theta=3)", "duplicate-parameter", "theta", "`theta` is given twice"),
        ("geo(grid=midd)", "unknown-value", "midd", "`midd` is no value of `grid`"),
        ("geo(grid=2)", "unknown-value", "2", "`grid` takes a word"),
        ("geo(theta=geo())", "type", "geo()", "geo is a family, and a number is needed"),
        ("geo(geo())", "arity", "geo()", "geo takes no family, and more is given"),
        ("2 + 3", "type", "2 + 3", "this is a number, and a family is needed"),
        ("\"k\"", "type", "\"k\"", "this is a string, and a family is needed"),
        ("geo@7()", "unknown-version", "7", "geo has no version 7"),
        ("at@2(len<=1: geo(), else: geo())", "unknown-version", "2", "at has no version 2"),
        ("at(len<=2: 3, else: geo())", "type", "3", "this is a number, and a family is needed"),
        (
            "geo(theta=at(len<=2: geo(), else: geo()))",
            "type",
            "at(len<=2: geo(), else: geo())",
            "a number is needed here",
        ),
        (
            "pi({trained}, factor=2)",
            "type",
            "{trained}",
            "`{trained}` is the trained set of a config",
        ),
        (
            "evq_cosh(theta=10k)",
            "context",
            "evq_cosh",
            "`train_len` is used, and no train_len is given",
        ),
        ("geo(theta=foo)", "unknown-name", "foo", "unknown name `foo`"),
        ("geo(theta=1/0)", "not-finite", "1/0", "the value of `theta` is infinite"),
        ("geo(theta=ln(0-1))", "not-finite", "ln(0-1)", "the value of `theta` is not a number"),
        (
            "geo(theta=train_len)",
            "context",
            "train_len",
            "`train_len` is used, and no train_len is given",
        ),
        ("geo(theta=max(1))", "arity", "max(1)", "max takes 2 numbers, and 1 is given"),
        ("geo(theta=exq(1))", "unknown-family", "exq", "unknown function `exq`"),
        ("table([])", "length", "[]", "the table has 0 values, and head_dim 64 needs 32"),
        ("table(values=[1])", "positional", "values", "`values` of table is given by position"),
        ("table(3)", "type", "3", "a list is needed here"),
        ("geo(theta)", "positional", "theta", "`theta` of geo needs a value"),
        ("geo(foo)", "unknown-name", "foo", "unknown name `foo`"),
        ("geo('a')", "arity", "'a'", "geo takes no family, and more is given"),
        ("expr('k', 3)", "positional", "3", "the numbers of expr are given by name"),
        ("mix(geo, geo())", "unknown-name", "geo", "unknown name `geo`"),
        ("table(geo())", "type", "geo()", "a list is needed here"),
        ("clip(geo())", "missing-parameter", "clip", "clip needs `min`, `max` or both"),
        ("clip(geo(), min=2, max=1)", "range", "2", "min = 2 is above max = 1"),
        ("let a = 2; geo()", "let", "a", "`a` is not used"),
        ("let geo = 2; geo()", "let", "geo", "`geo` is a family"),
        ("let a = 2; let a = 3; geo(theta=a)", "let", "a", "`a` is bound already"),
        (
            "sigmoid()",
            "missing-parameter",
            "sigmoid",
            "sigmoid needs `theta`: the base of the geometric set whose lowest frequency is the anchor",
        ),
    ] {
        let found = first(source);
        assert_eq!(
            found,
            (&*format!("freq::{code}"), place.to_owned(), message.to_owned()),
            "{source}"
        );
    }
}

#[test]
fn errors_in_a_formula_point_into_its_string() {
    for (source, code, place) in [
        ("expr(\"k/0\")", "not-finite", "k/0"),
        ("expr(\"2 + 1/k\")", "not-finite", "1/k"),
        ("expr(\"thta^(-u)\", theta=5)", "unknown-name", "thta"),
        ("expr(\"1 + \", theta=5)", "syntax", ""),
        ("expr(\"1 ? 2\")", "syntax", "?"),
        ("expr(\"2x\")", "number", "2x"),
        ("expr(\"geo()\")", "type", "geo()"),
        ("expr(\"foo(k)\")", "unknown-family", "foo"),
        ("let f = 'k/0'; expr(f)", "not-finite", "k/0"),
        ("expr(\"1/train_len\")", "context", "train_len"),
    ] {
        let (found, text, _) = first(source);
        assert_eq!((found, &*text), (&*format!("freq::{code}"), place), "{source}");
    }
    assert_eq!(first("expr('1', theta=5)").1, "theta");
    assert_eq!(first("expr('k+1', k=5)").1, "k");
    assert_eq!(first("expr()").0, "freq::missing-parameter");
}

#[test]
fn help_names_the_remedy() {
    for (source, help) in [
        ("geo(thta=10k)", "did you mean `theta`?"),
        ("goe()", "did you mean `geo`?"),
        ("anchored_ploy(theta=10k)", "did you mean `anchored_poly`?"),
        ("let base = 10k; geo(theta=bse)", "did you mean `base`?"),
        ("geo(grid=midd)", "did you mean `mid`?"),
        ("geo(theta=10K)", "did you mean `k` (1000)?"),
        ("2 * geo()", "a family times a number is written scale(a, c=2)"),
    ] {
        assert_eq!(errors(source)[0].help.as_deref(), Some(help), "{source}");
    }
    assert!(errors("geo() - geo()")[0].help.as_deref().unwrap().starts_with("mix(a, b"));
    assert_eq!(errors("mix(geo(), geo(), 0.5)")[0].label, "write `alpha=` before it");
}

#[test]
fn all_errors_of_an_expression_are_found() {
    let codes: Vec<_> = errors("mix(goe(theta=2), sigmoid(theta=10k, stepness=2), alpha=foo)")
        .iter()
        .map(|error| error.code)
        .collect();
    assert_eq!(codes, ["freq::unknown-family", "freq::unknown-parameter", "freq::unknown-name"]);
    let codes: Vec<_> = errors("mix(geo(theta=0.5), sigmoid(theta=10k, omf=-1), alpha=2)")
        .iter()
        .map(|error| error.code)
        .collect();
    assert_eq!(codes, ["freq::range"; 3]);
}

#[test]
fn every_error_code_is_given_by_some_expression() {
    let deep = format!("geo(theta={}2)", "-".repeat(100));
    let long = " ".repeat(70_000);
    let samples: [&str; 23] = [
        "((((",
        "geo(theta=2x)",
        &long,
        &deep,
        "let a = 2; geo()",
        "geo() + geo()",
        "nosuch()",
        "geo@2()",
        "foo",
        "geo(x=2)",
        "geo(grid=x)",
        "geo(theta=2,theta=2)",
        "scale(geo())",
        "mix(geo())",
        "geo(2)",
        "geo(theta=1)",
        "table([])",
        "table(file='x.json', sha256='')",
        "geo(theta=train_len)",
        "expr('k/0')",
        "expr('-1-k')",
        "expr('k')",
        "expr('7')",
    ];
    for ((code, _), sample) in CODES.iter().zip(samples) {
        assert_eq!(&errors(sample)[0].code, code, "{sample:.60}");
    }
    assert_eq!(CODES.len(), samples.len());
}

#[test]
fn every_check_code_is_given_by_some_set() {
    let context = Context { train_len: Some(2048), target_len: Some(16384), ..at(4) };
    let samples = [
        "table([4, 1])",
        "table([0.5, 1])",
        "table([1, 0.9995])",
        "table([1, 0.99999999999])",
        "table([1, 1e-60])",
        "attn(table([1, 0.5]), scale=2.5)",
        "geo(theta=500k)",
        "table([1, 1e-3])",
        "table([1, 1e-4])",
    ];
    for ((code, _), sample) in CHECKS.iter().zip(samples) {
        let codes = check_codes(&evaluate(sample, &context).unwrap());
        assert!(codes.contains(code), "{sample}: {codes:?}");
    }
    assert_eq!(CHECKS.len(), samples.len());
    assert!(evaluate("table([1, 0.5])", &context).unwrap().checks.is_empty());
}

#[test]
fn checks_count_and_name_channels() {
    let context = Context { train_len: Some(2048), target_len: Some(16384), ..at(64) };
    let set = evaluate("geo(theta=500k)", &context).unwrap();
    let messages: Vec<_> = set.checks.iter().map(|c| (c.severity, c.message.as_str())).collect();
    assert_eq!(
        messages,
        [
            (
                Severity::Info,
                "not exact where divisors are stored: 7 of 32 channels (first 2, last 26)"
            ),
            (Severity::Info, "period longer than train_len 2048: 17 of 32 channels (15 to 31)"),
            (Severity::Info, "period longer than target_len 16384: 12 of 32 channels (20 to 31)"),
        ]
    );
    assert_eq!(
        serde_json::to_string(&set.checks[1]).unwrap(),
        "{\"code\":\"freq::longer-than-train\",\"severity\":\"info\",\"message\":\"period longer than train_len 2048: 17 of 32 channels (15 to 31)\"}"
    );
    let poly = evaluate("anchored_poly(theta=100k)", &at(64)).unwrap();
    assert_eq!(check_codes(&poly), ["freq::near-duplicate", "freq::reciprocal"]);
    let same = evaluate("table([1, 0.5, 0.5, 0.5])", &at(8)).unwrap();
    assert!(
        same.checks.iter().any(|c| c.message == "the same f32 as another channel: 3 of 4 channels")
    );
}
