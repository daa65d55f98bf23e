// Causal softmax attention in bf16 with sums in f32 (Dao 2023, FlashAttention-2): a block owns 64
// queries (or 64 keys), a warp 16 of them, and walks over the other side in tiles of 64 that
// arrive while the former one is at work. Nothing is added by two blocks: the backward pass is one
// kernel for dk and dv, by keys, and one for dq, by queries.
//
// D is the head dimension padded to 32, 64, 96 or 128; padding is zeros in shared memory.
#include "attention.cuh"

constexpr int TILE = 64, THREADS = 128;
constexpr float LOG2_E = 1.4426950408889634f;

// Rows of shared memory are 16 bytes longer than D, which spreads them over the banks.
template <int D> constexpr int ROW = D + 8;

// How many tiles of each operand the backward kernels hold: two, so that one arrives while the other
// is at work, unless a block of a card of compute capability 8.6 or 8.9 (99 KiB) could not hold them.
template <int D> constexpr int STAGES = D > 96 ? 1 : 2;

// 64 rows from `first` on, by the whole block; rows behind the end are zeros.
template <int D>
__device__ __forceinline__ void load_tile(bf16* tile, const bf16* from, int64_t stride, int first, int seq_len,
                                          int head_dim) {
    constexpr int CHUNKS = D / 8;
#pragma unroll
    for (int i = threadIdx.x; i < TILE * CHUNKS; i += THREADS) {
        int r = i / CHUNKS, c = i % CHUNKS * 8;
        bool valid = first + r < seq_len && c < head_dim;
        copy_async(tile + r * ROW<D> + c, valid ? from + (first + r) * stride + c : from, valid);
    }
}

// The operand a: 16 rows of a tile, one register set for every 16 channels.
template <int D>
__device__ __forceinline__ void load_rows(uint32_t (&a)[D / 16][4], const bf16* tile, int row) {
    int lane = threadIdx.x % 32;
    const bf16* p = tile + (row + lane % 16) * ROW<D> + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < D / 16; k++) load_matrices<false>(a[k], p + k * 16);
}

// c[2] (16 x 16) = a (16 x D) times rows `row`..`row` + 16 of the tile, transposed.
template <int D>
__device__ __forceinline__ void times_rows(float (&c)[2][4], const uint32_t (&a)[D / 16][4], const bf16* tile,
                                           int row) {
    int lane = threadIdx.x % 32;
    const bf16* p = tile + (row + lane / 16 * 8 + lane % 8) * ROW<D> + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) c[n][i] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t b[4];
        load_matrices<false>(b, p + k * 16);
        mma(c[0], a[k], b[0], b[1]);
        mma(c[1], a[k], b[2], b[3]);
    }
}

// sums (16 x D) += p (16 x 16) times rows `row`..`row` + 16 of the tile.
template <int D>
__device__ __forceinline__ void add_product(float (&sums)[D / 8][4], const uint32_t (&p)[4], const bf16* tile,
                                            int row) {
    int lane = threadIdx.x % 32;
    const bf16* at = tile + (row + lane % 16) * ROW<D> + lane / 16 * 8;
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t b[4];
        load_matrices<true>(b, at + d * 16);
        mma(sums[2 * d], p, b[0], b[1]);
        mma(sums[2 * d + 1], p, b[2], b[3]);
    }
}

// A 16 x 16 result as the next product's operand a.
__device__ __forceinline__ void as_operand(uint32_t (&a)[4], const float (&c)[2][4]) {
    a[0] = pack(c[0][0], c[0][1]);
    a[1] = pack(c[0][2], c[0][3]);
    a[2] = pack(c[1][0], c[1][1]);
    a[3] = pack(c[1][2], c[1][3]);
}

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

// Grid: tiles of queries, heads, rows. Shared memory: q, then two stages of k and v.
template <int D>
__device__ __forceinline__ void attention(const AttentionShape& s, const bf16* qkv, bf16* out, float* lse) {
    SHARED(bf16, q_tile);
    constexpr int SIZE = TILE * ROW<D>;
    bf16* stages = q_tile + SIZE;
    // The longest ones first: later blocks fill the gaps.
    int tile = gridDim.x - 1 - blockIdx.x, first = tile * TILE;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

    load_tile<D>(q_tile, head.q, head.stride, first, s.seq_len, s.head_dim);
    load_tile<D>(stages, head.k, head.stride, 0, s.seq_len, s.head_dim);
    load_tile<D>(stages + SIZE, head.v, head.stride, 0, s.seq_len, s.head_dim);
    copy_async_commit();

    float scale = s.scale * LOG2_E;
    float sums[D / 8][4], top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
#pragma unroll
    for (int d = 0; d < D / 8; d++)
#pragma unroll
        for (int i = 0; i < 4; i++) sums[d][i] = 0;
    uint32_t q[D / 16][4];

    for (int j = 0; j <= tile; j++) {
        const bf16* k_tile = stages + j % 2 * 2 * SIZE;
        const bf16* v_tile = k_tile + SIZE;
        if (j < tile) {
            bf16* next = stages + (j + 1) % 2 * 2 * SIZE;
            load_tile<D>(next, head.k, head.stride, (j + 1) * TILE, s.seq_len, s.head_dim);
            load_tile<D>(next + SIZE, head.v, head.stride, (j + 1) * TILE, s.seq_len, s.head_dim);
            copy_async_commit();
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();
        if (j == 0) load_rows<D>(q, q_tile, warp * 16);

        float scores[TILE / 16][2][4];
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) times_rows<D>(scores[n], q, k_tile, n * 16);
        // Row r of this thread is query first + warp * 16 + g + 8 r.
        float now[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < TILE / 16; n++)
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float& x = scores[n][h][i];
                    int key = n * 16 + h * 8 + 2 * t + i % 2, query = warp * 16 + g + i / 2 * 8;
                    x = j == tile && key > query ? -INFINITY : x * scale;
                    now[i / 2] = fmaxf(now[i / 2], x);
                }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            now[r] = fmaxf(now[r], __shfl_xor_sync(FULL, now[r], 1));
            now[r] = fmaxf(now[r], __shfl_xor_sync(FULL, now[r], 2));
            float shrink = exp2f(top[r] - now[r]);
            total[r] *= shrink;
#pragma unroll
            for (int d = 0; d < D / 8; d++) sums[d][2 * r] *= shrink, sums[d][2 * r + 1] *= shrink;
            top[r] = now[r];
        }
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float& x = scores[n][h][i];
                    x = exp2f(x - now[i / 2]);
                    total[i / 2] += x;
                }
            uint32_t p[4];
            as_operand(p, scores[n]);
            add_product<D>(sums, p, v_tile, n * 16);
        }
        // The stage is free for the copy that the next round starts.
        __syncthreads();
    }

#pragma unroll
    for (int r = 0; r < 2; r++) {
        total[r] += __shfl_xor_sync(FULL, total[r], 1);
        total[r] += __shfl_xor_sync(FULL, total[r], 2);
        int query = first + warp * 16 + g + 8 * r;
        if (query >= s.seq_len) continue;
        float inverse = 1.0f / total[r];
        bf16* to = out + head.out_at + query * head.out_stride;
#pragma unroll
        for (int d = 0; d < D / 8; d++) {
            int c = d * 8 + 2 * t;
            if (c < s.head_dim)
                *reinterpret_cast<uint32_t*>(to + c) = pack(sums[d][2 * r] * inverse, sums[d][2 * r + 1] * inverse);
        }
        if (t == 0) lse[head.lse_at + query] = (top[r] + log2f(total[r])) / LOG2_E;
    }
}

// dk and dv. Grid: tiles of keys, heads, rows. Shared memory: k, v, then the stages of q, d_out,
// lse and delta; at the end the f32 tiles of the gradients.
template <int D>
__device__ __forceinline__ void attention_backward_kv(const AttentionShape& s, const bf16* qkv, const bf16* d_out,
                                                      const float* lse, const float* delta, const float* cos,
                                                      const float* sin, bf16* d_qkv) {
    SHARED(bf16, k_tile);
    constexpr int SIZE = TILE * ROW<D>;
    bf16* v_tile = k_tile + SIZE;
    bf16* stages = v_tile + SIZE;
    float* rows = reinterpret_cast<float*>(stages + STAGES<D> * 2 * SIZE);
    // The first keys have the most queries, and the lowest block index.
    int tile = blockIdx.x, first = tile * TILE, tiles = gridDim.x;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    const bf16* d_head = d_out + head.out_at;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

    load_tile<D>(k_tile, head.k, head.stride, first, s.seq_len, s.head_dim);
    load_tile<D>(v_tile, head.v, head.stride, first, s.seq_len, s.head_dim);
    auto load_stage = [&](int i) {
        bf16* stage = stages + i % STAGES<D> * 2 * SIZE;
        load_tile<D>(stage, head.q, head.stride, i * TILE, s.seq_len, s.head_dim);
        load_tile<D>(stage + SIZE, d_head, head.out_stride, i * TILE, s.seq_len, s.head_dim);
        copy_async_commit();
        // A query behind the end: e^-inf gives it no weight.
        float* to = rows + i % STAGES<D> * 2 * TILE;
        int r = threadIdx.x % TILE, query = i * TILE + r;
        bool valid = query < s.seq_len;
        if (threadIdx.x < TILE) to[r] = valid ? lse[head.lse_at + query] * LOG2_E : INFINITY;
        else to[TILE + r] = valid ? delta[head.lse_at + query] : 0.0f;
    };
    load_stage(tile);

    float scale = s.scale * LOG2_E;
    float dk[D / 8][4], dv[D / 8][4];
#pragma unroll
    for (int d = 0; d < D / 8; d++)
#pragma unroll
        for (int i = 0; i < 4; i++) dk[d][i] = dv[d][i] = 0;
    uint32_t k[D / 16][4], v[D / 16][4];

    for (int i = tile; i < tiles; i++) {
        const bf16* q_tile = stages + i % STAGES<D> * 2 * SIZE;
        const bf16* d_tile = q_tile + SIZE;
        const float* lse_row = rows + i % STAGES<D> * 2 * TILE;
        const float* delta_row = lse_row + TILE;
        if (STAGES<D> == 1 && i > tile) load_stage(i);
        if (STAGES<D> == 2 && i + 1 < tiles) {
            load_stage(i + 1);
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();
        if (D <= 64 && i == tile) {
            load_rows<D>(k, k_tile, warp * 16);
            load_rows<D>(v, v_tile, warp * 16);
        }
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            // Of 16 keys (rows) and 16 queries (columns): the probabilities, then their gradients.
            float p[2][4], dp[2][4];
            if (D > 64) load_rows<D>(k, k_tile, warp * 16);
            times_rows<D>(p, k, q_tile, n * 16);
            if (D > 64) load_rows<D>(v, v_tile, warp * 16);
            times_rows<D>(dp, v, d_tile, n * 16);
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int query = n * 16 + h * 8 + 2 * t + e % 2, key = warp * 16 + g + e / 2 * 8;
                    float x = exp2f(p[h][e] * scale - lse_row[query]);
                    p[h][e] = i == tile && key > query ? 0.0f : x;
                    dp[h][e] = p[h][e] * (dp[h][e] - delta_row[query]);
                }
            uint32_t a[4];
            as_operand(a, p);
            add_product<D>(dv, a, d_tile, n * 16);
            as_operand(a, dp);
            add_product<D>(dk, a, q_tile, n * 16);
        }
        __syncthreads();
    }

    // The tiles are done with: their memory carries the gradients out, one after the other.
    float* spilled = reinterpret_cast<float*>(k_tile);
    int64_t width = head.out_stride;
    spill<D>(spilled, dk, warp * 16);
    __syncthreads();
    store_gradient<bf16, D + 4>(s, spilled, TILE, first, s.scale, s.rotary_dim, cos, sin,
                                d_qkv + head.dqkv_at + width, head.stride);
    __syncthreads();
    spill<D>(spilled, dv, warp * 16);
    __syncthreads();
    store_gradient<bf16, D + 4>(s, spilled, TILE, first, 1.0f, 0, cos, sin, d_qkv + head.dqkv_at + 2 * width,
                                head.stride);
}

// dq. Grid: tiles of queries, heads, rows. Shared memory: q, d_out, then the stages of k and v.
template <int D>
__device__ __forceinline__ void attention_backward_q(const AttentionShape& s, const bf16* qkv, const bf16* d_out,
                                                     const float* lse, const float* delta, const float* cos,
                                                     const float* sin, bf16* d_qkv) {
    SHARED(bf16, q_tile);
    constexpr int SIZE = TILE * ROW<D>;
    bf16* d_tile = q_tile + SIZE;
    bf16* stages = d_tile + SIZE;
    int tile = gridDim.x - 1 - blockIdx.x, first = tile * TILE;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

    load_tile<D>(q_tile, head.q, head.stride, first, s.seq_len, s.head_dim);
    load_tile<D>(d_tile, d_out + head.out_at, head.out_stride, first, s.seq_len, s.head_dim);
    auto load_stage = [&](int j) {
        bf16* stage = stages + j % STAGES<D> * 2 * SIZE;
        load_tile<D>(stage, head.k, head.stride, j * TILE, s.seq_len, s.head_dim);
        load_tile<D>(stage + SIZE, head.v, head.stride, j * TILE, s.seq_len, s.head_dim);
        copy_async_commit();
    };
    load_stage(0);
    float scale = s.scale * LOG2_E, lse_of[2], delta_of[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int query = first + warp * 16 + g + 8 * r;
        bool valid = query < s.seq_len;
        lse_of[r] = valid ? lse[head.lse_at + query] * LOG2_E : INFINITY;
        delta_of[r] = valid ? delta[head.lse_at + query] : 0.0f;
    }
    float dq[D / 8][4];
#pragma unroll
    for (int d = 0; d < D / 8; d++)
#pragma unroll
        for (int i = 0; i < 4; i++) dq[d][i] = 0;
    uint32_t q[D / 16][4], d_o[D / 16][4];

    for (int j = 0; j <= tile; j++) {
        const bf16* k_tile = stages + j % STAGES<D> * 2 * SIZE;
        const bf16* v_tile = k_tile + SIZE;
        if (STAGES<D> == 1 && j > 0) load_stage(j);
        if (STAGES<D> == 2 && j < tile) {
            load_stage(j + 1);
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();
        if (j == 0) {
            load_rows<D>(q, q_tile, warp * 16);
            load_rows<D>(d_o, d_tile, warp * 16);
        }
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            float p[2][4], dp[2][4];
            times_rows<D>(p, q, k_tile, n * 16);
            times_rows<D>(dp, d_o, v_tile, n * 16);
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int key = n * 16 + h * 8 + 2 * t + i % 2, query = warp * 16 + g + i / 2 * 8;
                    float x = exp2f(p[h][i] * scale - lse_of[i / 2]);
                    x = j == tile && key > query ? 0.0f : x;
                    dp[h][i] = x * (dp[h][i] - delta_of[i / 2]);
                }
            uint32_t a[4];
            as_operand(a, dp);
            add_product<D>(dq, a, k_tile, n * 16);
        }
        __syncthreads();
    }

    float* spilled = reinterpret_cast<float*>(q_tile);
    spill<D>(spilled, dq, warp * 16);
    __syncthreads();
    store_gradient<bf16, D + 4>(s, spilled, TILE, first, s.scale, s.rotary_dim, cos, sin, d_qkv + head.dqkv_at,
                                head.stride);
}

ATTENTION_DELTA(bf16, bf16)
ATTENTION(bf16, bf16, 32)
ATTENTION(bf16, bf16, 64)
ATTENTION(bf16, bf16, 96)
ATTENTION(bf16, bf16, 128)
