// RMSNorm: one warp a row, statistics in f32. Kernels with a number in their name hold rows of at most so many
// values, a multiple of 8, in registers: all of a row is asked for before the first of it is waited for. The
// others read rows of any width twice. The bits are the same.
#include "common.cuh"

// One value of the norm: the backward pass must give the forward pass's bits.
__device__ __forceinline__ float normed(float x, float rstd, float gain) { return x * rstd * gain; }

// 1 / sqrt(mean(x^2) + eps) of a row whose squares the lanes of a warp have added up.
__device__ __forceinline__ float reciprocal_root(float squares, int width, float eps) {
    return 1.0f / sqrtf(warp_sum(squares) / width + eps);
}

template <typename T> __device__ __forceinline__ void load_vector(const T* p, float (&v)[8]) { load8(p, v); }
template <typename T> __device__ __forceinline__ void load_vector(const T* p, float (&v)[1]) { v[0] = to_f32(*p); }
template <typename T> __device__ __forceinline__ void store_vector(T* p, const float (&v)[8]) { store8(p, v); }
template <typename T> __device__ __forceinline__ void store_vector(T* p, const float (&v)[1]) {
    *p = from_f32<T>(v[0]);
}

// y = x * rstd * gain; `carried`, unless it is null, becomes x.
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
    float r = reciprocal_root(sum, width, eps);
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

// As rms_norm, of at most 128 N columns.
template <typename T, int N>
__device__ __forceinline__ void rms_norm_held(const float* x, const float* gain, T* y, float* rstd, float* carried,
                                              int rows, int width, float eps) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    int64_t at = static_cast<int64_t>(row) * width;
    float v[N][4], sum = 0;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int c = lane * 4 + 128 * i;
        if (c < width) load16(x + at + c, v[i]);
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        int c = lane * 4 + 128 * i;
        if (c >= width) break;
#pragma unroll
        for (int j = 0; j < 4; j++) sum = fmaf(v[i][j], v[i][j], sum);
        if (carried != nullptr) store16(carried + at + c, v[i]);
    }
    float r = reciprocal_root(sum, width, eps);
    if (lane == 0) rstd[row] = r;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int c = lane * 4 + 128 * i;
        if (c >= width) break;
        float g[4];
        load16(gain + c, g);
#pragma unroll
        for (int j = 0; j < 4; j++) v[i][j] = normed(v[i][j], r, g[j]);
        store4(y + at + c, v[i]);
    }
}

// What a row's sum of gain * dy * x gets of some of its columns.
template <int VEC>
__device__ __forceinline__ void add_to_dot(float& dot, const float (&dy)[VEC], const float (&gain)[VEC],
                                           const float (&x)[VEC]) {
#pragma unroll
    for (int j = 0; j < VEC; j++) dot = fmaf(dy[j] * gain[j], x[j], dot);
}

// What these columns of a row add to the gain's gradient, `sum`; their dx, set or added; x becomes y.
// k = rstd^2 * mean(gain * dy * x).
template <int VEC>
__device__ __forceinline__ void gradients(const float (&dy)[VEC], const float (&gain)[VEC], float r, float k, bool add,
                                          float (&sum)[VEC], float (&dx)[VEC], float (&x)[VEC]) {
#pragma unroll
    for (int j = 0; j < VEC; j++) {
        sum[j] = fmaf(dy[j] * x[j], r, sum[j]);
        float change = r * (dy[j] * gain[j] - x[j] * k);
        dx[j] = add ? dx[j] + change : change;
        x[j] = normed(x[j], r, gain[j]);
    }
}

// The rows of a backward pass's block: warp w of W takes the rows w, w + W, ... of them.
struct Rows {
    int next, end, warps;
    __device__ __forceinline__ Rows(int rows, int rows_per_block) {
        int first = blockIdx.x * rows_per_block;
        warps = blockDim.x / 32;
        next = first + threadIdx.x / 32;
        end = first + rows_per_block < rows ? first + rows_per_block : rows;
    }
};

// A block's gradient of the gain, from those of its warps in shared memory [warps, width], in their order.
__device__ __forceinline__ void store_partial(const float* sums, float* partial, int width) {
    __syncthreads();
    int warps = blockDim.x / 32;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0;
        for (int w = 0; w < warps; w++) sum += sums[w * width + c];
        partial[static_cast<int64_t>(blockIdx.x) * width + c] = sum;
    }
}

// dx = rstd * (gain * dy - x * rstd^2 * mean(gain * dy * x)), set or added, and in bf16 also rounded to
// `dx_rounded`. `y` holds dy and becomes y again. A block leaves the sum of dy * x * rstd over its
// `rows_per_block` rows in its row of `partial` [blocks, width]. `width` is a multiple of VEC, 8 or, where rows
// do not start on 16 bytes, 1.
template <typename T, int VEC>
__device__ __forceinline__ void rms_norm_backward(const float* x, const float* gain, const float* rstd, T* y,
                                                  float* dx, bf16* dx_rounded, float* partial, int rows, int width,
                                                  int rows_per_block, int add) {
    SHARED(float, sums);
    int lane = threadIdx.x % 32;
    float* own = sums + threadIdx.x / 32 * width;
    const float nothing[VEC] = {};
    for (int c = lane * VEC; c < width; c += 32 * VEC) store_vector(own + c, nothing);
    Rows own_rows(rows, rows_per_block);
    for (int row = own_rows.next; row < own_rows.end; row += own_rows.warps) {
        int64_t at = static_cast<int64_t>(row) * width;
        float r = rstd[row], dot = 0;
        for (int c = lane * VEC; c < width; c += 32 * VEC) {
            float d[VEC], g[VEC], v[VEC];
            load_vector(y + at + c, d);
            load_vector(gain + c, g);
            load_vector(x + at + c, v);
            add_to_dot(dot, d, g, v);
        }
        float k = warp_sum(dot) * r * r / width;
        for (int c = lane * VEC; c < width; c += 32 * VEC) {
            float d[VEC], g[VEC], v[VEC], sum[VEC], out[VEC];
            load_vector(y + at + c, d);
            load_vector(gain + c, g);
            load_vector(x + at + c, v);
            load_vector(own + c, sum);
            if (add) load_vector(dx + at + c, out);
            gradients(d, g, r, k, add, sum, out, v);
            store_vector(own + c, sum);
            store_vector(dx + at + c, out);
            if (sizeof(T) == 2) store_vector(dx_rounded + at + c, out);
            store_vector(y + at + c, v);
        }
    }
    store_partial(sums, partial, width);
}

// As rms_norm_backward, of at most 256 N columns.
template <typename T, int N>
__device__ __forceinline__ void rms_norm_backward_held(const float* x, const float* gain, const float* rstd, T* y,
                                                       float* dx, bf16* dx_rounded, float* partial, int rows,
                                                       int width, int rows_per_block, int add) {
    SHARED(float, sums);
    int lane = threadIdx.x % 32;
    float sum[N][8] = {};
    Rows own_rows(rows, rows_per_block);
    for (int row = own_rows.next; row < own_rows.end; row += own_rows.warps) {
        int64_t at = static_cast<int64_t>(row) * width;
        float d[N][8], v[N][8], out[N][8], r = rstd[row], dot = 0;
#pragma unroll
        for (int i = 0; i < N; i++) {
            int c = lane * 8 + 256 * i;
            if (c >= width) break;
            load8(y + at + c, d[i]);
            load8(x + at + c, v[i]);
            if (add) load8(dx + at + c, out[i]);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            int c = lane * 8 + 256 * i;
            if (c >= width) break;
            float g[8];
            load8(gain + c, g);
            add_to_dot(dot, d[i], g, v[i]);
        }
        float k = warp_sum(dot) * r * r / width;
#pragma unroll
        for (int i = 0; i < N; i++) {
            int c = lane * 8 + 256 * i;
            if (c >= width) break;
            float g[8];
            load8(gain + c, g);
            gradients(d[i], g, r, k, add, sum[i], out[i], v[i]);
            store8(dx + at + c, out[i]);
            if (sizeof(T) == 2) store8(dx_rounded + at + c, out[i]);
            store8(y + at + c, v[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        int c = lane * 8 + 256 * i;
        if (c < width) store8(sums + threadIdx.x / 32 * width + c, sum[i]);
    }
    store_partial(sums, partial, width);
}

#define RMS_NORM(T, NAME, ...)                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rms_norm_##NAME(const float* x, const float* gain, T* y, float* rstd, float* carried, int rows,      \
                        int width, float eps) {                                                              \
        __VA_ARGS__(x, gain, y, rstd, carried, rows, width, eps);                                            \
    }                                                                                                        \
    EXPORT(rms_norm_##NAME)
RMS_NORM(float, f32, rms_norm<float>)
RMS_NORM(float, f32_512, rms_norm_held<float, 4>)
RMS_NORM(float, f32_1024, rms_norm_held<float, 8>)
RMS_NORM(bf16, bf16, rms_norm<bf16>)
RMS_NORM(bf16, bf16_512, rms_norm_held<bf16, 4>)
RMS_NORM(bf16, bf16_1024, rms_norm_held<bf16, 8>)

#define RMS_NORM_BACKWARD(T, NAME, ...)                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        rms_norm_backward_##NAME(const float* x, const float* gain, const float* rstd, T* y, float* dx,      \
                                 bf16* dx_rounded, float* partial, int rows, int width, int rows_per_block,  \
                                 int add) {                                                                  \
        __VA_ARGS__(x, gain, rstd, y, dx, dx_rounded, partial, rows, width, rows_per_block, add);            \
    }                                                                                                        \
    EXPORT(rms_norm_backward_##NAME)
RMS_NORM_BACKWARD(float, f32, rms_norm_backward<float, 8>)
RMS_NORM_BACKWARD(float, f32_single, rms_norm_backward<float, 1>)
RMS_NORM_BACKWARD(float, f32_512, rms_norm_backward_held<float, 2>)
RMS_NORM_BACKWARD(float, f32_1024, rms_norm_backward_held<float, 4>)
RMS_NORM_BACKWARD(bf16, bf16, rms_norm_backward<bf16, 8>)
RMS_NORM_BACKWARD(bf16, bf16_single, rms_norm_backward<bf16, 1>)
RMS_NORM_BACKWARD(bf16, bf16_512, rms_norm_backward_held<bf16, 2>)
RMS_NORM_BACKWARD(bf16, bf16_1024, rms_norm_backward_held<bf16, 4>)

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
