#include "checkpoint/input_statistics.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace nibble::checkpoint {
namespace {

constexpr double kLeastWeight = 1e-4;

constexpr std::array<std::array<std::string_view, 3>, 4> kFused = {
    {{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj", ""}, {"w1", "w3", ""}, {"in_proj_qkv", "in_proj_z", ""}}};

}  // namespace

std::string fused_name(std::string_view module) {
    const size_t dot = module.rfind('.');
    const std::string_view last = module.substr(dot + 1);
    for (const auto& fused : kFused)
        if (!last.empty() && std::find(fused.begin(), fused.end(), last) != fused.end())
            return std::string(module.substr(0, dot + 1)) + std::string(fused[0]);
    return std::string(module);
}

void InputStatistics::add(std::string_view module, std::span<const float> x) {
    module = module.substr(0, module.find('+'));  // "….q_proj+k_proj+v_proj": one matrix in memory
    auto found = by_module_.find(module);
    if (found == by_module_.end()) found = by_module_.emplace(module, Input{}).first;
    Input& input = found->second;
    input.square_sum.resize(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
        input.square_sum[i] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        input.largest = std::max(input.largest, std::fabs(x[i]));
    }
    ++input.rows;
}

InputStatistics::Found InputStatistics::find(const LinearModule& module) const {
    const auto look = [&](std::string_view name) -> const Input* {
        const auto found = by_module_.find(name);
        const bool fits =
            found != by_module_.end() && static_cast<int64_t>(found->second.square_sum.size()) == module.k;
        return fits ? &found->second : nullptr;
    };
    if (const Input* input = look(module.name)) return {input, true};
    if (const Input* input = look(fused_name(module.name))) return {input, true};
    constexpr std::string_view kWeight = ".weight";
    if (module.tied && module.source->name.ends_with(kWeight))
        if (const Input* input =
                look(std::string_view(module.source->name).substr(0, module.source->name.size() - kWeight.size())))
            return {input, true};
    // An expert's up and gate read what all experts of the layer are shown.
    constexpr std::string_view kExperts = ".experts.";
    const size_t experts = module.name.rfind(kExperts);
    if (experts == std::string::npos || module.name.ends_with("down_proj") || module.name.ends_with("w2")) return {};
    const std::string prefix = module.name.substr(0, experts + kExperts.size());
    for (auto at = by_module_.lower_bound(prefix); at != by_module_.end() && at->first.starts_with(prefix); ++at)
        if (const Input* input = look(at->first); input != nullptr && !at->first.ends_with("down_proj"))
            return {input, false};
    return {};
}

std::vector<float> InputStatistics::weights(const Input& input) {
    double sum = 0;
    for (const double square : input.square_sum) sum += square;
    std::vector<float> weights(input.square_sum.size(), 1.0f);
    if (!(sum > 0) || !std::isfinite(sum)) return weights;
    const double mean = sum / static_cast<double>(weights.size());
    for (size_t i = 0; i < weights.size(); ++i)
        weights[i] = static_cast<float>(std::max(input.square_sum[i] / mean, kLeastWeight));
    return weights;
}

}  // namespace nibble::checkpoint
