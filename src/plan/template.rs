//! Templates: minijinja expressions in `{{ }}` inside string values of the parsed document.
//!
//! Only expressions: no statements, no filters, no functions, nothing that could build a string
//! without bound. Undefined names are errors.

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value as Json;

use crate::spec::hints::nearest;
use crate::spec::node::Text;

/// Longest rendered string, in bytes.
const MAX_OUTPUT: usize = 4 << 10;
/// Longest expression, in bytes: bounds what `~` could build from other strings.
const MAX_EXPRESSION: usize = 512;

/// The variables of a sweep row: scalars by name.
pub type Vars = BTreeMap<String, Json>;

/// What is wrong with a template, and where in its string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Byte range in the string.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A rendered string, or the typed value of a string that is one whole `{{ expression }}`.
#[derive(Debug, Clone, PartialEq)]
pub enum Rendered {
    /// A string.
    Text(Text),
    /// A scalar.
    Typed(Json),
}

/// Evaluates templates.
pub struct Engine {
    environment: Environment<'static>,
}

impl Default for Engine {
    fn default() -> Self {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        Self { environment }
    }
}

impl Engine {
    /// Renders the `{{ }}` of a string; `None` if it has none.
    ///
    /// # Errors
    /// Statements, an unclosed `{{`, an expression that does not parse or evaluate, an undefined
    /// name, too long an output.
    pub fn render(&self, text: &Text, vars: &Vars) -> Result<Option<Rendered>, Error> {
        let source = text.text.as_str();
        for statement in ["{%", "{#"] {
            if let Some(at) = source.find(statement) {
                return Err(Error {
                    range: at..at + 2,
                    message: format!("`{statement}` is not allowed in a spec"),
                    help: Some("only expressions: {{ name }}, {{ 2 * x }}".into()),
                });
            }
        }
        if !source.contains("{{") {
            return Ok(None);
        }
        let mut out = Text::new();
        let mut at = 0;
        while let Some(open) = source[at..].find("{{").map(|i| at + i) {
            let Some(close) = source[open..].find("}}").map(|i| open + i) else {
                return Err(Error {
                    range: open..open + 2,
                    message: "`{{` is never closed".into(),
                    help: Some("close it with `}}`".into()),
                });
            };
            let end = close + 2;
            let value = self
                .evaluate(&source[open + 2..close], vars)
                .map_err(|(message, help)| Error { range: open..end, message, help })?;
            if open == 0 && end == source.len() {
                return Ok(Some(Rendered::Typed(value)));
            }
            out.push(text, at..open);
            out.push_rendered(&plain(&value), text, open..end);
            at = end;
            if out.text.len() > MAX_OUTPUT {
                return Err(Error {
                    range: open..end,
                    message: format!("the text grows beyond {MAX_OUTPUT} bytes"),
                    help: None,
                });
            }
        }
        out.push(text, at..source.len());
        Ok(Some(Rendered::Text(out)))
    }

    /// Evaluates one expression to a scalar.
    ///
    /// # Errors
    /// A message, and a remedy where one is known.
    pub fn evaluate(
        &self,
        expression: &str,
        vars: &Vars,
    ) -> Result<Json, (String, Option<String>)> {
        if expression.len() > MAX_EXPRESSION {
            return Err((format!("an expression has at most {MAX_EXPRESSION} bytes"), None));
        }
        let expression = expression.trim();
        if expression.is_empty() {
            return Err(("an empty expression".into(), Some("name a variable".into())));
        }
        let compiled = self
            .environment
            .compile_expression(expression)
            .map_err(|e| (format!("`{expression}` is no expression: {}", reason(&e)), None))?;
        let context = nested(vars);
        let mut undefined: Vec<String> = compiled
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| context.get(name.as_str()).is_none())
            .collect();
        undefined.sort();
        if let Some(name) = undefined.first() {
            let known: Vec<&str> = vars.keys().map(String::as_str).collect();
            let help = match nearest(name, known.iter().copied()) {
                None if name == "trained" => {
                    "the trained set of a transform stands in single braces: {trained}".into()
                }
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "no sweep defines a variable here".into(),
                None => format!("the variables here are {}", known.join(", ")),
            };
            return Err((format!("there is no variable `{name}`"), Some(help)));
        }
        let value = compiled
            .eval(minijinja::value::Serde(&context))
            .map_err(|e| (format!("`{expression}` has no value: {}", reason(&e)), None))?;
        match serde_json::to_value(&value) {
            Ok(scalar @ (Json::Bool(_) | Json::Number(_) | Json::String(_))) => Ok(scalar),
            _ => Err((format!("`{expression}` is not a number, a string or a boolean"), None)),
        }
    }
}

fn reason(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// `{"schedule.lr": 1}` as `{"schedule": {"lr": 1}}`, so that expressions can name spec paths.
fn nested(vars: &Vars) -> Json {
    let mut root = serde_json::Map::new();
    for (key, value) in vars {
        let mut parts = key.split('.').peekable();
        let mut table = &mut root;
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value.clone());
                break;
            }
            let slot = table.entry(part).or_insert_with(|| Json::Object(serde_json::Map::new()));
            let Json::Object(inner) = slot else { break };
            table = inner;
        }
    }
    Json::Object(root)
}

/// A scalar as it stands in a rendered string: strings bare, numbers at their shortest.
#[must_use]
pub fn plain(value: &Json) -> String {
    match value {
        Json::String(s) => s.clone(),
        Json::Number(n) => match n.as_f64().filter(|_| n.is_f64()) {
            Some(x) if x.fract() == 0.0 && x.abs() < 1e15 => format!("{x:.1}"),
            Some(x) if x.abs() >= 1e-5 && x.abs() < 1e16 => format!("{x}"),
            Some(x) => format!("{x:e}"),
            None => n.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Text {
        let source =
            std::sync::Arc::new(crate::diag::Source { name: "t".into(), text: format!("k={s:?}") });
        match crate::spec::node::parse_value(&source, 2).unwrap().value {
            crate::spec::node::Value::String(text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn vars() -> Vars {
        Vars::from([
            ("alpha".into(), Json::from(0.2)),
            ("theta".into(), Json::from("100k")),
            ("n".into(), Json::from(3)),
            ("schedule.lr".into(), Json::from(3e-4)),
        ])
    }

    fn render(s: &str) -> Result<String, String> {
        match Engine::default().render(&text(s), &vars()) {
            Ok(Some(Rendered::Text(text))) => Ok(text.text),
            Ok(Some(Rendered::Typed(value))) => Ok(format!("typed {value}")),
            Ok(None) => Ok(s.to_owned()),
            Err(e) => Err(format!("{} {}", e.message, e.help.unwrap_or_default())),
        }
    }

    #[test]
    fn expressions_render_and_whole_ones_keep_their_type() {
        assert_eq!(render("plain").unwrap(), "plain");
        assert_eq!(render("geo(theta={{ theta }})").unwrap(), "geo(theta=100k)");
        assert_eq!(render("a{{ alpha }}_n{{ n * 2 }}").unwrap(), "a0.2_n6");
        assert_eq!(render("{{ alpha }}").unwrap(), "typed 0.2");
        assert_eq!(render("{{ schedule.lr }}").unwrap(), "typed 0.0003");
        assert_eq!(render("x{{ 'big' if n > 2 else 'small' }}").unwrap(), "xbig");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(render("{{ alhpa }}").unwrap_err().contains("did you mean `alpha`"));
        assert!(render("{{ zzz }}").unwrap_err().contains("the variables here are"));
        assert!(render("a {{ n").unwrap_err().contains("never closed"));
        assert!(render("{% set x = 1 %}").unwrap_err().contains("not allowed"));
        assert!(render("{{ }}").unwrap_err().contains("empty"));
        assert!(render("{{ n + }}").unwrap_err().contains("no expression"));
        assert!(render("{{ [n] }}").unwrap_err().contains("not a number"));
        assert!(render("{{ n|upper }}").is_err());
        assert!(render("{{ range(9) }}").is_err());
    }

    #[test]
    fn bombs_end_in_an_error() {
        for bomb in [
            "x{{ theta * 1000000000 }}".to_owned(),
            "x{{ 'a' * 100000000 * 100000000 }}".to_owned(),
            "x{{ theta * 10000 }}".to_owned(),
            format!("x{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
            format!("x{{{{ {} }}}}", vec!["theta"; 5000].join("~")),
            "x{{ 10 ** 10 ** 10 }}".to_owned(),
            "{{ theta }}".repeat(2000),
        ] {
            assert!(render(&bomb).is_err(), "{}", &bomb[..40]);
        }
    }
}
