//! Chunks of an evaluation that is under way, kept beside the checkpoints: one that a signal or a kill ends goes on
//! behind them, however little time it has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::fs;
use crate::results::ChunkLoss;
use crate::train::checkpoint::Owner;

/// What losses depend on besides transform, length and chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Of {
    #[serde(flatten)]
    owner: Owner,
    /// Hash of the weights.
    weights: String,
    /// Id of the validation tokens.
    validation: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    schema: u32,
    #[serde(flatten)]
    of: Of,
    /// Hash of the chunks as they are written.
    blake3: String,
    chunks: Vec<ChunkLoss>,
}

/// Transform, length and chunk.
type Key = (Option<String>, u64, u64);

/// The chunks that an earlier attempt has left, and where those of this one go.
pub struct Kept {
    path: PathBuf,
    of: Of,
    left: BTreeMap<Key, ChunkLoss>,
    every: Duration,
    saved: Instant,
}

impl Kept {
    /// What an earlier attempt has left of the evaluation of these weights: nothing, if it was of something else or
    /// is damaged.
    pub fn open(context: &Context<'_>, device_class: &str, weights: &str) -> Self {
        let train_id = context.run.train_id.clone();
        let of = Of {
            owner: Owner { train_id, device_class: device_class.to_owned() },
            weights: weights.to_owned(),
            validation: context.streams.validation.id().to_owned(),
        };
        let path = context.dir.checkpoint().join("eval.json");
        let (every, saved) = (context.checkpoints.every, Instant::now());
        let left = read(&path, &of).unwrap_or_default().into_iter();
        let left = left.map(|line| ((line.transform.clone(), line.length, line.chunk), line));
        Self { left: left.collect(), path, of, every, saved }
    }

    /// Takes a chunk, if it is there.
    pub fn take(&mut self, transform: Option<&str>, length: u64, chunk: u64) -> Option<ChunkLoss> {
        self.left.remove(&(transform.map(str::to_owned), length, chunk))
    }

    /// Keeps the chunks of this attempt, if that was not done for as long as checkpoints lie apart.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save_if_due(&mut self, chunks: &[ChunkLoss]) -> Result<(), fs::Error> {
        if self.saved.elapsed() < self.every { Ok(()) } else { self.save(chunks) }
    }

    /// Keeps the chunks of this attempt, those that it has taken among them.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save(&mut self, chunks: &[ChunkLoss]) -> Result<(), fs::Error> {
        if chunks.is_empty() {
            return Ok(());
        }
        let left = self.left.values().cloned();
        let chunks: Vec<_> = chunks.iter().cloned().chain(left).collect();
        let content = Content { schema: 1, of: self.of.clone(), blake3: hash(&chunks), chunks };
        fs::create_dir_all(self.path.parent().expect("a joined path has a parent"))?;
        let bytes = serde_json::to_vec(&content).expect("chunks are JSON");
        fs::write_atomic(&self.path, &bytes)?;
        self.saved = Instant::now();
        Ok(())
    }
}

fn read(path: &std::path::Path, of: &Of) -> Option<Vec<ChunkLoss>> {
    let content: Content = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let sound = content.schema == 1 && content.of == *of && content.blake3 == hash(&content.chunks);
    sound.then_some(content.chunks)
}

fn hash(chunks: &[ChunkLoss]) -> String {
    let bytes = serde_json::to_vec(chunks).expect("chunks are JSON");
    blake3::hash(&bytes).to_hex().to_string()
}
