//! The CUDA backend: the operators as kernels of `src/ops/kernels`, matrix products by the
//! driver. Matrix inputs are bf16 or f32; weights, statistics, sums and losses are f32 in both.

mod attention;
mod driver;
mod embedding;
#[cfg(feature = "cuda-emulator")]
mod emulator;
#[cfg(feature = "cuda")]
mod gpu;
mod head;
mod timed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use driver::{Address, Argument, Launch, Memory, Operand, Product};
pub use driver::{DeviceMemory, Driver};
#[cfg(feature = "cuda-emulator")]
pub use emulator::Emulator;
#[cfg(feature = "cuda")]
pub use gpu::{
    ARCHITECTURES, Gpu, NVCC_VERSION, blas_version, driver_version, gpus, has_blas, has_driver,
};

pub use timed::Timed;

use super::backend::{Backend, LinearShape, NormShape, View, ViewMut, Write};
use super::{AdamWStep, AttentionShape, Error, HeadShape, Precision};

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

impl<D: Driver> Backend for Cuda<D> {
    type Buf = Buf<D>;
    type Tokens = Tokens<D>;

    fn device_class(&self) -> String {
        self.driver.device_class()
    }

    fn zeros(&self, len: usize, what: &'static str) -> Result<Buf<D>, Error> {
        self.buffer(len, Precision::F32, what)
    }

    fn matrix(&self, len: usize, what: &'static str) -> Result<Buf<D>, Error> {
        self.buffer(len, self.precision, what)
    }

    fn rounded(&self, len: usize, what: &'static str) -> Result<Buf<D>, Error> {
        match self.precision {
            Precision::F32 => self.buffer(0, Precision::F32, what),
            Precision::Bf16 => self.buffer(len, Precision::Bf16, what),
        }
    }

    fn round(&self, values: View<'_, Buf<D>>, rounded: &mut Buf<D>) -> Result<(), Error> {
        if self.precision == values.buf.precision {
            return Ok(());
        }
        let len = values.len;
        self.copy(values, ViewMut::new(rounded, 0, len))
    }

    fn matrix_input<'a>(&self, values: View<'a, Buf<D>>, rounded: &'a Buf<D>) -> View<'a, Buf<D>> {
        if self.precision == values.buf.precision {
            return values;
        }
        View::new(rounded, 0, values.len)
    }

    fn len(&self, buf: &Buf<D>) -> usize {
        buf.len
    }

    fn upload(&self, values: Vec<f32>) -> Result<Buf<D>, Error> {
        let (len, bytes) = (values.len(), 4 * values.len());
        let memory = Memory::new(&self.driver, bytes, "values of the host")?;
        // In pieces: the state of a large model is not held twice.
        let mut piece = Vec::new();
        for (i, values) in values.chunks(1 << 20).enumerate() {
            piece.clear();
            piece.extend(values.iter().flat_map(|x| x.to_ne_bytes()));
            self.driver.write(&piece, memory.at + (i << 22) as Address)?;
        }
        Ok(Buf { memory, len, precision: Precision::F32 })
    }

    fn download(&self, values: View<'_, Buf<D>>, out: &mut [f32]) -> Result<(), Error> {
        assert_eq!(values.len, out.len(), "one place a value");
        let (precision, at) = (values.buf.precision, values.at());
        let mut bytes = vec![0; out.len().min(1 << 20) * precision.bytes()];
        for (i, out) in out.chunks_mut(1 << 20).enumerate() {
            let bytes = &mut bytes[..out.len() * precision.bytes()];
            self.driver.read(at + ((i << 20) * precision.bytes()) as Address, bytes)?;
            match precision {
                Precision::F32 => {
                    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        *x = f32::from_ne_bytes(*b);
                    }
                }
                Precision::Bf16 => {
                    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                        *x = widened(u16::from_ne_bytes(*b));
                    }
                }
            }
        }
        Ok(())
    }

    fn upload_tokens(&self, ids: &[u32]) -> Result<Tokens<D>, Error> {
        let memory = Memory::new(&self.driver, 4 * ids.len(), "token ids")?;
        self.write_indices(ids, memory.at)?;
        Ok(Tokens { ids: ids.to_vec(), memory })
    }

    fn release_scratch(&self) {
        self.scratch.lock().expect("no thread panics with this lock").clear();
    }

    fn clear(&self, out: ViewMut<'_, Buf<D>>) -> Result<(), Error> {
        self.driver.zero(out.at(), out.len * out.buf.precision.bytes())
    }

    fn copy(&self, values: View<'_, Buf<D>>, out: ViewMut<'_, Buf<D>>) -> Result<(), Error> {
        assert_eq!(values.len, out.len, "one place a value");
        let n = out.len;
        match (values.buf.precision, out.buf.precision) {
            (from, to) if from == to => self.driver.copy(values.at(), out.at(), n * from.bytes()),
            (Precision::F32, _) => {
                let arguments = [values.at().into(), out.at().into(), long(n)];
                self.launch_flat("round_bf16", n, 8, &arguments)
            }
            (Precision::Bf16, _) => unreachable!("nothing is widened on the device"),
        }
    }

    fn linear(
        &self,
        LinearShape { rows, inputs, outputs }: LinearShape,
        x: View<'_, Buf<D>>,
        w: View<'_, Buf<D>>,
        y: ViewMut<'_, Buf<D>>,
        write: Write,
    ) -> Result<(), Error> {
        assert!(x.len == rows * inputs && w.len == outputs * inputs && y.len == rows * outputs);
        self.driver.multiply(&Product {
            size: [rows, outputs, inputs],
            a: x.operand(false),
            b: w.operand(true),
            c: y.operand(),
            add: write == Write::Add,
        })
    }

    fn linear_backward_input(
        &self,
        LinearShape { rows, inputs, outputs }: LinearShape,
        dy: View<'_, Buf<D>>,
        w: View<'_, Buf<D>>,
        dx: ViewMut<'_, Buf<D>>,
        write: Write,
    ) -> Result<(), Error> {
        assert!(dy.len == rows * outputs && w.len == outputs * inputs && dx.len == rows * inputs);
        self.driver.multiply(&Product {
            size: [rows, inputs, outputs],
            a: dy.operand(false),
            b: w.operand(false),
            c: dx.operand(),
            add: write == Write::Add,
        })
    }

    fn linear_backward_weight(
        &self,
        LinearShape { rows, inputs, outputs }: LinearShape,
        dy: View<'_, Buf<D>>,
        x: View<'_, Buf<D>>,
        dw: ViewMut<'_, Buf<D>>,
        write: Write,
    ) -> Result<(), Error> {
        assert!(dy.len == rows * outputs && x.len == rows * inputs && dw.len == outputs * inputs);
        self.driver.multiply(&Product {
            size: [outputs, inputs, rows],
            a: dy.operand(true),
            b: x.operand(false),
            c: dw.operand(),
            add: write == Write::Add,
        })
    }

    fn rms_norm(
        &self,
        NormShape { rows, width, eps }: NormShape,
        x: View<'_, Buf<D>>,
        gain: View<'_, Buf<D>>,
        y: ViewMut<'_, Buf<D>>,
        rstd: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        assert!(x.len == rows * width && y.len == rows * width);
        assert!(gain.len == width && rstd.len == rows);
        wide(x.buf);
        let kernel = format!("rms_norm_{}", y.buf.precision.suffix());
        let (x, gain, y, rstd) = (x.at(), gain.at(), y.at(), rstd.at());
        let arguments =
            [x.into(), gain.into(), y.into(), rstd.into(), int(rows), int(width), eps.into()];
        let blocks = rows.div_ceil(THREADS / 32);
        self.launch(&kernel, [blocks, 1, 1], (THREADS, 0), &arguments)
    }

    fn rms_norm_backward(
        &self,
        NormShape { rows, width, .. }: NormShape,
        x: View<'_, Buf<D>>,
        gain: View<'_, Buf<D>>,
        rstd: View<'_, Buf<D>>,
        y: ViewMut<'_, Buf<D>>,
        (dx, write): (ViewMut<'_, Buf<D>>, Write),
        dx_rounded: &mut Buf<D>,
        dgain: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        assert!(x.len == rows * width && y.len == rows * width && dx.len == rows * width);
        assert!(gain.len == width && rstd.len == rows && dgain.len == width);
        wide(x.buf);
        wide(dx.buf);
        // Each warp sums a gradient of the gain in shared memory: as many as fit in 48 KiB.
        let warps = (12_288 / width).clamp(1, 8);
        // Enough blocks for the largest cards; a function of the shape alone.
        let rows_per_block = rows.div_ceil(1024).max(16);
        let blocks = rows.div_ceil(rows_per_block);
        let partial = self.scratch("gradient of a norm's gain", 4 * blocks * width)?;
        let rounded = match self.precision {
            Precision::F32 => dx_rounded.memory.at,
            Precision::Bf16 => address(dx_rounded, 0, dx.len),
        };
        let arguments = [
            x.at().into(),
            gain.at().into(),
            rstd.at().into(),
            y.at().into(),
            dx.at().into(),
            rounded.into(),
            partial.into(),
            int(rows),
            int(width),
            int(rows_per_block),
            int(usize::from(write == Write::Add)),
        ];
        let single = if width.is_multiple_of(8) { "" } else { "_single" };
        let kernel = format!("rms_norm_backward_{}{single}", y.buf.precision.suffix());
        self.launch(&kernel, [blocks, 1, 1], (32 * warps, 4 * warps * width), &arguments)?;
        let arguments = [partial.into(), dgain.at().into(), int(blocks), int(width)];
        self.launch("add_columns", [width.div_ceil(32), 1, 1], (1024, 4 * 1024), &arguments)
    }

    fn swiglu(
        &self,
        rows: usize,
        width: usize,
        gate_up: View<'_, Buf<D>>,
        h: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        let (n, precision) = (rows * width, h.buf.precision);
        assert!(gate_up.len == 2 * n && h.len == n && gate_up.buf.precision == precision);
        let arguments = [gate_up.at().into(), h.at().into(), long(n), int(width)];
        let kernel = precision.kernel("swiglu", width);
        self.launch_flat(&kernel, n, precision.vector(width), &arguments)
    }

    fn swiglu_backward(
        &self,
        rows: usize,
        width: usize,
        gate_up: ViewMut<'_, Buf<D>>,
        h: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        let (n, precision) = (rows * width, h.buf.precision);
        assert!(gate_up.len == 2 * n && h.len == n && gate_up.buf.precision == precision);
        let arguments = [gate_up.at().into(), h.at().into(), long(n), int(width)];
        let kernel = precision.kernel("swiglu_backward", width);
        self.launch_flat(&kernel, n, precision.vector(width), &arguments)
    }

    fn attention(
        &self,
        shape: AttentionShape,
        qkv: ViewMut<'_, Buf<D>>,
        rope: (&Buf<D>, &Buf<D>),
        out: ViewMut<'_, Buf<D>>,
        lse: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        attention::forward(self, shape, &qkv, rope, &out, &lse)
    }

    fn attention_backward(
        &self,
        shape: AttentionShape,
        qkv: View<'_, Buf<D>>,
        rope: (&Buf<D>, &Buf<D>),
        out: View<'_, Buf<D>>,
        lse: View<'_, Buf<D>>,
        d_out: View<'_, Buf<D>>,
        d_qkv: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        attention::backward(self, shape, &qkv, rope, (&out, &lse), &d_out, &d_qkv)
    }

    fn cross_entropy(
        &self,
        shape: HeadShape,
        x: View<'_, Buf<D>>,
        w: View<'_, Buf<D>>,
        targets: &Tokens<D>,
        losses: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        head::cross_entropy(self, shape, (&x, &w), targets, &losses, None)
    }

    fn cross_entropy_backward(
        &self,
        shape: HeadShape,
        x: View<'_, Buf<D>>,
        w: View<'_, Buf<D>>,
        targets: &Tokens<D>,
        scale: f32,
        losses: ViewMut<'_, Buf<D>>,
        dx: ViewMut<'_, Buf<D>>,
        dw: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        head::cross_entropy(self, shape, (&x, &w), targets, &losses, Some((scale, &dx, &dw)))
    }

    fn embedding(
        &self,
        width: usize,
        table: View<'_, Buf<D>>,
        tokens: &Tokens<D>,
        out: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        assert_eq!(out.len, tokens.ids.len() * width, "one row a token");
        wide(table.buf);
        let arguments = [table.at().into(), tokens.memory.at.into(), out.at().into(), int(width)];
        self.launch("embedding", [tokens.ids.len(), 1, 1], (128, 0), &arguments)
    }

    fn embedding_backward(
        &self,
        width: usize,
        tokens: &Tokens<D>,
        dy: View<'_, Buf<D>>,
        dtable: ViewMut<'_, Buf<D>>,
    ) -> Result<(), Error> {
        embedding::backward(self, width, tokens, &dy, &dtable)
    }

    fn sum_of_squares(&self, values: View<'_, Buf<D>>) -> Result<f64, Error> {
        wide(values.buf);
        let blocks = values.len.div_ceil(SUM_CHUNK);
        let partial = self.scratch("partial sums of squares", 8 * blocks)?;
        let arguments = [values.at().into(), partial.into(), long(values.len)];
        self.launch("sum_of_squares", [blocks, 1, 1], (256, 8 * 8), &arguments)?;
        let mut bytes = vec![0; 8 * blocks];
        self.driver.read(partial, &mut bytes)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_ne_bytes(*b)).sum())
    }

    fn adamw(
        &self,
        step: &AdamWStep,
        params: &mut Buf<D>,
        grads: &Buf<D>,
        m: &mut Buf<D>,
        v: &mut Buf<D>,
    ) -> Result<(), Error> {
        let n = params.len;
        assert!(grads.len == n && m.len == n && v.len == n, "buffers of one length");
        let AdamWStep { decay, one_minus_beta1, beta2, one_minus_beta2, .. } = *step;
        let AdamWStep { step_size, inv_sqrt_bias2, eps, clip, .. } = *step;
        let scalars = [decay, one_minus_beta1, beta2, one_minus_beta2];
        let rest = [step_size, inv_sqrt_bias2, eps, clip];
        let [a, b, c, d] = scalars.map(f32::to_ne_bytes);
        let [e, f, g, h] = rest.map(f32::to_ne_bytes);
        let arguments = [
            Argument::members([a, b, c, d, e, f, g, h]),
            params.memory.at.into(),
            grads.memory.at.into(),
            m.memory.at.into(),
            v.memory.at.into(),
            long(n),
        ];
        self.launch_flat("adamw", n, 4, &arguments)
    }
}
