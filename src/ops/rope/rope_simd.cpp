// The SIMD row of op rope: cosines and sines once a token, then every head.
#include "ops/crew.h"
#include "ops/rope/cpu_rows.h"
#include "ops/rope/rope.h"
#include "ops/simd.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rope/rope_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

using Doubles = hn::CappedTag<double, 8>;
using D = hn::Vec<Doubles>;
constexpr int64_t kDoubleLanes = static_cast<int64_t>(hn::MaxLanes(Doubles()));

// Both in double, to 1e-15 for angles below 2^31: the angle less n·π/2 in two parts, then the Taylor series of sine
// and cosine on [-π/4, π/4], and the quadrant.
void sines(const double* angle, double* sine, double* cosine) {
    const Doubles d;
    const hn::RebindToSigned<Doubles> di;
    const D x = hn::LoadU(d, angle);
    const D n = hn::Round(hn::Mul(x, hn::Set(d, 0.63661977236758134)));
    D r = hn::NegMulAdd(n, hn::Set(d, 1.5707963267948966), x);
    r = hn::NegMulAdd(n, hn::Set(d, 6.123233995736766e-17), r);
    const D r2 = hn::Mul(r, r);
    D s = hn::Set(d, -1.0 / 1307674368000.0);
    s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 6227020800.0));
    s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 39916800.0));
    s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 362880.0));
    s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 5040.0));
    s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 120.0));
    s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 6.0));
    s = hn::MulAdd(hn::Mul(s, r2), r, r);
    D c = hn::Set(d, -1.0 / 87178291200.0);
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 479001600.0));
    c = hn::MulAdd(c, r2, hn::Set(d, -1.0 / 3628800.0));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 40320.0));
    c = hn::MulAdd(c, r2, hn::Set(d, -1.0 / 720.0));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 24.0));
    c = hn::MulAdd(c, r2, hn::Set(d, -0.5));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0));
    const auto quadrant = hn::ConvertTo(di, n);
    const auto swapped = hn::RebindMask(d, hn::Ne(hn::And(quadrant, hn::Set(di, 1)), hn::Zero(di)));
    const auto sine_sign = hn::ShiftLeft<62>(hn::And(quadrant, hn::Set(di, 2)));
    const auto cosine_sign = hn::ShiftLeft<62>(hn::And(hn::Add(quadrant, hn::Set(di, 1)), hn::Set(di, 2)));
    hn::StoreU(hn::Xor(hn::IfThenElse(swapped, c, s), hn::BitCast(d, sine_sign)), d, sine);
    hn::StoreU(hn::Xor(hn::IfThenElse(swapped, s, c), hn::BitCast(d, cosine_sign)), d, cosine);
}

template <class T>
void rotate(const RopeArgs& a, int64_t t) {
    const int64_t half = a.inv_freq.elements();
    const float position = static_cast<float>(a.positions.as<const int32_t>()[t]);
    constexpr int64_t kPart = 64;  // pairs whose cosines and sines are kept at a time
    for (int64_t begin = 0; begin < half; begin += kPart) {
        const int64_t count = std::min(kPart, half - begin);
        HWY_ALIGN float cosine[kPart], sine[kPart];
        for (int64_t i = 0; i < count; i += kDoubleLanes) {
            const int64_t lanes = std::min(kDoubleLanes, count - i);
            double angle[kDoubleLanes] = {}, s[kDoubleLanes], c[kDoubleLanes];
            for (int64_t j = 0; j < lanes; ++j)
                angle[j] =
                    position * a.inv_freq.as<const float>()[begin + i + j];  // in float32, as the reference has it
            sines(angle, s, c);
            for (int64_t j = 0; j < lanes; ++j) {
                cosine[i + j] = to_float(from_float<T>(static_cast<float>(c[j]) * a.scale));
                sine[i + j] = to_float(from_float<T>(static_cast<float>(s[j]) * a.scale));
            }
        }
        for (int64_t head = 0; head < a.heads; ++head) {
            T* lower = a.x.row_as<T>(t) + head * a.head_dim + begin;
            T* upper = lower + half;
            for (int64_t i = 0; i < count; i += kLanes) {
                const int64_t lanes = std::min(kLanes, count - i);
                const F x = load(lower + i, lanes), y = load(upper + i, lanes);
                const F c = load(cosine + i, lanes), s = load(sine + i, lanes);
                store(hn::Sub(hn::Mul(x, c), hn::Mul(y, s)), lower + i, lanes);
                store(hn::Add(hn::Mul(y, c), hn::Mul(x, s)), upper + i, lanes);
            }
        }
    }
}

void rope_row_simd(const RopeArgs& a, int64_t t) {
    if (a.x.dtype() == DType::f32)
        rotate<float>(a, t);
    else
        rotate<numeric::bf16>(a, t);
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {

HWY_EXPORT(rope_row_simd);

void rope_simd(OpContext& context, const RopeArgs& a) {
    share(context, a.x.dim(0), 4 * a.x.elements(), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) HWY_DYNAMIC_DISPATCH(rope_row_simd)(a, t);
    });
}

}  // namespace nibble::ops
#endif
