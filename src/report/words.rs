//! Numbers and lists as a reader sees them.

/// Items listed in one sentence, at most; the rest is counted.
const MAX_LISTED: usize = 8;

/// A number of the size of a perplexity, with three decimals; in scientific form where three
/// decimals would hide it or run long.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(5e-4..1e7).contains(&size) {
        format!("{value:.3e}")
    } else {
        format!("{value:.3}")
    }
}

/// `17.324 ± 0.441`; the mean alone without a std; empty without a mean.
#[must_use]
pub fn mean_pm_std(mean: Option<f64>, std: Option<f64>) -> String {
    match (mean, std) {
        (Some(mean), Some(std)) => format!("{} ± {}", number(mean), number(std)),
        (Some(mean), None) => number(mean),
        (None, _) => String::new(),
    }
}

/// A p-value with three decimals, or `< 0.001`.
#[must_use]
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

/// A share as whole percent, or with two decimals if it lies within one percent of the `limit`
/// that it is compared with (so that `50 %` never fails to be at most `50 %`).
#[must_use]
pub fn percent_against(share: f64, limit: f64) -> String {
    if (share - limit).abs() < 0.01 && share != limit {
        format!("{:.2} %", 100.0 * share)
    } else {
        format!("{:.0} %", 100.0 * share)
    }
}

/// `a, b, c`, or the first few `and 12 more`.
#[must_use]
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let shown = items[..items.len().min(MAX_LISTED)].join(", ");
    match items.len().checked_sub(MAX_LISTED) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// `seed 7` or `seeds 7, 8`.
#[must_use]
pub fn seeds(seeds: &[u64]) -> String {
    format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, list(seeds))
}

/// `seed 7 was` or `seeds 7, 8 were`.
#[must_use]
pub fn seeds_were(these: &[u64]) -> String {
    format!("{} {}", seeds(these), if these.len() == 1 { "was" } else { "were" })
}

/// A value with ten significant digits: what special functions are good for on any platform.
#[must_use]
pub fn ten_digits(value: f64) -> f64 {
    format!("{value:.9e}").parse().unwrap_or(value)
}

/// A text without control characters, which must not reach a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_the_contract() {
        assert_eq!(mean_pm_std(Some(17.323_666), Some(0.440_5)), "17.324 ± 0.441");
        assert_eq!(mean_pm_std(Some(17.0), None), "17.000");
        assert_eq!(mean_pm_std(None, None), "");
        assert_eq!(number(1.5e-9), "1.500e-9");
        assert_eq!(number(2.5e12), "2.500e12");
        assert_eq!(number(0.0), "0.000");
        assert_eq!(p_value(0.325), "0.325");
        assert_eq!(p_value(1e-5), "< 0.001");
        assert_eq!(percent_against(1.064, 0.5), "106 %");
        assert_eq!(percent_against(0.5004, 0.5), "50.04 %");
        assert_eq!(list(1..=10), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
        assert_eq!(seeds(&[7]), "seed 7");
        assert_eq!(seeds(&[7, 8]), "seeds 7, 8");
    }
}
