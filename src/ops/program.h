// Program: the list of operations of one step, as recorded by running a model's forward under a recording context.
//
// audit, the ceiling, the memory plan and bench --profile all read this list, so what they say is what runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nibble::ops {

// What one operation moves and computes; bytes that must come from or go to memory outside the caches.
struct Cost {
    int64_t weight_bytes = 0;   // weights read, as stored for the row (codes and scales)
    int64_t kv_read_bytes = 0;  // attention cache
    int64_t kv_written_bytes = 0;
    int64_t state_read_bytes = 0;  // recurrent state (SSM and convolution)
    int64_t state_written_bytes = 0;
    int64_t activation_bytes = 0;  // read and written; usually in cache
    double operations = 0;         // multiplications and additions
    double distinct_experts = 0;   // routed MoE: experts whose weights are read (expected, or measured)

    int64_t memory_bytes() const {
        return weight_bytes + kv_read_bytes + kv_written_bytes + state_read_bytes + state_written_bytes;
    }
    Cost& operator+=(const Cost& other) {
        weight_bytes += other.weight_bytes;
        kv_read_bytes += other.kv_read_bytes;
        kv_written_bytes += other.kv_written_bytes;
        state_read_bytes += other.state_read_bytes;
        state_written_bytes += other.state_written_bytes;
        activation_bytes += other.activation_bytes;
        operations += other.operations;
        distinct_experts += other.distinct_experts;
        return *this;
    }
};

enum class WeightFormat : uint8_t;  // ops/weight.h

// A matrix that a step reads, or several of one shape and format. What a step's Cost::weight_bytes has beside them are
// small tensors: biases, scales, the filter of a convolution.
struct WeightRead {
    enum class Role : uint8_t { matrix, router, routed_experts, shared_expert, norm };
    Role role = Role::matrix;
    std::string module;  // the checkpoint's name; of several, the first one's; empty for a norm
    WeightFormat format{};
    int64_t n = 0, k = 0;
    int64_t stored_bytes = 0;  // of one
    int64_t count = 1;         // that the model has
    double read = 1;           // that the step reads: of experts the expected number, or the measured one
};

struct ProgramStep {
    std::string op;      // "linear"
    std::string module;  // the checkpoint's name: "backbone.layers.3.mixer.in_proj"
    std::string format;  // of the weights: "nvfp4", "bf16"; empty where there are none
    std::string shape;   // "T=1 N=10304 K=2688"
    std::string row;     // the row that ran or would run; empty: no row of this device accepts the problem
    Cost cost;
    std::vector<WeightRead> weights = {};
    double microseconds = 0;  // profiling only
};

struct Program {
    std::vector<ProgramStep> steps;
    int64_t scratch_peak_bytes = 0;

    Cost total() const {
        Cost sum;
        for (const ProgramStep& step : steps) sum += step.cost;
        return sum;
    }
};

}  // namespace nibble::ops
