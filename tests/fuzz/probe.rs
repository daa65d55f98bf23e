//! What must hold of every text that is given as a frequency expression: the fuzz target runs this
//! on what the fuzzer finds, tests/bounds.rs on a bounded number of inputs with the memory counted.

use xp::freq::{self, Context, Error, NoFiles};

/// Lengths and heads of every kind, the largest included.
fn contexts() -> impl Iterator<Item = Context> {
    [2, 4, 64, freq::MAX_HEAD_DIM].into_iter().map(|head_dim| Context {
        train_len: Some(2048),
        target_len: Some(16384),
        seq_len: Some(5000),
        ..Context::new(head_dim)
    })
}

/// Parses `source`, prints it, parses that, and evaluates both, as an expression and as a transform.
///
/// # Panics
/// If anything is not as it must be.
pub fn probe(source: &str) {
    match freq::parse(source) {
        Ok(expr) => {
            let form = freq::canonical(&expr);
            let again = freq::parse(&form).unwrap_or_else(|e| panic!("{form}: {e:?}"));
            assert_eq!(again, expr, "print-then-parse");
            assert_eq!(freq::canonical(&again), form);
            for context in contexts() {
                evaluate(source, &expr, &context);
            }
        }
        Err(errors) => check(source, &errors),
    }
    match freq::parse_transform(source, &NoFiles) {
        Ok(transform) => {
            let form = transform.canonical();
            assert_eq!(freq::parse_transform(&form, &NoFiles).as_ref(), Ok(&transform));
            let trained = freq::parse("mix(geo(theta=500k), anchored_poly(theta=500k))").unwrap();
            match transform.with_target_len(99).apply(&trained) {
                Ok(applied) => contexts().for_each(|c| evaluate(source, &applied, &c)),
                Err(errors) => check(source, &errors),
            }
        }
        Err(errors) => check(source, &errors),
    }
}

fn evaluate(source: &str, expr: &freq::Expr, context: &Context) {
    match freq::evaluate_expr(expr, context) {
        Ok(set) => {
            assert!((1..=context.channels()).contains(&set.inv_freq.len()));
            assert!(set.inv_freq.iter().all(|w| (0.0..=std::f64::consts::TAU).contains(w)));
            assert!(set.attention_scale.is_finite() && set.attention_scale > 0.0);
            assert_eq!(set.inv_freq_f32().len(), set.inv_freq.len());
        }
        Err(errors) => check(source, &errors),
    }
}

/// Every error has a place in the source, a known code, and words.
fn check(source: &str, errors: &[Error]) {
    assert!(!errors.is_empty());
    for error in errors {
        assert!(error.span.start <= error.span.end && error.span.end <= source.len(), "{error:?}");
        assert!(
            source.is_char_boundary(error.span.start) && source.is_char_boundary(error.span.end)
        );
        assert!(freq::CODES.iter().any(|(code, _)| *code == error.code), "{error:?}");
        assert!(!error.message.is_empty() && !error.label.is_empty(), "{error:?}");
    }
}
