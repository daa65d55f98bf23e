//! Checkpoints: weights, moments and position of a run, written so that a kill at any moment
//! leaves the last complete one.
//!
//! `checkpoint/step-00000120/` holds `state.safetensors` and, written last, `manifest.json` with
//! the state's hash. After a run's last step no moments are needed any more: that checkpoint holds
//! `weights.safetensors`, the file that stays when the run is done. A folder without a manifest, or
//! whose state has another hash, is not a checkpoint; the one before it is then used. Two
//! generations are kept.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::weights;
use crate::fs;
use crate::model::Layout;

/// Weights and moments: there are steps to come.
const STATE: &str = "state.safetensors";
/// Weights alone, after the last step.
const TRAINED: &str = "weights.safetensors";
const MANIFEST: &str = "manifest.json";
const PREFIXES: [&str; 3] = ["weights.", "exp_avg.", "exp_avg_sq."];
/// Generations kept: the newest, and the one before should the newest be damaged.
const KEEP: usize = 2;

/// One of the arenas that a run's state consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arena {
    /// The parameters.
    Weights,
    /// Adam's first moment.
    ExpAvg,
    /// Adam's second moment.
    ExpAvgSq,
}

/// All arenas, in the order of [`PREFIXES`].
const ARENAS: [Arena; 3] = [Arena::Weights, Arena::ExpAvg, Arena::ExpAvgSq];

/// What a run needs to go on from a step.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// The parameters.
    pub weights: Vec<f32>,
    /// Adam's moments; none after the last step.
    pub moments: Option<Moments>,
}

/// Adam's moments, as long as the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The first.
    pub exp_avg: Vec<f32>,
    /// The second.
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

/// Writes a checkpoint after `step` steps under `dir` and removes those that are no longer
/// needed. `read(arena, offset, out)` copies `out.len()` values of an arena: the state is
/// written piece by piece and never held a second time.
///
/// # Errors
/// If a file cannot be written, or what `read` returns; earlier checkpoints are then still there.
pub fn save(
    dir: &Path,
    owner: &Owner,
    layout: &Layout,
    step: u64,
    mut read: impl FnMut(Arena, usize, &mut [f32]) -> io::Result<()>,
) -> Result<(), fs::Error> {
    write(dir, owner, step, STATE, |out| {
        let read = |set: usize, offset, values: &mut [f32]| read(ARENAS[set], offset, values);
        weights::write(out, layout, &PREFIXES, read)
    })
}

/// As [`save`], after the last step: `read(offset, out)` copies `out.len()` weights.
///
/// # Errors
/// As [`save`].
pub fn save_trained(
    dir: &Path,
    owner: &Owner,
    layout: &Layout,
    step: u64,
    mut read: impl FnMut(usize, &mut [f32]) -> io::Result<()>,
) -> Result<(), fs::Error> {
    write(dir, owner, step, TRAINED, |out| {
        weights::write(out, layout, &[""], |_, offset, values| read(offset, values))
    })
}

/// The file of the weights, if a checkpoint after so many steps was written by [`save_trained`].
#[must_use]
pub fn trained(dir: &Path, step: u64) -> Option<PathBuf> {
    let folder = folder(dir, step);
    Some(folder.join(TRAINED)).filter(|path| path.exists() && folder.join(MANIFEST).exists())
}

/// The most that checkpoints of a training of so many parameters take on disk: those that are kept, and
/// the one that is written before the oldest goes.
#[must_use]
pub fn most_bytes(parameters: u64) -> u64 {
    weights::bytes(parameters).saturating_mul((ARENAS.len() * (KEEP + 1)) as u64)
}

fn folder(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("step-{step:08}"))
}

fn write(
    dir: &Path,
    owner: &Owner,
    step: u64,
    name: &str,
    state: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), fs::Error> {
    let folder = folder(dir, step);
    // One of this step that is there was not resumed: it is damaged, or another run's.
    clear(&folder)?;
    let (mut hasher, mut state_bytes) = (blake3::Hasher::new(), 0);
    fs::write_atomic_with(&folder.join(name), |out| {
        state(&mut Hashing { out, hasher: &mut hasher, bytes: &mut state_bytes })
    })?;
    let manifest = Manifest {
        schema: 1,
        owner: owner.clone(),
        step,
        state_blake3: hasher.finalize().to_hex().to_string(),
        state_bytes,
    };
    let text = serde_json::to_string_pretty(&manifest).expect("a plain struct is JSON") + "\n";
    fs::write_atomic(&folder.join(MANIFEST), text.as_bytes())?;
    fs::sync_dir(dir)?;
    for old in folders(dir).into_iter().rev().skip(KEEP) {
        let _ = std::fs::remove_dir_all(old);
    }
    Ok(())
}

/// Passes bytes on, and counts and hashes them.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
    bytes: &'a mut u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        *self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The complete checkpoints under `dir`, newest first.
#[must_use]
pub fn list(dir: &Path) -> Vec<Found> {
    let found = folders(dir).into_iter().rev().filter_map(|folder| {
        let text = std::fs::read_to_string(folder.join(MANIFEST)).ok()?;
        let manifest: Manifest = serde_json::from_str(&text).ok()?;
        let len = std::fs::metadata(state_file(&folder)).ok()?.len();
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
    let path = state_file(&found.folder);
    if fs::hash_file(&path).ok()? != manifest.state_blake3 {
        return None;
    }
    let step = found.step;
    if path.ends_with(TRAINED) {
        return Some(State { step, weights: weights::load(&path, layout).ok()?, moments: None });
    }
    let arenas = weights::read(&path, layout, &PREFIXES).ok()?;
    let [weights, exp_avg, exp_avg_sq]: [Vec<f32>; 3] = arenas.try_into().ok()?;
    Some(State { step, weights, moments: Some(Moments { exp_avg, exp_avg_sq }) })
}

fn state_file(folder: &Path) -> PathBuf {
    let trained = folder.join(TRAINED);
    if trained.exists() { trained } else { folder.join(STATE) }
}

/// Removes all checkpoints (the run is done), or one.
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
        let moments = Moments { exp_avg: fill(0.2), exp_avg_sq: fill(0.3) };
        State { step, weights: fill(0.1), moments: Some(moments) }
    }

    fn owner() -> Owner {
        Owner { train_id: "t".into(), device_class: "cpu portable".into() }
    }

    fn save_state(dir: &Path, layout: &Layout, state: &State) {
        let copy = |values: &[f32], offset: usize, out: &mut [f32]| {
            out.copy_from_slice(&values[offset..offset + out.len()]);
            Ok(())
        };
        let Some(moments) = &state.moments else {
            let read = |offset, out: &mut [f32]| copy(&state.weights, offset, out);
            return save_trained(dir, &owner(), layout, state.step, read).unwrap();
        };
        let read = |arena, offset, out: &mut [f32]| match arena {
            Arena::Weights => copy(&state.weights, offset, out),
            Arena::ExpAvg => copy(&moments.exp_avg, offset, out),
            Arena::ExpAvgSq => copy(&moments.exp_avg_sq, offset, out),
        };
        save(dir, &owner(), layout, state.step, read).unwrap();
    }

    #[test]
    fn the_newest_two_are_kept_and_come_back_equal() {
        let (dir, layout) = (tempfile::tempdir().unwrap(), layout());
        for step in [10, 20, 30] {
            save_state(dir.path(), &layout, &state(step, &layout));
        }
        let found = list(dir.path());
        assert_eq!(found.iter().map(|f| f.step).collect::<Vec<_>>(), [30, 20]);
        assert_eq!(load(&found[0], &layout).unwrap(), state(30, &layout));
        clear(dir.path()).unwrap();
        clear(dir.path()).unwrap();
        assert!(list(dir.path()).is_empty());
    }

    #[test]
    fn the_last_one_is_the_file_of_the_weights() {
        let (dir, layout) = (tempfile::tempdir().unwrap(), layout());
        save_state(dir.path(), &layout, &state(2, &layout));
        assert_eq!(trained(dir.path(), 2), None);
        // In place of one with moments of the same step.
        for last in [3, 2] {
            let state = State { moments: None, ..state(last, &layout) };
            save_state(dir.path(), &layout, &state);
            let found = list(dir.path()).into_iter().find(|found| found.step == last).unwrap();
            assert_eq!(load(&found, &layout).unwrap(), state);
            let file = trained(dir.path(), last).unwrap();
            assert_eq!(weights::load(&file, &layout).unwrap(), state.weights);
        }
        assert!(!dir.path().join("step-00000002").join(STATE).exists());
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
            save_state(dir.path(), &layout, &state(1, &layout));
            save_state(dir.path(), &layout, &state(2, &layout));
            hurt(&dir.path().join("step-00000002"));
            let loaded = list(dir.path()).iter().find_map(|f| load(f, &layout)).unwrap();
            assert_eq!(loaded, state(1, &layout));
        }
    }
}
