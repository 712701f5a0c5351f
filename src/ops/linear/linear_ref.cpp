// Oracle of op linear: double sums, any layout and format.
#include "ops/element.h"
#include "ops/linear/linear.h"

#include <vector>

namespace nibble::ops {

void linear_ref(OpContext& context, const LinearArgs& a) {
    const int64_t rows = a.x.dim(0), k = a.weight.k;
    for_each(context, a.weight.n, [&](int64_t n) {
        thread_local std::vector<float> w;
        w.resize(static_cast<size_t>(k));
        unpack_row(a.weight, n, w.data());
        for (int64_t t = 0; t < rows; ++t) {
            double sum = 0;
            for (int64_t i = 0; i < k; ++i) sum += double(w[i]) * get(a.x.row(t), a.x.dtype(), i);
            float y = static_cast<float>(sum);
            if (!a.bias.empty()) y += a.bias.as<float>()[n];
            if (!a.residual.empty()) y = rounded(a.y.dtype(), y) + get(a.residual.row(t), a.residual.dtype(), n);
            put(a.y.row(t), a.y.dtype(), n, y);
        }
    });
}

}  // namespace nibble::ops
