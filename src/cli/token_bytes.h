// TokenBytes: the memory that a decoded token reads and writes, by the recorded step. audit, quantize and serve speak
// of this figure, and so of the same one. Pure.
#pragma once

#include "device/device.h"
#include "model/model.h"

#include <cstdint>

namespace nibble::cli {

inline constexpr int64_t kFirstContext = 1;          // tokens before it, where none are asked for
inline constexpr const char* kFirstDevice = "gb10";  // that it is decoded on, where none is named

// Of one sequence.
inline int64_t token_bytes(const model::Model& model, const device::Device& device, int64_t context = kFirstContext) {
    return model::record(model, device, 1, 1, context).total().memory_bytes();
}

}  // namespace nibble::cli
