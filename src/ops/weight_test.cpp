#include "ops/weight.h"

#include "device/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace nibble::ops {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::fp8, WeightFormat::nvfp4};

// Random bytes in the form of a file, codes then scales, and a source that reads them.
struct File {
    WeightFormat format;
    int64_t n, k;
    std::vector<std::byte> codes, scales;

    File(WeightFormat format, int64_t n, int64_t k, uint32_t seed) : format(format), n(n), k(k) {
        std::mt19937 random(seed);
        codes.resize(static_cast<size_t>(n * row_code_bytes(format, k)));
        scales.resize(static_cast<size_t>(n * row_scale_bytes(format, k)));
        for (std::byte& b : codes) b = static_cast<std::byte>(random());
        for (std::byte& b : scales) b = static_cast<std::byte>(random());
    }
    WeightSource source() const {
        return {
            .format = format,
            .n = n,
            .k = k,
            .scale = 0.75f,
            .row_scale = {},
            .read_rows = [this](int64_t row, int64_t rows, std::byte* to_codes, std::byte* to_scales) -> Result<void> {
                const int64_t c = row_code_bytes(format, k), s = row_scale_bytes(format, k);
                std::memcpy(to_codes, codes.data() + row * c, static_cast<size_t>(rows * c));
                EXPECT_EQ(to_scales != nullptr, s > 0);
                if (s > 0) std::memcpy(to_scales, scales.data() + row * s, static_cast<size_t>(rows * s));
                return {};
            }};
    }
};

struct Packed {
    device::Buffer buffer;
    Weight weight;
};

Packed packed(const File& file, WeightLayout layout) {
    Packed p;
    p.weight = {.format = file.format, .layout = layout, .n = file.n, .k = file.k, .name = "w"};
    const int64_t bytes = packed_bytes(file.format, layout, file.n, file.k);
    auto buffer = device::Buffer::allocate(device::cpu_device(), bytes, "w");
    EXPECT_TRUE(buffer);
    p.buffer = std::move(*buffer);
    p.weight.data = p.buffer.data();
    // What was there before must not be seen.
    std::memset(p.weight.data, 0xEE, static_cast<size_t>(bytes));
    const auto done = pack(file.source(), device::cpu_device(), {}, p.weight);
    EXPECT_TRUE(done) << done.error().message;
    EXPECT_EQ(p.weight.stored_bytes, bytes);
    return p;
}

std::vector<float> row(const Weight& weight, int64_t n) {
    std::vector<float> values(static_cast<size_t>(weight.k));
    unpack_row(weight, n, values.data());
    return values;
}

bool same(float a, float b) {
    return a == b || (std::isnan(a) && std::isnan(b));
}

TEST(Weight, EveryLayoutHoldsTheSameValues) {
    uint32_t seed = 1;
    for (const WeightFormat format : kFormats)
        for (const auto& [n, k] :
             {std::pair<int64_t, int64_t>{1, 16}, {16, 64}, {17, 80}, {40, 336}, {33, 5}, {3, 1}}) {
            if (format == WeightFormat::nvfp4 && k % 16 != 0) continue;
            const File file(format, n, k, seed++);
            const Packed plain = packed(file, WeightLayout::row_major), blocks = packed(file, WeightLayout::cpu_rows16);
            for (int64_t i = 0; i < n; ++i) {
                const auto expected = row(plain.weight, i), found = row(blocks.weight, i);
                for (size_t j = 0; j < expected.size(); ++j)
                    ASSERT_TRUE(same(expected[j], found[j])) << name(format) << " N=" << n << " K=" << k << " row " << i
                                                             << " k " << j << ": " << expected[j] << ", " << found[j];
            }
        }
}

TEST(Weight, PaddingOfBlocksIsZero) {
    for (const WeightFormat format : kFormats) {
        const int64_t n = 5, k = 16;
        File file(format, n, k, 9);
        for (std::byte& b : file.codes) b = std::byte{0x11};
        for (std::byte& b : file.scales) b = std::byte{0x11};
        const Packed p = packed(file, WeightLayout::cpu_rows16);
        const auto count = std::count(p.weight.data, p.weight.data + p.weight.stored_bytes, std::byte{0x11});
        const auto zeros = std::count(p.weight.data, p.weight.data + p.weight.stored_bytes, std::byte{0});
        EXPECT_EQ(count, static_cast<int64_t>(file.codes.size() + file.scales.size())) << name(format);
        EXPECT_EQ(count + zeros, p.weight.stored_bytes) << name(format);
    }
}

TEST(Weight, LargeMatricesArePackedInPieces) {
    // Several pieces of a megabyte, the last one ragged.
    const File file(WeightFormat::bf16, 1003, 2048, 3);
    const Packed plain = packed(file, WeightLayout::row_major), blocks = packed(file, WeightLayout::cpu_rows16);
    for (int64_t i = 0; i < file.n; i += 51) {
        const auto expected = row(plain.weight, i), found = row(blocks.weight, i);
        for (size_t j = 0; j < expected.size(); ++j) ASSERT_TRUE(same(expected[j], found[j])) << i << " " << j;
    }
}

TEST(Weight, ReadErrorsArePassedOn) {
    for (const WeightLayout layout : {WeightLayout::row_major, WeightLayout::cpu_rows16}) {
        const File file(WeightFormat::fp8, 40, 64, 4);
        WeightSource source = file.source();
        source.read_rows = [](int64_t, int64_t, std::byte*, std::byte*) -> Result<void> {
            return error(ErrorCode::io, "the disk is gone");
        };
        Packed p = packed(file, layout);
        const auto done = pack(source, device::cpu_device(), {}, p.weight);
        ASSERT_FALSE(done);
        EXPECT_EQ(done.error().message, "the disk is gone");
    }
}

TEST(Weight, RowScalesComeWithTheSource) {
    const File file(WeightFormat::fp8, 20, 48, 5);
    WeightSource source = file.source();
    for (int i = 0; i < 20; ++i) source.row_scale.push_back(static_cast<float>(i));
    Packed p = packed(file, WeightLayout::cpu_rows16);
    const auto without = row(p.weight, 7);
    std::vector<float> memory(20);
    p.weight.row_scale = device::Tensor(memory.data(), device::DType::f32, {20});
    ASSERT_TRUE(pack(source, device::cpu_device(), {}, p.weight));
    const auto with = row(p.weight, 7);
    for (size_t j = 0; j < with.size(); ++j) EXPECT_TRUE(same(with[j], without[j] * 7.0f));
}

}  // namespace
}  // namespace nibble::ops
