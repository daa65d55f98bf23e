//! The CUDA backend against the CPU's operators: on a GPU with the feature `cuda`, on the
//! emulator, kernel by kernel, with `cuda-emulator`.
//!
//! Without a GPU the tests of a `cuda` build say that they were skipped; without either feature
//! the one test here is ignored, and says why.

#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
mod device;
#[cfg(feature = "cuda-emulator")]
mod interpreter;
#[cfg(feature = "cuda-emulator")]
mod memory;
#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
mod model;
#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
mod operators;
#[cfg(any(feature = "cuda", feature = "cuda-emulator"))]
mod repeat;
#[cfg(feature = "cuda-emulator")]
mod timed;

#[cfg(not(any(feature = "cuda", feature = "cuda-emulator")))]
#[test]
#[ignore = "built without the features `cuda` and `cuda-emulator`"]
fn cuda_is_not_tested_here() {}
