// Causal softmax attention in bf16 with sums in f32 (Dao 2023, FlashAttention-2): a block owns 64
// queries (or 64 keys), a warp 16 of them, and walks over the other side in tiles of 64 that
// arrive while the former one is at work. Nothing is added by two blocks: the backward pass is one
// kernel for dk and dv, by keys, and one for dq, by queries.
//
// D is the head dimension padded to 32, 64, 96 or 128; padding is zeros in shared memory.
#include "attention_bf16.cuh"

namespace {  // the emulator links all files together

constexpr int THREADS = 128;

// Rows of shared memory are 16 bytes longer than D, which spreads them over the banks.
template <int D> constexpr int ROW = D + 8;

// How many tiles of each operand the backward kernels hold: two, so that one arrives while the other
// is at work, unless a block of a card of compute capability 8.6 or 8.9 (99 KiB) could not hold them.
template <int D> constexpr int STAGES = D > 96 ? 1 : 2;

template <int D> struct Padded {
    static constexpr int PITCH = ROW<D>, SIZE = TILE * PITCH;
    __device__ static __forceinline__ int at(int row, int c) { return row * PITCH + c; }
};
template <int D> using Matrix = Tiles<D, THREADS, Padded<D>>;

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

// Grid: tiles of queries, heads, rows. Shared memory: q, then two stages of k and v.
template <int D>
__device__ __forceinline__ void attention(const AttentionShape& s, const bf16* qkv, bf16* out, float* lse) {
    SHARED(bf16, q_tile);
    constexpr int SIZE = Padded<D>::SIZE;
    // The longest ones first: later blocks fill the gaps.
    int tile = gridDim.x - 1 - blockIdx.x, first = tile * TILE;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int warp = threadIdx.x / 32;

    Matrix<D>(s, head.q, head.stride, tile).load(q_tile);
    Stages<D, THREADS, Padded<D>, 2> kv{q_tile + SIZE, {s, head.k, head.stride, 0}, {s, head.v, head.stride, 0}};
    kv.load(0);

    Softmax softmax(s);
    float sums[D / 8][4];
    clear(sums);
    uint32_t q[D / 16][4];

    for (int j = 0; j <= tile; j++) {
        const bf16* k_tile = kv.at(j);
        const bf16* v_tile = k_tile + SIZE;
        if (j < tile) {
            kv.load(j + 1);
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();
        if (j == 0) load_rows<D>(q, q_tile, warp * 16);

        float scores[TILE / 16][2][4];
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) times_rows<D>(scores[n], q, k_tile, n * 16);
        softmax.take<D>(scores, sums, j == tile, warp * 16);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            uint32_t p[4];
            softmax.weights(scores[n]);
            as_operand(p, scores[n]);
            add_product<D>(sums, p, v_tile, n * 16);
        }
        // The stage is free for the copy that the next round starts.
        __syncthreads();
    }

    softmax.store<D>(s, head, sums, first + warp * 16, out, lse);
}

// dk and dv. Grid: tiles of keys, heads, rows. Shared memory: k, v, then the stages of q, d_out,
// lse and delta; at the end the f32 tiles of the gradients.
template <int D>
__device__ __forceinline__ void attention_backward_kv(const AttentionShape& s, const bf16* qkv, const bf16* d_out,
                                                      const float* lse, const float* delta, const float* cos,
                                                      const float* sin, bf16* d_qkv) {
    SHARED(bf16, k_tile);
    constexpr int SIZE = Padded<D>::SIZE;
    bf16* v_tile = k_tile + SIZE;
    bf16* stages = v_tile + SIZE;
    float* rows = reinterpret_cast<float*>(stages + STAGES<D> * 2 * SIZE);
    // The first keys have the most queries, and the lowest block index.
    int tile = blockIdx.x, first = tile * TILE, tiles = gridDim.x;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int warp = threadIdx.x / 32;

    Matrix<D>(s, head.k, head.stride, tile).load(k_tile);
    Matrix<D>(s, head.v, head.stride, tile).load(v_tile);
    const bf16* d_head = d_out + head.out_at;
    Stages<D, THREADS, Padded<D>, STAGES<D>> q_d{
        stages, {s, head.q, head.stride, tile}, {s, d_head, head.out_stride, tile}};
    Statistics statistics(s, head, lse, delta, tile);
    auto keep = [&](int i, float value) { Statistics::store(rows + i % STAGES<D> * 2 * TILE, value); };
    q_d.load(tile);
    keep(tile, statistics.next());

    float dk[D / 8][4], dv[D / 8][4];
    clear(dk), clear(dv);
    uint32_t k[D / 16][4], v[D / 16][4];

    for (int i = tile; i < tiles; i++) {
        const bf16* q_tile = q_d.at(i);
        const bf16* d_tile = q_tile + SIZE;
        const float* lse_row = rows + i % STAGES<D> * 2 * TILE;
        const float* delta_row = lse_row + TILE;
        bool further = STAGES<D> == 2 && i + 1 < tiles;
        // On its way to a register until its memory is free.
        float next = 0;
        if (STAGES<D> == 1 && i > tile) {
            q_d.load(i);
            keep(i, statistics.next());
        }
        if (further) {
            q_d.load(i + 1);
            next = statistics.next();
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
            weights_by_key(p, s.scale * LOG2_E, lse_row, i == tile, warp * 16, n * 16);
            gradients_by_key(dp, p, delta_row, n * 16);
            uint32_t a[4];
            as_operand(a, p);
            add_product<D>(dv, a, d_tile, n * 16);
            as_operand(a, dp);
            add_product<D>(dk, a, q_tile, n * 16);
        }
        if (further) keep(i + 1, next);
        __syncthreads();
    }

    // The tiles are done with: their memory carries the gradients out, one after the other.
    store_kv<D>(s, head, dk, dv, reinterpret_cast<float*>(k_tile), first, warp * 16, cos, sin, d_qkv);
}

// dq. Grid: tiles of queries, heads, rows. Shared memory: q, d_out, then the stages of k and v.
template <int D>
__device__ __forceinline__ void attention_backward_q(const AttentionShape& s, const bf16* qkv, const bf16* d_out,
                                                     const float* lse, const float* delta, const float* cos,
                                                     const float* sin, bf16* d_qkv) {
    SHARED(bf16, q_tile);
    constexpr int SIZE = Padded<D>::SIZE;
    bf16* d_tile = q_tile + SIZE;
    int tile = gridDim.x - 1 - blockIdx.x, first = tile * TILE;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int warp = threadIdx.x / 32;

    Matrix<D>(s, head.q, head.stride, tile).load(q_tile);
    Matrix<D>(s, d_out + head.out_at, head.out_stride, tile).load(d_tile);
    Stages<D, THREADS, Padded<D>, STAGES<D>> kv{
        d_tile + SIZE, {s, head.k, head.stride, 0}, {s, head.v, head.stride, 0}};
    kv.load(0);
    RowStatistics statistics(s, head, lse, delta, first + warp * 16);
    float dq[D / 8][4];
    clear(dq);
    uint32_t q[D / 16][4], d_o[D / 16][4];

    for (int j = 0; j <= tile; j++) {
        const bf16* k_tile = kv.at(j);
        const bf16* v_tile = k_tile + SIZE;
        if (STAGES<D> == 1 && j > 0) kv.load(j);
        if (STAGES<D> == 2 && j < tile) {
            kv.load(j + 1);
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
            statistics.weights(p, s.scale * LOG2_E, j == tile, warp * 16, n * 16);
            statistics.gradients(dp, p);
            uint32_t a[4];
            as_operand(a, dp);
            add_product<D>(dq, a, k_tile, n * 16);
        }
        __syncthreads();
    }

    store_q<D>(s, head, dq, reinterpret_cast<float*>(q_tile), first, warp * 16, cos, sin, d_qkv);
}

}  // namespace

ATTENTION_DELTA(bf16, bf16, 8, 8)
ATTENTION(bf16, bf16, 32)
ATTENTION(bf16, bf16, 64)
ATTENTION(bf16, bf16, 96)
ATTENTION(bf16, bf16, 128)
