// Loading and storing activations in Highway code: bf16 or float32 in memory, float32 in registers.
//
// Per-target include guard: this file is included once for every target that foreach_target.h compiles.
#if defined(NIBBLE_OPS_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NIBBLE_OPS_SIMD_INL_H
#undef NIBBLE_OPS_SIMD_INL_H
#else
#define NIBBLE_OPS_SIMD_INL_H
#endif

#include "numeric/bf16.h"

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Words = hn::RebindToUnsigned<Floats>;
using Integers = hn::RebindToSigned<Floats>;
using Halves = hn::Rebind<uint16_t, Floats>;
using F = hn::Vec<Floats>;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(Floats()));

HWY_INLINE F load(const float* from) {
    return hn::LoadU(Floats(), from);
}
HWY_INLINE F load(const numeric::bf16* from) {
    const auto halves = hn::LoadU(Halves(), reinterpret_cast<const uint16_t*>(from));
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(Words(), halves)));
}

// The upper halves of the lanes, rounded to nearest even; NaN stays NaN (numeric::bf16::from_float).
HWY_INLINE hn::Vec<Words> rounded_bits(F value) {
    const Words d;
    const auto bits = hn::BitCast(d, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7FFFu)));
    return hn::IfThenElse(hn::RebindMask(d, hn::IsNaN(value)), hn::Or(bits, hn::Set(d, 0x400000u)), rounded);
}
HWY_INLINE void store(F value, float* to) {
    hn::StoreU(value, Floats(), to);
}
HWY_INLINE void store(F value, numeric::bf16* to) {
    const auto halves = hn::BitCast(Integers(), hn::ShiftRight<16>(rounded_bits(value)));
    hn::StoreU(hn::DemoteTo(Halves(), halves), Halves(), reinterpret_cast<uint16_t*>(to));
}

// What value becomes when stored as T and read back.
template <class T>
HWY_INLINE F rounded_as(F value) {
    if constexpr (sizeof(T) == 4) return value;
    return hn::BitCast(Floats(), hn::And(rounded_bits(value), hn::Set(Words(), 0xFFFF0000u)));
}

// E4M3 codes, one in the low byte of each lane (the other bytes zero). No subnormal floats are made: they are slow.
HWY_INLINE F e4m3_lanes(hn::Vec<Words> codes) {
    const Words d;
    const auto magnitude = hn::And(codes, hn::Set(d, 0x7Fu));
    const auto sign = hn::ShiftLeft<24>(hn::And(codes, hn::Set(d, 0x80u)));
    const F normal = hn::BitCast(Floats(), hn::Add(hn::ShiftLeft<20>(magnitude), hn::Set(d, 120u << 23)));
    const F subnormal =
        hn::Mul(hn::ConvertTo(Floats(), hn::BitCast(Integers(), magnitude)), hn::Set(Floats(), 0x1p-9f));
    const F nan = hn::BitCast(Floats(), hn::Set(d, 0x7FC00000u));
    F value = hn::IfThenElse(hn::RebindMask(Floats(), hn::Gt(hn::Set(d, 8u), magnitude)), subnormal, normal);
    value = hn::IfThenElse(hn::RebindMask(Floats(), hn::Eq(magnitude, hn::Set(d, 0x7Fu))), nan, value);
    return hn::BitCast(Floats(), hn::Or(hn::BitCast(d, value), sign));
}
HWY_INLINE F load(const uint8_t* from) {
    return e4m3_lanes(hn::PromoteTo(Words(), hn::LoadU(hn::Rebind<uint8_t, Floats>(), from)));
}

// The same for the last, shorter, vector of a row: absent lanes are zero, and are not written.
template <class T>
HWY_INLINE F load(const T* from, int64_t count) {
    if (HWY_LIKELY(count >= kLanes)) return load(from);
    HWY_ALIGN T padded[kLanes] = {};
    std::memcpy(padded, from, static_cast<size_t>(std::min(count, kLanes)) * sizeof(T));
    return load(padded);
}
template <class T>
HWY_INLINE void store(F value, T* to, int64_t count) {
    if (HWY_LIKELY(count >= kLanes)) return store(value, to);
    HWY_ALIGN T padded[kLanes];
    store(value, padded);
    std::memcpy(to, padded, static_cast<size_t>(std::min(count, kLanes)) * sizeof(T));
}

HWY_INLINE float to_float(float value) {
    return value;
}
HWY_INLINE float to_float(numeric::bf16 value) {
    return value.to_float();
}
template <class T>
HWY_INLINE T from_float(float value) {
    if constexpr (sizeof(T) == 4)
        return value;
    else
        return numeric::bf16::from_float(value);
}

HWY_INLINE float sum_of_lanes(F value) {
    return hn::GetLane(hn::SumOfLanes(Floats(), value));
}

}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
