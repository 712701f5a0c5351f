// cuda_tiles: the weight layout of the CUDA rows. Tiles of 16 rows x 64 inputs in the order in which lanes use them.
//
// A tile holds four k16 steps of mma.m16n8k16's A operand. Lane l = 4 g + q owns rows g and g + 8 and, in step s and
// register r (0..3), the pair of inputs k = 16 s + 8 (r >> 1) + 2 q + {0, 1} of row g + 8 (r & 1).
//   bf16   2048 B  [s][lane][r] pairs
//   fp8    1024 B  [s / 2][lane][s % 2][r / 2] words of four codes, bytes: r even lo, r odd lo, r even hi, r odd hi
//   nvfp4   576 B  [lane][s] words of eight codes (below), then 64 B of scales [g][row g: s 0..3 | row g + 8: s 0..3]
// Tiles follow each other [row tile][k tile]; rows are padded to 16 and inputs to 64 with zeros. All offsets are
// multiples of 16 bytes, so every tile and any run of tiles is a legal bulk copy.
//
// An nvfp4 word is re-encoded so that a register pair costs few instructions: pair r's two codes sit at bits of the low
// and the high half where one shift brings sign, exponent and mantissa to bf16's bits 15, 8..7 and 6, which reads as
// value * 2^-126. A scale byte is E4M3's value with five exponent bits and no sign (no subnormals): bits << 4 plus a
// constant is the bf16 number scale * 2^118. Their product is exact in bf16: value * scale * 2^-8. A block whose scale
// is zero gets zero codes.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define NIBBLE_LAYOUT_FN __host__ __device__ constexpr
#else
#define NIBBLE_LAYOUT_FN constexpr
#endif

namespace nibble::ops::cuda_layout {

inline constexpr int kTileRows = 16, kTileInputs = 64;
inline constexpr int kBf16TileBytes = 2048, kFp8TileBytes = 1024, kNvfp4TileBytes = 576;
inline constexpr int kNvfp4ScaleOffset = 512;
inline constexpr float kNvfp4Unscale = 256.0f;   // undoes the 2^-8
inline constexpr uint32_t kScaleBias = 0x7580u;  // (118 - 10 + 127) << 7

// Where the code of register r (0..3), half h (0, 1) sits in its word: [sign, exponent high, exponent low, mantissa].
NIBBLE_LAYOUT_FN int code_bit(int r, int h, int field) {
    constexpr int bits[4][4] = {{15, 8, 7, 6}, {12, 5, 4, 3}, {9, 2, 1, 0}, {14, 11, 10, 13}};
    return 16 * h + bits[r][field];
}

NIBBLE_LAYOUT_FN uint32_t place_code(uint32_t code, int r, int h) {
    return (((code >> 3) & 1u) << code_bit(r, h, 0)) | (((code >> 2) & 1u) << code_bit(r, h, 1)) |
           (((code >> 1) & 1u) << code_bit(r, h, 2)) | ((code & 1u) << code_bit(r, h, 3));
}

NIBBLE_LAYOUT_FN uint32_t take_code(uint32_t word, int r, int h) {
    return (((word >> code_bit(r, h, 0)) & 1u) << 3) | (((word >> code_bit(r, h, 1)) & 1u) << 2) |
           (((word >> code_bit(r, h, 2)) & 1u) << 1) | ((word >> code_bit(r, h, 3)) & 1u);
}

// E4M3's magnitude to the tile's scale byte: five exponent bits, three mantissa bits. Zero gives 0, NaN what the bias
// turns into bf16's.
NIBBLE_LAYOUT_FN uint32_t encode_scale(uint32_t e4m3) {
    const uint32_t magnitude = e4m3 & 0x7Fu;
    uint32_t exponent = magnitude >> 3, mantissa = magnitude & 7u;
    if (magnitude == 0) return 0;
    if (magnitude == 0x7Fu) return 0xA1u;
    if (exponent != 0) return ((exponent + 3u) << 3) | mantissa;  // e - 7 + 10
    int shift = 0;                                                // m * 2^-9 = 1.f * 2^(-9 + 2 - shift): normalise
    while ((mantissa & 4u) == 0) {
        mantissa <<= 1;
        ++shift;
    }
    return (static_cast<uint32_t>(3 - shift) << 3) | ((mantissa & 3u) << 1);
}

}  // namespace nibble::ops::cuda_layout
