#include "server/request_record.h"

#include <fmt/format.h>

namespace nibble::server {

std::string log_line(const RequestRecord& record) {
    std::string line =
        fmt::format("request {} {}{} prompt={} cached={} tokens={} ttft={:.1f}ms", record.id, record.route,
                    record.stream ? " stream" : "", record.usage.prompt_tokens, record.usage.cached_tokens,
                    record.usage.completion_tokens, record.times.queue_and_prefill_ms);
    if (record.choices > 1) fmt::format_to(std::back_inserter(line), " choices={}", record.choices);
    // The first token of each choice is prefill's.
    const int64_t decoded = record.usage.completion_tokens - record.choices;
    if (decoded > 0 && record.times.decode_ms > 0)
        fmt::format_to(std::back_inserter(line), " decode={:.1f}tok/s",
                       static_cast<double>(decoded) * 1000 / record.times.decode_ms);
    fmt::format_to(std::back_inserter(line), " total={:.3f}s finish={}", record.total_ms / 1000, record.finish);
    return line;
}

}  // namespace nibble::server
