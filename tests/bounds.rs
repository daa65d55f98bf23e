//! No input makes the expression parser or evaluator panic or use more than 64 MB: inputs that are
//! made to be the worst, and a bounded number of random ones. tests/fuzz looks for others.

#![expect(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[path = "fuzz/probe.rs"]
mod probe;

/// Most memory, in bytes, that one input may need on top of what was in use before it.
const LIMIT: usize = 64_000_000;

/// The system's allocator, with the bytes in use counted.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Probes an input; returns the bytes that it needed at most.
fn measured(source: &str) -> usize {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    probe::probe(source);
    PEAK.load(Relaxed) - before
}

/// A `let` that doubles each time, `times` times.
fn doubled(first: &str, join: &str, times: usize) -> String {
    let mut source = format!("let a0 = {first};");
    for i in 0..times {
        let next = join.replace('#', &format!("a{i}"));
        let _ = write!(source, "let a{} = {next};", i + 1);
    }
    source + &format!("a{times}")
}

/// Inputs that cost much for their length.
fn worst() -> Vec<String> {
    let many = |item: &str, n: usize| vec![item; n].join(",");
    let mut inputs = vec![
        "(".repeat(65_536),
        "[".repeat(65_536),
        "-".repeat(65_536),
        "1+".repeat(32_768),
        "1^".repeat(32_768),
        "geo(".repeat(16_384),
        "{trained}".repeat(7_000),
        "\"".repeat(65_535),
        "'\u{1F600}".repeat(10_000),
        format!("table([{}])", many("1", 30_000)),
        format!("table([{}])", many("0.1", 2_048)),
        format!("longrope(geo(),short=[{0}],long=[{0}])", many("1", 2_048)),
        format!("geo({})", many("theta=2", 8_000)),
        format!("at({}else:geo())", "len<=9:geo(),".repeat(64)),
        format!("at({}else:geo())", "len<=9:geo(),".repeat(4_000)),
        format!("expr('{}k')", "1+".repeat(62)),
        format!("expr('1/({}1)')", "exp(-k)+".repeat(60)),
        format!("{}geo(){}", "attn(".repeat(62), ",scale=1)".repeat(62)),
        format!("geo(theta=2{})", "0".repeat(60_000)),
        format!("geo(theta=0.{}1)", "0".repeat(60_000)),
        format!("geo(theta=1e{})", "9".repeat(60_000)),
        "let a=1;".repeat(8_000),
        (0..4_000).fold(String::new(), |all, i| all + &format!("let a{i}=1;")) + "geo()",
        doubled(&format!("table([{}])", many("1", 2_048)), "mix(#,#)", 5),
        doubled("{trained}", "mix(#,#)", 13),
        doubled(&format!("[{}]", many("1", 4_096)), "#", 60),
    ];
    for family in ["geo()", "nope()", "sigmoid(theta=2)", "expr('exp(-k)')", "{trained}"] {
        for times in [8, 11, 12, 13, 16, 40] {
            inputs.push(doubled(family, "mix(#,#)", times));
            inputs.push(doubled(family, "at(len<=9:#,len<=10:#,else:#)", times / 2));
        }
    }
    for wrapper in ["band_profile(#,factor=2,profile=tailspline)", "sort(#)", "resonance(#)"] {
        inputs.push(doubled("geo()", wrapper, 60));
        inputs.push(doubled("geo()", &format!("mix({wrapper},{wrapper})"), 12));
    }
    inputs
}

/// Text in the words of the language.
fn soup() -> impl Strategy<Value = String> {
    const WORDS: [&str; 48] = [
        "let",
        "a",
        "b",
        "=",
        ";",
        "geo",
        "mix",
        "mix_log",
        "table",
        "expr",
        "scale",
        "clip",
        "yarn",
        "at",
        "len",
        "<=",
        ":",
        "else",
        "partial",
        "longrope",
        "{trained}",
        "(",
        ")",
        "[",
        "]",
        ",",
        "theta",
        "alpha",
        "c",
        "factor",
        "short",
        "long",
        "grid",
        "mid",
        "pct",
        "+",
        "-",
        "*",
        "/",
        "^",
        "@",
        "1",
        "0",
        "500k",
        "1e308",
        "'k/K'",
        "seq_len",
        "head_dim",
    ];
    prop::collection::vec(prop::sample::select(&WORDS[..]), 0..60).prop_map(|words| words.concat())
}

/// Nested calls that are right but for their numbers.
fn calls() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("{trained}".to_owned()),
        Just("nope()".to_owned()),
        any::<f64>().prop_map(|x| format!("geo(theta={:e})", x.abs())),
        (0.0..10.0f64).prop_map(|x| format!("evq_cosh(theta=500k,tau={x})")),
        prop::collection::vec(0.0..7.0f64, 1..33).prop_map(|values| format!("table({values:?})")),
    ];
    leaf.prop_recursive(6, 40, 3, |inner| {
        let wrappers = [
            "mix(#,#,alpha=?)",
            "mix_log(#,#,alpha=?)",
            "splice(#,#,at=?)",
            "at(len<=?:#,len<=2*?:#,else:#)",
            "yarn(#,factor=?)",
            "yarn(#,factor=?,ramp=index)",
            "ntk(#,factor=?)",
            "dynamic_ntk(#,factor=?)",
            "ntk_by_parts(#,factor=?,alpha=?)",
            "llama3(#,factor=?)",
            "part_ntk(#,factor=?)",
            "resonance(#)",
            "partial(#,pct=?)",
            "cope(#,n=?)",
            "zero_low(#,n=?)",
            "floor_zero(#)",
            "p_rope(#,p=?)",
            "sort(#)",
            "attn(#,scale=?)",
            "scale(#,c=?)",
            "clip(#,min=?)",
            "band_profile(#,factor=?,profile=bm)",
        ];
        let number = prop_oneof![
            (0u32..70).prop_map(|n| n.to_string()),
            (0.0..1.0f64).prop_map(|x| x.to_string()),
            Just("seq_len/train_len".to_owned()),
        ];
        (prop::sample::select(wrappers.to_vec()), prop::collection::vec(inner, 3), number).prop_map(
            |(wrapper, inner, number)| {
                let mut inner = inner.iter();
                let with = |c: char| match c {
                    '#' => inner.next().expect("three are enough").clone(),
                    '?' => number.clone(),
                    c => c.to_string(),
                };
                wrapper.chars().map(with).collect()
            },
        )
    })
}

// One test: the memory of others running beside it would be counted, too.
#[test]
fn no_input_panics_or_uses_more_than_64_megabytes() {
    for source in worst() {
        let bytes = measured(&source);
        assert!(bytes < LIMIT, "{bytes} bytes for {source:.100}");
    }
    // A fixed seed: every run tries the same inputs.
    let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    let inputs = prop_oneof!["\\PC{0,200}", soup(), calls()];
    runner
        .run(&inputs, |source| {
            prop_assert!(measured(&source) < LIMIT);
            Ok(())
        })
        .unwrap();
}
