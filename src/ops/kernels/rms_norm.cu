// RMSNorm: one warp a row, statistics in f32.
#include "common.cuh"

// y = x * rstd * gain, rstd = 1 / sqrt(mean(x^2) + eps).
template <typename T>
__device__ __forceinline__ void rms_norm(const float* x, const float* gain, T* y, float* rstd, int rows,
                                         int width, float eps) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    x += static_cast<int64_t>(row) * width;
    y += static_cast<int64_t>(row) * width;
    float sum = 0;
    bool vectors = width % 8 == 0;
    if (vectors) {
        for (int c = lane * 4; c < width; c += 128) {
            float v[4];
            load16(x + c, v);
#pragma unroll
            for (int j = 0; j < 4; j++) sum = fmaf(v[j], v[j], sum);
        }
    } else {
        for (int c = lane; c < width; c += 32) sum = fmaf(x[c], x[c], sum);
    }
    float r = 1.0f / sqrtf(warp_sum(sum) / width + eps);
    if (lane == 0) rstd[row] = r;
    if (vectors) {
        for (int c = lane * 8; c < width; c += 256) {
            float low[4], high[4], g_low[4], g_high[4];
            load16(x + c, low);
            load16(x + c + 4, high);
            load16(gain + c, g_low);
            load16(gain + c + 4, g_high);
            if constexpr (sizeof(T) == 2) {
                float all[8];
#pragma unroll
                for (int j = 0; j < 4; j++) all[j] = low[j] * r * g_low[j], all[j + 4] = high[j] * r * g_high[j];
                store16(y + c, all);
            } else {
#pragma unroll
                for (int j = 0; j < 4; j++) low[j] *= r * g_low[j], high[j] *= r * g_high[j];
                store16(y + c, low);
                store16(y + c + 4, high);
            }
        }
    } else {
        for (int c = lane; c < width; c += 32) y[c] = from_f32<T>(x[c] * r * gain[c]);
    }
}

// dx = rstd * (gain * dy - x * rstd^2 * mean(gain * dy * x)), set or added. A block
// takes `rows_per_block` rows, warp w of W the rows w, w + W, ..., and leaves the sum of dy * x * rstd
// over them in its row of `partial` [blocks, width].
template <typename T>
__device__ __forceinline__ void rms_norm_backward(const float* x, const float* gain, const float* rstd,
                                                  const T* dy, float* dx, float* partial, int rows, int width,
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
        for (int c = lane; c < width; c += 32) dot = fmaf(to_f32(dy[at + c]) * gain[c], x[at + c], dot);
        float k = warp_sum(dot) * r * r / width;
        for (int c = lane; c < width; c += 32) {
            float g = to_f32(dy[at + c]), value = x[at + c];
            own[c] = fmaf(g * value, r, own[c]);
            float d = r * (g * gain[c] - value * k);
            dx[at + c] = add ? dx[at + c] + d : d;
        }
    }
    __syncthreads();
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0;
        for (int w = 0; w < warps; w++) sum += sums[w * width + c];
        partial[static_cast<int64_t>(blockIdx.x) * width + c] = sum;
    }
}

#define RMS_NORM(T, NAME)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rms_norm_##NAME(const float* x, const float* gain, T* y, float* rstd, int rows, int width, float eps) { \
        rms_norm<T>(x, gain, y, rstd, rows, width, eps);                                                     \
    }                                                                                                        \
    EXPORT(rms_norm_##NAME)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rms_norm_backward_##NAME(const float* x, const float* gain, const float* rstd, const T* dy, float* dx, \
                                 float* partial, int rows, int width, int rows_per_block, int add) {         \
        rms_norm_backward<T>(x, gain, rstd, dy, dx, partial, rows, width, rows_per_block, add);              \
    }                                                                                                        \
    EXPORT(rms_norm_backward_##NAME)
RMS_NORM(float, f32)
RMS_NORM(bf16, bf16)

// out[c] += sum over rows of partial[rows, width]. A block takes 32 columns; its 8 warps sum every
// eighth row, then their sums are added in order.
extern "C" __global__ void __launch_bounds__(256)
    add_columns(const float* partial, float* out, int rows, int width) {
    SHARED(float, sums);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, c = blockIdx.x * 32 + lane;
    float sum = 0;
    if (c < width)
        for (int row = warp; row < rows; row += 8) sum += partial[static_cast<int64_t>(row) * width + c];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && c < width) {
        for (int w = 1; w < 8; w++) sum += sums[w * 32 + lane];
        out[c] += sum;
    }
}
EXPORT(add_columns)
