//! Holds a document against the schema: every unknown key, wrong type and value out of range, in
//! one pass, each with its place; and turns it into plain JSON for serde.

use serde_json::{Map, Number, Value as Json};

use super::hints::{self, nearest, nearest_key};
use super::node::{Entry, Node, Value};
use super::number;
use crate::diag::Diagnostic;

/// Whether a string with `{{` is taken for whatever it will become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Templates {
    /// The document as written: a template may stand for any value.
    Pending,
    /// After rendering: values are what they are.
    Rendered,
}

/// Whole numbers below this are what was written, also where they came as a float or in quotes.
const EXACT: f64 = (1u64 << 53) as f64;

/// Checks `document` against `schema` (the root, which holds `$defs`). The JSON has numbers in
/// quotes turned into numbers; it is complete only if no error was found.
pub fn walk(document: &Node, schema: &Json, templates: Templates) -> (Json, Vec<Diagnostic>) {
    let mut walker = Walker { root: schema, templates, found: Vec::new() };
    let json = walker.value(document, schema, &Path { text: String::new() });
    (json, walker.found)
}

struct Walker<'a> {
    root: &'a Json,
    templates: Templates,
    found: Vec<Diagnostic>,
}

/// Where in the document: how messages name the value.
struct Path {
    text: String,
}

impl Path {
    fn name(&self) -> String {
        if self.text.is_empty() { "the spec".into() } else { format!("`{}`", self.text) }
    }
}

impl<'a> Walker<'a> {
    fn resolve(&self, schema: &'a Json) -> &'a Json {
        match schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix('#')) {
            Some(pointer) => self.root.pointer(pointer).unwrap_or(schema),
            None => schema,
        }
    }

    fn value(&mut self, node: &Node, schema: &'a Json, path: &Path) -> Json {
        let schema = self.resolve(schema);
        if self.templates == Templates::Pending
            && node.as_str().is_some_and(|text| text.contains("{{"))
        {
            return Json::Null;
        }
        let types = types(schema);
        let quoted_number = is_quoted_number(schema);
        match &node.value {
            Value::Table(entries) if types.contains(&"object") => {
                self.table(node, entries, schema, path)
            }
            Value::Array(items) if types.contains(&"array") => {
                self.array(node, items, schema, path)
            }
            Value::Bool(b) if types.contains(&"boolean") => Json::Bool(*b),
            Value::Integer(i) if types.contains(&"integer") || types.contains(&"number") => {
                match self.in_range(node, *i as f64, schema, path) {
                    true => Json::Number((*i).into()),
                    false => Json::Null,
                }
            }
            Value::Float(x) if types.contains(&"number") || types.contains(&"integer") => {
                self.number(node, *x, schema, path)
            }
            Value::String(text) if quoted_number => {
                if is_word_of(&text.text, schema) {
                    return Json::String(text.text.clone());
                }
                match number::parse(&text.text) {
                    Some(x) => self.number(node, x, schema, path),
                    None => self.wrong_type(node, schema, path),
                }
            }
            Value::String(text) if types.contains(&"string") => {
                self.one_of(node, &text.text, schema, path);
                Json::String(text.text.clone())
            }
            _ => self.wrong_type(node, schema, path),
        }
    }

    fn table(&mut self, node: &Node, entries: &[Entry], schema: &'a Json, path: &Path) -> Json {
        let properties = schema.get("properties").and_then(Json::as_object);
        let mut json = Map::new();
        for entry in entries {
            let known = properties.and_then(|p| p.get(&entry.key));
            let open = schema.get("additionalProperties").filter(|more| more.is_object());
            let text = if path.text.is_empty() {
                entry.key.clone()
            } else {
                format!("{}.{}", path.text, entry.key)
            };
            let inner = Path { text };
            match known.or(open) {
                Some(schema) => {
                    let value = self.value(&entry.value, schema, &inner);
                    json.insert(entry.key.clone(), value);
                }
                None => self.unknown_key(entry, properties, path),
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        for key in required.filter_map(Json::as_str).filter(|key| node.get(key).is_none()) {
            self.found.push(
                Diagnostic::error(
                    "spec::missing-key",
                    format!("{} needs the key `{key}`", path.name()),
                )
                .at(node.place.clone(), format!("`{key}` is missing")),
            );
        }
        Json::Object(json)
    }

    fn array(&mut self, node: &Node, items: &[Node], schema: &'a Json, path: &Path) -> Json {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        let (min, max) = (bound("minItems").unwrap_or(0), bound("maxItems"));
        let len = items.len() as u64;
        if len < min || max.is_some_and(|max| len > max) {
            let wanted = match max {
                Some(max) if max == min => format!("exactly {min}"),
                _ => format!("at least {min}"),
            };
            self.found.push(
                Diagnostic::error(
                    "spec::wrong-length",
                    format!("{} needs {wanted} values, not {len}", path.name()),
                )
                .at(node.place.clone(), format!("{len} values")),
            );
        }
        let item_schema = schema.get("items").unwrap_or(&Json::Bool(true));
        let values: Vec<Json> =
            items.iter().map(|item| self.value(item, item_schema, path)).collect();
        if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
            self.unique(items, &values, path);
        }
        Json::Array(values)
    }

    fn unique(&mut self, items: &[Node], values: &[Json], path: &Path) {
        for (i, value) in values.iter().enumerate() {
            let Some(first) = values[..i].iter().position(|v| v == value && !v.is_null()) else {
                continue;
            };
            self.found.push(
                Diagnostic::error(
                    "spec::duplicate-value",
                    format!("{} holds {value} twice", path.name()),
                )
                .at(items[i].place.clone(), "again")
                .at(items[first].place.clone(), "first")
                .help("each value may stand there once"),
            );
        }
    }

    fn number(&mut self, node: &Node, x: f64, schema: &'a Json, path: &Path) -> Json {
        let integer = types(schema).contains(&"integer");
        if integer && x.is_finite() && x.fract() != 0.0 {
            return self.wrong_type(node, schema, path);
        }
        if !self.in_range(node, x, schema, path) {
            Json::Null
        } else if !integer {
            Number::from_f64(x).map_or(Json::Null, Json::Number)
        } else if x.abs() < EXACT {
            Json::Number((x as i64).into())
        } else {
            let problem = format!("is too large to be read exactly: {x}");
            self.found.push(
                Diagnostic::error("spec::out-of-range", format!("{} {problem}", path.name()))
                    .at(node.place.clone(), "as it stands, it would be rounded")
                    .help(format!(
                        "whole numbers go to {}, without quotes, point and exponent",
                        i64::MAX
                    )),
            );
            Json::Null
        }
    }

    /// Whether a number is in range; a value that is not counts as absent for later checks.
    fn in_range(&mut self, node: &Node, x: f64, schema: &Json, path: &Path) -> bool {
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        let problem = if !x.is_finite() {
            Some("must be a finite number".to_owned())
        } else if let Some(above) = bound("exclusiveMinimum").filter(|&above| x <= above) {
            Some(format!("must be above {above}, not {x}"))
        } else if let Some(min) = bound("minimum").filter(|&min| x < min) {
            Some(format!("must be at least {min}, not {x}"))
        } else if let Some(max) = bound("maximum").filter(|&max| x > max) {
            Some(format!("must be at most {max}, not {x}"))
        } else {
            bound("multipleOf")
                .filter(|&step| x % step != 0.0)
                .map(|step| format!("must be a multiple of {step}, not {x}"))
        };
        let Some(problem) = problem else { return true };
        self.found.push(
            Diagnostic::error("spec::out-of-range", format!("{} {problem}", path.name()))
                .at(node.place.clone(), problem),
        );
        false
    }

    fn one_of(&mut self, node: &Node, text: &str, schema: &Json, path: &Path) {
        let Some(values) = schema.get("enum").and_then(Json::as_array) else { return };
        let values: Vec<&str> = values.iter().filter_map(Json::as_str).collect();
        if values.contains(&text) {
            return;
        }
        let list = values.iter().map(|v| format!("\"{v}\"")).collect::<Vec<_>>().join(", ");
        let mut diagnostic = Diagnostic::error(
            "spec::unknown-value",
            format!("{} cannot be \"{text}\"", path.name()),
        )
        .at(node.place.clone(), format!("one of {list}"));
        if let Some(near) = nearest(text, values) {
            diagnostic = diagnostic.help(format!("did you mean \"{near}\"?"));
        }
        self.found.push(diagnostic);
    }

    fn wrong_type(&mut self, node: &Node, schema: &Json, path: &Path) -> Json {
        let wanted: Vec<&str> = types(schema)
            .into_iter()
            .filter(|&t| t != "string" || !is_quoted_number(schema))
            .map(|t| match t {
                "object" => "a table",
                "array" => "an array",
                "integer" => "a whole number",
                "number" => "a number",
                "boolean" => "true or false",
                _ => "a string",
            })
            .collect();
        let wanted = wanted.join(" or ");
        let found = match &node.value {
            Value::String(text) => format!("the string \"{}\"", text.text),
            Value::Float(x) => format!("the number {x}"),
            _ => node.kind().to_owned(),
        };
        let mut error = Diagnostic::error(
            "spec::wrong-type",
            format!("{} must be {wanted}, not {found}", path.name()),
        )
        .at(node.place.clone(), format!("expected {wanted}"));
        let items = schema.get("items").map(|items| types(self.resolve(items)));
        let items = items.unwrap_or_default();
        let source = node.place.source.text.get(node.place.span.clone()).unwrap_or_default();
        let found = match &node.value {
            Value::Table(_) => hints::Found::Table,
            Value::String(text) => hints::Found::Text(&text.text),
            _ => hints::Found::Other(source),
        };
        if let Some(help) = hints::of_type(&path.text, &found, &types(schema), &items) {
            error = error.help(help);
        }
        self.found.push(error);
        Json::Null
    }

    fn unknown_key(&mut self, entry: &Entry, known: Option<&Map<String, Json>>, path: &Path) {
        let table = if path.text.is_empty() { "a spec".into() } else { format!("[{}]", path.text) };
        let keys: Vec<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let help = match nearest_key(&entry.key, &keys) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match self.table_of(&entry.key) {
                Some(right) => format!("`{}` is a key of [{right}]", entry.key),
                None => format!("the keys of {table} are {}", keys.join(", ")),
            },
        };
        self.found.push(
            Diagnostic::error(
                "spec::unknown-key",
                format!("unknown key `{}` in {table}", entry.key),
            )
            .at(entry.key_place.clone(), format!("not a key of {table}"))
            .help(help),
        );
    }

    /// The table in which a key would be right.
    fn table_of(&self, key: &str) -> Option<&'a str> {
        let tables = self.root.get("properties")?.as_object()?;
        tables.iter().find_map(|(name, schema)| {
            let inner = self.resolve(schema);
            let has = inner.get("properties").is_some_and(|p| p.get(key).is_some());
            has.then_some(name.as_str())
        })
    }
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one.as_str()],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a string that stands there is a number in quotes.
fn is_quoted_number(schema: &Json) -> bool {
    let types = types(schema);
    schema.get("pattern").is_some()
        && types.contains(&"string")
        && (types.contains(&"number") || types.contains(&"integer"))
}

/// Whether a string is one of the words that a quoted number's pattern allows (`"all"`).
fn is_word_of(text: &str, schema: &Json) -> bool {
    let pattern = schema.get("pattern").and_then(Json::as_str).unwrap_or_default();
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphabetic())
        && pattern.starts_with(&format!("^{text}$|"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diag::Source;
    use crate::spec::{node, schema};

    fn errors(text: &str) -> Vec<Diagnostic> {
        let source = Arc::new(Source { name: "a.toml".into(), text: text.into() });
        let document = node::parse(&source).unwrap();
        walk(&document, &schema::schema(), Templates::Pending).1
    }

    fn one(text: &str) -> (String, &'static str, String) {
        let errors = errors(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let error = &errors[0];
        (error.places[0].0.line_col(), error.code, error.message.clone() + &error.help.join(" "))
    }

    #[test]
    fn each_mistake_has_its_code_and_place() {
        for (text, place, code, words) in [
            ("[model]\nhaed_dim = 16", "2:1", "spec::unknown-key", "did you mean `head_dim`"),
            ("[schedule]\nlerning_rate = 1", "2:1", "spec::unknown-key", "did you mean `lr`?"),
            ("[model]\nn_layer = 16", "2:1", "spec::unknown-key", "did you mean `layers`?"),
            ("[model]\nseq_len = 16", "2:1", "spec::unknown-key", "is a key of [schedule]"),
            ("[modle]\nlayers = 2", "1:2", "spec::unknown-key", "did you mean `model`"),
            ("[model]\nlayers = \"two\"", "2:10", "spec::wrong-type", "whole number"),
            ("[experiment]\nseeds = 42", "2:9", "spec::wrong-type", "write [42]"),
            ("[eval]\nlengths = \"64,128\"", "2:11", "spec::wrong-type", "write [64, 128]"),
            ("[config]\nname = \"a\"", "1:1", "spec::wrong-type", "[[config]], with two"),
            ("[schedule]\nwarmup_frac = \"2%\"", "2:15", "spec::wrong-type", "a fraction: 0.02"),
            ("[data.train]\nmax_tokens = \"5T\"", "2:14", "spec::wrong-type", "k, M and G"),
            ("[model]\ntie_embeddings = \"true\"", "2:18", "spec::wrong-type", "without quotes"),
            ("[model]\nlayers = 2.5", "2:10", "spec::wrong-type", "2.5"),
            ("[schedule]\nbatch_size = -8", "2:14", "spec::out-of-range", "at least 1"),
            // Beyond i64, and what an f64 would round: another seed than the one that was written.
            (
                "[experiment]\nseeds = [9223372036854775808]",
                "2:10",
                "spec::out-of-range",
                "exactly",
            ),
            (
                "[experiment]\nseeds = [\"9007199254740993\"]",
                "2:10",
                "spec::out-of-range",
                "exactly",
            ),
            ("[schedule]\nlr = nan", "2:6", "spec::out-of-range", "finite"),
            ("[schedule]\ngrad_clip = 0", "2:13", "spec::out-of-range", "above 0"),
            ("[model]\nhead_dim = 15", "2:12", "spec::out-of-range", "multiple of 2"),
            ("[model]\nlayers = 99999999999999999999", "2:10", "spec::out-of-range", "at most"),
            ("[schedule]\ndecay = \"cosin\"", "2:9", "spec::unknown-value", "\"cosine\""),
            ("[experiment]\nseeds = [1, 1]", "2:13", "spec::duplicate-value", "twice"),
            ("[experiment]\nseeds = []", "2:9", "spec::wrong-length", "at least 1"),
            ("[schedule]\nbetas = [0.9]", "2:9", "spec::wrong-length", "exactly 2"),
            (
                "[data]\ntokenizer = { bpe = 300, train_bpe = 300 }",
                "2:15",
                "spec::unknown-key",
                "bpe",
            ),
            ("model = 3", "1:9", "spec::wrong-type", "a table"),
            ("[eval]\nchunks = \"any\"", "2:10", "spec::wrong-type", "whole number"),
            ("config = \"a\"", "1:10", "spec::wrong-type", "an array"),
            ("[report.win]\nmin_seeds_better = 0.5", "2:20", "spec::wrong-type", "a string, not"),
        ] {
            let (at, found, message) = one(text);
            assert_eq!((at.as_str(), found), (format!("a.toml:{place}").as_str(), code), "{text}");
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn quoted_numbers_words_and_templates_are_taken() {
        let text = "[schedule]\nmax_steps = \"2k\"\nlr = \"{{ lr }}\"\n[eval]\nchunks = \"all\"\n\
                    [data.train]\nmax_tokens = \"50M\"";
        assert!(errors(text).is_empty(), "{:?}", errors(text));
        let source = Arc::new(Source { name: "a.toml".into(), text: text.into() });
        let document = node::parse(&source).unwrap();
        let (json, _) = walk(&document, &schema::schema(), Templates::Pending);
        assert_eq!(json["schedule"]["max_steps"], 2000);
        assert_eq!(json["data"]["train"]["max_tokens"], 50_000_000);
        assert_eq!(json["eval"]["chunks"], "all");
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let found = errors("[model]\nhaed_dim = 16\n[schedule]\nbatch_size = -8\nlr = \"x\"");
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
