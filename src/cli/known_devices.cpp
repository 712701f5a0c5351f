#include "cli/known_devices.h"

#include <array>

namespace nibble::cli {
namespace {

constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20;

// L2 as the runtime reports it; memory as the driver leaves it to programs.
constexpr std::array<KnownDevice, 4> kDevices = {{
    {.name = "h100",
     .title = "NVIDIA H100 80GB HBM3",
     .compute_capability = 90,
     .multiprocessors = 132,
     .memory_bytes = 81'079 * kMiB,
     .l2_bytes = 50 * kMiB,
     .shared_memory_per_block_bytes = 227 * kKiB,
     .data_sheet_gb_s = 3350,
     .read_gb_s = 3110,
     .read_basis = "measured, a plain read of 8 GiB",
     .unified_memory = false},
    {.name = "h200",
     .title = "NVIDIA H200",
     .compute_capability = 90,
     .multiprocessors = 132,
     .memory_bytes = 143'163 * kMiB,
     .l2_bytes = 60 * kMiB,
     .shared_memory_per_block_bytes = 227 * kKiB,
     .data_sheet_gb_s = 4800,
     .read_gb_s = 4665,
     .read_basis = "measured, a plain read of 8 GiB",
     .unified_memory = false},
    {.name = "gb10",
     .title = "NVIDIA GB10",
     .compute_capability = 121,
     .multiprocessors = 48,
     .memory_bytes = 122'500 * kMiB,
     .l2_bytes = 24 * kMiB,
     .shared_memory_per_block_bytes = 99 * kKiB,
     .data_sheet_gb_s = 273,
     .read_gb_s = 240,
     .read_basis = "published measurements, 218 to 246",
     .unified_memory = true},
    {.name = "rtx5090",
     .title = "NVIDIA GeForce RTX 5090",
     .compute_capability = 120,
     .multiprocessors = 170,
     .memory_bytes = 32'110 * kMiB,
     .l2_bytes = 96 * kMiB,
     .shared_memory_per_block_bytes = 99 * kKiB,
     .data_sheet_gb_s = 1792,
     .read_gb_s = 1628,
     .read_basis = "a published measurement over 8 GiB",
     .unified_memory = false},
}};

}  // namespace

device::Device KnownDevice::device() const {
    return {.kind = device::DeviceKind::cuda,
            .index = 0,
            .name = title,
            .compute_capability = compute_capability,
            .multiprocessors = multiprocessors,
            .memory_bytes = memory_bytes,
            .l2_bytes = l2_bytes,
            .shared_memory_per_block_bytes = shared_memory_per_block_bytes,
            .unified_memory = unified_memory};
}

std::span<const KnownDevice> known_devices() {
    return kDevices;
}

const KnownDevice* find_known_device(std::string_view name) {
    for (const KnownDevice& device : kDevices)
        if (name == device.name) return &device;
    return nullptr;
}

}  // namespace nibble::cli
