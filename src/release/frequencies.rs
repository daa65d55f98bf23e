//! The frequency set to write.

use super::error::Error;
use super::run::TrainedRun;
use crate::freq::{self, Context, FrequencySet, NoFiles};
use crate::results::{Frequencies, Transform};

/// The frequencies of an export, and what they are for.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The set that the weights are to be used with.
    pub set: FrequencySet,
    /// What it was evaluated for.
    pub context: Context,
    /// The transform of the evaluation that it comes from; `None` as trained.
    pub transform: Option<Transform>,
    /// The longest text to serve, in tokens.
    pub length: u64,
}

impl Chosen {
    /// The set of a run: as trained, or under a transform of its evaluation by name or canonical
    /// expression. `length` is the longest text to serve; without it the longest evaluated length.
    ///
    /// # Errors
    /// Sets that differ from layer to layer, a transform that the experiment does not declare, and
    /// frequencies that are not those of the record.
    pub fn of(
        run: &TrainedRun,
        transform: Option<&str>,
        length: Option<u64>,
    ) -> Result<Self, Error> {
        let recorded = of_all_layers(run)?;
        let (trained, context) = evaluated(run, recorded)?;
        let longest = run.lengths().last().copied().unwrap_or(run.point.seq_len);
        let length = length.unwrap_or(longest);
        if length == 0 {
            return Err(run.usage("the longest length to serve must be at least 1"));
        }
        let Some(wanted) = transform else {
            return Ok(Self { set: trained, context, transform: None, length });
        };
        let transform = declared(run, wanted)?;
        let context = Context { seq_len: Some(length), ..context };
        let unusable = |errors: Vec<freq::Error>| {
            let reason = errors.first().map_or("no reason", |error| error.message.as_str());
            run.usage(format!("`{}` gives no set at {length} tokens: {reason}", transform.name))
        };
        let applied = freq::parse_transform(&transform.expression, &NoFiles)
            .and_then(|parsed| parsed.apply(&freq::parse(&trained.expression)?))
            .map_err(unusable)?;
        let set = freq::evaluate_expr(&applied, &context).map_err(unusable)?;
        let seq_len = set.depends_on_seq_len.then_some(length);
        let context = Context { seq_len, ..context };
        Ok(Self { set, context, transform: Some(transform), length })
    }

    /// Channels of a head that rotate.
    #[must_use]
    pub fn rotary_dim(&self) -> usize {
        2 * self.set.inv_freq.len()
    }

    /// The set for software that rotates whole heads, for weights in one of the orders of
    /// [`crate::model::HeadOrder`]: after the frequencies those of the channels that are not rotated,
    /// which are 0.
    ///
    /// # Errors
    /// If a part of a head rotates and has an attention scale: the other part does not have it, and
    /// software gives it to both.
    pub(super) fn whole_heads(&self, run: &TrainedRun) -> Result<FrequencySet, Error> {
        let mut set = self.set.clone();
        let channels = set.head_dim as usize / 2;
        if set.inv_freq.len() < channels && set.attention_scale != 1.0 {
            return Err(run.usage(format!(
                "{} of {} dimensions of a head rotate, with an attention scale of {}, which the others do \
                 not have; other software scales whole heads and cannot express this model",
                self.rotary_dim(),
                set.head_dim,
                set.attention_scale
            )));
        }
        set.inv_freq.resize(channels, 0.0);
        Ok(set)
    }

    /// What a reader should know of the set.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.set.depends_on_seq_len {
            notes.push(format!(
                "the frequencies depend on the length at run time: these are the ones for {} tokens, and \
                 the other software has them at every length",
                self.length
            ));
        }
        notes
    }
}

/// The frequencies of a run, if all layers have the same.
fn of_all_layers(run: &TrainedRun) -> Result<&Frequencies, Error> {
    let none = || run.contradiction("its record names no frequencies");
    let recorded = run.record.freq.as_ref().ok_or_else(none)?;
    let Some(layers) = &recorded.layers else { return Ok(recorded) };
    // Two kinds of layers with one set have its id together.
    let same = layers.sets.values().find(|set| set.vec_id == recorded.vec_id);
    same.ok_or_else(|| {
        run.usage(
            "its layers have different frequencies (local and global), and neither the config.json of a \
             Llama model nor a GGUF file of that architecture has room for more than one set",
        )
    })
}

/// Evaluates recorded frequencies again.
fn evaluated(run: &TrainedRun, recorded: &Frequencies) -> Result<(FrequencySet, Context), Error> {
    let head_dim = u32::try_from(run.model.head_dim).expect("a model's shape was checked");
    let train_len = Some(run.point.seq_len);
    let target_lens =
        [run.target_len].into_iter().chain(run.lock.longest_lengths(run.record.point.as_deref()));
    let ids = (recorded.expr_id.as_str(), recorded.vec_id.as_str());
    freq::recover(&recorded.expression, ids, (head_dim, train_len), target_lens).ok_or_else(|| {
        run.contradiction(format!(
            "its frequencies, {}, do not give the set that run.json records (vec_id {}, expr_id {}); they \
             were changed, or this xp evaluates them otherwise than the one that trained with them",
            recorded.expression, recorded.vec_id, recorded.expr_id
        ))
    })
}

/// A transform that the experiment declares, or once did.
fn declared(run: &TrainedRun, wanted: &str) -> Result<Transform, Error> {
    let mut known: Vec<&Transform> = run.point.transforms.iter().collect();
    for declared in run.lock.versions() {
        let point = declared.point(run.record.point.as_deref());
        known.extend(point.iter().flat_map(|point| &point.transforms));
    }
    let found = known.iter().find(|t| t.name == wanted || t.expression == wanted);
    found.map(|transform| (*transform).clone()).ok_or_else(|| {
        let mut names: Vec<&str> = known.iter().map(|transform| transform.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let have = match names.as_slice() {
            [] => "it has none; declare it as [eval] transform".to_owned(),
            names => format!("it has {}", names.join(", ")),
        };
        run.usage(format!("`{wanted}` is no transform of its experiment: {have}"))
    })
}
