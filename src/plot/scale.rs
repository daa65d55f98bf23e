//! Positions and ticks of values along an axis.

use super::Extent;

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps for equal differences.
    Linear,
    /// Equal steps for equal ratios; shows positive values.
    Log,
}

impl Scale {
    /// Whether a value has a place.
    pub(super) fn shows(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Linear || value >= f64::MIN_POSITIVE)
    }

    /// What an axis without values spans.
    pub(super) fn unit(self) -> Extent {
        match self {
            Self::Linear => Extent { low: 0.0, high: 1.0 },
            Self::Log => Extent { low: 0.1, high: 1.0 },
        }
    }

    /// An extent of some length.
    pub(super) fn widened(self, extent: Extent) -> Extent {
        let Extent { low, high } = extent;
        match self {
            _ if low < high => extent,
            Self::Linear => {
                let half = (low.abs() / 2.0).max(0.5);
                Extent { low: low - half, high: high + half }
            }
            Self::Log => Extent { low: low / 2.0, high: (high * 2.0).min(f64::MAX) },
        }
    }

    /// An extent longer by a share of itself at both ends.
    pub(super) fn padded(self, Extent { low, high }: Extent, share: f64) -> Extent {
        match self {
            Self::Linear => {
                let more = (high - low) * share;
                Extent { low: low - more, high: high + more }
            }
            Self::Log => {
                let more = (high / low).powf(share);
                let padded = Extent { low: low / more, high: high * more };
                let shown = padded.low >= f64::MIN_POSITIVE && padded.high.is_finite();
                if shown { padded } else { Extent { low, high } }
            }
        }
    }

    /// Where a value lies, from 0 at the low end to 1 at the high end.
    pub(super) fn place(self, value: f64, extent: Extent) -> f64 {
        let Extent { low, high } = extent;
        match self {
            Self::Linear => (value - low) / (high - low),
            Self::Log => (value.ln() - low.ln()) / (high.ln() - low.ln()),
        }
    }

    /// Round values inside an extent, about `wanted` of them, with their labels.
    pub(super) fn ticks(self, extent: Extent, wanted: usize) -> Vec<(f64, String)> {
        match self {
            Self::Linear => linear(extent, wanted),
            Self::Log => logarithmic(extent, wanted),
        }
    }
}

fn linear(Extent { low, high }: Extent, wanted: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted.max(1) as f64;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * decade)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * decade);
    let digits = usize::try_from((-step.log10().floor()) as i64).unwrap_or(0);
    let first = (low / step).ceil() as i64;
    let ticks = (first..)
        .map(|i| i as f64 * step)
        .take_while(|tick| tick.is_finite() && *tick <= high + step * 1e-9);
    ticks.map(|tick| (tick, format!("{tick:.digits$}"))).collect()
}

/// Fewer labelled values than this do not tell a reader the scale.
const FEWEST: usize = 3;

/// Powers of ten; within few of them also their double and fivefold; within less round steps.
fn logarithmic(extent: Extent, wanted: usize) -> Vec<(f64, String)> {
    let ticks = decades(extent, wanted);
    if ticks.len() >= FEWEST {
        return ticks;
    }
    let Extent { low, high } = extent;
    let first = (low.log10() - 1e-9).floor() as i32;
    let last = (high.log10() + 1e-9).floor() as i32;
    let inside = |value: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(value);
    let values = (first..=last).flat_map(|exponent| {
        [1.0, 2.0, 5.0].map(|factor| (factor * 10f64.powi(exponent), exponent))
    });
    let label = |value: f64, exponent: i32| match exponent {
        0..=5 => format!("{value:.0}"),
        -2..0 => format!("{value:.*}", exponent.unsigned_abs() as usize),
        _ => format!("{value:.0e}"),
    };
    let halves: Vec<(f64, String)> = values
        .filter(|(value, _)| value.is_finite() && inside(value))
        .map(|(value, exponent)| (value, label(value, exponent)))
        .collect();
    if halves.len() >= FEWEST || high > 5.0 * low { halves } else { linear(extent, wanted) }
}

/// Powers of ten; every second, third ... of them if there are many.
fn decades(Extent { low, high }: Extent, wanted: usize) -> Vec<(f64, String)> {
    let first = (low.log10() - 1e-9).ceil() as i32;
    let last = (high.log10() + 1e-9).floor() as i32;
    let stride = usize::try_from(last - first).unwrap_or(0) / wanted.max(1) + 1;
    let exponents = (first..=last).rev().step_by(stride);
    let label = |exponent: i32| match exponent {
        0..=5 => format!("{}", 10f64.powi(exponent)),
        -2..0 => format!("{:.*}", exponent.unsigned_abs() as usize, 10f64.powi(exponent)),
        _ => format!("1e{exponent}"),
    };
    exponents.map(|exponent| (10f64.powi(exponent), label(exponent))).collect()
}
