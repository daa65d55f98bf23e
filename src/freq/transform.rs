//! Transforms: a trained set changed for evaluation, `yarn({trained}, factor=8)`.

use super::ast::{Expr, Scalar, ScalarKind};
use super::canonical::canonical;
use super::error::{Error, TOO_LARGE};
use super::eval::check_size;
use super::families::TRAINED;
use super::files::Files;
use super::parser;
use super::resolve;

/// An expression in which `{trained}` stands for the trained set of a config.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    expr: Expr,
}

/// Parses and types a transform.
///
/// # Errors
/// As [`super::parse_with`].
pub fn parse_transform(source: &str, files: &dyn Files) -> Result<Transform, Vec<Error>> {
    let (lets, body) = parser::program(source)?;
    let expr = resolve::resolve(&lets, &body, files, true)?;
    check_size(&expr)?;
    Ok(Transform { expr })
}

impl Transform {
    /// The canonical form, with `{trained}` in it.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical(&self.expr)
    }

    /// Whether the trained set occurs in it.
    #[must_use]
    pub fn uses_trained(&self) -> bool {
        fn uses(expr: &Expr) -> bool {
            *expr.family == TRAINED || expr.inner.iter().any(uses)
        }
        uses(&self.expr)
    }

    /// The same with this number wherever it uses `target_len`: what it computes then no longer
    /// depends on the lengths that are declared.
    #[must_use]
    pub fn with_target_len(&self, target_len: u64) -> Self {
        let mut expr = self.expr.clone();
        expr.rewrite_arguments(&mut |scalar| {
            if matches!(&scalar.kind, ScalarKind::Name(name) if name == "target_len") {
                *scalar = Scalar::number(target_len as f64, scalar.span.0.clone());
            }
        });
        Self { expr }
    }

    /// The expression with `trained` in place of `{trained}`; everything of it stands where the
    /// name does, so that errors have a place in the transform.
    ///
    /// # Errors
    /// If the expression becomes too large.
    pub fn apply(&self, trained: &Expr) -> Result<Expr, Vec<Error>> {
        let size = trained.measure().1;
        let uses = count(&self.expr);
        if size.saturating_mul(uses) > resolve::MAX_INLINED {
            return Err(vec![Error::new(
                TOO_LARGE,
                self.expr.name_span.0.clone(),
                "the transform is too large with the trained set written out",
                "grows too large here",
            )]);
        }
        let expr = with(&self.expr, trained);
        check_size(&expr)?;
        Ok(expr)
    }
}

/// How often the trained set occurs.
fn count(expr: &Expr) -> usize {
    usize::from(*expr.family == TRAINED) + expr.inner.iter().map(count).sum::<usize>()
}

fn with(expr: &Expr, trained: &Expr) -> Expr {
    if *expr.family == TRAINED {
        let mut trained = trained.clone();
        trained.move_to(&expr.span);
        return trained;
    }
    let inner = expr.inner.iter().map(|inner| with(inner, trained)).collect();
    Expr { inner, ..expr.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::{Context, NoFiles, evaluate, evaluate_expr, parse};
    use super::*;

    fn transform(source: &str) -> Transform {
        parse_transform(source, &NoFiles).unwrap_or_else(|e| panic!("{source}: {e:?}"))
    }

    fn context(seq_len: u64) -> Context {
        Context {
            train_len: Some(2048),
            target_len: Some(16384),
            seq_len: Some(seq_len),
            ..Context::new(64)
        }
    }

    #[test]
    fn a_transform_of_a_set_is_the_expression_with_it_written_in() {
        let trained = "mix(geo(theta=500k), anchored_poly(theta=500k), alpha=0.2)";
        for source in [
            "yarn({trained}, factor=8)",
            "{trained}",
            "let t = {trained}; mix(t, pi(t, factor=2), alpha=0.5)",
            "at(len<=2048: {trained}, else: yarn({trained}, factor=seq_len/train_len))",
            "attn({trained}, scale=1.1)",
        ] {
            let transform = transform(source);
            assert!(transform.uses_trained());
            let again = super::parse_transform(&transform.canonical(), &NoFiles).unwrap();
            assert_eq!(again, transform, "{source}");
            for seq_len in [1024, 16384] {
                let applied = transform.apply(&parse(trained).unwrap()).unwrap();
                let set = evaluate_expr(&applied, &context(seq_len)).unwrap();
                let written = source.replace("{trained}", trained);
                let written = evaluate(&written, &context(seq_len)).unwrap();
                assert_eq!((set.expr_id, set.inv_freq), (written.expr_id, written.inv_freq));
            }
        }
    }

    #[test]
    fn the_trained_set_is_known_in_transforms_alone() {
        let errors = parse("yarn({trained}, factor=8)").unwrap_err();
        assert_eq!((errors[0].code, errors[0].span.clone()), ("freq::type", 5..14));
        assert!(!transform("geo(theta=1M)").uses_trained());
        let sum = parse_transform("{trained} + 1", &NoFiles).unwrap_err();
        assert_eq!(sum[0].code, "freq::type");
    }

    #[test]
    fn errors_stand_in_the_transform() {
        let source = "scale({trained}, c=20)";
        let trained = parse("expr('1/(k+1)')").unwrap();
        let applied = transform(source).apply(&trained).unwrap();
        let error = evaluate_expr(&applied, &context(64)).unwrap_err().remove(0);
        assert_eq!((error.code, &source[error.span]), ("freq::aliasing", source));
        let source = "mix_log({trained}, geo())";
        let applied = transform(source).apply(&parse("nope()").unwrap()).unwrap();
        let error = evaluate_expr(&applied, &context(64)).unwrap_err().remove(0);
        assert_eq!(&source[error.span], "{trained}");
    }

    #[test]
    fn the_target_length_can_be_fixed() {
        let fixed = |source: &str| transform(source).with_target_len(512).canonical();
        assert_eq!(
            fixed("pi({trained}, factor=target_len/64)"),
            "pi@1({trained}, factor=512 / 64)"
        );
        assert!(
            fixed("longrope({trained}, short=[1], long=[2])").contains("factor=512 / train_len")
        );
        let own = "mix@1({trained}, expr@1(\"target_len^(-k / K)\", target_len=3), alpha=0.5)";
        assert_eq!(fixed(own), own);
    }

    #[test]
    fn growth_is_bounded() {
        let list = vec!["1"; 4000].join(",");
        let trained = parse(&format!("table([{list}])")).unwrap();
        let mut source = "{trained}".to_owned();
        for _ in 0..5 {
            source = format!("mix({source}, {source})");
        }
        let error = transform(&source).apply(&trained).unwrap_err().remove(0);
        assert_eq!(error.code, "freq::too-large");
    }
}
