#include "engine/stats.h"

#include <algorithm>

namespace nibble::engine {

void Histogram::add(double ms) {
    const auto bound = std::lower_bound(kBounds_ms.begin(), kBounds_ms.end(), ms);
    ++counts[static_cast<size_t>(bound - kBounds_ms.begin())];
    sum_ms += ms;
    ++total;
}

}  // namespace nibble::engine
