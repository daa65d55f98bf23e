//! From a merged document to one plain document a sweep point: sweeps carried out, templates
//! rendered, configs written out.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::sweep::{Row, Sweep};
use super::template::{Engine, Rendered, Vars, plain};
use crate::diag::{Diagnostic, any_error};
use crate::results::Swept;
use crate::spec::node::{Entry, Node, Text, Value};
use crate::spec::number;
use crate::spec::schema::schema;
use crate::spec::types::Spec;
use crate::spec::walk::{Templates, walk};

/// The tables that an experiment-wide sweep may reach into: those that make a protocol.
const PROTOCOL_TABLES: [&str; 4] = ["model", "data", "schedule", "eval"];

/// One protocol of the experiment, as a plain spec without sweeps and templates.
#[derive(Debug)]
pub struct PointDocument {
    /// Folder name, if the spec sweeps protocols: `lr=0.0003`.
    pub name: Option<String>,
    /// The rendered document; its `config` array holds every config, written out.
    pub document: Node,
    /// The same, typed.
    pub spec: Spec,
    /// Keys and variables of the experiment-wide sweep that are numbers.
    pub swept: BTreeMap<String, f64>,
    /// Where in a sweep every config stands, in the order of the document.
    pub config_swept: Vec<Option<Swept>>,
}

/// Expands a document. Findings may be warnings; points are complete only if none is an error.
pub fn expand(document: &Node, max_runs: u64) -> (Vec<PointDocument>, Vec<Diagnostic>) {
    let schema = schema();
    let (_, mut found) = walk(document, &schema, Templates::Pending);
    let engine = Engine::default();
    let mut points = Vec::new();

    let (sweep, sweep_found) = document.get("sweep").map(Sweep::read).unwrap_or_default();
    let config_nodes = document.get("config").map(Node::items).unwrap_or_default();
    let mut config_sweeps = Vec::new();
    for config in config_nodes {
        let (sweep, more) = config.get("sweep").map(Sweep::read).unwrap_or_default();
        found.extend(more);
        found.extend(plain_keys_only(&sweep));
        config_sweeps.push(sweep);
    }
    found.extend(sweep_found);
    found.extend(protocol_paths_only(&sweep));
    if let Some(refusal) = too_large(document, &sweep, &config_sweeps, max_runs) {
        found.push(refusal);
        return (points, found);
    }
    // A sweep that is itself malformed has no trustworthy rows.
    if found.iter().any(|d| d.code.starts_with("sweep::")) {
        return (points, found);
    }
    let broken = any_error(&found);
    let rows = match sweep.rows(&engine) {
        Ok(rows) => rows,
        Err(diagnostic) => {
            found.push(diagnostic);
            return (points, found);
        }
    };
    if rows.is_empty() {
        found.push(nothing_left(document.get("sweep"), "the experiment"));
    }
    for row in &rows {
        let mut inner = Expander { engine: &engine, found: Vec::new(), config_swept: Vec::new() };
        let name = (!sweep.is_empty()).then(|| point_name(row));
        let rendered = inner.point(document, row, config_nodes, &config_sweeps);
        let (json, structure) = walk(&rendered, &schema, Templates::Rendered);
        if !broken {
            inner.found.extend(structure);
        }
        for diagnostic in std::mem::take(&mut inner.found) {
            if !found.contains(&diagnostic) {
                found.push(diagnostic);
            }
        }
        if let Ok(spec) = serde_json::from_value::<Spec>(without_nulls(json)) {
            let (swept, config_swept) = (numbers(&row.vars), inner.config_swept);
            points.push(PointDocument { name, document: rendered, spec, swept, config_swept });
        } else if !any_error(&found) {
            found.push(
                Diagnostic::error("spec::internal", "the spec passed its schema but not its types")
                    .at(rendered.place.clone(), "in this spec")
                    .help("this is a bug of xp: please report it with the spec"),
            );
        }
    }
    (points, found)
}

/// Values that the walk refused stand as null; for the other checks they are absent.
fn without_nulls(json: Json) -> Json {
    match json {
        Json::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Json::Array(items) => {
            items.into_iter().filter(|v| !v.is_null()).map(without_nulls).collect()
        }
        other => other,
    }
}

fn plain_keys_only(sweep: &Sweep<'_>) -> Vec<Diagnostic> {
    let dotted = sweep.keys().into_iter().filter(|(key, _)| !is_variable(key));
    dotted
        .map(|(key, node)| {
            Diagnostic::error(
                "sweep::bad-variable",
                format!("a config's sweep has template variables only, not `{key}`"),
            )
            .at(node.place.clone(), "swept here")
            .help("sweep a spec path in the experiment-wide [sweep.grid]")
        })
        .collect()
}

fn protocol_paths_only(sweep: &Sweep<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (key, node) in sweep.keys() {
        let table = key.split('.').next().unwrap_or_default();
        let good = if key.contains('.') {
            PROTOCOL_TABLES.contains(&table) && key.split('.').all(is_variable)
        } else {
            is_variable(key) && !PROTOCOL_TABLES.contains(&key)
        };
        if !good {
            found.push(
                Diagnostic::error("sweep::bad-variable", format!("`{key}` cannot be swept"))
                    .at(node.place.clone(), "swept here")
                    .help(
                        "a dotted key is a path into [model], [data], [schedule] or [eval], \
                         as in \"schedule.lr\"; a plain one is a template variable",
                    ),
            );
        }
    }
    found
}

fn is_variable(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Refuses an expansion beyond `max_runs` before anything is expanded.
fn too_large(
    document: &Node,
    sweep: &Sweep<'_>,
    config_sweeps: &[Sweep<'_>],
    max_runs: u64,
) -> Option<Diagnostic> {
    let (points, mut axes) = sweep.size();
    let mut configs = 0u128;
    for config in config_sweeps {
        let (size, sizes) = config.size();
        configs = configs.saturating_add(size);
        axes.extend(sizes);
    }
    let seeds = document.at(&["experiment", "seeds"]).map_or(1, |s| s.items().len().max(1));
    let repeats = match document.at(&["experiment", "repeats"]).map(|node| &node.value) {
        Some(Value::Integer(repeats)) => u128::try_from(*repeats).unwrap_or(1).max(1),
        _ => 1,
    };
    let total =
        points.saturating_mul(configs.max(1)).saturating_mul(seeds as u128).saturating_mul(repeats);
    if total <= u128::from(max_runs) {
        return None;
    }
    axes.push(("seeds".into(), seeds));
    if repeats > 1 {
        axes.push(("repeats".into(), usize::try_from(repeats).unwrap_or(usize::MAX)));
    }
    let sizes: Vec<String> = axes.iter().map(|(label, len)| format!("{label} ({len})")).collect();
    let at_fault = document
        .get("sweep")
        .filter(|_| points > 1)
        .or_else(|| {
            let configs = document.get("config")?.items();
            let largest = (0..configs.len()).max_by_key(|&i| config_sweeps[i].size().0)?;
            configs[largest].get("sweep")
        })
        .or_else(|| document.at(&["experiment", "seeds"]))
        .unwrap_or(document);
    Some(
        Diagnostic::error(
            "sweep::too-large",
            format!("{} runs are more than {max_runs}", count(total)),
        )
        .at(at_fault.place.clone(), "expands to too many runs")
        .help(format!("the axes: {}", sizes.join(" x ")))
        .help("narrow the sweep, or raise the limit with --max-runs"),
    )
}

fn count(n: u128) -> String {
    if n == u128::MAX {
        "more than 10^38".into()
    } else if n >= 10_000_000_000 {
        format!("about 10^{}", n.ilog10())
    } else {
        n.to_string()
    }
}

fn nothing_left(sweep: Option<&Node>, whose: &str) -> Diagnostic {
    let error = |message| Diagnostic::error("sweep::nothing-left", message);
    match (sweep, sweep.and_then(|sweep| sweep.get("exclude"))) {
        (_, Some(exclude)) => error(format!("`exclude` leaves nothing of {whose}'s sweep"))
            .at(exclude.place.clone(), "true for every row"),
        (Some(sweep), None) => error(format!("{whose}'s sweep has no rows"))
            .at(sweep.place.clone(), "a list with no value in it"),
        (None, None) => error(format!("{whose}'s sweep has no rows")),
    }
}

/// `lr=0.0003`, several joined by commas; the last part of a path unless two paths share it.
fn point_name(row: &Row<'_>) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let parts: Vec<String> = row
        .vars
        .iter()
        .map(|(key, value)| {
            let shared = row.vars.keys().filter(|other| last(other) == last(key)).count() > 1;
            format!("{}={}", if shared { key.clone() } else { last(key) }, plain(value))
        })
        .collect();
    parts.join(",")
}

/// The variables that are numbers, or texts of a number with its suffix.
fn numbers(vars: &Vars) -> BTreeMap<String, f64> {
    let of = |value: &Json| match value {
        Json::String(text) => number::parse(text),
        other => other.as_f64(),
    };
    vars.iter().filter_map(|(key, value)| Some((key.clone(), of(value)?))).collect()
}

struct Expander<'e> {
    engine: &'e Engine,
    found: Vec<Diagnostic>,
    config_swept: Vec<Option<Swept>>,
}

impl Expander<'_> {
    fn point(
        &mut self,
        document: &Node,
        row: &Row<'_>,
        configs: &[Node],
        config_sweeps: &[Sweep<'_>],
    ) -> Node {
        let mut rendered = document.clone();
        if let Value::Table(entries) = &mut rendered.value {
            entries.retain(|e| e.key != "sweep" && e.key != "extends");
        }
        for (key, node) in row.nodes.iter().filter(|(key, _)| key.contains('.')) {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            if let Err(place) = rendered.set(&path, &node.place, (*node).clone()) {
                self.found.push(
                    Diagnostic::error(
                        "sweep::bad-variable",
                        format!("`{key}` leads through a value, not a table"),
                    )
                    .at(node.place.clone(), "swept here")
                    .at(place, "this is no table"),
                );
            }
        }
        if let Value::Table(entries) = &mut rendered.value {
            for entry in entries.iter_mut().filter(|e| e.key != "config") {
                self.render(&mut entry.value, &row.vars);
            }
            if let Some(config) = entries.iter_mut().find(|e| e.key == "config")
                && let Value::Array(items) = &mut config.value.value
            {
                *items = self.configs(configs, config_sweeps, &row.vars);
            }
        }
        rendered
    }

    fn configs(&mut self, configs: &[Node], sweeps: &[Sweep<'_>], vars: &Vars) -> Vec<Node> {
        let mut all = Vec::new();
        for (table, (config, sweep)) in (0..).zip(configs.iter().zip(sweeps)) {
            let rows = match sweep.rows(self.engine) {
                Ok(rows) => rows,
                Err(diagnostic) => {
                    self.found.push(diagnostic);
                    continue;
                }
            };
            if rows.is_empty() {
                self.found.push(nothing_left(config.get("sweep"), "a config"));
            }
            for row in rows {
                let values = numbers(&row.vars);
                self.config_swept.push((!values.is_empty()).then_some(Swept { table, values }));
                let mut own = vars.clone();
                own.extend(row.vars);
                let entries = config.entries().iter().filter(|e| e.key != "sweep").map(|e| {
                    let mut entry: Entry = e.clone();
                    self.render(&mut entry.value, &own);
                    entry
                });
                let value = Value::Table(entries.collect());
                all.push(Node { place: config.place.clone(), value });
            }
        }
        all
    }

    fn render(&mut self, node: &mut Node, vars: &Vars) {
        match &mut node.value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.render(item, vars)),
            Value::Table(entries) => {
                entries.iter_mut().for_each(|entry| self.render(&mut entry.value, vars));
            }
            Value::String(text) => match self.engine.render(text, vars) {
                Ok(None) => {}
                Ok(Some(Rendered::Text(rendered))) => *text = rendered,
                Ok(Some(Rendered::Typed(value))) => node.value = typed(&value, text),
                Err(error) => {
                    let mut diagnostic = Diagnostic::error("template::bad", error.message)
                        .at(node.inside(error.range), "in this template");
                    if let Some(help) = error.help {
                        diagnostic = diagnostic.help(help);
                    }
                    self.found.push(diagnostic);
                }
            },
            _ => {}
        }
    }
}

fn typed(value: &Json, from: &Text) -> Value {
    match value {
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match n.as_i64() {
            Some(i) => Value::Integer(i),
            None => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        other => {
            let mut text = Text::new();
            text.push_rendered(&plain(other), from, 0..from.text.len());
            Value::String(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diag::Source;
    use crate::spec::node;
    use crate::spec::types::Freq;

    fn expand_text(text: &str) -> (Vec<PointDocument>, Vec<Diagnostic>) {
        let source = Arc::new(Source { name: "s.toml".into(), text: text.into() });
        expand(&node::parse(&source).unwrap(), 10_000)
    }

    fn codes(text: &str) -> Vec<&'static str> {
        expand_text(text).1.iter().map(|d| d.code).collect()
    }

    #[test]
    fn a_config_sweep_writes_out_its_configs() {
        let (points, found) = expand_text(
            "[[config]]\nname = \"geo\"\nfreq = \"geo(theta=10k)\"\n[[config]]\n\
             name = \"h_a{{ alpha }}_t{{ theta }}\"\nfreq = \"mix(alpha={{ alpha }}, t={{ theta }})\"\n\
             sweep.grid = { alpha = [0.1, 0.2], theta = [\"100k\", \"200k\"] }\n",
        );
        assert!(found.is_empty(), "{found:?}");
        let names: Vec<_> = points[0].spec.config.iter().map(|c| c.name.clone().unwrap()).collect();
        assert_eq!(names, ["geo", "h_a0.1_t100k", "h_a0.1_t200k", "h_a0.2_t100k", "h_a0.2_t200k"]);
        assert_eq!(
            points[0].spec.config[1].freq,
            Some(Freq::Same("mix(alpha=0.1, t=100k)".into()))
        );
        assert_eq!(points[0].name, None);
    }

    #[test]
    fn an_experiment_sweep_makes_points_from_paths_and_variables() {
        let (points, found) = expand_text(
            "[model]\nlayers = \"{{ n }}\"\n[schedule]\nlr = 1e-3\n\
             [sweep.grid]\n\"schedule.lr\" = [3e-4, 6e-4]\nn = [2]\n",
        );
        assert!(found.is_empty(), "{found:?}");
        let names: Vec<_> = points.iter().map(|p| p.name.clone().unwrap()).collect();
        assert_eq!(names, ["n=2,lr=0.0003", "n=2,lr=0.0006"]);
        assert_eq!(points[1].spec.schedule.lr, Some(6e-4));
        assert_eq!(points[1].spec.model.layers, Some(2));
    }

    #[test]
    fn mistakes_have_codes() {
        assert_eq!(codes("[sweep.grid]\n\"report.lengths\" = [1]\n"), ["sweep::bad-variable"]);
        assert_eq!(
            codes("[[config]]\nsweep.grid = { \"schedule.lr\" = [1] }\n"),
            ["sweep::bad-variable"]
        );
        assert_eq!(
            codes("[[config]]\nname = \"a{{ b }}\"\nsweep.grid = { c = [1] }\n"),
            ["template::bad"]
        );
        assert_eq!(
            codes(
                "[[config]]\nname = \"a\"\nsweep.grid = { c = [1] }\nsweep.exclude = \"c == 1\"\n"
            ),
            ["sweep::nothing-left"]
        );
        assert_eq!(codes("[sweep.grid]\n\"schedule.lrr\" = [1]\n"), ["spec::unknown-key"]);
        assert_eq!(codes("[sweep.grid]\n\"schedule.lr\" = [\"x\"]\n"), ["spec::wrong-type"]);
    }

    #[test]
    fn a_huge_sweep_is_refused_with_its_axes() {
        let axes: Vec<String> = (0..20).map(|i| format!("x{i} = [1,2,3,4,5,6,7,8,9,10]")).collect();
        let text = format!("[[config]]\nname = \"a\"\nsweep.grid = {{ {} }}\n", axes.join(", "));
        let (points, found) = expand_text(&text);
        assert!(points.is_empty());
        assert_eq!(found[0].code, "sweep::too-large");
        assert!(found[0].message.contains("10^20"), "{}", found[0].message);
        assert!(found[0].help[0].contains("x7 (10)"), "{:?}", found[0].help);
    }

    #[test]
    fn seeds_count_towards_the_limit() {
        let seeds: Vec<String> = (0..10_001).map(|i| i.to_string()).collect();
        let text = format!("[experiment]\nseeds = [{}]\n[[config]]\nname = \"a\"", seeds.join(","));
        assert_eq!(codes(&text), ["sweep::too-large"]);
    }
}
