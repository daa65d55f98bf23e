//! Findings about frequency sets, at their places, each kind told once.

use crate::diag::{Diagnostic, Place, Severity};
use crate::freq::{self, FrequencySet};
use crate::spec::node::Node;

/// An error inside an expression, at its place in the TOML file.
pub fn error_at(node: &Node, error: freq::Error) -> Diagnostic {
    let place = node.inside(error.span.clone());
    diagnostic(error, place)
}

pub fn diagnostic(error: freq::Error, place: Place) -> Diagnostic {
    let diagnostic = Diagnostic::error(error.code, error.message).at(place, error.label);
    match error.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// Findings about many configs: those of one kind at one place are told once, by the first, so
/// that one table with many configs is.
#[derive(Default)]
pub struct Grouped {
    groups: Vec<(Diagnostic, Vec<String>)>,
}

impl Grouped {
    /// Adds a finding about `who`.
    pub fn add(&mut self, who: &str, mut diagnostic: Diagnostic) {
        let same =
            |d: &Diagnostic| d.code == diagnostic.code && d.places[0].0 == diagnostic.places[0].0;
        if let Some((_, others)) = self.groups.iter_mut().find(|(d, _)| same(d)) {
            if others.last().is_none_or(|last| last != who) {
                others.push(who.to_owned());
            }
        } else {
            diagnostic.message = format!("{who}: {}", diagnostic.message);
            self.groups.push((diagnostic, Vec::new()));
        }
    }

    pub fn checks(&mut self, who: &str, set: &FrequencySet, place: impl Fn(&freq::Check) -> Place) {
        for check in &set.checks {
            let severity = match check.severity {
                freq::Severity::Warning => Severity::Warning,
                freq::Severity::Info => Severity::Note,
            };
            let message = check.message.as_str();
            self.add(who, Diagnostic::new(check.code, severity, message).at(place(check), ""));
        }
    }

    /// The findings, each with whom it is about besides the first.
    pub fn told(self) -> Vec<Diagnostic> {
        self.groups.into_iter().map(|(diagnostic, others)| likewise(diagnostic, &others)).collect()
    }
}

/// Adds to a finding whom it is about besides.
pub fn likewise<S: AsRef<str>>(diagnostic: Diagnostic, others: &[S]) -> Diagnostic {
    match others {
        [] => diagnostic,
        [one] => diagnostic.help(format!("likewise {}", one.as_ref())),
        [first, .., last] => {
            let (first, last) = (first.as_ref(), last.as_ref());
            diagnostic.help(format!("likewise {} more, {first} to {last}", others.len()))
        }
    }
}
