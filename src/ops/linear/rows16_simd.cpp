// The portable kernel of rows16.h: weights decoded to float32, float32 multiply-add. 4, 8 or 16 rows a vector.
//
// Sums of a (row, token): spans of 64 k (nvfp4: the groups of 16), in each a sum over even and one over odd k; spans
// are added in order. 4-bit codes become the integers 2w by a byte look-up, then floats; the factor 1/2 is the scale's.
#include "ops/linear/rows16.h"
#include "ops/simd.h"

#include "numeric/bf16.h"

#include <algorithm>
#include <cstring>

#ifndef NIBBLE_TWICE_E2M1
#define NIBBLE_TWICE_E2M1
namespace nibble::ops {
// Twice the values of the 16 codes, as int8 and as float32.
alignas(16) constexpr uint8_t kTwiceE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, 255, 254, 253, 252, 250, 248, 244};
alignas(64) constexpr float kTwiceE2m1Floats[16] = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};
}  // namespace nibble::ops
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/rows16_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

using W = hn::Vec<Words>;
constexpr int kParts = static_cast<int>(kBlockRows / kLanes);  // vectors that hold 16 rows
constexpr int64_t kMaxWidth = kLanes >= 16 ? 8 : 4;            // columns whose three sums stay in registers

// A decoder yields the weights of kStep consecutive k from one vector of lanes, and the span's scale.
struct F32Decoder {
    static constexpr int kStep = 1, kSpan = 64;
    static constexpr bool kScaled = false;
    using Raw = F;
    static const std::byte* span(const std::byte* block, int64_t index) { return block + index * 64 * 64; }
    static Raw load(const std::byte* from) { return hn::Load(Floats(), reinterpret_cast<const float*>(from)); }
    template <int>
    static F weight(Raw raw) {
        return raw;
    }
};

inline W load_words(const std::byte* from) {
    return hn::Load(Words(), reinterpret_cast<const uint32_t*>(from));
}

struct Bf16Decoder {
    static constexpr int kStep = 2, kSpan = 64;
    static constexpr bool kScaled = false;
    using Raw = W;
    static const std::byte* span(const std::byte* block, int64_t index) { return block + index * 32 * 64; }
    static Raw load(const std::byte* from) { return load_words(from); }
    template <int i>
    static F weight(Raw raw) {
        if constexpr (i == 0) return hn::BitCast(Floats(), hn::ShiftLeft<16>(raw));
        return hn::BitCast(Floats(), hn::And(raw, hn::Set(Words(), 0xFFFF0000u)));
    }
};

struct Fp8Decoder {
    static constexpr int kStep = 4, kSpan = 64;
    static constexpr bool kScaled = false;
    using Raw = W;
    static const std::byte* span(const std::byte* block, int64_t index) { return block + index * 16 * 64; }
    static Raw load(const std::byte* from) { return load_words(from); }
    // Sign in place, the magnitude in bits 26…20: a float32 (subnormal for small ones) 2^-120 times too small.
    template <int i>
    static F weight(Raw raw) {
        constexpr int kByte = i == 1 ? 2 : i == 2 ? 1 : i;
        const auto top = hn::BitCast(Integers(), hn::ShiftLeft<24 - 8 * kByte>(raw));
        const W bits = hn::And(hn::BitCast(Words(), hn::ShiftRight<4>(top)), hn::Set(Words(), 0x87F00000u));
        const W nan = hn::Set(Words(), 0x07F00000u);
        const F value = hn::Mul(hn::BitCast(Floats(), bits), hn::Set(Floats(), 0x1p120f));
        return hn::IfThenElse(hn::RebindMask(Floats(), hn::Eq(hn::And(bits, nan), nan)),
                              hn::BitCast(Floats(), hn::Set(Words(), 0x7FC00000u)), value);
    }
};

struct Nvfp4Decoder {
    static constexpr int kStep = 8, kSpan = 16;
    static constexpr bool kScaled = true;
    static const std::byte* span(const std::byte* block, int64_t index) {
        return block + index / 4 * kNvfp4TileBytes + index % 4 * 128;
    }
#if HWY_TARGET == HWY_SCALAR
    using Raw = W;
    static Raw load(const std::byte* from) {
        return load_words(from);
    }
    template <int i>  // k = 2s + j: nibble s of half-lane j
    static F weight(Raw raw) {
        const uint32_t code = hn::GetLane(hn::ShiftRight<i % 2 * 16 + i / 2 * 4>(raw)) & 15u;
        return hn::Set(Floats(), static_cast<float>(static_cast<int8_t>(kTwiceE2m1[code])));
    }
#elif HWY_TARGET <= HWY_AVX3
    // One look-up a weight: the index is the low 4 bits of a lane, the rest is ignored.
    using Raw = W;
    static Raw load(const std::byte* from) {
        return load_words(from);
    }
    template <int i>
    static F weight(Raw raw) {
        const W index = hn::ShiftRight<i % 2 * 16 + i / 2 * 4>(raw);
        return F{_mm512_permutexvar_ps(index.raw, _mm512_load_ps(kTwiceE2m1Floats))};
    }
#else
    using Bytes = hn::Repartition<uint8_t, Floats>;
    struct Raw {
        hn::Vec<Bytes> low, high;  // twice the values of every byte's low and high nibble, as int8
    };
    static Raw load(const std::byte* from) {
        const Bytes d;
        const W raw = load_words(from);
        const hn::Vec<Bytes> table = hn::LoadDup128(d, kTwiceE2m1), mask = hn::Set(d, 0x0F);
        return {hn::TableLookupBytes(table, hn::And(hn::BitCast(d, raw), mask)),
                hn::TableLookupBytes(table, hn::And(hn::BitCast(d, hn::ShiftRight<4>(raw)), mask))};
    }
    template <int i>  // k = 2s + j: nibble s of half-lane j
    static F weight(const Raw& raw) {
        constexpr int kByte = i % 2 * 2 + i / 4;
        const W codes = hn::BitCast(Words(), i / 2 % 2 == 0 ? raw.low : raw.high);
        const auto top = hn::BitCast(Integers(), hn::ShiftLeft<24 - 8 * kByte>(codes));
        return hn::ConvertTo(Floats(), hn::ShiftRight<24>(top));
    }
#endif
    static F scale(const std::byte* block, int64_t index, int64_t row) {
        const std::byte* scales = block + index / 4 * kNvfp4TileBytes + kNvfp4TileScales;
        const W shifted = hn::ShiftRightSame(load_words(scales + 4 * row), static_cast<int>(index % 4 * 8));
        // The weights are twice theirs.
        return hn::Mul(e4m3_lanes(hn::And(shifted, hn::Set(Words(), 0x7Fu))), hn::Set(Floats(), 0.5f));
    }
};

template <class Decoder, int i, int kWidth>
HWY_INLINE void multiply_add(const typename Decoder::Raw& raw, const float* x, F (&sum)[2][kWidth]) {
    if constexpr (i < Decoder::kStep) {
        const F weight = Decoder::template weight<i>(raw);
        NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) sum[i % 2][t] =
            hn::MulAdd(weight, hn::Set(Floats(), x[i * kWidth + t]), sum[i % 2][t]);
    }
}

// kPart vectors of rows from row `first` on, kWidth columns. x: [K][kWidth].
template <class Decoder, int kPart, int kWidth>
HWY_INLINE void multiply_rows(const std::byte* block, int64_t k, int64_t first, const float* x,
                              F (&total)[kPart][kWidth]) {
    const Floats d;
    NIBBLE_UNROLL for (int p = 0; p < kPart; ++p) NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) total[p][t] =
        hn::Zero(d);
    for (int64_t at = 0, index = 0; at < k; at += Decoder::kSpan, ++index) {
        const std::byte* from = Decoder::span(block, index) + 4 * first;
        const int64_t steps = round_up(std::min<int64_t>(k - at, Decoder::kSpan), 8) / Decoder::kStep;
        F sum[kPart][2][kWidth];
        NIBBLE_UNROLL for (int p = 0; p < kPart; ++p) NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) sum[p][0][t] =
            sum[p][1][t] = hn::Zero(d);
        // Two steps a turn where a step is one k, so that even and odd stay apart.
        constexpr int kSteps = Decoder::kStep == 1 ? 2 : 1;
        for (int64_t step = 0; step < steps; step += kSteps, from += kSteps * 64, x += kSteps * Decoder::kStep * kWidth)
            NIBBLE_UNROLL for (int p = 0; p < kPart; ++p) {
                const typename Decoder::Raw raw = Decoder::load(from + p * kLanes * 4);
                multiply_add<Decoder, 0>(raw, x, sum[p]);
                multiply_add<Decoder, 1>(raw, x, sum[p]);
                multiply_add<Decoder, 2>(raw, x, sum[p]);
                multiply_add<Decoder, 3>(raw, x, sum[p]);
                multiply_add<Decoder, 4>(raw, x, sum[p]);
                multiply_add<Decoder, 5>(raw, x, sum[p]);
                multiply_add<Decoder, 6>(raw, x, sum[p]);
                multiply_add<Decoder, 7>(raw, x, sum[p]);
                if constexpr (kSteps == 2) {
                    const F weight = Decoder::template weight<0>(Decoder::load(from + 64 + p * kLanes * 4));
                    NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) sum[p][1][t] =
                        hn::MulAdd(weight, hn::Set(d, x[kWidth + t]), sum[p][1][t]);
                }
            }
        NIBBLE_UNROLL for (int p = 0; p < kPart; ++p) {
            if constexpr (Decoder::kScaled) {
                const F scale = Decoder::scale(block, index, first + p * kLanes);
                NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) total[p][t] =
                    hn::MulAdd(hn::Add(sum[p][0][t], sum[p][1][t]), scale, total[p][t]);
            } else {
                NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) total[p][t] =
                    hn::Add(total[p][t], hn::Add(sum[p][0][t], sum[p][1][t]));
            }
        }
    }
}

template <class Decoder, int kWidth>
void multiply_blocks(const Weight& weight, int64_t begin, int64_t end, const float* x, float* sums, int64_t stride) {
    const Floats d;
    // One column: all 16 rows at once, so that the weights are one stream. More: as many rows as registers allow.
    constexpr int kPart = kWidth == 1 ? kParts : 1;
    const int64_t block_bytes = rows16_block_bytes(weight.format, weight.k);
    for (int64_t b = begin; b < end; ++b, sums += kBlockRows) {
        alignas(64) float scale[kBlockRows];
        for (int64_t r = 0; r < kBlockRows; ++r) scale[r] = weight.scale;
        if (!weight.row_scale.empty())
            for (int64_t r = 0; r < std::min(kBlockRows, weight.n - b * kBlockRows); ++r)
                scale[r] *= weight.row_scale.as<const float>()[b * kBlockRows + r];
        for (int64_t first = 0; first < kBlockRows; first += kPart * kLanes) {
            F total[kPart][kWidth];
            multiply_rows<Decoder, kPart, kWidth>(weight.data + b * block_bytes, weight.k, first, x, total);
            NIBBLE_UNROLL for (int p = 0; p < kPart; ++p) NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) {
                const int64_t row = first + p * kLanes;
                hn::StoreU(hn::Mul(total[p][t], hn::Load(d, scale + row)), d, sums + t * stride + row);
            }
        }
    }
}

template <int kWidth>
void multiply_format(const Weight& weight, int64_t begin, int64_t end, const float* x, float* sums, int64_t stride) {
    switch (weight.format) {
        case WeightFormat::f32:
            return multiply_blocks<F32Decoder, kWidth>(weight, begin, end, x, sums, stride);
        case WeightFormat::bf16:
            return multiply_blocks<Bf16Decoder, kWidth>(weight, begin, end, x, sums, stride);
        case WeightFormat::fp8:
            return multiply_blocks<Fp8Decoder, kWidth>(weight, begin, end, x, sums, stride);
        case WeightFormat::nvfp4:
            return multiply_blocks<Nvfp4Decoder, kWidth>(weight, begin, end, x, sums, stride);
    }
}

void multiply_simd(const Weight& weight, int64_t begin, int64_t end, const std::byte* panel, int64_t width, float* sums,
                   int64_t stride) {
    const float* x = reinterpret_cast<const float*>(panel);
    switch (width) {
        case 1:
            return multiply_format<1>(weight, begin, end, x, sums, stride);
        case 2:
            return multiply_format<2>(weight, begin, end, x, sums, stride);
        case 4:
            return multiply_format<4>(weight, begin, end, x, sums, stride);
        case 8:
            if constexpr (kMaxWidth >= 8) return multiply_format<8>(weight, begin, end, x, sums, stride);
    }
    CHECK(false, "a panel of width {}", width);
}

int64_t max_width_simd() {
    return kMaxWidth;
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {
namespace {

HWY_EXPORT(multiply_simd);
HWY_EXPORT(max_width_simd);

void multiply(const Weight& weight, int64_t begin, int64_t end, const std::byte* panel, int64_t width, float* sums,
              int64_t stride) {
    HWY_DYNAMIC_DISPATCH(multiply_simd)(weight, begin, end, panel, width, sums, stride);
}

int64_t width_for(int64_t tokens) {
    return tokens <= 2 ? tokens : tokens <= 4 ? 4 : 8;
}

// A panel block: [K rounded up to 64][width] float32.
int64_t panel_block_bytes(int64_t k, int64_t width) {
    return round_up(k, 64) * width * 4;
}

template <class T, class ToFloat>
void pack_column(const T* from, int64_t count, int64_t width, float* to, ToFloat&& to_float) {
    for (int64_t i = 0; i < count; ++i) to[i * width] = to_float(from[i]);
}

void pack(const Tensor& x, const int32_t* rows, int64_t tokens, int64_t width, int64_t k_begin, int64_t k_end,
          std::byte* block) {
    float* to = reinterpret_cast<float*>(block) + k_begin * width;
    if (const int64_t padded = round_up(k_end, 64); tokens < width || padded != k_end)
        std::memset(to, 0, static_cast<size_t>((padded - k_begin) * width * 4));
    for (int64_t i = 0; i < tokens; ++i) {
        const int64_t row = rows != nullptr ? rows[i] : i;
        if (x.dtype() == DType::f32)
            pack_column(x.row_as<const float>(row) + k_begin, k_end - k_begin, width, to + i,
                        [](float v) { return v; });
        else
            pack_column(x.row_as<const numeric::bf16>(row) + k_begin, k_end - k_begin, width, to + i,
                        [](numeric::bf16 v) { return v.to_float(); });
    }
}

}  // namespace

const RowKernel* rows16_simd() {
    static constexpr RowKernel wide{.name = "simd",
                                    .max_width = 8,
                                    .width = width_for,
                                    .panel_block_bytes = panel_block_bytes,
                                    .pack = pack,
                                    .multiply = multiply};
    static constexpr RowKernel narrow{.name = "simd",
                                      .max_width = 4,
                                      .width = width_for,
                                      .panel_block_bytes = panel_block_bytes,
                                      .pack = pack,
                                      .multiply = multiply};
    return HWY_DYNAMIC_DISPATCH(max_width_simd)() == wide.max_width ? &wide : &narrow;
}

}  // namespace nibble::ops
#endif
