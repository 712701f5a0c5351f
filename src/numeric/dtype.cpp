#include "numeric/dtype.h"

namespace nibble::numeric {

std::optional<DType> parse_safetensors_dtype(std::string_view text) {
    if (text == "BF16") return DType::bf16;
    if (text == "F32") return DType::f32;
    if (text == "F16") return DType::f16;
    if (text == "F8_E4M3") return DType::f8_e4m3;
    if (text == "F8_E5M2") return DType::f8_e5m2;
    if (text == "U8") return DType::u8;
    if (text == "I8") return DType::i8;
    if (text == "I32") return DType::i32;
    if (text == "I64") return DType::i64;
    if (text == "BOOL") return DType::boolean;
    if (text == "F64") return DType::f64;
    if (text == "I16") return DType::i16;
    if (text == "U16") return DType::u16;
    if (text == "U32") return DType::u32;
    if (text == "U64") return DType::u64;
    if (text == "F8_E8M0") return DType::f8_e8m0;
    return std::nullopt;
}

std::string_view safetensors_name(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "F32";
        case DType::f16:
            return "F16";
        case DType::bf16:
            return "BF16";
        case DType::f8_e4m3:
            return "F8_E4M3";
        case DType::f8_e5m2:
            return "F8_E5M2";
        case DType::e2m1x2:
        case DType::u8:
            return "U8";
        case DType::i8:
            return "I8";
        case DType::i32:
            return "I32";
        case DType::i64:
            return "I64";
        case DType::boolean:
            return "BOOL";
        case DType::f64:
            return "F64";
        case DType::i16:
            return "I16";
        case DType::u16:
            return "U16";
        case DType::u32:
            return "U32";
        case DType::u64:
            return "U64";
        case DType::f8_e8m0:
            return "F8_E8M0";
    }
    return "?";
}

}  // namespace nibble::numeric
