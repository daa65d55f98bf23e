// RMSNorm: one warp a row, statistics in f32.
#include "common.cuh"

// One value of the norm: the backward pass must give the forward pass's bits.
__device__ __forceinline__ float normed(float x, float rstd, float gain) { return x * rstd * gain; }

template <typename T> __device__ __forceinline__ void load_vector(const T* p, float (&v)[8]) { load8(p, v); }
template <typename T> __device__ __forceinline__ void load_vector(const T* p, float (&v)[1]) { v[0] = to_f32(*p); }
template <typename T> __device__ __forceinline__ void store_vector(T* p, const float (&v)[8]) { store8(p, v); }
template <typename T> __device__ __forceinline__ void store_vector(T* p, const float (&v)[1]) {
    *p = from_f32<T>(v[0]);
}

// y = x * rstd * gain, rstd = 1 / sqrt(mean(x^2) + eps); `carried`, unless it is null, becomes x.
template <typename T>
__device__ __forceinline__ void rms_norm(const float* x, const float* gain, T* y, float* rstd, float* carried,
                                         int rows, int width, float eps) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    x += static_cast<int64_t>(row) * width;
    y += static_cast<int64_t>(row) * width;
    bool carry = carried != nullptr;
    if (carry) carried += static_cast<int64_t>(row) * width;
    float sum = 0;
    bool vectors = width % 8 == 0;
    if (vectors) {
        for (int c = lane * 4; c < width; c += 128) {
            float v[4];
            load16(x + c, v);
#pragma unroll
            for (int j = 0; j < 4; j++) sum = fmaf(v[j], v[j], sum);
            if (carry) store16(carried + c, v);
        }
    } else {
        for (int c = lane; c < width; c += 32) {
            sum = fmaf(x[c], x[c], sum);
            if (carry) carried[c] = x[c];
        }
    }
    float r = 1.0f / sqrtf(warp_sum(sum) / width + eps);
    if (lane == 0) rstd[row] = r;
    if (vectors) {
        for (int c = lane * 8; c < width; c += 256) {
            float v[8], g[8];
            load8(x + c, v);
            load8(gain + c, g);
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = normed(v[j], r, g[j]);
            store8(y + c, v);
        }
    } else {
        for (int c = lane; c < width; c += 32) y[c] = from_f32<T>(normed(x[c], r, gain[c]));
    }
}

// dx = rstd * (gain * dy - x * rstd^2 * mean(gain * dy * x)), set or added, and in bf16 also rounded to
// `dx_rounded`. `y` holds dy and becomes y again. A block takes `rows_per_block` rows, warp w of W
// the rows w, w + W, ..., and leaves the sum of dy * x * rstd over them in its row of `partial` [blocks,
// width]. `width` is a multiple of VEC, 8 or, where rows do not start on 16 bytes, 1.
template <typename T, int VEC>
__device__ __forceinline__ void rms_norm_backward(const float* x, const float* gain, const float* rstd, T* y,
                                                  float* dx, bf16* dx_rounded, float* partial, int rows, int width,
                                                  int rows_per_block, int add) {
    SHARED(float, sums);
    int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int first = blockIdx.x * rows_per_block;
    int end = first + rows_per_block < rows ? first + rows_per_block : rows;
    for (int c = threadIdx.x; c < warps * width; c += blockDim.x) sums[c] = 0;
    __syncthreads();
    float* own = sums + warp * width;
    for (int row = first + warp; row < end; row += warps) {
        int64_t at = static_cast<int64_t>(row) * width;
        float r = rstd[row], dot = 0;
        for (int c = lane * VEC; c < width; c += 32 * VEC) {
            float d[VEC], g[VEC], v[VEC];
            load_vector(y + at + c, d);
            load_vector(gain + c, g);
            load_vector(x + at + c, v);
#pragma unroll
            for (int j = 0; j < VEC; j++) dot = fmaf(d[j] * g[j], v[j], dot);
        }
        float k = warp_sum(dot) * r * r / width;
        for (int c = lane * VEC; c < width; c += 32 * VEC) {
            float d[VEC], g[VEC], v[VEC], sum[VEC], out[VEC];
            load_vector(y + at + c, d);
            load_vector(gain + c, g);
            load_vector(x + at + c, v);
            load_vector(own + c, sum);
            if (add) load_vector(dx + at + c, out);
#pragma unroll
            for (int j = 0; j < VEC; j++) {
                sum[j] = fmaf(d[j] * v[j], r, sum[j]);
                float change = r * (d[j] * g[j] - v[j] * k);
                out[j] = add ? out[j] + change : change;
                v[j] = normed(v[j], r, g[j]);
            }
            store_vector(own + c, sum);
            store_vector(dx + at + c, out);
            if (sizeof(T) == 2) store_vector(dx_rounded + at + c, out);
            store_vector(y + at + c, v);
        }
    }
    __syncthreads();
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0;
        for (int w = 0; w < warps; w++) sum += sums[w * width + c];
        partial[static_cast<int64_t>(blockIdx.x) * width + c] = sum;
    }
}

#define RMS_NORM_BACKWARD(T, NAME, VEC)                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rms_norm_backward_##NAME(const float* x, const float* gain, const float* rstd, T* y, float* dx,      \
                                 bf16* dx_rounded, float* partial, int rows, int width, int rows_per_block,  \
                                 int add) {                                                                  \
        rms_norm_backward<T, VEC>(x, gain, rstd, y, dx, dx_rounded, partial, rows, width, rows_per_block,    \
                                  add);                                                                      \
    }                                                                                                        \
    EXPORT(rms_norm_backward_##NAME)
RMS_NORM_BACKWARD(float, f32, 8)
RMS_NORM_BACKWARD(float, f32_single, 1)
RMS_NORM_BACKWARD(bf16, bf16, 8)
RMS_NORM_BACKWARD(bf16, bf16_single, 1)

#define RMS_NORM(T, NAME)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rms_norm_##NAME(const float* x, const float* gain, T* y, float* rstd, float* carried, int rows,      \
                        int width, float eps) {                                                              \
        rms_norm<T>(x, gain, y, rstd, carried, rows, width, eps);                                            \
    }                                                                                                        \
    EXPORT(rms_norm_##NAME)
RMS_NORM(float, f32)
RMS_NORM(bf16, bf16)

// out[c] += sum over rows of partial[rows, width]. A block takes 32 columns; its 32 warps sum every
// 32nd row, then their sums are added in order.
extern "C" __global__ void __launch_bounds__(1024)
    add_columns(const float* partial, float* out, int rows, int width) {
    SHARED(float, sums);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, c = blockIdx.x * 32 + lane;
    float sum = 0;
    if (c < width)
        for (int row = warp; row < rows; row += 32) sum += partial[static_cast<int64_t>(row) * width + c];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && c < width) {
        for (int w = 1; w < 32; w++) sum += sums[w * 32 + lane];
        out[c] += sum;
    }
}
EXPORT(add_columns)
