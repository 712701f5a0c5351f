// exp, sigmoid and softplus of float32 lanes, to about 2 units in the last place over the whole range.
#if defined(NIBBLE_OPS_SIMD_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_OPS_SIMD_MATH_INL_H
#undef NIBBLE_OPS_SIMD_MATH_INL_H
#else
#define NIBBLE_OPS_SIMD_MATH_INL_H
#endif

#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {

// 2^n for whole n in [-126, 127].
HWY_INLINE F power_of_two(hn::Vec<Integers> n) {
    return hn::BitCast(Floats(), hn::ShiftLeft<23>(hn::Add(n, hn::Set(Integers(), 127))));
}

// e^x: x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial in r (Cephes' expf). Underflows to 0, overflows to
// infinity, NaN stays NaN.
HWY_INLINE F exp(F x) {
    const Floats d;
    const F clamped = hn::Min(hn::Max(x, hn::Set(d, -105.0f)), hn::Set(d, 89.0f));
    const F n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
    F r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);
    r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
    F p = hn::Set(d, 1.9875691500e-4f);
    p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
    p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
    p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
    p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
    p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
    p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
    // n may be -152 or 129: two halves, of which neither leaves the range of exponents.
    const auto whole = hn::ConvertTo(Integers(), n);
    const auto half = hn::ShiftRight<1>(whole);
    const F scaled = hn::Mul(hn::Mul(p, power_of_two(half)), power_of_two(hn::Sub(whole, half)));
    return hn::IfThenElse(hn::IsNaN(x), x, scaled);
}

HWY_INLINE F sigmoid(F x) {
    const F one = hn::Set(Floats(), 1.0f);
    return hn::Div(one, hn::Add(one, exp(hn::Neg(x))));
}

}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
