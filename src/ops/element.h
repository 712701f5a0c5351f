// Element access for the reference rows: any float dtype, read and written as float32; and their plain loop over rows.
//
// Reference rows are oracles: one element at a time, sums in double, memory from the heap. Speed is for the other rows.
#pragma once

#include "base/check.h"
#include "numeric/bf16.h"
#include "numeric/fp8.h"
#include "ops/op.h"

namespace nibble::ops {

inline float get(const std::byte* row, DType dtype, int64_t i) {
    switch (dtype) {
        case DType::f32:
            return reinterpret_cast<const float*>(row)[i];
        case DType::bf16:
            return reinterpret_cast<const numeric::bf16*>(row)[i].to_float();
        case DType::f8_e4m3:
            return numeric::kE4m3Table[reinterpret_cast<const uint8_t*>(row)[i]];
        default:
            CHECK(false, "no element access for {}", numeric::name(dtype));
            return 0.0f;
    }
}

inline void put(std::byte* row, DType dtype, int64_t i, float value) {
    switch (dtype) {
        case DType::f32:
            reinterpret_cast<float*>(row)[i] = value;
            return;
        case DType::bf16:
            reinterpret_cast<numeric::bf16*>(row)[i] = numeric::bf16::from_float(value);
            return;
        case DType::f8_e4m3:
            reinterpret_cast<uint8_t*>(row)[i] = numeric::e4m3_from_float(value);
            return;
        default:
            CHECK(false, "no element access for {}", numeric::name(dtype));
    }
}

// What value becomes when stored as dtype and read back.
inline float rounded(DType dtype, float value) {
    std::byte storage[4];
    put(storage, dtype, 0, value);
    return get(storage, dtype, 0);
}

inline bool is_activation(DType dtype) {
    return dtype == DType::bf16 || dtype == DType::f32;
}

// body(i) for every i in [0, count), spread over the context's threads.
template <class Body>
void for_each(OpContext& context, int64_t count, const Body& body) {
    const auto range = [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) body(i);
    };
    if (context.threads != nullptr)
        context.threads->parallel_for(count, 1, range);
    else
        range(0, count, 0);
}

}  // namespace nibble::ops
