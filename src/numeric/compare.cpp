#include "numeric/compare.h"

#include "base/check.h"

#include <cmath>

namespace nibble::numeric {

Difference compare(std::span<const float> out, std::span<const float> reference) {
    CHECK(out.size() == reference.size());
    double reference_square = 0, error_square = 0;
    Difference result;
    for (size_t i = 0; i < out.size(); ++i) {
        if (!std::isfinite(out[i]) || !std::isfinite(reference[i])) {
            const bool same = (std::isnan(out[i]) && std::isnan(reference[i])) || out[i] == reference[i];
            if (!same) {
                ++result.not_finite;
                if (result.worst_index < 0) result.worst_index = static_cast<int64_t>(i);
            }
            continue;
        }
        reference_square += double(reference[i]) * reference[i];
        const double error = double(out[i]) - reference[i];
        error_square += error * error;
    }
    const double rms = out.empty() ? 0 : std::sqrt(reference_square / static_cast<double>(out.size()));
    result.relative_norm = error_square == 0 ? 0 : std::sqrt(error_square / reference_square);
    for (size_t i = 0; i < out.size(); ++i) {
        if (!std::isfinite(out[i]) || !std::isfinite(reference[i])) continue;
        const double error = std::fabs(double(out[i]) - reference[i]);
        if (error == 0) continue;
        const double relative = error / (std::fabs(reference[i]) + rms);
        if (relative > result.max_relative) {
            result.max_relative = relative;
            if (result.not_finite == 0) result.worst_index = static_cast<int64_t>(i);
        }
    }
    return result;
}

std::string Difference::describe() const {
    return fmt::format("relative norm {:.3g}, largest relative {:.3g} at element {}, {} not finite on one side only",
                       relative_norm, max_relative, worst_index, not_finite);
}

}  // namespace nibble::numeric
