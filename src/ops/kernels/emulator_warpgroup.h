// The emulator's warpgroup instructions (warpgroup.cuh): operands are found by their descriptors as the PTX
// ISA describes them, not as the kernels happen to write them.
#pragma once
#include "emulator.h"

// Shared memory as instructions name it: the first KiB is the hardware's.
constexpr uint32_t EMULATOR_SHARED = 1024;
inline uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(static_cast<const unsigned char*>(p) - emulator::current->block->shared) +
           EMULATOR_SHARED;
}

namespace emulator {

// The value of a matrix in shared memory whose rows of 64 stand in 128 swizzled bytes: element (i, k), where
// without `rows` k runs along such a row, with it i does.
inline float shared_value(uint64_t descriptor, bool rows, unsigned i, unsigned k) {
    auto field = [&](unsigned bit) { return (descriptor >> bit & 0x3fff) << 4; };
    uint64_t start = field(0), stride = field(32);
    if (descriptor >> 62 != 1) fail("a product with another swizzle than that of 128 bytes");
    if (descriptor >> 49 & 7 || start >> 7 & 7) fail("a product with a pattern that does not begin on 1024 bytes");
    unsigned outer = rows ? k : i, inner = rows ? i : k;
    uint64_t at = start + outer / 8 * stride + outer % 8 * 128 + inner * 2;
    at ^= (at >> 7 & 7) << 4;
    if (at < EMULATOR_SHARED || at + 2 > EMULATOR_SHARED + current->block->shared_size)
        fail("a product reads outside of shared memory");
    uint16_t bits;
    memcpy(&bits, current->block->shared + at - EMULATOR_SHARED, 2);
    return value_of(bits);
}

// Reads what the product takes from shared memory.
inline void read(Product& p) {
    if (p.read) return;
    p.read = true;
    unsigned first = current->index.x / 32 % 4 * 16;
    for (unsigned k = 0; k < 16; k++) {
        for (unsigned n = 0; n < 64; n++) p.b[k][n] = shared_value(p.b_at, p.rows, n, k);
        if (p.shared_a)
            for (unsigned m = 0; m < 16; m++) p.a[m][k] = shared_value(p.a_at, false, first + m, k);
    }
}

// Called by each lane with its sums; a is in its words, or where `a_at` says. Not inlined: a coroutine's
// stack is small.
__attribute__((noinline)) inline void start(float (&d)[8][4], uint64_t a_at, bool shared_a, uint64_t b_at, bool rows, bool add) {
    Warp& warp = *current->warp;
    if (!warp.fenced) fail("a product without a fence before it");
    if (current->block->unpublished) fail("a product after a barrier that copies passed unpublished");
    warp.address[current->lane] = d;
    together([=](Warp& w) {
        Product p;
        p.sums = w.address[0];
        p.add = add, p.shared_a = shared_a, p.rows = rows, p.a_at = a_at, p.b_at = b_at;
        if (!shared_a) operand_a(p.a, w);
        if (!current->block->eager_copies) read(p);
        auto [found, is_new] = w.sums.try_emplace(p.sums);
        for (unsigned l = 0; is_new && l < 32; l++) {
            float* values = static_cast<float*>(w.address[l]);
            found->second.lanes[l] = values;
            memcpy(found->second.values[l], values, 128);
            for (unsigned i = 0; i < 32; i++) values[i] = NAN;
        }
        w.products.back().push_back(p);
        w.started++;
    });
}

inline void finish(Product& p, Sums& sums) {
    read(p);
    for (unsigned l = 0; l < 32; l++)
        for (unsigned j = 0; j < 32; j++) {
            unsigned m = l / 4 + j % 4 / 2 * 8, n = j / 4 * 8 + 2 * (l % 4) + j % 2;
            float sum = p.add ? sums.values[l][j] : 0;
            for (unsigned k = 0; k < 16; k++) sum += p.a[m][k] * p.b[k][n];
            sums.values[l][j] = sum;
        }
}
}  // namespace emulator

template <typename... R> void warpgroup_fence(R&...) {
    emulator::together([](emulator::Warp& w) { w.fenced = true; });
}
inline void warpgroup_commit() {
    emulator::together([](emulator::Warp& w) { w.products.emplace_back(); });
}
template <int N, typename... R> void warpgroup_wait(R&...) {
    emulator::together([](emulator::Warp& w) {
        w.fenced = false;
        while (w.products.size() > N + 1) {
            for (auto& product : w.products.front()) emulator::finish(product, w.sums[product.sums]);
            w.products.erase(w.products.begin());
        }
        for (auto it = w.sums.begin(); it != w.sums.end();) {
            bool in_flight = false;
            for (auto& group : w.products)
                for (auto& product : group) in_flight |= product.sums == it->first;
            for (unsigned l = 0; !in_flight && l < 32; l++) memcpy(it->second.lanes[l], it->second.values[l], 128);
            it = in_flight ? std::next(it) : w.sums.erase(it);
        }
    });
}
inline void warpgroup_publish() { emulator::current->unpublished = false; }

template <bool ROWS> void warpgroup_mma(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, bool add) {
    memcpy(emulator::current->warp->in[emulator::current->lane], a, 16);
    emulator::start(d, 0, false, b, ROWS, add);
}
inline void warpgroup_mma_shared(float (&d)[8][4], uint64_t a, uint64_t b, bool add) {
    emulator::start(d, a, true, b, false, add);
}
