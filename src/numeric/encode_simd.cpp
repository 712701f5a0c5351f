// Encoding with the vectors at hand (Highway, chosen at run time). A block of 16 values is 1, 2 or 4 vectors.
#include "numeric/encode.h"

#include "base/check.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <algorithm>
#include <cmath>
#include <cstring>

// Scalable vectors cannot be kept in arrays.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "numeric/encode_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace nibble::numeric::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Words = hn::RebindToUnsigned<Floats>;
using Halves = hn::Rebind<uint16_t, Floats>;
using Bytes = hn::Rebind<uint8_t, Floats>;
using F = hn::Vec<Floats>;
using W = hn::Vec<Words>;
constexpr size_t kLanes = hn::MaxLanes(Floats());
constexpr size_t kParts = kNvfp4Group / kLanes;

// A scale's neighbours that a search looks at, as E4M3 codes, of which eight make a factor of two: below, the largest
// values are cut, for columns that count more; above, they are met by 4 or 3 instead of 6.
constexpr int kBelow = 8, kAbove = 8;

struct Block {
    F value[kParts];
    F weight[kParts];  // of the columns
};

// Adding 1.5 · 2^23 steps rounds a magnitude to a whole number of steps, to even; the sum's low bits are that number.
// E2M1 has steps of 0.5 below 2, of 1 below 4 and of 2 above: rounding never crosses a border wrongly, because each
// border is a value of both sides.
struct Rounder {
    F magic;
    explicit Rounder(F magnitude) {
        const Floats d;
        const F coarse =
            hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 4.0f)), hn::Set(d, 0x1.8p23f), hn::Set(d, 0x1.8p24f));
        magic = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 2.0f)), hn::Set(d, 0x1.8p22f), coarse);
    }
};

// |error| of each magnitude (in units of the step) when it is rounded to E2M1.
HWY_INLINE F rounding_error(F magnitude) {
    const F cut = hn::Min(magnitude, hn::Set(Floats(), 6.0f));
    const F magic = Rounder(cut).magic;
    return hn::Sub(magnitude, hn::Sub(hn::Add(cut, magic), magic));
}

// The codes of values / step; a negative zero counts as zero, as modelopt compares with zero.
HWY_INLINE W codes_of(F scaled, F& error) {
    const Floats d;
    const Words w;
    const F magnitude = hn::Abs(scaled);
    const F cut = hn::Min(magnitude, hn::Set(d, 6.0f));
    const F magic = Rounder(cut).magic;
    const F sum = hn::Add(cut, magic);
    error = hn::Sub(magnitude, hn::Sub(sum, magic));
    // Steps of 0.5 count 0..4 and are the code; of 1 they count 2..4, two less than it; of 2, 2..3, four less.
    const W steps = hn::And(hn::BitCast(w, sum), hn::Set(w, 7));
    const F more =
        hn::IfThenElse(hn::Lt(cut, hn::Set(d, 4.0f)), hn::BitCast(d, hn::Set(w, 2)), hn::BitCast(d, hn::Set(w, 4)));
    const F offset = hn::IfThenElseZero(hn::Ge(cut, hn::Set(d, 2.0f)), more);
    const F sign = hn::IfThenElseZero(hn::Lt(scaled, hn::Zero(d)), hn::BitCast(d, hn::Set(w, 8)));
    return hn::Or(hn::Add(steps, hn::BitCast(w, offset)), hn::BitCast(w, sign));
}

HWY_INLINE float sum_of_squares(const F (&values)[kParts]) {
    F sum = hn::Mul(values[0], values[0]);
    for (size_t i = 1; i < kParts; ++i) sum = hn::Add(sum, hn::Mul(values[i], values[i]));
    return hn::GetLane(hn::SumOfLanes(Floats(), sum));
}

HWY_INLINE float weighted_squares(const F (&values)[kParts], const F (&weights)[kParts]) {
    F sum = hn::Mul(hn::Mul(values[0], values[0]), weights[0]);
    for (size_t i = 1; i < kParts; ++i) sum = hn::Add(sum, hn::Mul(hn::Mul(values[i], values[i]), weights[i]));
    return hn::GetLane(hn::SumOfLanes(Floats(), sum));
}

// Sixteen codes, a byte each, to eight bytes, the first code low.
HWY_INLINE void pack(const uint8_t* codes, uint8_t* into) {
    for (int half = 0; half < 2; ++half) {
        uint64_t x;
        std::memcpy(&x, codes + half * 8, 8);
        x = (x | (x >> 4)) & 0x00FF00FF00FF00FFull;
        x = (x | (x >> 8)) & 0x0000FFFF0000FFFFull;
        const uint32_t packed = static_cast<uint32_t>(x | (x >> 16));
        std::memcpy(into + half * 4, &packed, 4);
    }
}

// The E4M3 code near `plain` with the least weighted error, the lowest of equals.
uint8_t searched_scale(const Block& block, uint8_t plain, float scale) {
    const int first = std::max(int{plain} - kBelow, 1), last = std::min(int{plain} + kAbove, 0x7E);
    uint8_t best = plain;
    float least = INFINITY;
    for (int code = first; code <= last; ++code) {
        const float step = kE4m3Table[static_cast<size_t>(code)] * scale;
        const F inverse = hn::Set(Floats(), 1.0f / step);
        F errors[kParts];
        for (size_t i = 0; i < kParts; ++i) errors[i] = rounding_error(hn::Mul(hn::Abs(block.value[i]), inverse));
        const float error = weighted_squares(errors, block.weight) * step * step;
        if (error < least) {
            least = error;
            best = static_cast<uint8_t>(code);
        }
    }
    return best;
}

}  // namespace

void widen_bf16(std::span<const std::byte> bytes, std::span<float> values) {
    const auto* from = reinterpret_cast<const uint16_t*>(bytes.data());
    size_t i = 0;
    for (; i + kLanes <= values.size(); i += kLanes) {
        const auto halves = hn::LoadU(Halves(), from + i);
        hn::StoreU(hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), halves))), Floats(),
                   values.data() + i);
    }
    for (; i < values.size(); ++i) {
        uint16_t half;
        std::memcpy(&half, bytes.data() + i * 2, 2);
        values[i] = std::bit_cast<float>(uint32_t{half} << 16);
    }
}

float largest_magnitude(std::span<const float> values) {
    const Floats d;
    F most[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    size_t i = 0;
    for (; i + 4 * kLanes <= values.size(); i += 4 * kLanes)
        for (size_t j = 0; j < 4; ++j)
            most[j] = hn::Max(most[j], hn::Abs(hn::LoadU(d, values.data() + i + j * kLanes)));
    float largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(most[0], most[1]), hn::Max(most[2], most[3]))));
    for (; i < values.size(); ++i) largest = std::max(largest, std::fabs(values[i]));
    return largest;
}

EncodingError nvfp4_encode(std::span<const float> values, float scale, ScaleSearch search,
                           std::span<const float> weights, std::span<uint8_t> codes, std::span<uint8_t> scales) {
    const Floats d;
    const float six_scales = 6.0f * scale;
    EncodingError lost;
    for (size_t b = 0; b < scales.size(); ++b) {
        const float* from = values.data() + b * kNvfp4Group;
        Block block;
        F most = hn::Zero(d);
        for (size_t i = 0; i < kParts; ++i) {
            block.value[i] = hn::LoadU(d, from + i * kLanes);
            block.weight[i] =
                weights.empty() ? hn::Set(d, 1.0f) : hn::LoadU(d, weights.data() + b * kNvfp4Group + i * kLanes);
            most = hn::Max(most, hn::Abs(block.value[i]));
        }
        float wanted = hn::GetLane(hn::MaxOfLanes(d, most)) / six_scales;
        if (!(wanted > 0.0f)) wanted = 1.0f;  // a block of zeros
        scales[b] = e4m3_from_float(std::clamp(wanted, 0x1p-9f, kE4m3Max));
        if (search == ScaleSearch::mse) scales[b] = searched_scale(block, scales[b], scale);
        const float step = kE4m3Table[scales[b]] * scale;
        alignas(16) uint8_t nibbles[kNvfp4Group] = {};
        F errors[kParts];
        if (step > 0.0f) {
            const F divisor = hn::Set(d, step);
            for (size_t i = 0; i < kParts; ++i) {
                const W code = codes_of(hn::Div(block.value[i], divisor), errors[i]);
                hn::StoreU(hn::DemoteTo(Bytes(), hn::BitCast(hn::RebindToSigned<Floats>(), code)), Bytes(),
                           nibbles + i * kLanes);
            }
            lost.squared_error += static_cast<double>(sum_of_squares(errors)) * step * step;
            lost.weighted_error += static_cast<double>(weighted_squares(errors, block.weight)) * step * step;
        }
        lost.squared_value += static_cast<double>(sum_of_squares(block.value));
        pack(nibbles, codes.data() + b * (kNvfp4Group / 2));
    }
    return lost;
}

EncodingError fp8_encode(std::span<const float> values, float scale, std::span<uint8_t> codes) {
    const Floats d;
    const Words w;
    const F divisor = hn::Set(d, scale);
    double squared_error = 0, squared_value = 0;
    const auto encode = [&](F value, F& error) {  // e4m3_from_float (numeric/fp8.h), every branch at once
        const F scaled = hn::Div(value, divisor);
        const F magnitude = hn::Abs(scaled);
        const W bits = hn::BitCast(w, magnitude);
        const W even = hn::And(hn::ShiftRight<20>(bits), hn::Set(w, 1));
        const W normal =
            hn::ShiftRight<20>(hn::Sub(hn::Add(hn::Add(bits, hn::Set(w, 0x7FFFF)), even), hn::Set(w, 0x3C000000)));
        const F shifted = hn::Add(magnitude, hn::Set(d, 16384.0f));
        const W subnormal = hn::Sub(hn::BitCast(w, shifted), hn::Set(w, 0x46800000));
        const W code = hn::BitCast(w, hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0x1p-6f)), hn::BitCast(d, subnormal),
                                                     hn::BitCast(d, normal)));
        const W cut = hn::Min(code, hn::Set(w, 0x7E));
        // e4m3_to_float: the code moved to float's mantissa is 2^-120 of the value.
        const F back = hn::Mul(hn::BitCast(d, hn::ShiftLeft<20>(cut)), hn::Set(d, 0x1p120f));
        error = hn::Sub(magnitude, back);
        return hn::Or(cut, hn::And(hn::ShiftRight<24>(hn::BitCast(w, scaled)), hn::Set(w, 0x80)));
    };
    const auto block = [&](const float* from, uint8_t* into) {
        F value[kParts], errors[kParts];
        for (size_t i = 0; i < kParts; ++i) {
            value[i] = hn::LoadU(d, from + i * kLanes);
            const W code = encode(value[i], errors[i]);
            hn::StoreU(hn::DemoteTo(Bytes(), hn::BitCast(hn::RebindToSigned<Floats>(), code)), Bytes(),
                       into + i * kLanes);
        }
        squared_error += static_cast<double>(sum_of_squares(errors));
        squared_value += static_cast<double>(sum_of_squares(value));
    };
    size_t i = 0;
    for (; i + kNvfp4Group <= values.size(); i += kNvfp4Group) block(values.data() + i, codes.data() + i);
    if (i < values.size()) {
        float rest[kNvfp4Group] = {};
        uint8_t rest_codes[kNvfp4Group];
        std::copy(values.begin() + static_cast<ptrdiff_t>(i), values.end(), rest);
        block(rest, rest_codes);
        std::copy_n(rest_codes, values.size() - i, codes.begin() + static_cast<ptrdiff_t>(i));
    }
    const double error = squared_error * scale * scale;
    return {.squared_error = error, .squared_value = squared_value, .weighted_error = error};
}

}  // namespace nibble::numeric::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::numeric {

HWY_EXPORT(widen_bf16);
HWY_EXPORT(largest_magnitude);
HWY_EXPORT(nvfp4_encode);
HWY_EXPORT(fp8_encode);

double EncodingError::relative() const {
    return squared_value > 0 ? std::sqrt(squared_error / squared_value) : 0;
}

void widen_bf16(std::span<const std::byte> bytes, std::span<float> values) {
    CHECK(bytes.size() == values.size() * 2);
    HWY_DYNAMIC_DISPATCH(widen_bf16)(bytes, values);
}

float largest_magnitude(std::span<const float> values) {
    return HWY_DYNAMIC_DISPATCH(largest_magnitude)(values);
}

EncodingError nvfp4_encode(std::span<const float> values, float scale, ScaleSearch search,
                           std::span<const float> weights, std::span<uint8_t> codes, std::span<uint8_t> scales) {
    CHECK(codes.size() * 2 == values.size() && scales.size() * kNvfp4Group == values.size() && scale > 0.0f &&
          (weights.empty() || weights.size() == values.size()));
    return HWY_DYNAMIC_DISPATCH(nvfp4_encode)(values, scale, search, weights, codes, scales);
}

EncodingError fp8_encode(std::span<const float> values, float scale, std::span<uint8_t> codes) {
    CHECK(codes.size() == values.size() && scale > 0.0f);
    return HWY_DYNAMIC_DISPATCH(fp8_encode)(values, scale, codes);
}

}  // namespace nibble::numeric
#endif
