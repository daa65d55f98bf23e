//! The frequency sets of a model: one for all layers, or one for each kind of layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::freq::FrequencySet;
use crate::results::{Frequencies, LayerFrequencies};

/// The frequency sets of a model, layer by layer, and the ids of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSets {
    /// What all layers have, or the layers `L`, or the layers `G`, in this order.
    sets: Vec<FrequencySet>,
    /// The letters of the spec, if there are two kinds of layers.
    pattern: Option<String>,
    /// For each layer the index of its set.
    layers: Vec<usize>,
    /// The canonical form; with two kinds of layers a TOML table as a spec writes it.
    pub expression: String,
    /// Hash of the canonical form and of the context it depends on: provenance. With two kinds
    /// of layers blake3 over both expr_ids, the pattern and the number of layers.
    pub expr_id: String,
    /// What decides "the same frequencies". If the sets of all layers have one vec_id, that one;
    /// otherwise blake3 over the vec_ids of the layers, in their order.
    pub vec_id: String,
}

/// A named frequency set with what it is compared to.
#[derive(Debug, Clone)]
pub struct ResolvedConfig {
    /// Config name.
    pub name: String,
    /// Name of its baseline; its own for a baseline.
    pub baseline: String,
    /// The sets that are trained.
    pub freq: LayerSets,
    /// For each transform of the point's evaluation the sets by evaluation length.
    pub transformed: Vec<BTreeMap<u64, Arc<LayerSets>>>,
}

/// The keys of a spec under which the two kinds of layers stand.
pub const KINDS: [&str; 2] = ["local", "global"];

impl LayerSets {
    /// One set for all of `layers` layers; its ids are those of the set.
    #[must_use]
    pub fn same(set: FrequencySet, layers: usize) -> Self {
        Self {
            pattern: None,
            layers: vec![0; layers.max(1)],
            expression: set.expression.clone(),
            expr_id: set.expr_id.clone(),
            vec_id: set.vec_id.clone(),
            sets: vec![set],
        }
    }

    /// Two kinds of layers; `pattern`, of letters `L` (local) and `G` (global), repeats.
    #[must_use]
    pub fn per_layer(
        local: FrequencySet,
        global: FrequencySet,
        pattern: &str,
        layers: usize,
    ) -> Self {
        let letters = pattern.bytes().cycle();
        let layers: Vec<usize> =
            letters.take(layers.max(1)).map(|letter| usize::from(letter == b'G')).collect();
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let expression = format!(
            "{{ local = {}, global = {}, pattern = {} }}",
            quoted(&local.expression),
            quoted(&global.expression),
            quoted(pattern)
        );
        let expr_id = hash(&format!(
            "{}\n{}\npattern={pattern}\nlayers={}",
            local.expr_id,
            global.expr_id,
            layers.len()
        ));
        let sets = vec![local, global];
        let ids: Vec<&str> = layers.iter().map(|&set| sets[set].vec_id.as_str()).collect();
        let vec_id = match ids.iter().all(|id| *id == ids[0]) {
            true => ids[0].to_owned(),
            false => hash(&ids.join("\n")),
        };
        let pattern = Some(pattern.to_owned());
        Self { sets, pattern, layers, expression, expr_id, vec_id }
    }

    /// The sets: one, or that of the layers `L` and that of the layers `G`.
    #[must_use]
    pub fn sets(&self) -> &[FrequencySet] {
        &self.sets
    }

    /// The sets with the keys under which they stand in a spec's table, if there are two kinds.
    #[must_use]
    pub fn by_kind(&self) -> Option<(&str, Vec<(&'static str, &FrequencySet)>)> {
        Some((self.pattern.as_deref()?, KINDS.into_iter().zip(&self.sets).collect()))
    }

    /// For each layer the index of its set in [`LayerSets::sets`].
    #[must_use]
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// The set of the first layer.
    #[must_use]
    pub fn first(&self) -> &FrequencySet {
        &self.sets[self.layers[0]]
    }

    /// The bases that occur in the sets that layers have, ascending, each once.
    #[must_use]
    pub fn thetas(&self) -> Vec<f64> {
        let mut thetas: Vec<f64> = self.used().flat_map(|set| set.thetas.clone()).collect();
        thetas.sort_by(f64::total_cmp);
        thetas.dedup();
        thetas
    }

    /// The grids that the expressions of these sets name, each once.
    #[must_use]
    pub fn grids(&self) -> Vec<&'static str> {
        let mut grids: Vec<_> = self.used().flat_map(|set| set.grids.iter().copied()).collect();
        grids.sort_unstable();
        grids.dedup();
        grids
    }

    /// The sets that some layer has.
    pub fn used(&self) -> impl Iterator<Item = &FrequencySet> {
        let used = |index: &usize| self.layers.contains(index);
        (0..self.sets.len()).filter(used).map(|index| &self.sets[index])
    }

    /// As run.json has them.
    #[must_use]
    pub fn recorded(&self) -> Frequencies {
        let layers = self.by_kind().map(|(pattern, sets)| LayerFrequencies {
            pattern: pattern.to_owned(),
            sets: sets.into_iter().map(|(kind, set)| (kind.to_owned(), recorded(set))).collect(),
        });
        Frequencies {
            expression: self.expression.clone(),
            expr_id: self.expr_id.clone(),
            vec_id: self.vec_id.clone(),
            layers,
            ..recorded(self.first())
        }
    }

    /// What run.json has of a model of so many layers, from the sets that `set` makes of its parts again.
    #[must_use]
    pub fn of_recorded(
        recorded: &Frequencies,
        layers: usize,
        set: impl Fn(&Frequencies) -> Option<FrequencySet>,
    ) -> Option<Self> {
        let Some(kinds) = &recorded.layers else { return Some(Self::same(set(recorded)?, layers)) };
        let [local, global] = KINDS.map(|kind| kinds.sets.get(kind).and_then(&set));
        Some(Self::per_layer(local?, global?, &kinds.pattern, layers))
    }

    /// The same kinds of layers with other sets, in the order of [`LayerSets::sets`].
    #[must_use]
    pub(super) fn with(&self, mut sets: Vec<FrequencySet>) -> Self {
        match (&self.pattern, sets.pop(), sets.pop()) {
            (Some(pattern), Some(global), Some(local)) => {
                Self::per_layer(local, global, pattern, self.layers.len())
            }
            (None, Some(set), None) => Self::same(set, self.layers.len()),
            _ => unreachable!("as many sets as there were"),
        }
    }
}

fn recorded(set: &FrequencySet) -> Frequencies {
    Frequencies {
        expression: set.expression.clone(),
        inv_freq: set.inv_freq.clone(),
        attention_scale: set.attention_scale,
        expr_id: set.expr_id.clone(),
        vec_id: set.vec_id.clone(),
        layers: None,
    }
}

fn hash(text: &str) -> String {
    blake3::hash(format!("xpfreq-layers/1\n{text}").as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freq::{Context, evaluate};

    fn set(text: &str) -> FrequencySet {
        evaluate(text, &Context { train_len: Some(64), ..Context::new(16) }).expect("a good set")
    }

    #[test]
    fn one_set_keeps_its_ids() {
        let (one, sets) = (set("geo(theta=10k)"), LayerSets::same(set("geo(theta=10k)"), 4));
        assert_eq!(
            (&sets.expression, &sets.expr_id, &sets.vec_id),
            (&one.expression, &one.expr_id, &one.vec_id)
        );
        assert_eq!((sets.layers(), sets.by_kind()), (&[0, 0, 0, 0][..], None));
        assert_eq!(
            sets.with(vec![set("geo(theta=30k)")]),
            LayerSets::same(set("geo(theta=30k)"), 4)
        );
    }

    #[test]
    fn two_kinds_repeat_their_pattern_and_the_id_is_that_of_the_layers() {
        let sets = |pattern: &str, layers| {
            LayerSets::per_layer(set("geo(theta=10k)"), set("geo(theta=20k)"), pattern, layers)
        };
        let lg = sets("LLG", 5);
        assert_eq!(lg.layers(), [0, 0, 1, 0, 0]);
        assert_eq!(lg.thetas(), [1e4, 2e4]);
        assert!(lg.expression.starts_with("{ local = \"geo"), "{}", lg.expression);
        assert!(lg.expression.ends_with(", pattern = \"LLG\" }"), "{}", lg.expression);
        // Another spelling of the same layers, other layers, another number of them.
        assert_eq!(lg.vec_id, sets("LLGLL", 5).vec_id);
        assert_ne!(lg.expr_id, sets("LLGLL", 5).expr_id);
        assert_ne!(lg.vec_id, sets("LGL", 5).vec_id);
        assert_ne!(lg.vec_id, sets("LLG", 6).vec_id);
        assert_ne!(lg.expr_id, sets("LLG", 6).expr_id);
        // A kind that no layer is of changes no number.
        assert_eq!(sets("LLG", 2).vec_id, set("geo(theta=10k)").vec_id);
        assert_eq!(sets("LLG", 2).thetas(), [1e4]);
        assert_eq!(sets("G", 2).first(), &set("geo(theta=20k)"));
        assert_eq!(lg.with(lg.sets().to_vec()), lg);
    }

    #[test]
    fn equal_numbers_in_all_layers_are_one_set() {
        let twice = LayerSets::per_layer(set("geo(theta=10k)"), set("geo(theta=1e4)"), "LG", 4);
        assert_eq!(twice.vec_id, set("geo(theta=10k)").vec_id);
    }
}
