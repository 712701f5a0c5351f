#include "model/random_weights.h"

#include <cmath>
#include <cstring>

namespace nibble::model {
namespace {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one multiplication chain a word, good enough for codes.
struct Random {
    uint64_t state;
    uint64_t next() {
        uint64_t z = (state += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
    double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
};

uint64_t hash(uint64_t seed, std::string_view name) {
    uint64_t h = 0xCBF29CE484222325ull ^ seed;
    for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
    return Random{h}.next();
}

// Every 64-bit word of `bytes` bytes is a random word through (word & keep) | set.
void fill(Random& random, uint64_t keep, uint64_t set, std::byte* to, int64_t bytes) {
    while (bytes > 0) {
        const uint64_t word = (random.next() & keep) | set;
        const int64_t part = bytes < 8 ? bytes : 8;
        std::memcpy(to, &word, static_cast<size_t>(part));
        to += part;
        bytes -= part;
    }
}

constexpr uint64_t repeat16(uint16_t v) {
    return v * 0x0001000100010001ull;
}
constexpr uint64_t repeat8(uint8_t v) {
    return v * 0x0101010101010101ull;
}

// Root mean squares of the codes below; see fill_row.
constexpr double kMantissaRms = 1.5275252316519468;  // ±[1, 2): sqrt(7 / 3)
constexpr double kFp8Rms = 0.8444;                   // ±[1, 1.875] · 2^{-3 … 0}
constexpr double kNvfp4Rms = 3.3907;                 // any E2M1 code times a block scale of [0.5, 1.875]

void fill_row(ops::WeightFormat format, int64_t k, int exponent, Random random, std::byte* codes, std::byte* scales) {
    switch (format) {
        case ops::WeightFormat::f32: {
            const uint64_t bits = static_cast<uint64_t>(exponent + 127) << 23;
            return fill(random, 0x807FFFFF807FFFFFull, bits | (bits << 32), codes, 4 * k);
        }
        case ops::WeightFormat::bf16:
            return fill(random, repeat16(0x807F), repeat16(static_cast<uint16_t>((exponent + 127) << 7)), codes, 2 * k);
        case ops::WeightFormat::fp8:
            return fill(random, repeat8(0x9F), repeat8(0x20), codes, k);
        case ops::WeightFormat::nvfp4:
            fill(random, ~0ull, 0, codes, k / 2);
            return fill(random, repeat8(0x0F), repeat8(0x30), scales, k / 16);
    }
}

}  // namespace

ops::WeightSource random_matrix(ops::WeightFormat format, int64_t n, int64_t k, RandomRows rows, uint64_t seed,
                                std::string_view name) {
    const double target = rows == RandomRows::projection ? 1.0 / std::sqrt(static_cast<double>(k)) : 1.0;
    ops::WeightSource source{.format = format, .n = n, .k = k};
    int exponent = 0;
    if (format == ops::WeightFormat::fp8)
        source.scale = static_cast<float>(target / kFp8Rms);
    else if (format == ops::WeightFormat::nvfp4)
        source.scale = static_cast<float>(target / kNvfp4Rms);
    else
        exponent = static_cast<int>(std::lround(std::log2(target / kMantissaRms)));
    const uint64_t key = hash(seed, name);
    source.read_rows = [=](int64_t row, int64_t count, std::byte* codes, std::byte* scales) -> Result<void> {
        const int64_t code_bytes = ops::row_code_bytes(format, k), scale_bytes = ops::row_scale_bytes(format, k);
        for (int64_t i = 0; i < count; ++i)
            fill_row(format, k, exponent, Random{Random{key + static_cast<uint64_t>(row + i)}.next()},
                     codes + i * code_bytes, scales == nullptr ? nullptr : scales + i * scale_bytes);
        return {};
    };
    return source;
}

std::vector<float> random_values(RandomValues kind, int64_t count, int64_t width, uint64_t seed,
                                 std::string_view name) {
    Random random{hash(seed, name)};
    const auto normal = [&] {  // a sum of 12 uniforms has variance 1
        double sum = -6;
        for (int i = 0; i < 12; ++i) sum += random.uniform();
        return sum;
    };
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) {
        switch (kind) {
            case RandomValues::ones:
                v = 1.0f;
                break;
            case RandomValues::zeros:
                v = 0.0f;
                break;
            case RandomValues::unit:
                v = static_cast<float>(normal());
                break;
            case RandomValues::conv:
                v = static_cast<float>(normal() / std::sqrt(static_cast<double>(width)));
                break;
            case RandomValues::a_log:
                v = static_cast<float>(std::log(1.0 + 15.0 * random.uniform()));
                break;
            case RandomValues::dt_bias: {
                const double dt = 0.001 * std::pow(100.0, random.uniform());
                v = static_cast<float>(dt + std::log(-std::expm1(-dt)));  // the inverse of softplus
                break;
            }
        }
    }
    return values;
}

}  // namespace nibble::model
