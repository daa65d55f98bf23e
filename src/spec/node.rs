//! The document as written: every key and value with its place.
//!
//! Types of the spec carry no spans (`Spanned` does not survive serde's buffering); whoever has
//! something to say about a value looks its place up here, by path.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::hints;
use crate::diag::{Diagnostic, Place, Source};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value's place, or that of the table header.
    pub place: Place,
    /// The value.
    pub value: Value,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    String(Text),
    /// A 64-bit integer.
    Integer(i64),
    /// A float, possibly `nan` or `inf`.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A date or time, which no key of a spec takes.
    Datetime(String),
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, unquoted.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// Its value.
    pub value: Node,
}

/// A string that knows which bytes of the source each of its bytes came from, also after
/// templates were rendered in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The string.
    pub text: String,
    /// Pieces in order: length in `text`, first source byte, and whether bytes correspond one
    /// to one (a literal piece) or the piece as a whole came from `source_len` bytes.
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    len: usize,
    source: std::ops::Range<usize>,
    literal: bool,
}

impl Text {
    /// A string whose value stands at `span` of `source`, quotes included.
    fn parsed(text: String, source: &str, span: std::ops::Range<usize>) -> Self {
        let raw = &source[span.clone()];
        let quote = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
        let inner = raw.get(quote..raw.len().saturating_sub(quote));
        let (source, literal) = if inner == Some(text.as_str()) {
            (span.start + quote..span.end - quote, true)
        } else {
            // Escapes: bytes no longer correspond, so findings point at the whole string.
            (span, false)
        };
        let len = text.len();
        Self { text, pieces: vec![Piece { len, source, literal }] }
    }

    /// An empty string to which pieces are added by [`Text::push`] and [`Text::push_rendered`].
    pub fn new() -> Self {
        Self { text: String::new(), pieces: Vec::new() }
    }

    /// Appends bytes `range` of `from`, keeping where they came from.
    pub fn push(&mut self, from: &Text, range: std::ops::Range<usize>) {
        let source = from.source_span(range.clone());
        let literal = source.len() == range.len();
        self.text.push_str(&from.text[range.clone()]);
        self.pieces.push(Piece { len: range.len(), source, literal });
    }

    /// Appends a text that stands for bytes `range` of `from` (a rendered template).
    pub fn push_rendered(&mut self, rendered: &str, from: &Text, range: std::ops::Range<usize>) {
        let source = from.source_span(range);
        self.text.push_str(rendered);
        self.pieces.push(Piece { len: rendered.len(), source, literal: false });
    }

    /// The source bytes that bytes `range` of the text came from.
    pub fn source_span(&self, range: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let Some(last) = self.pieces.last() else { return 0..0 };
        let (mut start, mut end) = (last.source.end, None);
        let mut offset = 0;
        let mut found = false;
        for piece in &self.pieces {
            let here = offset..offset + piece.len;
            if !found && range.start < here.end {
                start = piece.map(range.start - here.start, false);
                found = true;
            }
            if end.is_none() && range.end <= here.end {
                end = Some(piece.map(range.end.saturating_sub(here.start), true));
            }
            offset = here.end;
        }
        let end = end.unwrap_or(last.source.end);
        start..end.max(start)
    }
}

impl Piece {
    fn map(&self, offset: usize, is_end: bool) -> usize {
        match (self.literal, is_end) {
            (true, _) => self.source.start + offset,
            (false, false) => self.source.start,
            (false, true) => self.source.end,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// What the value is, as messages name it.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// The entries, if it is a table.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The items, if it is an array.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The text, if it is a string.
    pub fn text(&self) -> Option<&Text> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        self.text().map(|text| text.text.as_str())
    }

    /// The entry of a key of this table.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a key of this table.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value at a path of keys; a key that is a number indexes an array.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| match &node.value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => node.get(key),
        })
    }

    /// The place of the value at a path, or of the nearest table above it that exists.
    pub fn place_of(&self, path: &[&str]) -> Place {
        (0..=path.len())
            .rev()
            .find_map(|n| self.at(&path[..n]))
            .map_or_else(|| self.place.clone(), |node| node.place.clone())
    }

    /// A place inside this string value: bytes `range` of its text.
    pub fn inside(&self, range: std::ops::Range<usize>) -> Place {
        match self.text() {
            Some(text) => Place::new(&self.place.source, text.source_span(range)),
            None => self.place.clone(),
        }
    }

    /// Sets the value at a path of keys, making the tables between; the last writer wins.
    ///
    /// # Errors
    /// The place of a value on the path that is no table.
    pub fn set(&mut self, path: &[String], key_place: &Place, value: Node) -> Result<(), Place> {
        let Some((key, rest)) = path.split_first() else {
            *self = value;
            return Ok(());
        };
        let Value::Table(entries) = &mut self.value else {
            return Err(self.place.clone());
        };
        let index = entries.iter().position(|entry| &entry.key == key).unwrap_or_else(|| {
            entries.push(Entry {
                key: key.clone(),
                key_place: key_place.clone(),
                value: Node { place: key_place.clone(), value: Value::Table(Vec::new()) },
            });
            entries.len() - 1
        });
        let entry = &mut entries[index];
        if rest.is_empty() {
            entry.key_place = key_place.clone();
        }
        entry.value.set(rest, key_place, value)
    }

    /// Merges `over` into this node: tables key by key, everything else replaced.
    pub fn merge(&mut self, over: Node) {
        match (&mut self.value, over.value) {
            (Value::Table(under), Value::Table(over_entries)) => {
                self.place = over.place;
                for entry in over_entries {
                    match under.iter_mut().find(|e| e.key == entry.key) {
                        Some(existing) => {
                            existing.key_place = entry.key_place;
                            existing.value.merge(entry.value);
                        }
                        None => under.push(entry),
                    }
                }
            }
            (slot, value) => {
                *slot = value;
                self.place = over.place;
            }
        }
    }
}

/// Parses a TOML text into a document; all syntax errors in one go.
///
/// # Errors
/// A diagnostic for each syntax error.
pub fn parse(source: &Arc<Source>) -> Result<Node, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if errors.is_empty() {
        let span = table.span();
        let place = Place::new(source, span.start..span.start);
        return Ok(Node { place, value: convert_table(table.get_ref(), source, &source.text) });
    }
    // One a line: the parser goes on after a mistake and often stumbles over it again.
    let mut by_line = std::collections::BTreeMap::new();
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let line = source.text[..span.start.min(source.text.len())].matches('\n').count();
        by_line.entry(line).or_insert_with(|| {
            let message = format!("not valid TOML: {}", one_line(error.message()));
            let error = Diagnostic::error("spec::syntax", message);
            let error = error.at(Place::new(source, span), "here");
            match source.text.lines().nth(line).and_then(hints::of_syntax) {
                Some(help) => error.help(help),
                None => error,
            }
        });
    }
    Err(by_line.into_values().collect())
}

/// Parses one TOML value, as `--set key=value` takes it; a bare word is a string.
///
/// # Errors
/// The parser's message and the byte range it is about.
pub fn parse_value(
    source: &Arc<Source>,
    offset: usize,
) -> Result<Node, (String, std::ops::Range<usize>)> {
    let text = &source.text[offset..];
    let place = Place::new(source, offset..source.text.len());
    match DeValue::parse(text) {
        Ok(value) => {
            let mut node = convert(value.get_ref(), &place, text);
            // Spans inside the value are relative to it; findings point at all of it.
            node.relocate(&place);
            Ok(node)
        }
        Err(_) if is_bare_word(text) => {
            let value = Value::String(Text {
                text: text.to_owned(),
                pieces: vec![Piece {
                    len: text.len(),
                    source: offset..source.text.len(),
                    literal: true,
                }],
            });
            Ok(Node { place, value })
        }
        Err(error) => {
            let span = error.span().unwrap_or(0..text.len());
            Err((one_line(error.message()), span.start + offset..span.end + offset))
        }
    }
}

impl Node {
    fn relocate(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.relocate(place)),
            Value::Table(entries) => {
                for entry in entries {
                    entry.key_place = place.clone();
                    entry.value.relocate(place);
                }
            }
            Value::String(text) => {
                let len = text.text.len();
                text.pieces = vec![Piece { len, source: place.span.clone(), literal: false }];
            }
            _ => {}
        }
    }
}

fn is_bare_word(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || "_-./:+ ".contains(c))
        && text.chars().any(char::is_alphabetic)
        && !text.starts_with(' ')
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

fn convert_table(table: &DeTable<'_>, source: &Arc<Source>, text: &str) -> Value {
    let entries = table.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        key_place: Place::new(source, key.span()),
        value: convert(value.get_ref(), &Place::new(source, value.span()), text),
    });
    Value::Table(entries.collect())
}

fn convert(value: &DeValue<'_>, place: &Place, text: &str) -> Node {
    let source = &place.source;
    let value = match value {
        DeValue::String(s) => {
            let span = place.span.start.min(text.len())..place.span.end.min(text.len());
            Value::String(Text::parsed(s.to_string(), text, span))
        }
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Value::Integer(i),
            // Too large for i64: as a float it is refused with a clear message.
            Err(_) => Value::Float(i.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(f) => Value::Float(f.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(d) => Value::Datetime(d.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| convert(item.get_ref(), &Place::new(source, item.span()), text))
                .collect(),
        ),
        DeValue::Table(table) => convert_table(table, source, text),
    };
    Node { place: place.clone(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { name: "a.toml".into(), text: text.into() })
    }

    #[test]
    fn places_point_at_keys_values_and_inside_strings() {
        let source = source("[a]\nb = \"geo(theta=1k)\"\nc = \"x\\ty\"\n");
        let root = parse(&source).unwrap();
        let b = root.at(&["a", "b"]).unwrap();
        assert_eq!(b.inside(4..9).line_col(), "a.toml:2:10");
        assert_eq!(&source.text[b.inside(4..9).span], "theta");
        // Escapes break the correspondence: the whole string is shown.
        let c = root.at(&["a", "c"]).unwrap();
        assert_eq!(&source.text[c.inside(1..2).span], "\"x\\ty\"");
        assert_eq!(root.place_of(&["a", "nope"]).line_col(), "a.toml:1:1");
    }

    #[test]
    fn a_rendered_text_maps_back_to_its_template() {
        let source = source("f = \"geo(theta={{ t }}, x=1)\"");
        let root = parse(&source).unwrap();
        let from = root.at(&["f"]).unwrap().text().unwrap().clone();
        let mut text = Text::new();
        let open = from.text.find("{{").unwrap();
        let close = from.text.find("}}").unwrap() + 2;
        text.push(&from, 0..open);
        text.push_rendered("500k", &from, open..close);
        text.push(&from, close..from.text.len());
        assert_eq!(text.text, "geo(theta=500k, x=1)");
        let at = |needle: &str| {
            let start = text.text.find(needle).unwrap();
            source.text[text.source_span(start..start + needle.len())].to_owned()
        };
        assert_eq!(at("theta"), "theta");
        assert_eq!(at("500k"), "{{ t }}");
        assert_eq!(at("x=1"), "x=1");
        assert_eq!(at("00k, x"), "{{ t }}, x");
    }

    #[test]
    fn all_syntax_errors_come_at_once_and_have_places() {
        let source = source("a = \nb = [1, 2\nc = 3\n");
        let errors = parse(&source).unwrap_err();
        assert!(errors[0].places[0].0.line_col().starts_with("a.toml:1:"), "{errors:?}");
    }

    #[test]
    fn merging_is_key_by_key_and_the_last_writer_wins() {
        let base = source("[a]\nx = 1\ny = [1, 2]\n");
        let over = source("[a]\ny = [3]\nz = 2\n");
        let mut root = parse(&base).unwrap();
        root.merge(parse(&over).unwrap());
        assert!(matches!(root.at(&["a", "x"]).unwrap().value, Value::Integer(1)));
        assert_eq!(root.at(&["a", "y"]).unwrap().items().len(), 1);
        assert!(matches!(root.at(&["a", "z"]).unwrap().value, Value::Integer(2)));
    }

    #[test]
    fn set_values_are_toml_or_bare_words() {
        let value = |text: &str| parse_value(&source(text), 2).map(|node| node.value);
        assert!(matches!(value("k=3e-4"), Ok(Value::Float(_))));
        assert!(matches!(value("k=[1, 2]"), Ok(Value::Array(_))));
        assert!(matches!(value("k=bytes"), Ok(Value::String(t)) if t.text == "bytes"));
        assert!(value("k=[1, 2").is_err());
        assert!(value("k=").is_err());
    }
}
