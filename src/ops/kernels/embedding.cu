// Embedding: rows of a table by token id, and the sums of their gradients in the order of the
// tokens. The host groups tokens by id, and cuts groups into pieces of bounded length, so that a
// frequent token is no serial bottleneck.
#include "common.cuh"

// One block a token.
extern "C" __global__ void __launch_bounds__(128)
    embedding(const float* table, const uint32_t* tokens, float* out, int width) {
    const float* from = table + static_cast<int64_t>(tokens[blockIdx.x]) * width;
    float* to = out + static_cast<int64_t>(blockIdx.x) * width;
    if (width % 4 == 0) {
        for (int c = threadIdx.x * 4; c < width; c += blockDim.x * 4)
            *reinterpret_cast<uint4*>(ALIGNED(to + c, 16)) = *reinterpret_cast<const uint4*>(ALIGNED(from + c, 16));
    } else {
        for (int c = threadIdx.x; c < width; c += blockDim.x) to[c] = from[c];
    }
}
EXPORT(embedding)

// sums[p] = sum of dy over the positions order[starts[p] .. starts[p + 1]]: one block a piece.
extern "C" __global__ void __launch_bounds__(128)
    embedding_pieces(const float* dy, const uint32_t* order, const uint32_t* starts, float* sums, int width) {
    uint32_t first = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0;
        for (uint32_t i = first; i < end; i++) sum += dy[static_cast<int64_t>(order[i]) * width + c];
        sums[static_cast<int64_t>(blockIdx.x) * width + c] = sum;
    }
}
EXPORT(embedding_pieces)

// table[ids[g]] += the sums of the pieces groups[g] .. groups[g + 1], in order: one block a token id.
extern "C" __global__ void __launch_bounds__(128)
    embedding_groups(const float* sums, const uint32_t* groups, const uint32_t* ids, float* table, int width) {
    uint32_t first = groups[blockIdx.x], end = groups[blockIdx.x + 1];
    float* row = table + static_cast<int64_t>(ids[blockIdx.x]) * width;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0;
        for (uint32_t p = first; p < end; p++) sum += sums[static_cast<int64_t>(p) * width + c];
        row[c] += sum;
    }
}
EXPORT(embedding_groups)
