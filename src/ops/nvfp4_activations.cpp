#include "ops/nvfp4_activations.h"

#include "base/check.h"
#include "numeric/fp4.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <algorithm>
#include <cmath>

namespace nibble::ops {

void round_to_nvfp4(std::span<float> x, float input_scale) {
    CHECK(x.size() % numeric::kNvfp4Group == 0 && input_scale > 0);
    const float gs = 1.0f / input_scale;
    for (size_t begin = 0; begin < x.size(); begin += numeric::kNvfp4Group) {
        const auto group = x.subspan(begin, numeric::kNvfp4Group);
        float largest = 0;
        for (const float value : group) largest = std::max(largest, std::fabs(value));
        const uint8_t code = numeric::e4m3_from_float(std::min(gs * (largest * (1.0f / 6.0f)), numeric::kE4m3Max));
        const float scale = numeric::kE4m3Table[code];
        const float inverse = scale == 0.0f ? 0.0f : gs / scale;
        for (float& value : group) value = numeric::e2m1_to_float(numeric::e2m1_from_float(value * inverse)) * scale;
    }
}

}  // namespace nibble::ops
