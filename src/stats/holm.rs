//! Correction for the number of comparisons.

/// Holm's adjusted p-values: comparing each with 5 % keeps the chance of any false claim in a
/// family of `family` tests at 5 %, whatever the dependence between the tests.
///
/// `family` counts tests without a p-value too (a comparison that could not be made was still
/// one of the chances); fewer than `p_values.len()` is read as that many. The answer is in the
/// order given. Source: Holm (1979), "A simple sequentially rejective multiple test procedure",
/// Scandinavian Journal of Statistics 6.
#[must_use]
pub fn holm(p_values: &[f64], family: usize) -> Vec<f64> {
    let family = family.max(p_values.len());
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0f64;
    for (rank, &index) in order.iter().enumerate() {
        largest = largest.max(((family - rank) as f64 * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_example() {
        // Holm's own steps: 4 x 0.005, 3 x 0.01, then 2 x 0.03 carried over 1 x 0.04.
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005], 4);
        for (a, b) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((a - b).abs() < 1e-15, "{adjusted:?}");
        }
    }

    #[test]
    fn comparisons_without_a_p_value_count_and_p_stays_below_one() {
        assert_eq!(holm(&[0.02], 3), vec![0.06]);
        assert_eq!(holm(&[0.5, 0.9], 2), vec![1.0, 1.0]);
        assert_eq!(holm(&[], 5), Vec::<f64>::new());
        assert_eq!(holm(&[0.2], 0), vec![0.2]);
    }
}
