// DType: how a tensor's elements are stored. Names are the safetensors format's, in lower case.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nibble::numeric {

enum class DType : uint8_t {
    f32,
    f16,
    bf16,
    f8_e4m3,  // 1-4-3, bias 7, no infinity, 0x7F/0xFF are NaN, largest 448
    f8_e5m2,
    e2m1x2,  // two FP4 (E2M1) codes a byte, low nibble first: one *byte* is one element of the tensor
    u8,
    i8,
    i32,
    i64,
    boolean,
    // Kept in checkpoints for parts that nibble does not run; no op reads them.
    f64,
    i16,
    u16,
    u32,
    u64,
    f8_e8m0,  // a power of two: the scales of the MX formats
};

constexpr int64_t size_bytes(DType dtype) {
    switch (dtype) {
        case DType::f32:
        case DType::i32:
        case DType::u32:
            return 4;
        case DType::f16:
        case DType::bf16:
        case DType::i16:
        case DType::u16:
            return 2;
        case DType::i64:
        case DType::u64:
        case DType::f64:
            return 8;
        default:
            return 1;
    }
}

constexpr std::string_view name(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "f32";
        case DType::f16:
            return "f16";
        case DType::bf16:
            return "bf16";
        case DType::f8_e4m3:
            return "f8_e4m3";
        case DType::f8_e5m2:
            return "f8_e5m2";
        case DType::e2m1x2:
            return "e2m1x2";
        case DType::u8:
            return "u8";
        case DType::i8:
            return "i8";
        case DType::i32:
            return "i32";
        case DType::i64:
            return "i64";
        case DType::boolean:
            return "bool";
        case DType::f64:
            return "f64";
        case DType::i16:
            return "i16";
        case DType::u16:
            return "u16";
        case DType::u32:
            return "u32";
        case DType::u64:
            return "u64";
        case DType::f8_e8m0:
            return "f8_e8m0";
    }
    return "?";
}

// "BF16" as in a safetensors header; nothing for a type that nibble does not read.
std::optional<DType> parse_safetensors_dtype(std::string_view text);
// The inverse: "BF16". Two E2M1 codes a byte are written as U8, as every exporter does.
std::string_view safetensors_name(DType dtype);

}  // namespace nibble::numeric
