// Oracle of op rms_norm.
#include "ops/element.h"
#include "ops/norm/norm.h"

#include <cmath>

namespace nibble::ops {

void rms_norm_ref(OpContext& context, const RmsNormArgs& a) {
    const int64_t width = a.x.dim(1);
    const DType dtype = a.x.dtype();
    for_each(context, a.x.dim(0), [&](int64_t t) {
        const std::byte* from = a.x.row(t);
        if (!a.residual.empty()) {
            std::byte* sum = a.residual.row(t);
            for (int64_t i = 0; i < width; ++i) put(sum, dtype, i, get(sum, dtype, i) + get(from, dtype, i));
            from = sum;
        }
        double square = 0;
        for (int64_t i = 0; i < width; ++i) square += double(get(from, dtype, i)) * get(from, dtype, i);
        const double r = 1.0 / std::sqrt(square / static_cast<double>(width) + a.eps);
        for (int64_t i = 0; i < width; ++i) {
            double w = get(a.weight.as<std::byte>(), a.weight.dtype(), i);
            if (a.unit_offset) w += 1.0;
            put(a.y.row(t), a.y.dtype(), i, static_cast<float>(get(from, dtype, i) * r * w));
        }
    });
}

}  // namespace nibble::ops
