//! The device interface: everything that a model or an optimiser asks of a device.

use serde::{Deserialize, Serialize};

use super::{AdamWStep, AttentionShape, Error, HeadShape};

/// Precision of the matrix inputs; weights, statistics and losses are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit.
    F32,
    /// bfloat16, on devices that have it.
    Bf16,
}

/// Part of a device buffer, to read.
pub struct View<'a, T> {
    /// The buffer.
    pub buf: &'a T,
    /// First value.
    pub offset: usize,
    /// Number of values.
    pub len: usize,
}

/// What there is to say of a GPU.
#[derive(Debug, Clone)]
pub struct GpuDescription {
    /// The card's name.
    pub name: String,
    /// Compute capability, "9.0".
    pub compute_capability: String,
    /// Number of multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of memory.
    pub memory: u64,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// `len` values from `offset`.
    pub fn new(buf: &'a T, offset: usize, len: usize) -> Self {
        Self { buf, offset, len }
    }
}

/// Part of a device buffer, to write.
pub struct ViewMut<'a, T> {
    /// The buffer.
    pub buf: &'a mut T,
    /// First value.
    pub offset: usize,
    /// Number of values.
    pub len: usize,
}

impl<'a, T> ViewMut<'a, T> {
    /// `len` values from `offset`.
    pub fn new(buf: &'a mut T, offset: usize, len: usize) -> Self {
        Self { buf, offset, len }
    }
}

/// What happens to what the output held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It is replaced.
    Set,
    /// The result is added to it.
    Add,
}

/// Sizes of a linear layer: y\[rows, outputs\] = x\[rows, inputs\] w\[outputs, inputs\]ᵀ.
#[derive(Debug, Clone, Copy)]
pub struct LinearShape {
    /// Rows of x and y.
    pub rows: usize,
    /// Columns of x and w.
    pub inputs: usize,
    /// Columns of y, rows of w.
    pub outputs: usize,
}

/// Sizes of a norm: `rows` vectors of `width`.
#[derive(Debug, Clone, Copy)]
pub struct NormShape {
    /// Number of vectors.
    pub rows: usize,
    /// Length of each.
    pub width: usize,
    /// Added to the mean of squares.
    pub eps: f32,
}

/// A device that carries out the fused operators.
///
/// Values are f32, but for what only feeds matrix multiplies and attention: that may be held in a
/// lower precision ([`Backend::matrix`]), as [`Precision`] says. Sums, statistics and the residual
/// stream are f32 everywhere.
///
/// All matrices are dense and row-major. An operator finishes before the next one on the same
/// buffers begins; [`Backend::download`] waits for what it reads. Lengths of views must match
/// the shapes: that they do is the caller's invariant, not an error of the user.
pub trait Backend: Send + Sync {
    /// A buffer on the device.
    type Buf: Send + Sync;
    /// Token ids on the device.
    type Tokens: Send + Sync;

    /// What results may depend on: same class, same bits.
    fn device_class(&self) -> String;

    /// Rows of a granule that go through a model at once: all of them, or fewer if the gradient then has the
    /// same bits and is made as fast. Each part has so many, the last one what is left.
    fn rows_at_once(&self, granule: AttentionShape, _vocab_size: usize) -> usize {
        granule.rows
    }

    /// A buffer of f32 zeros; `what` names it should memory run out.
    fn zeros(&self, len: usize, what: &'static str) -> Result<Self::Buf, Error>;

    /// A buffer of zeros in the precision of matrix inputs.
    fn matrix(&self, len: usize, what: &'static str) -> Result<Self::Buf, Error> {
        self.zeros(len, what)
    }

    /// What [`Backend::matrix_input`] rounds into: empty where matrix inputs are f32.
    fn rounded(&self, _len: usize, what: &'static str) -> Result<Self::Buf, Error> {
        self.zeros(0, what)
    }

    /// Rounds f32 values to the beginning of `rounded` where matrix inputs are of another precision.
    fn round(&self, _values: View<'_, Self::Buf>, _rounded: &mut Self::Buf) -> Result<(), Error> {
        Ok(())
    }

    /// f32 values as a matrix multiply reads them: themselves, or what `rounded` begins with, which
    /// [`Backend::round`] or another operator has written.
    fn matrix_input<'a>(
        &self,
        values: View<'a, Self::Buf>,
        _rounded: &'a Self::Buf,
    ) -> View<'a, Self::Buf> {
        values
    }

    /// Number of values in a buffer.
    fn len(&self, buf: &Self::Buf) -> usize;

    /// A buffer holding `values`, which a device in this memory keeps as they are.
    fn upload(&self, values: Vec<f32>) -> Result<Self::Buf, Error>;

    /// Copies device values to `out`.
    fn download(&self, values: View<'_, Self::Buf>, out: &mut [f32]) -> Result<(), Error>;

    /// Token ids (or targets, where [`super::IGNORE`] masks a position) on the device.
    fn upload_tokens(&self, ids: &[u32]) -> Result<Self::Tokens, Error>;

    /// Carries out a whole step's operators. A device that hands work to other threads may do
    /// so once here, and not once an operator.
    fn scope<R: Send>(&self, step: impl FnOnce() -> R + Send) -> R {
        step()
    }

    /// Gives back memory that is kept for speed alone.
    fn release_scratch(&self);

    /// out = 0.
    fn clear(&self, out: ViewMut<'_, Self::Buf>) -> Result<(), Error>;

    /// out = values, rounded to the precision of `out`.
    fn copy(&self, values: View<'_, Self::Buf>, out: ViewMut<'_, Self::Buf>) -> Result<(), Error>;

    /// y = x wᵀ, set or added.
    fn linear(
        &self,
        shape: LinearShape,
        x: View<'_, Self::Buf>,
        w: View<'_, Self::Buf>,
        y: ViewMut<'_, Self::Buf>,
        write: Write,
    ) -> Result<(), Error>;

    /// dx = dy w, set or added.
    fn linear_backward_input(
        &self,
        shape: LinearShape,
        dy: View<'_, Self::Buf>,
        w: View<'_, Self::Buf>,
        dx: ViewMut<'_, Self::Buf>,
        write: Write,
    ) -> Result<(), Error>;

    /// dw = dyᵀ x, set or added.
    fn linear_backward_weight(
        &self,
        shape: LinearShape,
        dy: View<'_, Self::Buf>,
        x: View<'_, Self::Buf>,
        dw: ViewMut<'_, Self::Buf>,
        write: Write,
    ) -> Result<(), Error>;

    /// y = x * rstd * gain with rstd = 1 / sqrt(mean(x²) + eps), kept for the backward pass. `carried` is
    /// set to x: where a residual branch will be added to it.
    fn rms_norm(
        &self,
        shape: NormShape,
        x: View<'_, Self::Buf>,
        gain: View<'_, Self::Buf>,
        y: ViewMut<'_, Self::Buf>,
        rstd: ViewMut<'_, Self::Buf>,
        carried: Option<ViewMut<'_, Self::Buf>>,
    ) -> Result<(), Error>;

    /// Gradient of [`Backend::rms_norm`]: dx set or added, and the result rounded to `dx_rounded`
    /// as [`Backend::round`] does; dgain always added. `y` holds its own gradient and becomes
    /// the norm's output again, in the bits of the forward pass.
    #[expect(clippy::too_many_arguments, reason = "one operator, four inputs, four outputs")]
    fn rms_norm_backward(
        &self,
        shape: NormShape,
        x: View<'_, Self::Buf>,
        gain: View<'_, Self::Buf>,
        rstd: View<'_, Self::Buf>,
        y: ViewMut<'_, Self::Buf>,
        dx: (ViewMut<'_, Self::Buf>, Write),
        dx_rounded: &mut Self::Buf,
        dgain: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// h\[rows, width\] = silu(gate) * up, where a row of `gate_up` is gate then up.
    fn swiglu(
        &self,
        rows: usize,
        width: usize,
        gate_up: View<'_, Self::Buf>,
        h: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// Replaces `gate_up` by its gradient. `h` holds its own gradient and becomes h again, in the
    /// bits of the forward pass.
    fn swiglu_backward(
        &self,
        rows: usize,
        width: usize,
        gate_up: ViewMut<'_, Self::Buf>,
        h: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// Causal softmax attention over `RoPE`-rotated q and k.
    ///
    /// `qkv` is \[rows * `seq_len`, 3, heads, `head_dim`\] before rotation, and may be left with
    /// q and k rotated; `cos` and `sin` are
    /// \[at least `seq_len`, `rotary_dim` / 2\] (see [`super::rope_table`]), `out`
    /// \[rows * `seq_len`, heads, `head_dim`\], `lse` the log-sum-exp \[rows, heads, `seq_len`\].
    fn attention(
        &self,
        shape: AttentionShape,
        qkv: ViewMut<'_, Self::Buf>,
        rope: (&Self::Buf, &Self::Buf),
        out: ViewMut<'_, Self::Buf>,
        lse: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// Gradient of [`Backend::attention`] with respect to `qkv` before rotation, set; `qkv` is
    /// what the forward pass has left there.
    #[expect(clippy::too_many_arguments, reason = "one operator, five inputs, one output")]
    fn attention_backward(
        &self,
        shape: AttentionShape,
        qkv: View<'_, Self::Buf>,
        rope: (&Self::Buf, &Self::Buf),
        out: View<'_, Self::Buf>,
        lse: View<'_, Self::Buf>,
        d_out: View<'_, Self::Buf>,
        d_qkv: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// Cross-entropy of x wᵀ against `targets`, one loss a row (0 where ignored).
    fn cross_entropy(
        &self,
        shape: HeadShape,
        x: View<'_, Self::Buf>,
        w: View<'_, Self::Buf>,
        targets: &Self::Tokens,
        losses: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// As [`Backend::cross_entropy`], with the gradient of `scale` * (sum of losses): dx set,
    /// dw added.
    #[expect(clippy::too_many_arguments, reason = "one operator, three inputs, three outputs")]
    fn cross_entropy_backward(
        &self,
        shape: HeadShape,
        x: View<'_, Self::Buf>,
        w: View<'_, Self::Buf>,
        targets: &Self::Tokens,
        scale: f32,
        losses: ViewMut<'_, Self::Buf>,
        dx: ViewMut<'_, Self::Buf>,
        dw: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// out\[i\] = table\[tokens\[i\]\]; ids are below the table's rows (the caller checks).
    fn embedding(
        &self,
        width: usize,
        table: View<'_, Self::Buf>,
        tokens: &Self::Tokens,
        out: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// dtable\[tokens\[i\]\] += dy\[i\], in the order of i.
    fn embedding_backward(
        &self,
        width: usize,
        tokens: &Self::Tokens,
        dy: View<'_, Self::Buf>,
        dtable: ViewMut<'_, Self::Buf>,
    ) -> Result<(), Error>;

    /// Sum of squares in f64, in a fixed order.
    fn sum_of_squares(&self, values: View<'_, Self::Buf>) -> Result<f64, Error>;

    /// One `AdamW` update of whole buffers of one length.
    fn adamw(
        &self,
        step: &AdamWStep,
        params: &mut Self::Buf,
        grads: &Self::Buf,
        m: &mut Self::Buf,
        v: &mut Self::Buf,
    ) -> Result<(), Error>;
}
