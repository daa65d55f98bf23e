//! Mean and standard deviation.

use serde::Serialize;

/// Number of values, their mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many values.
    pub n: usize,
    /// Their mean; `None` without values or if it is not finite.
    pub mean: Option<f64>,
    /// Their standard deviation; `None` with fewer than two values or if it is not finite.
    pub std: Option<f64>,
}

/// The arithmetic mean, summed in the order given; `None` without values or if not finite.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    mean.is_finite().then_some(mean)
}

/// The standard deviation with `ddof` degrees of freedom taken off: 1 for the sample's
/// (unbiased variance), 0 for the population's.
///
/// Two passes (mean first), so that values close together lose no digits. `None` with fewer
/// than two values, whatever `ddof`: one value says nothing of the spread.
#[must_use]
pub fn std(values: &[f64], ddof: u8) -> Option<f64> {
    let divisor = values.len().checked_sub(usize::from(ddof)).filter(|&d| d > 0)?;
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let std = (squares / divisor as f64).sqrt();
    std.is_finite().then_some(std)
}

/// Count, mean and standard deviation at once.
#[must_use]
pub fn summarize(values: &[f64], ddof: u8) -> Summary {
    Summary { n: values.len(), mean: mean(values), std: std(values, ddof) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divisor_is_n_less_ddof() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        assert_eq!(std(&values, 0), Some(2.0));
        assert!((std(&values, 1).unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn too_few_or_infinite_values_have_no_spread() {
        assert_eq!(summarize(&[], 1), Summary { n: 0, mean: None, std: None });
        assert_eq!(summarize(&[3.0], 0), Summary { n: 1, mean: Some(3.0), std: None });
        assert_eq!(std(&[1.0, 2.0], 2), None);
        assert_eq!(mean(&[f64::MAX, f64::MAX]), None);
        assert_eq!(std(&[f64::MAX, -f64::MAX], 1), None);
        assert_eq!(mean(&[f64::NAN]), None);
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let values = [1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0];
        assert!((std(&values, 1).unwrap() - 1.0).abs() < 1e-12);
    }
}
