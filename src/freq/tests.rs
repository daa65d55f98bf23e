//! Tests of the language as a whole: golden vectors, ids, messages, properties.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::error::{CHECKS, CODES};
use super::{Context, Error, FrequencySet, RopeDtype, Severity, canonical, evaluate, parse};

fn at(head_dim: u32) -> Context {
    Context::new(head_dim)
}

fn set(source: &str, head_dim: u32) -> FrequencySet {
    evaluate(source, &at(head_dim)).unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
}

fn errors(source: &str) -> Vec<Error> {
    evaluate(source, &at(64)).expect_err(source)
}

/// The first error as `code`, underlined text, message.
fn first(source: &str) -> (&'static str, String, String) {
    let error = errors(source).remove(0);
    (error.code, source[error.span].to_owned(), error.message)
}

fn check_codes(set: &FrequencySet) -> Vec<&'static str> {
    set.checks.iter().map(|check| check.code).collect()
}

#[test]
fn golden_vectors_agree_to_1e_12() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/freq/golden.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: ../shared/freq/golden.json is not there");
        return;
    };
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut count = 0;
    for case in golden["cases"].as_array().unwrap() {
        let family = case["family"].as_str().unwrap();
        assert!(super::families::ALL.iter().any(|known| known.name == family), "no {family}");
        let length = |name: &str| case["lengths"][name].as_u64();
        let context = Context {
            head_dim: u32::try_from(case["head_dim"].as_u64().unwrap()).unwrap(),
            train_len: length("train_len"),
            target_len: length("target_len"),
            seq_len: length("seq_len"),
            rope_dtype: RopeDtype::F32,
        };
        let source = case["expr"].as_str().unwrap();
        let set = evaluate(source, &context).unwrap_or_else(|e| panic!("{source}: {e:?}"));
        let expected: Vec<f64> =
            case["inv_freq"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
        assert_eq!(set.inv_freq.len(), expected.len(), "{source}");
        for (k, (w, expected)) in set.inv_freq.iter().zip(&expected).enumerate() {
            let near =
                if *expected == 0.0 { *w == 0.0 } else { (w / expected - 1.0).abs() <= 1e-12 };
            assert!(near, "{source} k={k}: {w} and {expected}");
        }
        let bits: Vec<String> =
            set.inv_freq_f32().iter().map(|w| format!("{:08x}", w.to_bits())).collect();
        let expected = case["inv_freq_f32_bits"].as_array().unwrap();
        assert!(expected.iter().zip(&bits).all(|(e, b)| e.as_str() == Some(b)), "{source}: f32");
        let expected = case["attention_scale"].as_f64().unwrap();
        assert!((set.attention_scale / expected - 1.0).abs() <= 1e-12, "{source}: scale");
        count += 1;
    }
    assert!(count >= 122, "only {count} cases");
}

#[test]
fn the_ids_are_these() {
    let context = Context { train_len: Some(2048), ..at(64) };
    let set = evaluate("geo(theta=500k)", &context).unwrap();
    assert_eq!(set.expression, "geo@1(theta=500000, grid=std)");
    let text = "xpfreq/1\ngeo@1(theta=500000, grid=std)\nhead_dim=64\ntrain_len=2048";
    assert_eq!(set.expr_id, blake3::hash(text.as_bytes()).to_hex().as_str());
    // Fixed: a change of these is a change of every train id.
    assert_eq!(set.expr_id, "04d43e8bd5665fb878c5f23f601f57aa459945a59eaf923bc0842fdbfa01a5f3");
    assert_eq!(set.vec_id, "3ec199c2dffe8d45c60e12ba1fec1b99b7769315f545cfc947f4ecd241e4fab7");
    let mixed = "mix(geo(theta=500k), anchored_poly(theta=500k, p=3.9, omf=0.3), alpha=0.2)";
    assert_eq!(
        evaluate(mixed, &context).unwrap().vec_id,
        "983351bb274045f9ced5e6966d676a7b39f7e6463605f5ab037f08769a4ef686"
    );
}

#[test]
fn an_absent_train_len_is_written_none_and_target_len_only_if_used() {
    let id = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let form = "geo@1(theta=10000, grid=std)";
    assert_eq!(
        set("geo()", 64).expr_id,
        id(&format!("xpfreq/1\n{form}\nhead_dim=64\ntrain_len=none"))
    );
    let context = Context { target_len: Some(16384), ..at(64) };
    assert_eq!(evaluate("geo()", &context).unwrap().expr_id, set("geo()", 64).expr_id);
    let used = evaluate("geo(theta=target_len)", &context).unwrap();
    let text = "xpfreq/1\ngeo@1(theta=target_len, grid=std)\nhead_dim=64\ntrain_len=none\ntarget_len=16384";
    assert_eq!(used.expr_id, id(text));
}

#[test]
fn vec_id_hashes_the_f32_bytes_and_the_scale() {
    let mut bytes = Vec::new();
    bytes.extend(1.0f32.to_le_bytes());
    bytes.extend(0.1f32.to_le_bytes());
    bytes.extend(1.0f64.to_le_bytes());
    assert_eq!(set("table([1, 0.1])", 4).vec_id, blake3::hash(&bytes).to_hex().as_str());
    // Equal as f32, different as expressions.
    let (a, b) = (set("geo()", 64), set("expr('theta^(-u)', theta=10k)", 64));
    assert_eq!(a.vec_id, b.vec_id);
    assert_ne!(a.expr_id, b.expr_id);
}

#[test]
fn families_do_what_they_say() {
    assert_eq!(set("geo(theta=16)", 8).inv_freq, [1.0, 0.5, 0.25, 0.125]);
    assert_eq!(set("geo(theta=8, grid=ends)", 8).inv_freq, [1.0, 0.5, 0.25, 0.125]);
    assert_eq!(set("geo(theta=256, grid=mid)", 8).inv_freq, [0.5, 0.125, 0.03125, 1.0 / 128.0]);
    assert_eq!(set("mix(geo(theta=16), table([2,2,2,2]), alpha=0.5)", 8).inv_freq[1], 1.25);
    let w = set("mix_log(table([1, 0.25]), table([1, 0.0625]), alpha=0.5)", 4).inv_freq;
    assert!((w[1] - 0.125).abs() < 1e-15, "{w:?}");
    assert_eq!(set("scale(geo(theta=16), c=1/4)", 8).inv_freq, [0.25, 0.125, 0.0625, 0.03125]);
    assert_eq!(set("clip(geo(theta=16), min=.2, max=.5)", 8).inv_freq, [0.5, 0.5, 0.25, 0.2]);
    assert_eq!(set("clip(geo(theta=16), min=.2)", 8).inv_freq, [1.0, 0.5, 0.25, 0.2]);
    assert_eq!(set("expr('1/(k+d)/K')", 4).inv_freq, [0.125, 0.1]);
    let context = Context { train_len: Some(100), ..at(4) };
    assert_eq!(evaluate("expr('k/train_len + t')", &context).unwrap_err()[0].code, "freq::zero");
    assert_eq!(evaluate("expr('1 - (k/train_len)')", &context).unwrap().inv_freq, [1.0, 0.99]);
    let by_context = evaluate("geo(theta=train_len^2/head_dim)", &context).unwrap();
    assert_eq!(by_context.theta, Some(2500.0));
}

#[test]
fn thetas_are_collected_from_everywhere() {
    let set = set(
        "let t = 10k; mix(scale(geo(theta=500k), c=1), mix_log(sigmoid(theta=t), expr('q^(-u)*theta/theta', q=2, theta=t)))",
        64,
    );
    assert_eq!((set.theta, set.thetas), (None, vec![1e4, 5e5]));
    let one = evaluate("mix(geo(), sigmoid(theta=10k))", &at(64)).unwrap();
    assert_eq!((one.theta, one.thetas), (Some(1e4), vec![1e4]));
    let none = evaluate("table([1, 0.5])", &at(4)).unwrap();
    assert_eq!((none.theta, none.thetas), (None, vec![]));
}

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

#[test]
fn zeros_are_taken_where_they_are_declared() {
    assert_eq!(set("table([1, 0])", 4).inv_freq, [1.0, 0.0]);
    assert_eq!(set("scale(table([1, 0]), c=0.5)", 4).inv_freq, [0.5, 0.0]);
    assert_eq!(set("mix(geo(theta=4), table([0, 0]), alpha=1)", 4).inv_freq, [0.0, 0.0]);
    let zero = evaluate("mix_log(table([1, 0]), geo())", &at(4)).unwrap_err();
    assert_eq!(zero[0].code, "freq::type");
    assert_eq!(evaluate("table([0, -1])", &at(4)).unwrap_err()[0].code, "freq::negative");
}

#[test]
fn a_head_dim_that_does_not_serve_is_an_error() {
    for head_dim in [0, 1, 63, 4098, u32::MAX] {
        let errors = evaluate("geo()", &at(head_dim)).unwrap_err();
        assert_eq!(errors[0].code, "freq::context");
    }
    assert_eq!(set("geo()", 2).inv_freq, [1.0]);
    assert_eq!(evaluate("geo(grid=ends)", &at(2)).unwrap_err()[0].code, "freq::context");
    assert_eq!(evaluate("expr('1 + t')", &at(2)).unwrap_err()[0].code, "freq::context");
    assert_eq!(set("geo()", super::MAX_HEAD_DIM).inv_freq.len(), 2048);
}

#[test]
fn growth_through_lets_is_bounded() {
    let chain = |first: &str, length: usize, next: &dyn Fn(usize) -> String| {
        let lets = (1..length).map(next).collect::<Vec<_>>().concat();
        format!("let a0 = {first};{lets} geo(theta=a{})", length - 1)
    };
    let doubled = |i: usize| format!("let a{i} = a{} + a{};", i - 1, i - 1);
    assert_eq!(first(&chain("1 + 1", 60, &doubled)).0, "freq::too-large");
    let negated = |i: usize| format!("let a{i} = -a{};", i - 1);
    assert_eq!(first(&chain("1", 3000, &negated)).0, "freq::too-deep");
    // 64 KiB of source whose canonical form is longer.
    let list = "1G,".repeat(4000);
    let lists = format!("let t = table([{list}]); mix(mix(t,t), mix(t,t))");
    assert_eq!(first(&lists).0, "freq::too-large");
    let many = (0..100).map(|i| format!("p{i}=1,")).collect::<Vec<_>>().concat();
    assert_eq!(first(&format!("expr('k', {many})")).0, "freq::too-large");
}

#[test]
fn the_deepest_expression_survives_its_canonical_form() {
    let mut formula = String::from("k");
    for _ in 0..31 {
        formula = format!("(-({formula}))^2");
    }
    let mut source = format!("expr('1/(2+{formula})')");
    // A call is two levels (itself and its parameters), a wrapper one more each.
    for _ in 0..62 {
        source = format!("scale({source}, c=1)");
    }
    let error = parse(&source).map(|expr| assert_eq!(parse(&canonical(&expr)).unwrap(), expr));
    assert!(error.is_err(), "1/(2+x) makes the formula 66 levels deep");
    let source = source.replace("1/(2+", "(").replace("c=1)", "c=1,)");
    let expr = parse(&source).unwrap();
    assert_eq!(parse(&canonical(&expr)).unwrap(), expr);
    assert_eq!(first(&format!("scale({source}, c=1)")).0, "freq::too-deep");
    let lets = format!("let a = {source}; scale(a, c=1)");
    assert_eq!(first(&lets).0, "freq::too-deep");
}

/// Source text of numbers, with names of the scope given.
fn number_source(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0u32..2000).prop_map(|n| n.to_string()),
        (0.0f64..10.0).prop_map(|n| format!("{n:?}")),
        (1u32..900).prop_map(|n| format!("{n}k")),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(|x| format!("{:e}", x.abs())),
        prop::sample::select(names).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(&["+", "-", "*", "/", "^"][..]), inner.clone())
                .prop_map(|(a, op, b)| format!("({a}){op}{b}")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (prop::sample::select(&["exp", "ln", "tanh"][..]), inner.clone())
                .prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("clamp({a}, {b},{c})")),
        ]
    })
}

fn family_source() -> impl Strategy<Value = String> {
    let number = || number_source(&["head_dim", "train_len", "target_len"]);
    let leaf = prop_oneof![
        number().prop_map(|n| format!("geo(theta={n})")),
        Just("geo(grid=mid)".to_owned()),
        (number(), number()).prop_map(|(a, b)| format!("sigmoid(omf={a},theta={b})")),
        (number(), number()).prop_map(|(a, b)| format!("anchored_poly( p={a}, theta = {b} )")),
        prop::collection::vec(number(), 0..4).prop_map(|l| format!("table([{}])", l.join(","))),
        (number_source(&["k", "K", "u", "t", "d", "a"]), number())
            .prop_map(|(f, a)| format!("expr('a*({f})', a={a})")),
    ];
    leaf.prop_recursive(3, 8, 2, move |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), number())
                .prop_map(|(a, b, n)| format!("mix({a}, {b}, alpha={n})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("mix_log({a}, {b})")),
            (inner.clone(), number()).prop_map(|(a, n)| format!("scale({a}, c={n})")),
            (inner.clone(), number()).prop_map(|(a, n)| format!("clip({a}, max={n})")),
            (inner.clone(), inner.clone(), number())
                .prop_map(|(a, b, n)| format!("splice({a}, {b}, at={n})")),
            (inner.clone(), number(), prop::sample::select(&["index", "turns", "log_turns"][..]))
                .prop_map(|(a, n, r)| format!("yarn({a}, factor={n}, ramp={r}, truncate=false)")),
            (inner.clone(), number()).prop_map(|(a, n)| format!("llama3({a}, factor={n})")),
            (inner.clone(), number()).prop_map(|(a, n)| format!("part_ntk({a}, factor={n})")),
            (inner.clone(), number()).prop_map(|(a, n)| format!("partial({a}, pct={n})")),
            (inner.clone(), number()).prop_map(|(a, n)| format!("cope({a}, n={n})")),
            (inner.clone(), number()).prop_map(|(a, n)| format!("attn(sort({a}), scale={n})")),
            (inner.clone(), number(), number())
                .prop_map(|(a, m, n)| format!("longrope({a}, short=[{m}], long=[{n}, 1])")),
            (inner.clone(), inner.clone(), number())
                .prop_map(|(a, b, n)| format!("at(len<={n}: {a},len <= 2*{n}:{b}, else: {a})")),
            (inner.clone(), number(), number())
                .prop_map(|(a, m, n)| format!("mix(evq_cosh(theta={m}), {a}, alpha={n})")),
            inner.clone().prop_map(|a| format!("resonance(floor_zero(p_rope({a})))")),
            inner.prop_map(|a| format!("let x = {a}; x")).prop_filter("lets are outermost", |s| {
                s.matches("let").count() == 1 && !s.contains("(let")
            }),
        ]
    })
    .prop_filter("lets are outermost", |s| !s[1..].contains("let x"))
}

/// Any text is either evaluated or refused with places inside it.
fn never_panics(source: &str) {
    for head_dim in [2, 4, 64] {
        let context = Context { train_len: Some(64), seq_len: Some(99), ..at(head_dim) };
        match evaluate(source, &context) {
            Ok(set) => {
                assert!((1..=head_dim as usize / 2).contains(&set.inv_freq.len()));
                assert!(set.inv_freq.iter().all(|w| w.is_finite() && *w >= 0.0));
            }
            Err(errors) => {
                assert!(!errors.is_empty());
                for error in errors {
                    assert!(error.span.start <= error.span.end && error.span.end <= source.len());
                    assert!(source.is_char_boundary(error.span.start));
                    assert!(CODES.iter().any(|(code, _)| *code == error.code));
                    assert!(!error.message.is_empty() && !error.label.is_empty());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(source in "\\PC{0,60}|[a-z0-9.@=,;()\\[\\]\"'+*/^ -]{0,80}") {
        never_panics(&source);
    }

    #[test]
    fn token_soup_never_panics(tokens in prop::collection::vec(prop::sample::select(&[
        "let", "a", "=", ";", "geo", "mix", "table", "expr", "scale", "clip", "(", ")", "[", "]", ",",
        "theta", "alpha", "c", "grid", "mid", "at", "len", "<=", ":", "else", "{trained}", "+", "-", "*", "/", "^", "@", "1", "0", "500k", "1e308",
        "\"k/K\"", "'theta^(-u)'", "k", "exp", "clamp", "train_len", "head_dim", "\"", "§",
    ][..]), 0..30)) {
        never_panics(&tokens.concat());
        never_panics(&tokens.join(" "));
    }

    #[test]
    fn changed_expressions_never_panic(source in family_source(), at in any::<prop::sample::Index>(), c in any::<char>()) {
        let chars: Vec<char> = source.chars().collect();
        let at = at.index(chars.len());
        let mut changed = chars.clone();
        changed[at] = c;
        never_panics(&changed.iter().collect::<String>());
        never_panics(&chars[..at].iter().collect::<String>());
    }

    #[test]
    fn print_then_parse_is_the_identity(source in family_source()) {
        let expr = parse(&source).map_err(|e| TestCaseError::fail(format!("{source}: {e:?}")))?;
        let form = canonical(&expr);
        let again = parse(&form).map_err(|e| TestCaseError::fail(format!("{form}: {e:?}")))?;
        prop_assert_eq!(&again, &expr);
        prop_assert_eq!(canonical(&again), form);
    }

    #[test]
    fn canonical_form_has_the_same_numbers(source in family_source()) {
        let context = Context {
            train_len: Some(64),
            target_len: Some(640),
            seq_len: Some(320),
            ..at(8)
        };
        let form = canonical(&parse(&source).unwrap());
        let (a, b) = (evaluate(&source, &context), evaluate(&form, &context));
        match (a, b) {
            (Ok(a), Ok(b)) => {
                prop_assert_eq!(a.inv_freq, b.inv_freq);
                prop_assert_eq!((a.expr_id, a.vec_id, a.thetas), (b.expr_id, b.vec_id, b.thetas));
            }
            (Err(a), Err(b)) => prop_assert_eq!(
                a.iter().map(|e| e.code).collect::<std::collections::BTreeSet<_>>(),
                b.iter().map(|e| e.code).collect::<std::collections::BTreeSet<_>>()
            ),
            (a, b) => prop_assert!(false, "{source} and {form}: {a:?}, {b:?}"),
        }
    }
}

#[test]
fn attention_scales_multiply_and_index_ramps_need_a_base() {
    let context = Context { train_len: Some(2048), ..at(64) };
    let scale = |source: &str| evaluate(source, &context).unwrap().attention_scale;
    assert_eq!(scale("attn(attn(geo(), scale=1.5), scale=2)"), 3.0);
    assert_eq!(scale("yarn(attn(geo(), scale=2), factor=4, attention_factor=3)"), 6.0);
    for source in [
        "ntk(anchored_poly(theta=10k), factor=2)",
        "yarn(sigmoid(theta=10k), factor=2, ramp=index)",
        "ntk_fixed(geo(grid=mid), factor=2)",
        "part_ntk(scale(geo(), c=0.5), factor=2)",
    ] {
        let error = evaluate(source, &context).unwrap_err().remove(0);
        assert_eq!(error.code, "freq::type", "{source}");
        assert!(error.help.unwrap().contains("log_turns"));
    }
    let turns = evaluate("yarn(sigmoid(theta=10k), factor=2)", &context);
    assert!(turns.is_ok());
}

#[test]
fn a_set_that_depends_on_the_present_length_says_so() {
    let context = Context { train_len: Some(64), seq_len: Some(256), ..at(64) };
    let set = |source: &str| evaluate(source, &context).unwrap();
    assert!(!set("geo()").depends_on_seq_len);
    assert!(set("dynamic_ntk(geo(), factor=2)").depends_on_seq_len);
    let own = set("pi(geo(), factor=max(1, seq_len/train_len))");
    assert!(own.depends_on_seq_len);
    assert_eq!(own.inv_freq, set("pi(geo(), factor=4)").inv_freq);
    let longer = Context { seq_len: Some(512), ..context.clone() };
    let other = evaluate("dynamic_ntk(geo(), factor=2)", &longer).unwrap();
    assert_ne!(other.expr_id, set("dynamic_ntk(geo(), factor=2)").expr_id);
    let error = errors("dynamic_ntk(geo(), factor=2)").remove(0);
    assert_eq!(error.code, "freq::context");
}

#[test]
fn partial_is_the_set_of_a_smaller_head() {
    assert_eq!(
        set("partial(geo(theta=10k), pct=0.25)", 64).inv_freq,
        set("geo(theta=10k)", 16).inv_freq
    );
    assert_eq!(errors("partial(geo(), pct=0.05)")[0].code, "freq::range");
    let mixed = "mix(partial(geo(), pct=0.5), geo())";
    assert_eq!(errors(mixed)[0].code, "freq::type");
}

#[test]
fn a_rule_by_length_takes_the_first_length_that_holds() {
    let rule =
        "at(len<=2*train_len: geo(theta=10k), len<=8k: geo(theta=20k), else: attn(geo(), scale=2))";
    let with = |seq_len| Context { train_len: Some(2048), seq_len: Some(seq_len), ..at(64) };
    let set = |seq_len| evaluate(rule, &with(seq_len)).unwrap();
    for (seq_len, same) in [
        (1, "geo(theta=10k)"),
        (4096, "geo(theta=10k)"),
        (4097, "geo(theta=20k)"),
        (8000, "geo(theta=20k)"),
        (8001, "attn(geo(), scale=2)"),
    ] {
        let other = evaluate(same, &with(seq_len)).unwrap();
        assert_eq!(set(seq_len).vec_id, other.vec_id, "{seq_len}");
    }
    assert!(set(1).depends_on_seq_len);
    assert_eq!((set(1).thetas, set(5000).thetas), (vec![1e4], vec![2e4]));
    assert_eq!(
        set(1).expression,
        "at@1(len<=2 * train_len: geo@1(theta=10000, grid=std), len<=8000: geo@1(theta=20000, \
         grid=std), else: attn@1(geo@1(theta=10000, grid=std), scale=2))"
    );
    let trained = Context { seq_len: None, ..with(1) };
    assert_eq!(evaluate(rule, &trained).unwrap_err()[0].code, "freq::context");
    // What holds for another length need not make sense for this one.
    let other = "at(len<=2048: geo(), else: yarn(geo(), factor=seq_len/train_len))";
    assert!(evaluate(other, &with(1)).is_ok());
    for (source, code, place) in [
        ("at(len<=0.5: geo(), else: geo())", "freq::range", "0.5"),
        ("at(len<=7: geo(), len<=7: geo(), else: geo())", "freq::range", "7"),
        ("at(len<=1: geo(theta=0), else: geo())", "freq::range", "0"),
    ] {
        let error = evaluate(source, &with(1)).unwrap_err().remove(0);
        assert_eq!((error.code, &source[error.span]), (code, place), "{source}");
    }
}

#[test]
fn rounding_through_the_reciprocal_is_a_fixed_point_of_it() {
    let context = Context { rope_dtype: RopeDtype::F32Recip, train_len: Some(2048), ..at(64) };
    let source = "mix(geo(theta=500k), anchored_poly(theta=500k), alpha=0.2)";
    let (recip, plain) = (
        evaluate(source, &context).unwrap(),
        evaluate(source, &Context { rope_dtype: RopeDtype::F32, ..context.clone() }).unwrap(),
    );
    assert_eq!(recip.inv_freq, plain.inv_freq);
    let (a, b) = (recip.inv_freq_f32(), plain.inv_freq_f32());
    assert_ne!(a, b);
    for (a, b) in a.iter().zip(&b) {
        assert!(a.to_bits().abs_diff(b.to_bits()) <= 1, "{a} and {b}");
        // What software that stores the reciprocal computes from it.
        assert_eq!(1.0 / (1.0 / a), *a);
    }
    assert_ne!(recip.vec_id, plain.vec_id);
    let text = format!(
        "xpfreq/1\n{}\nhead_dim=64\ntrain_len=2048\nrope_dtype=f32-recip",
        recip.expression
    );
    assert_eq!(recip.expr_id, blake3::hash(text.as_bytes()).to_hex().as_str());
    assert!(check_codes(&plain).contains(&"freq::reciprocal"));
    assert!(!check_codes(&recip).contains(&"freq::reciprocal"));
    for (dtype, name) in RopeDtype::NAMES {
        assert_eq!((RopeDtype::named(name), dtype.name()), (Some(dtype), name));
        assert_eq!(serde_json::to_value(dtype).unwrap(), name);
    }
    assert_eq!(RopeDtype::F32Recip.round(0.0), 0.0);
}

#[test]
fn defaults_of_the_context_are_written_out() {
    let context = Context { train_len: Some(4096), ..at(64) };
    let set = evaluate("evq_cosh(theta=500k)", &context).unwrap();
    assert_eq!(
        set.expression,
        "evq_cosh@1(theta=500000, tau=head_dim / sqrt(train_len), grid=mid)"
    );
    assert_eq!(set.inv_freq, evaluate("evq_cosh(theta=500k, tau=1)", &context).unwrap().inv_freq);
    assert_eq!(set.grids, ["mid"]);
    let short =
        canonical(&parse("longrope(geo(), short=[1], long=[1], attention_factor=2)").unwrap());
    assert!(!short.contains(" factor="), "{short}");
    let mixed = evaluate("mix(geo(), evq_exp(theta=10k))", &context).unwrap();
    assert_eq!(mixed.grids, ["std"]);
}

#[test]
fn words_can_stand_in_quotes() {
    assert_eq!(
        parse("yarn(geo(), factor=2, ramp=\"index\")").unwrap(),
        parse("yarn(geo(), factor=2, ramp=index)").unwrap()
    );
}

#[test]
fn the_work_of_an_evaluation_is_bounded() {
    let largest = Context { train_len: Some(2048), seq_len: Some(1), ..at(super::MAX_HEAD_DIM) };
    let list = vec!["1"; 2048].join(",");
    let table = format!("longrope(geo(), short=[{list}], long=[{list}], factor=1)");
    assert!(evaluate(&table, &largest).is_ok());
    let formula = vec!["sin(k)^2"; 31].join("+");
    let mut lets = format!("let a0 = expr('{formula}');");
    for i in 1..6 {
        let _ = write!(lets, "let a{i} = mix(a{0}, a{0});", i - 1);
    }
    lets.push_str("mix(a5, a5)");
    let error = evaluate(&lets, &largest).unwrap_err().remove(0);
    assert_eq!(error.code, "freq::too-large");
}

#[test]
fn legacy_families_are_what_their_scripts_computed() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/reference/legacy.json")).unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for case in golden["cases"].as_array().unwrap() {
        let context = Context {
            train_len: golden["train_len"].as_u64(),
            seq_len: case["seq_len"].as_u64(),
            ..at(u32::try_from(case["head_dim"].as_u64().unwrap()).unwrap())
        };
        let source = case["expr"].as_str().unwrap();
        let set = evaluate(source, &context).unwrap_or_else(|e| panic!("{source}: {e:?}"));
        let expected = case["inv_freq"].as_array().unwrap();
        assert_eq!(set.inv_freq.len(), expected.len());
        for (k, (w, expected)) in set.inv_freq.iter().zip(expected).enumerate() {
            let expected = expected.as_f64().unwrap();
            assert!((w / expected - 1.0).abs() <= 1e-12, "{source} k={k}: {w} and {expected}");
        }
        *seen.entry(source.split('(').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    for family in super::families::ALL.iter().filter(|family| family.needs_version) {
        let name = format!("{}@{}", family.name, family.version);
        assert!(seen.get(&name).is_some_and(|count| *count >= 4), "{name}: {seen:?}");
    }
}

#[test]
fn a_name_of_several_formulas_needs_its_version() {
    let error = errors("legacy_evq_cosh(theta=500k, tau=1)").remove(0);
    assert_eq!(error.code, "freq::unknown-version");
    assert_eq!(error.message, "legacy_evq_cosh has been several formulas, and no version is given");
    let help = error.help.unwrap();
    assert_eq!(help.lines().count(), 2, "{help}");
    assert!(help.starts_with("legacy_evq_cosh@1: dense at low frequencies"), "{help}");
    let unknown = errors("legacy_evq_cosh@3(theta=500k, tau=1)").remove(0);
    assert_eq!(unknown.help.unwrap(), "the newest is legacy_evq_cosh@2");
}
