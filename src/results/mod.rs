//! What a run leaves on disk: the records, their format version, and where they lie.

mod declared;
mod record;

pub use declared::{Amendment, Config, Declared, Guard, Lock, Point, Rule, SeedShare, WinRule};
pub use record::{
    Attempt, ChunkLoss, DataIdentity, Evaluation, Frequencies, PositionLoss, Provenance, Record,
    Status, Step, Training,
};
