#![doc = include_str!("REFERENCE.md")]

mod arguments;
mod ast;
mod canonical;
mod checks;
mod compare;
mod context;
mod error;
mod eval;
pub mod families;
mod files;
mod lexer;
mod parser;
mod resolve;
mod set;
#[cfg(test)]
mod tests;
mod transform;

pub use ast::{Argument, Expr, Function, Op, Scalar, ScalarKind, Span, Value};
pub use canonical::canonical;
pub use compare::{Difference, differences};
pub use context::{Context, MAX_HEAD_DIM, RopeDtype};
pub use error::{CHECKS, CODES, Check, Error, Severity};
pub use eval::{evaluate, evaluate_expr, parse, parse_with, recover};
pub use files::{Files, Folder, MAX_FILE_BYTES, NoFiles};
pub use lexer::parse_number;
pub use set::FrequencySet;
pub use transform::{Transform, parse_transform};
