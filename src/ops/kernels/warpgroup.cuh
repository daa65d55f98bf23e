// The matrix instructions of Hopper's warpgroups (wgmma, compute capability 9.0 only): four warps in step
// multiply 64 rows by an operand that tensor cores read from shared memory themselves, while the warps do
// something else.
//
// Tiles in shared memory are 64 rows of D bf16 values as panels of 64 channels: a panel's rows are 128 bytes,
// and within a row chunk c of 16 bytes stands where c ^ (row % 8) would (the 128-byte swizzle). One layout
// serves both ways to read a tile: with its channels as the inner dimension of the product (K-major), and
// with its rows as that (MN-major). Layouts, descriptors and fences: PTX ISA, wgmma.mma_async. CUTLASS 4.2 has the
// same descriptors (make_gmma_desc, SW128), steps along the inner dimension and fragments.
#pragma once
#include "common.cuh"
#ifdef XP_EMULATOR
#include "emulator_warpgroup.h"
#endif

constexpr int PANEL_ROWS = 64, PANEL_CHANNELS = 64, PANEL = PANEL_ROWS * PANEL_CHANNELS;

// Where a tile holds the chunk of 8 channels that begins with `channel`.
__device__ __forceinline__ int swizzled(int row, int channel) {
    int chunk = channel % PANEL_CHANNELS / 8;
    return channel / PANEL_CHANNELS * PANEL + row * PANEL_CHANNELS + (chunk ^ row % 8) * 8;
}

// An operand that begins at `start`, for tensor cores: the next 8 rows are 1024 bytes on; 128-byte swizzle.
// Panels begin on 1024 bytes. The leading offset has no meaning for one panel.
__device__ __forceinline__ uint64_t descriptor(const bf16* start) {
    uint64_t address = (shared_address(start) & 0x3ffff) >> 4;
    return address | 1ull << 16 | (1024ull >> 4) << 32 | 1ull << 62;
}

// The operand that begins `values` values later.
__device__ __forceinline__ uint64_t ahead(uint64_t descriptor, int values) { return descriptor + values * 2 / 16; }

#ifndef XP_EMULATOR
// Whatever writes these registers comes before this line, whatever reads them behind it: the compiler sees in a
// product neither that it reads and writes them later, nor that a wait is what ends it.
__device__ __forceinline__ void hold(float& x) { asm volatile("" : "+f"(x)::"memory"); }
__device__ __forceinline__ void hold(uint32_t& x) { asm volatile("" : "+r"(x)::"memory"); }
template <typename T, int N> __device__ __forceinline__ void hold(T (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) hold(x[i]);
}

// Before the first product after anything else has touched its sums or operands, which are named.
template <typename... R> __device__ __forceinline__ void warpgroup_fence(R&... registers) {
    (hold(registers), ...);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// All but the last N groups have ended; their sums are named.
template <int N, typename... R> __device__ __forceinline__ void warpgroup_wait(R&... sums) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
    (hold(sums), ...);
}
// What this thread has written or copied to shared memory is there for tensor cores too, after the
// block's next barrier.
__device__ __forceinline__ void warpgroup_publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#define XP_SUMS                                                                                              \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27," \
    "%28,%29,%30,%31}"
#define XP_4(d, i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define XP_32(d) XP_4(d, 0), XP_4(d, 1), XP_4(d, 2), XP_4(d, 3), XP_4(d, 4), XP_4(d, 5), XP_4(d, 6), XP_4(d, 7)

// d (64 x 64) = a (64 x 16, each warp's 16 rows in its registers as for `mma`) times b (16 x 64), added to what
// it holds with `add`. Rows of the tile that b is read from are columns of b, or with ROWS its rows. d: see
// attention_bf16.cuh, a warp has 16 rows.
template <bool ROWS>
__device__ __forceinline__ void warpgroup_mma(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, bool add) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %37, 0;"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " XP_SUMS ", {%32,%33,%34,%35}, %36, p, 1, 1, %38;}"
        : XP_32(d)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)), "n"(ROWS ? 1 : 0));
}

// The same with a from shared memory too, both with channels as the inner dimension.
__device__ __forceinline__ void warpgroup_mma_shared(float (&d)[8][4], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{.reg .pred p; setp.ne.b32 p, %34, 0;"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " XP_SUMS ", %32, %33, p, 1, 1, 0, 0;}"
        : XP_32(d)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}
#endif
