//! What TensorBoard is shown of a run: one event file in `tb/`, written as the training goes.
//!
//! The file is made anew at every attempt, from the steps that `train.jsonl` holds, so that a curve is
//! one curve after any number of kills, takeovers and older versions of this program. Of earlier files
//! only what no other file has is taken over: when a step was, and how fast.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, Instant};

use super::provenance::{machine, unix_time};
use crate::fs;
use crate::results::tensorboard::{self, Events, Scalars};
use crate::results::{Record, RunDir, Step, store};

/// A reader waits for a step no longer than this, as long as steps come.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

const LOSS: &str = "train/loss";
const LR: &str = "train/lr";
const GRAD_NORM: &str = "train/grad_norm";
const SPEED: &str = "train/tokens_per_s";

/// The event file of a run's attempt, or nothing where none is wanted.
pub struct Board(Option<Open>);

struct Open {
    events: Events,
    flushed: Instant,
}

/// Numbers of one step, as computed: also those that are not finite.
#[derive(Debug, Clone, Copy)]
pub struct StepScalars {
    /// The step.
    pub step: u64,
    /// Mean cross-entropy of the batch, nats a token.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Training tokens a second.
    pub tokens_per_s: f64,
}

impl Board {
    /// Begins an attempt whose first `steps` steps are in `train.jsonl`; does nothing unless
    /// `wanted`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn open(dir: &RunDir, wanted: bool, steps: u64) -> store::Result<Self> {
        if !wanted {
            return Ok(Self(None));
        }
        let folder = dir.tensorboard();
        let earlier = tensorboard::files(&folder)?;
        let mut known: BTreeMap<u64, Scalars> = BTreeMap::new();
        for path in &earlier {
            let events = tensorboard::read(path)?;
            known.extend(events.into_iter().map(|event| (event.step, event)));
        }
        let now = unix_time();
        let mut events = Events::create(&folder, now, &machine())?;
        let log = store::read_train(dir)?;
        for Step { step, lr, loss, grad_norm } in log.into_iter().take_while(|s| s.step < steps) {
            let of_step = known.get(&step);
            let known = |tag: &str| {
                let value = of_step?.values.iter().find(|(name, _)| name == tag);
                value.map(|(_, value)| *value)
            };
            let or_known = |value: Option<f64>, tag| match value {
                Some(value) => value as f32,
                None => known(tag).unwrap_or(f32::NAN),
            };
            let mut values = vec![(LOSS, or_known(loss, LOSS)), (LR, lr as f32)];
            values.push((GRAD_NORM, or_known(grad_norm, GRAD_NORM)));
            values.extend(known(SPEED).map(|speed| (SPEED, speed)));
            events.append(of_step.map_or(now, |event| event.wall_time), step, &values)?;
        }
        events.flush()?;
        // Last, so that a kill before leaves two files, of which the newer one counts. A TensorBoard
        // that is open waits for the file that it reads for ever if it is gone, and goes on to the
        // next one if it is empty; that it still reads the one before that is not likely.
        for path in earlier {
            match std::fs::metadata(&path).map_err(fs::Error::at("inspect", &path))?.len() {
                0 => std::fs::remove_file(&path).map_err(fs::Error::at("remove", &path))?,
                _ => drop(File::create(&path).map_err(fs::Error::at("empty", &path))?),
            }
        }
        Ok(Self(Some(Open { events, flushed: Instant::now() })))
    }

    /// Adds a step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn step(&mut self, numbers: StepScalars) -> fs::Result<()> {
        let Some(open) = &mut self.0 else { return Ok(()) };
        let StepScalars { step, loss, lr, grad_norm, tokens_per_s } = numbers;
        let values = [(LOSS, loss), (LR, lr), (GRAD_NORM, grad_norm), (SPEED, tokens_per_s)];
        open.events.append(unix_time(), step, &values.map(|(tag, value)| (tag, value as f32)))?;
        if open.flushed.elapsed() >= FLUSH_EVERY {
            open.flushed = Instant::now();
            open.events.flush()?;
        }
        Ok(())
    }

    /// Adds the whole evaluation of a record, at the last step of the training; `name` is what a
    /// transform is called.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn evaluated<'a>(
        &mut self,
        record: &'a Record,
        name: impl Fn(&'a str) -> &'a str,
    ) -> fs::Result<()> {
        let Some(open) = &mut self.0 else { return Ok(()) };
        let as_trained = record.eval.iter().map(|(length, result)| (None, length, result));
        let transformed = record.transforms.iter().flat_map(|(expression, results)| {
            let results = results.iter();
            results.map(|(length, result)| (Some(name(expression)), length, result))
        });
        let last_step = record.train.as_ref().map_or(0, |train| train.steps.saturating_sub(1));
        for (transform, length, result) in as_trained.chain(transformed) {
            let under = transform.map_or(String::new(), |name| format!("[{name}]"));
            let place = format!("@{length}{under}");
            let number = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
            let (ppl, nll) = (format!("eval/ppl{place}"), format!("eval/nll{place}"));
            let values = [(ppl.as_str(), number(result.ppl)), (nll.as_str(), number(result.nll))];
            open.events.append(unix_time(), last_step, &values)?;
        }
        self.flush()
    }

    /// Lets readers see all of it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> fs::Result<()> {
        self.0.as_mut().map_or(Ok(()), |open| open.events.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::store::TrainLog;

    fn all(dir: &RunDir) -> Vec<Scalars> {
        let files = tensorboard::files(&dir.tensorboard()).unwrap();
        let (last, earlier) = files.split_last().unwrap();
        assert!(earlier.len() < 2 && earlier.iter().all(|path| fs::read(path).unwrap().is_empty()));
        tensorboard::read(last).unwrap()
    }

    fn numbers(step: u64) -> StepScalars {
        let loss = 9.0 - step as f64;
        StepScalars { step, loss, lr: 1e-3, grad_norm: 1.0, tokens_per_s: 100.0 + step as f64 }
    }

    fn line(step: u64) -> Step {
        Step { step, lr: 1e-3, loss: Some(9.0 - step as f64), grad_norm: Some(1.0) }
    }

    #[test]
    fn a_file_torn_by_a_kill_is_made_anew_from_the_steps_that_count() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir(temp.path().join("geo/seed-1"));
        let mut log = TrainLog::open(&dir, 0).unwrap();
        let mut board = Board::open(&dir, true, 0).unwrap();
        for step in 0..6 {
            log.append(&line(step)).unwrap();
            board.step(numbers(step)).unwrap();
        }
        board.flush().unwrap();
        let path = tensorboard::files(&dir.tensorboard()).unwrap().remove(0);
        let whole = fs::read(&path).unwrap();
        let before = all(&dir);
        assert_eq!(before.len(), 6);
        // Killed within the record of step 5; the checkpoint has four steps.
        std::fs::write(&path, &whole[..whole.len() - 30]).unwrap();
        TrainLog::open(&dir, 4).unwrap();
        let mut board = Board::open(&dir, true, 4).unwrap();
        assert_eq!(all(&dir), before[..4], "times and speeds are kept");
        board.step(StepScalars { loss: f64::INFINITY, grad_norm: f64::NAN, ..numbers(4) }).unwrap();
        board.flush().unwrap();
        let after = all(&dir);
        assert_eq!(after[4].values[0], (LOSS.to_owned(), f32::INFINITY));
        assert!(after[4].values[2].1.is_nan());
        Board::open(&dir, true, 0).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn without_an_earlier_file_train_jsonl_is_enough_and_unwanted_there_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir(temp.path().join("geo/seed-1"));
        let mut log = TrainLog::open(&dir, 0).unwrap();
        for step in 0..3 {
            log.append(&line(step)).unwrap();
        }
        let mut none = Board::open(&dir, false, 3).unwrap();
        none.step(numbers(3)).unwrap();
        none.flush().unwrap();
        assert!(!dir.tensorboard().exists());
        let mut record = crate::results::Record {
            train: None,
            ..serde_json::from_str(include_str!(
                "../../results/tinystories_cpu/geo_500k/seed-42/run.json"
            ))
            .unwrap()
        };
        record.train = Some(crate::results::Training {
            steps: 3,
            tokens: 3,
            final_loss: None,
            init: None,
            log: None,
            weights: None,
        });
        let results = record.eval.clone();
        record.transforms.insert("pi({trained})".into(), results.clone());
        let mut board = Board::open(&dir, true, 3).unwrap();
        board.evaluated(&record, |_| "pi8").unwrap();
        let events = all(&dir);
        assert_eq!(events.len(), 3 + 2 * results.len());
        assert_eq!(events[2].values.len(), 3, "no speed is known");
        let last = events.last().unwrap();
        assert_eq!(last.step, 2);
        assert_eq!(last.values[0].0, "eval/ppl@4096[pi8]");
        assert_eq!(last.values[1].0, "eval/nll@4096[pi8]");
    }

    /// Prints what a step costs: `cargo test --release --lib a_step_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn a_step_costs() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir(temp.path().join("geo/seed-1"));
        let mut log = TrainLog::open(&dir, 0).unwrap();
        let mut board = Board::open(&dir, true, 0).unwrap();
        let steps = 200_000;
        let began = Instant::now();
        (0..steps).for_each(|step| board.step(numbers(step)).unwrap());
        board.flush().unwrap();
        println!("{:.2} us a step", began.elapsed().as_secs_f64() * 1e6 / steps as f64);
        (0..steps).for_each(|step| log.append(&line(step)).unwrap());
        let began = Instant::now();
        drop(Board::open(&dir, true, steps).unwrap());
        println!("{:.2} s to begin again after {steps} steps", began.elapsed().as_secs_f64());
    }
}
