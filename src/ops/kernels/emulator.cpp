// The emulator's side of a launch: blocks and threads, for the scheduler that calls it.
#include "emulator.h"

namespace emulator {
thread_local Thread* current = nullptr;
}
using namespace emulator;

constexpr unsigned GUARD = 1024;
constexpr unsigned char GUARD_BYTE = 0x7f;
// Where a block's shared memory begins.
constexpr unsigned ALIGNMENT = 1024;

extern "C" {

const Kernel* xp_emulator_find(const char* name) {
    for (const Kernel& kernel : kernels())
        if (!strcmp(kernel.name, name)) return &kernel;
    return nullptr;
}

// Number of arguments; their sizes in bytes go to `sizes`, which holds up to `room`.
unsigned xp_emulator_sizes(const Kernel* kernel, unsigned* sizes, unsigned room) {
    for (unsigned i = 0; i < kernel->sizes.size() && i < room; i++) sizes[i] = kernel->sizes[i];
    return kernel->sizes.size();
}

Block* xp_emulator_block(const Kernel* kernel, void** args, const unsigned* grid, const unsigned* index,
                         unsigned threads, unsigned shared, bool eager_copies) {
    Block* block = new Block{};
    block->kernel = kernel;
    block->eager_copies = eager_copies;
    block->args = args;
    block->grid = {grid[0], grid[1], grid[2]};
    block->index = {index[0], index[1], index[2]};
    block->size = {threads, 1, 1};
    block->shared_bytes.assign(shared + ALIGNMENT + GUARD, 0xff);
    block->shared_size = shared;
    uintptr_t start = reinterpret_cast<uintptr_t>(block->shared_bytes.data());
    block->shared = block->shared_bytes.data() + (ALIGNMENT - start % ALIGNMENT) % ALIGNMENT;
    memset(block->shared + shared, GUARD_BYTE, GUARD);
    block->warps.resize(threads / 32);
    block->threads.resize(threads);
    for (unsigned i = 0; i < threads; i++) {
        Thread& thread = block->threads[i];
        thread.block = block;
        thread.warp = &block->warps[i / 32];
        thread.index = {i, 0, 0};
        thread.lane = i % 32;
    }
    return block;
}

// Runs one thread to its end, on the caller's coroutine.
void xp_emulator_thread(Block* block, unsigned index) {
    current = &block->threads[index];
    block->kernel->launch(block->args);
    current = &block->threads[index];
    for (auto& group : current->copies)
        if (!group.empty()) fail("ends with an asynchronous copy that nothing waited for");
    if (!current->warp->sums.empty()) fail("ends with a product that nothing waited for");
    block->progress++;
}

uint64_t xp_emulator_progress(const Block* block) { return block->progress; }

// Returns whether nothing was written behind the shared memory that the launch asked for, and the four
// warps of each warpgroup started as many products.
bool xp_emulator_free(Block* block) {
    bool intact = true;
    for (size_t w = 0; w < block->warps.size(); w++)
        intact &= block->warps[w].started == block->warps[w / 4 * 4].started;
    for (unsigned i = 0; i < GUARD; i++) intact &= block->shared[block->shared_size + i] == GUARD_BYTE;
    delete block;
    return intact;
}
}
