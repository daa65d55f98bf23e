//! The CPU backend: buffers in memory, rayon's current pool.

use super::backend::{Backend, LinearShape, NormShape, View, ViewMut, Write};
use super::buffer::Buffer;
use super::cpu::Cpu;
use super::gemm::{Matrix, gemm};
use super::{
    AdamWStep, AttentionShape, Error, HeadShape, adamw, attention, cross_entropy, embedding,
    rms_norm, rows_at_once, sum_of_squares, swiglu,
};

impl View<'_, Buf> {
    fn slice(&self) -> &[f32] {
        &self.buf[self.offset..self.offset + self.len]
    }
}

impl ViewMut<'_, Buf> {
    fn slice(&mut self) -> &mut [f32] {
        &mut self.buf[self.offset..self.offset + self.len]
    }
}

type Buf = Buffer;

impl Backend for Cpu {
    type Buf = Buf;
    type Tokens = Vec<u32>;

    fn device_class(&self) -> String {
        format!("cpu {}", self.isa())
    }

    fn rows_at_once(&self, granule: AttentionShape, vocab_size: usize) -> usize {
        rows_at_once(granule, vocab_size, rayon::current_num_threads())
    }

    fn zeros(&self, len: usize, what: &'static str) -> Result<Buf, Error> {
        Buffer::zeros(len, what)
    }

    fn len(&self, buf: &Buf) -> usize {
        buf.len()
    }

    fn upload(&self, values: Vec<f32>) -> Result<Buf, Error> {
        Ok(values.into())
    }

    fn download(&self, values: View<'_, Buf>, out: &mut [f32]) -> Result<(), Error> {
        out.copy_from_slice(values.slice());
        Ok(())
    }

    fn upload_tokens(&self, ids: &[u32]) -> Result<Vec<u32>, Error> {
        Ok(ids.to_vec())
    }

    fn scope<R: Send>(&self, step: impl FnOnce() -> R + Send) -> R {
        // Runs on a worker: an operator called from outside the pool pays two thread switches.
        rayon::scope(|_| step())
    }

    fn release_scratch(&self) {
        self.pool().clear();
    }

    fn clear(&self, mut out: ViewMut<'_, Buf>) -> Result<(), Error> {
        out.slice().fill(0.0);
        Ok(())
    }

    fn copy(&self, values: View<'_, Buf>, mut out: ViewMut<'_, Buf>) -> Result<(), Error> {
        out.slice().copy_from_slice(values.slice());
        Ok(())
    }

    fn linear(
        &self,
        LinearShape { rows, inputs, outputs }: LinearShape,
        x: View<'_, Buf>,
        w: View<'_, Buf>,
        mut y: ViewMut<'_, Buf>,
        write: Write,
    ) -> Result<(), Error> {
        self.go_on()?;
        let (x, w) = (Matrix::rows(x.slice(), inputs), Matrix::transposed(w.slice(), inputs));
        gemm(self, (rows, outputs, inputs), x, w, y.slice(), write);
        Ok(())
    }

    fn linear_backward_input(
        &self,
        LinearShape { rows, inputs, outputs }: LinearShape,
        dy: View<'_, Buf>,
        w: View<'_, Buf>,
        mut dx: ViewMut<'_, Buf>,
        write: Write,
    ) -> Result<(), Error> {
        self.go_on()?;
        let (dy, w) = (Matrix::rows(dy.slice(), outputs), Matrix::rows(w.slice(), inputs));
        gemm(self, (rows, inputs, outputs), dy, w, dx.slice(), write);
        Ok(())
    }

    fn linear_backward_weight(
        &self,
        LinearShape { rows, inputs, outputs }: LinearShape,
        dy: View<'_, Buf>,
        x: View<'_, Buf>,
        mut dw: ViewMut<'_, Buf>,
        write: Write,
    ) -> Result<(), Error> {
        self.go_on()?;
        let (dy, x) = (Matrix::transposed(dy.slice(), outputs), Matrix::rows(x.slice(), inputs));
        gemm(self, (outputs, inputs, rows), dy, x, dw.slice(), write);
        Ok(())
    }

    fn rms_norm(
        &self,
        shape: NormShape,
        x: View<'_, Buf>,
        gain: View<'_, Buf>,
        mut y: ViewMut<'_, Buf>,
        mut rstd: ViewMut<'_, Buf>,
        carried: Option<ViewMut<'_, Buf>>,
    ) -> Result<(), Error> {
        rms_norm::forward(self, shape, x.slice(), gain.slice(), y.slice(), rstd.slice());
        carried.map_or(Ok(()), |carried| self.copy(x, carried))
    }

    fn rms_norm_backward(
        &self,
        shape: NormShape,
        x: View<'_, Buf>,
        gain: View<'_, Buf>,
        rstd: View<'_, Buf>,
        mut y: ViewMut<'_, Buf>,
        (mut dx, write): (ViewMut<'_, Buf>, Write),
        _dx_rounded: &mut Buf,
        mut dgain: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        let saved = (x.slice(), gain.slice(), rstd.slice());
        rms_norm::backward(self, shape, saved, y.slice(), dx.slice(), write, dgain.slice());
        Ok(())
    }

    fn swiglu(
        &self,
        rows: usize,
        width: usize,
        gate_up: View<'_, Buf>,
        mut h: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        swiglu::forward(self, (rows, width), gate_up.slice(), h.slice());
        Ok(())
    }

    fn swiglu_backward(
        &self,
        rows: usize,
        width: usize,
        mut gate_up: ViewMut<'_, Buf>,
        mut h: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        swiglu::backward(self, (rows, width), gate_up.slice(), h.slice());
        Ok(())
    }

    fn attention(
        &self,
        shape: AttentionShape,
        mut qkv: ViewMut<'_, Buf>,
        (cos, sin): (&Buf, &Buf),
        mut out: ViewMut<'_, Buf>,
        mut lse: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        self.go_on()?;
        // Left as it is: a head's tiles are rotated when they are packed, here and in the backward pass.
        attention::forward(self, shape, qkv.slice(), (cos, sin), out.slice(), lse.slice());
        self.go_on()
    }

    fn attention_backward(
        &self,
        shape: AttentionShape,
        qkv: View<'_, Buf>,
        (cos, sin): (&Buf, &Buf),
        out: View<'_, Buf>,
        lse: View<'_, Buf>,
        d_out: View<'_, Buf>,
        mut d_qkv: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        self.go_on()?;
        let saved = (qkv.slice(), out.slice(), lse.slice());
        attention::backward(self, shape, saved, (cos, sin), d_out.slice(), d_qkv.slice());
        self.go_on()
    }

    fn cross_entropy(
        &self,
        shape: HeadShape,
        x: View<'_, Buf>,
        w: View<'_, Buf>,
        targets: &Vec<u32>,
        mut losses: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        cross_entropy::forward(self, shape, x.slice(), w.slice(), targets, losses.slice())
    }

    fn cross_entropy_backward(
        &self,
        shape: HeadShape,
        x: View<'_, Buf>,
        w: View<'_, Buf>,
        targets: &Vec<u32>,
        scale: f32,
        mut losses: ViewMut<'_, Buf>,
        mut dx: ViewMut<'_, Buf>,
        mut dw: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        let grads = (dx.slice(), dw.slice());
        cross_entropy::forward_backward(
            self,
            shape,
            (x.slice(), w.slice()),
            targets,
            scale,
            losses.slice(),
            grads,
        )
    }

    fn embedding(
        &self,
        width: usize,
        table: View<'_, Buf>,
        tokens: &Vec<u32>,
        mut out: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        embedding::forward(width, table.slice(), tokens, out.slice());
        Ok(())
    }

    fn embedding_backward(
        &self,
        width: usize,
        tokens: &Vec<u32>,
        dy: View<'_, Buf>,
        mut dtable: ViewMut<'_, Buf>,
    ) -> Result<(), Error> {
        embedding::backward(width, tokens, dy.slice(), dtable.slice());
        Ok(())
    }

    fn sum_of_squares(&self, values: View<'_, Buf>) -> Result<f64, Error> {
        Ok(sum_of_squares::sum_of_squares(self, values.slice()))
    }

    fn adamw(
        &self,
        step: &AdamWStep,
        params: &mut Buf,
        grads: &Buf,
        m: &mut Buf,
        v: &mut Buf,
    ) -> Result<(), Error> {
        adamw::update(self, step, params, grads, m, v);
        Ok(())
    }
}
