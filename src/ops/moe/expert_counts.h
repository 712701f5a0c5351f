// ExpertCounts: how many tokens chose each expert of each routed layer, added up on the device by the steps that are
// given it (OpContext::expert_counts). One engine thread at a time.
#pragma once

#include "base/result.h"
#include "device/buffer.h"
#include "ops/program.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::ops {

class ExpertCounts {
public:
    using Lists = std::map<std::string, std::vector<int64_t>, std::less<>>;  // by module, a number an expert

    // For the routed layers of a recorded step, all zero. Errors: does_not_fit.
    static Result<ExpertCounts> create(const device::Device& device, const Program& recorded);

    bool empty() const { return layers_.empty(); }
    // [E] i32 of a layer; no tensor when the recorded step did not have it.
    device::Tensor of(std::string_view module) const;
    // Waits for the stream.
    Lists read(device::Stream stream) const;

private:
    struct Layer {
        int64_t first = 0, experts = 0;
    };
    ExpertCounts() = default;
    device::Device device_;
    device::Buffer counts_;  // i32, layer by layer
    std::map<std::string, Layer, std::less<>> layers_;
};

// A profiled step says how many experts were read, where a recorded one expects so many.
void set_experts_read(Program& program, const ExpertCounts::Lists& counts);

}  // namespace nibble::ops
