//! The registry as text.

use std::fmt::Write as _;

use super::super::canonical::number;
use super::{ALL, Default, Family, Kind};

/// `name(a, b, p=default, q)`, as one would write a call.
fn signature(family: &Family) -> String {
    if let Some(syntax) = family.syntax {
        return format!("{}({syntax})", called(family));
    }
    let mut parts: Vec<String> = family.inner.iter().map(|&name| name.to_owned()).collect();
    for param in family.params {
        parts.push(match (param.kind, param.default) {
            (Kind::List, _) => "[...]".to_owned(),
            (Kind::NamedList, _) => format!("{}=[...]", param.name),
            (Kind::Formula, _) => "\"...\"".to_owned(),
            (_, Default::Required) => param.name.to_owned(),
            (_, Default::Absent) => format!("[{}]", param.name),
            (_, Default::Number(value)) => format!("{}={}", param.name, number(value)),
            (_, Default::Choice(word)) => format!("{}={word}", param.name),
            (_, Default::Computed(value) | Default::ComputedUnless(value, _)) => {
                format!("{}={value}", param.name)
            }
        });
    }
    if family.own_params {
        parts.push("name=value...".to_owned());
    }
    format!("{}({})", called(family), parts.join(", "))
}

/// The name, with the version if it must be given.
fn called(family: &Family) -> String {
    let version = if family.needs_version { format!("@{}", family.version) } else { String::new() };
    format!("{}{version}", family.name)
}

/// Every family with signature, formula, parameters and source: `xp freq --list`.
#[must_use]
pub fn list() -> String {
    let mut out = String::new();
    let mut legacy = false;
    for family in ALL {
        if !out.is_empty() {
            out.push('\n');
        }
        if family.needs_version && !legacy {
            legacy = true;
            out.push_str("Old results: names that were other formulas, each with its version\n\n");
        }
        let _ = writeln!(out, "{}  (version {})", signature(family), family.version);
        let _ = writeln!(out, "    {}", family.summary);
        let _ = writeln!(out, "    w[k] = {}", family.formula);
        for param in family.params {
            let range = match param.kind {
                Kind::Number(interval) => format!(" ({interval})"),
                Kind::Choice(words) => format!(" ({})", words.join(", ")),
                Kind::List | Kind::NamedList | Kind::Formula => String::new(),
            };
            let _ = writeln!(out, "    {}: {}{range}", param.name, param.doc);
        }
        let _ = writeln!(out, "    source: {}", family.source);
        let _ = writeln!(out, "    example: {}", family.example);
    }
    out
}

/// The families as the Markdown table of REFERENCE.md.
#[must_use]
pub fn table() -> String {
    let mut out =
        String::from("| family | inv_freq of channel k | source |\n| --- | --- | --- |\n");
    for family in ALL {
        let call = signature(family);
        let _ = writeln!(out, "| `{call}` | `{}` | {} |", family.formula, family.source);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_holds_the_table_of_the_registry() {
        let reference = include_str!("../REFERENCE.md");
        assert!(
            reference.contains(&table()),
            "write this table to src/freq/REFERENCE.md:\n{}",
            table()
        );
    }

    #[test]
    fn the_list_names_every_family_and_parameter() {
        let list = list();
        for family in ALL {
            assert!(list.contains(&signature(family)));
            for param in family.params {
                assert!(list.contains(param.doc), "{}", param.name);
            }
        }
        assert!(list.contains("sigmoid(theta, steepness=8, midpoint=0.5, omf=0.3)"));
        assert!(list.contains("clip(inner, [min], [max])"));
    }
}
