//! A driver without a GPU: the kernels' own sources, compiled for the host, each thread a
//! coroutine. For tests: it is thousands of times slower than a device, and stricter.

#![expect(unsafe_code, reason = "calls the kernels through their C interface")]

use std::alloc::{self, Layout};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::driver::{Argument, DeviceMemory, Driver, Launch, Operand, Product};
use crate::ops::{Error, Precision};

#[repr(C)]
struct Kernel([u8; 0]);
#[repr(C)]
struct Block([u8; 0]);

unsafe extern "C" {
    fn xp_emulator_find(name: *const c_char) -> *const Kernel;
    fn xp_emulator_sizes(kernel: *const Kernel, sizes: *mut c_uint, room: c_uint) -> c_uint;
    fn xp_emulator_block(
        kernel: *const Kernel,
        arguments: *mut *mut c_void,
        grid: *const c_uint,
        index: *const c_uint,
        threads: c_uint,
        shared: c_uint,
        eager_copies: bool,
    ) -> *mut Block;
    fn xp_emulator_thread(block: *mut Block, index: c_uint);
    fn xp_emulator_progress(block: *const Block) -> u64;
    fn xp_emulator_free(block: *mut Block) -> bool;
}

thread_local! {
    /// Stacks of coroutines that have ended: mapping them takes longer than most kernels.
    static STACKS: std::cell::RefCell<Vec<DefaultStack>> = const { std::cell::RefCell::new(Vec::new()) };
    /// The coroutine at work on this thread.
    static YIELDER: std::cell::Cell<*const Yielder<(), ()>> =
        const { std::cell::Cell::new(std::ptr::null()) };
}

/// Called by a kernel's thread that waits for others.
#[unsafe(no_mangle)]
extern "C" fn xp_emulator_yield() {
    let yielder = YIELDER.get();
    // SAFETY: set by the coroutine that runs this very call, and alive as long as it is.
    unsafe { (*yielder).suspend(()) };
    YIELDER.set(yielder);
}

/// Bytes before and behind every allocation that nobody may write.
const GUARD: usize = 256;
/// A value that is read there is no small one in any type.
const GUARD_BYTE: u8 = 0x7f;
const STACK: usize = 64 << 10;
/// Shared memory that a block can have on every card since compute capability 8.6.
const MAX_SHARED: u32 = 99 << 10;
/// Shared memory of a multiprocessor of compute capability 9.0.
const MULTIPROCESSOR_SHARED: usize = 228 << 10;

/// Kernels on the host, in device memory that is host memory.
///
/// Each launch runs blocks and threads in another order: kernels whose results depend on it, for
/// want of a barrier or by adding to one place from two, give other bits.
pub struct Emulator {
    memory: Arc<Usage>,
    sizes: Mutex<HashMap<u64, usize>>,
    order: AtomicU64,
    shared_memory: usize,
    warpgroups: bool,
}

/// The memory of the device, for all its queues.
struct Usage {
    total: u64,
    allocated: AtomicU64,
    peak: AtomicU64,
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new(4 << 30, 1)
    }
}

impl Emulator {
    /// A device with `total` bytes; `seed` decides in which order threads run.
    #[must_use]
    pub fn new(total: u64, seed: u64) -> Self {
        let (allocated, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        Self::with(Arc::new(Usage { total, allocated, peak }), seed)
    }

    fn with(memory: Arc<Usage>, seed: u64) -> Self {
        let shared_memory = MULTIPROCESSOR_SHARED;
        let (sizes, order) = (Mutex::default(), AtomicU64::new(seed));
        Self { memory, sizes, order, shared_memory, warpgroups: false }
    }

    /// The same with multiprocessors of `bytes` bytes of shared memory, not those of compute
    /// capability 9.0.
    #[must_use]
    pub fn with_shared_memory(mut self, bytes: usize) -> Self {
        self.shared_memory = bytes;
        self
    }

    /// The same with the matrix instructions of compute capability 9.0.
    #[must_use]
    pub fn with_warpgroups(mut self) -> Self {
        self.warpgroups = true;
        self
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes + 2 * GUARD, GUARD).expect("a small power of two")
    }

    /// 0..n in an order that is another one each time.
    fn shuffled(&self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        // Knuth's multiplicative generator: any mixing does.
        let mut state = self.order.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        for i in (1..n).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(i, (state >> 33) as usize % (i + 1));
        }
        order
    }

    fn run_block(&self, block: *mut Block, threads: usize) {
        // Each warp runs as far as it gets before the next one does: no order is further from one
        // in which all advance together.
        let start = |index: usize| {
            let stack = STACKS.with_borrow_mut(Vec::pop);
            let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK).expect("memory"));
            Coroutine::with_stack(stack, move |yielder, ()| {
                YIELDER.set(std::ptr::from_ref(yielder));
                // SAFETY: the block outlives its coroutines.
                unsafe { xp_emulator_thread(block, index as c_uint) };
            })
        };
        let mut warps: Vec<Vec<_>> = self
            .shuffled(threads / 32)
            .into_iter()
            .map(|warp| self.shuffled(32).into_iter().map(|lane| start(32 * warp + lane)).collect())
            .collect();
        // SAFETY: the block lives until the caller frees it.
        let progress = || unsafe { xp_emulator_progress(block) };
        while !warps.is_empty() {
            let before = progress();
            for warp in &mut warps {
                let mut reached = u64::MAX;
                while reached != progress() {
                    reached = progress();
                    let mut waiting = Vec::new();
                    for mut thread in warp.drain(..) {
                        match thread.resume(()) {
                            CoroutineResult::Yield(()) => waiting.push(thread),
                            CoroutineResult::Return(()) => {
                                STACKS.with_borrow_mut(|stacks| stacks.push(thread.into_stack()));
                            }
                        }
                    }
                    *warp = waiting;
                }
            }
            warps.retain(|warp| !warp.is_empty());
            assert!(
                warps.is_empty() || progress() != before,
                "{} warps wait at a barrier that others have left",
                warps.len()
            );
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let left: Vec<u64> =
            self.sizes.lock().expect("no thread panicked").keys().copied().collect();
        left.into_iter().for_each(|at| self.free(at));
    }
}

impl Driver for Emulator {
    fn device_class(&self) -> String {
        "cuda emulator".into()
    }

    fn apart(&self) -> Result<Self, Error> {
        let mut apart = Self::with(Arc::clone(&self.memory), self.order.load(Ordering::Relaxed));
        (apart.shared_memory, apart.warpgroups) = (self.shared_memory, self.warpgroups);
        Ok(apart)
    }

    fn shared_memory(&self) -> usize {
        self.shared_memory
    }

    fn warpgroups(&self) -> bool {
        self.warpgroups
    }

    fn memory(&self) -> Result<DeviceMemory, Error> {
        let Usage { total, allocated, .. } = &*self.memory;
        Ok(DeviceMemory { free: total - allocated.load(Ordering::Relaxed), total: *total })
    }

    fn peak(&self) -> Result<u64, Error> {
        Ok(self.memory.peak.load(Ordering::Relaxed))
    }

    fn allocate(&self, bytes: usize) -> Result<Option<u64>, Error> {
        if self.memory.allocated.load(Ordering::Relaxed) + bytes as u64 > self.memory.total {
            return Ok(None);
        }
        let before = self.memory.allocated.fetch_add(bytes as u64, Ordering::Relaxed);
        self.memory.peak.fetch_max(before + bytes as u64, Ordering::Relaxed);
        // SAFETY: the layout is not empty; guards and bytes lie inside it.
        let at = unsafe {
            let start = alloc::alloc(Self::layout(bytes));
            assert!(!start.is_null(), "{bytes} bytes for the emulated device");
            start.write_bytes(GUARD_BYTE, GUARD);
            // Values that nobody has written are NaN.
            start.add(GUARD).write_bytes(0xff, bytes);
            start.add(GUARD + bytes).write_bytes(GUARD_BYTE, GUARD);
            start.add(GUARD) as u64
        };
        self.sizes.lock().expect("no thread panicked").insert(at, bytes);
        Ok(Some(at))
    }

    fn free(&self, at: u64) {
        let bytes = self.sizes.lock().expect("no thread panicked").remove(&at);
        let bytes = bytes.expect("freed once");
        self.memory.allocated.fetch_sub(bytes as u64, Ordering::Relaxed);
        let start = (at as *mut u8).wrapping_sub(GUARD);
        // SAFETY: allocated above with this layout.
        unsafe {
            for guard in [start, start.add(GUARD + bytes)] {
                let bytes = std::slice::from_raw_parts(guard, GUARD);
                let intact = bytes.iter().all(|&byte| byte == GUARD_BYTE);
                assert!(intact || std::thread::panicking(), "a kernel wrote outside its buffers");
            }
            alloc::dealloc(start, Self::layout(bytes));
        }
    }

    fn write(&self, from: &[u8], to: u64) -> Result<(), Error> {
        // SAFETY: the backend keeps copies inside its buffers, here and below.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    fn read(&self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        // SAFETY: see `write`.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: see `write`.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn zero(&self, to: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: see `write`.
        unsafe { (to as *mut u8).write_bytes(0, bytes) };
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        let Launch { kernel: name, grid, threads, shared, arguments } = *launch;
        assert!(threads.is_multiple_of(32) && threads <= 1024, "{name}: {threads} threads");
        assert!(grid[1] < 1 << 16 && grid[2] < 1 << 16, "{name}: a grid of {grid:?}");
        assert!(shared <= MAX_SHARED, "{name}: {shared} bytes of shared memory");
        let terminated = CString::new(name).expect("no NUL in a kernel's name");
        // SAFETY: a terminated string; null where there is no such kernel.
        let kernel = unsafe { xp_emulator_find(terminated.as_ptr()) };
        assert!(!kernel.is_null(), "there is no kernel `{name}`");
        let mut sizes = [0; 32];
        // SAFETY: room for 32 sizes.
        let count = unsafe { xp_emulator_sizes(kernel, sizes.as_mut_ptr(), 32) } as usize;
        let given: Vec<usize> = arguments.iter().map(|argument| argument.size).collect();
        let wanted: Vec<usize> = sizes[..count].iter().map(|&size| size as usize).collect();
        assert_eq!(given, wanted, "sizes of the arguments of {name}");

        let mut arguments: Vec<Argument> = arguments.to_vec();
        let mut pointers: Vec<*mut c_void> =
            arguments.iter_mut().map(|argument| argument.bytes.as_mut_ptr().cast()).collect();
        let [columns, rows, layers] = grid.map(|n| n as usize);
        for i in self.shuffled(columns * rows * layers) {
            let index = [i % columns, i / columns % rows, i / columns / rows].map(|x| x as c_uint);
            // SAFETY: argument sizes were compared; what the kernel reads outlives the call.
            let block = unsafe {
                let (arguments, grid) = (pointers.as_mut_ptr(), grid.as_ptr());
                let eager = self.shuffled(2)[0] == 0;
                xp_emulator_block(kernel, arguments, grid, index.as_ptr(), threads, shared, eager)
            };
            self.run_block(block, threads as usize);
            // SAFETY: its coroutines have ended.
            let intact = unsafe { xp_emulator_free(block) };
            assert!(
                intact,
                "{name} writes behind its {shared} bytes of shared memory, or its warpgroups \
                 do not keep in step"
            );
        }
        Ok(())
    }

    fn multiply(&self, product: &Product) -> Result<(), Error> {
        let [m, n, k] = product.size;
        let (a, b) = (values(product.a, m * k), values(product.b, k * n));
        let mut c = vec![0.0f32; m * n];
        let of_a = |i: usize, j: usize| if product.a.transposed { j * m + i } else { i * k + j };
        let of_b = |i: usize, j: usize| if product.b.transposed { j * k + i } else { i * n + j };
        for i in 0..m {
            for x in 0..k {
                let left = a[of_a(i, x)];
                for j in 0..n {
                    c[i * n + j] += left * b[of_b(x, j)];
                }
            }
        }
        if product.add {
            let former = values(product.c, m * n);
            c.iter_mut().zip(former).for_each(|(c, former)| *c += former);
        }
        store(product.c, &c);
        Ok(())
    }
}

/// The values of a matrix, as f32.
fn values(operand: Operand, len: usize) -> Vec<f32> {
    // SAFETY: the backend hands over matrices that lie in its buffers.
    unsafe {
        match operand.precision {
            Precision::F32 => std::slice::from_raw_parts(operand.at as *const f32, len).to_vec(),
            Precision::Bf16 => std::slice::from_raw_parts(operand.at as *const u16, len)
                .iter()
                .map(|&bits| super::widened(bits))
                .collect(),
        }
    }
}

fn store(operand: Operand, values: &[f32]) {
    // SAFETY: as in `values`.
    unsafe {
        match operand.precision {
            Precision::F32 => std::slice::from_raw_parts_mut(operand.at as *mut f32, values.len())
                .copy_from_slice(values),
            Precision::Bf16 => std::slice::from_raw_parts_mut(operand.at as *mut u16, values.len())
                .iter_mut()
                .zip(values)
                .for_each(|(to, &x)| *to = super::rounded(x)),
        }
    }
}
