// The SIMD row of op rms_norm: two passes over a row that is in the L1 cache.
#include "ops/crew.h"
#include "ops/norm/norm.h"
#include "ops/norm/norm_row.h"
#include "ops/simd.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norm/norm_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

template <class T, class WeightT, class Y>
void normalize(const T* x, T* residual, const WeightT* weight, int64_t width, bool unit_offset, float eps, Y* y) {
    const Floats d;
    // Four sums, so that their additions overlap; merged in one order.
    F square[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    for (int64_t i = 0, turn = 0; i < width; i += kLanes, ++turn) {
        const int64_t count = std::min(kLanes, width - i);
        F v = load(x + i, count);
        if (residual != nullptr) {
            v = rounded_as<T>(hn::Add(load(residual + i, count), v));
            store(v, residual + i, count);
        }
        square[turn % 4] = hn::MulAdd(v, v, square[turn % 4]);
    }
    const float sum = sum_of_lanes(hn::Add(hn::Add(square[0], square[1]), hn::Add(square[2], square[3])));
    const F r = hn::Set(d, 1.0f / std::sqrt(sum / static_cast<float>(width) + eps));
    const F offset = hn::Set(d, unit_offset ? 1.0f : 0.0f);
    const T* from = residual != nullptr ? residual : x;
    for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t count = std::min(kLanes, width - i);
        const F w = hn::Add(load(weight + i, count), offset);
        store(hn::Mul(hn::Mul(load(from + i, count), r), w), y + i, count);
    }
}

template <class T, class Y>
void normalize_as(const std::byte* x, std::byte* residual, const Tensor& weight, bool unit_offset, float eps,
                  std::byte* y) {
    const auto* from = reinterpret_cast<const T*>(x);
    auto* sum = reinterpret_cast<T*>(residual);
    auto* to = reinterpret_cast<Y*>(y);
    if (weight.dtype() == DType::f32)
        normalize(from, sum, weight.as<const float>(), weight.elements(), unit_offset, eps, to);
    else
        normalize(from, sum, weight.as<const numeric::bf16>(), weight.elements(), unit_offset, eps, to);
}

void rms_norm_row_simd(const std::byte* x, std::byte* residual, const Tensor& weight, bool unit_offset, float eps,
                       DType dtype, DType y_dtype, std::byte* y) {
    if (dtype == DType::f32 && y_dtype == DType::f32)
        normalize_as<float, float>(x, residual, weight, unit_offset, eps, y);
    else if (dtype == DType::f32)
        normalize_as<float, numeric::bf16>(x, residual, weight, unit_offset, eps, y);
    else
        normalize_as<numeric::bf16, numeric::bf16>(x, residual, weight, unit_offset, eps, y);
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {

HWY_EXPORT(rms_norm_row_simd);

void rms_norm_row(const std::byte* x, std::byte* residual, const Tensor& weight, bool unit_offset, float eps,
                  DType dtype, DType y_dtype, std::byte* y) {
    HWY_DYNAMIC_DISPATCH(rms_norm_row_simd)(x, residual, weight, unit_offset, eps, dtype, y_dtype, y);
}

void rms_norm_simd(OpContext& context, const RmsNormArgs& a) {
    share(context, a.x.dim(0), a.x.elements(), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t)
            rms_norm_row(a.x.row(t), a.residual.empty() ? nullptr : a.residual.row(t), a.weight, a.unit_offset, a.eps,
                         a.x.dtype(), a.y.dtype(), a.y.row(t));
    });
}

}  // namespace nibble::ops
#endif
