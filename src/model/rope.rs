//! The rotary frequencies of a model, layer by layer, as numbers.

use super::Config;
use crate::ops::Error;

/// One set of rotary frequencies.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Angular frequencies in radians a position, K of them, 1 to `head_dim` / 2. Frequency k
    /// turns channels k and k + K of a head; channels from 2 K on are not rotated (partial
    /// rotary: Black et al. 2022, GPT-NeoX).
    pub inv_freq: Vec<f32>,
    /// Factor on cos and sin, 1 for most families; channels that are not rotated do not have it.
    pub attention_scale: f32,
}

/// The frequency sets of a model and which of them each layer has.
#[derive(Debug, Clone, PartialEq)]
pub struct Ropes {
    /// The sets; one that no layer has costs nothing.
    pub sets: Vec<Rope>,
    /// For each layer the index of its set.
    pub layers: Vec<usize>,
}

impl Ropes {
    /// One set for all of `layers` layers.
    #[must_use]
    pub fn uniform(rope: Rope, layers: usize) -> Self {
        Self { sets: vec![rope], layers: vec![0; layers] }
    }

    /// Several sets; `pattern`, of indices of `sets`, repeats over `layers` layers: \[0, 0, 1\]
    /// gives every third layer the second set. An empty pattern gives no layer a set, which
    /// [`Ropes::check`] refuses.
    #[must_use]
    pub fn patterned(sets: Vec<Rope>, pattern: &[usize], layers: usize) -> Self {
        Self { sets, layers: pattern.iter().copied().cycle().take(layers).collect() }
    }

    /// The set of a layer.
    ///
    /// # Panics
    /// If there is no such layer or [`Ropes::check`] would refuse the sets.
    #[must_use]
    pub fn of_layer(&self, layer: usize) -> &Rope {
        &self.sets[self.layers[layer]]
    }

    /// Refuses sets that do not fit a model.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one index a layer, an index names no set, or a set has
    /// not 1 to `head_dim` / 2 frequencies.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        if self.layers.len() != config.layers {
            let what = "the number of layers that have a frequency set";
            let expected = format!("the model's number of layers, {}", config.layers);
            return Err(Error::shape(what, self.layers.len(), expected));
        }
        if let Some(index) = self.layers.iter().find(|&&index| index >= self.sets.len()) {
            let expected = format!("below the number of sets, {}", self.sets.len());
            return Err(Error::shape("a layer's index of a frequency set", index, expected));
        }
        let most = config.head_dim / 2;
        for set in &self.sets {
            let count = set.inv_freq.len();
            if count == 0 || count > most {
                let expected = format!("1 to head_dim / 2 = {most}");
                return Err(Error::shape("the number of frequencies", count, expected));
            }
        }
        Ok(())
    }

    /// The sets that some layer has, equal ones once, and for each layer the index among them.
    pub(super) fn distinct(&self) -> (Vec<&Rope>, Vec<usize>) {
        let mut sets: Vec<&Rope> = Vec::new();
        let indices = self.layers.iter().map(|&index| {
            let set = &self.sets[index];
            sets.iter().position(|&other| other == set).unwrap_or_else(|| {
                sets.push(set);
                sets.len() - 1
            })
        });
        let indices = indices.collect();
        (sets, indices)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::reference;
    use super::*;

    fn set(count: usize) -> Rope {
        Rope { inv_freq: (1..=count).map(|k| 1.0 / k as f32).collect(), attention_scale: 1.0 }
    }

    #[test]
    fn a_pattern_repeats_over_the_layers() {
        let ropes = Ropes::patterned(vec![set(32), set(16)], &[0, 0, 0, 1], 6);
        assert_eq!(ropes.layers, [0, 0, 0, 1, 0, 0]);
        assert_eq!(ropes.of_layer(3), &set(16));
        assert_eq!(ropes.check(&reference()), Ok(()));
    }

    #[test]
    fn equal_sets_are_one_and_unused_ones_none() {
        let ropes = Ropes { sets: vec![set(8), set(4), set(8), set(2)], layers: vec![2, 1, 0, 1] };
        assert_eq!(ropes.distinct(), (vec![&set(8), &set(4)], vec![0, 1, 0, 1]));
        let scaled = Rope { attention_scale: 1.1, ..set(8) };
        let ropes = Ropes { sets: vec![set(8), scaled.clone()], layers: vec![0, 1] };
        assert_eq!(ropes.distinct(), (vec![&set(8), &scaled], vec![0, 1]));
    }

    #[test]
    fn sets_that_do_not_fit_are_refused_with_what_would() {
        let config = reference();
        let message = |ropes: Ropes| ropes.check(&config).expect_err("unfit").to_string();
        assert_eq!(
            message(Ropes::uniform(set(32), 5)),
            "the number of layers that have a frequency set is 5; \
             it must be the model's number of layers, 6"
        );
        assert_eq!(
            message(Ropes::patterned(vec![set(32)], &[0, 1], 6)),
            "a layer's index of a frequency set is 1; it must be below the number of sets, 1"
        );
        for count in [0, 33] {
            assert_eq!(
                message(Ropes::uniform(set(count), 6)),
                format!("the number of frequencies is {count}; it must be 1 to head_dim / 2 = 32")
            );
        }
        assert!(Ropes::patterned(vec![set(32)], &[], 6).check(&config).is_err());
        assert!(Ropes::uniform(set(1), 6).check(&config).is_ok());
    }
}
