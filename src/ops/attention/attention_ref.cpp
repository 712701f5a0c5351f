// Oracle of op attention: two passes over the keys of every row, double sums.
#include "ops/attention/attention.h"
#include "ops/element.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace nibble::ops {
namespace {

// Where the cache keeps a head's D values of a position.
std::byte* cache_row(const Tensor& pages, const Sequences& s, int64_t sequence, int64_t position, int64_t head) {
    const int32_t page = s.page_table.row_as<int32_t>(sequence)[position / s.page_size];
    CHECK(page >= 0 && page < pages.dim(0), "page {} of {}", page, pages.dim(0));
    const int64_t row = (position % s.page_size) * pages.dim(2) + head;
    return pages.row(page) + row * pages.dim(3) * numeric::size_bytes(pages.dtype());
}

}  // namespace

void attention_ref(OpContext& context, const AttentionArgs& a) {
    const Sequences& s = a.sequences;
    const int64_t d = a.head_dim, group = a.query_heads / a.kv_heads;
    const DType dtype = a.q.dtype(), cache = a.k_pages.dtype();
    const float k_scale = cache == DType::f8_e4m3 ? a.k_scale : 1.0f,
                v_scale = cache == DType::f8_e4m3 ? a.v_scale : 1.0f;
    const int32_t* row_start = s.row_start.as<int32_t>();
    const int32_t* context_length = s.context_length.as<int32_t>();

    std::vector<int64_t> sequence_of(static_cast<size_t>(s.tokens));
    for (int64_t b = 0; b < s.count; ++b)
        for (int64_t t = row_start[b]; t < row_start[b + 1]; ++t) sequence_of[t] = b;
    const auto position_of = [&](int64_t t) {
        return context_length[sequence_of[t]] - (row_start[sequence_of[t] + 1] - t);
    };

    for_each(context, s.tokens, [&](int64_t t) {
        for (int64_t head = 0; head < a.kv_heads; ++head) {
            std::byte* k = cache_row(a.k_pages, s, sequence_of[t], position_of(t), head);
            std::byte* v = cache_row(a.v_pages, s, sequence_of[t], position_of(t), head);
            for (int64_t i = 0; i < d; ++i) {
                put(k, cache, i, get(a.k.row(t), dtype, head * d + i) / k_scale);
                put(v, cache, i, get(a.v.row(t), dtype, head * d + i) / v_scale);
            }
        }
    });

    for_each(context, s.tokens, [&](int64_t t) {
        const int64_t b = sequence_of[t], p = position_of(t);
        const int64_t first = a.window > 0 ? std::max<int64_t>(0, p + 1 - a.window) : 0;
        std::vector<double> score(static_cast<size_t>(p + 1 - first)), sum(static_cast<size_t>(d));
        for (int64_t head = 0; head < a.query_heads; ++head) {
            double largest = -INFINITY;
            for (int64_t j = first; j <= p; ++j) {
                const std::byte* k = cache_row(a.k_pages, s, b, j, head / group);
                double dot = 0;
                for (int64_t i = 0; i < d; ++i)
                    dot += double(get(a.q.row(t), dtype, head * d + i)) * (get(k, cache, i) * k_scale);
                score[j - first] = dot * a.scale;
                largest = std::max(largest, score[j - first]);
            }
            double total = 0;
            std::fill(sum.begin(), sum.end(), 0.0);
            for (int64_t j = first; j <= p; ++j) {
                const std::byte* v = cache_row(a.v_pages, s, b, j, head / group);
                const double weight = std::exp(score[j - first] - largest);
                total += weight;
                for (int64_t i = 0; i < d; ++i) sum[i] += weight * (get(v, cache, i) * v_scale);
            }
            for (int64_t i = 0; i < d; ++i) put(a.out.row(t), dtype, head * d + i, static_cast<float>(sum[i] / total));
        }
    });
}

}  // namespace nibble::ops
