// Rotary embedding in the rotate-half layout: q and k of [positions, 3, heads, head_dim] rotated
// into [positions, 2, heads, head_dim], once a pass, for the attention kernels to read.
#include "common.cuh"

// One thread VEC pairs (i, i + rotary_dim / 2) or VEC channels behind them that stay as they are.
// cos and sin are [at least seq_len, rotary_dim / 2].
template <typename T, int VEC>
__device__ __forceinline__ void rotate(const T* qkv, const float* cos, const float* sin, T* out, int64_t n,
                                       int seq_len, int heads, int head_dim, int rotary_dim) {
    int half = rotary_dim / 2, tail = head_dim - rotary_dim, tasks = (half + tail) / VEC;
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n * 2 * heads * tasks) return;
    int task = static_cast<int>(i % tasks) * VEC;
    int64_t vector = i / tasks;
    int64_t position = vector / (2 * heads);
    int which = static_cast<int>(vector % (2 * heads));
    const T* from = qkv + (position * 3 * heads + which) * head_dim;
    T* to = out + vector * head_dim;
    if (task >= half) {
        int c = task + half;
        for (int j = 0; j < VEC; j++) to[c + j] = from[c + j];
        return;
    }
    int64_t at = position % seq_len * half + task;
    if constexpr (VEC == 1) {
        float x = to_f32(from[task]), y = to_f32(from[task + half]);
        to[task] = from_f32<T>(x * cos[at] - y * sin[at]);
        to[task + half] = from_f32<T>(y * cos[at] + x * sin[at]);
    } else {
        float x[VEC], y[VEC], c[VEC], s[VEC];
        load16(from + task, x);
        load16(from + task + half, y);
#pragma unroll
        for (int j = 0; j < VEC; j++) c[j] = cos[at + j], s[j] = sin[at + j];
#pragma unroll
        for (int j = 0; j < VEC; j++) {
            float a = x[j], b = y[j];
            x[j] = a * c[j] - b * s[j];
            y[j] = b * c[j] + a * s[j];
        }
        store16(to + task, x);
        store16(to + task + half, y);
    }
}

#define ROTATE(T, NAME, VEC)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rotate_##NAME(const T* qkv, const float* cos, const float* sin, T* out, int64_t n, int seq_len,      \
                      int heads, int head_dim, int rotary_dim) {                                             \
        rotate<T, VEC>(qkv, cos, sin, out, n, seq_len, heads, head_dim, rotary_dim);                         \
    }                                                                                                        \
    EXPORT(rotate_##NAME)
ROTATE(float, f32, 4)
ROTATE(float, f32_single, 1)
ROTATE(bf16, bf16, 8)
ROTATE(bf16, bf16_single, 1)
