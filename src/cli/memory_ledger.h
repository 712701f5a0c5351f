// MemoryLedger: what may still be allocated on a device, from readings that are believed only as far as they can be
// true.
//
// The budget is a sum of sizes that we know. Readings bound it and never raise it: the difference of two readings,
// which on memory shared with the host goes either way, is used nowhere. Pure; owned by one thread.
#pragma once

#include "base/result.h"
#include "device/device.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace nibble::cli {

enum class ReadingFault : uint8_t { none, impossible, another_total, rising };

// Errors: device_unusable with both numbers: nothing in total, less than nothing or more than the total available.
Result<void> check_reading(std::string_view device, const device::MemoryReading& reading);

class MemoryLedger {
public:
    // reserve_bytes stay free whatever is asked. Errors: as check_reading().
    static Result<MemoryLedger> open(std::string device, const device::MemoryReading& first, uint64_t reserve_bytes);

    // Of what may be allocated, the part that is not yet.
    uint64_t left_bytes() const { return left_bytes_; }
    // Errors: does_not_fit, and then nothing is booked.
    Result<void> allocate(uint64_t bytes, std::string_view what);
    // Whether read() would take it.
    ReadingFault judge(const device::MemoryReading& reading) const;
    // A later reading lowers what is left, and never raises it. Errors: device_unusable with this reading and the one
    // before: it cannot be true, the total is another, or more is available though we allocated; the ledger then stays
    // as it was.
    Result<void> read(const device::MemoryReading& reading);

private:
    MemoryLedger() = default;
    std::string device_;
    device::MemoryReading last_;
    uint64_t reserve_bytes_ = 0, left_bytes_ = 0;
    uint64_t since_last_bytes_ = 0;  // allocated after the last believed reading
};

}  // namespace nibble::cli
