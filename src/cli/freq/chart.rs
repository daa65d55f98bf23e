//! The sets as a chart: frequencies over channels, with the lengths that matter.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use super::sets::Named;
use crate::freq::FrequencySet;
use crate::plot::{Axis, Chart, Rule, Scale, Series};

/// Frequencies on a logarithmic axis, and lines at one turn within the training and target length.
pub(super) fn chart(named: &[Named], title: &str) -> Chart {
    let mut rules: Vec<Rule> = Vec::new();
    for one in named {
        for (name, length) in one.lengths() {
            let what = if name == "train_len" { "training" } else { "target" };
            let rule = Rule {
                label: format!("one turn in {length} ({what} length)"),
                y: TAU / length as f64,
            };
            // Points of a sweep may differ in lengths; equal lengths are one line.
            if rules.iter().all(|other| other.y != rule.y) {
                rules.push(rule);
            }
        }
    }
    Chart {
        title: title.to_owned(),
        x: Axis::new("channel k", Scale::Linear),
        y: Axis::new("frequency, radians a position", Scale::Log),
        series: lines(named),
        rules,
    }
}

/// A line a set; then those compared to that are not among the sets. One that lies wholly over an
/// earlier one says so, since it hides it.
fn lines(named: &[Named]) -> Vec<Series> {
    let mut drawn: Vec<(&str, &FrequencySet)> =
        named.iter().map(|one| (one.name.as_str(), &one.set)).collect();
    for reference in named.iter().filter_map(|one| one.reference.as_ref()) {
        if drawn.iter().all(|(_, set)| set.inv_freq != reference.set.inv_freq) {
            drawn.push((&reference.name, &reference.set));
        }
    }
    let line = |(i, (name, set)): (usize, &(&str, &FrequencySet))| {
        let zeros = set.inv_freq.iter().filter(|w| **w == 0.0).count();
        let same = drawn[..i].iter().find(|(_, other)| other.inv_freq == set.inv_freq);
        let mut name = (*name).to_owned();
        if zeros > 0 {
            let _ = write!(name, " ({zeros} channels at 0)");
        }
        if let Some((first, _)) = same {
            let _ = write!(name, " (over {first})");
        }
        let points = set.inv_freq.iter().enumerate().map(|(k, w)| (k as f64, *w));
        Series::line(name, points.collect())
    };
    drawn.iter().enumerate().map(line).collect()
}
