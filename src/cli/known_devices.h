// Devices by name, for audit and plan on a machine that has none of them: what they have and how fast it is read.
//
// These are descriptions, not readings: whoever prints a figure that came from here says so. Pure; any thread.
#pragma once

#include "device/device.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace nibble::cli {

struct KnownDevice {
    const char* name;        // what --device takes: "gb10"
    const char* title;       // "NVIDIA GB10"
    int compute_capability;  // 121
    int multiprocessors;
    int64_t memory_bytes;  // that programs see, not what the data sheet rounds it to
    int64_t l2_bytes;
    int64_t shared_memory_per_block_bytes;
    double data_sheet_gb_s;  // 1e9
    double read_gb_s;        // that a plain read reaches
    const char* read_basis;  // where read_gb_s is from
    bool unified_memory;     // shared with the host and its page cache

    // As the driver would show it; ops choose the rows that would run there.
    device::Device device() const;
};

std::span<const KnownDevice> known_devices();
// Null when there is none of that name.
const KnownDevice* find_known_device(std::string_view name);

}  // namespace nibble::cli
