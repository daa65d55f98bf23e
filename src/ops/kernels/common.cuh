// What every kernel shares: element types, 16-byte accesses, sums over a warp and a block in a
// fixed order, and the tensor-core instructions behind one function each.
//
// The same sources are compiled twice: by nvcc for the device, and with XP_EMULATOR by a host
// compiler, where emulator.h stands for the hardware.
#pragma once
#include <stdint.h>

#ifdef XP_EMULATOR
#include "emulator.h"
#else
#include <cuda_bf16.h>
typedef __nv_bfloat16 bf16;
#define EXPORT(name)
// The emulator checks what a device would fault on.
#define ALIGNED(p, bytes) (p)
// The block's shared memory, as much as the launch gives it.
// Swizzled tiles want to begin on 1024 bytes.
extern __shared__ __align__(1024) unsigned char xp_shared[];
#define SHARED(type, name) type* name = reinterpret_cast<type*>(xp_shared)
#endif

#define FULL 0xffffffffu

constexpr float LOG2_E = 1.4426950408889634f;

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(bf16 x) { return __bfloat162float(x); }
template <typename T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x) { return __float2bfloat16_rn(x); }

// Values of one 16-byte access.
template <typename T> struct Vec { static constexpr int N = 16 / sizeof(T); };

template <typename T> __device__ __forceinline__ void load16(const T* p, float (&v)[Vec<T>::N]) {
    uint4 u = *reinterpret_cast<const uint4*>(ALIGNED(p, 16));
    const T* t = reinterpret_cast<const T*>(&u);
#pragma unroll
    for (int i = 0; i < Vec<T>::N; i++) v[i] = to_f32(t[i]);
}

template <typename T> __device__ __forceinline__ void store16(T* p, const float (&v)[Vec<T>::N]) {
    uint4 u;
    T* t = reinterpret_cast<T*>(&u);
#pragma unroll
    for (int i = 0; i < Vec<T>::N; i++) t[i] = from_f32<T>(v[i]);
    *reinterpret_cast<uint4*>(ALIGNED(p, 16)) = u;
}

// 4 values, in one access of 8 or 16 bytes.
__device__ __forceinline__ void store4(float* p, const float (&v)[4]) { store16(p, v); }
__device__ __forceinline__ void store4(bf16* p, const float (&v)[4]) {
    uint2 u;
    bf16* t = reinterpret_cast<bf16*>(&u);
#pragma unroll
    for (int i = 0; i < 4; i++) t[i] = from_f32<bf16>(v[i]);
    *reinterpret_cast<uint2*>(ALIGNED(p, 8)) = u;
}

// The same of 8 values, in as many accesses as they take.
template <typename T> __device__ __forceinline__ void load8(const T* p, float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i += Vec<T>::N) {
        float part[Vec<T>::N];
        load16(p + i, part);
#pragma unroll
        for (int j = 0; j < Vec<T>::N; j++) v[i + j] = part[j];
    }
}

template <typename T> __device__ __forceinline__ void store8(T* p, const float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i += Vec<T>::N) {
        float part[Vec<T>::N];
#pragma unroll
        for (int j = 0; j < Vec<T>::N; j++) part[j] = v[i + j];
        store16(p + i, part);
    }
}

// i / d and i % d of an i below n: in 32 bits where n allows it, which takes a tenth of the instructions.
struct Split {
    int64_t quotient;
    int remainder;
    __device__ __forceinline__ Split(int64_t i, int d, int64_t n) {
        if (n <= 0xffffffff) {
            uint32_t low = static_cast<uint32_t>(i);
            quotient = low / static_cast<uint32_t>(d);
            remainder = static_cast<int>(low % static_cast<uint32_t>(d));
        } else {
            quotient = i / d;
            remainder = static_cast<int>(i % d);
        }
    }
};

// 2^x by the hardware's approximation (2 units in the last place); what is below 2^-126 is 0.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef XP_EMULATOR
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// 1 / x by the hardware's approximation (1 unit in the last place); of what is above 2^126 it is 0.
__device__ __forceinline__ float reciprocal_fast(float x) {
#ifdef XP_EMULATOR
    return 1.0f / x;
#else
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// 1 / (1 + e^-x). A far negative x gives 0, not NaN.
__device__ __forceinline__ float sigmoid(float x) { return reciprocal_fast(1.0f + exp2_fast(-x * LOG2_E)); }

// Butterflies: every lane gets the same bits.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(FULL, x, o);
    return x;
}
__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(FULL, x, o);
    return x;
}

#ifndef XP_EMULATOR
// d += a b for a 16 x 16 (row-major) and b 16 x 8 (column-major) of bf16, sums in f32. Lane l of
// a warp holds, with g = l / 4 and t = l % 4 (PTX ISA, mma.m16n8k16):
//   a: (g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..), two neighbours of a row each;
//   b: (2t.., g), (2t + 8.., g), two neighbours of a column each;
//   d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Where shared memory has `p`, as instructions name it.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four 8 x 8 matrices of bf16 from shared memory: lane l names row l % 8 of matrix l / 8, and gets
// of each matrix (l / 4, 2 (l % 4)..), or with `transposed` (2 (l % 4).., l / 4).
template <bool TRANSPOSED>
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const bf16* row) {
    uint32_t address = shared_address(row);
    if (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
    }
}

// 16 bytes to shared memory in the background, or zeros where `valid` is false.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
    uint32_t address = shared_address(to);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All but the last N groups of this thread have arrived.
template <int N> __device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Two values as bf16, the first in the low half.
__device__ __forceinline__ uint32_t pack(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t*>(&pair);
}
#endif
