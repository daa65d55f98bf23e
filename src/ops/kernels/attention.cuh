// What the attention kernels of both precisions share.
#pragma once
#include "common.cuh"

// Sizes. qkv is the projection's [rows * seq_len, 3, heads, head_dim] with q and k rotated, its gradient
// the same before rotation, out and its gradient are [rows * seq_len, heads, head_dim], lse and delta
// [rows, heads, seq_len].
struct AttentionShape {
    int seq_len, heads, head_dim, rotary_dim;
    float scale;
};

// One sequence's and head's share of every array.
template <typename T> struct Head {
    const T *q, *k, *v;
    int64_t stride, out_stride;
    // Offsets of the head in out, in lse, in the projection's gradient.
    int64_t out_at, lse_at, dqkv_at;

    __device__ __forceinline__ Head(const AttentionShape& s, const T* qkv, int row, int head) {
        int64_t first = static_cast<int64_t>(row) * s.seq_len, width = static_cast<int64_t>(s.heads) * s.head_dim;
        stride = 3 * width;
        out_stride = width;
        dqkv_at = first * stride + head * s.head_dim;
        q = qkv + dqkv_at;
        k = q + width;
        v = k + width;
        out_at = first * out_stride + head * s.head_dim;
        lse_at = (static_cast<int64_t>(row) * s.heads + head) * s.seq_len;
    }
};

// Writes a tile of gradients [tile, STRIDE] that the block holds in shared memory as f32, times
// `factor`, to rows `first`.. of `out`, undoing the rotation of the first rotary_dim channels.
template <typename T, int STRIDE>
__device__ __forceinline__ void store_gradient(const AttentionShape& s, const float* tile, int tile_rows, int first,
                                               float factor, int rotary_dim, const float* cos, const float* sin,
                                               T* out, int64_t out_stride) {
    int half = rotary_dim / 2, tasks = half + s.head_dim - rotary_dim;
    for (int i = threadIdx.x; i < tile_rows * tasks; i += blockDim.x) {
        int r = i / tasks, c = i % tasks, position = first + r;
        if (position >= s.seq_len) break;
        T* to = out + position * out_stride;
        const float* from = tile + r * STRIDE;
        if (c < half) {
            int64_t at = static_cast<int64_t>(position) * half + c;
            float x = from[c] * factor, y = from[c + half] * factor;
            to[c] = from_f32<T>(x * cos[at] + y * sin[at]);
            to[c + half] = from_f32<T>(y * cos[at] - x * sin[at]);
        } else {
            to[c + half] = from_f32<T>(from[c + half] * factor);
        }
    }
}

// delta[row, head, position] = sum over the head's channels of out * d_out: LANES lanes of a warp each, which read
// VEC channels at a time.
template <typename T, int LANES, int VEC>
__device__ __forceinline__ void attention_delta(const AttentionShape& s, const T* out, const T* d_out, float* delta,
                                                int64_t vectors) {
    int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / LANES;
    int lane = threadIdx.x % LANES;
    float sum = 0;
    if (i < vectors) {
        for (int c = lane * VEC; c < s.head_dim; c += LANES * VEC) {
            int64_t at = i * s.head_dim + c;
            if constexpr (VEC == 1) {
                sum = fmaf(to_f32(out[at]), to_f32(d_out[at]), sum);
            } else {
                float x[VEC], y[VEC];
                load16(out + at, x);
                load16(d_out + at, y);
#pragma unroll
                for (int j = 0; j < VEC; j++) sum = fmaf(x[j], y[j], sum);
            }
        }
    }
#pragma unroll
    for (int o = LANES / 2; o; o >>= 1) sum += __shfl_xor_sync(FULL, sum, o);
    if (lane != 0 || i >= vectors) return;
    Split position(i, s.heads, vectors), row(position.quotient, s.seq_len, vectors);
    delta[(row.quotient * s.heads + position.remainder) * s.seq_len + row.remainder] = sum;
}

// The kernels of one precision, and of one padded head dimension.
#define ATTENTION_DELTA(T, NAME, LANES, VEC)                                                                 \
    extern "C" __global__ void __launch_bounds__(128)                                                        \
        attention_delta_##NAME(AttentionShape s, const T* out, const T* d_out, float* delta, int64_t vectors) {\
        attention_delta<T, LANES, VEC>(s, out, d_out, delta, vectors);                                       \
    }                                                                                                        \
    EXPORT(attention_delta_##NAME)

#define ATTENTION_BACKWARD(T, NAME, SIDE, D)                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_backward_##SIDE##_##NAME##_##D(           \
        AttentionShape s, const T* qkv, const T* d_out, const float* lse, const float* delta,                 \
        const float* cos, const float* sin, T* d_qkv) {                                                       \
        attention_backward_##SIDE<D>(s, qkv, d_out, lse, delta, cos, sin, d_qkv);                             \
    }                                                                                                         \
    EXPORT(attention_backward_##SIDE##_##NAME##_##D)

// With the bounds of the forward pass: threads, and blocks of a multiprocessor where they shall fit.
#define ATTENTION_WITHIN(T, NAME, D, ...)                                                                     \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__)                                                 \
        attention_##NAME##_##D(AttentionShape s, const T* qkv, T* out, float* lse) {                          \
        attention<D>(s, qkv, out, lse);                                                                       \
    }                                                                                                         \
    EXPORT(attention_##NAME##_##D)                                                                            \
    ATTENTION_BACKWARD(T, NAME, kv, D)                                                                        \
    ATTENTION_BACKWARD(T, NAME, q, D)
#define ATTENTION(T, NAME, D) ATTENTION_WITHIN(T, NAME, D, THREADS)
