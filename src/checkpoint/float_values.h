// Float tensors as float32, and whether bytes hold only values that a model may compute with. Pure functions.
#pragma once

#include "numeric/dtype.h"

#include <cstddef>
#include <span>
#include <vector>

namespace nibble::checkpoint {

constexpr bool is_float(numeric::DType dtype) {
    return dtype == numeric::DType::f32 || dtype == numeric::DType::bf16 || dtype == numeric::DType::f16;
}

// bytes: whole elements of f32, bf16 or f16, little-endian, at any alignment.
std::vector<float> to_floats(numeric::DType dtype, std::span<const std::byte> bytes);
// count halves to count floats; halves may be the upper half of the same memory.
void widen_f16(const std::byte* halves, std::byte* floats, size_t count);

// f32, bf16, f16, f8_e4m3: no NaN, no infinity. Other types have none.
bool all_finite(numeric::DType dtype, std::span<const std::byte> bytes);
// 0x00 to 0x7E: an NVFP4 block scale has no sign, because the tensor cores' scale type has none.
bool all_unsigned_e4m3(std::span<const std::byte> bytes);

}  // namespace nibble::checkpoint
