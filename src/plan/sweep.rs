//! Sweeps: `grid` (product), `zip` (side by side), `list` (explicit rows), `exclude`.

use serde_json::Value as Json;

use super::template::{Engine, Vars};
use crate::diag::Diagnostic;
use crate::spec::node::{Entry, Node, Value};

/// The axes of one `sweep` table. Their order is by name, not by place in the file.
#[derive(Debug, Default)]
pub struct Sweep<'a> {
    axes: Vec<Axis<'a>>,
    exclude: Option<&'a Node>,
}

/// Variables that move together: one row of values is chosen.
#[derive(Debug)]
struct Axis<'a> {
    label: String,
    rows: Vec<Vec<(&'a str, &'a Node)>>,
}

/// One combination: the variables, and where each value stands.
#[derive(Debug, Default)]
pub struct Row<'a> {
    /// Values by variable name or dotted path.
    pub vars: Vars,
    /// The node of each value.
    pub nodes: Vec<(&'a str, &'a Node)>,
}

impl<'a> Sweep<'a> {
    /// Reads a `sweep` table whose structure the schema has already approved.
    pub fn read(node: &'a Node) -> (Self, Vec<Diagnostic>) {
        let mut sweep = Self { axes: Vec::new(), exclude: node.get("exclude") };
        let mut found = Vec::new();
        let entries = |key: &str| node.get(key).map(Node::entries).unwrap_or_default();
        let mut grid: Vec<&Entry> = entries("grid").iter().collect();
        grid.sort_by(|a, b| a.key.cmp(&b.key));
        for entry in grid {
            let items = entry.value.items();
            let rows = items.iter().map(|item| vec![(entry.key.as_str(), item)]).collect();
            sweep.axes.push(Axis { label: entry.key.clone(), rows });
        }
        let mut zip: Vec<&Entry> = entries("zip").iter().collect();
        zip.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some((first, rest)) = zip.split_first() {
            let len = first.value.items().len();
            for other in rest.iter().filter(|e| e.value.items().len() != len) {
                let other_len = other.value.items().len();
                found.push(
                    Diagnostic::error(
                        "sweep::uneven-zip",
                        format!(
                            "`{}` has {other_len} values, `{}` has {len}",
                            other.key, first.key
                        ),
                    )
                    .at(other.value.place.clone(), format!("{other_len} values"))
                    .at(first.value.place.clone(), format!("{len} values"))
                    .help("the axes of `zip` run side by side; `grid` combines all"),
                );
            }
            let rows = (0..len)
                .map(|i| {
                    zip.iter()
                        .filter_map(|e| Some((e.key.as_str(), e.value.items().get(i)?)))
                        .collect()
                })
                .collect();
            let label = zip.iter().map(|e| e.key.as_str()).collect::<Vec<_>>().join("+");
            sweep.axes.push(Axis { label, rows });
        }
        if let Some(list) = node.get("list") {
            let rows = list
                .items()
                .iter()
                .map(|row| row.entries().iter().map(|e| (e.key.as_str(), &e.value)).collect())
                .collect();
            sweep.axes.push(Axis { label: "list".into(), rows });
        }
        found.extend(sweep.duplicates());
        (sweep, found)
    }

    /// Whether it has no axis at all: one row without variables.
    pub fn is_empty(&self) -> bool {
        self.axes.is_empty()
    }

    /// The names of all variables and paths, with a place for each.
    pub fn keys(&self) -> Vec<(&'a str, &'a Node)> {
        let mut keys: Vec<(&str, &Node)> = Vec::new();
        for (key, node) in self.axes.iter().flat_map(|a| a.rows.iter().flatten()) {
            if !keys.iter().any(|(k, _)| k == key) {
                keys.push((key, node));
            }
        }
        keys
    }

    /// The number of combinations before `exclude`, and the sizes that it comes from.
    pub fn size(&self) -> (u128, Vec<(String, usize)>) {
        let sizes: Vec<_> = self.axes.iter().map(|a| (a.label.clone(), a.rows.len())).collect();
        let product = sizes.iter().fold(1u128, |n, (_, len)| n.saturating_mul(*len as u128));
        (product, sizes)
    }

    /// The combinations that `exclude` leaves, the last axis fastest. Call it only when
    /// [`Sweep::size`] is small enough.
    ///
    /// # Errors
    /// An `exclude` that is no expression or no boolean.
    pub fn rows(&self, engine: &Engine) -> Result<Vec<Row<'a>>, Diagnostic> {
        let mut rows = vec![Row::default()];
        for axis in &self.axes {
            rows = rows
                .iter()
                .flat_map(|row| axis.rows.iter().map(move |values| row.with(values)))
                .collect();
        }
        let Some(exclude) = self.exclude else { return Ok(rows) };
        let expression = exclude.as_str().unwrap_or_default();
        let mut kept = Vec::new();
        for row in rows {
            match engine.evaluate(expression, &row.vars) {
                Ok(Json::Bool(true)) => {}
                Ok(Json::Bool(false)) => kept.push(row),
                Ok(other) => {
                    return Err(Diagnostic::error(
                        "sweep::bad-exclude",
                        format!("`exclude` must be true or false, not {other}"),
                    )
                    .at(exclude.place.clone(), "compare something"));
                }
                Err((message, help)) => {
                    let diagnostic = Diagnostic::error("sweep::bad-exclude", message)
                        .at(exclude.place.clone(), "in this expression");
                    return Err(match help {
                        Some(help) => diagnostic.help(help),
                        None => diagnostic,
                    });
                }
            }
        }
        Ok(kept)
    }

    fn duplicates(&self) -> Vec<Diagnostic> {
        let mut seen: Vec<(&str, &Node, usize)> = Vec::new();
        let mut found = Vec::new();
        for (index, axis) in self.axes.iter().enumerate() {
            for (key, node) in axis.rows.first().into_iter().flatten() {
                if let Some((_, first, _)) = seen.iter().find(|(k, _, i)| k == key && *i != index) {
                    found.push(
                        Diagnostic::error(
                            "sweep::duplicate-variable",
                            format!("`{key}` is swept twice"),
                        )
                        .at(node.place.clone(), "again")
                        .at(first.place.clone(), "first")
                        .help("give each variable in one of grid, zip and list"),
                    );
                }
                seen.push((key, node, index));
            }
        }
        found
    }
}

impl<'a> Row<'a> {
    fn with(&self, values: &[(&'a str, &'a Node)]) -> Self {
        let mut row = Self { vars: self.vars.clone(), nodes: self.nodes.clone() };
        for &(key, node) in values {
            row.vars.insert(key.to_owned(), scalar(node));
            row.nodes.push((key, node));
        }
        row
    }
}

/// A scalar node as JSON; what the schema lets through is a number, a string or a boolean.
pub fn scalar(node: &Node) -> Json {
    match &node.value {
        Value::String(text) => Json::String(text.text.clone()),
        Value::Integer(i) => Json::from(*i),
        Value::Float(x) => Json::from(*x),
        Value::Bool(b) => Json::Bool(*b),
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diag::Source;
    use crate::spec::node;

    fn names(text: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
        let source = Arc::new(Source { name: "s".into(), text: text.into() });
        let document = node::parse(&source).unwrap();
        let (sweep, found) = Sweep::read(&document);
        if !found.is_empty() {
            return Err(found);
        }
        let rows = sweep.rows(&Engine::default()).map_err(|d| vec![d])?;
        Ok(rows
            .iter()
            .map(|row| {
                row.vars
                    .iter()
                    .map(|(k, v)| format!("{k}={}", super::super::template::plain(v)))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect())
    }

    #[test]
    fn grid_zip_list_and_exclude_combine() {
        let rows = names(
            "grid = { b = [1, 2], a = [\"x\", \"y\"] }\nzip = { c = [1, 2], d = [3, 4] }\n\
             list = [{ e = 5 }]\nexclude = \"a == 'y' and b > 1\"",
        )
        .unwrap();
        assert_eq!(rows.len(), 6);
        assert_eq!(rows[0], "a=x b=1 c=1 d=3 e=5");
        assert_eq!(rows[1], "a=x b=1 c=2 d=4 e=5");
        assert!(!rows.iter().any(|r| r.contains("a=y b=2")));
    }

    #[test]
    fn the_order_in_the_file_changes_nothing() {
        assert_eq!(
            names("grid = { b = [1, 2], a = [3, 4] }").unwrap(),
            names("grid = { a = [3, 4], b = [1, 2] }").unwrap()
        );
    }

    #[test]
    fn mistakes_are_named() {
        let code = |text: &str| names(text).unwrap_err()[0].code;
        assert_eq!(code("zip = { a = [1], b = [1, 2] }"), "sweep::uneven-zip");
        assert_eq!(code("grid = { a = [1] }\nzip = { a = [1] }"), "sweep::duplicate-variable");
        assert_eq!(code("grid = { a = [1] }\nexclude = \"b\""), "sweep::bad-exclude");
        assert_eq!(code("grid = { a = [1] }\nexclude = \"a + 1\""), "sweep::bad-exclude");
    }

    #[test]
    fn the_size_of_a_huge_sweep_is_known_without_expanding_it() {
        let axes: Vec<String> = (0..40).map(|i| format!("x{i} = [1,2,3,4,5,6,7,8,9,0]")).collect();
        let text = format!("grid = {{ {} }}", axes.join(", "));
        let source = Arc::new(Source { name: "s".into(), text });
        let document = node::parse(&source).unwrap();
        assert_eq!(Sweep::read(&document).0.size().0, u128::MAX);
    }
}
