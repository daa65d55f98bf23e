//! What can go wrong in an operator or a model step.

use super::Isa;

/// Why an operator or a model step could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A buffer could not be allocated.
    #[error(
        "{bytes} bytes for {what} could not be allocated{}; \
         use a smaller micro_batch_size, length or model, or a machine with more memory",
        free.map_or(String::new(), |free| format!(", {free} are free"))
    )]
    OutOfMemory {
        /// What the buffer was for.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// Bytes that the device has left, where it says.
        free: Option<u64>,
    },
    /// A token id lies outside the vocabulary.
    #[error(
        "token {position} of the batch is {token}, but vocab_size is {vocab_size}; \
         ids run from 0 to vocab_size - 1: check that tokenizer and model.vocab_size agree"
    )]
    Token {
        /// Index of the token in the slice that was given.
        position: usize,
        /// The id.
        token: u32,
        /// Number of ids that the model knows.
        vocab_size: usize,
    },
    /// A size does not fit the others.
    #[error("{what} is {got}; it must be {expected}")]
    Shape {
        /// Which size.
        what: &'static str,
        /// Its value.
        got: String,
        /// What would be right.
        expected: String,
    },
    /// The processor lacks an instruction path.
    #[error("this processor does not have the instruction path `{0}`; use `portable`")]
    Isa(Isa),
    /// It was asked to stop ([`super::Cpu::until`]); what it has written is undefined.
    #[error("stopped on request")]
    Stopped,
    /// The device failed.
    #[error("device: {0}")]
    Device(String),
}

impl Error {
    /// A [`Error::Shape`] from displayable parts.
    pub(crate) fn shape(
        what: &'static str,
        got: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Self {
        Self::Shape { what, got: got.to_string(), expected: expected.to_string() }
    }
}
