// Oracle of op rope.
#include "ops/element.h"
#include "ops/rope/rope.h"

#include <cmath>

namespace nibble::ops {

void rope_ref(OpContext& context, const RopeArgs& a) {
    const int64_t half = a.inv_freq.elements();  // the pair of element i is i + R/2
    const DType dtype = a.x.dtype();
    for_each(context, a.x.dim(0), [&](int64_t t) {
        const float position = static_cast<float>(a.positions.as<int32_t>()[t]);
        for (int64_t i = 0; i < half; ++i) {
            const float angle = position * a.inv_freq.as<float>()[i];
            const float c = rounded(dtype, static_cast<float>(std::cos(double(angle))) * a.scale);
            const float s = rounded(dtype, static_cast<float>(std::sin(double(angle))) * a.scale);
            for (int64_t head = 0; head < a.heads; ++head) {
                const int64_t first = head * a.head_dim + i;
                const float lower = get(a.x.row(t), dtype, first), upper = get(a.x.row(t), dtype, first + half);
                put(a.x.row(t), dtype, first, lower * c - upper * s);
                put(a.x.row(t), dtype, first + half, upper * c + lower * s);
            }
        }
    });
}

}  // namespace nibble::ops
