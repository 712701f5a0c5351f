// How fast this machine's memory can be read: the ceiling that bench, doctor and audit compare with.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "device/device.h"

#include <cstdint>

namespace nibble::ops {

// GB/s (1e9) of a plain sum over `bytes` of random data by all of the pool's threads, each over a range of its own: the
// best of several passes. bytes should be at least 8 times the last-level cache. Takes about a second, most of it to
// write the data. Errors: does_not_fit.
Result<double> measure_read_bandwidth(ThreadPool& threads, int64_t bytes);

// The same of a GPU's memory, `bytes` at least 8 times its L2 cache. Present in a build with CUDA only.
Result<double> measure_gpu_read_bandwidth(const device::Device& device, int64_t bytes);

// The same over memory that is there already (64-byte aligned): seconds, each part by the best of `passes` passes.
double best_read_seconds(ThreadPool& threads, const std::byte* data, int64_t bytes, int passes);

}  // namespace nibble::ops
