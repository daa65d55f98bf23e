//! What the CUDA backend asks of a driver: memory, kernel launches, matrix products.
//!
//! The backend above this line is the same for a GPU and for the emulator, so that argument
//! lists, grids and offsets are tested on machines without a GPU.

use std::sync::Arc;

use crate::ops::{Error, Precision};

/// What a queue takes by itself: the scratch memory of cuBLAS.
pub(super) const FIXED_BYTES: u128 = 32 << 20;

/// An address in device memory.
pub(super) type Address = u64;

/// Free and total bytes of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What can still be allocated.
    pub free: u64,
    /// What the device has.
    pub total: u64,
}

/// One argument of a kernel, as the bytes that it reads.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Argument {
    pub(super) bytes: [u8; 32],
    pub(super) size: usize,
}

impl Argument {
    fn of<const N: usize>(value: [u8; N]) -> Self {
        let mut bytes = [0; 32];
        bytes[..N].copy_from_slice(&value);
        Self { bytes, size: N }
    }

    /// A structure of 32-bit members.
    pub(super) fn members<const N: usize>(members: [[u8; 4]; N]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&members) {
            *to = *from;
        }
        Self { bytes, size: 4 * N }
    }
}

impl From<i32> for Argument {
    fn from(value: i32) -> Self {
        Self::of(value.to_ne_bytes())
    }
}

impl From<i64> for Argument {
    fn from(value: i64) -> Self {
        Self::of(value.to_ne_bytes())
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self::of(value.to_ne_bytes())
    }
}

impl From<Address> for Argument {
    fn from(value: Address) -> Self {
        Self::of(value.to_ne_bytes())
    }
}

/// One kernel launch.
pub struct Launch<'a> {
    /// The kernel's name.
    pub kernel: &'a str,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block: a multiple of 32.
    pub threads: u32,
    /// Bytes of shared memory.
    pub shared: u32,
    /// In the order of the kernel's parameters.
    pub arguments: &'a [Argument],
}

/// A row-major matrix in device memory, dense.
#[derive(Clone, Copy)]
pub struct Operand {
    /// First value.
    pub at: Address,
    /// Its type.
    pub precision: Precision,
    /// Whether the transpose of what is stored enters the product.
    pub transposed: bool,
}

/// c\[m, n\] = a\[m, k\] b\[k, n\], set or added, sums in f32.
pub struct Product {
    /// m, n, k.
    pub size: [usize; 3],
    /// Left factor.
    pub a: Operand,
    /// Right factor, of the same type.
    pub b: Operand,
    /// The result; never transposed.
    pub c: Operand,
    /// Whether it is added to what `c` holds.
    pub add: bool,
}

/// A device, or what stands for one. Calls are carried out in their order; only [`Driver::read`]
/// waits for them.
pub trait Driver: Send + Sync + 'static {
    /// What results may depend on.
    fn device_class(&self) -> String;

    /// The same device with a queue of its own.
    ///
    /// # Errors
    /// A device that fails, as of all that follow.
    fn apart(&self) -> Result<Self, Error>
    where
        Self: Sized;

    /// Bytes of shared memory of a multiprocessor, for all blocks that it runs at a time.
    fn shared_memory(&self) -> usize;

    /// Whether it has, and was given kernels for, the matrix instructions of warpgroups (compute
    /// capability 9.0).
    fn warpgroups(&self) -> bool;

    /// Free and total bytes.
    fn memory(&self) -> Result<DeviceMemory, Error>;

    /// The most bytes that were allocated at one time, by all queues of the device.
    fn peak(&self) -> Result<u64, Error>;

    /// `bytes` bytes, not initialised; `None` if the device has not that many.
    fn allocate(&self, bytes: usize) -> Result<Option<u64>, Error>;

    /// Gives them back.
    fn free(&self, at: u64);

    /// Copies to the device.
    fn write(&self, from: &[u8], to: u64) -> Result<(), Error>;

    /// Copies from the device, after everything before it.
    fn read(&self, from: u64, to: &mut [u8]) -> Result<(), Error>;

    /// Copies within the device.
    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error>;

    /// Zeroes.
    fn zero(&self, to: u64, bytes: usize) -> Result<(), Error>;

    /// Launches a kernel.
    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error>;

    /// Multiplies matrices.
    fn multiply(&self, product: &Product) -> Result<(), Error>;
}

/// Device memory, given back when dropped.
pub(super) struct Memory<D: Driver> {
    driver: Arc<D>,
    pub(super) at: Address,
    pub(super) bytes: usize,
}

impl<D: Driver> Memory<D> {
    /// `bytes` bytes, not initialised; `what` names them should memory run out.
    pub(super) fn new(driver: &Arc<D>, bytes: usize, what: &'static str) -> Result<Self, Error> {
        // A buffer of nothing still has an address; kernels may read whole 16 bytes.
        let wanted = bytes.max(1).next_multiple_of(256);
        match driver.allocate(wanted)? {
            Some(at) => Ok(Self { driver: Arc::clone(driver), at, bytes }),
            None => Err(Error::OutOfMemory {
                what,
                bytes: wanted as u64,
                free: Some(driver.memory()?.free),
            }),
        }
    }
}

impl<D: Driver> Drop for Memory<D> {
    fn drop(&mut self) {
        self.driver.free(self.at);
    }
}
