#include "model/random_weights.h"

#include "base/check.h"
#include "device/device.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nibble::model {
namespace {

using ops::WeightFormat;

std::vector<float> values_of(const ops::WeightSource& source) {
    const device::Device cpu = device::cpu_device();
    ops::Weight weight{.format = source.format, .n = source.n, .k = source.k};
    std::vector<std::byte> memory(
        static_cast<size_t>(ops::packed_bytes(source.format, weight.layout, source.n, source.k)));
    weight.data = memory.data();
    EXPECT_TRUE(ops::pack(source, cpu, {}, weight));
    std::vector<float> values(static_cast<size_t>(source.n * source.k));
    for (int64_t n = 0; n < source.n; ++n) ops::unpack_row(weight, n, values.data() + n * source.k);
    return values;
}

double rms(const std::vector<float>& values) {
    double square = 0;
    for (float v : values) square += double(v) * v;
    return std::sqrt(square / static_cast<double>(values.size()));
}

TEST(RandomWeights, KeepTheVarianceInEveryFormat) {
    for (WeightFormat format : {WeightFormat::f32, WeightFormat::bf16, WeightFormat::fp8, WeightFormat::nvfp4}) {
        const int64_t k = 2688;
        const auto values = values_of(random_matrix(format, 64, k, RandomRows::projection, 1, "a"));
        for (float v : values) ASSERT_TRUE(std::isfinite(v));
        // Plain formats hit the variance by a power of two, the scaled ones by their scale.
        const double slack = format == WeightFormat::f32 || format == WeightFormat::bf16 ? 1.42 : 1.02;
        EXPECT_GT(rms(values) * std::sqrt(k), 1 / slack) << ops::name(format);
        EXPECT_LT(rms(values) * std::sqrt(k), slack) << ops::name(format);
        double sum = 0;
        for (float v : values) sum += v;
        EXPECT_LT(std::fabs(sum) / static_cast<double>(values.size()), 0.02 * rms(values)) << ops::name(format);
    }
}

TEST(RandomWeights, AreTheSameForASeedAndANameInAnyPieces) {
    const auto source = random_matrix(WeightFormat::nvfp4, 8, 32, RandomRows::projection, 1, "a");
    std::vector<std::byte> whole(8 * 16), scales(8 * 2), row(16), row_scales(2);
    ASSERT_TRUE(source.read_rows(0, 8, whole.data(), scales.data()));
    for (int64_t n = 7; n >= 0; --n) {
        ASSERT_TRUE(source.read_rows(n, 1, row.data(), row_scales.data()));
        EXPECT_TRUE(std::equal(row.begin(), row.end(), whole.begin() + n * 16));
        EXPECT_TRUE(std::equal(row_scales.begin(), row_scales.end(), scales.begin() + n * 2));
    }
    std::vector<std::byte> other(8 * 16);
    for (const auto& different : {random_matrix(WeightFormat::nvfp4, 8, 32, RandomRows::projection, 2, "a"),
                                  random_matrix(WeightFormat::nvfp4, 8, 32, RandomRows::projection, 1, "b")}) {
        ASSERT_TRUE(different.read_rows(0, 8, other.data(), scales.data()));
        EXPECT_NE(whole, other);
    }
}

TEST(RandomValues, AreInTheirRanges) {
    for (float v : random_values(RandomValues::a_log, 256, 0, 1, "A_log")) {
        EXPECT_GE(v, 0.0f);
        EXPECT_LE(v, std::log(16.0f));
    }
    for (float v : random_values(RandomValues::dt_bias, 256, 0, 1, "dt_bias")) {
        const double dt = std::log1p(std::exp(double(v)));
        EXPECT_GE(dt, 0.00099);
        EXPECT_LE(dt, 0.101);
    }
    EXPECT_NEAR(rms(random_values(RandomValues::unit, 4096, 0, 1, "x")), 1.0, 0.05);
    EXPECT_NEAR(rms(random_values(RandomValues::conv, 4096, 4, 1, "x")), 0.5, 0.05);
}

}  // namespace
}  // namespace nibble::model
