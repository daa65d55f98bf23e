//! What differs between two expressions, part by part.

use super::ast::Expr;
use super::canonical::{argument_value, canonical};

/// One difference between two expressions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Where: the families from the outermost in, and the parameter: `mix > geo.theta`. With
    /// several families inside, their place is counted: `mix > 2 > anchored_poly.p`.
    pub place: String,
    /// What the first expression has there; nothing if it has no such part.
    pub a: Option<String>,
    /// What the second has.
    pub b: Option<String>,
}

/// The differences in canonical form; none if the expressions are equal.
///
/// Calls of one family are held against each other argument by argument; of two families the
/// whole calls are the difference.
#[must_use]
pub fn differences(a: &Expr, b: &Expr) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", a, b, &mut found);
    found
}

fn compare(path: &str, a: &Expr, b: &Expr, found: &mut Vec<Difference>) {
    if a == b {
        return;
    }
    let name = if a.family.name == b.family.name { a.family.name } else { "" };
    if a.family != b.family || a.inner.len() != b.inner.len() {
        let place = if path.is_empty() { "the whole".to_owned() } else { path.to_owned() };
        let (a, b) = (Some(canonical(a)), Some(canonical(b)));
        found.push(Difference { place, a, b });
        return;
    }
    let here = if path.is_empty() { name.to_owned() } else { format!("{path} > {name}") };
    let value = |expr: &Expr, name: &str| {
        expr.arguments.iter().find(|argument| argument.name == name).map(argument_value)
    };
    let mut names: Vec<&str> = a.arguments.iter().map(|argument| argument.name.as_str()).collect();
    names.extend(b.arguments.iter().map(|argument| argument.name.as_str()));
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let (a, b) = (value(a, name), value(b, name));
        if a != b {
            found.push(Difference { place: format!("{here}.{name}"), a, b });
        }
    }
    for (i, (x, y)) in a.inner.iter().zip(&b.inner).enumerate() {
        let path = if a.inner.len() > 1 { format!("{here} > {}", i + 1) } else { here.clone() };
        compare(&path, x, y, found);
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn told(a: &str, b: &str) -> Vec<String> {
        let (a, b) = (parse(a).unwrap(), parse(b).unwrap());
        let found = differences(&a, &b).into_iter();
        let side = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
        found.map(|d| format!("{}: {} | {}", d.place, side(d.a), side(d.b))).collect()
    }

    #[test]
    fn parameters_are_compared_where_the_families_are_the_same() {
        assert_eq!(told("geo(theta=500k)", "geo(theta=5e5)"), Vec::<String>::new());
        assert_eq!(
            told("geo(theta=500k)", "geo(grid=mid)"),
            ["geo.theta: 500000 | 10000", "geo.grid: std | mid"]
        );
        assert_eq!(
            told(
                "mix(geo(), yarn(anchored_poly(theta=10k), factor=2), alpha=0.2)",
                "mix(geo(), yarn(anchored_poly(theta=10k, p=4), factor=1+2), alpha=0.3)"
            ),
            [
                "mix.alpha: 0.2 | 0.3",
                "mix > 2 > yarn.factor: 2 | 1 + 2",
                "mix > 2 > yarn > anchored_poly.p: 3.9 | 4",
            ]
        );
        assert_eq!(
            told("expr('k+a', a=1)", "expr('k+b', b=1)"),
            ["expr.formula: \"k + a\" | \"k + b\"", "expr.a: 1 | -", "expr.b: - | 1"]
        );
    }

    #[test]
    fn other_families_differ_as_a_whole() {
        assert_eq!(told("geo()", "nope()"), ["the whole: geo@1(theta=10000, grid=std) | nope@1()"]);
        assert_eq!(
            told("sort(geo())", "sort(nope())"),
            ["sort: geo@1(theta=10000, grid=std) | nope@1()"]
        );
        let (two, three) =
            ("at(len<=1: geo(), else: geo())", "at(len<=1: geo(), len<=2: geo(), else: geo())");
        assert_eq!(told(two, three).len(), 1);
    }
}
