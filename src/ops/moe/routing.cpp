#include "ops/moe/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace nibble::ops {
namespace {

// The `count` best of `candidates` by value to its front: largest first, lower index first among equals.
void best_first(std::span<int32_t> candidates, int64_t count, const float* value) {
    std::partial_sort(candidates.begin(), candidates.begin() + count, candidates.end(),
                      [&](int32_t i, int32_t j) { return value[i] != value[j] ? value[i] > value[j] : i < j; });
}

// The experts of the best groups to the front of scratch.order; returns how many.
int64_t keep_best_groups(const MoeArgs& a, const RoutingScratch& scratch) {
    const int64_t experts = a.up.count, size = experts / a.expert_groups;
    std::iota(scratch.order, scratch.order + experts, 0);
    if (a.expert_groups == 1) return experts;
    for (int64_t g = 0; g < a.expert_groups; ++g) {
        float first = -INFINITY, second = -INFINITY;
        for (int64_t e = g * size; e < (g + 1) * size; ++e) {
            if (scratch.choice[e] > first)
                second = std::exchange(first, scratch.choice[e]);
            else
                second = std::max(second, scratch.choice[e]);
        }
        scratch.group_score[g] = size > 1 ? first + second : first;
        scratch.group_order[g] = static_cast<int32_t>(g);
    }
    best_first({scratch.group_order, static_cast<size_t>(a.expert_groups)}, a.top_groups, scratch.group_score);
    int64_t kept = 0;
    for (int64_t i = 0; i < a.top_groups; ++i)
        for (int64_t e = 0; e < size; ++e)
            scratch.order[kept++] = static_cast<int32_t>(scratch.group_order[i] * size + e);
    return kept;
}

}  // namespace

void route_token(const MoeArgs& a, const float* logits, const RoutingScratch& scratch, Choice* chosen) {
    const int64_t experts = a.up.count;
    float *score = scratch.score, *choice = scratch.choice;
    if (a.score == RouterScore::sigmoid) {
        for (int64_t e = 0; e < experts; ++e) score[e] = static_cast<float>(1.0 / (1.0 + std::exp(-double(logits[e]))));
    } else {
        const double largest = *std::max_element(logits, logits + experts);
        double total = 0;
        for (int64_t e = 0; e < experts; ++e) total += std::exp(logits[e] - largest);
        for (int64_t e = 0; e < experts; ++e) score[e] = static_cast<float>(std::exp(logits[e] - largest) / total);
    }
    const float* bias = a.correction_bias.empty() ? nullptr : a.correction_bias.as<const float>();
    for (int64_t e = 0; e < experts; ++e) {
        choice[e] = score[e] + (bias != nullptr ? bias[e] : 0.0f);
        if (std::isnan(choice[e])) choice[e] = -INFINITY;  // must not break the order: chosen last
    }

    const int64_t candidates = keep_best_groups(a, scratch);
    best_first({scratch.order, static_cast<size_t>(candidates)}, a.top_k, choice);
    std::sort(scratch.order, scratch.order + a.top_k);
    double total = 1e-20;
    for (int64_t i = 0; i < a.top_k; ++i) total += score[scratch.order[i]];
    for (int64_t i = 0; i < a.top_k; ++i) {
        const double s = score[scratch.order[i]];
        chosen[i] = {scratch.order[i], static_cast<float>((a.normalize ? s / total : s) * a.routed_scale)};
    }
}

void Routing::group(int64_t tokens, int64_t top_k) {
    std::fill(expert_begin.begin(), expert_begin.end(), 0);
    for (int64_t i = 0; i < tokens * top_k; ++i) ++expert_begin[choices[i].expert + 1];
    std::partial_sum(expert_begin.begin(), expert_begin.end(), expert_begin.begin());
    // Each expert's begin walks to its end, and is put back: the next expert's begin.
    for (int64_t i = 0; i < tokens * top_k; ++i) {
        const int32_t slot = expert_begin[choices[i].expert]++;
        slot_token[slot] = static_cast<int32_t>(i / top_k);
        slot_weight[slot] = choices[i].weight;
    }
    for (size_t e = expert_begin.size() - 1; e > 0; --e) expert_begin[e] = expert_begin[e - 1];
    expert_begin[0] = 0;
}

}  // namespace nibble::ops
