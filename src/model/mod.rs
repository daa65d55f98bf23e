//! The decoder: RMSNorm, rotary attention, `SwiGLU`, tied head, with an explicit backward pass
//! over [`crate::ops::Backend`].
//!
//! It receives numbers (inverse frequencies), never expressions or specs. Parameters are one
//! flat arena of f32 in the order of [`Layout`], under Hugging Face Llama names.

mod config;
mod evaluation;
mod heads;
mod init;
mod layout;
mod memory;
mod rope;
mod training;
mod transformer;
mod workspace;

pub use config::Config;
pub use heads::HeadOrder;
pub use init::init;
pub use layout::{Layout, Tensor};
#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
pub use memory::DeviceDemand;
pub use memory::{evaluation_memory, training_memory};
pub use rope::{Rope, Ropes};
pub use transformer::Transformer;
