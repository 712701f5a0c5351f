// Random weights for benchmarks of shapes whose checkpoint is not at hand: cheap to make, deterministic, and such that
// activations stay near unit variance and routing spreads over the experts.
#pragma once

#include "ops/weight.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace nibble::model {

// What W · x does to the variance: keeps it (a projection), or not (rows are looked up: an embedding).
enum class RandomRows : uint8_t { projection, embedding };

// A source of random codes for a matrix; row r of a (seed, name) is always the same. Every code has a finite value.
ops::WeightSource random_matrix(ops::WeightFormat format, int64_t n, int64_t k, RandomRows rows, uint64_t seed,
                                std::string_view name);

// Distributions of the small tensors.
enum class RandomValues : uint8_t {
    ones,
    zeros,
    unit,     // normal-like, variance 1
    conv,     // a short filter that keeps the variance
    a_log,    // log of uniform [1, 16], as Mamba-2 is initialised
    dt_bias,  // softplus(v) log-uniform in [0.001, 0.1]
};
std::vector<float> random_values(RandomValues kind, int64_t count, int64_t width, uint64_t seed, std::string_view name);

}  // namespace nibble::model
