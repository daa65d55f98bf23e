//! The training engine against candle's autograd, against itself on other thread counts and
//! instruction paths, and its memory.

mod determinism;
mod evaluation;
mod model_against_candle;
mod ops_against_candle;
mod reference;
