//! Moving heads between their strided places and the layouts of the micro-kernels, with the
//! rotation on the way.

use super::AttentionShape;

/// One head of one sequence: where its vectors stand.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub shape: AttentionShape,
    /// q, k and v of the whole batch.
    pub qkv: &'a [f32],
    /// Rotary table of cosines, \[L, `rotary_dim` / 2\].
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    /// Sequence index.
    pub row: usize,
    /// Head of the sequence.
    pub index: usize,
}

impl Head<'_> {
    /// Offset of part 0 (q), 1 (k) or 2 (v) of a position in `qkv`.
    pub fn offset(&self, part: usize, position: usize) -> usize {
        let AttentionShape { seq_len, heads, head_dim, .. } = self.shape;
        (self.row * seq_len + position) * self.shape.qkv_stride()
            + (part * heads + self.index) * head_dim
    }

    fn vector(&self, part: usize, position: usize) -> &[f32] {
        &self.qkv[self.offset(part, position)..][..self.shape.head_dim]
    }

    /// Offset of a position's output.
    pub fn out_offset(&self, position: usize) -> usize {
        let AttentionShape { seq_len, head_dim, .. } = self.shape;
        (self.row * seq_len + position) * self.shape.out_stride() + self.index * head_dim
    }

    /// Offset of a position's log-sum-exp.
    pub fn lse_offset(&self, position: usize) -> usize {
        (self.row * self.shape.heads + self.index) * self.shape.seq_len + position
    }

    fn angles(&self, position: usize) -> (&[f32], &[f32]) {
        let half = self.shape.rotary_dim / 2;
        (&self.cos[position * half..][..half], &self.sin[position * half..][..half])
    }

    /// The rotated q (part 0) or k (part 1) of a position, times `scale`, to `out[..D]`.
    fn load_rotated(&self, part: usize, position: usize, scale: f32, out: &mut [f32]) {
        let AttentionShape { head_dim, rotary_dim, .. } = self.shape;
        let half = rotary_dim / 2;
        let (cos, sin) = self.angles(position);
        let (x, x_still) = self.vector(part, position).split_at(rotary_dim);
        let (y, y_still) = out[..head_dim].split_at_mut(rotary_dim);
        let ((x1, x2), (y1, y2)) = (x.split_at(half), y.split_at_mut(half));
        for j in 0..half {
            y1[j] = (x1[j] * cos[j] - x2[j] * sin[j]) * scale;
            y2[j] = (x2[j] * cos[j] + x1[j] * sin[j]) * scale;
        }
        for (y, x) in y_still.iter_mut().zip(x_still) {
            *y = x * scale;
        }
    }

    /// The transposed rotation of a gradient: rotated q or k back to its projection.
    pub fn unrotate(&self, position: usize, scale: f32, gradient: &[f32], out: &mut [f32]) {
        let AttentionShape { head_dim, rotary_dim, .. } = self.shape;
        let half = rotary_dim / 2;
        let (cos, sin) = self.angles(position);
        let (g, g_still) = gradient[..head_dim].split_at(rotary_dim);
        let (d, d_still) = out.split_at_mut(rotary_dim);
        let ((g1, g2), (d1, d2)) = (g.split_at(half), d.split_at_mut(half));
        for j in 0..half {
            d1[j] = (g1[j] * cos[j] + g2[j] * sin[j]) * scale;
            d2[j] = (g2[j] * cos[j] - g1[j] * sin[j]) * scale;
        }
        for (d, g) in d_still.iter_mut().zip(g_still) {
            *d = g * scale;
        }
    }

    /// Queries `first..first + count` rotated and scaled to rows of `padded`; what lies beyond
    /// is zero, so that whole tiles may be read.
    pub fn load_queries(&self, first: usize, count: usize, padded: usize, out: &mut [f32]) {
        out.fill(0.0);
        for (i, row) in out.chunks_exact_mut(padded).take(count).enumerate() {
            self.load_rotated(0, first + i, self.shape.softmax_scale(), row);
        }
    }

    /// All keys (rotated) or values as rows of `padded`, zero-padded in both directions.
    pub fn load_rows(&self, part: usize, padded: usize, out: &mut [f32]) {
        let AttentionShape { seq_len, head_dim, .. } = self.shape;
        for (position, row) in out.chunks_exact_mut(padded).enumerate() {
            let used = if position < seq_len { head_dim } else { 0 };
            row[used..].fill(0.0);
            if position >= seq_len {
                continue;
            }
            if part == 2 {
                row[..head_dim].copy_from_slice(self.vector(2, position));
            } else {
                self.load_rotated(part, position, 1.0, row);
            }
        }
    }
}

/// Rows of `padded` transposed to panels: `panels[j / columns][p][j % columns] = rows[j][p]`
/// for p below `depth`, where the number of rows is a multiple of `columns`.
pub(super) fn transpose(
    rows: &[f32],
    padded: usize,
    depth: usize,
    columns: usize,
    panels: &mut [f32],
) {
    let blocks = rows.chunks_exact(columns * padded);
    for (block, panel) in blocks.zip(panels.chunks_exact_mut(columns * depth)) {
        for (j, row) in block.chunks_exact(padded).enumerate() {
            for (step, &x) in panel.chunks_exact_mut(columns).zip(row) {
                step[j] = x;
            }
        }
    }
}
