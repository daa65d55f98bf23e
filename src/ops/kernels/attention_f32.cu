// Causal softmax attention in f32 on the plain cores: the same passes as in bf16, in tiles of
// 32 x 32. Four threads share a row; thread t of them has the columns t, t + 4, ...
//
// D is the head dimension padded to 32, 64, 96 or 128; padding is zeros in shared memory.
#include "attention.cuh"

constexpr int TILE = 32, THREADS = 128;

// Rows of shared memory are one value longer, which spreads them over the banks.
template <int D> constexpr int ROW = D + 1;
constexpr int SQUARE = TILE + 1;

template <int D>
__device__ __forceinline__ void load_tile(float* tile, const float* from, int64_t stride, int first, int seq_len,
                                          int head_dim) {
    for (int i = threadIdx.x; i < TILE * D; i += THREADS) {
        int r = i / D, c = i % D;
        bool valid = first + r < seq_len && c < head_dim;
        tile[r * ROW<D> + c] = valid ? from[(first + r) * stride + c] : 0.0f;
    }
}

// c[n] = row `row` of a times row t + 4 n of b.
template <int D>
__device__ __forceinline__ void times_rows(float (&c)[TILE / 4], const float* a, int row, const float* b, int t) {
#pragma unroll
    for (int n = 0; n < TILE / 4; n++) c[n] = 0;
    for (int d = 0; d < D; d++) {
        float x = a[row * ROW<D> + d];
#pragma unroll
        for (int n = 0; n < TILE / 4; n++) c[n] = fmaf(x, b[(t + 4 * n) * ROW<D> + d], c[n]);
    }
}

// sums[d] += row `row` of p (32 columns) times column t + 4 d of b.
template <int D>
__device__ __forceinline__ void add_product(float (&sums)[D / 4], const float* p, int row, const float* b, int t) {
    for (int n = 0; n < TILE; n++) {
        float x = p[row * SQUARE + n];
#pragma unroll
        for (int d = 0; d < D / 4; d++) sums[d] = fmaf(x, b[n * ROW<D> + t + 4 * d], sums[d]);
    }
}

template <int D> __device__ __forceinline__ void spill(float* tile, const float (&sums)[D / 4], int row, int t) {
#pragma unroll
    for (int d = 0; d < D / 4; d++) tile[row * ROW<D> + t + 4 * d] = sums[d];
}

// Grid: tiles of queries, heads, rows. Shared memory: q, k, v, the probabilities.
template <int D>
__device__ __forceinline__ void attention(const AttentionShape& s, const float* qkv, float* out, float* lse) {
    SHARED(float, q_tile);
    float *k_tile = q_tile + TILE * ROW<D>, *v_tile = k_tile + TILE * ROW<D>, *p_tile = v_tile + TILE * ROW<D>;
    int tile = gridDim.x - 1 - blockIdx.x, first = tile * TILE, row = threadIdx.x / 4, t = threadIdx.x % 4;
    Head<float> head(s, qkv, blockIdx.z, blockIdx.y);
    load_tile<D>(q_tile, head.q, head.stride, first, s.seq_len, s.head_dim);
    float sums[D / 4], top = -INFINITY, total = 0;
#pragma unroll
    for (int d = 0; d < D / 4; d++) sums[d] = 0;
    for (int j = 0; j <= tile; j++) {
        load_tile<D>(k_tile, head.k, head.stride, j * TILE, s.seq_len, s.head_dim);
        load_tile<D>(v_tile, head.v, head.stride, j * TILE, s.seq_len, s.head_dim);
        __syncthreads();
        float scores[TILE / 4], now = top;
        times_rows<D>(scores, q_tile, row, k_tile, t);
#pragma unroll
        for (int n = 0; n < TILE / 4; n++) {
            scores[n] = j == tile && t + 4 * n > row ? -INFINITY : scores[n] * s.scale;
            now = fmaxf(now, scores[n]);
        }
        now = fmaxf(now, __shfl_xor_sync(FULL, now, 1));
        now = fmaxf(now, __shfl_xor_sync(FULL, now, 2));
        float shrink = expf(top - now);
        total *= shrink;
#pragma unroll
        for (int d = 0; d < D / 4; d++) sums[d] *= shrink;
        top = now;
#pragma unroll
        for (int n = 0; n < TILE / 4; n++) {
            float p = expf(scores[n] - now);
            total += p;
            p_tile[row * SQUARE + t + 4 * n] = p;
        }
        __syncthreads();
        add_product<D>(sums, p_tile, row, v_tile, t);
        __syncthreads();
    }
    total += __shfl_xor_sync(FULL, total, 1);
    total += __shfl_xor_sync(FULL, total, 2);
    int query = first + row;
    if (query >= s.seq_len) return;
    float* to = out + head.out_at + query * head.out_stride;
#pragma unroll
    for (int d = 0; d < D / 4; d++)
        if (t + 4 * d < s.head_dim) to[t + 4 * d] = sums[d] / total;
    if (t == 0) lse[head.lse_at + query] = top + logf(total);
}

// dk and dv. Grid: tiles of keys, heads, rows. Shared memory: k, v, q, d_out, probabilities and
// their gradients (rows are keys), lse and delta.
template <int D>
__device__ __forceinline__ void attention_backward_kv(const AttentionShape& s, const float* qkv, const float* d_out,
                                                      const float* lse, const float* delta, const float* cos,
                                                      const float* sin, float* d_qkv) {
    SHARED(float, k_tile);
    constexpr int SIZE = TILE * ROW<D>;
    float *v_tile = k_tile + SIZE, *q_tile = v_tile + SIZE, *d_tile = q_tile + SIZE, *p_tile = d_tile + SIZE,
          *dp_tile = p_tile + TILE * SQUARE, *lse_row = dp_tile + TILE * SQUARE, *delta_row = lse_row + TILE;
    int tile = blockIdx.x, first = tile * TILE, row = threadIdx.x / 4, t = threadIdx.x % 4;
    Head<float> head(s, qkv, blockIdx.z, blockIdx.y);
    load_tile<D>(k_tile, head.k, head.stride, first, s.seq_len, s.head_dim);
    load_tile<D>(v_tile, head.v, head.stride, first, s.seq_len, s.head_dim);
    float dk[D / 4], dv[D / 4];
#pragma unroll
    for (int d = 0; d < D / 4; d++) dk[d] = dv[d] = 0;
    for (int i = tile; i < static_cast<int>(gridDim.x); i++) {
        load_tile<D>(q_tile, head.q, head.stride, i * TILE, s.seq_len, s.head_dim);
        load_tile<D>(d_tile, d_out + head.out_at, head.out_stride, i * TILE, s.seq_len, s.head_dim);
        if (threadIdx.x < TILE) {
            int query = i * TILE + threadIdx.x;
            bool valid = query < s.seq_len;
            lse_row[threadIdx.x] = valid ? lse[head.lse_at + query] : INFINITY;
            delta_row[threadIdx.x] = valid ? delta[head.lse_at + query] : 0.0f;
        }
        __syncthreads();
        float p[TILE / 4], dp[TILE / 4];
        times_rows<D>(p, k_tile, row, q_tile, t);
        times_rows<D>(dp, v_tile, row, d_tile, t);
#pragma unroll
        for (int n = 0; n < TILE / 4; n++) {
            int query = t + 4 * n;
            float x = expf(p[n] * s.scale - lse_row[query]);
            x = i == tile && row > query ? 0.0f : x;
            p_tile[row * SQUARE + query] = x;
            dp_tile[row * SQUARE + query] = x * (dp[n] - delta_row[query]);
        }
        __syncthreads();
        add_product<D>(dv, p_tile, row, d_tile, t);
        add_product<D>(dk, dp_tile, row, q_tile, t);
        __syncthreads();
    }
    int64_t width = head.out_stride;
    spill<D>(k_tile, dk, row, t);
    spill<D>(v_tile, dv, row, t);
    __syncthreads();
    store_gradient<float, ROW<D>>(s, k_tile, TILE, first, s.scale, s.rotary_dim, cos, sin,
                                  d_qkv + head.dqkv_at + width, head.stride);
    store_gradient<float, ROW<D>>(s, v_tile, TILE, first, 1.0f, 0, cos, sin, d_qkv + head.dqkv_at + 2 * width,
                                  head.stride);
}

// dq. Grid: tiles of queries, heads, rows. Shared memory: q, d_out, k, v, the gradients of the
// probabilities.
template <int D>
__device__ __forceinline__ void attention_backward_q(const AttentionShape& s, const float* qkv, const float* d_out,
                                                     const float* lse, const float* delta, const float* cos,
                                                     const float* sin, float* d_qkv) {
    SHARED(float, q_tile);
    constexpr int SIZE = TILE * ROW<D>;
    float *d_tile = q_tile + SIZE, *k_tile = d_tile + SIZE, *v_tile = k_tile + SIZE, *dp_tile = v_tile + SIZE;
    int tile = gridDim.x - 1 - blockIdx.x, first = tile * TILE, row = threadIdx.x / 4, t = threadIdx.x % 4;
    Head<float> head(s, qkv, blockIdx.z, blockIdx.y);
    load_tile<D>(q_tile, head.q, head.stride, first, s.seq_len, s.head_dim);
    load_tile<D>(d_tile, d_out + head.out_at, head.out_stride, first, s.seq_len, s.head_dim);
    int query = first + row;
    bool valid = query < s.seq_len;
    float lse_of = valid ? lse[head.lse_at + query] : INFINITY;
    float delta_of = valid ? delta[head.lse_at + query] : 0.0f;
    float dq[D / 4];
#pragma unroll
    for (int d = 0; d < D / 4; d++) dq[d] = 0;
    for (int j = 0; j <= tile; j++) {
        load_tile<D>(k_tile, head.k, head.stride, j * TILE, s.seq_len, s.head_dim);
        load_tile<D>(v_tile, head.v, head.stride, j * TILE, s.seq_len, s.head_dim);
        __syncthreads();
        float p[TILE / 4], dp[TILE / 4];
        times_rows<D>(p, q_tile, row, k_tile, t);
        times_rows<D>(dp, d_tile, row, v_tile, t);
#pragma unroll
        for (int n = 0; n < TILE / 4; n++) {
            float x = expf(p[n] * s.scale - lse_of);
            x = j == tile && t + 4 * n > row ? 0.0f : x;
            dp_tile[row * SQUARE + t + 4 * n] = x * (dp[n] - delta_of);
        }
        __syncthreads();
        add_product<D>(dq, dp_tile, row, k_tile, t);
        __syncthreads();
    }
    spill<D>(q_tile, dq, row, t);
    __syncthreads();
    store_gradient<float, ROW<D>>(s, q_tile, TILE, first, s.scale, s.rotary_dim, cos, sin, d_qkv + head.dqkv_at,
                                  head.stride);
}

ATTENTION_DELTA(float, f32, 32, 1)
ATTENTION(float, f32, 32)
ATTENTION(float, f32, 64)
ATTENTION(float, f32, 96)
ATTENTION(float, f32, 128)
