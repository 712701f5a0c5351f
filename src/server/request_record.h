// RequestRecord: what is known of a generation request when it has ended, for the log's line and the metrics. Never the
// prompt or the answer.
#pragma once

#include "server/generation.h"

#include <functional>
#include <string>
#include <string_view>

namespace nibble::server {

struct RequestRecord {
    std::string_view id;
    std::string_view route;   // "chat", "completions"
    std::string_view finish;  // of its choices, the last to end; "error", "disconnected"
    int64_t choices = 1;
    bool stream = false;
    GenerationUsage usage;
    GenerationTimes times;
    double total_ms = 0;  // since the request was received
};

// "req 4f2a chat stream prompt=812 cached=640 tokens=96 ttft=41.0ms decode=85.2tok/s total=1.2s finish=stop"
std::string log_line(const RequestRecord& record);

}  // namespace nibble::server
