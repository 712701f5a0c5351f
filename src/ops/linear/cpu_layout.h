// cpu_rows16: the layout of a weight that the CPU rows read.
//
// Blocks of 16 rows, one after the other; in a block K runs slowest, and 4-byte lane r of every 64-byte vector belongs
// to row r. A vector register thus holds 16 (or 8, or 4) rows at the same k: no sum crosses lanes, and a block is one
// stream of memory. Padding (rows to 16, K as below) is zero.
//
//   f32    vector k: lane r = W[r][k]                                    K to a multiple of 8
//   bf16   vector p: lane r = W[r][2p], W[r][2p+1]                       K to a multiple of 8
//   fp8    vector q: lane r = bytes W[r][4q], [4q+2], [4q+1], [4q+3]     K to a multiple of 8
//   nvfp4  tiles of 64 k, 576 bytes:                                     K to a multiple of 64
//          vectors 2g, 2g+1 (g = 0…3: the groups of 16 k): nibble s of the half-lane 2r+j of vector v has
//            k = 8v + 2s + j of the tile, so that half-lane >> 4s indexes a table of 16-bit values, in pairs of k;
//          vector 8: lane r = the block scales of row r, groups 0…3. They are never negative: a block with a negative
//            scale is stored with its codes' signs flipped.
#pragma once

#include "ops/weight.h"

#include <cstdint>

namespace nibble::ops {

inline constexpr int64_t kBlockRows = 16;
inline constexpr int64_t kNvfp4TileK = 64, kNvfp4TileBytes = 576, kNvfp4TileScales = 512;

constexpr int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}
constexpr int64_t row_blocks(int64_t n) {
    return (n + kBlockRows - 1) / kBlockRows;
}
// Bytes of one block of 16 rows.
constexpr int64_t rows16_block_bytes(WeightFormat format, int64_t k) {
    switch (format) {
        case WeightFormat::f32:
            return 64 * round_up(k, 8);
        case WeightFormat::bf16:
            return 32 * round_up(k, 8);
        case WeightFormat::fp8:
            return 16 * round_up(k, 8);
        case WeightFormat::nvfp4:
            return round_up(k, kNvfp4TileK) / kNvfp4TileK * kNvfp4TileBytes;
    }
    return 0;
}

// One block from `rows` <= 16 rows as the file has them (row_code_bytes and row_scale_bytes a row).
void pack_rows16_block(WeightFormat format, int64_t k, int64_t rows, const std::byte* codes, const std::byte* scales,
                       std::byte* block);

// Row r of a block as float32, without the matrix's scale (nvfp4: block scales included).
void unpack_rows16_row(WeightFormat format, int64_t k, const std::byte* block, int64_t r, float* values);

}  // namespace nibble::ops
