// Rotary embedding in the rotate-half layout: q and k of [positions, 3, heads, head_dim] rotated in
// place, for the attention kernels of both passes to read.
#include "common.cuh"

// A pair rotated, rounded as the CPU's operator rounds it: no fused multiply-adds, which would now and then give
// a neighbouring bf16 value.
__device__ __forceinline__ void turn(float& x, float& y, float cos, float sin) {
    float a = __fmul_rn(x, cos) - __fmul_rn(y, sin);
    y = __fmul_rn(y, cos) + __fmul_rn(x, sin);
    x = a;
}

// One thread VEC pairs (i, i + rotary_dim / 2) of one head's q or k. cos and sin are [at least seq_len,
// rotary_dim / 2].
template <typename T, int VEC>
__device__ __forceinline__ void rotate(T* qkv, const float* cos, const float* sin, int64_t n, int seq_len, int heads,
                                       int head_dim, int rotary_dim) {
    int half = rotary_dim / 2, tasks = half / VEC;
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    int64_t all = n * 2 * heads * tasks;
    if (i >= all) return;
    Split task(i, tasks, all), vector(task.quotient, 2 * heads, all), position(vector.quotient, seq_len, all);
    int c = task.remainder * VEC;
    T* left = qkv + (vector.quotient * 3 * heads + vector.remainder) * head_dim + c;
    T* right = left + half;
    int64_t at = static_cast<int64_t>(position.remainder) * half + c;
    if constexpr (VEC == 1) {
        float x = to_f32(*left), y = to_f32(*right);
        turn(x, y, cos[at], sin[at]);
        *left = from_f32<T>(x);
        *right = from_f32<T>(y);
    } else {
        float x[8], y[8], cosines[8], sines[8];
        load8(left, x);
        load8(right, y);
        load8(cos + at, cosines);
        load8(sin + at, sines);
#pragma unroll
        for (int j = 0; j < 8; j++) turn(x[j], y[j], cosines[j], sines[j]);
        store8(left, x);
        store8(right, y);
    }
}

#define ROTATE(T, NAME, VEC)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rotate_##NAME(T* qkv, const float* cos, const float* sin, int64_t n, int seq_len, int heads,         \
                      int head_dim, int rotary_dim) {                                                        \
        rotate<T, VEC>(qkv, cos, sin, n, seq_len, heads, head_dim, rotary_dim);                              \
    }                                                                                                        \
    EXPORT(rotate_##NAME)
ROTATE(float, f32, 8)
ROTATE(float, f32_single, 1)
ROTATE(bf16, bf16, 8)
ROTATE(bf16, bf16_single, 1)
