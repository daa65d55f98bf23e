//! The typed expression: `let`s inlined, defaults filled in, every name known.

use std::ops::Range;

use super::families::Family;

/// A place in the source. Places are no part of an expression's identity: all compare equal.
#[derive(Debug, Clone, Default)]
pub struct Span(pub Range<usize>);

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A family applied to its arguments: what an expression is.
///
/// Equal if they have the same canonical form, wherever they stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// The family.
    pub family: &'static Family,
    /// The families it is built on, as many as the registry says.
    pub inner: Vec<Expr>,
    /// All parameters that have a value, in declared order, then own ones by name.
    pub arguments: Vec<Argument>,
    /// The call.
    pub span: Span,
    /// The name in it.
    pub name_span: Span,
}

/// A parameter and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// The parameter's name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where the value stands; the family's name if it is a default.
    pub span: Span,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, possibly computed from the context.
    Number(Scalar),
    /// Several numbers.
    List(Vec<Scalar>),
    /// One of the parameter's named values.
    Choice(&'static str),
    /// A formula over the channels, with variables of its own.
    Formula(Scalar),
}

/// Scalar arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// What it is.
    pub kind: ScalarKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of scalar arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalarKind {
    /// A literal: finite, not negative.
    Number(f64),
    /// A value of the context, or a variable of a formula.
    Name(String),
    /// Negation.
    Neg(Box<Scalar>),
    /// Two operands.
    Binary(Op, Box<Scalar>, Box<Scalar>),
    /// A function of as many arguments as it takes.
    Call(Function, Vec<Scalar>),
}

impl Scalar {
    pub(super) fn number(value: f64, span: Range<usize>) -> Self {
        Self { kind: ScalarKind::Number(value), span: Span(span) }
    }

    /// Calls `visit` with every part, the whole first.
    fn rewrite(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        visit(self);
        match &mut self.kind {
            ScalarKind::Number(_) | ScalarKind::Name(_) => {}
            ScalarKind::Neg(inner) => inner.rewrite(visit),
            ScalarKind::Binary(_, left, right) => {
                left.rewrite(visit);
                right.rewrite(visit);
            }
            ScalarKind::Call(_, arguments) => {
                arguments.iter_mut().for_each(|argument| argument.rewrite(visit));
            }
        }
    }

    /// Says of every part that it stands at `span`.
    pub(super) fn move_to(&mut self, span: &Span) {
        self.rewrite(&mut |scalar| scalar.span = span.clone());
    }

    fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ScalarKind::Number(_) | ScalarKind::Name(_) => Vec::new(),
            ScalarKind::Neg(inner) => vec![inner],
            ScalarKind::Binary(_, left, right) => vec![left, right],
            ScalarKind::Call(_, arguments) => arguments.iter().collect(),
        }
    }

    /// Levels and number of nodes.
    pub(super) fn measure(&self) -> (usize, usize) {
        let measures = self.children().into_iter().map(Self::measure);
        measures.fold((1, 1), |(depth, nodes), (d, n)| (depth.max(d + 1), nodes + n))
    }

    /// Calls `visit` with every name and its place.
    pub(super) fn names<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a Range<usize>)) {
        if let ScalarKind::Name(name) = &self.kind {
            visit(name, &self.span.0);
        }
        self.children().into_iter().for_each(|child| child.names(visit));
    }

    /// The value, names looked up in `lookup`. IEEE arithmetic: it may be infinite or NaN.
    pub(super) fn eval(&self, lookup: &dyn Fn(&str) -> f64) -> f64 {
        match &self.kind {
            ScalarKind::Number(value) => *value,
            ScalarKind::Name(name) => lookup(name),
            ScalarKind::Neg(inner) => -inner.eval(lookup),
            ScalarKind::Binary(op, left, right) => op.apply(left.eval(lookup), right.eval(lookup)),
            ScalarKind::Call(function, arguments) => {
                let mut values = [0.0; Function::MAX_ARITY];
                for (value, argument) in values.iter_mut().zip(arguments) {
                    *value = argument.eval(lookup);
                }
                function.apply(values)
            }
        }
    }

    /// The innermost part that is not finite though its own parts are; self if all are finite.
    pub(super) fn culprit(&self, lookup: &dyn Fn(&str) -> f64) -> &Self {
        self.children()
            .into_iter()
            .find(|child| !child.eval(lookup).is_finite())
            .map_or(self, |child| child.culprit(lookup))
    }
}

impl Expr {
    /// Levels and number of nodes.
    pub(super) fn measure(&self) -> (usize, usize) {
        let mut measure = (2, 2 + self.arguments.len());
        let mut add = |level: usize, (depth, nodes): (usize, usize)| {
            measure = (measure.0.max(depth + level), measure.1 + nodes);
        };
        for argument in &self.arguments {
            match &argument.value {
                Value::Number(scalar) => add(1, scalar.measure()),
                Value::List(items) => items.iter().for_each(|item| add(2, item.measure())),
                // A formula is a string: one node that is as large as what it holds.
                Value::Formula(formula) => add(1, (1, formula.measure().1)),
                Value::Choice(_) => {}
            }
        }
        self.inner.iter().for_each(|inner| add(1, inner.measure()));
        measure
    }

    /// Calls `visit` with every number of this call's own arguments, formulas excepted, whose
    /// names are their own, and of the calls in it.
    pub(super) fn rewrite_arguments(&mut self, visit: &mut dyn FnMut(&mut Scalar)) {
        for argument in &mut self.arguments {
            match &mut argument.value {
                Value::Number(scalar) => scalar.rewrite(visit),
                Value::List(items) => items.iter_mut().for_each(|item| item.rewrite(visit)),
                Value::Formula(_) | Value::Choice(_) => {}
            }
        }
        self.inner.iter_mut().for_each(|inner| inner.rewrite_arguments(visit));
    }

    /// Says of every part that it stands at `span`.
    pub(super) fn move_to(&mut self, span: &Span) {
        self.span = span.clone();
        self.name_span = span.clone();
        for argument in &mut self.arguments {
            argument.span = span.clone();
            match &mut argument.value {
                Value::Number(scalar) | Value::Formula(scalar) => scalar.move_to(span),
                Value::List(items) => items.iter_mut().for_each(|item| item.move_to(span)),
                Value::Choice(_) => {}
            }
        }
        self.inner.iter_mut().for_each(|inner| inner.move_to(span));
    }

    /// About how many operations an evaluation for so many channels takes.
    pub(super) fn work(&self, channels: usize) -> usize {
        let own = self.arguments.iter().map(|argument| match &argument.value {
            Value::Number(scalar) => scalar.measure().1,
            Value::List(items) => items.iter().map(|item| item.measure().1).sum(),
            Value::Formula(formula) => channels.saturating_mul(formula.measure().1),
            Value::Choice(_) => 0,
        });
        let inner = self.inner.iter().map(|inner| inner.work(channels));
        own.chain(inner).fold(channels, usize::saturating_add)
    }

    /// Whether a value of the context occurs in an argument. (A formula knows no `target_len`.)
    pub(super) fn mentions(&self, name: &str) -> bool {
        let mut found = self.family.reads.contains(&name);
        for argument in &self.arguments {
            let mut visit = |other: &str, _: &Range<usize>| found |= other == name;
            match &argument.value {
                Value::Number(scalar) | Value::Formula(scalar) => scalar.names(&mut visit),
                Value::List(items) => items.iter().for_each(|item| item.names(&mut visit)),
                Value::Choice(_) => {}
            }
        }
        found || self.inner.iter().any(|inner| inner.mentions(name))
    }
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `^`, to the right.
    Pow,
}

impl Op {
    /// Binding power of unary minus: above `*`, below `^`.
    pub(super) const NEG_POWER: u8 = 25;

    pub(super) fn from_char(c: char) -> Option<Self> {
        [Self::Add, Self::Sub, Self::Mul, Self::Div, Self::Pow]
            .into_iter()
            .find(|op| op.symbol() == c)
    }

    pub(super) fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Sub => '-',
            Self::Mul => '*',
            Self::Div => '/',
            Self::Pow => '^',
        }
    }

    /// How strongly it binds.
    pub(super) fn power(self) -> u8 {
        match self {
            Self::Add | Self::Sub => 10,
            Self::Mul | Self::Div => 20,
            Self::Pow => 30,
        }
    }

    /// The least power of an operator inside its right operand.
    pub(super) fn right_power(self) -> u8 {
        if self == Self::Pow { self.power() } else { self.power() + 1 }
    }

    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
            Self::Div => left / right,
            Self::Pow => libm::pow(left, right),
        }
    }
}

/// A function of scalar arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// e to the power.
    Exp,
    /// Natural logarithm.
    Ln,
    /// Square root.
    Sqrt,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Hyperbolic tangent.
    Tanh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// The smaller of two.
    Min,
    /// The larger of two.
    Max,
    /// `clamp(x, low, high)` = min(max(x, low), high).
    Clamp,
}

impl Function {
    /// Every function with its name and number of arguments.
    pub(super) const ALL: [(Self, &'static str, usize); 10] = [
        (Self::Exp, "exp", 1),
        (Self::Ln, "ln", 1),
        (Self::Sqrt, "sqrt", 1),
        (Self::Sin, "sin", 1),
        (Self::Cos, "cos", 1),
        (Self::Tanh, "tanh", 1),
        (Self::Asinh, "asinh", 1),
        (Self::Min, "min", 2),
        (Self::Max, "max", 2),
        (Self::Clamp, "clamp", 3),
    ];
    const MAX_ARITY: usize = 3;

    /// Every function's name.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(_, name, _)| *name)
    }

    /// The function of a name, and how many arguments it takes.
    pub(super) fn named(name: &str) -> Option<(Self, usize)> {
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|(f, _, arity)| (*f, *arity))
    }

    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(f, _, _)| *f == self);
        found.expect("ALL holds every function").1
    }

    fn apply(self, [x, y, z]: [f64; Self::MAX_ARITY]) -> f64 {
        match self {
            Self::Exp => libm::exp(x),
            Self::Ln => libm::log(x),
            Self::Sqrt => libm::sqrt(x),
            Self::Sin => libm::sin(x),
            Self::Cos => libm::cos(x),
            Self::Tanh => libm::tanh(x),
            Self::Asinh => libm::asinh(x),
            Self::Min => min(x, y),
            Self::Max => max(x, y),
            Self::Clamp => min(max(x, y), z),
        }
    }
}

/// The smaller; NaN if either is (`f64::min` would hide it).
fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// The larger; NaN if either is.
fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_in_the_table_once() {
        for (function, name, arity) in Function::ALL {
            assert_eq!(Function::named(name), Some((function, arity)));
            assert_eq!(function.name(), name);
            assert!(arity <= Function::MAX_ARITY);
        }
    }

    #[test]
    fn nan_is_never_hidden() {
        for function in [Function::Min, Function::Max, Function::Clamp] {
            for at in 0..2 {
                let mut values = [1.0, 2.0, 3.0];
                values[at] = f64::NAN;
                assert!(function.apply(values).is_nan(), "{} {at}", function.name());
            }
        }
    }

    #[test]
    fn clamp_never_panics_and_takes_the_upper_bound_last() {
        assert_eq!(Function::Clamp.apply([5.0, 1.0, 3.0]), 3.0);
        assert_eq!(Function::Clamp.apply([0.0, 1.0, 3.0]), 1.0);
        assert_eq!(Function::Clamp.apply([2.0, 1.0, 3.0]), 2.0);
        assert_eq!(Function::Clamp.apply([2.0, 4.0, 3.0]), 3.0);
    }
}
