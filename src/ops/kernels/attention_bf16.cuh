// What the bf16 attention kernels share: softmax over tiles of 64 queries and 64 keys as tensor cores leave
// them in registers, and the ways of gradients to memory.
//
// A warp has 16 rows of a tile. Of its 16 x 16 blocks lane l holds, with g = l / 4 and t = l % 4, element i
// of half h: row g + 8 (i / 2), column 8 h + 2 t + i % 2.
#pragma once
#include "attention.cuh"

constexpr int TILE = 64;

// Tiles of a matrix of seq_len rows that come to shared memory one after the other, by COUNT threads: each copies the
// same chunk of 8 channels of every ROWS-th row, so that its next address is an addition away. Rows behind the end
// and channels behind head_dim are zeros. Layout: where a row's chunk stands in a tile (`at`), how far on that of a
// later row does (PITCH values a row, for rows a multiple of 8 apart), and the SIZE of a tile.
template <int D, int COUNT, typename Layout> struct Tiles {
    static constexpr int LANES = D <= 32 ? 4 : D <= 64 ? 8 : 16, ROWS = COUNT / LANES;
    static_assert(ROWS % 8 == 0 && TILE % ROWS == 0, "every thread copies as much");
    // This thread's first chunk of the next tile.
    const bf16* from;
    int64_t stride;
    // Where that goes in the tile; how many rows there are from it on.
    int to, left;
    bool inside;

    // From tile `first` on.
    __device__ __forceinline__ Tiles(const AttentionShape& s, const bf16* matrix, int64_t stride, int first)
        : stride(stride) {
        int c = threadIdx.x % LANES * 8, row = threadIdx.x / LANES;
        from = matrix + (first * TILE + row) * stride + c;
        to = Layout::at(row, c);
        left = s.seq_len - first * TILE - row;
        inside = c < s.head_dim;
    }

    // Starts the copies of the next tile.
    __device__ __forceinline__ void load(bf16* tile) {
        if (LANES * 8 == D || threadIdx.x % LANES * 8 < D)
#pragma unroll
            for (int r = 0; r < TILE; r += ROWS)
                copy_async(tile + to + r * Layout::PITCH, from + r * stride, inside && r < left);
        from += TILE * stride;
        left -= TILE;
    }
};

// Tiles of two matrices that are wanted together, in one of N places that they take turns in.
template <int D, int COUNT, typename Layout, int N> struct Stages {
    bf16* memory;
    Tiles<D, COUNT, Layout> a, b;

    // Where tiles `j` stand, one behind the other.
    __device__ __forceinline__ bf16* at(int j) const { return memory + j % N * 2 * Layout::SIZE; }

    // Starts the copies of the next tiles, which are number `j`.
    __device__ __forceinline__ void load(int j) {
        a.load(at(j));
        b.load(at(j) + Layout::SIZE);
        copy_async_commit();
    }
};

__device__ __forceinline__ int row_of(int i) { return threadIdx.x % 32 / 4 + i / 2 * 8; }
__device__ __forceinline__ int column_of(int h, int i) { return h * 8 + threadIdx.x % 4 * 2 + i % 2; }

template <int N> __device__ __forceinline__ void clear(float (&sums)[N][4]) {
#pragma unroll
    for (int d = 0; d < N; d++)
#pragma unroll
        for (int i = 0; i < 4; i++) sums[d][i] = 0;
}

// A 16 x 16 result as the next product's operand a.
__device__ __forceinline__ void as_operand(uint32_t (&a)[4], const float (&c)[2][4]) {
    a[0] = pack(c[0][0], c[0][1]);
    a[1] = pack(c[0][2], c[0][3]);
    a[2] = pack(c[1][0], c[1][1]);
    a[3] = pack(c[1][2], c[1][3]);
}

// Softmax over keys of a thread's two rows of queries, tile by tile. `scale` takes scores to powers of two.
struct Softmax {
    float scale;
    // The largest score so far, and the sum of this thread's weights beneath it.
    float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};

    __device__ __forceinline__ explicit Softmax(const AttentionShape& s) : scale(s.scale * LOG2_E) {}

    // Takes over a tile's scores, on the diagonal with later keys masked; what was summed with the former
    // top shrinks. `row` is the warp's first row of the tile.
    template <int D>
    __device__ __forceinline__ void take(float (&scores)[TILE / 16][2][4], float (&sums)[D / 8][4], bool diagonal,
                                         int row) {
        if (diagonal)
#pragma unroll
            for (int n = 0; n < TILE / 16; n++)
#pragma unroll
                for (int h = 0; h < 2; h++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        if (n * 16 + column_of(h, i) > row + row_of(i)) scores[n][h][i] = -INFINITY;
        float now[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < TILE / 16; n++)
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int i = 0; i < 4; i++) now[i / 2] = fmaxf(now[i / 2], scores[n][h][i]);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            now[r] = fmaxf(now[r], __shfl_xor_sync(FULL, now[r], 1));
            now[r] = fmaxf(now[r], __shfl_xor_sync(FULL, now[r], 2));
            float shrink = exp2_fast((top[r] - now[r]) * scale);
            total[r] *= shrink;
#pragma unroll
            for (int d = 0; d < D / 8; d++) sums[d][2 * r] *= shrink, sums[d][2 * r + 1] *= shrink;
            top[r] = now[r];
        }
    }

    // Scores become weights.
    __device__ __forceinline__ void weights(float (&scores)[2][4]) {
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                scores[h][i] = exp2_fast(fmaf(scores[h][i], scale, -top[i / 2] * scale));
                total[i / 2] += scores[h][i];
            }
    }

    // The weighted sums to `out` and the log-sum-exp; `first` is the warp's first query.
    template <int D>
    __device__ __forceinline__ void store(const AttentionShape& s, const Head<bf16>& head,
                                          const float (&sums)[D / 8][4], int first, bf16* out, float* lse) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            total[r] += __shfl_xor_sync(FULL, total[r], 1);
            total[r] += __shfl_xor_sync(FULL, total[r], 2);
            int query = first + row_of(2 * r);
            if (query >= s.seq_len) continue;
            float inverse = 1.0f / total[r];
            bf16* to = out + head.out_at + query * head.out_stride;
#pragma unroll
            for (int d = 0; d < D / 8; d++) {
                int c = d * 8 + column_of(0, 0);
                if (c < s.head_dim)
                    *reinterpret_cast<uint32_t*>(to + c) = pack(sums[d][2 * r] * inverse, sums[d][2 * r + 1] * inverse);
            }
            if (threadIdx.x % 4 == 0) lse[head.lse_at + query] = (top[r] * scale + log2f(total[r])) / LOG2_E;
        }
    }
};

// The statistics of one tile of queries after the other, by 128 threads: 64 log-sum-exps, then 64 deltas. A query
// behind the end: 2^-inf gives it no weight.
struct Statistics {
    const float* from;
    int left;

    // From tile `first` on.
    __device__ __forceinline__ Statistics(const AttentionShape& s, const Head<bf16>& head, const float* lse,
                                          const float* delta, int first) {
        int query = first * TILE + threadIdx.x % TILE;
        from = (threadIdx.x < TILE ? lse : delta) + head.lse_at + query;
        left = s.seq_len - query;
    }

    // This thread's value of the next tile: on its way until it is stored.
    __device__ __forceinline__ float next() {
        float value = threadIdx.x < TILE ? INFINITY : 0.0f;
        if (left > 0) value = *from;
        from += TILE;
        left -= TILE;
        return value;
    }

    // To shared memory, log-sum-exps in powers of two.
    __device__ static __forceinline__ void store(float* to, float value) {
        to[threadIdx.x] = threadIdx.x < TILE ? value * LOG2_E : value;
    }
};

// Scores of 16 keys (rows, from `row`) and 16 queries (columns, from `column`) become weights.
__device__ __forceinline__ void weights_by_key(float (&p)[2][4], float scale, const float* lse, bool diagonal, int row,
                                               int column) {
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int query = column + column_of(h, i);
            float x = exp2_fast(fmaf(p[h][i], scale, -lse[query]));
            p[h][i] = diagonal && row + row_of(i) > query ? 0.0f : x;
        }
}

// Gradients of weights become those of scores (before their scale).
__device__ __forceinline__ void gradients_by_key(float (&dp)[2][4], const float (&p)[2][4], const float* delta,
                                                 int column) {
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int i = 0; i < 4; i++) dp[h][i] = p[h][i] * (dp[h][i] - delta[column + column_of(h, i)]);
}

// The statistics of a thread's two rows of queries, of which `first` is the warp's first.
struct RowStatistics {
    float lse[2], delta[2];

    __device__ __forceinline__ RowStatistics(const AttentionShape& s, const Head<bf16>& head, const float* lse_in,
                                             const float* delta_in, int first) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int query = first + row_of(2 * r);
            bool valid = query < s.seq_len;
            lse[r] = valid ? lse_in[head.lse_at + query] * LOG2_E : INFINITY;
            delta[r] = valid ? delta_in[head.lse_at + query] : 0.0f;
        }
    }

    // Scores of 16 queries (rows, from `row`) and 16 keys (columns, from `column`) become weights.
    __device__ __forceinline__ void weights(float (&p)[2][4], float scale, bool diagonal, int row, int column) const {
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x = exp2_fast(fmaf(p[h][i], scale, -lse[i / 2]));
                p[h][i] = diagonal && column + column_of(h, i) > row + row_of(i) ? 0.0f : x;
            }
    }

    // Gradients of weights become those of scores (before their scale).
    __device__ __forceinline__ void gradients(float (&dp)[2][4], const float (&p)[2][4]) const {
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int i = 0; i < 4; i++) dp[h][i] = p[h][i] * (dp[h][i] - delta[i / 2]);
    }
};

// The 16 rows of a warp's sums to shared memory, as f32 rows of D + 4.
template <int D>
__device__ __forceinline__ void spill(float* tile, const float (&sums)[D / 8][4], int row) {
    int lane = threadIdx.x % 32, g = row + lane / 4, t = 2 * (lane % 4);
#pragma unroll
    for (int d = 0; d < D / 8; d++) {
        tile[g * (D + 4) + d * 8 + t] = sums[d][0];
        tile[g * (D + 4) + d * 8 + t + 1] = sums[d][1];
        tile[(g + 8) * (D + 4) + d * 8 + t] = sums[d][2];
        tile[(g + 8) * (D + 4) + d * 8 + t + 1] = sums[d][3];
    }
}

// dk and dv of a tile of keys to memory, through `spilled`, which nobody reads any more.
template <int D>
__device__ __forceinline__ void store_kv(const AttentionShape& s, const Head<bf16>& head, const float (&dk)[D / 8][4],
                                         const float (&dv)[D / 8][4], float* spilled, int first, int row,
                                         const float* cos, const float* sin, bf16* d_qkv) {
    bf16* to = d_qkv + head.dqkv_at + head.out_stride;
    spill<D>(spilled, dk, row);
    __syncthreads();
    store_gradient<bf16, D + 4>(s, spilled, TILE, first, s.scale, s.rotary_dim, cos, sin, to, head.stride);
    __syncthreads();
    spill<D>(spilled, dv, row);
    __syncthreads();
    store_gradient<bf16, D + 4>(s, spilled, TILE, first, 1.0f, 0, cos, sin, to + head.out_stride, head.stride);
}

// dq of a tile of queries to memory, likewise.
template <int D>
__device__ __forceinline__ void store_q(const AttentionShape& s, const Head<bf16>& head, const float (&dq)[D / 8][4],
                                        float* spilled, int first, int row, const float* cos, const float* sin,
                                        bf16* d_qkv) {
    spill<D>(spilled, dq, row);
    __syncthreads();
    store_gradient<bf16, D + 4>(s, spilled, TILE, first, s.scale, s.rotary_dim, cos, sin, d_qkv + head.dqkv_at,
                                head.stride);
}
