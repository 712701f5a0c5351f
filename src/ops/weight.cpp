#include "ops/weight.h"

#include "base/check.h"
#include "device/buffer.h"
#include "device/have_cuda.h"
#include "numeric/bf16.h"
#include "numeric/fp4.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"
#include "ops/linear/cpu_layout.h"
#include "ops/linear/cuda_layout.h"
#include "ops/linear/repack.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace nibble::ops {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;  // what pack() holds in host memory at a time

int64_t rows_a_piece(WeightFormat format, int64_t k) {
    const int64_t row_bytes = row_code_bytes(format, k) + row_scale_bytes(format, k);
    return std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, row_bytes));
}

Result<void> pack_row_major(const WeightSource& source, const device::Device& device, device::Stream stream,
                            const Weight& weight) {
    const int64_t code_bytes = row_code_bytes(source.format, source.k);
    const int64_t scale_bytes = row_scale_bytes(source.format, source.k);
    std::byte* codes = weight.data;
    std::byte* scales = weight.data + source.n * code_bytes;
    if (device.is_cpu()) return source.read_rows(0, source.n, codes, scale_bytes > 0 ? scales : nullptr);

    const int64_t piece = std::min(source.n, rows_a_piece(source.format, source.k));
    const auto staging =
        std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(piece * (code_bytes + scale_bytes)));
    std::byte* staged_scales = staging.get() + piece * code_bytes;
    for (int64_t row = 0; row < source.n; row += piece) {
        const int64_t rows = std::min(piece, source.n - row);
        TRY_VOID(source.read_rows(row, rows, staging.get(), scale_bytes > 0 ? staged_scales : nullptr));
        device::copy_to_device(device, stream, codes + row * code_bytes, staging.get(), rows * code_bytes);
        if (scale_bytes > 0)
            device::copy_to_device(device, stream, scales + row * scale_bytes, staged_scales, rows * scale_bytes);
        device::synchronize(device, stream);
    }
    return {};
}

Result<void> pack_rows16(const WeightSource& source, const Weight& weight) {
    const int64_t code_bytes = row_code_bytes(source.format, source.k);
    const int64_t scale_bytes = row_scale_bytes(source.format, source.k);
    const int64_t block_bytes = rows16_block_bytes(source.format, source.k);
    const int64_t piece =
        std::min(round_up(source.n, kBlockRows), round_up(rows_a_piece(source.format, source.k), kBlockRows));
    const auto staging =
        std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(piece * (code_bytes + scale_bytes)));
    std::byte* scales = staging.get() + piece * code_bytes;
    for (int64_t row = 0; row < source.n; row += piece) {
        const int64_t rows = std::min(piece, source.n - row);
        TRY_VOID(source.read_rows(row, rows, staging.get(), scale_bytes > 0 ? scales : nullptr));
        for (int64_t r = 0; r < rows; r += kBlockRows)
            pack_rows16_block(source.format, source.k, std::min(kBlockRows, rows - r), staging.get() + r * code_bytes,
                              scales + r * scale_bytes, weight.data + (row + r) / kBlockRows * block_bytes);
    }
    return {};
}

int64_t row_tiles(int64_t n) {
    return (n + cuda_layout::kTileRows - 1) / cuda_layout::kTileRows;
}

// Of sixteen rows.
int64_t tile_row_bytes(WeightFormat format, int64_t k) {
    const int64_t tiles = (k + cuda_layout::kTileInputs - 1) / cuda_layout::kTileInputs;
    switch (format) {
        case WeightFormat::nvfp4:
            return tiles * cuda_layout::kNvfp4TileBytes;
        case WeightFormat::fp8:
            return tiles * cuda_layout::kFp8TileBytes;
        case WeightFormat::bf16:
            return tiles * cuda_layout::kBf16TileBytes;
        case WeightFormat::f32:
            break;
    }
    CHECK(false, "float32 weights have no tiles");
    return 0;
}

// Where a NaN is among E4M3 codes, or -1.
int64_t find_e4m3_nan(const std::byte* codes, int64_t count) {
    constexpr int64_t kBlock = 4096;
    for (int64_t begin = 0; begin < count; begin += kBlock) {
        const int64_t end = std::min(count, begin + kBlock);
        bool found = false;
        for (int64_t i = begin; i < end; ++i) found |= (codes[i] & std::byte{0x7F}) == std::byte{0x7F};
        for (int64_t i = begin; found && i < end; ++i)
            if ((codes[i] & std::byte{0x7F}) == std::byte{0x7F}) return i;
    }
    return -1;
}

// Rows go to the device as the file has them, a piece at a time, and are brought into tiles there.
[[maybe_unused]] Result<void> pack_tiles(const WeightSource& source, const device::Device& device,
                                         device::Stream stream, const Weight& weight) {
    constexpr int64_t kTilePieceBytes = int64_t{16} << 20;
    const int64_t code_bytes = row_code_bytes(source.format, source.k);
    const int64_t scale_bytes = row_scale_bytes(source.format, source.k);
    const int64_t wanted = std::max<int64_t>(1, kTilePieceBytes / std::max<int64_t>(1, code_bytes + scale_bytes));
    const int64_t piece = std::min(row_tiles(source.n), (wanted + 15) / 16) * 16;
    const int64_t scales_at = (piece * code_bytes + 255) / 256 * 256;
    const auto host = std::make_unique<std::byte[]>(static_cast<size_t>(scales_at + piece * scale_bytes));
    TRY(const device::Buffer raw,
        device::Buffer::allocate(device, scales_at + piece * scale_bytes, "a matrix as stored"));
    for (int64_t row = 0; row < source.n; row += piece) {
        const int64_t rows = std::min(piece, source.n - row);
        TRY_VOID(source.read_rows(row, rows, host.get(), scale_bytes > 0 ? host.get() + scales_at : nullptr));
        if (source.format == WeightFormat::fp8)
            if (const int64_t at = find_e4m3_nan(host.get(), rows * code_bytes); at >= 0)
                return error(ErrorCode::unsupported,
                             "{}: element [{}, {}] is NaN, which FP8 weights on a GPU cannot be", weight.name,
                             row + at / code_bytes, at % code_bytes);
        device::copy_to_device(device, stream, raw.data(), host.get(), rows * code_bytes);
        if (scale_bytes > 0)
            device::copy_to_device(device, stream, raw.data() + scales_at, host.get() + scales_at, rows * scale_bytes);
        if constexpr (device::kHaveCuda)
            repack_tiles(source.format, raw.data(), raw.data() + scales_at, rows, source.k,
                         weight.data + row / 16 * tile_row_bytes(source.format, source.k), stream);
        device::synchronize(device, stream);
    }
    return {};
}

void unpack_row_major(const Weight& weight, int64_t row, float* values) {
    const int64_t k = weight.k;
    const std::byte* codes = weight.data + row * row_code_bytes(weight.format, k);
    switch (weight.format) {
        case WeightFormat::f32:
            std::memcpy(values, codes, static_cast<size_t>(k) * sizeof(float));
            for (int64_t i = 0; i < k; ++i) values[i] *= weight.scale;
            return;
        case WeightFormat::bf16:
            for (int64_t i = 0; i < k; ++i) {
                numeric::bf16 value;
                std::memcpy(&value, codes + 2 * i, sizeof(value));
                values[i] = value.to_float() * weight.scale;
            }
            return;
        case WeightFormat::fp8:
            for (int64_t i = 0; i < k; ++i)
                values[i] = numeric::kE4m3Table[std::to_integer<uint8_t>(codes[i])] * weight.scale;
            return;
        case WeightFormat::nvfp4: {
            const int64_t groups = row_scale_bytes(weight.format, k);
            const std::byte* scales = weight.data + weight.n * row_code_bytes(weight.format, k) + row * groups;
            numeric::nvfp4_dequantize_row({reinterpret_cast<const uint8_t*>(codes), static_cast<size_t>(k / 2)},
                                          {reinterpret_cast<const uint8_t*>(scales), static_cast<size_t>(groups)},
                                          weight.scale, {values, static_cast<size_t>(k)});
            return;
        }
    }
}

}  // namespace

std::string_view name(WeightFormat format) {
    switch (format) {
        case WeightFormat::f32:
            return "f32";
        case WeightFormat::bf16:
            return "bf16";
        case WeightFormat::fp8:
            return "fp8";
        case WeightFormat::nvfp4:
            return "nvfp4";
    }
    return "?";
}

WeightRead read_of(const Weight& weight, WeightRead::Role role) {
    return {.role = role,
            .module = std::string(weight.name),
            .format = weight.format,
            .n = weight.n,
            .k = weight.k,
            .stored_bytes = weight.stored_bytes};
}

WeightRead read_of_norm(const device::Tensor& values) {
    return {.role = WeightRead::Role::norm,
            .module = {},
            .format = values.dtype() == device::DType::bf16 ? WeightFormat::bf16 : WeightFormat::f32,
            .n = values.elements(),
            .k = 1,
            .stored_bytes = values.bytes()};
}

int64_t row_code_bytes(WeightFormat format, int64_t k) {
    switch (format) {
        case WeightFormat::f32:
            return 4 * k;
        case WeightFormat::bf16:
            return 2 * k;
        case WeightFormat::fp8:
            return k;
        case WeightFormat::nvfp4:
            return k / 2;
    }
    return 0;
}

int64_t row_scale_bytes(WeightFormat format, int64_t k) {
    return format == WeightFormat::nvfp4 ? k / numeric::kNvfp4Group : 0;
}

WeightLayout preferred_layout(WeightFormat format, int64_t, int64_t k, const device::Device& device) {
    if (device.is_cpu()) return WeightLayout::cpu_rows16;
    return format == WeightFormat::f32 || k % 8 != 0 ? WeightLayout::row_major : WeightLayout::cuda_tiles;
}

int64_t packed_bytes(WeightFormat format, WeightLayout layout, int64_t n, int64_t k) {
    switch (layout) {
        case WeightLayout::row_major:
            return n * (row_code_bytes(format, k) + row_scale_bytes(format, k));
        case WeightLayout::cpu_rows16:
            return row_blocks(n) * rows16_block_bytes(format, k);
        case WeightLayout::cuda_tiles:
            return row_tiles(n) * tile_row_bytes(format, k);
    }
    CHECK(false, "no packed size for layout {}", static_cast<int>(layout));
    return 0;
}

Result<void> pack(const WeightSource& source, const device::Device& device, device::Stream stream, Weight& weight) {
    CHECK(weight.data != nullptr || source.n * source.k == 0, "{}: nothing to pack into", weight.name);
    CHECK(weight.format == source.format && weight.n == source.n && weight.k == source.k,
          "{}: weight and source differ", weight.name);
    CHECK(source.format != WeightFormat::nvfp4 || source.k % numeric::kNvfp4Group == 0, "{}: K = {}", weight.name,
          source.k);
    weight.scale = source.scale;
    weight.input_scale = source.input_scale;
    weight.stored_bytes = packed_bytes(weight.format, weight.layout, weight.n, weight.k);
    if (!source.row_scale.empty()) {
        CHECK(static_cast<int64_t>(source.row_scale.size()) == source.n && weight.row_scale.elements() == source.n &&
                  weight.row_scale.dtype() == device::DType::f32,
              "{}: row_scale must be [{}] f32", weight.name, source.n);
        device::copy_to_device(device, stream, weight.row_scale.data(), source.row_scale.data(),
                               weight.row_scale.bytes());
    }
    switch (weight.layout) {
        case WeightLayout::row_major:
            return pack_row_major(source, device, stream, weight);
        case WeightLayout::cpu_rows16:
            return pack_rows16(source, weight);
        case WeightLayout::cuda_tiles:
            if constexpr (device::kHaveCuda) return pack_tiles(source, device, stream, weight);
            break;
    }
    CHECK(false, "{}: layout {} cannot be packed", weight.name, static_cast<int>(weight.layout));
    return {};
}

void unpack_row(const Weight& weight, int64_t row, float* values) {
    CHECK(weight.data != nullptr && 0 <= row && row < weight.n, "{}: row {} of {}", weight.name, row, weight.n);
    switch (weight.layout) {
        case WeightLayout::row_major:
            unpack_row_major(weight, row, values);
            break;
        case WeightLayout::cpu_rows16:
            unpack_rows16_row(weight.format, weight.k,
                              weight.data + row / kBlockRows * rows16_block_bytes(weight.format, weight.k),
                              row % kBlockRows, values);
            for (int64_t i = 0; i < weight.k; ++i) values[i] *= weight.scale;
            break;
        case WeightLayout::cuda_tiles:
            CHECK(false, "{}: layout {} has no host view", weight.name, static_cast<int>(weight.layout));
    }
    if (!weight.row_scale.empty()) {
        const float row_scale = weight.row_scale.as<const float>()[row];
        for (int64_t i = 0; i < weight.k; ++i) values[i] *= row_scale;
    }
}

}  // namespace nibble::ops
