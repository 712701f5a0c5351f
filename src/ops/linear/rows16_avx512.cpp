// The AVX-512 BF16 kernel of rows16.h: vdpbf16ps on weights decoded to bf16 in registers. Exact: every code of every
// format is a bf16 number, products of two of them are float32 numbers, and block scales multiply sums of 16 products.
//
// What bounds it (Zen 4, 512-bit operations take two of four 256-bit pipes): one token of nvfp4 costs 13 cycles a group
// of 16 x 16 weights (8 table look-ups, 8 products, 6 shifts), 144 bytes, i.e. 11 bytes a cycle: more than a core can
// draw from memory. From 8 tokens on, the products are what counts (one a cycle).
#include "ops/linear/rows16.h"

#if defined(__x86_64__)

#include "numeric/bf16.h"
#include "numeric/fp4.h"
#include "numeric/fp8.h"
#include "ops/simd.h"

#include <hwy/base.h>
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace nibble::ops {
namespace {

// Half-lane look-up for 4-bit codes: the bf16 of the code in the low 4 bits; the 5th bit, of another code, is ignored
// by holding the 16 entries twice.
alignas(64) constexpr std::array<uint16_t, 32> kE2m1AsBf16 = [] {
    std::array<uint16_t, 32> table{};
    for (size_t i = 0; i < 32; ++i) table[i] = numeric::bf16::from_float(numeric::kE2m1Table[i % 16]).bits;
    return table;
}();

// The bf16 of the 128 E4M3 magnitudes, as upper and lower bytes.
struct ByteTable {
    alignas(64) std::array<uint8_t, 128> byte;
};
constexpr ByteTable e4m3_bytes(int shift) {
    ByteTable table{};
    for (size_t i = 0; i < 128; ++i)
        table.byte[i] = static_cast<uint8_t>(numeric::bf16::from_float(numeric::kE4m3Table[i]).bits >> shift);
    return table;
}
constexpr ByteTable kE4m3Upper = e4m3_bytes(8), kE4m3Lower = e4m3_bytes(0);

constexpr int64_t kMaxWidth = 12;
constexpr int64_t kPrefetchBytes = 4096;  // ahead of the weights in work
constexpr int64_t kWidths[] = {1, 2, 3, 4, 6, 8, 10, 12};

int64_t width_for(int64_t tokens) {
    for (int64_t width : kWidths)
        if (width >= tokens) return width;
    return kMaxWidth;
}

// A panel block: [K/2 rounded up to 32][width] pairs of bf16.
int64_t panel_block_bytes(int64_t k, int64_t width) {
    return round_up(k, 64) * width * 2;
}

void pack(const Tensor& x, const int32_t* rows, int64_t tokens, int64_t width, int64_t k_begin, int64_t k_end,
          std::byte* block) {
    const int64_t pairs = (k_end - k_begin) / 2;
    uint32_t* to = reinterpret_cast<uint32_t*>(block) + k_begin / 2 * width;
    if (const int64_t padded = round_up(k_end, 64); tokens < width || padded != k_end)
        std::memset(to, 0, static_cast<size_t>((padded - k_begin) * width * 2));
    for (int64_t i = 0; i < tokens; ++i) {
        const std::byte* from = x.row(rows != nullptr ? rows[i] : i) + k_begin * 2;
        if (width == 1) {
            std::memcpy(to, from, static_cast<size_t>(2 * (k_end - k_begin)));
            return;
        }
        for (int64_t p = 0; p < pairs; ++p) std::memcpy(to + p * width + i, from + 4 * p, 4);
        if ((k_end - k_begin) % 2 != 0) std::memcpy(to + pairs * width + i, from + 4 * pairs, 2);
    }
}

HWY_PUSH_ATTRIBUTES("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16")

// g++ 12 takes the undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

inline __m512 multiply_pairs(__m512 sum, __m512i weights, uint32_t x) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(weights),
                            reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x))));
}

inline __m512i look_up(const ByteTable& table, __m512i bytes) {  // by the low 7 bits
    return _mm512_permutex2var_epi8(_mm512_load_si512(table.byte.data()), bytes,
                                    _mm512_load_si512(table.byte.data() + 64));
}

// Bytes 0 and 2, and bytes 1 and 3, of every lane as bf16 in the lane's two halves.
struct Bf16Pairs {
    __m512i even, odd;
};
template <bool kSigned>
inline Bf16Pairs decode_e4m3(__m512i bytes) {
    __m512i upper = look_up(kE4m3Upper, bytes);
    const __m512i lower = look_up(kE4m3Lower, bytes);
    constexpr int kAOrBAndC = 0xF8;
    if constexpr (kSigned)
        upper = _mm512_ternarylogic_epi32(upper, bytes, _mm512_set1_epi8(static_cast<char>(0x80)), kAOrBAndC);
    return {_mm512_ternarylogic_epi32(_mm512_slli_epi16(upper, 8), lower, _mm512_set1_epi16(0x00FF), kAOrBAndC),
            _mm512_ternarylogic_epi32(_mm512_srli_epi16(lower, 8), upper, _mm512_set1_epi16(static_cast<short>(0xFF00)),
                                      kAOrBAndC)};
}

// One block of 16 rows by kWidth tokens. Groups are summed apart, then scaled into the total, in order of k; kAhead
// groups are in flight, which changes no sum.
template <int kWidth>
inline void nvfp4_block(const std::byte* tile, int64_t k, const uint32_t* x, __m512 (&total)[kWidth]) {
    constexpr int kAhead = kWidth == 1 ? 4 : kWidth <= 4 ? 2 : 1;
    const __m512i table = _mm512_load_si512(kE2m1AsBf16.data());
    const __m512i upper_half = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
    for (int t = 0; t < kWidth; ++t) total[t] = _mm512_setzero_ps();
    for (int64_t at = 0; at < k; at += kNvfp4TileK, tile += kNvfp4TileBytes, x += kNvfp4TileK / 2 * kWidth) {
        // The processor's own prefetchers stop at a page's end, and with few tokens the decoding hides no miss.
        if constexpr (kWidth <= 4)
            NIBBLE_UNROLL for (int64_t line = 0; line < kNvfp4TileBytes; line += 64)
                _mm_prefetch(reinterpret_cast<const char*>(tile + kPrefetchBytes + line), _MM_HINT_T0);
        const Bf16Pairs scales = decode_e4m3<false>(_mm512_load_si512(tile + kNvfp4TileScales));
        NIBBLE_UNROLL for (int first = 0; first < 4; first += kAhead) {
            __m512 sum[kAhead][kWidth];
            NIBBLE_UNROLL for (int g = 0; g < kAhead; ++g) NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) sum[g][t] =
                _mm512_setzero_ps();
            NIBBLE_UNROLL for (int v = 0; v < 2; ++v) NIBBLE_UNROLL for (int s = 0; s < 4; ++s)
                NIBBLE_UNROLL for (int g = 0; g < kAhead; ++g) {
                const int vector = 2 * (first + g) + v;
                const __m512i codes = _mm512_load_si512(tile + vector * 64);
                const __m512i weights = _mm512_permutexvar_epi16(
                    s == 0 ? codes : _mm512_srli_epi16(codes, static_cast<unsigned>(4 * s)), table);
                NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) sum[g][t] =
                    multiply_pairs(sum[g][t], weights, x[(4 * vector + s) * kWidth + t]);
            }
            NIBBLE_UNROLL for (int g = 0; g < kAhead; ++g) {
                const __m512i pair = (first + g) % 2 == 0 ? scales.even : scales.odd;
                const __m512 scale = _mm512_castsi512_ps((first + g) / 2 == 0 ? _mm512_slli_epi32(pair, 16)
                                                                              : _mm512_and_si512(pair, upper_half));
                NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) total[t] = _mm512_fmadd_ps(sum[g][t], scale, total[t]);
            }
        }
    }
}

// The other formats: spans of 64 k, in each a sum of the even and one of the odd pairs of k. kWidth columns of a panel
// that has kColumns. Decoder: two vectors of pairs from the next bytes of the block.
struct Bf16Decoder {
    static constexpr int64_t kBytes = 128;  // of 4 k
    static Bf16Pairs decode(const std::byte* from) { return {_mm512_load_si512(from), _mm512_load_si512(from + 64)}; }
};
struct Fp8Decoder {
    static constexpr int64_t kBytes = 64;
    static Bf16Pairs decode(const std::byte* from) { return decode_e4m3<true>(_mm512_load_si512(from)); }
};

template <class Decoder, int kWidth, int kColumns>
inline void spans_block(const std::byte* weights, int64_t k, const uint32_t* x, __m512* total) {
    __m512 all[kWidth];
    NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) all[t] = _mm512_setzero_ps();
    for (int64_t at = 0; at < k; at += 64) {
        const int64_t steps = (std::min<int64_t>(k - at, 64) + 7) / 8;
        __m512 even[kWidth], odd[kWidth];
        NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) even[t] = odd[t] = _mm512_setzero_ps();
        for (int64_t step = 0; step < steps; ++step, weights += 2 * Decoder::kBytes, x += 4 * kColumns)
            NIBBLE_UNROLL for (int v = 0; v < 2; ++v) {
                const Bf16Pairs pairs = Decoder::decode(weights + v * Decoder::kBytes);
                NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) even[t] =
                    multiply_pairs(even[t], pairs.even, x[2 * v * kColumns + t]);
                NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) odd[t] =
                    multiply_pairs(odd[t], pairs.odd, x[(2 * v + 1) * kColumns + t]);
            }
        NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) all[t] = _mm512_add_ps(all[t], _mm512_add_ps(even[t], odd[t]));
    }
    NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t) total[t] = all[t];
}

// Three sums a token: with more than 8 they would not stay in registers, so wide panels take two passes.
template <class Decoder, int kWidth>
inline void spans_block(const std::byte* weights, int64_t k, const uint32_t* x, __m512 (&total)[kWidth]) {
    if constexpr (kWidth <= 8) {
        spans_block<Decoder, kWidth, kWidth>(weights, k, x, total);
    } else {
        spans_block<Decoder, kWidth / 2, kWidth>(weights, k, x, total);
        spans_block<Decoder, kWidth / 2, kWidth>(weights, k, x + kWidth / 2, total + kWidth / 2);
    }
}

template <int kWidth>
void multiply_blocks(const Weight& weight, int64_t begin, int64_t end, const std::byte* panel, float* sums,
                     int64_t stride) {
    const int64_t block_bytes = rows16_block_bytes(weight.format, weight.k);
    const uint32_t* x = reinterpret_cast<const uint32_t*>(panel);
    for (int64_t b = begin; b < end; ++b, sums += kBlockRows) {
        const std::byte* block = weight.data + b * block_bytes;
        __m512 total[kWidth];
        if (weight.format == WeightFormat::nvfp4)
            nvfp4_block<kWidth>(block, weight.k, x, total);
        else if (weight.format == WeightFormat::fp8)
            spans_block<Fp8Decoder>(block, weight.k, x, total);
        else
            spans_block<Bf16Decoder>(block, weight.k, x, total);
        __m512 scale = _mm512_set1_ps(weight.scale);
        if (!weight.row_scale.empty()) {
            const int64_t rows = weight.n - b * kBlockRows;
            const __mmask16 present = rows >= kBlockRows ? 0xFFFF : static_cast<__mmask16>((1u << rows) - 1);
            scale = _mm512_mul_ps(scale,
                                  _mm512_maskz_loadu_ps(present, weight.row_scale.as<const float>() + b * kBlockRows));
        }
        NIBBLE_UNROLL for (int t = 0; t < kWidth; ++t)
            _mm512_storeu_ps(sums + t * stride, _mm512_mul_ps(total[t], scale));
    }
}

HWY_POP_ATTRIBUTES

void multiply(const Weight& weight, int64_t begin, int64_t end, const std::byte* panel, int64_t width, float* sums,
              int64_t stride) {
    switch (width) {
        case 1:
            return multiply_blocks<1>(weight, begin, end, panel, sums, stride);
        case 2:
            return multiply_blocks<2>(weight, begin, end, panel, sums, stride);
        case 3:
            return multiply_blocks<3>(weight, begin, end, panel, sums, stride);
        case 4:
            return multiply_blocks<4>(weight, begin, end, panel, sums, stride);
        case 6:
            return multiply_blocks<6>(weight, begin, end, panel, sums, stride);
        case 8:
            return multiply_blocks<8>(weight, begin, end, panel, sums, stride);
        case 10:
            return multiply_blocks<10>(weight, begin, end, panel, sums, stride);
        case 12:
            return multiply_blocks<12>(weight, begin, end, panel, sums, stride);
    }
    CHECK(false, "a panel of width {}", width);
}

constexpr RowKernel kKernel{.name = "avx512_bf16",
                            .max_width = kMaxWidth,
                            .width = width_for,
                            .panel_block_bytes = panel_block_bytes,
                            .pack = pack,
                            .multiply = multiply};

}  // namespace

const RowKernel* rows16_avx512_bf16() {
    static const bool usable = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
                               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
    return usable ? &kKernel : nullptr;
}

}  // namespace nibble::ops

#else

namespace nibble::ops {
const RowKernel* rows16_avx512_bf16() {
    return nullptr;
}
}  // namespace nibble::ops

#endif
