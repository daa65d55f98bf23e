//! Warnings about whole comparisons: what differs between two configs besides what is meant to.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{Grouped, likewise};
use super::layers::ResolvedConfig;
use crate::diag::{Diagnostic, Place};
use crate::spec::node::Node;

/// Warns of every base that configs of another shape than `geo` have and no plain `geo` and no
/// baseline of theirs shares: a difference to the others may then come from the base alone.
pub fn base_confounded(document: &Node, configs: &[ResolvedConfig], found: &mut Vec<Diagnostic>) {
    let by_name: BTreeMap<&str, &ResolvedConfig> =
        configs.iter().map(|config| (config.name.as_str(), config)).collect();
    let geo = |config: &ResolvedConfig| config.freq.used().all(|set| is_plain_geo(&set.expression));
    let mut controls: Vec<f64> =
        configs.iter().filter(|c| geo(c)).flat_map(|c| c.freq.thetas()).collect();
    controls.sort_by(f64::total_cmp);
    let controlled = |theta: f64| controls.binary_search_by(|c| c.total_cmp(&theta)).is_ok();
    // Bases in order; each with the places of its configs.
    let mut alone: Vec<(f64, Vec<usize>)> = Vec::new();
    for (i, config) in configs.iter().enumerate().filter(|(_, config)| !geo(config)) {
        let baseline = by_name.get(config.baseline.as_str()).map(|b| b.freq.thetas());
        for theta in config.freq.thetas() {
            if controlled(theta) || baseline.as_ref().is_some_and(|b| b.contains(&theta)) {
                continue;
            }
            match alone.iter_mut().find(|(other, _)| *other == theta) {
                Some((_, users)) => users.push(i),
                None => alone.push((theta, vec![i])),
            }
        }
    }
    // One table with many bases is told once.
    let mut told: Vec<(Place, Vec<f64>, BTreeSet<usize>)> = Vec::new();
    for (theta, users) in alone {
        let place = document.place_of(&["config", &users[0].to_string(), "freq"]);
        match told.iter_mut().find(|(other, ..)| *other == place) {
            Some((_, thetas, all)) => {
                thetas.push(theta);
                all.extend(users);
            }
            None => told.push((place, vec![theta], users.into_iter().collect())),
        }
    }
    for (place, thetas, users) in told {
        let users: Vec<&str> = users.into_iter().map(|i| configs[i].name.as_str()).collect();
        let thetas: Vec<String> = thetas.into_iter().map(short).collect();
        let list = thetas.join(", ");
        let message =
            format!("{}: base confounded with shape: no geo(theta={list}) control", users[0]);
        let lines = match thetas.as_slice() {
            [theta] => {
                format!("[[config]]\nname = \"geo_{theta}\"\nfreq = \"geo(theta={theta})\"")
            }
            _ => format!(
                "[[config]]\nname = \"geo_{{{{ theta }}}}\"\nfreq = \"geo(theta={{{{ theta }}}})\"\n\
                 sweep.grid = {{ theta = [\"{}\"] }}",
                thetas.join("\", \"")
            ),
        };
        let diagnostic = Diagnostic::warning("freq::base-confounded", message)
            .at(place, "another base and another shape than its baseline")
            .help(format!("add one, so that each can be told apart:\n{lines}"));
        found.push(likewise(diagnostic, &users[1..]));
    }
}

/// Refuses every config of another shape than `geo` whose baseline is not a plain `geo` of its own
/// bases (`control = "same-theta"`). Sets without a base have nothing to share.
pub fn same_theta(document: &Node, configs: &[ResolvedConfig], found: &mut Vec<Diagnostic>) {
    let by_name: BTreeMap<&str, &ResolvedConfig> =
        configs.iter().map(|config| (config.name.as_str(), config)).collect();
    let geo = |config: &ResolvedConfig| config.freq.used().all(|set| is_plain_geo(&set.expression));
    let mut refused = Grouped::default();
    for (i, config) in configs.iter().enumerate().filter(|(_, config)| !geo(config)) {
        let Some(baseline) = by_name.get(config.baseline.as_str()) else { continue };
        let (own, its) = (config.freq.thetas(), baseline.freq.thetas());
        if baseline.name != config.name && geo(baseline) && own.iter().all(|t| its.contains(t)) {
            continue;
        }
        let Some(theta) = own.iter().find(|theta| !its.contains(theta)).or(own.first()) else {
            continue;
        };
        let theta = short(*theta);
        let message = if baseline.name == config.name {
            "it is compared with itself, not with a geo of its own theta".to_owned()
        } else {
            format!("its baseline `{}` is no geo(theta={theta})", baseline.name)
        };
        let place = document.place_of(&["config", &i.to_string(), "freq"]);
        let diagnostic = Diagnostic::error("spec::control", message)
            .at(place, "control = \"same-theta\" asks for one")
            .help(format!(
                "add a config with freq = \"geo(theta={theta})\" and name it here: baseline = \"geo_{theta}\" (a \
                 template in a sweep: baseline = \"geo_{{{{ theta }}}}\")"
            ));
        refused.add(&config.name, diagnostic);
    }
    found.extend(refused.told());
}

/// Warns of configs on a grid that neither their baseline nor any plain `geo` is on: all their
/// frequencies are shifted against the baseline's, whatever the shape. Families without a `grid`
/// end where `geo` does and are on none.
pub fn grids_differ(document: &Node, configs: &[ResolvedConfig], found: &mut Vec<Diagnostic>) {
    let by_name: BTreeMap<&str, &ResolvedConfig> =
        configs.iter().map(|config| (config.name.as_str(), config)).collect();
    let plain =
        |config: &&ResolvedConfig| config.freq.used().all(|set| is_plain_geo(&set.expression));
    let controls: BTreeSet<&str> =
        configs.iter().filter(plain).flat_map(|config| config.freq.grids()).collect();
    // One table with many configs is told once.
    let mut told: Vec<(Place, Diagnostic, Vec<&str>)> = Vec::new();
    for (i, config) in configs.iter().enumerate() {
        let Some(baseline) = by_name.get(config.baseline.as_str()) else { continue };
        let (own, its) = (config.freq.grids(), baseline.freq.grids());
        let Some(grid) = own.iter().find(|grid| !its.contains(grid) && !controls.contains(*grid))
        else {
            continue;
        };
        let Some(other) = its.first() else { continue };
        let place = document.place_of(&["config", &i.to_string(), "freq"]);
        if let Some((.., others)) = told.iter_mut().find(|(at, ..)| *at == place) {
            others.push(&config.name);
            continue;
        }
        let message = format!(
            "{}: arms on different grids: {grid} here, {other} in its baseline `{}`",
            config.name, baseline.name
        );
        let diagnostic = Diagnostic::warning("freq::grids-differ", message)
            .at(place.clone(), "all frequencies are shifted besides the change of shape")
            .help(format!("give both one grid, or add a control: geo(theta=..., grid={grid})"));
        told.push((place, diagnostic, Vec::new()));
    }
    found.extend(told.into_iter().map(|(_, diagnostic, others)| likewise(diagnostic, &others)));
}

/// A call of `geo` and nothing around it: canonical forms begin with the outermost family.
fn is_plain_geo(canonical: &str) -> bool {
    canonical.starts_with("geo@")
}

/// A base as specs write it: `500k`.
fn short(theta: f64) -> String {
    for (unit, suffix) in [(1e6, "M"), (1e3, "k")] {
        if theta >= unit && (theta / unit).fract() == 0.0 {
            return format!("{}{suffix}", theta / unit);
        }
    }
    theta.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_written_as_specs_have_them() {
        assert_eq!(
            [5e5, 1e4, 2e6, 12_345.0, 1.5].map(short),
            ["500k", "10k", "2M", "12345", "1.5"]
        );
    }

    #[test]
    fn only_geo_itself_is_a_control() {
        assert!(is_plain_geo("geo@1(theta=10000, grid=std)"));
        assert!(!is_plain_geo("scale@1(geo@1(theta=10000, grid=std), c=2)"));
    }
}
