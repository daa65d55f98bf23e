//! The training loss of a config over its steps.

use super::Looked;

/// Points of a curve, at most: as many as a chart can show.
const MOST_POINTS: usize = 200;

/// The training loss of a config.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Config name.
    pub config: String,
    /// Seeds that it is the mean of.
    pub n: usize,
    /// Steps that a point is the mean of.
    pub window: usize,
    /// (middle step, mean loss in nats a token over seeds and the window).
    pub points: Vec<(f64, f64)>,
}

/// A curve a config that was trained here.
pub(super) fn of(looked: &[Looked]) -> Vec<Curve> {
    looked.iter().filter_map(curve).collect()
}

fn curve(one: &Looked) -> Option<Curve> {
    let runs: Vec<Vec<f64>> = one
        .seeds
        .iter()
        .filter_map(|(seed, _)| one.first(*seed))
        .filter(|details| !details.steps.is_empty())
        .filter_map(|details| details.steps.iter().map(|step| step.loss).collect())
        .collect();
    let steps = runs.iter().map(Vec::len).min()?;
    let window = steps.div_ceil(MOST_POINTS);
    let n = runs.len();
    let points = (0..steps)
        .step_by(window)
        .map(|from| {
            let to = (from + window).min(steps);
            let sum: f64 = runs.iter().flat_map(|run| &run[from..to]).sum();
            ((from + to - 1) as f64 / 2.0, sum / ((to - from) * n) as f64)
        })
        .collect();
    Some(Curve { config: one.config.to_owned(), n, window, points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Details, Entry, Step, testing};

    #[test]
    fn a_curve_is_the_mean_over_seeds_and_windows() {
        let steps = |offset: f64| -> Vec<Step> {
            let step = |step: u64| Step {
                step,
                lr: 0.0,
                loss: Some(step as f64 + offset),
                grad_norm: None,
            };
            (0..401).map(step).collect()
        };
        let details =
            [0.0, 2.0].map(|offset| Details { steps: steps(offset), ..Details::default() });
        let entry = |seed| {
            let record = testing::record(testing::GEO, seed, &[]);
            Entry { path: String::new(), attempt: 1, record }
        };
        let entries = [entry(1), entry(2)];
        let attempt = |i: usize| (i as u64, vec![(&entries[i], &details[i])]);
        let looked = Looked { config: "geo", baseline: "geo", seeds: vec![attempt(0), attempt(1)] };
        let curve = curve(&looked).unwrap();
        assert_eq!((curve.n, curve.window, curve.points.len()), (2, 3, 134));
        assert_eq!(curve.points[0], (1.0, 2.0));
        assert_eq!(curve.points[133], (399.5, 400.5), "the last window is shorter");
    }
}
