// Cross-entropy of a row of logits, one block a row; the logits become their own gradient.
#include "common.cuh"

#define IGNORE 0xffffffffu

// The largest value and the sum of e^(x - largest), of what a thread, a warp, a block has seen. A NaN is
// not the largest, but the sum is NaN from there on.
struct Partial { float top, sum; };

// e^(x - top).
__device__ __forceinline__ float below(float x, float top) { return exp2_fast((x - top) * LOG2_E); }

__device__ __forceinline__ Partial join(Partial a, Partial b) {
    float top = fmaxf(a.top, b.top);
    // Where nothing has been seen yet, top is -inf and its sum 0.
    float left = a.sum == 0.0f ? 0.0f : a.sum * below(a.top, top);
    float right = b.sum == 0.0f ? 0.0f : b.sum * below(b.top, top);
    return {top, left + right};
}

template <int VEC> __device__ __forceinline__ Partial join(Partial p, const float (&v)[VEC]) {
    float top = p.top;
#pragma unroll
    for (int j = 0; j < VEC; j++) top = fmaxf(top, v[j]);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < VEC; j++) sum += below(v[j], top);
    return {top, (p.sum == 0.0f ? 0.0f : p.sum * below(p.top, top)) + sum};
}

template <typename T, int VEC> __device__ __forceinline__ void load(const T* p, float (&v)[VEC]) {
    if constexpr (VEC == 1) v[0] = to_f32(*p);
    else load16(p, v);
}
template <typename T, int VEC> __device__ __forceinline__ void store(T* p, const float (&v)[VEC]) {
    if constexpr (VEC == 1) *p = from_f32<T>(v[0]);
    else store16(p, v);
}

// The most threads of a block, and its shared memory: a partial result of each warp, then the row, where
// it is held.
constexpr int THREADS = 512;
constexpr int PARTIALS = THREADS / 32;

// Of what all threads of the block have seen.
__device__ __forceinline__ Partial of_block(Partial p) {
    SHARED(Partial, warps);
#pragma unroll
    for (int o = 16; o; o >>= 1) {
        Partial other = {__shfl_xor_sync(FULL, p.top, o), __shfl_xor_sync(FULL, p.sum, o)};
        // The same order of both on each side of the pair: the same bits in every lane.
        p = threadIdx.x & o ? join(other, p) : join(p, other);
    }
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = p;
    __syncthreads();
    p = warps[0];
    for (unsigned w = 1; w < blockDim.x / 32; w++) p = join(p, warps[w]);
    return p;
}

template <typename T, int VEC> __device__ __forceinline__ Partial of_row(const T* logits, int classes) {
    Partial p = {-INFINITY, 0.0f};
    for (int c = threadIdx.x * VEC; c < classes; c += blockDim.x * VEC) {
        float v[VEC];
        load(logits + c, v);
        p = join(p, v);
    }
    return of_block(p);
}

// The same, bit for bit, while the row is copied to `held`, so that it comes from memory once and not
// again for its gradient. Each thread copies what it reads itself: nobody waits for another.
template <typename T, int VEC>
__device__ __forceinline__ Partial of_row_held(const T* logits, T* held, int classes) {
    int stride = blockDim.x * VEC, rounds = (classes + stride - 1) / stride, quarter = (rounds + 3) / 4;
    for (int group = 0; group < 4; group++) {
        for (int i = group * quarter; i < (group + 1) * quarter; i++) {
            int c = i * stride + threadIdx.x * VEC;
            if (c < classes) copy_async(held + c, logits + c, true);
        }
        copy_async_commit();
    }
    Partial p = {-INFINITY, 0.0f};
    auto take = [&](int group) {
        for (int i = group * quarter; i < (group + 1) * quarter; i++) {
            int c = i * stride + threadIdx.x * VEC;
            if (c >= classes) break;
            float v[VEC];
            load(held + c, v);
            p = join(p, v);
        }
    };
    copy_async_wait<3>();
    take(0);
    copy_async_wait<2>();
    take(1);
    copy_async_wait<1>();
    take(2);
    copy_async_wait<0>();
    take(3);
    return of_block(p);
}

// losses[row] = log-sum-exp - the target's logit, or 0 where the target is ignored. With `gradient`
// the row becomes scale * (softmax - one-hot of the target), zeros where ignored.
template <typename T, int VEC, bool HELD>
__device__ __forceinline__ void cross_entropy(T* logits, const uint32_t* targets, float* losses, int classes,
                                              float scale, int gradient) {
    uint32_t target = targets[blockIdx.x];
    logits += static_cast<int64_t>(blockIdx.x) * classes;
    // The whole block agrees on it.
    if (target == IGNORE) {
        if (threadIdx.x == 0) losses[blockIdx.x] = 0;
        for (int c = threadIdx.x * VEC; gradient && c < classes; c += blockDim.x * VEC) {
            float zeros[VEC] = {};
            store(logits + c, zeros);
        }
        return;
    }
    Partial p;
    const T* row = logits;
    if constexpr (HELD) {
        SHARED(Partial, warps);
        T* held = reinterpret_cast<T*>(warps + PARTIALS);
        p = of_row_held<T, VEC>(logits, held, classes);
        row = held;
    } else {
        p = of_row<T, VEC>(logits, classes);
    }
    float of_target = to_f32(logits[target]);
    if (threadIdx.x == 0) losses[blockIdx.x] = p.top + logf(p.sum) - of_target;
    if (!gradient) return;
    // Every thread has read the target's logit before one of them overwrites it.
    __syncthreads();
    float factor = scale / p.sum;
    for (int c = threadIdx.x * VEC; c < classes; c += blockDim.x * VEC) {
        float v[VEC];
        load(row + c, v);
        uint32_t of_vector = target - c;
#pragma unroll
        for (int j = 0; j < VEC; j++) v[j] = below(v[j], p.top) * factor;
        if (of_vector < VEC)
#pragma unroll
            for (int j = 0; j < VEC; j++)
                if (of_vector == j) v[j] -= scale;
        store(logits + c, v);
    }
}

#define CROSS_ENTROPY(T, NAME, VEC, HELD)                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                              \
        cross_entropy_##NAME(T* logits, const uint32_t* targets, float* losses, int classes, float scale, \
                             int gradient) {                                                           \
        cross_entropy<T, VEC, HELD>(logits, targets, losses, classes, scale, gradient);                \
    }                                                                                                  \
    EXPORT(cross_entropy_##NAME)
CROSS_ENTROPY(float, f32, 4, false)
CROSS_ENTROPY(float, f32_single, 1, false)
CROSS_ENTROPY(bf16, bf16, 8, false)
CROSS_ENTROPY(bf16, bf16_single, 1, false)
CROSS_ENTROPY(bf16, bf16_held, 8, true)
