// Encoding: rows of float32 to the codes of NVFP4 and FP8, as fast as they are read, with what was lost.
//
// The plain mode is modelopt's max-scaling bit for bit (numeric/nvfp4.h); a search keeps the format and chooses other
// block scales. Values are finite. Pure functions; every vector width gives the same codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace nibble::numeric {

enum class ScaleSearch : uint8_t {
    none,  // a block's scale is its largest magnitude / 6
    mse,   // the E4M3 scale near it with the least squared error, each column counted by its weight
};

// Sums over values, of which the square root of the quotient is the relative error.
struct EncodingError {
    double squared_error = 0, squared_value = 0;
    double weighted_error = 0;  // what a search makes small; without weights the squared error
    EncodingError& operator+=(const EncodingError& other) {
        squared_error += other.squared_error;
        weighted_error += other.weighted_error;
        squared_value += other.squared_value;
        return *this;
    }
    double relative() const;  // 0 for a matrix of zeros
};

// values: as many as there are bf16 in bytes, little-endian at any alignment.
void widen_bf16(std::span<const std::byte> bytes, std::span<float> values);

float largest_magnitude(std::span<const float> values);

// One row with the matrix's scale, which is positive. Layout: numeric/nvfp4.h. weights [K], not negative, or empty: all
// columns count the same.
EncodingError nvfp4_encode(std::span<const float> values, float scale, ScaleSearch search,
                           std::span<const float> weights, std::span<uint8_t> codes, std::span<uint8_t> scales);

// codes = e4m3(values / scale), to nearest even, saturating; scale is positive.
EncodingError fp8_encode(std::span<const float> values, float scale, std::span<uint8_t> codes);

}  // namespace nibble::numeric
