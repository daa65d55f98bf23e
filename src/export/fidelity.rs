//! What becomes of frequencies in the other software.

/// How the frequencies that the other software computes differ from those of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fidelity {
    /// Channels whose frequency is not the same f32.
    pub channels: usize,
    /// The largest difference, in steps from one f32 to the next.
    pub max_ulp: u32,
}

impl Fidelity {
    /// Compares frequencies, all of them finite and not negative.
    #[must_use]
    pub fn of(ours: &[f32], theirs: &[f32]) -> Self {
        // The bits of f32 values that are not negative are in the order of the values.
        let steps = ours.iter().zip(theirs).map(|(a, b)| a.to_bits().abs_diff(b.to_bits()));
        steps.fold(Self { channels: 0, max_ulp: 0 }, |so_far, ulp| Self {
            channels: so_far.channels + usize::from(ulp > 0),
            max_ulp: so_far.max_ulp.max(ulp),
        })
    }

    /// Whether every frequency is the same f32.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.channels == 0
    }
}

/// The f32 by which software divides to get back the frequency `w`: `1/w` rounded once.
///
/// Infinite for 0 and for the subnormal frequencies whose reciprocal is not an f32.
pub(super) fn divisor(w: f32) -> f32 {
    (1.0 / f64::from(w)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_up_and_down_and_across_a_power_of_two() {
        let exact = Fidelity::of(&[1.0, 0.0, 1e-30], &[1.0, 0.0, 1e-30]);
        assert_eq!(exact, Fidelity { channels: 0, max_ulp: 0 });
        assert!(exact.is_exact());
        let off = Fidelity::of(
            &[1.0, 0.5, 0.25, 3.0],
            &[1.0f32.next_up(), 0.5f32.next_down().next_down(), 0.25, 3.0],
        );
        assert_eq!(off, Fidelity { channels: 2, max_ulp: 2 });
    }

    #[test]
    fn one_value_in_seven_is_the_reciprocal_of_no_f32() {
        // Of the values in [1, 2), evenly: the share and the bound that the module documents.
        let values: Vec<f32> = (0..100_000).map(|i| 1.0 + i as f32 / 100_000.0).collect();
        let back: Vec<f32> = values.iter().map(|w| 1.0 / divisor(*w)).collect();
        let lost = Fidelity::of(&values, &back);
        assert_eq!(lost.max_ulp, 1);
        let share = lost.channels as f64 / values.len() as f64;
        assert!((0.05..0.4).contains(&share), "{share}");
        // What came back once comes back again.
        let again: Vec<f32> = back.iter().map(|w| 1.0 / divisor(*w)).collect();
        assert!(Fidelity::of(&back, &again).is_exact());
    }
}
