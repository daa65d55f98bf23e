//! Tests of the language as a whole: golden vectors, ids, what families and wrappers give, bounds.

mod messages;
mod random;

use std::fmt::Write as _;
use std::path::Path;

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
        serde_json::from_str(include_str!("../../../tests/reference/legacy.json")).unwrap();
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
