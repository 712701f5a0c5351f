#include "ops/linear/cpu_layout.h"

#include "numeric/bf16.h"
#include "numeric/fp4.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <cstring>

namespace nibble::ops {
namespace {

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

// `bytes` of a row from `from`, the rest of a T zero.
template <class T>
T load_part(const std::byte* from, int64_t bytes) {
    T value = 0;
    std::memcpy(&value, from, static_cast<size_t>(bytes));
    return value;
}

// Lane r of vector v is f(bytes 4v…4v+3 of row r): f32, bf16 and fp8 differ in f alone.
template <class Lane>
void pack_lanes(int64_t row_bytes, int64_t rows, const std::byte* codes, std::byte* block, Lane&& lane) {
    for (int64_t at = 0; at < row_bytes; at += 4, block += 64)
        for (int64_t r = 0; r < rows; ++r) {
            const std::byte* from = codes + r * row_bytes + at;
            const uint32_t raw = row_bytes - at >= 4 ? load<uint32_t>(from) : load_part<uint32_t>(from, row_bytes - at);
            const uint32_t value = lane(raw);
            std::memcpy(block + 4 * r, &value, 4);
        }
}

constexpr uint32_t swap_middle_bytes(uint32_t x) {
    return (x & 0xFF0000FFu) | ((x >> 8) & 0x0000FF00u) | ((x << 8) & 0x00FF0000u);
}

// Nibbles 0, 2, 4, 6 into the low half, 1, 3, 5, 7 into the high half.
constexpr uint32_t split_nibbles(uint32_t x) {
    const auto gather = [](uint32_t even) {
        even = (even | (even >> 4)) & 0x00FF00FFu;
        return (even | (even >> 8)) & 0x0000FFFFu;
    };
    return gather(x & 0x0F0F0F0Fu) | (gather((x >> 4) & 0x0F0F0F0Fu) << 16);
}
static_assert(split_nibbles(0x76543210u) == 0x75316420u);

void pack_nvfp4(int64_t k, int64_t rows, const std::byte* codes, const std::byte* scales, std::byte* block) {
    const int64_t groups = k / numeric::kNvfp4Group;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t g = 0; g < groups; ++g) {
            const std::byte* from = codes + r * (k / 2) + g * 8;
            uint8_t scale = std::to_integer<uint8_t>(scales[r * groups + g]);
            const uint32_t flip = (scale & 0x80) != 0 ? 0x88888888u : 0u;
            scale &= 0x7F;
            std::byte* tile = block + g / 4 * kNvfp4TileBytes;
            for (int64_t v = 0; v < 2; ++v) {
                const uint32_t lane = split_nibbles(load<uint32_t>(from + 4 * v) ^ flip);
                std::memcpy(tile + (2 * (g % 4) + v) * 64 + 4 * r, &lane, 4);
            }
            tile[kNvfp4TileScales + 4 * r + g % 4] = std::byte{scale};
        }
}

}  // namespace

void pack_rows16_block(WeightFormat format, int64_t k, int64_t rows, const std::byte* codes, const std::byte* scales,
                       std::byte* block) {
    const int64_t row_bytes = row_code_bytes(format, k);
    // Every byte is written by the full rows of an unpadded K; only then is there nothing to clear.
    if (rows < kBlockRows || rows16_block_bytes(format, k) != rows * (row_bytes + row_scale_bytes(format, k)))
        std::memset(block, 0, static_cast<size_t>(rows16_block_bytes(format, k)));
    switch (format) {
        case WeightFormat::f32:
        case WeightFormat::bf16:
            return pack_lanes(row_bytes, rows, codes, block, [](uint32_t x) { return x; });
        case WeightFormat::fp8:
            return pack_lanes(row_bytes, rows, codes, block, swap_middle_bytes);
        case WeightFormat::nvfp4:
            return pack_nvfp4(k, rows, codes, scales, block);
    }
}

void unpack_rows16_row(WeightFormat format, int64_t k, const std::byte* block, int64_t r, float* values) {
    const std::byte* lane = block + 4 * r;
    switch (format) {
        case WeightFormat::f32:
            for (int64_t i = 0; i < k; ++i) values[i] = load<float>(lane + 64 * i);
            return;
        case WeightFormat::bf16:
            for (int64_t i = 0; i < k; ++i)
                values[i] = load<numeric::bf16>(lane + 64 * (i / 2) + 2 * (i % 2)).to_float();
            return;
        case WeightFormat::fp8:
            for (int64_t i = 0; i < k; ++i) {
                const int64_t byte = i % 2 * 2 + i % 4 / 2;
                values[i] = numeric::kE4m3Table[std::to_integer<uint8_t>(lane[64 * (i / 4) + byte])];
            }
            return;
        case WeightFormat::nvfp4:
            for (int64_t i = 0; i < k; ++i) {
                const int64_t at = i % kNvfp4TileK, group = at / 16, v = at % 16 / 8, s = at % 8 / 2, j = at % 2;
                const std::byte* tile = lane + i / kNvfp4TileK * kNvfp4TileBytes;
                const uint32_t codes = load<uint32_t>(tile + (2 * group + v) * 64);
                const uint8_t scale = std::to_integer<uint8_t>(tile[kNvfp4TileScales + group]);
                values[i] = numeric::e2m1_to_float(static_cast<uint8_t>(codes >> (16 * j + 4 * s))) *
                            numeric::kE4m3Table[scale];
            }
            return;
    }
}

}  // namespace nibble::ops
