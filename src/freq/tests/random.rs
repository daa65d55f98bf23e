//! Properties that hold for any expression, and for any text.

use proptest::prelude::*;

use super::super::error::CODES;
use super::*;

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
