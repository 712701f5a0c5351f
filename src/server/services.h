// Services: what the routes share in making answers. Owned by the server; outlives every answer.
#pragma once

#include "server/metrics.h"
#include "server/request_record.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace nibble::server {

struct Services {
    Metrics metrics;
    std::function<void(const std::string&)> log;  // one line a finished request; may be empty
    bool strict = false;                          // unknown request fields are errors
    uint64_t draw_base = 0;                       // from the system's entropy, at the start
    std::atomic<uint64_t> draws{0};

    // A fresh number, for seeds and ids of tool calls. Not for secrets.
    uint64_t draw() { return choice_seed(draw_base, static_cast<int64_t>(1 + draws.fetch_add(1))); }
};

// A fault of ours, for the log: the client is told only that there was one.
void report_fault(const Services& services, std::string_view request_id, const Error& error);

// The last step of reading a request: its first mistake, or what nobody understood (strict), which is else counted.
Result<void> finish_fields(const Fields& fields, Services& services);

// The body as an object. Errors: invalid_request.
Result<text::Value> parse_body(const std::string& body);

}  // namespace nibble::server
