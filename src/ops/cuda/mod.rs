//! The CUDA backend: the operators as kernels of `src/ops/kernels`, matrix products by the
//! driver. Matrix inputs are bf16 or f32; weights, statistics, sums and losses are f32 in both.

mod attention;
mod backend;
mod driver;
mod embedding;
#[cfg(feature = "cuda-emulator")]
mod emulator;
#[cfg(feature = "cuda")]
mod gpu;
mod head;
#[cfg(feature = "cuda")]
mod staging;
mod timed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use driver::{Address, Argument, Launch, Memory, Operand};
pub use driver::{DeviceMemory, Driver};
#[cfg(feature = "cuda-emulator")]
pub use emulator::Emulator;
#[cfg(feature = "cuda")]
pub use gpu::{
    ARCHITECTURES, Gpu, NO_GPU, NVCC_VERSION, blas_version, driver_version, gpus, has_blas,
    has_driver,
};

pub use timed::Timed;

use super::backend::{View, ViewMut};
use super::{AttentionShape, Error, Precision};

/// Threads of a block where nothing asks for another number.
const THREADS: usize = 256;
/// Values of one partial sum of squares, as the kernel has it.
const SUM_CHUNK: usize = 1 << 14;

/// A CUDA device, or what stands for one, in one precision of the matrix inputs.
pub struct Cuda<D: Driver> {
    driver: Arc<D>,
    precision: Precision,
    scratch: Mutex<HashMap<&'static str, Memory<D>>>,
}

/// Values in device memory.
pub struct Buf<D: Driver> {
    memory: Memory<D>,
    len: usize,
    precision: Precision,
}

/// Token ids in device memory, and here for what is sorted on the host.
pub struct Tokens<D: Driver> {
    ids: Vec<u32>,
    memory: Memory<D>,
}

/// bf16 to f32, exactly.
fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f32 to bf16, to the nearest even.
#[cfg(feature = "cuda-emulator")]
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() { 0x7fff } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}

impl Precision {
    /// Bytes of one matrix input.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The kernels' suffix.
    fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// A kernel that accesses 16 bytes at a time, if rows of `width` begin on 16 bytes; else its
    /// twin for single values.
    fn kernel(self, name: &str, width: usize) -> String {
        let single = if width.is_multiple_of(16 / self.bytes()) { "" } else { "_single" };
        format!("{name}_{}{single}", self.suffix())
    }

    /// Values that a thread of that kernel takes.
    fn vector(self, width: usize) -> usize {
        let whole = 16 / self.bytes();
        if width.is_multiple_of(whole) { whole } else { 1 }
    }
}

impl<D: Driver> View<'_, Buf<D>> {
    fn at(&self) -> Address {
        address(self.buf, self.offset, self.len)
    }

    fn operand(&self, transposed: bool) -> Operand {
        Operand { at: self.at(), precision: self.buf.precision, transposed }
    }
}

impl<D: Driver> ViewMut<'_, Buf<D>> {
    fn at(&self) -> Address {
        address(self.buf, self.offset, self.len)
    }

    fn operand(&self) -> Operand {
        Operand { at: self.at(), precision: self.buf.precision, transposed: false }
    }
}

/// Where `len` values from `offset` stand.
fn address<D: Driver>(buf: &Buf<D>, offset: usize, len: usize) -> Address {
    assert!(offset + len <= buf.len, "a view of {len} values from {offset} of {}", buf.len);
    buf.memory.at + (offset * buf.precision.bytes()) as Address
}

/// A view of f32 values: statistics, the residual stream, weights as the optimiser has them.
fn wide<D: Driver>(buf: &Buf<D>) {
    assert_eq!(buf.precision, Precision::F32, "values of this kind are f32");
}

fn int(n: usize) -> Argument {
    i32::try_from(n).expect("sizes below 2^31").into()
}

fn long(n: usize) -> Argument {
    (n as i64).into()
}

/// Whether there are kernels for heads of `head_dim` channels in a precision.
///
/// # Errors
/// [`Error::Shape`] if there are none.
pub fn check_head_dim(head_dim: usize, precision: Precision) -> Result<(), Error> {
    attention::padded(head_dim, precision).map(|_| ())
}

/// Bytes that the operators of a pass take beside its buffers, the matrix products' included:
/// `width` is the hidden size.
#[must_use]
pub fn scratch_bytes(
    shape: AttentionShape,
    (width, vocab_size): (usize, usize),
    precision: Precision,
    training: bool,
) -> u128 {
    let [rows, seq_len, heads, width] =
        [shape.rows, shape.seq_len, shape.heads, width].map(|n| n as u128);
    let (n, p) = (rows.saturating_mul(seq_len), precision.bytes() as u128);
    // An evaluation's head is never given more rows than the CPU takes at once.
    let chunk =
        if training { head::rows_per_chunk(vocab_size) } else { super::rows_per_chunk(vocab_size) };
    let logits = (chunk as u128).min(n) * vocab_size as u128 * p;
    let backward = if training {
        let pieces = n / embedding::PIECE as u128 + n.min(vocab_size as u128);
        let indices = 4 * (n + 3 * pieces);
        n.saturating_mul(4 * heads) + 4 * pieces * width + indices + 4 * 1024 * width
    } else {
        0
    };
    (driver::FIXED_BYTES + logits).saturating_add(backward)
}

impl<D: Driver> Cuda<D> {
    /// This device with matrix inputs in `precision`.
    pub fn new(driver: Arc<D>, precision: Precision) -> Self {
        Self { driver, precision, scratch: Mutex::default() }
    }

    /// The same device for work beside this one's: a stream and scratch memory of its own.
    ///
    /// # Errors
    /// A device that fails.
    pub fn apart(&self) -> Result<Self, Error> {
        Ok(Self::new(Arc::new(self.driver.apart()?), self.precision))
    }

    fn launch(
        &self,
        kernel: &str,
        grid: [usize; 3],
        (threads, shared): (usize, usize),
        arguments: &[Argument],
    ) -> Result<(), Error> {
        if grid.contains(&0) {
            return Ok(());
        }
        let grid = grid.map(|n| u32::try_from(n).expect("fewer than 2^32 blocks"));
        let (threads, shared) = (threads as u32, shared as u32);
        self.driver.launch(&Launch { kernel, grid, threads, shared, arguments })
    }

    /// One thread for each `per_thread` of `n` values.
    fn launch_flat(
        &self,
        kernel: &str,
        n: usize,
        per_thread: usize,
        arguments: &[Argument],
    ) -> Result<(), Error> {
        let blocks = n.div_ceil(per_thread * THREADS);
        self.launch(kernel, [blocks, 1, 1], (THREADS, 0), arguments)
    }

    /// Memory for one purpose, kept from call to call; what it holds is the last call's.
    fn scratch(&self, what: &'static str, bytes: usize) -> Result<Address, Error> {
        let mut scratch = self.scratch.lock().expect("no thread panics with this lock");
        if scratch.get(what).is_none_or(|memory| memory.bytes < bytes) {
            scratch.remove(what);
            scratch.insert(what, Memory::new(&self.driver, bytes, what)?);
        }
        Ok(scratch[what].at)
    }

    fn buffer(
        &self,
        len: usize,
        precision: Precision,
        what: &'static str,
    ) -> Result<Buf<D>, Error> {
        let bytes = len.checked_mul(precision.bytes()).ok_or(Error::OutOfMemory {
            what,
            bytes: u64::MAX,
            free: None,
        })?;
        let memory = Memory::new(&self.driver, bytes, what)?;
        self.driver.zero(memory.at, bytes)?;
        Ok(Buf { memory, len, precision })
    }

    /// Ids or offsets, to the device.
    fn write_indices(&self, indices: &[u32], to: Address) -> Result<(), Error> {
        let bytes: Vec<u8> = indices.iter().flat_map(|i| i.to_ne_bytes()).collect();
        self.driver.write(&bytes, to)
    }
}
