//! Tokens to an untyped syntax tree: recursive descent with Pratt's operator precedence.
//!
//! ```text
//! program := { "let" name "=" expr ";" } expr
//! expr    := + - (10), * / (20), unary - (25), ^ (30, right)
//! primary := number | string | "[" expr, ... "]" | call | rule | name | "(" expr ")" | "{trained}"
//! call    := name [ "@" version ] "(" expr, ... name "=" expr, ... ")"
//! rule    := "at" [ "@" version ] "(" "len" "<=" expr ":" expr, ... "else" ":" expr ")"
//! ```

use std::ops::Range;

use super::ast::Op;
use super::error::{Error, SYNTAX, TOO_DEEP, TOO_LARGE};
use super::lexer::{Spanned, Token, lex};

/// Longest source, and longest canonical form, in bytes.
pub(super) const MAX_SOURCE_BYTES: usize = 64 * 1024;
/// Deepest tree: every operator, call and list is a level.
pub(super) const MAX_DEPTH: usize = 64;
/// Deepest recursion: parentheses count here and are no level of the tree. The canonical form of
/// a tree of depth d needs at most 2 d levels (an operand and its parentheses), so that it is
/// accepted whenever the tree is.
const MAX_NESTING: usize = 2 * MAX_DEPTH + 16;
/// Most values of a list.
pub(super) const MAX_LIST: usize = 4096;
/// Most arguments of a call.
const MAX_ARGUMENTS: usize = 64;

/// A node of the untyped tree.
#[derive(Debug)]
pub(super) struct Syntax<'s> {
    pub(super) kind: Kind<'s>,
    pub(super) span: Range<usize>,
    depth: usize,
}

#[derive(Debug)]
pub(super) enum Kind<'s> {
    Number(f64),
    Name(&'s str),
    /// The text between the quotes; it starts one byte after the node.
    Text(&'s str),
    List(Vec<Syntax<'s>>),
    Call(Call<'s>),
    Rule(Rule<'s>),
    /// The trained set, in a transform.
    Trained,
    Neg(Box<Syntax<'s>>),
    Binary(Op, Box<Syntax<'s>>, Box<Syntax<'s>>),
}

#[derive(Debug)]
pub(super) struct Call<'s> {
    pub(super) name: &'s str,
    pub(super) name_span: Range<usize>,
    /// What stands after `@`.
    pub(super) version: Option<(u32, Range<usize>)>,
    pub(super) arguments: Vec<Argument<'s>>,
}

/// One family up to a length, another beyond.
#[derive(Debug)]
pub(super) struct Rule<'s> {
    pub(super) name_span: Range<usize>,
    /// What stands after `@`.
    pub(super) version: Option<(u32, Range<usize>)>,
    /// Longest length, and the family up to it.
    pub(super) arms: Vec<(Syntax<'s>, Syntax<'s>)>,
    pub(super) otherwise: Box<Syntax<'s>>,
}

/// The name of the family of a [`Rule`].
pub(super) const RULE: &str = "at";

#[derive(Debug)]
pub(super) struct Argument<'s> {
    pub(super) name: Option<(&'s str, Range<usize>)>,
    pub(super) value: Syntax<'s>,
}

#[derive(Debug)]
pub(super) struct Let<'s> {
    pub(super) name: &'s str,
    pub(super) span: Range<usize>,
    pub(super) value: Syntax<'s>,
}

/// Parses a program: `let`s and the expression they serve.
pub(super) fn program(source: &str) -> Result<(Vec<Let<'_>>, Syntax<'_>), Vec<Error>> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(vec![Error::new(
            TOO_LARGE,
            0..0,
            format!("the expression is {} bytes long", source.len()),
            format!("at most {MAX_SOURCE_BYTES} bytes are taken"),
        )]);
    }
    let mut parser = Parser { tokens: lex(source, 0)?, at: 0, nesting: 0 };
    parser.program().map_err(|error| vec![error])
}

/// Parses one expression that stands at `offset` of its source: the formula of `expr`.
pub(super) fn formula(text: &str, offset: usize) -> Result<Syntax<'_>, Vec<Error>> {
    let mut parser = Parser { tokens: lex(text, offset)?, at: 0, nesting: 0 };
    let parsed = parser.expression(0).and_then(|node| {
        parser.end()?;
        Ok(node)
    });
    parsed.map_err(|error| vec![error])
}

struct Parser<'s> {
    tokens: Vec<Spanned<'s>>,
    at: usize,
    nesting: usize,
}

impl<'s> Parser<'s> {
    fn peek(&self) -> Token<'s> {
        self.tokens[self.at].token
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }

    /// Takes a token; the last one, the end, stays.
    fn next(&mut self) -> Spanned<'s> {
        let token = self.tokens[self.at].clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn eat(&mut self, punct: char) -> bool {
        let found = self.peek() == Token::Punct(punct);
        if found {
            self.next();
        }
        found
    }

    fn unexpected(&self, expected: &str) -> Error {
        let found = self.peek().describe();
        Error::new(
            SYNTAX,
            self.span(),
            format!("expected {expected}, found {found}"),
            format!("expected {expected}"),
        )
    }

    fn expect(&mut self, punct: char) -> Result<Range<usize>, Error> {
        if self.peek() == Token::Punct(punct) {
            return Ok(self.next().span);
        }
        Err(self.unexpected(&format!("`{punct}`")))
    }

    fn program(&mut self) -> Result<(Vec<Let<'s>>, Syntax<'s>), Error> {
        let mut lets = Vec::new();
        while self.peek() == Token::Name("let") {
            self.next();
            let Token::Name(name) = self.peek() else {
                return Err(self.unexpected("a name after `let`"));
            };
            let span = self.next().span;
            self.expect('=')?;
            let value = self.expression(0)?;
            self.expect(';')?;
            lets.push(Let { name, span, value });
        }
        let body = self.expression(0)?;
        self.end()?;
        Ok((lets, body))
    }

    fn end(&self) -> Result<(), Error> {
        match self.peek() {
            Token::End => Ok(()),
            Token::Punct(')' | ']') => {
                let found = self.peek().describe();
                Err(Error::new(
                    SYNTAX,
                    self.span(),
                    format!("{found} closes nothing"),
                    "nothing is open here",
                ))
            }
            _ => Err(self.unexpected("an operator or the end")),
        }
    }

    /// An expression whose operators bind at least as strongly as `min_power`.
    fn expression(&mut self, min_power: u8) -> Result<Syntax<'s>, Error> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(too_deep(self.span()));
        }
        let mut left = if self.peek() == Token::Punct('-') {
            let start = self.next().span.start;
            let operand = self.expression(Op::NEG_POWER)?;
            let span = start..operand.span.end;
            let depth = operand.depth + 1;
            node(Kind::Neg(Box::new(operand)), span, depth)?
        } else {
            self.primary()?
        };
        while let Token::Punct(c) = self.peek() {
            let Some(op) = Op::from_char(c).filter(|op| op.power() >= min_power) else { break };
            self.next();
            let right = self.expression(op.right_power())?;
            let span = left.span.start..right.span.end;
            let depth = left.depth.max(right.depth) + 1;
            left = node(Kind::Binary(op, Box::new(left), Box::new(right)), span, depth)?;
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn primary(&mut self) -> Result<Syntax<'s>, Error> {
        let span = self.span();
        match self.peek() {
            Token::Number(value) => {
                self.next();
                node(Kind::Number(value), span, 1)
            }
            Token::Text(text) => {
                self.next();
                node(Kind::Text(text), span, 1)
            }
            Token::Name("let") => Err(Error::new(
                SYNTAX,
                span,
                "`let` stands before the expression, not in it",
                "not a name",
            )
            .help("write `let a = ...; expression`")),
            Token::Name(name) => {
                self.next();
                if matches!(self.peek(), Token::Punct('(' | '@')) {
                    return if name == RULE { self.rule(span) } else { self.call(name, span) };
                }
                node(Kind::Name(name), span, 1)
            }
            Token::Punct('(') => {
                self.next();
                let inner = self.expression(0)?;
                self.close(')', &span)?;
                Ok(inner)
            }
            Token::Punct('[') => self.list(),
            Token::Trained => {
                self.next();
                // As deep as the call of a family: the canonical form has one in its place.
                node(Kind::Trained, span, 2)
            }
            Token::Punct('*') => {
                Err(self.unexpected("an expression").help("a power is `^`: theta = 10^4"))
            }
            _ => Err(self.unexpected("an expression")),
        }
    }

    /// The bracket that closes the one at `open`.
    fn close(&mut self, punct: char, open: &Range<usize>) -> Result<Range<usize>, Error> {
        if self.peek() == Token::End {
            let found = if punct == ')' { '(' } else { '[' };
            return Err(Error::new(
                SYNTAX,
                open.clone(),
                format!("`{found}` is not closed"),
                format!("no `{punct}` follows"),
            ));
        }
        if self.peek() == Token::Punct(punct) {
            return Ok(self.next().span);
        }
        Err(self.unexpected(&format!("an operator, `,` or `{punct}`")))
    }

    fn list(&mut self) -> Result<Syntax<'s>, Error> {
        let open = self.next().span;
        let mut items = Vec::new();
        let mut depth = 1;
        while !matches!(self.peek(), Token::Punct(']') | Token::End) {
            let item = self.expression(0)?;
            depth = depth.max(item.depth);
            items.push(item);
            if items.len() > MAX_LIST {
                return Err(Error::new(
                    TOO_LARGE,
                    open,
                    format!("the list has more than {MAX_LIST} values"),
                    "this list",
                ));
            }
            if !self.eat(',') {
                break;
            }
        }
        let close = self.close(']', &open)?;
        node(Kind::List(items), open.start..close.end, depth + 1)
    }

    fn call(&mut self, name: &'s str, name_span: Range<usize>) -> Result<Syntax<'s>, Error> {
        let version = if self.eat('@') { Some(self.version()?) } else { None };
        let open = self.expect('(')?;
        let mut arguments: Vec<Argument<'s>> = Vec::new();
        // At least one level for the parameters, which the canonical form writes out.
        let mut depth = 1;
        while !matches!(self.peek(), Token::Punct(')') | Token::End) {
            let argument = self.argument()?;
            depth = depth.max(argument.value.depth);
            arguments.push(argument);
            if arguments.len() > MAX_ARGUMENTS {
                return Err(Error::new(
                    TOO_LARGE,
                    name_span,
                    format!("the call has more than {MAX_ARGUMENTS} arguments"),
                    "this call",
                ));
            }
            if !self.eat(',') {
                break;
            }
        }
        let close = self.close(')', &open)?;
        let span = name_span.start..close.end;
        node(Kind::Call(Call { name, name_span, version, arguments }), span, depth + 1)
    }

    fn rule(&mut self, name_span: Range<usize>) -> Result<Syntax<'s>, Error> {
        let version = if self.eat('@') { Some(self.version()?) } else { None };
        let open = self.expect('(')?;
        let mut arms = Vec::new();
        let mut depth = 1;
        let otherwise = loop {
            if self.peek() == Token::Name("else") && !arms.is_empty() {
                self.next();
                self.expect(':')?;
                let family = self.expression(0)?;
                self.eat(',');
                break family;
            }
            if self.peek() != Token::Name("len") {
                let expected = if arms.is_empty() {
                    "`len<=LENGTH: FAMILY`"
                } else {
                    "`len<=LENGTH: FAMILY` or `else: FAMILY`"
                };
                return Err(self.unexpected(expected).help(
                    "a rule by length: at(len<=2048: geo(theta=10k), else: geo(theta=500k))",
                ));
            }
            self.next();
            if self.peek() != Token::AtMost {
                return Err(self.unexpected("`<=`"));
            }
            self.next();
            let bound = self.expression(0)?;
            self.expect(':')?;
            let family = self.expression(0)?;
            // The bounds are a list in the typed tree.
            depth = depth.max(bound.depth + 1).max(family.depth);
            arms.push((bound, family));
            if arms.len() > MAX_ARGUMENTS {
                return Err(Error::new(
                    TOO_LARGE,
                    name_span,
                    format!("the rule has more than {MAX_ARGUMENTS} lengths"),
                    "this rule",
                ));
            }
            self.expect(',')?;
        };
        depth = depth.max(otherwise.depth);
        let close = self.close(')', &open)?;
        let span = name_span.start..close.end;
        let otherwise = Box::new(otherwise);
        node(Kind::Rule(Rule { name_span, version, arms, otherwise }), span, depth + 1)
    }

    fn version(&mut self) -> Result<(u32, Range<usize>), Error> {
        match self.peek() {
            Token::Number(value) if value.fract() == 0.0 && value <= f64::from(u32::MAX) => {
                Ok((value as u32, self.next().span))
            }
            _ => Err(self.unexpected("a version number after `@`")),
        }
    }

    fn argument(&mut self) -> Result<Argument<'s>, Error> {
        if let Token::Name(name) = self.peek()
            && self.tokens[self.at + 1].token == Token::Punct('=')
        {
            let span = self.next().span;
            self.next();
            if matches!(self.peek(), Token::End | Token::Punct(',' | ')')) {
                return Err(self.unexpected(&format!("a value of `{name}`")));
            }
            return Ok(Argument { name: Some((name, span)), value: self.expression(0)? });
        }
        Ok(Argument { name: None, value: self.expression(0)? })
    }
}

fn node(kind: Kind<'_>, span: Range<usize>, depth: usize) -> Result<Syntax<'_>, Error> {
    if depth > MAX_DEPTH { Err(too_deep(span)) } else { Ok(Syntax { kind, span, depth }) }
}

pub(super) fn too_deep(span: Range<usize>) -> Error {
    Error::new(
        TOO_DEEP,
        span,
        format!("the expression is nested deeper than {MAX_DEPTH} levels"),
        "too deep here",
    )
    .help("a chain of operators such as a + b + c is a level for each operator")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fully bracketed, so that the shape shows.
    fn shape(node: &Syntax<'_>) -> String {
        match &node.kind {
            Kind::Number(value) => format!("{value}"),
            Kind::Name(name) => (*name).to_owned(),
            Kind::Text(text) => format!("{text:?}"),
            Kind::List(items) => {
                format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(","))
            }
            Kind::Neg(inner) => format!("(-{})", shape(inner)),
            Kind::Binary(op, a, b) => format!("({}{}{})", shape(a), op.symbol(), shape(b)),
            Kind::Call(call) => {
                let arguments = call.arguments.iter().map(|a| match &a.name {
                    Some((name, _)) => format!("{name}={}", shape(&a.value)),
                    None => shape(&a.value),
                });
                format!("{}({})", call.name, arguments.collect::<Vec<_>>().join(","))
            }
            Kind::Rule(rule) => {
                let arms = rule.arms.iter().map(|(b, f)| format!("<={}:{},", shape(b), shape(f)));
                format!("at({}{})", arms.collect::<String>(), shape(&rule.otherwise))
            }
            Kind::Trained => "{trained}".to_owned(),
        }
    }

    fn parsed(source: &str) -> String {
        let (lets, body) = program(source).unwrap();
        let lets = lets.iter().map(|l| format!("let {}={};", l.name, shape(&l.value)));
        lets.collect::<Vec<_>>().concat() + &shape(&body)
    }

    #[test]
    fn operators_bind_as_the_grammar_says() {
        for (source, expected) in [
            ("1+2*3", "(1+(2*3))"),
            ("1-2-3", "((1-2)-3)"),
            ("1/2*3", "((1/2)*3)"),
            ("2^3^4", "(2^(3^4))"),
            ("-2^2", "(-(2^2))"),
            ("-a*b", "((-a)*b)"),
            ("2^-3*4", "((2^(-3))*4)"),
            ("a--b", "(a-(-b))"),
            ("(1+2)*3", "((1+2)*3)"),
            ("theta^(-k/K)", "(theta^((-k)/K))"),
        ] {
            assert_eq!(parsed(source), expected, "{source}");
        }
    }

    #[test]
    fn calls_lists_and_lets_parse_with_trailing_commas() {
        assert_eq!(
            parsed("let a = 2; f@1(g(), [1, 2,], p=a, q='x',)"),
            "let a=2;f(g(),[1,2],p=a,q=\"x\")"
        );
        assert_eq!(parsed("f([])"), "f([])");
    }

    #[test]
    fn a_rule_by_length_has_bounds_and_a_rest() {
        assert_eq!(parsed("at(len<=2*3: f(), else: g)"), "at(<=(2*3):f(),g)");
        assert_eq!(
            parsed("at@1(len <= 1: a, len<=2 : b, else: {trained},)"),
            "at(<=1:a,<=2:b,{trained})"
        );
    }

    #[test]
    fn a_syntax_error_says_where_and_what() {
        for (source, span, message) in [
            ("", 0..0, "expected an expression, found the end"),
            ("geo(theta=", 10..10, "expected a value of `theta`, found the end"),
            ("((((", 4..4, "expected an expression, found the end"),
            ("geo(theta=1", 3..4, "`(` is not closed"),
            ("geo())", 5..6, "`)` closes nothing"),
            ("1 2", 2..3, "expected an operator or the end, found a number"),
            ("let 1 = 2; 3", 4..5, "expected a name after `let`, found a number"),
            ("geo@x()", 4..5, "expected a version number after `@`, found `x`"),
            ("at(len<2: a, else: b)", 6..7, "unexpected character `<`"),
            ("at(len<=2: a)", 12..13, "expected `,`, found `)`"),
            (
                "at(len<=2: a, b)",
                14..15,
                "expected `len<=LENGTH: FAMILY` or `else: FAMILY`, found `b`",
            ),
            ("at(geo())", 3..6, "expected `len<=LENGTH: FAMILY`, found `geo`"),
            ("at(else: a)", 3..7, "expected `len<=LENGTH: FAMILY`, found `else`"),
            ("at(len<=1: a, else b)", 19..20, "expected `:`, found `b`"),
            ("{train}", 0..1, "unexpected character `{`"),
            ("[1 2]", 3..4, "expected an operator, `,` or `]`, found a number"),
        ] {
            let errors = program(source).unwrap_err();
            assert_eq!(
                (errors[0].span.clone(), errors[0].message.as_str()),
                (span, message),
                "{source}"
            );
            assert_eq!(errors[0].code, SYNTAX);
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let code = |source: &str| program(source).unwrap_err()[0].code;
        assert_eq!(code(&"(".repeat(60_000)), TOO_DEEP);
        assert_eq!(code(&"-".repeat(60_000)), TOO_DEEP);
        assert_eq!(code(&"f(".repeat(30_000)), TOO_DEEP);
        assert_eq!(code(&"1+".repeat(30_000)), TOO_DEEP);
        assert_eq!(code(&"1^".repeat(30_000)), TOO_DEEP);
        assert_eq!(code(&" ".repeat(70_000)), TOO_LARGE);
        assert_eq!(code(&format!("[{}]", "1,".repeat(5000))), TOO_LARGE);
        assert_eq!(code(&format!("f({})", "1,".repeat(5000))), TOO_LARGE);
        assert!(program(&format!("1{}", "+1".repeat(63))).is_ok());
        assert!(program(&format!("{}1{}", "(".repeat(100), ")".repeat(100))).is_ok());
    }
}
