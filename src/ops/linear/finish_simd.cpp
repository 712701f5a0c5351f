// The end of a linear on SIMD: scale, bias, rounding and residual of finished sums. One row of a step at a time.
#include "ops/linear/finish.h"
#include "ops/simd.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/finish_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

template <class T>
void finish(const float* sums, int64_t count, const float* bias, const T* residual, T* y) {
    for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t lanes = std::min(kLanes, count - i);
        F value = load(sums + i, lanes);
        if (bias != nullptr) value = hn::Add(value, load(bias + i, lanes));
        if (residual != nullptr) value = hn::Add(rounded_as<T>(value), load(residual + i, lanes));
        store(value, y + i, lanes);
    }
}

void finish_row_simd(const float* sums, int64_t count, int64_t first, const Tensor& bias, const Tensor& residual,
                     const Tensor& y, int64_t t) {
    const float* b = bias.empty() ? nullptr : bias.as<const float>() + first;
    if (y.dtype() == DType::f32)
        finish(sums, count, b, residual.empty() ? nullptr : residual.row_as<const float>(t) + first,
               y.row_as<float>(t) + first);
    else
        finish(sums, count, b, residual.empty() ? nullptr : residual.row_as<const numeric::bf16>(t) + first,
               y.row_as<numeric::bf16>(t) + first);
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {

HWY_EXPORT(finish_row_simd);

void finish_row(const float* sums, int64_t count, int64_t first, const Tensor& bias, const Tensor& residual,
                const Tensor& y, int64_t t) {
    HWY_DYNAMIC_DISPATCH(finish_row_simd)(sums, count, first, bias, residual, y, t);
}

}  // namespace nibble::ops
#endif
