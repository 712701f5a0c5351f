#include "ops/input_observer.h"

#include "ops/element.h"

#include <cmath>
#include <vector>

namespace nibble::ops {

void observe_input(const OpContext& context, std::string_view module, const Tensor& x, const Tensor& norm_weight,
                   float norm_eps) {
    if (context.observer == nullptr || context.mode != Mode::run || !context.device->is_cpu()) return;
    std::vector<float> row(static_cast<size_t>(x.dim(1)));
    for (int64_t t = 0; t < x.dim(0); ++t) {
        const std::byte* from = x.row(t);
        double squares = 0;
        for (size_t i = 0; i < row.size(); ++i) {
            row[i] = get(from, x.dtype(), static_cast<int64_t>(i));
            squares += static_cast<double>(row[i]) * static_cast<double>(row[i]);
        }
        if (!norm_weight.empty()) {
            const auto scale = static_cast<float>(
                1 / std::sqrt(squares / static_cast<double>(row.size()) + static_cast<double>(norm_eps)));
            for (size_t i = 0; i < row.size(); ++i)
                row[i] *= scale * get(norm_weight.row(0), norm_weight.dtype(), static_cast<int64_t>(i));
        }
        context.observer->see(module, row);
    }
}

}  // namespace nibble::ops
