#include "ops/op.h"

#include <algorithm>
#include <cmath>

namespace nibble::ops {

double RoutingModel::distinct_experts(std::string_view module, int64_t experts, int64_t top_k, int64_t tokens) const {
    const auto it = layer_probability.find(module);
    double expected = 0;
    for (int64_t e = 0; e < experts; ++e) {
        double p = static_cast<double>(top_k) / static_cast<double>(experts);
        if (it != layer_probability.end() && e < static_cast<int64_t>(it->second.size())) p = it->second[e];
        expected += 1.0 - std::pow(1.0 - p, static_cast<double>(tokens));
    }
    return expected;
}

void append_step(OpContext& context, ProgramStep step) {
    CHECK(context.program != nullptr);
    context.program->steps.push_back(std::move(step));
    context.program->scratch_peak_bytes = std::max(context.program->scratch_peak_bytes, context.arena->peak_bytes());
}

}  // namespace nibble::ops
