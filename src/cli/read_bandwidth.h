// How fast the memory of a device of this machine is read, measured now.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "device/device.h"

namespace nibble::cli {

// Bytes per second of a plain read, the best of a few passes; about 0.2 s. Errors: does_not_fit; unsupported for a GPU
// in a build without CUDA.
Result<double> measure_read_bandwidth(const device::Device& device, ThreadPool& threads);

}  // namespace nibble::cli
