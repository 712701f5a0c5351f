// Named tolerances: how far a row may be from its op's reference. A row that fails is mended; these are not widened.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace nibble::numeric {

struct Tolerance {
    double relative_norm;  // ||out - ref|| / ||ref|| over the whole tensor
    double max_relative;   // max |out - ref| / (|ref| + rms(ref)), over elements
};

inline constexpr Tolerance kExact{0.0, 0.0};
inline constexpr Tolerance kFloat32{2e-6, 2e-5};       // float32 arithmetic in another order
inline constexpr Tolerance kBf16Output{3e-3, 1.6e-2};  // one rounding to bf16 of a float32 result, after other rounding
inline constexpr Tolerance kFp16Operands{1.5e-3, 1e-2};  // fp16 operands with float32 sums
inline constexpr Tolerance kFp8Cache{5e-2, 2e-1};        // values kept as E4M3

struct Difference {
    double relative_norm = 0, max_relative = 0;
    int64_t worst_index = -1;
    int64_t not_finite = 0;  // elements where exactly one side is not finite, or both are but differ
    bool within(const Tolerance& t) const {
        return not_finite == 0 && relative_norm <= t.relative_norm && max_relative <= t.max_relative;
    }
    std::string describe() const;
};

Difference compare(std::span<const float> out, std::span<const float> reference);

}  // namespace nibble::numeric
