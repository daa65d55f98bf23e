//! Text to tokens, each with its byte range.

use std::ops::Range;

use super::error::{Error, Errors, NUMBER, SYNTAX, quote};

/// What a transform writes for the trained set.
pub(super) const TRAINED: &str = "{trained}";

/// One token; names and strings borrow from the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'s> {
    /// A literal with its suffix applied: finite and not negative.
    Number(f64),
    /// A letter or underscore, then letters, digits and underscores (ASCII).
    Name(&'s str),
    /// What stands between two quotes. There are no escapes, so that a byte of a formula is a
    /// byte of the source.
    Text(&'s str),
    /// One of `+ - * / ^ ( ) [ ] , = : ; @`.
    Punct(char),
    /// `<=`
    AtMost,
    /// [`TRAINED`]
    Trained,
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// As it is named in a message.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Number(_) => "a number".to_owned(),
            Self::Name(name) => quote(name),
            Self::Text(_) => "a string".to_owned(),
            Self::Punct(c) => format!("`{c}`"),
            Self::AtMost => "`<=`".to_owned(),
            Self::Trained => format!("`{TRAINED}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// A token and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Spanned<'s> {
    pub(super) token: Token<'s>,
    pub(super) span: Range<usize>,
}

/// Splits `text` into tokens, the last one [`Token::End`]; spans start at `offset`, the place of
/// `text` in its source.
pub(super) fn lex(text: &str, offset: usize) -> Result<Vec<Spanned<'_>>, Vec<Error>> {
    let mut tokens = Vec::new();
    let mut errors = Errors::default();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if errors.is_full() {
            break;
        }
        let start = at;
        let rest = &text[start..];
        let token = match c {
            ' ' | '\t' | '\n' | '\r' => {
                at += 1;
                continue;
            }
            '+' | '-' | '*' | '/' | '^' | '(' | ')' | '[' | ']' | ',' | '=' | ':' | ';' | '@' => {
                at += 1;
                Ok(Token::Punct(c))
            }
            '<' if rest.starts_with("<=") => {
                at += 2;
                Ok(Token::AtMost)
            }
            '{' if rest.starts_with(TRAINED) => {
                at += TRAINED.len();
                Ok(Token::Trained)
            }
            '"' | '\'' => {
                if let Some(length) = rest[1..].find(c) {
                    at += length + 2;
                    Ok(Token::Text(&rest[1..=length]))
                } else {
                    at = text.len();
                    Err(Error::new(
                        SYNTAX,
                        start..start + 1,
                        "the string is not closed",
                        format!("opened here; there is no second {c}"),
                    ))
                }
            }
            _ if is_name_start(c) => {
                let name = take(rest, is_name_part);
                at += name.len();
                Ok(Token::Name(name))
            }
            _ if c.is_ascii_digit() || (c == '.' && starts_with_digit(&rest[1..])) => {
                let literal = literal(rest);
                at += literal.len();
                literal_value(literal).map(Token::Number).map_err(|problem| {
                    let error = Error::new(NUMBER, start..at, problem.message, problem.label);
                    Error { help: problem.help, ..error }
                })
            }
            _ => {
                at += c.len_utf8();
                Err(Error::new(
                    SYNTAX,
                    start..at,
                    format!("unexpected character `{}`", c.escape_debug()),
                    "not a character of the language",
                ))
            }
        };
        let span = start + offset..at + offset;
        match token {
            Ok(token) => tokens.push(Spanned { token, span }),
            Err(error) => errors
                .push(Error { span: error.span.start + offset..error.span.end + offset, ..error }),
        }
    }
    errors.finish()?;
    let end = text.len() + offset;
    tokens.push(Spanned { token: Token::End, span: end..end });
    Ok(tokens)
}

/// The value of a whole text that is one number of the language, such as `16k` or `0.5M`.
#[must_use]
pub fn parse_number(text: &str) -> Option<f64> {
    let whole = literal(text).len() == text.len()
        && text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if whole { literal_value(text).ok() } else { None }
}

struct Problem {
    message: String,
    label: String,
    help: Option<String>,
}

/// Digits, point, exponent, and everything that is glued to them.
fn literal(text: &str) -> &str {
    let mut length = take(text, |c| c.is_ascii_digit()).len();
    if text[length..].starts_with('.') {
        length += 1;
        length += take(&text[length..], |c| c.is_ascii_digit()).len();
    }
    if let Some(exponent) = exponent(&text[length..]) {
        length += exponent.len();
    }
    length += take(&text[length..], is_name_part).len();
    &text[..length]
}

/// `e5`, `E-3`; nothing if no digit follows.
fn exponent(text: &str) -> Option<&str> {
    let sign = text.strip_prefix(['e', 'E'])?;
    let digits = sign.strip_prefix(['+', '-']).unwrap_or(sign);
    starts_with_digit(digits).then(|| {
        let length = text.len() - digits.len() + take(digits, |c| c.is_ascii_digit()).len();
        &text[..length]
    })
}

/// The double nearest to the decimal; a suffix moves its exponent, so `0.7M` is exactly 700000.
fn literal_value(literal: &str) -> Result<f64, Problem> {
    let mantissa = take(literal, |c| c.is_ascii_digit() || c == '.');
    let exponent = exponent(&literal[mantissa.len()..]).unwrap_or_default();
    let suffix = &literal[mantissa.len() + exponent.len()..];
    let shift = match suffix {
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        _ => {
            let help = match suffix {
                "K" => "did you mean `k` (1000)?".to_owned(),
                "m" => "did you mean `M` (1000000)?".to_owned(),
                "g" => "did you mean `G` (1000000000)?".to_owned(),
                _ if suffix.starts_with('_') => "digits are written without `_`".to_owned(),
                _ => "suffixes are k (1000), M and G; a product is written with `*`".to_owned(),
            };
            return Err(Problem {
                message: format!("unknown number suffix {}", quote(suffix)),
                label: "not a number".to_owned(),
                help: Some(help),
            });
        }
    };
    // An exponent with too many digits is beyond f64 either way; the clamp keeps its sign.
    let written: i64 = match exponent.get(1..) {
        None | Some("") => 0,
        Some(digits) => {
            let huge = if digits.starts_with('-') { -1_000_000 } else { 1_000_000 };
            digits.parse().unwrap_or(huge).clamp(-1_000_000, 1_000_000)
        }
    };
    let value: f64 = format!("{mantissa}e{}", written + shift).parse().map_err(|_| Problem {
        message: format!("{} is not a number", quote(literal)),
        label: "not a number".to_owned(),
        help: None,
    })?;
    let lost = value == 0.0 && mantissa.contains(|c: char| ('1'..='9').contains(&c));
    if !value.is_finite() || lost {
        return Err(Problem {
            message: format!("{} is out of range", quote(literal)),
            label: format!("too {} for a 64-bit number", if lost { "small" } else { "large" }),
            help: None,
        });
    }
    Ok(value)
}

fn take(text: &str, accept: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !accept(c)).unwrap_or(text.len())]
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<f64> {
        lex(text, 0)
            .unwrap()
            .iter()
            .filter_map(|t| match t.token {
                Token::Number(value) => Some(value),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn suffixes_and_exponents_give_the_nearest_double() {
        assert_eq!(numbers("500k 5e5 0.5M 500e3 500000 .5M"), vec![500_000.0; 6]);
        assert_eq!(numbers("0.7M 1e-3 2G 1.k 1E+2"), vec![7e5, 1e-3, 2e9, 1e3, 1e2]);
        assert_eq!(numbers("1e3k 0 0e99999999999999999999"), vec![1e6, 0.0, 0.0]);
    }

    #[test]
    fn a_number_that_is_none_is_an_error_with_its_place() {
        for (text, span) in
            [("1 + 2x", 4..6), ("10K", 0..3), ("1e999", 0..5), ("1_000", 0..5), ("2e", 0..2)]
        {
            let errors = lex(text, 0).unwrap_err();
            assert_eq!((errors[0].code, errors[0].span.clone()), (NUMBER, span), "{text}");
        }
        assert_eq!(lex("1e-999999999999999999999", 7).unwrap_err()[0].span, 7..31);
    }

    #[test]
    fn tokens_carry_their_place_from_the_offset() {
        let tokens = lex("geo( a='x y' )", 10).unwrap();
        let spans: Vec<_> = tokens.iter().map(|t| t.span.clone()).collect();
        assert_eq!(spans, [10..13, 13..14, 15..16, 16..17, 17..22, 23..24, 24..24]);
        assert_eq!(tokens[4].token, Token::Text("x y"));
    }

    #[test]
    fn every_bad_character_is_reported() {
        let errors = lex("a § b ° \"c", 0).unwrap_err();
        assert_eq!(errors.len(), 3);
        assert!(errors.iter().all(|e| e.code == SYNTAX));
        assert_eq!(errors[2].span, 10..11);
    }

    #[test]
    fn lengths_of_the_command_line_are_numbers_of_the_language() {
        assert_eq!(parse_number("16k"), Some(16_000.0));
        assert_eq!(parse_number("2048"), Some(2048.0));
        for text in ["", "k", "-1", "1 ", "16kk", "e5", ".", "1+1"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }
}
