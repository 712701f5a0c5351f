#include "ops/moe/expert_counts.h"

#include <algorithm>

namespace nibble::ops {

Result<ExpertCounts> ExpertCounts::create(const device::Device& device, const Program& recorded) {
    ExpertCounts created;
    created.device_ = device;
    int64_t experts = 0;
    for (const ProgramStep& step : recorded.steps)
        for (const WeightRead& weight : step.weights) {
            if (weight.role != WeightRead::Role::routed_experts) continue;
            if (created.layers_.try_emplace(step.module, Layer{experts, weight.count}).second) experts += weight.count;
        }
    TRY(created.counts_,
        device::Buffer::allocate(device, experts * static_cast<int64_t>(sizeof(int32_t)), "counts of experts"));
    return created;
}

device::Tensor ExpertCounts::of(std::string_view module) const {
    const auto layer = layers_.find(module);
    if (layer == layers_.end()) return {};
    return counts_.tensor(layer->second.first * static_cast<int64_t>(sizeof(int32_t)), device::DType::i32,
                          {layer->second.experts});
}

ExpertCounts::Lists ExpertCounts::read(device::Stream stream) const {
    std::vector<int32_t> all(static_cast<size_t>(counts_.bytes()) / sizeof(int32_t));
    if (!all.empty()) device::copy_to_host(device_, stream, all.data(), counts_.data(), counts_.bytes());
    device::synchronize(device_, stream);
    Lists lists;
    for (const auto& [module, layer] : layers_)
        lists[module].assign(all.begin() + layer.first, all.begin() + layer.first + layer.experts);
    return lists;
}

void set_experts_read(Program& program, const ExpertCounts::Lists& counts) {
    for (ProgramStep& step : program.steps) {
        double expert_bytes = 0;
        for (const WeightRead& weight : step.weights)
            if (weight.role == WeightRead::Role::routed_experts)
                expert_bytes += static_cast<double>(weight.stored_bytes);
        const auto chosen = counts.find(step.module);
        if (expert_bytes == 0 || chosen == counts.end()) continue;
        const auto read = static_cast<double>(
            std::count_if(chosen->second.begin(), chosen->second.end(), [](int64_t tokens) { return tokens > 0; }));
        step.cost.weight_bytes += static_cast<int64_t>((read - step.cost.distinct_experts) * expert_bytes);
        step.cost.distinct_experts = read;
        for (WeightRead& weight : step.weights)
            if (weight.role == WeightRead::Role::routed_experts) weight.read = read;
    }
}

}  // namespace nibble::ops
