//! Who wants to know how a sweep and its runs go, and how a run can end.

use std::time::Duration;

use super::jobs::Speed;
use super::room::Room;
use super::state::Inspection;
use crate::data::{self, SplitKind};
use crate::plan::Run;
use crate::results::{Lock, Record, Step};

/// How one run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Trained (or taken over) and evaluated.
    Done,
    /// The loss or the gradient stopped being finite.
    Diverged {
        /// The step at which it did.
        step: u64,
    },
    /// A signal came; a checkpoint is there, if a step was done.
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// An error; the message.
    Failed(String),
    /// Another process is at it.
    Locked,
}

/// Who wants to know how a sweep goes. All methods but one have empty defaults.
pub trait Observer: data::Progress {
    /// Before the first run: how many there are, and how many are left to do.
    fn begin(&self, _total: usize, _todo: usize) {}
    /// The plan is declared: lock.json as it will be.
    fn declared(&self, _lock: &Lock) {}
    /// The disk may become full before all runs are trained.
    fn little_room(&self, _room: &Room) {}
    /// A split is being made into tokens.
    fn preparing(&self, _kind: SplitKind) {}
    /// Training and validation text were compared, document by document.
    fn overlap(&self, _shared: &data::Overlap) {}
    /// The number of runs side by side is being measured.
    fn measuring(&self) {}
    /// So many runs will be carried out side by side, because they were as fast as this.
    fn side_by_side(&self, _jobs: usize, _speeds: &[Speed]) {}
    /// The I-th of the runs that are left begins: who wants to know of it.
    fn run_begins<'a>(
        &'a self,
        run: &'a Run<'a>,
        number: usize,
        of: usize,
        inspection: &Inspection,
    ) -> Box<dyn RunObserver + 'a>;
    /// Another process is at a run.
    fn run_locked(&self, _run: &Run<'_>) {}
}

/// Who wants to know how one run goes. All methods have empty defaults.
pub trait RunObserver {
    /// Training begins at a step.
    fn training(&mut self, _from: u64, _steps: u64) {}
    /// A step is done.
    fn step(&mut self, _step: &Step, _steps: u64, _tokens: u64, _took: Duration) {}
    /// A chunk is about to be evaluated, as trained or under a transform.
    fn evaluating(&mut self, _transform: Option<&str>, _length: u64, _chunk: usize, _of: usize) {}
    /// The run ended; its record, if it has one.
    fn ends(&mut self, _ending: &Ending, _record: Option<&Record>) {}
}
