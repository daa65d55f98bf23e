//! A protocol: everything that can change a number except the frequency set and the seed, and
//! the ids that follow from it.

use serde_json::{Value as Json, json};

use super::coverage::Coverage;
use crate::data::{self, SplitKind};
use crate::{canonical, eval, model, train};

/// Changes whenever the arithmetic of training or evaluation changes a bit of a result: results
/// of different versions are different runs.
pub const NUMERICS_VERSION: u32 = 1;

/// A complete protocol, no defaults left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// The decoder.
    pub model: model::Config,
    /// Initial weights to start from instead of random ones.
    pub init_from: Option<train::Initial>,
    /// Text and tokenizer of both splits.
    pub data: data::Config,
    /// Training.
    pub train: train::Config,
    /// Evaluation.
    pub eval: eval::Config,
}

/// The content that a protocol's names stand for. Reading it is I/O, so it is asked for here
/// and answered by whoever may read.
pub trait Contents {
    /// What a split's token stream depends on, see [`data::identity`].
    ///
    /// # Errors
    /// A file that cannot be read.
    fn split(&mut self, config: &data::Config, kind: SplitKind) -> Result<Json, data::Error>;

    /// The hash of a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn file(&mut self, path: &std::path::Path) -> Result<String, data::Error>;
}

impl Contents for data::ContentHashes {
    fn split(&mut self, config: &data::Config, kind: SplitKind) -> Result<Json, data::Error> {
        data::identity(config, kind, self)
    }

    fn file(&mut self, path: &std::path::Path) -> Result<String, data::Error> {
        self.hash(path)
    }
}

/// The two parts of a protocol in canonical form: content instead of names and paths.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Model, initial weights, train data, tokenizer, schedule, precision.
    pub training: Json,
    /// Validation data, lengths, chunks, slicing, transforms.
    pub evaluation: Json,
}

impl Protocol {
    /// Finds the canonical form.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn identify(&self, contents: &mut dyn Contents) -> Result<Identity, data::Error> {
        let mut model = serde_json::to_value(&self.model).expect("a plain struct is JSON");
        model["init_from"] = match &self.init_from {
            Some(initial) => weights_identity(&initial.files, contents)?,
            None => Json::Null,
        };
        let training = json!({
            "model": model,
            "data": contents.split(&self.data, SplitKind::Train)?,
            "schedule": self.train,
        });
        let evaluation = json!({
            "data": contents.split(&self.data, SplitKind::Validation)?,
            "chunks": null,
            "slicing": self.eval.slicing,
        });
        let evaluation = Coverage::of(&self.eval).of_part(&evaluation);
        Ok(Identity { training, evaluation })
    }
}

/// The hash of a file of weights; of several the hashes in ascending order, since what the shards
/// of a checkpoint are called is no part of it.
fn weights_identity(
    files: &[std::path::PathBuf],
    contents: &mut dyn Contents,
) -> Result<Json, data::Error> {
    let mut hashes = files.iter().map(|path| contents.file(path)).collect::<Result<Vec<_>, _>>()?;
    hashes.sort_unstable();
    Ok(match hashes.as_slice() {
        [one] => json!(one),
        several => json!(several),
    })
}

impl Identity {
    /// The protocol id.
    #[must_use]
    pub fn protocol_id(&self) -> String {
        canonical::id(
            "protocol",
            &json!({ "training": self.training, "evaluation": self.evaluation }),
        )
    }

    /// The train id of a frequency set and a seed: same id, same weights.
    #[must_use]
    pub fn train_id(&self, vec_id: &str, seed: u64) -> String {
        canonical::id(
            "train",
            &json!({
                "training": self.training,
                "vec_id": vec_id,
                "seed": seed,
                "numerics": NUMERICS_VERSION,
            }),
        )
    }

    /// The eval id of a trained run.
    #[must_use]
    pub fn eval_id(&self, train_id: &str) -> String {
        eval_id(train_id, &self.evaluation)
    }
}

/// The eval id of a trained run under an evaluation part.
#[must_use]
pub fn eval_id(train_id: &str, evaluation: &Json) -> String {
    canonical::id("eval", &json!({ "train_id": train_id, "evaluation": evaluation }))
}
