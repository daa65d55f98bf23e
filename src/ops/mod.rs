//! Fused operators with hand-written backward passes, one file each, behind one [`Backend`].
//!
//! Each file holds the operator's CPU code and, for the tests, a plain f64 reference that is
//! read in a minute. Rules that every operator keeps:
//!
//! - the split of the work and the order of every sum depend on shapes alone, never on the
//!   thread count, so results have the same bits on any pool;
//! - instruction paths ([`Isa`]) may differ in the last bits: they are device classes;
//! - nothing of size `seq_len`² is ever held;
//! - NaN goes in, NaN comes out: a diverged run must be seen.

mod adamw;
mod attention;
mod backend;
mod buffer;
mod cpu;
mod cpu_backend;
mod cross_entropy;
#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
pub mod cuda;
mod embedding;
mod error;
mod gemm;
mod isa;
mod math;
mod parallel;
mod parts;
mod rms_norm;
mod rope;
mod sum_of_squares;
mod swiglu;
mod tile;

#[cfg(test)]
mod testing;

pub use adamw::AdamWStep;
pub use attention::{AttentionShape, attention_scratch};
pub use backend::{
    Backend, GpuDescription, LinearShape, NormShape, Precision, View, ViewMut, Write,
};
pub use buffer::{Buffer, filled};
pub use cpu::Cpu;
pub use cross_entropy::{HeadShape, IGNORE, rows_per_chunk};
pub use error::Error;
pub use gemm::gemm_scratch;
pub use isa::Isa;
pub use parts::rows_at_once;
pub use rope::rope_table;
