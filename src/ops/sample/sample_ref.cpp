// Oracle of op sample: the contract step by step, with a full sort.
#include "ops/element.h"
#include "ops/sample/sample.h"
#include "ops/sample/sample_weight.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace nibble::ops {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

// Ids in the order of values descending, then id ascending.
std::vector<int32_t> ordered(const std::vector<float>& values) {
    std::vector<int32_t> ids(values.size());
    std::iota(ids.begin(), ids.end(), 0);
    std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
    return ids;
}

std::vector<float> processed(const std::vector<float>& logits, const SampleRow& row, const SampleEntry* entry) {
    std::vector<float> x = logits;
    for (int32_t i = 0; i < row.bias_entries; ++i, ++entry) x[entry->token] += entry->value;
    for (int32_t i = 0; i < row.counted_entries; ++i, ++entry)
        x[entry->token] = penalized(x[entry->token], entry->value, row.repetition, row.presence, row.frequency);
    for (float& value : x) value = std::clamp(value, -FLT_MAX, FLT_MAX);
    for (int32_t i = 0; i < row.masked_entries; ++i, ++entry) x[entry->token] = kMasked;
    return x;
}

int32_t draw(const std::vector<float>& x, const SampleRow& row) {
    const std::vector<int32_t> ids = ordered(x);
    if (row.inverse_temperature == 0 || x[ids[0]] == kMasked) return ids[0];
    const auto z = [&](int32_t id) { return (x[id] - x[ids[0]]) * row.inverse_temperature; };

    size_t kept = 0;
    while (kept < ids.size() && z(ids[kept]) >= row.min_z) ++kept;
    if (row.top_k > 0) kept = std::min(kept, static_cast<size_t>(row.top_k));
    uint64_t sum = 0;
    for (size_t i = 0; i < kept; ++i) sum += sample_weight(z(ids[i]));
    const uint64_t target = top_p_target(sum, row.top_p);
    if (row.top_p < 1.0f) {
        uint64_t reached = 0;
        for (size_t i = 0; i < kept; ++i) {
            reached += sample_weight(z(ids[i]));
            if (reached >= target) kept = i + 1;
        }
        sum = reached;
    }

    std::vector<int32_t> by_id(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(kept));
    std::sort(by_id.begin(), by_id.end());
    const numeric::PhiloxWords words = numeric::philox(row.seed, static_cast<uint64_t>(row.position), 0);
    const uint64_t r = scale_random(sum, words.word[0] | uint64_t{words.word[1]} << 32);
    uint64_t reached = 0;
    for (int32_t id : by_id) {
        reached += sample_weight(z(id));
        if (reached > r) return id;
    }
    CHECK(false, "no token is kept");
    return -1;
}

void sample_row(const SampleArgs& a, int64_t r) {
    const SampleRow& row = a.rows.as<SampleRow>()[r];
    const float* row_logits = a.logits.row_as<float>(r);
    const std::vector<float> logits(row_logits, row_logits + a.logits.dim(1));
    int32_t& token = a.token.as<int32_t>()[r];
    token = -1;
    for (float l : logits)
        if (!std::isfinite(l)) return;
    token = row.given_token;
    if (token < 0) {
        const SampleEntry* entries = a.entries.empty() ? nullptr : a.entries.as<SampleEntry>() + row.entries_begin;
        token = draw(processed(logits, row, entries), row);
    }
    if (row.top < 0) return;
    const std::vector<int32_t> ids = ordered(logits);
    const float largest = logits[ids[0]];
    uint64_t sum = 0;
    for (float l : logits) sum += sample_weight(l - largest);
    const double log_sum = std::log(static_cast<double>(sum) / weight::kScale);
    const auto logprob = [&](int32_t id) {
        return static_cast<float>(static_cast<double>(logits[id]) - static_cast<double>(largest) - log_sum);
    };
    a.logprob.as<float>()[r] = logprob(token);
    a.rank.as<int32_t>()[r] = static_cast<int32_t>(std::find(ids.begin(), ids.end(), token) - ids.begin()) + 1;
    for (int32_t i = 0; i < row.top; ++i) {
        a.top_token.row_as<int32_t>(r)[i] = ids[i];
        a.top_logprob.row_as<float>(r)[i] = logprob(ids[i]);
    }
}

}  // namespace

void sample_ref(OpContext& context, const SampleArgs& a) {
    for_each(context, a.logits.dim(0), [&](int64_t r) { sample_row(a, r); });
}

}  // namespace nibble::ops
