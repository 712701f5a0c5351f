// The SIMD row of op attention: blocked over keys, float32 throughout.
//
// Keys are cut at absolute positions: blocks of kBlockKeys, and spans of 1, 2, 4, … blocks (span_length, by the row's
// own position, so that a context has at most kMaxSpans). A block gives every query its largest score, the sum of
// exp(score - largest) and the weighted sum of values; blocks are folded into their span in order, and spans into the
// result in order. A span is therefore the same whoever makes it: with few tokens in the step the spans of a sequence
// are made side by side by the crew and folded afterwards, with many a worker makes all spans of a few queries.
//
// In a block the keys of kLanes positions are transposed once, so that a lane is a key: the dot product of a query and
// a key is one chain over D, whoever else is in the tile; the sums over keys are chains in order of position.
#include "ops/attention/attention.h"
#include "ops/attention/cpu_rows.h"
#include "ops/attention/task.h"
#include "ops/crew.h"
#include "ops/simd.h"

#include "numeric/fp8.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <span>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/attention_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/attention/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

// Keys [begin, end), begin a multiple of kLanes, as rows of keys and values; what no query sees is not read.
void find_rows(Tile& tile, const AttentionArgs& a, const AttentionTask& task, int64_t begin, int64_t end) {
    const Sequences& s = a.sequences;
    const int32_t* pages = s.page_table.row_as<const int32_t>(task.sequence);
    const int64_t row_bytes = a.head_dim * numeric::size_bytes(a.k_pages.dtype());
    int64_t position = begin;
    for (; position < std::min(tile.low[0], end); ++position)
        tile.key_row[position - begin] = tile.value_row[position - begin] = kZeroRow;
    while (position < end) {
        const int32_t page = pages[position / s.page_size];
        CHECK(page >= 0 && page < a.k_pages.dim(0), "page {} of {}", page, a.k_pages.dim(0));
        const int64_t stop = std::min(end, (position / s.page_size + 1) * s.page_size);
        for (; position < stop; ++position) {
            const int64_t offset = (position % s.page_size * a.kv_heads + task.kv_head) * row_bytes;
            tile.key_row[position - begin] = a.k_pages.row(page) + offset;
            tile.value_row[position - begin] = a.v_pages.row(page) + offset;
        }
    }
    for (int64_t i = 0; i < kKeyGroups * kLanes; ++i) tile.key_row[end - begin + i] = kZeroRow;
}

// Rows [begin, end) into the L2 cache: rows of one head lie apart, which the processor does not foresee.
HWY_INLINE void prefetch_rows(const std::byte* const* rows, int64_t begin, int64_t end, int64_t row_bytes) {
    constexpr int kRead = 0, kL2 = 2;
    for (int64_t i = begin; i < end; ++i)
        for (int64_t byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(rows[i] + byte, kRead, kL2);
}

// A row of a head as float32, zeros after it.
template <class T>
HWY_INLINE void load_row(const T* from, int64_t dim, int64_t padded, float* to) {
    int64_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) hn::Store(load(from + i), Floats(), to + i);
    for (; i < padded; i += kLanes)
        hn::Store(load(from + i, std::clamp<int64_t>(dim - i, 0, kLanes)), Floats(), to + i);
}

// tile.block from the keys [begin, end), begin a multiple of kLanes, at most kBlockKeys of them.
template <class T>
void attend_block(Tile& tile, const AttentionArgs& a, const AttentionTask& task, int64_t begin, int64_t end,
                  float scale) {
    find_rows(tile, a, task, begin, end);
    const int64_t count = end - begin, row_bytes = tile.dim * static_cast<int64_t>(sizeof(T));
    constexpr int64_t kStep = kKeyGroups * kLanes;
    // A few queries do not repay what staging keys and values costs.
    constexpr int64_t kSquare = sizeof(T) == 4 ? kLanes : 2 * kLanes;
    const bool direct = sizeof(T) > 1 && tile.queries <= 4 && tile.dim % kSquare == 0;
    prefetch_rows(tile.key_row, 0, std::min(2 * kStep, count), row_bytes);
    for (int64_t k = 0; k < count; k += kStep) {
        prefetch_rows(tile.key_row, std::min(k + 2 * kStep, count), std::min(k + 3 * kStep, count), row_bytes);
        prefetch_rows(tile.value_row, k, std::min(k + kStep, count), row_bytes);
        const int64_t groups = std::min<int64_t>(kKeyGroups, (count - k + kLanes - 1) / kLanes);
        if (direct) {
            for (int64_t g = 0; g < groups; ++g)
                with_queries<4>(tile.queries, [&](auto queries) HWY_ATTR {
                    score_square<T, queries()>(tile, tile.key_row + k + g * kLanes, tile.score + k + g * kLanes);
                });
            continue;
        }
        for (int64_t g = 0; g < groups; ++g) transpose_keys<T>(tile, tile.key_row + k + g * kLanes, g);
        if (groups == kKeyGroups)
            score_groups<kKeyGroups>(tile, tile.keys, tile.score + k);
        else
            for (int64_t g = 0; g < groups; ++g)
                score_groups<1>(tile, tile.keys + g * tile.dim * kLanes, tile.score + k + g * kLanes);
    }
    soften(tile, begin, round_up(count, kLanes), scale);

    std::fill_n(tile.block.value, tile.queries * tile.padded, 0.0f);
    if (direct) {
        const int64_t from = std::max<int64_t>(0, tile.low[0] - begin);
        const int64_t to = std::min(count, tile.high[tile.queries - 1] - begin);
        with_queries<4>(tile.queries, [&](auto queries) HWY_ATTR {
            weigh_rows<queries()>(tile, CacheRows<T>{tile.value_row + from}, tile.score + from, to - from,
                                  tile.block.value);
        });
        return;
    }
    const int64_t rows = std::min(kValueRows, kValueFloats / tile.padded);
    for (int64_t k = 0; k < count; k += rows) {
        const int64_t stop = std::min(k + rows, count);
        for (int64_t r = k; r < stop; ++r)
            load_row(reinterpret_cast<const T*>(tile.value_row[r]), tile.dim, tile.padded,
                     tile.values + (r - k) * tile.padded);
        for (int64_t i = 0; i < tile.queries; i += 4) {
            const int64_t queries = std::min<int64_t>(4, tile.queries - i);
            const int64_t from = std::max(k, tile.low[i] - begin);
            const int64_t to = std::min(stop, tile.high[i + queries - 1] - begin);
            if (from >= to) continue;
            const StagedRows staged{tile.values + (from - k) * tile.padded, tile.padded};
            with_queries<4>(queries, [&](auto n) HWY_ATTR {
                weigh_rows<n()>(tile, staged, tile.score + i * kBlockKeys + from, to - from,
                                tile.block.value + i * tile.padded);
            });
        }
    }
}

// to = to and from together, as two parts of one softmax.
void fold(const float* from, float from_largest, float from_weight, int64_t width, float* to, float& to_largest,
          float& to_weight) {
    const Floats d;
    if (to_weight == 0.0f) {
        std::copy_n(from, width, to);
        to_largest = from_largest;
        to_weight = from_weight;
        return;
    }
    const float largest = std::max(to_largest, from_largest);
    const F old = exp(hn::Set(d, to_largest - largest)), added = exp(hn::Set(d, from_largest - largest));
    for (int64_t i = 0; i < width; i += kLanes)
        hn::Store(hn::MulAdd(hn::LoadU(d, from + i), added, hn::Mul(hn::Load(d, to + i), old)), d, to + i);
    to_weight = to_weight * hn::GetLane(old) + from_weight * hn::GetLane(added);
    to_largest = largest;
}

void fold(const Tile& tile, const Tile::Sums& from, Tile::Sums& to) {
    for (int64_t i = 0; i < tile.queries; ++i)
        if (from.weight[i] != 0.0f)  // the query sees none of these keys
            fold(from.value + i * tile.padded, from.largest[i], from.weight[i], tile.padded, to.value + i * tile.padded,
                 to.largest[i], to.weight[i]);
}

template <class T>
void write_result(const AttentionArgs& a, const float* value, float weight, int64_t row, int64_t head) {
    const F factor = hn::Set(Floats(), (a.k_pages.dtype() == DType::f8_e4m3 ? a.v_scale : 1.0f) / weight);
    T* to = a.out.row_as<T>(row) + head * a.head_dim;
    for (int64_t i = 0; i < a.head_dim; i += kLanes)
        store(hn::Mul(hn::Load(Floats(), value + i), factor), to + i, std::min(kLanes, a.head_dim - i));
}

void write_result(const AttentionArgs& a, const float* value, float weight, int64_t row, int64_t head) {
    if (a.out.dtype() == DType::f32)
        write_result<float>(a, value, weight, row, head);
    else
        write_result<numeric::bf16>(a, value, weight, row, head);
}

template <class T>
void attend(Tile& tile, const AttentionArgs& a, const AttentionTask& task, float* partials, int64_t spans) {
    const Sequences& s = a.sequences;
    const int64_t group = a.query_heads / a.kv_heads;
    const int64_t first_row = s.row_start.as<const int32_t>()[task.sequence];
    const int64_t rows = s.row_start.as<const int32_t>()[task.sequence + 1] - first_row;
    const int64_t first_position = s.context_length.as<const int32_t>()[task.sequence] - rows;
    tile.queries = task.queries;
    tile.dim = a.head_dim;
    tile.padded = padded_dim(a.head_dim);
    for (int64_t r = 0; r < kLanes; ++r)
        tile.staged_row[r] = reinterpret_cast<const std::byte*>(tile.staged + r * kMaxHeadDim);
    const auto row_of = [&](int64_t i) { return (task.first_query + i) / group; };
    const auto head_of = [&](int64_t i) { return task.kv_head * group + (task.first_query + i) % group; };
    for (int64_t i = 0; i < tile.queries; ++i) {
        const KeyRange range(a, first_position + row_of(i));
        tile.low[i] = range.low;
        tile.high[i] = range.high;
        const std::byte* q =
            a.q.row(first_row + row_of(i)) + head_of(i) * a.head_dim * numeric::size_bytes(a.q.dtype());
        float* to = tile.q + i * tile.padded;
        if (a.q.dtype() == DType::f32)
            load_row(reinterpret_cast<const float*>(q), tile.dim, tile.padded, to);
        else
            load_row(reinterpret_cast<const numeric::bf16*>(q), tile.dim, tile.padded, to);
    }
    const float scale = a.scale * (a.k_pages.dtype() == DType::f8_e4m3 ? a.k_scale : 1.0f);
    const int64_t low = tile.low[0], high = tile.high[tile.queries - 1];
    const int64_t first_span = task.span >= 0 ? task.span : low / task.span_keys;
    const int64_t last_span = task.span >= 0 ? task.span : (high - 1) / task.span_keys;
    tile.total.clear(tile.queries);
    for (int64_t span = first_span; span <= last_span; ++span) {
        tile.span.clear(tile.queries);
        const int64_t end = std::min((span + 1) * task.span_keys, high);
        int64_t begin = std::max(span * task.span_keys, low / kLanes * kLanes);
        for (int64_t stop; begin < end; begin = stop) {
            stop = std::min((begin / kBlockKeys + 1) * kBlockKeys, end);
            attend_block<T>(tile, a, task, begin, stop, scale);
            fold(tile, tile.block, tile.span);
        }
        if (task.span < 0) fold(tile, tile.span, tile.total);
    }
    for (int64_t i = 0; i < tile.queries; ++i) {
        const int64_t row = first_row + row_of(i), head = head_of(i);
        if (task.span < 0) {
            write_result(a, tile.total.value + i * tile.padded, tile.total.weight[i], row, head);
            continue;
        }
        const int64_t first = tile.low[i] / task.span_keys;
        if (task.span < first || task.span > (tile.high[i] - 1) / task.span_keys) continue;
        float* to = partials + ((row * a.query_heads + head) * spans + task.span - first) * partial_floats(a.head_dim);
        std::copy_n(tile.span.value + i * tile.padded, tile.padded, to);
        to[tile.padded] = tile.span.largest[i];
        to[tile.padded + 1] = tile.span.weight[i];
    }
}

// Tasks from the last to the first, as `next` deals them out: spans of every query to their place in partials ([row]
// [head][spans]), or all spans to the result. A worker's tile is large: one for all its tasks.
void attend_simd(const AttentionArgs& a, std::span<const AttentionTask> tasks, std::atomic<size_t>& next,
                 float* partials, int64_t spans) {
    Tile tile;
    for (size_t i = next.fetch_add(1, std::memory_order_relaxed); i < tasks.size();
         i = next.fetch_add(1, std::memory_order_relaxed)) {
        const AttentionTask& task = tasks[tasks.size() - 1 - i];
        switch (a.k_pages.dtype()) {
            case DType::f32:
                attend<float>(tile, a, task, partials, spans);
                break;
            case DType::f8_e4m3:
                attend<uint8_t>(tile, a, task, partials, spans);
                break;
            default:
                attend<numeric::bf16>(tile, a, task, partials, spans);
        }
    }
}

// A query's spans, in order, into its result.
void fold_spans_simd(const AttentionArgs& a, const float* partial, int64_t spans, int64_t row, int64_t head) {
    const int64_t padded = padded_dim(a.head_dim);
    HWY_ALIGN float total[kMaxHeadDim];
    float largest = -std::numeric_limits<float>::infinity(), weight = 0;
    for (int64_t i = 0; i < spans; ++i, partial += partial_floats(a.head_dim))
        fold(partial, partial[padded], partial[padded + 1], padded, total, largest, weight);
    write_result(a, total, weight, row, head);
}

template <class From, class To>
void convert(const From* from, int64_t count, To* to) {
    for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t lanes = std::min(kLanes, count - i);
        store(load(from + i, lanes), to + i, lanes);
    }
}

// A row of keys or values to the cache, rounded to its dtype.
void write_cache_simd(const std::byte* from, DType dtype, int64_t count, float scale, DType cache, std::byte* to) {
    if (cache == DType::f8_e4m3) {
        auto* codes = reinterpret_cast<uint8_t*>(to);
        for (int64_t i = 0; i < count; ++i)
            codes[i] = numeric::e4m3_from_float((dtype == DType::f32
                                                     ? reinterpret_cast<const float*>(from)[i]
                                                     : reinterpret_cast<const numeric::bf16*>(from)[i].to_float()) /
                                                scale);
    } else if (dtype == cache) {
        std::memcpy(to, from, static_cast<size_t>(count * numeric::size_bytes(dtype)));
    } else if (dtype == DType::f32) {
        convert(reinterpret_cast<const float*>(from), count, reinterpret_cast<numeric::bf16*>(to));
    } else {
        convert(reinterpret_cast<const numeric::bf16*>(from), count, reinterpret_cast<float*>(to));
    }
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {
namespace {

HWY_EXPORT(attend_simd);
HWY_EXPORT(fold_spans_simd);
HWY_EXPORT(write_cache_simd);

// With so few tokens in the step, spans of one sequence are made side by side.
constexpr int64_t kMaxSplitTokens = 16;

int64_t sequence_of(const Sequences& s, int64_t row) {
    const int32_t* row_start = s.row_start.as<const int32_t>();
    return std::upper_bound(row_start, row_start + s.count + 1, row) - row_start - 1;
}

void append_to_cache(OpContext& context, const AttentionArgs& a) {
    const Sequences& s = a.sequences;
    const DType cache = a.k_pages.dtype();
    const int64_t width = a.kv_heads * a.head_dim, row_bytes = width * numeric::size_bytes(cache);
    share(context, s.tokens, 2 * s.tokens * width, [&](int64_t begin, int64_t end) {
        const int32_t* row_start = s.row_start.as<const int32_t>();
        for (int64_t t = begin; t < end; ++t) {
            const int64_t b = sequence_of(s, t);
            const int64_t position = s.context_length.as<const int32_t>()[b] - (row_start[b + 1] - t);
            const int32_t page = s.page_table.row_as<const int32_t>(b)[position / s.page_size];
            CHECK(page >= 0 && page < a.k_pages.dim(0), "page {} of {}", page, a.k_pages.dim(0));
            const int64_t offset = position % s.page_size * row_bytes;
            HWY_DYNAMIC_DISPATCH(write_cache_simd)
            (a.k.row(t), a.k.dtype(), width, a.k_scale, cache, a.k_pages.row(page) + offset);
            HWY_DYNAMIC_DISPATCH(write_cache_simd)
            (a.v.row(t), a.v.dtype(), width, a.v_scale, cache, a.v_pages.row(page) + offset);
        }
    });
}

// Calls body(first query, queries, span length) for every tile of a sequence: queries whose spans are equally long.
template <class Body>
void for_tiles(const AttentionArgs& a, int64_t sequence, const Body& body) {
    const int32_t* row_start = a.sequences.row_start.as<const int32_t>();
    const int64_t group = a.query_heads / a.kv_heads, rows = row_start[sequence + 1] - row_start[sequence];
    const int64_t position = a.sequences.context_length.as<const int32_t>()[sequence] - rows;
    for (int64_t query = 0, next; query < rows * group; query = next) {
        const int64_t span = span_length(position + query / group);
        next = std::min(query + tile_queries(a.head_dim), rows * group);
        while (span_length(position + (next - 1) / group) != span) --next;
        body(query, next - query, span);
    }
}

// Upper bounds from what is known of the sequences when the step is planned.
struct Bounds {
    bool split;
    int64_t spans, tasks, partials;
    explicit Bounds(const AttentionArgs& a) {
        const Sequences& s = a.sequences;
        split = s.tokens <= kMaxSplitTokens;
        spans = split ? std::clamp<int64_t>((s.max_context + kBlockKeys - 1) / kBlockKeys, 1, kMaxSpans) : 1;
        const int64_t queries = s.tokens * (a.query_heads / a.kv_heads);
        // A tile ends where it is full, with its sequence, or where spans grow: at most 40 times in 2^48 positions.
        const int64_t tiles = queries / tile_queries(a.head_dim) + s.count * 40;
        tasks = std::min(tiles, queries) * a.kv_heads * spans;
        partials = split ? s.tokens * a.query_heads * spans : 0;
    }
};

}  // namespace

bool accepts_attention_simd(const AttentionArgs& a, const device::Device&) {
    return a.head_dim <= kMaxHeadDim;
}

int64_t scratch_attention_simd(const AttentionArgs& a, const device::Device&) {
    const Bounds bounds(a);
    return round_up(bounds.tasks * static_cast<int64_t>(sizeof(AttentionTask)), 256) +
           round_up(bounds.partials * partial_floats(a.head_dim) * 4, 256);
}

void attention_simd(OpContext& context, const AttentionArgs& a) {
    const Sequences& s = a.sequences;
    const int64_t group = a.query_heads / a.kv_heads;
    const int32_t* row_start = s.row_start.as<const int32_t>();
    append_to_cache(context, a);

    const Bounds bounds(a);
    auto* tasks = reinterpret_cast<AttentionTask*>(
        context.arena->allocate_bytes(bounds.tasks * static_cast<int64_t>(sizeof(AttentionTask))));
    auto* partials =
        reinterpret_cast<float*>(context.arena->allocate_bytes(bounds.partials * partial_floats(a.head_dim) * 4));
    int64_t count = 0;
    for (int64_t b = 0; b < s.count; ++b)
        for_tiles(a, b, [&](int64_t first, int64_t queries, int64_t span_keys) {
            const int64_t position = s.context_length.as<const int32_t>()[b] - (row_start[b + 1] - row_start[b]);
            const KeyRange oldest(a, position + first / group), newest(a, position + (first + queries - 1) / group);
            const int64_t first_span = bounds.split ? oldest.low / span_keys : -1;
            const int64_t last_span = bounds.split ? (newest.high - 1) / span_keys : -1;
            for (int64_t head = 0; head < a.kv_heads; ++head)
                for (int64_t span = first_span; span <= last_span; ++span) {
                    CHECK(count < bounds.tasks);
                    tasks[count++] = {static_cast<int32_t>(b),     static_cast<int32_t>(head),
                                      static_cast<int32_t>(first), static_cast<int32_t>(queries),
                                      static_cast<int32_t>(span),  span_keys};
                }
        });
    // Later tiles of a prompt see more keys, and the longest work should not come last: dealt from the end.
    std::atomic<size_t> next = 0;
    const auto work = [&](int, int) {
        HWY_DYNAMIC_DISPATCH(attend_simd)(a, {tasks, static_cast<size_t>(count)}, next, partials, bounds.spans);
    };
    if (workers(context) == 1 || count <= 1)
        work(0, 1);
    else
        context.threads->run(work);
    if (!bounds.split) return;
    share(context, s.tokens, bounds.partials * a.head_dim, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
            const int64_t b = sequence_of(s, t);
            const int64_t position = s.context_length.as<const int32_t>()[b] - (row_start[b + 1] - t);
            const KeyRange range(a, position);
            const int64_t span_keys = span_length(position);
            for (int64_t head = 0; head < a.query_heads; ++head) HWY_DYNAMIC_DISPATCH(fold_spans_simd)
            (a, partials + (t * a.query_heads + head) * bounds.spans * partial_floats(a.head_dim),
             (range.high - 1) / span_keys - range.low / span_keys + 1, t, head);
        }
    });
}

}  // namespace nibble::ops
#endif
