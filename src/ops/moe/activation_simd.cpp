// The SIMD row of op activate, and the row loops that moe shares with it.
#include "ops/crew.h"
#include "ops/moe/activation.h"
#include "ops/moe/activation_row.h"
#include "ops/simd.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/moe/activation_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd-inl.h"
#include "ops/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

template <Activation kActivation>
HWY_INLINE F activated_lanes(F gate, F up) {
    const Floats d;
    if constexpr (kActivation == Activation::relu2) {
        const F positive = hn::Max(gate, hn::Zero(d));
        return hn::IfThenElse(hn::IsNaN(gate), gate, hn::Mul(positive, positive));
    } else if constexpr (kActivation == Activation::swiglu) {
        return hn::Mul(hn::Mul(gate, sigmoid(gate)), up);
    } else {
        // (1 + tanh(u)) / 2 = sigmoid(2u)
        const F cube = hn::Mul(hn::Mul(gate, gate), gate);
        const F u = hn::Mul(hn::Set(d, 1.5957691216057308f), hn::MulAdd(hn::Set(d, 0.044715f), cube, gate));
        return hn::Mul(hn::Mul(gate, sigmoid(u)), up);
    }
}

template <Activation kActivation, class From, class To>
void activate_lanes(const From* gate, const From* up, int64_t count, To* y) {
    for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t lanes = std::min(kLanes, count - i);
        const F g = load(gate + i, lanes);
        store(activated_lanes<kActivation>(g, up == nullptr ? g : load(up + i, lanes)), y + i, lanes);
    }
}

template <class From, class To>
void activate_as(Activation activation, const From* gate, const From* up, int64_t count, To* y) {
    switch (activation) {
        case Activation::relu2:
            return activate_lanes<Activation::relu2>(gate, static_cast<const From*>(nullptr), count, y);
        case Activation::swiglu:
            return activate_lanes<Activation::swiglu>(gate, up, count, y);
        case Activation::gelu_tanh_glu:
            return activate_lanes<Activation::gelu_tanh_glu>(gate, up, count, y);
    }
}

void activate_sums_simd(Activation activation, const float* gate, const float* up, int64_t count, DType dtype,
                        std::byte* y) {
    if (dtype == DType::f32)
        activate_as(activation, gate, up, count, reinterpret_cast<float*>(y));
    else
        activate_as(activation, gate, up, count, reinterpret_cast<numeric::bf16*>(y));
}

void activate_row_simd(Activation activation, const std::byte* gate, const std::byte* up, int64_t count, DType dtype,
                       std::byte* y) {
    if (dtype == DType::f32)
        activate_as(activation, reinterpret_cast<const float*>(gate), reinterpret_cast<const float*>(up), count,
                    reinterpret_cast<float*>(y));
    else
        activate_as(activation, reinterpret_cast<const numeric::bf16*>(gate),
                    reinterpret_cast<const numeric::bf16*>(up), count, reinterpret_cast<numeric::bf16*>(y));
}

void add_scaled_simd(const float* sums, float weight, int64_t count, float* total) {
    const F w = hn::Set(Floats(), weight);
    for (int64_t i = 0; i < count; i += kLanes) {
        const int64_t lanes = std::min(kLanes, count - i);
        store(hn::MulAdd(load(sums + i, lanes), w, load(total + i, lanes)), total + i, lanes);
    }
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {

HWY_EXPORT(activate_sums_simd);
HWY_EXPORT(activate_row_simd);
HWY_EXPORT(add_scaled_simd);

void activate_sums(Activation activation, const float* gate, const float* up, int64_t count, DType dtype,
                   std::byte* y) {
    HWY_DYNAMIC_DISPATCH(activate_sums_simd)(activation, gate, up, count, dtype, y);
}
void activate_row(Activation activation, const std::byte* gate, const std::byte* up, int64_t count, DType dtype,
                  std::byte* y) {
    HWY_DYNAMIC_DISPATCH(activate_row_simd)(activation, gate, up, count, dtype, y);
}
void add_scaled(const float* sums, float weight, int64_t count, float* total) {
    HWY_DYNAMIC_DISPATCH(add_scaled_simd)(sums, weight, count, total);
}

void activate_simd(OpContext& context, const ActivateArgs& a) {
    const int64_t width = a.y.dim(1), up = is_gated(a.activation) ? width * numeric::size_bytes(a.x.dtype()) : 0;
    share(context, a.x.dim(0), a.x.elements(), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t)
            activate_row(a.activation, a.x.row(t), a.x.row(t) + up, width, a.x.dtype(), a.y.row(t));
    });
}

}  // namespace nibble::ops
#endif
