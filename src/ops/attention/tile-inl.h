// A tile of attention: a few queries and what they keep while they go over the keys; products of queries with keys and
// of weights with values. Every sum is one chain, in order of the head's elements or of the keys' positions.
#if defined(NIBBLE_OPS_ATTENTION_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_OPS_ATTENTION_TILE_INL_H
#undef NIBBLE_OPS_ATTENTION_TILE_INL_H
#else
#define NIBBLE_OPS_ATTENTION_TILE_INL_H
#endif

#include "ops/attention/task.h"
#include "ops/simd-inl.h"
#include "ops/simd_math-inl.h"

#include <limits>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

using W = hn::Vec<Words>;

HWY_INLINE W load_words(const std::byte* row, int64_t offset) {
    return hn::LoadU(Words(), reinterpret_cast<const uint32_t*>(row) + offset);
}

// kLanes x kLanes 4-byte elements: out[i] lane r = element offset + i of rows[r].
HWY_INLINE void transpose(const std::byte* const* rows, int64_t offset, W (&out)[kLanes]) {
#if HWY_TARGET == HWY_SCALAR
    out[0] = load_words(rows[0], offset);
#else
    const Words d;
    const hn::RepartitionToWide<Words> d64;
    W blocks[kLanes];  // [i * kLanes/4 + g]: 128-bit block b = rows 4g…4g+3 at element 4b + i
    NIBBLE_UNROLL for (int64_t g = 0; g < kLanes / 4; ++g) {
        const W a = load_words(rows[4 * g], offset), b = load_words(rows[4 * g + 1], offset);
        const W c = load_words(rows[4 * g + 2], offset), e = load_words(rows[4 * g + 3], offset);
        const auto ab_low = hn::BitCast(d64, hn::InterleaveLower(d, a, b));
        const auto ab_high = hn::BitCast(d64, hn::InterleaveUpper(d, a, b));
        const auto ce_low = hn::BitCast(d64, hn::InterleaveLower(d, c, e));
        const auto ce_high = hn::BitCast(d64, hn::InterleaveUpper(d, c, e));
        constexpr int64_t kGroups = kLanes / 4;
        blocks[g] = hn::BitCast(d, hn::InterleaveLower(d64, ab_low, ce_low));
        blocks[kGroups + g] = hn::BitCast(d, hn::InterleaveUpper(d64, ab_low, ce_low));
        blocks[2 * kGroups + g] = hn::BitCast(d, hn::InterleaveLower(d64, ab_high, ce_high));
        blocks[3 * kGroups + g] = hn::BitCast(d, hn::InterleaveUpper(d64, ab_high, ce_high));
    }
    NIBBLE_UNROLL for (int64_t i = 0; i < 4; ++i) {
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
        const W low = W{_mm512_shuffle_i32x4(blocks[4 * i].raw, blocks[4 * i + 1].raw, 0x44)};
        const W high = W{_mm512_shuffle_i32x4(blocks[4 * i].raw, blocks[4 * i + 1].raw, 0xEE)};
        const W low2 = W{_mm512_shuffle_i32x4(blocks[4 * i + 2].raw, blocks[4 * i + 3].raw, 0x44)};
        const W high2 = W{_mm512_shuffle_i32x4(blocks[4 * i + 2].raw, blocks[4 * i + 3].raw, 0xEE)};
        out[i] = W{_mm512_shuffle_i32x4(low.raw, low2.raw, 0x88)};
        out[4 + i] = W{_mm512_shuffle_i32x4(low.raw, low2.raw, 0xDD)};
        out[8 + i] = W{_mm512_shuffle_i32x4(high.raw, high2.raw, 0x88)};
        out[12 + i] = W{_mm512_shuffle_i32x4(high.raw, high2.raw, 0xDD)};
#elif HWY_TARGET == HWY_AVX2
        out[i] = hn::ConcatLowerLower(d, blocks[2 * i + 1], blocks[2 * i]);
        out[4 + i] = hn::ConcatUpperUpper(d, blocks[2 * i + 1], blocks[2 * i]);
#else
        out[i] = blocks[i];
#endif
    }
#endif
}

constexpr int64_t kKeyGroups = 4;                        // of kLanes keys, scored together
constexpr int64_t kValueFloats = 8192, kValueRows = 32;  // of values made float32 at a time

// What a tile keeps while it goes over the keys.
struct Tile {
    int64_t queries, dim, padded;
    // Valid keys of query i: [low[i], high[i]).
    int64_t low[kMaxTileQueries], high[kMaxTileQueries];
    HWY_ALIGN float q[kTileValues];
    HWY_ALIGN float score[kMaxTileQueries * kBlockKeys];  // then the weights
    // Sums of the block, of the span, and of all spans.
    struct Sums {
        HWY_ALIGN float value[kTileValues];
        float largest[kMaxTileQueries], weight[kMaxTileQueries];
        void clear(int64_t queries) {
            for (int64_t i = 0; i < queries; ++i) largest[i] = -std::numeric_limits<float>::infinity(), weight[i] = 0;
        }
    } block, span, total;
    HWY_ALIGN float keys[kMaxHeadDim * kLanes * kKeyGroups];  // [group][dim][kLanes]
    HWY_ALIGN float staged[kLanes * kMaxHeadDim];
    const std::byte* staged_row[kLanes];
    HWY_ALIGN float values[kValueFloats];
    const std::byte* key_row[kBlockKeys + kKeyGroups * kLanes];
    const std::byte* value_row[kBlockKeys];
};

alignas(64) constexpr std::byte kZeroRow[4 * kMaxHeadDim] = {};

// The float32, or the two bf16, of every lane.
template <int64_t kPerWord>
HWY_INLINE void store_keys(W words, float* to) {
    const Floats d;
    if constexpr (kPerWord == 1) {
        hn::Store(hn::BitCast(d, words), d, to);
    } else {
        hn::Store(hn::BitCast(d, hn::ShiftLeft<16>(words)), d, to);
        hn::Store(hn::BitCast(d, hn::And(words, hn::Set(Words(), 0xFFFF0000u))), d, to + kLanes);
    }
}

// A group of kLanes keys to keys[group]: float32, lane = key.
template <class T>
void transpose_keys(Tile& tile, const std::byte* const* rows, int64_t group) {
    constexpr int64_t kPerWord = sizeof(T) == 4 ? 1 : 2;
    const int64_t words = (tile.dim + kPerWord - 1) / kPerWord;  // a row
    // E4M3 (as bf16, which holds it exactly) and rows that are no whole number of squares are staged.
    if (sizeof(T) == 1 || tile.dim % (kPerWord * kLanes) != 0) {
        for (int64_t r = 0; r < kLanes; ++r) {
            if constexpr (sizeof(T) == 1) {
                auto* to = reinterpret_cast<numeric::bf16*>(tile.staged + r * kMaxHeadDim);
                for (int64_t i = 0; i < tile.dim; i += kLanes)
                    store(load(reinterpret_cast<const T*>(rows[r]) + i, std::min(kLanes, tile.dim - i)), to + i);
            } else {
                std::memcpy(tile.staged + r * kMaxHeadDim, rows[r], static_cast<size_t>(tile.dim) * sizeof(T));
            }
        }
        rows = tile.staged_row;
    }
    const Floats d;
    float* to = tile.keys + group * tile.dim * kLanes;
    for (int64_t i = 0; i < words; i += kLanes) {
        W square[kLanes];
        transpose(rows, i, square);
        if (HWY_LIKELY(kPerWord * (i + kLanes) <= tile.dim)) {
            NIBBLE_UNROLL for (int64_t j = 0; j < kLanes; ++j, to += kPerWord * kLanes)
                store_keys<kPerWord>(square[j], to);
            continue;
        }
        for (int64_t j = 0; kPerWord * (i + j) < tile.dim; ++j, to += kPerWord * kLanes) {
            if (kPerWord * (i + j + 1) <= tile.dim)
                store_keys<kPerWord>(square[j], to);
            else
                hn::Store(hn::BitCast(d, hn::ShiftLeft<16>(square[j])), d, to);  // the last of an odd dim
        }
    }
}

// score[q][k] = q · key for kQueries queries and a group of keys whose rows are whole squares: the same chains as
// score_keys(), but keys go from the square to the products without passing through memory.
template <class T, int kQueries>
void score_square(const Tile& tile, const std::byte* const* rows, float* score) {
    const Floats d;
    constexpr int64_t kPerWord = sizeof(T) == 4 ? 1 : 2;
    F sum[kQueries];
    NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) sum[i] = hn::Zero(d);
    for (int64_t word = 0; word < tile.dim / kPerWord; word += kLanes) {
        W square[kLanes];
        transpose(rows, word, square);
        const float* q = tile.q + word * kPerWord;
        NIBBLE_UNROLL for (int64_t j = 0; j < kLanes; ++j) {
            const F key = hn::BitCast(d, kPerWord == 1 ? square[j] : hn::ShiftLeft<16>(square[j]));
            NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) sum[i] =
                hn::MulAdd(key, hn::Set(d, q[i * tile.padded + j * kPerWord]), sum[i]);
            if constexpr (kPerWord == 2) {
                const F next = hn::BitCast(d, hn::And(square[j], hn::Set(Words(), 0xFFFF0000u)));
                NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) sum[i] =
                    hn::MulAdd(next, hn::Set(d, q[i * tile.padded + j * kPerWord + 1]), sum[i]);
            }
        }
    }
    NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) hn::Store(sum[i], d, score + i * kBlockKeys);
}

// score[q][k] = q · key for kQueries queries and kGroups groups of keys.
template <int kQueries, int kGroups>
void score_keys(const Tile& tile, const float* keys, const float* q, float* score) {
    const Floats d;
    F sum[kQueries][kGroups];
    NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) NIBBLE_UNROLL for (int g = 0; g < kGroups; ++g) sum[i][g] =
        hn::Zero(d);
    const int64_t stride = tile.dim * kLanes;
    for (int64_t k = 0; k < tile.dim; ++k, keys += kLanes) {
        F key[kGroups];
        NIBBLE_UNROLL for (int g = 0; g < kGroups; ++g) key[g] = hn::Load(d, keys + g * stride);
        NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) {
            const F x = hn::Set(d, q[i * tile.padded + k]);
            NIBBLE_UNROLL for (int g = 0; g < kGroups; ++g) sum[i][g] = hn::MulAdd(key[g], x, sum[i][g]);
        }
    }
    NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) NIBBLE_UNROLL for (int g = 0; g < kGroups; ++g)
        hn::Store(sum[i][g], d, score + i * kBlockKeys + g * kLanes);
}

// body(integral constant n) for n = queries in [1, kMost].
template <int kMost, class Body>
HWY_INLINE void with_queries(int64_t queries, const Body& body) {
    if constexpr (kMost > 1)
        if (queries < kMost) return with_queries<kMost - 1>(queries, body);
    body(std::integral_constant<int, kMost>());
}

template <int kGroups>
void score_groups(const Tile& tile, const float* keys, float* score) {
    for (int64_t i = 0; i < tile.queries; i += 4)
        with_queries<4>(std::min<int64_t>(4, tile.queries - i), [&](auto queries) HWY_ATTR {
            score_keys<queries(), kGroups>(tile, keys, tile.q + i * tile.padded, score + i * kBlockKeys);
        });
}

// sums[q][d] += Σ_k weight[q][k] · values[k][d], k in order, for kQueries queries and kVectors vectors. row_of(k) is
// row k of the values.
template <int kQueries, int kVectors, class RowOf>
HWY_INLINE void weigh_values(const Tile& tile, const RowOf& row_of, const float* weight, int64_t count, int64_t at,
                             float* sums) {
    const Floats d;
    F sum[kQueries][kVectors];
    NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) NIBBLE_UNROLL for (int v = 0; v < kVectors; ++v) sum[i][v] =
        hn::Load(d, sums + i * tile.padded + at + v * kLanes);
    for (int64_t k = 0; k < count; ++k) {
        F row[kVectors];
        NIBBLE_UNROLL for (int v = 0; v < kVectors; ++v) row[v] = load(row_of(k) + at + v * kLanes);
        NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) {
            const F w = hn::Set(d, weight[i * kBlockKeys + k]);
            NIBBLE_UNROLL for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(row[v], w, sum[i][v]);
        }
    }
    NIBBLE_UNROLL for (int i = 0; i < kQueries; ++i) NIBBLE_UNROLL for (int v = 0; v < kVectors; ++v)
        hn::Store(sum[i][v], d, sums + i * tile.padded + at + v * kLanes);
}

// The rows of values that were made float32, or those of the cache.
struct StagedRows {
    const float* values;
    int64_t padded;
    const float* operator()(int64_t k) const { return values + k * padded; }
};
template <class T>
struct CacheRows {
    const std::byte* const* rows;
    const T* operator()(int64_t k) const { return reinterpret_cast<const T*>(rows[k]); }
};

template <int kQueries, class RowOf>
void weigh_rows(const Tile& tile, const RowOf& row_of, const float* weight, int64_t count, float* sums) {
    constexpr int kVectors = kLanes >= 16 ? 4 : 2;
    const int64_t width = std::is_same_v<RowOf, StagedRows> ? tile.padded : tile.dim;  // whole vectors
    int64_t at = 0;
    for (; at + kVectors * kLanes <= width; at += kVectors * kLanes)
        weigh_values<kQueries, kVectors>(tile, row_of, weight, count, at, sums);
    for (; at < width; at += kLanes) weigh_values<kQueries, 1>(tile, row_of, weight, count, at, sums);
}

// Scores of the keys from `begin` on (`padded` of them, whole vectors) become weights exp(score - largest), 0 for keys
// that a query does not see.
void soften(Tile& tile, int64_t begin, int64_t padded, float scale) {
    const Floats d;
    const Integers di;
    const F lowest = hn::Set(d, -std::numeric_limits<float>::infinity()), factor = hn::Set(d, scale);
    const auto lane = hn::Iota(di, 0);
    for (int64_t i = 0; i < tile.queries; ++i) {
        float* score = tile.score + i * kBlockKeys;
        const auto low = hn::Set(di, static_cast<int32_t>(std::clamp<int64_t>(tile.low[i] - begin, 0, kBlockKeys)));
        const auto high = hn::Set(di, static_cast<int32_t>(std::clamp<int64_t>(tile.high[i] - begin, 0, kBlockKeys)));
        F largest = lowest;
        for (int64_t k = 0; k < padded; k += kLanes) {
            const auto at = hn::Add(lane, hn::Set(di, static_cast<int32_t>(k)));
            const auto seen = hn::RebindMask(d, hn::AndNot(hn::Lt(at, low), hn::Lt(at, high)));
            const F scaled = hn::IfThenElse(seen, hn::Mul(hn::Load(d, score + k), factor), lowest);
            hn::Store(scaled, d, score + k);
            largest = hn::Max(largest, scaled);
        }
        const F top = hn::MaxOfLanes(d, largest);
        F sum = hn::Zero(d);
        for (int64_t k = 0; k < padded; k += kLanes) {
            const auto at = hn::Add(lane, hn::Set(di, static_cast<int32_t>(k)));
            const auto seen = hn::RebindMask(d, hn::AndNot(hn::Lt(at, low), hn::Lt(at, high)));
            const F weight = hn::IfThenElseZero(seen, exp(hn::Sub(hn::Load(d, score + k), top)));
            hn::Store(weight, d, score + k);
            sum = hn::Add(sum, weight);
        }
        tile.block.largest[i] = hn::GetLane(top);
        tile.block.weight[i] = sum_of_lanes(sum);
    }
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
