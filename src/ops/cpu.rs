//! The CPU: its instruction path, scratch memory, and the signal that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::parallel::Pool;
use super::{Error, Isa};

/// The CPU. Clones share scratch memory.
#[derive(Clone)]
pub struct Cpu {
    isa: Isa,
    pool: Arc<Pool>,
    /// Set once operators are to stop.
    stop: Arc<AtomicBool>,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpu {
    /// The CPU with its fastest instruction path.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Isa::detect())
    }

    /// The CPU with a given instruction path.
    ///
    /// # Errors
    /// [`Error::Isa`] if the processor lacks it.
    pub fn with_isa(isa: Isa) -> Result<Self, Error> {
        if isa.is_available() { Ok(Self::of(isa)) } else { Err(Error::Isa(isa)) }
    }

    fn of(isa: Isa) -> Self {
        Self { isa, pool: Arc::default(), stop: Arc::default() }
    }

    /// The same path with scratch memory of its own, for work beside this one's, which stops once
    /// `stop` is set: a step may take minutes here, longer than a batch system waits.
    #[must_use]
    pub fn until(&self, stop: &Arc<AtomicBool>) -> Self {
        Self { stop: Arc::clone(stop), ..Self::of(self.isa) }
    }

    /// Asked where an operator begins that may take long, and between its parts.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// The instruction path.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}
