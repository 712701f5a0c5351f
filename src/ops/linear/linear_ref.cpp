// Oracle of op linear: double sums, any layout and format.
#include "ops/element.h"
#include "ops/linear/linear.h"

#include <cmath>
#include <vector>

namespace nibble::ops {
namespace {

// Row t of what is multiplied: x, or its RMSNorm rounded to x's dtype.
void input_row(const LinearArgs& a, int64_t t, float* to) {
    const int64_t k = a.weight.k;
    double square = 0;
    for (int64_t i = 0; i < k; ++i) {
        to[i] = get(a.x.row(t), a.x.dtype(), i);
        square += double(to[i]) * to[i];
    }
    if (a.norm_weight.empty()) return;
    const double r = 1.0 / std::sqrt(square / static_cast<double>(k) + a.norm_eps);
    for (int64_t i = 0; i < k; ++i)
        to[i] = rounded(a.x.dtype(),
                        static_cast<float>(to[i] * r * get(a.norm_weight.as<std::byte>(), a.norm_weight.dtype(), i)));
}

}  // namespace

void linear_ref(OpContext& context, const LinearArgs& a) {
    const int64_t rows = a.x.dim(0), k = a.weight.k;
    std::vector<float> x(static_cast<size_t>(rows * k));
    for_each(context, rows, [&](int64_t t) { input_row(a, t, x.data() + t * k); });
    for_each(context, a.weight.n, [&](int64_t n) {
        thread_local std::vector<float> w;
        w.resize(static_cast<size_t>(k));
        unpack_row(a.weight, n, w.data());
        for (int64_t t = 0; t < rows; ++t) {
            double sum = 0;
            for (int64_t i = 0; i < k; ++i) sum += double(w[i]) * x[t * k + i];
            float y = static_cast<float>(sum);
            if (!a.bias.empty()) y += a.bias.as<float>()[n];
            if (!a.residual.empty()) y = rounded(a.y.dtype(), y) + get(a.residual.row(t), a.residual.dtype(), n);
            put(a.y.row(t), a.y.dtype(), n, y);
        }
    });
}

}  // namespace nibble::ops
