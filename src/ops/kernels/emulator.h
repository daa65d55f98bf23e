// The hardware that a kernel sees, on a host: each thread of a block is a coroutine of the
// caller's, and everything that waits for other threads yields to them.
//
// It is stricter than a device, so that tests find what a device would hide: a barrier wants
// every thread of its block, a warp operation every lane; an asynchronous copy moves its bytes
// only when it is waited for, or at once, as the caller says; a warpgroup's product reads shared memory
// as late as it may where copies come early, and as early as it may where they come late, and its
// sums are NaN until it is waited for; shared memory begins as NaN, and
// the bytes behind it must stay as they are; and the caller runs threads and blocks
// in another order each time, so that a missing barrier gives other bits.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)

struct uint3 { unsigned x, y, z; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct bf16 { uint16_t bits; };

// Implemented by the caller: lets the other threads of the block run.
extern "C" void xp_emulator_yield();

namespace emulator {

struct Copy {
    void* to;
    const void* from;
    bool valid;
    void run() const {
        if (valid) memcpy(to, from, 16);
        else memset(to, 0, 16);
    }
};

// One warp's 16 rows of a product that a warpgroup has started, and whose sums they go to.
struct Product {
    void* sums;
    bool add, shared_a, rows, read = false;
    uint64_t a_at, b_at;
    float a[16][16], b[16][64];
};

// What products in flight have summed of it, for each lane.
struct Sums {
    void* lanes[32];
    float values[32][32];
};

struct Warp {
    unsigned arrived = 0;
    uint64_t generation = 0;
    // What a lane brings, and what it takes away.
    uint32_t in[32][8];
    uint32_t out[32][8];
    void* address[32];
    // Groups of products, the last of them open; sums by lane 0's address.
    std::vector<std::vector<Product>> products{1};
    std::map<void*, Sums> sums;
    bool fenced = false;
    uint64_t started = 0;
};

struct Block;
struct Thread {
    Block* block;
    Warp* warp;
    uint3 index;
    unsigned lane;
    std::vector<std::vector<Copy>> copies{1};
    // It has waited for copies that tensor cores need not see.
    bool unpublished = false;
};

typedef void (*Launch)(void** args);
struct Kernel {
    const char* name;
    Launch launch;
    std::vector<unsigned> sizes;
};

inline std::vector<Kernel>& kernels() {
    static std::vector<Kernel> all;
    return all;
}

struct Block {
    const Kernel* kernel;
    void** args;
    uint3 grid, index, size;
    std::vector<unsigned char> shared_bytes;
    unsigned char* shared;
    unsigned shared_size;
    bool eager_copies;
    std::vector<Warp> warps;
    std::vector<Thread> threads;
    unsigned arrived = 0;
    uint64_t generation = 0;
    // Grows whenever a thread gets somewhere.
    uint64_t progress = 0;
    // A barrier was passed with copies that tensor cores need not see.
    bool unpublished = false;
};

extern thread_local Thread* current;

[[noreturn]] inline void fail(const char* what) {
    fprintf(stderr, "kernel `%s`: %s\n", current->block->kernel->name, what);
    abort();
}

inline void wait_until_past(const uint64_t& generation, uint64_t mine) {
    Thread* self = current;
    while (generation == mine) {
        xp_emulator_yield();
        current = self;
    }
}

// The last lane to arrive computes for all.
template <typename F> void together(F combine) {
    Warp& warp = *current->warp;
    uint64_t mine = warp.generation;
    current->block->progress++;
    if (++warp.arrived == 32) {
        combine(warp);
        warp.arrived = 0;
        warp.generation++;
        return;
    }
    wait_until_past(warp.generation, mine);
}

template <typename... A, size_t... I>
void call(void (*f)(A...), void** args, std::index_sequence<I...>) {
    f(*reinterpret_cast<A*>(args[I])...);
}
template <auto F> struct Invoke;
template <typename... A, void (*F)(A...)> struct Invoke<F> {
    static void launch(void** args) { call(F, args, std::make_index_sequence<sizeof...(A)>()); }
    static std::vector<unsigned> sizes() { return {static_cast<unsigned>(sizeof(A))...}; }
};

// An address of so many bytes that are read or written at once.
template <typename T> T* aligned(T* p, unsigned bytes) {
    if (reinterpret_cast<uintptr_t>(p) % bytes) fail("several bytes at once from an address that is not aligned to them");
    return p;
}

struct Register {
    Register(Kernel kernel) { kernels().push_back(kernel); }
};

inline float value_of(uint32_t half) {
    half <<= 16;
    float x;
    memcpy(&x, &half, 4);
    return x;
}
}  // namespace emulator

#define EXPORT(name)                                                                       \
    static emulator::Register register_##name{{#name, emulator::Invoke<&name>::launch,     \
                                               emulator::Invoke<&name>::sizes()}};
#define SHARED(type, name) type* name = reinterpret_cast<type*>(emulator::current->block->shared)

#define ALIGNED(p, bytes) emulator::aligned(p, bytes)

#define threadIdx (emulator::current->index)
#define blockIdx (emulator::current->block->index)
#define blockDim (emulator::current->block->size)
#define gridDim (emulator::current->block->grid)

inline void __syncthreads() {
    emulator::Block& block = *emulator::current->block;
    uint64_t mine = block.generation;
    block.progress++;
    block.unpublished |= emulator::current->unpublished;
    if (++block.arrived == block.threads.size()) {
        block.arrived = 0;
        block.generation++;
        return;
    }
    emulator::wait_until_past(block.generation, mine);
}

template <typename T> T __shfl_xor_sync(uint32_t mask, T x, unsigned lanes) {
    if (mask != 0xffffffffu) emulator::fail("a shuffle of a part of a warp");
    unsigned lane = emulator::current->lane;
    emulator::Warp& warp = *emulator::current->warp;
    memcpy(warp.in[lane], &x, sizeof x);
    emulator::together([lanes](emulator::Warp& w) {
        for (unsigned l = 0; l < 32; l++) memcpy(w.out[l], w.in[l ^ lanes], sizeof(T));
    });
    memcpy(&x, warp.out[lane], sizeof x);
    return x;
}

inline float __fmul_rn(float x, float y) { return x * y; }
inline float __bfloat162float(bf16 x) { return emulator::value_of(x.bits); }
inline bf16 __float2bfloat16_rn(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return bf16{0x7fff};
    return bf16{static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline uint32_t pack(float low, float high) {
    return __float2bfloat16_rn(low).bits | static_cast<uint32_t>(__float2bfloat16_rn(high).bits) << 16;
}

namespace emulator {
// The operand a of a 16 x 16 product, of which lane l brings four words.
inline void operand_a(float (&a)[16][16], const Warp& w) {
    for (unsigned l = 0; l < 32; l++) {
        unsigned g = l / 4, t = 2 * (l % 4);
        for (unsigned half = 0; half < 2; half++) {
            auto get = [&](unsigned r) { return value_of(w.in[l][r] >> 16 * half & 0xffff); };
            a[g][t + half] = get(0);
            a[g + 8][t + half] = get(1);
            a[g][t + 8 + half] = get(2);
            a[g + 8][t + 8 + half] = get(3);
        }
    }
}
}  // namespace emulator

inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    unsigned lane = emulator::current->lane;
    emulator::Warp& warp = *emulator::current->warp;
    const uint32_t b[2] = {b0, b1};
    memcpy(warp.in[lane], a, 16);
    memcpy(warp.in[lane] + 4, b, 8);
    emulator::together([](emulator::Warp& w) {
        float a[16][16], b[16][8];
        emulator::operand_a(a, w);
        for (unsigned l = 0; l < 32; l++)
            for (unsigned i = 0; i < 4; i++)
                b[i / 2 * 8 + 2 * (l % 4) + i % 2][l / 4] =
                    emulator::value_of(w.in[l][4 + i / 2] >> 16 * (i % 2) & 0xffff);
        for (unsigned l = 0; l < 32; l++) {
            float sums[4];
            for (unsigned i = 0; i < 4; i++) {
                unsigned row = l / 4 + 8 * (i / 2), column = 2 * (l % 4) + i % 2;
                sums[i] = 0;
                for (unsigned k = 0; k < 16; k++) sums[i] += a[row][k] * b[k][column];
            }
            memcpy(w.out[l], sums, sizeof sums);
        }
    });
    float sums[4];
    memcpy(sums, warp.out[lane], sizeof sums);
    for (int i = 0; i < 4; i++) d[i] += sums[i];
}

template <bool TRANSPOSED> void load_matrices(uint32_t (&r)[4], const bf16* row) {
    unsigned lane = emulator::current->lane;
    emulator::Warp& warp = *emulator::current->warp;
    if (reinterpret_cast<uintptr_t>(row) % 16) emulator::fail("a matrix row that is not 16-byte aligned");
    warp.address[lane] = const_cast<bf16*>(row);
    emulator::together([](emulator::Warp& w) {
        for (unsigned l = 0; l < 32; l++) {
            for (unsigned m = 0; m < 4; m++) {
                uint32_t word = 0;
                for (unsigned half = 0; half < 2; half++) {
                    unsigned i = l / 4, j = 2 * (l % 4) + half;
                    if (TRANSPOSED) { unsigned k = i; i = j; j = k; }
                    uint16_t bits;
                    memcpy(&bits, static_cast<bf16*>(w.address[8 * m + i]) + j, 2);
                    word |= static_cast<uint32_t>(bits) << 16 * half;
                }
                w.out[l][m] = word;
            }
        }
    });
    memcpy(r, warp.out[lane], 16);
}

inline void copy_async(void* to, const void* from, bool valid) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16)
        emulator::fail("an asynchronous copy that is not 16-byte aligned");
    emulator::Copy copy = {to, from, valid};
    if (emulator::current->block->eager_copies) copy.run();
    else emulator::current->copies.back().push_back(copy);
}
inline void copy_async_commit() { emulator::current->copies.emplace_back(); }
template <int N> void copy_async_wait() {
    auto& groups = emulator::current->copies;
    emulator::current->unpublished = true;
    while (groups.size() > N + 1) {
        for (auto& copy : groups.front()) copy.run();
        groups.erase(groups.begin());
    }
}
