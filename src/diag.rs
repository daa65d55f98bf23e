//! Diagnostics: what is wrong, where it stands, and what would be right.
//!
//! The only module that knows the renderer. It uses nothing of the crate, so every layer may
//! report through it.

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Suspicious, but carried out as written.
    Warning,
    /// Refused.
    Error,
}

/// A text that diagnostics point into: a file, `--set`, or an expression of the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What stands before `:line:col`: the path as the user gave it, or `<expr>`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A byte range of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Byte range in it.
    pub span: Range<usize>,
}

impl Place {
    /// The place `span` of `source`.
    #[must_use]
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// `file:line:col`, both counted from 1, columns in characters.
    #[must_use]
    pub fn line_col(&self) -> String {
        let start = floor_char_boundary(&self.source.text, self.span.start);
        let before = &self.source.text[..start];
        let line = before.matches('\n').count() + 1;
        let col = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{col}", self.source.name)
    }
}

/// One finding: a code, a message, where it stands, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, `layer::kind`; each error code has a sample in `tests/specs/invalid`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one phrase.
    pub message: String,
    /// Where, and what is said under the caret there; the first is the main place.
    pub places: Vec<(Place, String)>,
    /// What would be right.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message)
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message)
    }

    /// A finding of the given severity.
    #[must_use]
    pub fn new(code: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self { code, severity, message: message.into(), places: Vec::new(), help: Vec::new() }
    }

    /// Adds a place and what is said under its caret.
    #[must_use]
    pub fn at(mut self, place: Place, label: impl Into<String>) -> Self {
        self.places.push((place, label.into()));
        self
    }

    /// Adds a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// As a JSON object: code, severity, message, place (`file:line:col`), help.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "code": self.code,
            "severity": match self.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            },
            "message": self.message,
            "place": self.places.first().map(|(place, _)| place.line_col()),
            "label": self.places.first().map(|(_, label)| label),
            "help": self.help,
        })
    }
}

/// Whether any of the findings is an error.
#[must_use]
pub fn any_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// Renders findings as text, one block each, errors underlined in their source line.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let mut group = Group::with_title(
            level.primary_title(printable(&diagnostic.message)).id(diagnostic.code),
        );
        for (i, (place, label)) in diagnostic.places.iter().enumerate() {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            group = group.element(
                Snippet::source(place.source.text.as_str())
                    .path(place.source.name.as_str())
                    .annotation(annotation(kind, place, label)),
            );
        }
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out
}

fn annotation<'a>(kind: AnnotationKind, place: &Place, label: &str) -> Annotation<'a> {
    let annotation = kind.span(caret(place));
    if label.is_empty() { annotation } else { annotation.label(printable(label)) }
}

/// A non-empty range on character boundaries, so that there is always something to underline.
fn caret(place: &Place) -> Range<usize> {
    let text = &place.source.text;
    let start = floor_char_boundary(text, place.span.start);
    let mut end = floor_char_boundary(text, place.span.end.max(start));
    if end == start {
        end += text[start..].chars().next().map_or(0, char::len_utf8);
    }
    // A long range is shown by its first line.
    let first_line = text[start..end].find('\n').map_or(end, |n| start + n.max(1));
    start..end.min(first_line)
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Control characters (a spec may hold any) must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { name: "a.toml".into(), text: text.into() })
    }

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let source = source("é = 1\nlerning_rate = 2\n");
        assert_eq!(Place::new(&source, 0..2).line_col(), "a.toml:1:1");
        assert_eq!(Place::new(&source, 3..4).line_col(), "a.toml:1:3");
        assert_eq!(Place::new(&source, 7..19).line_col(), "a.toml:2:1");
        assert_eq!(Place::new(&source, 999..1000).line_col(), "a.toml:3:1");
    }

    #[test]
    fn rendering_underlines_the_place_and_names_the_remedy() {
        let source = source("[schedule]\nlerning_rate = 1e-3\n");
        let diagnostic = Diagnostic::error("spec::unknown-key", "unknown key `lerning_rate`")
            .at(Place::new(&source, 11..23), "not a key of [schedule]")
            .help("did you mean `lr`?");
        let text = render(&[diagnostic], false);
        assert!(text.contains("error[spec::unknown-key]: unknown key `lerning_rate`"), "{text}");
        assert!(text.contains("a.toml:2:1"), "{text}");
        assert!(text.contains("^^^^^^^^^^^^ not a key of [schedule]"), "{text}");
        assert!(text.contains("help: did you mean `lr`?"), "{text}");
    }

    #[test]
    fn any_span_renders() {
        for text in ["", "\n", "é", "a\nb\n"] {
            let source = source(text);
            for start in 0..5 {
                for end in 0..5 {
                    let place = Place::new(&source, start..end);
                    let d = Diagnostic::error("x::y", "\u{1b}[31mboo").at(place, "here");
                    assert!(!render(&[d], false).contains('\u{1b}'));
                }
            }
        }
    }
}
