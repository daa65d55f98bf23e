#![doc = include_str!("REFERENCE.md")]

mod arguments;
mod ast;
mod canonical;
mod checks;
mod context;
mod error;
mod eval;
pub mod families;
mod lexer;
mod parser;
mod resolve;
mod set;
#[cfg(test)]
mod tests;

pub use ast::{Argument, Expr, Function, Op, Scalar, ScalarKind, Span, Value};
pub use canonical::canonical;
pub use context::{Context, MAX_HEAD_DIM};
pub use error::{CHECKS, CODES, Check, Error, Severity};
pub use eval::{evaluate, parse};
pub use lexer::parse_number;
pub use set::FrequencySet;
