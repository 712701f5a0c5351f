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
    return std::nullopt;
}

}  // namespace nibble::numeric
