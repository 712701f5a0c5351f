#include "cli/memory_ledger.h"

#include "base/bytes.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::cli {
namespace {

// Of either sign: what cannot be true is shown as it was read.
std::string worded(int64_t bytes) {
    if (bytes >= 0) return describe_bytes(static_cast<uint64_t>(bytes));
    return fmt::format("-{}", describe_bytes(uint64_t{0} - static_cast<uint64_t>(bytes)));
}

std::string worded(const device::MemoryReading& reading) {
    return fmt::format("{} available of {}", worded(reading.available_bytes), worded(reading.total_bytes));
}

uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

bool is_possible(const device::MemoryReading& reading) {
    return reading.total_bytes > 0 && reading.available_bytes >= 0 && reading.available_bytes <= reading.total_bytes;
}

}  // namespace

Result<void> check_reading(std::string_view device, const device::MemoryReading& reading) {
    const auto [total, available] = reading;
    if (is_possible(reading)) return {};
    return error(ErrorCode::device_unusable,
                 "{}: the memory readings contradict each other: {} in total ({} bytes), {} available ({} bytes)",
                 device, worded(total), total, worded(available), available);
}

Result<MemoryLedger> MemoryLedger::open(std::string device, const device::MemoryReading& first,
                                        uint64_t reserve_bytes) {
    TRY_VOID(check_reading(device, first));
    MemoryLedger ledger;
    ledger.device_ = std::move(device);
    ledger.last_ = first;
    ledger.reserve_bytes_ = reserve_bytes;
    ledger.left_bytes_ = less(static_cast<uint64_t>(first.available_bytes), reserve_bytes);
    return ledger;
}

Result<void> MemoryLedger::allocate(uint64_t bytes, std::string_view what) {
    if (bytes > left_bytes_)
        return error(ErrorCode::does_not_fit, "{}: {} for {} do not fit: {} are left of what may be allocated", device_,
                     describe_bytes(bytes), what, describe_bytes(left_bytes_));
    left_bytes_ -= bytes;
    since_last_bytes_ += bytes;  // at most what was left, so it cannot overflow
    return {};
}

ReadingFault MemoryLedger::judge(const device::MemoryReading& reading) const {
    if (!is_possible(reading)) return ReadingFault::impossible;
    if (reading.total_bytes != last_.total_bytes) return ReadingFault::another_total;
    const bool risen = reading.available_bytes > last_.available_bytes;
    return since_last_bytes_ > 0 && risen ? ReadingFault::rising : ReadingFault::none;
}

Result<void> MemoryLedger::read(const device::MemoryReading& reading) {
    const ReadingFault fault = judge(reading);
    if (fault == ReadingFault::impossible) return check_reading(device_, reading);
    if (fault == ReadingFault::another_total)
        return error(ErrorCode::device_unusable, "{}: the memory has another size now: {}, before {}", device_,
                     worded(reading), worded(last_));
    if (fault == ReadingFault::rising)
        return error(ErrorCode::device_unusable,
                     "{}: more memory is available after {} were allocated than before: {}, before {}", device_,
                     describe_bytes(since_last_bytes_), worded(reading), worded(last_));
    left_bytes_ = std::min(left_bytes_, less(static_cast<uint64_t>(reading.available_bytes), reserve_bytes_));
    last_ = reading;
    since_last_bytes_ = 0;
    return {};
}

}  // namespace nibble::cli
