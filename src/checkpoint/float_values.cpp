#include "checkpoint/float_values.h"

#include "base/check.h"
#include "numeric/bf16.h"
#include "numeric/fp16.h"

#include <bit>
#include <cstdint>
#include <cstring>

namespace nibble::checkpoint {
namespace {

using numeric::DType;

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian and are read as they are");

template <class T>
T load(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// Whether no element has every bit of the mask set. The loop has no branch, so that it runs as vectors.
template <class T>
bool none_has_all(std::span<const std::byte> bytes, T mask) {
    unsigned found = 0;
    const size_t count = bytes.size() / sizeof(T);
    for (size_t i = 0; i < count; ++i) found |= (load<T>(bytes.data() + i * sizeof(T)) & mask) == mask;
    return found == 0;
}

}  // namespace

std::vector<float> to_floats(DType dtype, std::span<const std::byte> bytes) {
    CHECK(is_float(dtype));
    std::vector<float> values(bytes.size() / static_cast<size_t>(numeric::size_bytes(dtype)));
    for (size_t i = 0; i < values.size(); ++i) {
        if (dtype == DType::f32) values[i] = load<float>(bytes.data() + i * 4);
        if (dtype == DType::bf16) values[i] = load<numeric::bf16>(bytes.data() + i * 2).to_float();
        if (dtype == DType::f16) values[i] = numeric::fp16_to_float(load<uint16_t>(bytes.data() + i * 2));
    }
    return values;
}

void widen_f16(const std::byte* halves, std::byte* floats, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const float value = numeric::fp16_to_float(load<uint16_t>(halves + i * 2));
        std::memcpy(floats + i * 4, &value, sizeof value);
    }
}

bool all_finite(DType dtype, std::span<const std::byte> bytes) {
    switch (dtype) {
        case DType::f32:
            return none_has_all<uint32_t>(bytes, 0x7F800000u);
        case DType::bf16:
            return none_has_all<uint16_t>(bytes, 0x7F80u);
        case DType::f16:
            return none_has_all<uint16_t>(bytes, 0x7C00u);
        case DType::f8_e4m3:
            return none_has_all<uint8_t>(bytes, 0x7Fu);
        default:
            return true;
    }
}

bool all_unsigned_e4m3(std::span<const std::byte> bytes) {
    unsigned found = 0;
    for (const std::byte byte : bytes) found |= std::to_integer<uint8_t>(byte) > 0x7Eu;
    return found == 0;
}

}  // namespace nibble::checkpoint
