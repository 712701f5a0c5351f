// Weight tiles (linear/cuda_layout.h) streamed through a ring of shared memory by one warp, and multiplied by the
// others with tokens held as mma B fragments. The building blocks of every CUDA row that reads weights for few tokens.
//
//   weights (HBM) --bulk copies of a stage--> ring --LDS.128--> A fragments --mma--> acc [16 rows x 8 tokens] a warp
//
// The first stages are requested before the dependency wait: they are in flight, or landed, while the previous kernel
// still runs. Bound: HBM bandwidth when enough is in flight; for nvfp4 the conversion (about 90 issue slots a tile) is
// the second wall.
#pragma once

#include "ops/cuda/ptx.cuh"
#include "ops/linear/cuda_layout.h"

#include <cstddef>
#include <cstdint>

namespace nibble::ops::tiles {

namespace layout = cuda_layout;

// How a format's tile yields the A fragment of k16 step s (0..3). Scales of the tile are loaded once.
struct Nvfp4Tile {
    static constexpr int kBytes = layout::kNvfp4TileBytes;
    static constexpr float kUnscale = layout::kNvfp4Unscale;
    uint4 words;
    uint2 scales;
    uint32_t
        sixteen;  // 16 that the compiler cannot see: a multiply-add on the FMA pipe, for the ALU pipe is the busy one
    __device__ __forceinline__ void load(const std::byte* tile, int lane, uint32_t opaque_sixteen) {
        sixteen = opaque_sixteen;
        words = *reinterpret_cast<const uint4*>(tile + lane * 16);
        scales = *reinterpret_cast<const uint2*>(tile + layout::kNvfp4ScaleOffset + (lane >> 2) * 8);
    }
    template <int kStep>
    __device__ __forceinline__ void fragment(uint32_t (&a)[4]) const {
        const uint32_t w = kStep == 0 ? words.x : kStep == 1 ? words.y : kStep == 2 ? words.z : words.w;
        constexpr uint32_t kMask = 0x81C081C0u;
        // A byte of the scale word in both halves, moved to bf16's exponent and mantissa.
        constexpr uint32_t kSelect = 0x4040u + static_cast<uint32_t>(kStep) * 0x0101u;
        const uint32_t low = ptx::permute_bytes(scales.x, 0, kSelect) * sixteen + (layout::kScaleBias * 0x10001u);
        const uint32_t high = ptx::permute_bytes(scales.y, 0, kSelect) * sixteen + (layout::kScaleBias * 0x10001u);
        a[0] = ptx::multiply_bf16x2(w & kMask, low);
        a[1] = ptx::multiply_bf16x2((w << 3) & kMask, high);
        a[2] = ptx::multiply_bf16x2((w << 6) & kMask, low);
        a[3] =
            ptx::multiply_bf16x2(((w << 1) & 0x80008000u) | ((w >> 3) & 0x01800180u) | ((w >> 7) & 0x00400040u), high);
    }
};

struct Fp8Tile {
    static constexpr int kBytes = layout::kFp8TileBytes;
    static constexpr float kUnscale = 1.0f;
    uint4 words[2];
    __device__ __forceinline__ void load(const std::byte* tile, int lane, uint32_t) {
        words[0] = *reinterpret_cast<const uint4*>(tile + lane * 16);
        words[1] = *reinterpret_cast<const uint4*>(tile + 512 + lane * 16);
    }
    template <int kStep>
    __device__ __forceinline__ void fragment(uint32_t (&a)[4]) const {
        const uint4& v = words[kStep / 2];
        const uint32_t pair[2] = {kStep % 2 == 0 ? v.x : v.z, kStep % 2 == 0 ? v.y : v.w};
        // E4M3 with its exponent as bf16's low exponent bits is value * 2^-120, subnormals included; 2^120 mends it.
        constexpr uint32_t kMend = 0x7B807B80u;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const uint32_t odd = pair[i], even = pair[i] << 8;
            a[2 * i] = ptx::multiply_bf16x2((even & 0x80008000u) | ((even >> 4) & 0x07F007F0u), kMend);
            a[2 * i + 1] = ptx::multiply_bf16x2((odd & 0x80008000u) | ((odd >> 4) & 0x07F007F0u), kMend);
        }
    }
};

struct Bf16Tile {
    static constexpr int kBytes = layout::kBf16TileBytes;
    static constexpr float kUnscale = 1.0f;
    uint4 words[4];
    __device__ __forceinline__ void load(const std::byte* tile, int lane, uint32_t) {
#pragma unroll
        for (int s = 0; s < 4; ++s) words[s] = *reinterpret_cast<const uint4*>(tile + s * 512 + lane * 16);
    }
    template <int kStep>
    __device__ __forceinline__ void fragment(uint32_t (&a)[4]) const {
        a[0] = words[kStep].x, a[1] = words[kStep].y, a[2] = words[kStep].z, a[3] = words[kStep].w;
    }
};

// Tokens as B fragments in shared memory: [k tile][token][q][16] bf16, element s * 4 + r * 2 + j of quarter q being
// k = 16 s + 8 r + 2 q + j of the tile. 128 bytes a tile and token.
inline constexpr int kTokenTileBytes = 128;

// Writes eight consecutive inputs (k % 8 == 0) of a token.
__device__ __forceinline__ void store_token_inputs(std::byte* tokens_shared, int tokens, int token, int k,
                                                   uint4 eight) {
    const int tile = k / layout::kTileInputs, s = (k % layout::kTileInputs) / 16, r = (k % 16) / 8;
    std::byte* base =
        tokens_shared + (static_cast<int64_t>(tile) * tokens + token) * kTokenTileBytes + (s * 4 + r * 2) * 2;
    const uint32_t pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (int q = 0; q < 4; ++q) *reinterpret_cast<uint32_t*>(base + q * 32) = pairs[q];
}

// Where a lane finds the B fragments of its column in each token block: base + tile * stride. Columns without a token
// point at 128 zero bytes and do not move.
template <int kBlocks>
struct TokenColumns {
    const std::byte* base[kBlocks];
    int stride[kBlocks];
    uint32_t opaque_sixteen;  // Nvfp4Tile

    __device__ __forceinline__ void point(int block, const std::byte* tokens_shared, const std::byte* zeros, int token,
                                          int tokens, int lane) {
        base[block] = (token >= 0 ? tokens_shared + token * kTokenTileBytes : zeros) + (lane & 3) * 32;
        stride[block] = token >= 0 ? tokens * kTokenTileBytes : 0;
    }
};

// acc += tile · tokens, over the tile's four k16 steps in order.
template <class Tile, int kBlocks>
__device__ __forceinline__ void multiply_tile(const std::byte* tile, int tile_index,
                                              const TokenColumns<kBlocks>& columns, int lane,
                                              float (&acc)[kBlocks][4]) {
    Tile a_tile;
    a_tile.load(tile, lane, columns.opaque_sixteen);
    uint4 b[kBlocks][2];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
        const uint4* source = reinterpret_cast<const uint4*>(columns.base[block] + tile_index * columns.stride[block]);
        b[block][0] = source[0];
        b[block][1] = source[1];
    }
    uint32_t a[4];
    a_tile.template fragment<0>(a);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) ptx::mma_bf16(acc[block], a, b[block][0].x, b[block][0].y);
    a_tile.template fragment<1>(a);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) ptx::mma_bf16(acc[block], a, b[block][0].z, b[block][0].w);
    a_tile.template fragment<2>(a);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) ptx::mma_bf16(acc[block], a, b[block][1].x, b[block][1].y);
    a_tile.template fragment<3>(a);
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) ptx::mma_bf16(acc[block], a, b[block][1].z, b[block][1].w);
}

// acc[r][b] += tile r · columns of block b, over the tiles' four k16 steps in order. `columns`: the lane's quarter of
// its column of block 0.
template <class Tile, int kRows, int kBlocks>
__device__ __forceinline__ void multiply_columns(const Tile (&tile)[kRows], const std::byte* columns, int block_stride,
                                                 float (&acc)[kRows][kBlocks][4]) {
    constexpr int kTogether = kBlocks < 4 ? kBlocks : 4;  // enough products between two of one sum
    const auto half = [&]<int kHalf>() {
        uint32_t a[2][kRows][4];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            tile[r].template fragment<2 * kHalf>(a[0][r]);
            tile[r].template fragment<2 * kHalf + 1>(a[1][r]);
        }
#pragma unroll
        for (int first = 0; first < kBlocks; first += kTogether) {
            uint4 b[kTogether];
#pragma unroll
            for (int i = 0; i < kTogether; ++i)
                b[i] = *reinterpret_cast<const uint4*>(columns + (first + i) * block_stride + kHalf * 16);
#pragma unroll
            for (int i = 0; i < kTogether; ++i)
#pragma unroll
                for (int r = 0; r < kRows; ++r) ptx::mma_bf16(acc[r][first + i], a[0][r], b[i].x, b[i].y);
#pragma unroll
            for (int i = 0; i < kTogether; ++i)
#pragma unroll
                for (int r = 0; r < kRows; ++r) ptx::mma_bf16(acc[r][first + i], a[1][r], b[i].z, b[i].w);
        }
    };
    half.template operator()<0>();
    half.template operator()<1>();
}

// The end of a row tile: a warp's sums to shared memory, [16][kStored] floats.
template <int kBlocks, int kStored>
__device__ __forceinline__ void store_sums(float* out, const float (&acc)[kBlocks][4], int lane) {
    if constexpr (kStored == 1) {
        if ((lane & 3) == 0) {
            out[lane >> 2] = acc[0][0];
            out[(lane >> 2) + 8] = acc[0][2];
        }
    } else {
#pragma unroll
        for (int block = 0; block < kBlocks; ++block) {
            float* at = out + (lane >> 2) * kStored + block * 8 + 2 * (lane & 3);
            *reinterpret_cast<float2*>(at) = make_float2(acc[block][0], acc[block][1]);
            *reinterpret_cast<float2*>(at + 8 * kStored) = make_float2(acc[block][2], acc[block][3]);
        }
    }
}

// The ring of a CTA: one warp fills it in the order in which all the others empty it. A stage holds up to stage_bytes.
struct Ring {
    std::byte* stages;
    uint64_t* full;   // [depth]
    uint64_t* empty;  // [depth]
    int stage_bytes, depth;
    int stage = 0;
    uint32_t phase = 0;

    // By one thread, before a barrier of the whole block.
    __device__ __forceinline__ void init(int consumers) {
        for (int i = 0; i < depth; ++i) {
            ptx::mbarrier_init(&full[i], 1);
            ptx::mbarrier_init(&empty[i], static_cast<uint32_t>(consumers));
        }
        ptx::mbarrier_init_fence();
    }
    __device__ __forceinline__ void advance() {
        if (++stage == depth) {
            stage = 0;
            phase ^= 1u;
        }
    }
    // The filling thread: waits until the stage is empty (at once in the first round), then asks for `bytes`.
    __device__ __forceinline__ void fill(const std::byte* source, int bytes, uint64_t policy) {
        ptx::mbarrier_wait(&empty[stage], phase ^ 1u);
        ptx::mbarrier_arrive_expect(&full[stage], static_cast<uint32_t>(bytes));
        ptx::bulk_load(stages + stage * stage_bytes, source, static_cast<uint32_t>(bytes), &full[stage], policy);
        advance();
    }
    // Every other warp, all lanes: the next stage once it has landed; then release() and so on.
    __device__ __forceinline__ const std::byte* await() {
        ptx::mbarrier_wait(&full[stage], phase);
        return stages + stage * stage_bytes;
    }
    __device__ __forceinline__ void release(int lane) {
        __syncwarp();
        if (lane == 0) ptx::mbarrier_arrive(&empty[stage]);
        advance();
    }
};

// Eight bf16 as floats' sum of squares, in order.
__device__ __forceinline__ float sum_of_squares(uint4 eight) {
    const uint32_t pairs[4] = {eight.x, eight.y, eight.z, eight.w};
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float a = __uint_as_float(pairs[i] << 16), b = __uint_as_float(pairs[i] & 0xFFFF0000u);
        sum += a * a;
        sum += b * b;
    }
    return sum;
}

__device__ __forceinline__ uint32_t scale_pair(uint32_t pair, float factor, uint32_t weights) {
    const float a = __uint_as_float(pair << 16) * factor * __uint_as_float(weights << 16);
    const float b = __uint_as_float(pair & 0xFFFF0000u) * factor * __uint_as_float(weights & 0xFFFF0000u);
    const __nv_bfloat162 rounded = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const uint32_t*>(&rounded);
}

// One token of a step to B fragments. With norm_weight the fragments are x · norm_weight and the factor 1 / rms(x) is
// left to the epilogue, W · (x r w) = r W · (x w): so nothing waits for the sum of squares. That sum is taken over
// chunks of eight inputs in an order that depends on K alone, whoever does it.
struct TokenSource {
    const __nv_bfloat16* x;  // [tokens, K]
    int64_t stride;
    const __nv_bfloat16* norm_weight;  // [K] or null
    float norm_eps;
    int tokens, k;  // k % 8 == 0
};

__device__ __forceinline__ uint32_t multiply_pair(uint32_t pair, uint32_t weights) {
    const __nv_bfloat162 rounded =
        __floats2bfloat162_rn(__uint_as_float(pair << 16) * __uint_as_float(weights << 16),
                              __uint_as_float(pair & 0xFFFF0000u) * __uint_as_float(weights & 0xFFFF0000u));
    return *reinterpret_cast<const uint32_t*>(&rounded);
}

// A thread's share of a token: chunks c, c + threads, … of eight inputs; the first one's norm weight may be asked for
// before the dependency wait.
struct TokenChunk {
    uint4 weight;
    __device__ __forceinline__ void prefetch(const TokenSource& source) {
        weight = make_uint4(0, 0, 0, 0);
        if (source.norm_weight != nullptr && threadIdx.x < source.k / 8)
            weight = *reinterpret_cast<const uint4*>(source.norm_weight + threadIdx.x * 8);
    }
};

// Gives inputs [first_tile, first_tile + tile_count) * 64 of token t to `store(k - first, eight)` and, when normalised,
// every chunk's sum of squares to squares[chunk]. All threads of the block; no barrier.
template <class Store>
__device__ __forceinline__ void load_token(const TokenSource& source, const TokenChunk& prefetched, int t,
                                           int first_tile, int tile_count, float* squares, Store store) {
    const int chunks = source.k / 8, begin = first_tile * (layout::kTileInputs / 8),
              end = begin + tile_count * (layout::kTileInputs / 8);
    const __nv_bfloat16* x = source.x + t * source.stride;
    const bool normed = source.norm_weight != nullptr;
    for (int c = threadIdx.x; c < max(chunks, end); c += blockDim.x) {
        const bool mine = c >= begin && c < end;
        if (!mine && !normed) continue;
        uint4 eight = c < chunks ? __ldcg(reinterpret_cast<const uint4*>(x + c * 8)) : make_uint4(0, 0, 0, 0);
        if (normed && c < chunks) {
            squares[c] = sum_of_squares(eight);
            const uint4 w =
                c == threadIdx.x ? prefetched.weight : *reinterpret_cast<const uint4*>(source.norm_weight + c * 8);
            eight = make_uint4(multiply_pair(eight.x, w.x), multiply_pair(eight.y, w.y), multiply_pair(eight.z, w.z),
                               multiply_pair(eight.w, w.w));
        }
        if (mine) store((c - begin) * 8, eight);
    }
}

// 1 / rms of a token from its chunks' sums; one warp, result in every lane.
__device__ __forceinline__ float inverse_rms(const TokenSource& source, const float* squares, int lane) {
    const int chunks = source.k / 8;
    float sum = 0;
    for (int c = lane; c < chunks; c += 32) sum += squares[c];
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, offset);
    return rsqrtf(sum / source.k + source.norm_eps);
}

}  // namespace nibble::ops::tiles
