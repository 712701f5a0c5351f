// Oracle of op moe: routes every token, then runs one expert after the other over the tokens that chose it.
#include "ops/element.h"
#include "ops/moe/activation.h"
#include "ops/moe/moe.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace nibble::ops {
namespace {

double dot(const std::vector<float>& w, const std::vector<float>& x) {
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) sum += double(w[i]) * x[i];
    return sum;
}

// out[i][n] = W[n] · in[i] for the given inputs, as float32.
std::vector<std::vector<float>> product(OpContext& context, const Weight& weight,
                                        const std::vector<const std::vector<float>*>& in) {
    std::vector<std::vector<float>> out(in.size(), std::vector<float>(static_cast<size_t>(weight.n)));
    for_each(context, weight.n, [&](int64_t n) {
        std::vector<float> w(static_cast<size_t>(weight.k));
        unpack_row(weight, n, w.data());
        for (size_t i = 0; i < in.size(); ++i) out[i][n] = static_cast<float>(dot(w, *in[i]));
    });
    return out;
}

// down · act(up · x), the activation rounded to dtype.
std::vector<std::vector<float>> feed_forward(OpContext& context, const Weight& up, const Weight& down,
                                             Activation activation, DType dtype,
                                             const std::vector<const std::vector<float>*>& in) {
    auto hidden = product(context, up, in);
    const int64_t width = down.k;
    std::vector<const std::vector<float>*> rows;
    for (auto& h : hidden) {
        for (int64_t i = 0; i < width; ++i)
            h[i] = rounded(dtype, activated(activation, h[i], is_gated(activation) ? h[i + width] : 0.0f));
        h.resize(static_cast<size_t>(width));
        rows.push_back(&h);
    }
    return product(context, down, rows);
}

struct Choice {
    int64_t expert;
    double weight;
};

// The experts of one token from its router logits, in ascending order.
std::vector<Choice> route(const MoeArgs& a, const std::vector<float>& logits) {
    const int64_t experts = a.up.count, group = experts / a.expert_groups;
    std::vector<float> s(logits.size()), c(logits.size());
    if (a.score == RouterScore::sigmoid) {
        for (int64_t e = 0; e < experts; ++e) s[e] = static_cast<float>(1.0 / (1.0 + std::exp(-double(logits[e]))));
    } else {
        const double largest = *std::max_element(logits.begin(), logits.end());
        double total = 0;
        for (float l : logits) total += std::exp(l - largest);
        for (int64_t e = 0; e < experts; ++e) s[e] = static_cast<float>(std::exp(logits[e] - largest) / total);
    }
    for (int64_t e = 0; e < experts; ++e)
        c[e] = s[e] + (a.correction_bias.empty() ? 0.0f : a.correction_bias.as<float>()[e]);

    // Largest first, lower index first among equals.
    const auto best = [](const std::vector<float>& value, std::vector<int64_t> index, int64_t count) {
        std::stable_sort(index.begin(), index.end(), [&](int64_t i, int64_t j) { return value[i] > value[j]; });
        index.resize(static_cast<size_t>(count));
        return index;
    };
    std::vector<int64_t> candidates(logits.size());
    std::iota(candidates.begin(), candidates.end(), 0);
    if (a.expert_groups > 1) {
        std::vector<float> group_score;
        for (int64_t g = 0; g < a.expert_groups; ++g) {
            std::vector<int64_t> members(static_cast<size_t>(group));
            std::iota(members.begin(), members.end(), g * group);
            const auto two = best(c, members, std::min<int64_t>(2, group));
            float sum = 0;
            for (int64_t e : two) sum += c[e];
            group_score.push_back(sum);
        }
        std::vector<int64_t> groups(group_score.size());
        std::iota(groups.begin(), groups.end(), 0);
        groups = best(group_score, groups, a.top_groups);
        std::erase_if(candidates,
                      [&](int64_t e) { return std::find(groups.begin(), groups.end(), e / group) == groups.end(); });
    }
    std::vector<int64_t> chosen = best(c, candidates, a.top_k);
    std::sort(chosen.begin(), chosen.end());
    double total = 1e-20;
    for (int64_t e : chosen) total += s[e];
    std::vector<Choice> choices;
    for (int64_t e : chosen) choices.push_back({e, (a.normalize ? s[e] / total : s[e]) * a.routed_scale});
    return choices;
}

}  // namespace

void moe_ref(OpContext& context, const MoeArgs& a) {
    const int64_t tokens = a.x.dim(0), width = a.x.dim(1);
    const DType dtype = a.x.dtype();
    std::vector<std::vector<float>> x(static_cast<size_t>(tokens), std::vector<float>(static_cast<size_t>(width)));
    std::vector<const std::vector<float>*> all;
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t i = 0; i < width; ++i) x[t][i] = get(a.x.row(t), dtype, i);
        all.push_back(&x[t]);
    }

    const auto logits = product(context, a.router, all);
    std::vector<std::vector<std::pair<int64_t, double>>> tokens_of(static_cast<size_t>(a.up.count));
    for (int64_t t = 0; t < tokens; ++t)
        for (const Choice& choice : route(a, logits[t])) tokens_of[choice.expert].push_back({t, choice.weight});

    std::vector<std::vector<double>> sum(static_cast<size_t>(tokens), std::vector<double>(static_cast<size_t>(width)));
    for (int64_t e = 0; e < a.up.count; ++e) {
        if (tokens_of[e].empty()) continue;
        std::vector<const std::vector<float>*> in;
        for (const auto& [t, weight] : tokens_of[e]) in.push_back(&x[t]);
        const auto out = feed_forward(context, a.up.expert(e, a.up.scales.as<float>()[e]),
                                      a.down.expert(e, a.down.scales.as<float>()[e]), a.activation, dtype, in);
        for (size_t i = 0; i < in.size(); ++i)
            for (int64_t j = 0; j < width; ++j) sum[tokens_of[e][i].first][j] += tokens_of[e][i].second * out[i][j];
        if (!a.expert_tokens.empty()) a.expert_tokens.as<int32_t>()[e] += static_cast<int32_t>(tokens_of[e].size());
    }
    if (!a.shared_up.empty()) {
        const auto out = feed_forward(context, a.shared_up, a.shared_down, a.activation, dtype, all);
        std::vector<std::vector<float>> gate;
        if (!a.shared_gate.empty()) gate = product(context, a.shared_gate, all);
        for (int64_t t = 0; t < tokens; ++t) {
            const double weight = gate.empty() ? 1.0 : 1.0 / (1.0 + std::exp(-double(gate[t][0])));
            for (int64_t j = 0; j < width; ++j) sum[t][j] += weight * out[t][j];
        }
    }
    for (int64_t t = 0; t < tokens; ++t)
        for (int64_t j = 0; j < width; ++j) {
            float y = static_cast<float>(sum[t][j]);
            if (!a.residual.empty()) y = rounded(a.y.dtype(), y) + get(a.residual.row(t), a.y.dtype(), j);
            put(a.y.row(t), a.y.dtype(), j, y);
        }
}

}  // namespace nibble::ops
