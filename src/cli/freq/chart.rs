//! The sets as a chart: frequencies over channels, with the lengths that matter.

use std::f64::consts::TAU;

use super::sets::Named;
use crate::plot::{Axis, Chart, Line, Rule, Scale};

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
        x: Axis { label: "channel k".to_owned(), scale: Scale::Linear },
        y: Axis { label: "frequency, radians a position".to_owned(), scale: Scale::Log },
        lines: named.iter().map(line).collect(),
        rules,
    }
}

fn line(named: &Named) -> Line {
    let zeros = named.set.inv_freq.iter().filter(|w| **w == 0.0).count();
    let name = match zeros {
        0 => named.name.clone(),
        _ => format!("{} ({zeros} channels at 0)", named.name),
    };
    let points = named.set.inv_freq.iter().enumerate().map(|(k, w)| (k as f64, *w));
    Line { name, points: points.collect() }
}
