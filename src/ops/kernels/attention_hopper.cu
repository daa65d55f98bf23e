// The bf16 attention of attention_bf16.cu with Hopper's warpgroup instructions, for head dimensions 64 and
// 128: a warpgroup has a tile of 64 queries (or keys), and tensor cores read the other side's tiles from
// shared memory themselves.
#include "attention_bf16.cuh"
#include "warpgroup.cuh"

namespace {  // the emulator links all files together

// Threads of a warpgroup, which is a block of the backward pass.
constexpr int THREADS = 128;

// How many warpgroups of the forward pass share tiles of keys and values.
constexpr int GROUPS = 2;

template <int D> struct Swizzled {
    static constexpr int PITCH = PANEL_CHANNELS, SIZE = TILE * D;
    __device__ static __forceinline__ int at(int row, int c) { return swizzled(row, c); }
};
template <int D, int COUNT> using Matrix = Tiles<D, COUNT, Swizzled<D>>;
template <int D, int COUNT> using Pair = Stages<D, COUNT, Swizzled<D>, 2>;

// Every thread's copies have arrived, for tensor cores too, but for those of one further stage if it is on
// its way.
__device__ __forceinline__ void wait_for_stage(bool further) {
    if (further) copy_async_wait<1>();
    else copy_async_wait<0>();
    warpgroup_publish();
    __syncthreads();
}

// Blocks of 16 columns, as the softmax has them, as those of 8 that an instruction writes.
typedef float Scores[TILE / 16][2][4];
__device__ __forceinline__ float (&as_sums(Scores& scores))[8][4] { return reinterpret_cast<float (&)[8][4]>(scores); }

// scores (64 x 64) = the rows of one tile times those of another, transposed. Neither is held in registers: ptxas 13.0
// gave the registers of an operand that a loop keeps to another value within the loop.
template <int D>
__device__ __forceinline__ void times_rows(Scores& scores, const bf16* rows, const bf16* tile) {
    uint64_t a = descriptor(rows), b = descriptor(tile);
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        int at = k / 4 * PANEL + k % 4 * 16;
        warpgroup_mma_shared(as_sums(scores), ahead(a, at), ahead(b, at), k > 0);
    }
}

// sums (64 x D) += p (64 x 64) times the tile.
template <int D>
__device__ __forceinline__ void add_product(float (&sums)[D / 8][4], const uint32_t (&p)[TILE / 16][4],
                                            const bf16* tile) {
    uint64_t b = descriptor(tile);
#pragma unroll
    for (int k = 0; k < TILE / 16; k++)
#pragma unroll
        for (int panel = 0; panel < D / PANEL_CHANNELS; panel++) {
            float(&part)[8][4] = reinterpret_cast<float(&)[8][4]>(sums[panel * 8]);
            warpgroup_mma<true>(part, p[k], ahead(b, panel * PANEL + k * 16 * PANEL_CHANNELS), true);
        }
}

// Grid: pairs of tiles of queries, heads, rows. Shared memory: the tiles of q, then two stages of k and v.
template <int D>
__device__ __forceinline__ void attention(const AttentionShape& s, const bf16* qkv, bf16* out, float* lse) {
    SHARED(bf16, q_tiles);
    constexpr int SIZE = Swizzled<D>::SIZE, ALL = GROUPS * THREADS;
    // The longest ones first: later blocks fill the gaps.
    int first_tile = (gridDim.x - 1 - blockIdx.x) * GROUPS, group = threadIdx.x / THREADS, tile = first_tile + group;
    int last = (s.seq_len - 1) / TILE;
    if (last > first_tile + GROUPS - 1) last = first_tile + GROUPS - 1;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int row = threadIdx.x / 32 % 4 * 16;

#pragma unroll
    for (int g = 0; g < GROUPS; g++)
        Matrix<D, ALL>(s, head.q, head.stride, first_tile + g).load(q_tiles + g * SIZE);
    Pair<D, ALL> kv{q_tiles + GROUPS * SIZE, {s, head.k, head.stride, 0}, {s, head.v, head.stride, 0}};
    kv.load(0);

    Softmax softmax(s);
    float sums[D / 8][4];
    clear(sums);

    for (int j = 0; j <= last; j++) {
        const bf16* k_tile = kv.at(j);
        const bf16* v_tile = k_tile + SIZE;
        if (j < last) kv.load(j + 1);
        wait_for_stage(j < last);
        // The first of two tiles ends one tile of keys before the second.
        if (j <= tile) {
            Scores scores;
            warpgroup_fence();
            times_rows<D>(scores, q_tiles + group * SIZE, k_tile);
            warpgroup_commit();
            warpgroup_wait<0>(scores);
            softmax.take<D>(scores, sums, j == tile, row);
            uint32_t p[TILE / 16][4];
#pragma unroll
            for (int n = 0; n < TILE / 16; n++) {
                softmax.weights(scores[n]);
                as_operand(p[n], scores[n]);
            }
            warpgroup_fence(sums, p);
            add_product<D>(sums, p, v_tile);
            warpgroup_commit();
            warpgroup_wait<0>(sums);
        }
        // The stage is free for the copy that the next round starts.
        __syncthreads();
    }
    softmax.store<D>(s, head, sums, tile * TILE + row, out, lse);
}

// dk and dv. Grid: tiles of keys, heads, rows. Shared memory: k, v, then two stages of q and d_out, then of
// their lse and delta; at the end the f32 tiles of the gradients.
template <int D>
__device__ __forceinline__ void attention_backward_kv(const AttentionShape& s, const bf16* qkv, const bf16* d_out,
                                                      const float* lse, const float* delta, const float* cos,
                                                      const float* sin, bf16* d_qkv) {
    SHARED(bf16, k_tile);
    constexpr int SIZE = Swizzled<D>::SIZE;
    bf16* v_tile = k_tile + SIZE;
    bf16* stages = v_tile + SIZE;
    float* statistics = reinterpret_cast<float*>(stages + 4 * SIZE);
    // The first keys have the most queries, and the lowest block index.
    int tile = blockIdx.x, first = tile * TILE, tiles = gridDim.x;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int row = threadIdx.x / 32 * 16;

    Matrix<D, THREADS>(s, head.k, head.stride, tile).load(k_tile);
    Matrix<D, THREADS>(s, head.v, head.stride, tile).load(v_tile);
    const bf16* d_head = d_out + head.out_at;
    Pair<D, THREADS> q_d{stages, {s, head.q, head.stride, tile}, {s, d_head, head.out_stride, tile}};
    Statistics of_query(s, head, lse, delta, tile);
    auto keep = [&](int i, float value) { Statistics::store(statistics + i % 2 * 2 * TILE, value); };
    q_d.load(tile);
    keep(tile, of_query.next());
    float dk[D / 8][4], dv[D / 8][4];
    clear(dk), clear(dv);

    for (int i = tile; i < tiles; i++) {
        const bf16* q_tile = q_d.at(i);
        const bf16* d_tile = q_tile + SIZE;
        const float* lse_row = statistics + i % 2 * 2 * TILE;
        bool further = i + 1 < tiles;
        if (further) q_d.load(i + 1);
        wait_for_stage(further);
        // Behind the fence, which would wait for it: on its way while this round is at work.
        float next = 0;
        if (further) next = of_query.next();
        // Keys are rows, queries columns. The weights are made while their gradients are still summed.
        Scores p, dp;
        uint32_t p_operand[TILE / 16][4], dp_operand[TILE / 16][4];
        warpgroup_fence();
        times_rows<D>(p, k_tile, q_tile);
        warpgroup_commit();
        times_rows<D>(dp, v_tile, d_tile);
        warpgroup_commit();
        warpgroup_wait<1>(p);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            weights_by_key(p[n], s.scale * LOG2_E, lse_row, i == tile, row, n * 16);
            as_operand(p_operand[n], p[n]);
        }
        warpgroup_wait<0>(dp);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            gradients_by_key(dp[n], p[n], lse_row + TILE, n * 16);
            as_operand(dp_operand[n], dp[n]);
        }
        warpgroup_fence(dv, p_operand, dk, dp_operand);
        add_product<D>(dv, p_operand, d_tile);
        add_product<D>(dk, dp_operand, q_tile);
        warpgroup_commit();
        warpgroup_wait<0>(dv, dk);
        if (further) keep(i + 1, next);
        __syncthreads();
    }
    // The tiles are done with: their memory carries the gradients out, one after the other.
    store_kv<D>(s, head, dk, dv, reinterpret_cast<float*>(k_tile), first, row, cos, sin, d_qkv);
}

// dq. Grid: tiles of queries, heads, rows. Shared memory: q, d_out, then two stages of k and v.
template <int D>
__device__ __forceinline__ void attention_backward_q(const AttentionShape& s, const bf16* qkv, const bf16* d_out,
                                                     const float* lse, const float* delta, const float* cos,
                                                     const float* sin, bf16* d_qkv) {
    SHARED(bf16, q_tile);
    constexpr int SIZE = Swizzled<D>::SIZE;
    bf16* d_tile = q_tile + SIZE;
    int tile = gridDim.x - 1 - blockIdx.x, first = tile * TILE;
    Head<bf16> head(s, qkv, blockIdx.z, blockIdx.y);
    int row = threadIdx.x / 32 * 16;

    Matrix<D, THREADS>(s, head.q, head.stride, tile).load(q_tile);
    Matrix<D, THREADS>(s, d_out + head.out_at, head.out_stride, tile).load(d_tile);
    Pair<D, THREADS> kv{d_tile + SIZE, {s, head.k, head.stride, 0}, {s, head.v, head.stride, 0}};
    kv.load(0);
    RowStatistics statistics(s, head, lse, delta, first + row);
    float dq[D / 8][4];
    clear(dq);

    for (int j = 0; j <= tile; j++) {
        const bf16* k_tile = kv.at(j);
        const bf16* v_tile = k_tile + SIZE;
        if (j < tile) kv.load(j + 1);
        wait_for_stage(j < tile);
        Scores p, dp;
        uint32_t operand[TILE / 16][4];
        warpgroup_fence();
        times_rows<D>(p, q_tile, k_tile);
        warpgroup_commit();
        times_rows<D>(dp, d_tile, v_tile);
        warpgroup_commit();
        warpgroup_wait<1>(p);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) statistics.weights(p[n], s.scale * LOG2_E, j == tile, row, n * 16);
        warpgroup_wait<0>(dp);
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            statistics.gradients(dp[n], p[n]);
            as_operand(operand[n], dp[n]);
        }
        warpgroup_fence(dq, operand);
        add_product<D>(dq, operand, k_tile);
        warpgroup_commit();
        warpgroup_wait<0>(dq);
        __syncthreads();
    }
    store_q<D>(s, head, dq, reinterpret_cast<float*>(q_tile), first, row, cos, sin, d_qkv);
}

}  // namespace

ATTENTION_WITHIN(bf16, hopper, 64, GROUPS* THREADS, 2)
ATTENTION_WITHIN(bf16, hopper, 128, GROUPS* THREADS, 1)
