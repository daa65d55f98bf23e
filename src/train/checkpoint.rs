//! Checkpoints: weights, moments and position of a run, written so that a kill at any moment
//! leaves the last complete one.
//!
//! `checkpoint/step-00000120/` holds `state.safetensors` and, written last, `manifest.json` with
//! the state's hash. A folder without a manifest, or whose state has another hash, is not a
//! checkpoint; the one before it is then used. Two generations are kept.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::weights::{self, TensorSet};
use crate::fs;
use crate::model::Layout;

const STATE: &str = "state.safetensors";
const MANIFEST: &str = "manifest.json";
const PREFIXES: [&str; 3] = ["weights.", "exp_avg.", "exp_avg_sq."];
/// Generations kept: the newest, and the one before should the newest be damaged.
const KEEP: usize = 2;

/// What a run needs to go on from a step.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// The parameters.
    pub weights: Vec<f32>,
    /// Adam's first moment.
    pub exp_avg: Vec<f32>,
    /// Adam's second moment.
    pub exp_avg_sq: Vec<f32>,
}

/// What a checkpoint belongs to: it is resumed only into the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The train id.
    pub train_id: String,
    /// Processor or card and instruction path: other ones round differently.
    pub device_class: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    #[serde(flatten)]
    owner: Owner,
    step: u64,
    state_blake3: String,
    state_bytes: u64,
}

/// A checkpoint that was found complete, by its manifest; the state is verified when loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Steps done.
    pub step: u64,
    /// What it belongs to.
    pub owner: Owner,
    folder: PathBuf,
}

/// Writes a checkpoint under `dir` and removes those that are no longer needed.
///
/// # Errors
/// If a file cannot be written; earlier checkpoints are then still there.
pub fn save(dir: &Path, owner: &Owner, layout: &Layout, state: &State) -> Result<(), fs::Error> {
    let sets = [&state.weights, &state.exp_avg, &state.exp_avg_sq];
    let sets: Vec<TensorSet<'_>> = PREFIXES
        .iter()
        .zip(sets)
        .map(|(prefix, values)| TensorSet { prefix, layout, values })
        .collect();
    let bytes = weights::to_bytes(&sets);
    let folder = dir.join(format!("step-{:08}", state.step));
    let manifest = Manifest {
        schema: 1,
        owner: owner.clone(),
        step: state.step,
        state_blake3: blake3::hash(&bytes).to_hex().to_string(),
        state_bytes: bytes.len() as u64,
    };
    fs::write_atomic(&folder.join(STATE), &bytes)?;
    let text = serde_json::to_string_pretty(&manifest).expect("a plain struct is JSON") + "\n";
    fs::write_atomic(&folder.join(MANIFEST), text.as_bytes())?;
    fs::sync_dir(dir)?;
    for old in folders(dir).into_iter().rev().skip(KEEP) {
        let _ = std::fs::remove_dir_all(old);
    }
    Ok(())
}

/// The complete checkpoints under `dir`, newest first.
#[must_use]
pub fn list(dir: &Path) -> Vec<Found> {
    let found = folders(dir).into_iter().rev().filter_map(|folder| {
        let text = std::fs::read_to_string(folder.join(MANIFEST)).ok()?;
        let manifest: Manifest = serde_json::from_str(&text).ok()?;
        let len = std::fs::metadata(folder.join(STATE)).ok()?.len();
        (manifest.schema == 1 && len == manifest.state_bytes).then_some(Found {
            step: manifest.step,
            owner: manifest.owner,
            folder,
        })
    });
    found.collect()
}

/// Loads a checkpoint if its state has the hash of its manifest and fits the model.
#[must_use]
pub fn load(found: &Found, layout: &Layout) -> Option<State> {
    let text = std::fs::read_to_string(found.folder.join(MANIFEST)).ok()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    let path = found.folder.join(STATE);
    let bytes = std::fs::read(&path).ok()?;
    if blake3::hash(&bytes).to_hex().as_str() != manifest.state_blake3 {
        return None;
    }
    let arenas = weights::from_bytes(&bytes, &path, layout, &PREFIXES).ok()?;
    let [weights, exp_avg, exp_avg_sq]: [Vec<f32>; 3] = arenas.try_into().ok()?;
    Some(State { step: found.step, weights, exp_avg, exp_avg_sq })
}

/// Removes all checkpoints: the run is done.
///
/// # Errors
/// If the folder cannot be removed.
pub fn clear(dir: &Path) -> Result<(), fs::Error> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(fs::Error::at("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// The checkpoint folders, oldest first.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let is_step = |path: &PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("step-"))
    };
    let mut folders: Vec<PathBuf> = entries.filter(is_step).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;

    fn layout() -> Layout {
        Layout::new(&Config {
            layers: 1,
            hidden_size: 2,
            heads: 1,
            head_dim: 2,
            intermediate_size: 2,
            vocab_size: 3,
            norm_eps: 1e-6,
            init_std: 0.02,
            tie_embeddings: true,
        })
    }

    fn state(step: u64, layout: &Layout) -> State {
        let fill = |x: f32| vec![x + step as f32; layout.len()];
        State { step, weights: fill(0.1), exp_avg: fill(0.2), exp_avg_sq: fill(0.3) }
    }

    fn owner() -> Owner {
        Owner { train_id: "t".into(), device_class: "cpu portable".into() }
    }

    #[test]
    fn the_newest_two_are_kept_and_come_back_equal() {
        let (dir, layout) = (tempfile::tempdir().unwrap(), layout());
        for step in [10, 20, 30] {
            save(dir.path(), &owner(), &layout, &state(step, &layout)).unwrap();
        }
        let found = list(dir.path());
        assert_eq!(found.iter().map(|f| f.step).collect::<Vec<_>>(), [30, 20]);
        assert_eq!(load(&found[0], &layout).unwrap(), state(30, &layout));
        clear(dir.path()).unwrap();
        clear(dir.path()).unwrap();
        assert!(list(dir.path()).is_empty());
    }

    #[test]
    fn damage_of_any_kind_is_seen() {
        let layout = layout();
        let damage: [fn(&Path); 4] = [
            |folder| std::fs::remove_file(folder.join(MANIFEST)).unwrap(),
            |folder| std::fs::write(folder.join(MANIFEST), "{\"schema\":1").unwrap(),
            |folder| {
                let bytes = std::fs::read(folder.join(STATE)).unwrap();
                std::fs::write(folder.join(STATE), &bytes[..bytes.len() - 4]).unwrap();
            },
            |folder| {
                let mut bytes = std::fs::read(folder.join(STATE)).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                std::fs::write(folder.join(STATE), bytes).unwrap();
            },
        ];
        for hurt in damage {
            let dir = tempfile::tempdir().unwrap();
            save(dir.path(), &owner(), &layout, &state(1, &layout)).unwrap();
            save(dir.path(), &owner(), &layout, &state(2, &layout)).unwrap();
            hurt(&dir.path().join("step-00000002"));
            let loaded = list(dir.path()).iter().find_map(|f| load(f, &layout)).unwrap();
            assert_eq!(loaded, state(1, &layout));
        }
    }
}
