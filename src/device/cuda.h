// The CUDA runtime as the device room uses it. Defined in a build with CUDA only (have_cuda.h); no CUDA header is
// needed to include this. `index` is a CUDA ordinal. After start a failing call is our mistake: CHECK inside.
#pragma once

#include "base/result.h"
#include "device/device.h"
#include "device/stream.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nibble::device::cuda {

// Every device that the driver shows; empty without a driver.
std::vector<Device> list_devices();
// Empty when the binary has kernels for the device and the driver is new enough, else one sentence with what to do.
std::string why_unusable(const Device& device);
// Why list_devices() is empty: no driver, too old a driver, no device.
std::string why_no_devices();

Result<MemoryReading> read_memory(int index);
// Zero-filled, 256-byte aligned. Null when there is no memory.
std::byte* allocate(int index, int64_t bytes);
void free(int index, std::byte* data);
// The same of the host's memory, pinned.
std::byte* allocate_host(int index, int64_t bytes);
void free_host(int index, std::byte* data);

// A stream of its own, unordered with any other (the default one included).
Stream create_stream(int index);
void destroy_stream(int index, Stream stream);

void copy_to_device(int index, Stream stream, void* device_data, const void* host_data, int64_t bytes);
void copy_to_host(int index, Stream stream, void* host_data, const void* device_data, int64_t bytes);
void synchronize(int index, Stream stream);

// Work given to a stream between begin and end is kept instead of done; end gives what launch_graph() takes.
void begin_capture(int index, Stream stream);
void* end_capture(int index, Stream stream);
void launch_graph(int index, Stream stream, void* graph);
void destroy_graph(int index, void* graph);

// A mark with a time. Recorded into a stream that is being captured, it is a node of the graph.
void* create_event(int index);
void destroy_event(int index, void* event);
void record_event(int index, Stream stream, void* event);
double microseconds_between(int index, void* first, void* second);  // both passed and waited for

}  // namespace nibble::device::cuda
