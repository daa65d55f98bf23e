//! The arguments of a family: matched with its entry in the registry, defaults filled in.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ast::{Argument, Expr, Function, Scalar, Span, Value};
use super::error::{
    ARITY, DUPLICATE_PARAMETER, Error, MISSING_PARAMETER, POSITIONAL, UNKNOWN_PARAMETER, quote,
    suggest,
};
use super::families::{Default, FORMULA_VARIABLES, Family, Kind, Param};
use super::files;
use super::parser::{self, Call, Syntax};
use super::resolve::{Resolver, Scope, argument, choice};

/// Resolves the call of `family` at a level of the tree.
pub(super) fn resolve<'s>(
    resolver: &mut Resolver<'s>,
    family: &'static Family,
    call: &Call<'s>,
    span: &Range<usize>,
    level: usize,
) -> Option<Expr> {
    if files::names_file(call) {
        let (values, place) = files::table(resolver, call, level + 1)?;
        return Some(Expr {
            family,
            inner: Vec::new(),
            arguments: vec![argument("values", values, place)],
            span: Span(span.clone()),
            name_span: Span(call.name_span.clone()),
        });
    }
    let before = resolver.errors.len();
    let given = Given::sort(resolver, family, call, level);
    let inner: Vec<_> = given.inner.iter().map(|node| resolver.family(node, level + 1)).collect();
    // Own parameters before the formula, which may use their names.
    let mut own = Vec::new();
    for (name, node) in &given.own {
        if let Some(number) = resolver.scalar(node, level + 1, Scope::Argument) {
            own.push(argument(name, Value::Number(number), node.span.clone()));
        }
    }
    let mut arguments = Vec::new();
    for param in family.params {
        match given.params.get(param.name) {
            Some(node) => {
                if let Some(value) = value(resolver, param, node, &given, level + 1) {
                    arguments.push(argument(param.name, value, node.span.clone()));
                }
            }
            None => arguments.extend(default(resolver, param, &given, &call.name_span)),
        }
    }
    if resolver.errors.len() > before {
        return None;
    }
    check_missing(resolver, family, call, &given);
    check_own(resolver, &arguments, &own, call);
    if resolver.errors.len() > before {
        return None;
    }
    arguments.append(&mut own);
    Some(Expr {
        family,
        inner: inner.into_iter().collect::<Option<_>>()?,
        arguments,
        span: Span(span.clone()),
        name_span: Span(call.name_span.clone()),
    })
}

/// The arguments of a call by what they are for.
#[derive(std::default::Default)]
struct Given<'a, 's> {
    inner: Vec<&'a Syntax<'s>>,
    params: BTreeMap<&'static str, &'a Syntax<'s>>,
    own: BTreeMap<&'s str, &'a Syntax<'s>>,
}

impl<'a, 's> Given<'a, 's> {
    /// Sorts the arguments and reports those that have no place.
    fn sort(
        resolver: &mut Resolver<'s>,
        family: &'static Family,
        call: &'a Call<'s>,
        level: usize,
    ) -> Self {
        let mut given = Self::default();
        let mut positional = family.params.iter().filter(|param| param.kind.is_positional());
        for entry in &call.arguments {
            let node = &entry.value;
            match &entry.name {
                Some((name, span)) => given.name(resolver, family, name, span, node),
                None if given.inner.len() < family.inner.len() && !resolver.is_number(node) => {
                    given.inner.push(node);
                }
                None => match positional.next() {
                    Some(param) => {
                        given.params.insert(param.name, node);
                    }
                    None => given.homeless(resolver, family, node, level + 1),
                },
            }
        }
        given
    }

    fn name(
        &mut self,
        resolver: &mut Resolver<'s>,
        family: &'static Family,
        name: &'s str,
        span: &Range<usize>,
        node: &'a Syntax<'s>,
    ) {
        let error =
            |code, message: String, label: String| Error::new(code, span.clone(), message, label);
        let repeated = match family.param(name) {
            Some(param) if param.kind.is_positional() => {
                let label = "leave the name out";
                let message = format!("`{name}` of {} is given by position", family.name);
                resolver.errors.push(error(POSITIONAL, message, label.to_owned()));
                return;
            }
            Some(param) => self.params.insert(param.name, node).is_some(),
            None if family.own_params => {
                if FORMULA_VARIABLES.contains(&name) || Function::named(name).is_some() {
                    let message = format!("{} has a meaning in formulas already", quote(name));
                    let label = "take another name".to_owned();
                    resolver.errors.push(error(UNKNOWN_PARAMETER, message, label));
                    return;
                }
                self.own.insert(name, node).is_some()
            }
            None => {
                let message = format!("unknown parameter {} of {}", quote(name), family.name);
                let label = format!("not a parameter of {}", family.name);
                let mut error = error(UNKNOWN_PARAMETER, message, label);
                let names = family.params.iter().filter(|param| !param.kind.is_positional());
                error.help = suggest(name, "parameters", names.map(|param| param.name))
                    .or_else(|| Some(format!("{} has no named parameters", family.name)));
                resolver.errors.push(error);
                return;
            }
        };
        if repeated {
            let message = format!("{} is given twice", quote(name));
            resolver.errors.push(error(DUPLICATE_PARAMETER, message, "again here".to_owned()));
        }
    }

    /// An argument without a name that has no position either.
    fn homeless(
        &self,
        resolver: &mut Resolver<'s>,
        family: &'static Family,
        node: &Syntax<'s>,
        level: usize,
    ) {
        let span = node.span.clone();
        let name = family.name;
        if let parser::Kind::Name(word) = node.kind
            && family.param(word).is_some()
        {
            let message = format!("`{word}` of {name} needs a value");
            let label = format!("write `{word}=...`");
            resolver.errors.push(Error::new(POSITIONAL, span, message, label));
            return;
        }
        if !resolver.is_number(node) {
            // What is wrong in itself is reported as that.
            let before = resolver.errors.len();
            if matches!(node.kind, parser::Kind::Name(_) | parser::Kind::Call(_)) {
                resolver.family(node, level);
            }
            if resolver.errors.len() > before {
                return;
            }
            let takes = match family.inner {
                [] => "no family".to_owned(),
                [one] => format!("one family, `{one}`"),
                several => format!("{} families, {}", several.len(), several.join(" and ")),
            };
            let message = format!("{name} takes {takes}, and more is given");
            resolver.errors.push(Error::new(ARITY, span, message, "too much"));
            return;
        }
        let mut numbers = family.params.iter().filter(|param| {
            matches!(param.kind, Kind::Number(_)) && !self.params.contains_key(param.name)
        });
        let error = Error::new(
            POSITIONAL,
            span,
            format!("the numbers of {name} are given by name"),
            numbers.next().map_or_else(
                || "has no name".to_owned(),
                |param| format!("write `{}=` before it", param.name),
            ),
        );
        let names: Vec<_> =
            family.params.iter().filter(|p| !p.kind.is_positional()).map(|p| p.name).collect();
        resolver.errors.push(match names.as_slice() {
            [] if family.own_params => {
                error.help("give it a name that the formula uses: name=value")
            }
            [] => error.help(format!("{name} has no named parameters")),
            names => error.help(format!("parameters: {}", names.join(", "))),
        });
    }
}

/// The value of a declared parameter.
fn value<'s>(
    resolver: &mut Resolver<'s>,
    param: &Param,
    node: &Syntax<'s>,
    given: &Given<'_, 's>,
    level: usize,
) -> Option<Value> {
    match param.kind {
        Kind::Number(_) => resolver.scalar(node, level, Scope::Argument).map(Value::Number),
        Kind::Choice(words) => choice(resolver, param.name, words, node).map(Value::Choice),
        Kind::List | Kind::NamedList => resolver.list(node, level).map(Value::List),
        Kind::Formula => {
            let (text, offset) = resolver.text(node, level)?;
            let syntax = match parser::formula(text, offset) {
                Ok(syntax) => syntax,
                Err(errors) => {
                    resolver.errors.extend(errors);
                    return None;
                }
            };
            let known: Vec<&str> =
                FORMULA_VARIABLES.into_iter().chain(given.own.keys().copied()).collect();
            resolver.scalar(&syntax, 0, Scope::Formula(&known)).map(Value::Formula)
        }
    }
}

fn default(
    resolver: &mut Resolver<'_>,
    param: &Param,
    given: &Given<'_, '_>,
    span: &Range<usize>,
) -> Option<Argument> {
    let value = match param.default {
        Default::Required | Default::Absent => return None,
        Default::Number(value) => Value::Number(Scalar::number(value, span.clone())),
        Default::Choice(word) => Value::Choice(word),
        Default::ComputedUnless(_, other) if given.params.contains_key(other) => return None,
        Default::Computed(text) | Default::ComputedUnless(text, _) => {
            let syntax = parser::formula(text, 0).expect("the registry's own text");
            let mut scalar = resolver.scalar(&syntax, 0, Scope::Argument)?;
            scalar.move_to(&Span(span.clone()));
            Value::Number(scalar)
        }
    };
    Some(argument(param.name, value, span.clone()))
}

fn check_missing(
    resolver: &mut Resolver<'_>,
    family: &'static Family,
    call: &Call<'_>,
    given: &Given<'_, '_>,
) {
    let name = family.name;
    let (takes, has) = (family.inner.len(), given.inner.len());
    if has < takes {
        let noun = if takes == 1 { "family" } else { "families" };
        let verb = if has == 1 { "is" } else { "are" };
        let error = Error::new(
            ARITY,
            call.name_span.clone(),
            format!("{name} takes {takes} {noun}, and {has} {verb} given"),
            format!("needs {}", family.inner.join(" and ")),
        );
        resolver.errors.push(error.help(format!("for example {}", family.example)));
    }
    for param in family.params {
        if param.default == Default::Required && !given.params.contains_key(param.name) {
            let error = Error::new(
                MISSING_PARAMETER,
                call.name_span.clone(),
                format!("{name} needs `{}`: {}", param.name, param.doc),
                format!("`{}` is missing", param.name),
            );
            resolver.errors.push(error.help(format!("for example {}", family.example)));
        }
    }
}

/// A parameter that the formula does not use is a slip of its name or a leftover.
fn check_own(
    resolver: &mut Resolver<'_>,
    arguments: &[Argument],
    own: &[Argument],
    call: &Call<'_>,
) {
    let mut used = std::collections::BTreeSet::new();
    for argument in arguments {
        if let Value::Formula(formula) = &argument.value {
            formula.names(&mut |name, _| {
                used.insert(name);
            });
        }
    }
    for entry in &call.arguments {
        let Some((name, span)) = &entry.name else { continue };
        if own.iter().any(|own| own.name == *name) && !used.contains(name) {
            let message = format!("the formula does not use {}", quote(name));
            let error = Error::new(UNKNOWN_PARAMETER, span.clone(), message, "not in the formula");
            resolver.errors.push(error.help("use it or take it out"));
        }
    }
}
