//! The operators of the CUDA backend: each as launches of kernels and products of matrices.

use super::driver::{Address, Argument, Driver, Memory, Product};
use super::{
    Buf, Cuda, SUM_CHUNK, THREADS, Tokens, address, attention, embedding, head, int, long, wide,
    widened,
};
use crate::ops::backend::{Backend, LinearShape, NormShape, View, ViewMut, Write};
use crate::ops::{AdamWStep, AttentionShape, Error, HeadShape, Precision};

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
        carried: Option<ViewMut<'_, Buf<D>>>,
    ) -> Result<(), Error> {
        assert!(x.len == rows * width && y.len == rows * width);
        assert!(gain.len == width && rstd.len == rows);
        wide(x.buf);
        let carried = carried.map_or(0, |carried| {
            assert_eq!(carried.len, x.len, "one place a value");
            wide(carried.buf);
            carried.at()
        });
        let kernel = norm_kernel("rms_norm", y.buf.precision, width, "");
        let addresses = [x.at(), gain.at(), y.at(), rstd.at(), carried];
        let [x, gain, y, rstd, carried] = addresses.map(Argument::from);
        let arguments = [x, gain, y, rstd, carried, int(rows), int(width), eps.into()];
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
        let kernel = norm_kernel("rms_norm_backward", y.buf.precision, width, "_single");
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

/// The kernel for rows of this width: one that holds them in registers, one for rows that begin on 16
/// bytes, or one that ends with `any`.
fn norm_kernel(name: &str, precision: Precision, width: usize, any: &str) -> String {
    let kind = match width {
        _ if !width.is_multiple_of(8) => any,
        ..=512 => "_512",
        513..=1024 => "_1024",
        _ => "",
    };
    format!("{name}_{}{kind}", precision.suffix())
}
