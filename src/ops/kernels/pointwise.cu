// Passes over memory: rounding, SwiGLU, AdamW, sums of squares.
#include "common.cuh"

// y = x in bf16, to the nearest even. n is a multiple of 8: buffers end on whole 32 bytes.
extern "C" __global__ void __launch_bounds__(256) round_bf16(const float* x, bf16* y, int64_t n) {
    int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
    if (i + 8 <= n) {
        float v[8];
        load8(x + i, v);
        store8(y + i, v);
    } else {
        for (; i < n; i++) y[i] = from_f32<bf16>(x[i]);
    }
}
EXPORT(round_bf16)

// The gate of value i of n.
template <typename T> __device__ __forceinline__ T* gate_of(T* gate_up, int64_t i, int64_t n, int width) {
    Split at(i, width, n);
    return gate_up + at.quotient * 2 * width + at.remainder;
}

// h = silu(gate) * up; a row of `gate_up` is gate then up, each `width` long. `width` is a
// multiple of VEC, which is 1 where rows do not start on 16 bytes.
template <typename T, int VEC>
__device__ __forceinline__ void swiglu(const T* gate_up, T* h, int64_t n, int width) {
    int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * VEC;
    if (i >= n) return;
    const T* gate = gate_of(gate_up, i, n, width);
    if constexpr (VEC == 1) {
        float g = to_f32(gate[0]), u = to_f32(gate[width]);
        h[i] = from_f32<T>(g * sigmoid(g) * u);
    } else {
        float g[VEC], u[VEC];
        load16(gate, g);
        load16(gate + width, u);
#pragma unroll
        for (int j = 0; j < VEC; j++) g[j] = g[j] * sigmoid(g[j]) * u[j];
        store16(h + i, g);
    }
}

// gate_up becomes its own gradient; `h` holds its own gradient and becomes h again.
template <typename T, int VEC>
__device__ __forceinline__ void swiglu_backward(T* gate_up, T* h, int64_t n, int width) {
    int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * VEC;
    if (i >= n) return;
    T* gate = gate_of(gate_up, i, n, width);
    float g[VEC], u[VEC], d[VEC];
    if constexpr (VEC == 1) {
        g[0] = to_f32(gate[0]), u[0] = to_f32(gate[width]), d[0] = to_f32(h[i]);
    } else {
        load16(gate, g);
        load16(gate + width, u);
        load16(h + i, d);
    }
#pragma unroll
    for (int j = 0; j < VEC; j++) {
        float s = sigmoid(g[j]), silu = g[j] * s;
        g[j] = d[j] * u[j] * (s + silu * (1.0f - s));
        float again = silu * u[j];
        u[j] = d[j] * silu;
        d[j] = again;
    }
    if constexpr (VEC == 1) {
        gate[0] = from_f32<T>(g[0]), gate[width] = from_f32<T>(u[0]), h[i] = from_f32<T>(d[0]);
    } else {
        store16(gate, g);
        store16(gate + width, u);
        store16(h + i, d);
    }
}

#define SWIGLU(T, NAME, VEC)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        swiglu_##NAME(const T* gate_up, T* h, int64_t n, int width) { swiglu<T, VEC>(gate_up, h, n, width); } \
    EXPORT(swiglu_##NAME)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        swiglu_backward_##NAME(T* gate_up, T* h, int64_t n, int width) {                                     \
        swiglu_backward<T, VEC>(gate_up, h, n, width);                                                       \
    }                                                                                                        \
    EXPORT(swiglu_backward_##NAME)
SWIGLU(float, f32, 4)
SWIGLU(float, f32_single, 1)
SWIGLU(bf16, bf16, 8)
SWIGLU(bf16, bf16_single, 1)

// AdamW with the arithmetic of the CPU's operator (adamw.rs), fused multiply-adds included.
struct AdamW { float decay, one_minus_beta1, beta2, one_minus_beta2, step_size, inv_sqrt_bias2, eps, clip; };

__device__ __forceinline__ void update(const AdamW& c, float& p, float g, float& m, float& v) {
    g *= c.clip;
    m = fmaf(g - m, c.one_minus_beta1, m);
    v = fmaf(g * g, c.one_minus_beta2, v * c.beta2);
    float denominator = fmaf(sqrtf(v), c.inv_sqrt_bias2, c.eps);
    p = p * c.decay - c.step_size * (m / denominator);
}

extern "C" __global__ void __launch_bounds__(256)
    adamw(AdamW c, float* params, const float* grads, float* m, float* v, int64_t n) {
    int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    if (i + 4 <= n) {
        float p4[4], g4[4], m4[4], v4[4];
        load16(params + i, p4);
        load16(grads + i, g4);
        load16(m + i, m4);
        load16(v + i, v4);
#pragma unroll
        for (int j = 0; j < 4; j++) update(c, p4[j], g4[j], m4[j], v4[j]);
        store16(params + i, p4);
        store16(m + i, m4);
        store16(v + i, v4);
    } else {
        for (; i < n; i++) update(c, params[i], grads[i], m[i], v[i]);
    }
}
EXPORT(adamw)

// Sums of squares in f64, one a block, for the host to add in order: squares of large gradients
// overflow f32. A block takes 2^14 values.
extern "C" __global__ void __launch_bounds__(256)
    sum_of_squares(const float* x, double* partial, int64_t n) {
    SHARED(double, sums);
    int64_t first = static_cast<int64_t>(blockIdx.x) << 14;
    int64_t end = first + (1 << 14) < n ? first + (1 << 14) : n;
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < end; i += 256) sum += static_cast<double>(x[i]) * x[i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < 8; w++) sum += sums[w];
        partial[blockIdx.x] = sum;
    }
}
EXPORT(sum_of_squares)
