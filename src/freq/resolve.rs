//! Untyped tree to typed expression: `let`s, names, types, arguments, defaults.
//!
//! All errors are collected. An `Option` that is `None` means that an error was reported.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ast::{Argument, Expr, Function, Op, Scalar, ScalarKind, Span, Value};
use super::error::{
    ARITY, Error, Errors, LET, TOO_LARGE, TYPE, UNKNOWN_FAMILY, UNKNOWN_NAME, UNKNOWN_VERSION,
    any_of, quote, suggest,
};
use super::families::{self, AT, Family, TRAINED};
use super::files::Files;
use super::parser::{Call, Kind, Let, MAX_DEPTH, Rule, Syntax, too_deep};
use super::{arguments, context};

/// Most nodes that the uses of `let`s may add up to.
pub(super) const MAX_INLINED: usize = 1 << 16;

/// Where a number stands: decides which names it knows.
#[derive(Clone, Copy)]
pub(super) enum Scope<'a> {
    /// In an argument: the context and `let`s.
    Argument,
    /// In a formula: these names.
    Formula(&'a [&'a str]),
}

/// What a `let` stands for.
enum Bound<'s> {
    Number(Scalar),
    Family(Expr),
    List(Vec<Scalar>),
    Text(&'s str, Range<usize>),
    /// Its value has an error that is reported already.
    Broken,
}

struct Binding<'s> {
    bound: Bound<'s>,
    depth: usize,
    nodes: usize,
    used: bool,
    span: Range<usize>,
}

/// The state of one resolution.
pub(super) struct Resolver<'s> {
    lets: BTreeMap<&'s str, Binding<'s>>,
    pub(super) errors: Errors,
    inlined: usize,
    pub(super) files: &'s dyn Files,
    /// Whether the trained set can be named.
    in_transform: bool,
}

/// Resolves a program; a transform can name the trained set.
pub(super) fn resolve<'s>(
    lets: &[Let<'s>],
    body: &Syntax<'s>,
    files: &'s dyn Files,
    in_transform: bool,
) -> Result<Expr, Vec<Error>> {
    let mut resolver = Resolver {
        lets: BTreeMap::new(),
        errors: Errors::default(),
        inlined: 0,
        files,
        in_transform,
    };
    for binding in lets {
        resolver.bind(binding);
    }
    let expr = resolver.family(body, 0);
    if resolver.errors.len() == 0 {
        for (name, binding) in &resolver.lets {
            if !binding.used {
                resolver.errors.push(
                    Error::new(
                        LET,
                        binding.span.clone(),
                        format!("{} is not used", quote(name)),
                        "used nowhere",
                    )
                    .help("use it or take it out"),
                );
            }
        }
    }
    resolver.errors.finish()?;
    Ok(expr.expect("without an error there is an expression"))
}

impl<'s> Resolver<'s> {
    fn bind(&mut self, binding: &Let<'s>) {
        let name = binding.name;
        let taken = match name {
            "let" => Some("a word of the language"),
            _ if context::NAMES.contains(&name) => Some("a value of the context"),
            _ if Function::named(name).is_some() => Some("a function"),
            _ if families::is_name(name) => Some("a family"),
            _ if self.lets.contains_key(name) => Some("bound already"),
            _ => None,
        };
        if let Some(taken) = taken {
            self.errors.push(Error::new(
                LET,
                binding.span.clone(),
                format!("{} is {taken}", quote(name)),
                "take another name",
            ));
        }
        let value = self.bound(&binding.value).unwrap_or(Bound::Broken);
        let (depth, nodes) = match &value {
            Bound::Number(scalar) => scalar.measure(),
            Bound::Family(expr) => expr.measure(),
            Bound::List(items) => items
                .iter()
                .map(Scalar::measure)
                .fold((2, 1), |(depth, nodes), (d, n)| (depth.max(d + 1), nodes + n)),
            Bound::Text(text, _) => (1, text.len()),
            Bound::Broken => (1, 1),
        };
        let span = binding.span.clone();
        self.lets.insert(name, Binding { bound: value, depth, nodes, used: false, span });
    }

    fn bound(&mut self, node: &Syntax<'s>) -> Option<Bound<'s>> {
        match &node.kind {
            Kind::Number(_) | Kind::Neg(_) | Kind::Binary(..) => {
                self.scalar(node, 0, Scope::Argument).map(Bound::Number)
            }
            Kind::Name(name) if !self.lets.contains_key(name) => {
                self.scalar(node, 0, Scope::Argument).map(Bound::Number)
            }
            Kind::Name(name) => {
                self.inline(name, &node.span, 0)?;
                Some(match &self.lets.get(name)?.bound {
                    Bound::Number(scalar) => Bound::Number(scalar.clone()),
                    Bound::Family(expr) => Bound::Family(expr.clone()),
                    Bound::List(items) => Bound::List(items.clone()),
                    Bound::Text(text, span) => Bound::Text(text, span.clone()),
                    Bound::Broken => Bound::Broken,
                })
            }
            Kind::Text(text) => Some(Bound::Text(text, node.span.clone())),
            Kind::List(_) => self.list(node, 0).map(Bound::List),
            Kind::Call(call) if Function::named(call.name).is_some() => {
                self.scalar(node, 0, Scope::Argument).map(Bound::Number)
            }
            Kind::Call(_) | Kind::Rule(_) | Kind::Trained => {
                self.family(node, 0).map(Bound::Family)
            }
        }
    }

    /// Accounts for a use of the `let` `name` at a level of the tree. Refused if the tree
    /// would become too deep or too large: a `let` that uses one twice doubles each time.
    fn inline(&mut self, name: &str, span: &Range<usize>, level: usize) -> Option<()> {
        let binding = self.lets.get_mut(name)?;
        binding.used = true;
        if level + binding.depth > MAX_DEPTH {
            self.errors.push(too_deep(span.clone()));
            return None;
        }
        if self.inlined + binding.nodes > MAX_INLINED {
            self.errors.push(Error::new(
                TOO_LARGE,
                span.clone(),
                "the expression is too large with its `let`s written out",
                "grows too large here",
            ));
            return None;
        }
        self.inlined += binding.nodes;
        Some(())
    }

    fn report(&mut self, code: &'static str, span: &Range<usize>, message: String, label: &str) {
        self.errors.push(Error::new(code, span.clone(), message, label));
    }

    /// Whether a node is a family, as far as can be told without resolving it.
    pub(super) fn is_family(&self, node: &Syntax<'s>) -> bool {
        match &node.kind {
            Kind::Call(call) => families::is_name(call.name),
            Kind::Rule(_) | Kind::Trained => true,
            Kind::Name(name) => {
                matches!(self.lets.get(name), Some(Binding { bound: Bound::Family(_), .. }))
            }
            _ => false,
        }
    }

    /// Whether a node is a number, as far as can be told without resolving it.
    pub(super) fn is_number(&self, node: &Syntax<'s>) -> bool {
        match &node.kind {
            Kind::Number(_) | Kind::Neg(_) | Kind::Binary(..) => true,
            Kind::Call(call) => Function::named(call.name).is_some(),
            Kind::Name(name) => match self.lets.get(name) {
                Some(binding) => matches!(binding.bound, Bound::Number(_)),
                None => context::NAMES.contains(name),
            },
            Kind::Text(_) | Kind::List(_) | Kind::Rule(_) | Kind::Trained => false,
        }
    }

    /// Resolves a node that must be a family.
    pub(super) fn family(&mut self, node: &Syntax<'s>, level: usize) -> Option<Expr> {
        const LABEL: &str = "not a family";
        match &node.kind {
            Kind::Call(call) if Function::named(call.name).is_some() => {
                let message = format!("`{}` gives a number, and a family is needed", call.name);
                self.report(TYPE, &node.span, message, LABEL);
                None
            }
            Kind::Call(call) => {
                let family = self.find(call.name, &call.name_span, call.version.as_ref())?;
                arguments::resolve(self, family, call, &node.span, level)
            }
            Kind::Rule(rule) => self.rule(rule, &node.span, level),
            Kind::Trained => self.trained(&node.span),
            Kind::Name(name) => {
                let Some(binding) = self.lets.get(name) else {
                    if context::NAMES.contains(name) {
                        let message = format!("`{name}` is a number, and a family is needed");
                        self.report(TYPE, &node.span, message, LABEL);
                    } else {
                        self.unknown_name(name, &node.span, &[]);
                    }
                    return None;
                };
                if !matches!(binding.bound, Bound::Family(_) | Bound::Broken) {
                    let message = format!("{} is no family, and one is needed", quote(name));
                    self.report(TYPE, &node.span, message, LABEL);
                }
                self.inline(name, &node.span, level)?;
                match &self.lets.get(name)?.bound {
                    Bound::Family(expr) => Some(expr.clone()),
                    _ => None,
                }
            }
            Kind::Number(_) | Kind::Neg(_) | Kind::Binary(..) => {
                // Reports families in arithmetic; else it is a number and nothing more.
                self.scalar(node, level, Scope::Argument)?;
                let error = Error::new(
                    TYPE,
                    node.span.clone(),
                    "this is a number, and a family is needed",
                    LABEL,
                );
                self.errors.push(error.help("for example geo(theta=500k)"));
                None
            }
            Kind::Text(_) | Kind::List(_) => {
                let (what, help) = match node.kind {
                    Kind::Text(_) => ("a string", "a formula is written expr(\"...\")"),
                    _ => ("a list", "frequencies value by value are written table([...])"),
                };
                let message = format!("this is {what}, and a family is needed");
                self.errors.push(Error::new(TYPE, node.span.clone(), message, LABEL).help(help));
                None
            }
        }
    }

    fn rule(&mut self, rule: &Rule<'s>, span: &Range<usize>, level: usize) -> Option<Expr> {
        let family = self.find(AT.name, &rule.name_span, rule.version.as_ref());
        let mut bounds = Vec::new();
        let mut inner = Vec::new();
        for (bound, arm) in &rule.arms {
            bounds.push(self.scalar(bound, level + 2, Scope::Argument));
            inner.push(self.family(arm, level + 1));
        }
        inner.push(self.family(&rule.otherwise, level + 1));
        let bounds = bounds.into_iter().collect::<Option<_>>()?;
        Some(Expr {
            family: family?,
            inner: inner.into_iter().collect::<Option<_>>()?,
            arguments: vec![argument("len", Value::List(bounds), rule.name_span.clone())],
            span: Span(span.clone()),
            name_span: Span(rule.name_span.clone()),
        })
    }

    fn trained(&mut self, span: &Range<usize>) -> Option<Expr> {
        if !self.in_transform {
            let message = format!("`{}` is the trained set of a config", TRAINED.name);
            let error = Error::new(TYPE, span.clone(), message, "there is none here");
            self.errors.push(error.help("only a transform can name it: [eval] transform"));
            return None;
        }
        Some(Expr {
            family: &TRAINED,
            inner: Vec::new(),
            arguments: Vec::new(),
            span: Span(span.clone()),
            name_span: Span(span.clone()),
        })
    }

    fn find(
        &mut self,
        name: &str,
        span: &Range<usize>,
        version: Option<&(u32, Range<usize>)>,
    ) -> Option<&'static Family> {
        let versions = families::versions(name);
        let Some(newest) = versions.last() else {
            let mut error = Error::new(
                UNKNOWN_FAMILY,
                span.clone(),
                format!("unknown family {}", quote(name)),
                "not a family",
            );
            error.help = suggest(name, "families", families::names());
            self.errors.push(error);
            return None;
        };
        let Some((version, span)) = version else {
            if !newest.needs_version {
                return Some(newest);
            }
            let message = format!("{name} has been several formulas, and no version is given");
            let error = Error::new(UNKNOWN_VERSION, span.clone(), message, "which of them?");
            let each = versions.iter().map(|f| format!("{name}@{}: {}", f.version, f.summary));
            self.errors.push(error.help(each.collect::<Vec<_>>().join("\n")));
            return None;
        };
        let found = versions.iter().find(|family| family.version == *version).copied();
        if found.is_none() {
            let message = format!("{name} has no version {version}");
            let error = Error::new(UNKNOWN_VERSION, span.clone(), message, "not a version of it");
            self.errors.push(error.help(format!("the newest is {name}@{}", newest.version)));
        }
        found
    }

    fn unknown_name(&mut self, name: &str, span: &Range<usize>, known: &[&str]) {
        let mut error = Error::new(
            UNKNOWN_NAME,
            span.clone(),
            format!("unknown name {}", quote(name)),
            "nothing of this name is known here",
        );
        error.help = if families::is_name(name) {
            Some(format!("a family is called: {name}(...)"))
        } else if known.is_empty() {
            suggest(name, "names", self.lets.keys().copied().chain(context::NAMES).take(32))
        } else {
            suggest(name, "variables", known.iter().copied())
        };
        self.errors.push(error);
    }

    /// Resolves a list of numbers.
    pub(super) fn list(&mut self, node: &Syntax<'s>, level: usize) -> Option<Vec<Scalar>> {
        match &node.kind {
            Kind::List(items) => {
                let items: Vec<_> = items
                    .iter()
                    .map(|item| self.scalar(item, level + 1, Scope::Argument))
                    .collect();
                items.into_iter().collect()
            }
            Kind::Name(name) if self.lets.contains_key(name) => {
                self.inline(name, &node.span, level)?;
                match &self.lets.get(name)?.bound {
                    Bound::List(items) => Some(items.clone()),
                    Bound::Broken => None,
                    _ => self.not_a("list", node),
                }
            }
            _ => self.not_a("list", node),
        }
    }

    /// The text of a string, and the place of its first byte.
    pub(super) fn text(&mut self, node: &Syntax<'s>, level: usize) -> Option<(&'s str, usize)> {
        match &node.kind {
            Kind::Text(text) => Some((text, node.span.start + 1)),
            Kind::Name(name) if self.lets.contains_key(name) => {
                self.inline(name, &node.span, level)?;
                match &self.lets.get(name)?.bound {
                    Bound::Text(text, span) => Some((text, span.start + 1)),
                    Bound::Broken => None,
                    _ => self.not_a("formula in quotes", node),
                }
            }
            _ => self.not_a("formula in quotes", node),
        }
    }

    fn not_a<T>(&mut self, what: &str, node: &Syntax<'s>) -> Option<T> {
        let message = format!("a {what} is needed here");
        self.report(TYPE, &node.span, message, &format!("not a {what}"));
        None
    }

    /// Resolves a node that must be a number.
    pub(super) fn scalar(
        &mut self,
        node: &Syntax<'s>,
        level: usize,
        scope: Scope<'_>,
    ) -> Option<Scalar> {
        let kind = match &node.kind {
            Kind::Number(value) => ScalarKind::Number(*value),
            Kind::Name(name) => return self.scalar_name(name, &node.span, level, scope),
            Kind::Neg(inner) => {
                if self.is_family(inner) {
                    return self.family_in_arithmetic(None, node);
                }
                ScalarKind::Neg(Box::new(self.scalar(inner, level + 1, scope)?))
            }
            Kind::Binary(op, left, right) => {
                if self.is_family(left) || self.is_family(right) {
                    return self.family_in_arithmetic(Some(*op), node);
                }
                // Both sides, so that the errors of both are found.
                let left = self.scalar(left, level + 1, scope);
                let right = self.scalar(right, level + 1, scope);
                ScalarKind::Binary(*op, Box::new(left?), Box::new(right?))
            }
            Kind::Call(call) => self.function(call, node, level, scope)?,
            Kind::Text(_) | Kind::List(_) | Kind::Rule(_) | Kind::Trained => {
                return self.not_a("number", node);
            }
        };
        Some(Scalar { kind, span: Span(node.span.clone()) })
    }

    fn scalar_name(
        &mut self,
        name: &str,
        span: &Range<usize>,
        level: usize,
        scope: Scope<'_>,
    ) -> Option<Scalar> {
        let named = Scalar { kind: ScalarKind::Name(name.to_owned()), span: Span(span.clone()) };
        if let Scope::Formula(known) = scope {
            if known.contains(&name) {
                return Some(named);
            }
            self.unknown_name(name, span, known);
            return None;
        }
        let Some(binding) = self.lets.get(name) else {
            if context::NAMES.contains(&name) {
                return Some(named);
            }
            self.unknown_name(name, span, &[]);
            return None;
        };
        if !matches!(binding.bound, Bound::Number(_) | Bound::Broken) {
            let message = format!("{} is not a number, and one is needed", quote(name));
            self.report(TYPE, span, message, "not a number");
        }
        self.inline(name, span, level)?;
        match &self.lets.get(name)?.bound {
            Bound::Number(scalar) => Some(scalar.clone()),
            _ => None,
        }
    }

    fn function(
        &mut self,
        call: &Call<'s>,
        node: &Syntax<'s>,
        level: usize,
        scope: Scope<'_>,
    ) -> Option<ScalarKind> {
        let Some((function, arity)) = Function::named(call.name) else {
            if families::is_name(call.name) {
                let message = format!("{} is a family, and a number is needed", call.name);
                self.report(TYPE, &node.span, message, "not a number");
                return None;
            }
            let mut error = Error::new(
                UNKNOWN_FAMILY,
                call.name_span.clone(),
                format!("unknown function {}", quote(call.name)),
                "not a function",
            );
            error.help = suggest(call.name, "functions", Function::names());
            self.errors.push(error);
            return None;
        };
        if let Some((_, span)) = &call.version {
            let message = format!("functions have no versions: write {}(...)", call.name);
            self.report(UNKNOWN_VERSION, span, message, "only families have versions");
        }
        if let Some((_, span)) = call.arguments.iter().find_map(|a| a.name.as_ref()) {
            let message = format!("the arguments of {} have no names", call.name);
            self.report(super::error::UNKNOWN_PARAMETER, span, message, "leave the name out");
        }
        if call.arguments.len() != arity {
            let given = call.arguments.len();
            let plural = if arity == 1 { "" } else { "s" };
            let verb = if given == 1 { "is" } else { "are" };
            let message =
                format!("{} takes {arity} number{plural}, and {given} {verb} given", call.name);
            self.report(ARITY, &node.span, message, &format!("{given} {verb} given"));
        }
        let arguments: Vec<_> = call
            .arguments
            .iter()
            .map(|argument| self.scalar(&argument.value, level + 1, scope))
            .collect();
        let arguments: Vec<_> = arguments.into_iter().collect::<Option<_>>()?;
        let sound = arguments.len() == arity
            && call.version.is_none()
            && call.arguments.iter().all(|argument| argument.name.is_none());
        sound.then_some(ScalarKind::Call(function, arguments))
    }

    fn family_in_arithmetic<T>(&mut self, op: Option<Op>, node: &Syntax<'s>) -> Option<T> {
        let symbol = op.map_or('-', Op::symbol);
        let help = match op {
            Some(Op::Mul | Op::Div) => "a family times a number is written scale(a, c=2)",
            _ => {
                "mix(a, b, alpha=0.2) mixes two families linearly in frequency, mix_log(a, b, \
                 alpha=0.2) geometrically"
            }
        };
        self.errors.push(
            Error::new(
                TYPE,
                node.span.clone(),
                format!("`{symbol}` works on numbers, not on families"),
                "a family in arithmetic",
            )
            .help(help),
        );
        None
    }
}

/// One of the words of a parameter.
pub(super) fn choice(
    resolver: &mut Resolver<'_>,
    parameter: &str,
    words: &'static [&'static str],
    node: &Syntax<'_>,
) -> Option<&'static str> {
    let word = match node.kind {
        Kind::Name(name) | Kind::Text(name) => name,
        _ => "",
    };
    let found = words.iter().copied().find(|other| *other == word);
    if found.is_none() {
        let message = if word.is_empty() {
            format!("`{parameter}` takes a word")
        } else {
            format!("{} is no value of `{parameter}`", quote(word))
        };
        let label = format!("`{parameter}` is {}", any_of(words.iter().copied()));
        let mut error = Error::new(super::error::UNKNOWN_VALUE, node.span.clone(), message, label);
        error.help = super::error::nearest(word, words.iter().copied())
            .map(|near| format!("did you mean `{near}`?"));
        resolver.errors.push(error);
    }
    found
}

/// An argument as the tree holds it.
pub(super) fn argument(name: &str, value: Value, span: Range<usize>) -> Argument {
    Argument { name: name.to_owned(), value, span: Span(span) }
}
