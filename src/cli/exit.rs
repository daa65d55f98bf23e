//! Exit codes: one place, as DESIGN section 4 fixes them.

/// Done.
pub const DONE: u8 = 0;
/// Some run failed or diverged.
pub const FAILED: u8 = 1;
/// Usage, or an invalid spec.
pub const USAGE: u8 = 2;
/// Environment (disk, device, network, permission), or `--require` not met.
pub const ENVIRONMENT: u8 = 3;
/// Integrity, or locked by another process.
pub const INTEGRITY: u8 = 4;
/// Checkpointed on a signal: run again.
pub const INTERRUPTED: u8 = 75;
/// Ended by a second signal, without a checkpoint; as shells have it for Ctrl-C.
pub const AT_ONCE: u8 = 130;

/// What ends a command early: the code, and a message for stderr (empty if it was said already).
#[derive(Debug)]
pub struct Exit {
    /// Exit code.
    pub code: u8,
    /// Message.
    pub message: String,
}

impl Exit {
    /// An exit whose reason was printed already.
    pub fn silent(code: u8) -> Self {
        Self { code, message: String::new() }
    }

    /// An exit with a message.
    pub fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

impl From<crate::run::Error> for Exit {
    fn from(error: crate::run::Error) -> Self {
        Self::new(of_run_kind(error.kind()), error)
    }
}

/// The code of a kind of trouble with results files.
pub fn of_results_kind(kind: crate::results::ErrorKind) -> u8 {
    match kind {
        crate::results::ErrorKind::Usage => USAGE,
        crate::results::ErrorKind::Environment => ENVIRONMENT,
        crate::results::ErrorKind::Integrity => INTEGRITY,
    }
}

/// The code of a kind of failure of the interpreter.
pub fn of_run_kind(kind: crate::run::ErrorKind) -> u8 {
    match kind {
        crate::run::ErrorKind::Input => USAGE,
        crate::run::ErrorKind::Environment => ENVIRONMENT,
        crate::run::ErrorKind::Integrity => INTEGRITY,
        crate::run::ErrorKind::Stopped => INTERRUPTED,
    }
}

impl From<crate::data::Error> for Exit {
    fn from(error: crate::data::Error) -> Self {
        crate::run::Error::from(error).into()
    }
}

impl From<crate::fs::Error> for Exit {
    fn from(error: crate::fs::Error) -> Self {
        Self::new(ENVIRONMENT, error)
    }
}

impl From<crate::results::store::Error> for Exit {
    fn from(error: crate::results::store::Error) -> Self {
        crate::run::Error::from(error).into()
    }
}

impl From<std::io::Error> for Exit {
    fn from(error: std::io::Error) -> Self {
        // Nobody reads what would follow.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::silent(DONE);
        }
        Self::new(ENVIRONMENT, format!("cannot write the output: {error}"))
    }
}
