//! What a run leaves on disk: the records, their format version, and where they lie.
//!
//! [`store`] reads and writes the files of one run, [`list`] what an experiment's folder holds,
//! [`import`] brings in results measured elsewhere, [`merge`] those of other machines. Types: `run.json` is [`Record`], `lock.json`
//! is [`Lock`].

mod changes;
mod declared;
mod details;
pub mod import;
mod layout;
mod listing;
mod lock;
pub mod merge;
mod record;
pub mod store;
mod tail;
pub mod tensorboard;
#[cfg(test)]
pub(crate) mod testing;

pub use changes::{changed_keys, comparable_evaluation};
pub use declared::{
    Amendment, Config, Declared, Guard, Lock, Point, Rule, SeedShare, SharedDocuments, Swept,
    TokenData, Transform, WinRule,
};
pub use details::{Details, contradicting_chunks, list_consistent};
pub use layout::{Layout, REPORT_DIR, RunDir, SUPERSEDED_DIR};
pub use listing::{
    Entry, Listing, Problem, absolute_run, all_locks, all_records, experiment_above, list,
};
pub use lock::Recorded;
pub use record::{
    Attempt, ChunkLoss, DataIdentity, Evaluation, Frequencies, LayerFrequencies, PositionLoss,
    Provenance, Record, Status, Step, Training,
};
pub use store::ErrorKind;
pub use tail::{Curve, last_step};
