// Metrics: what the server counts itself, and the text of /metrics with the engine's numbers beside it.
//
// Two sets of names: nibble_* and, unless switched off, the vllm:* names that dashboards and schedulers read. Counting
// takes a lock once or twice a request, never one a token; any thread.
#pragma once

#include "engine/stats.h"
#include "server/http.h"
#include "server/request_record.h"
#include "server/served_model.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::server {

// A figure of somebody else's that /metrics shows: bytes per token, ceiling, memory headroom.
struct Gauge {
    std::string name;  // without the prefix nibble_
    std::string help;
    double value = 0;
};

class Metrics {
public:
    void finished(const RequestRecord& record);
    void answered(int status);  // every answer, by its status
    // A field without effect, by its name (a literal of ours); an empty name: any that we do not know.
    void ignored_field(std::string_view name, uint64_t count = 1);

    std::string text(const ServedModel& model, const engine::Stats& engine, const HttpStats& http, bool vllm_names,
                     const std::vector<Gauge>& more) const;

private:
    mutable std::mutex mutex_;
    std::map<int, uint64_t> answers_;                              // by status
    std::map<std::string, uint64_t, std::less<>> finishes_;        // by finish reason
    std::map<std::string, uint64_t, std::less<>> ignored_fields_;  // by name
    uint64_t prompt_tokens_ = 0, cached_tokens_ = 0;               // of finished requests
    engine::Histogram decode_;                                     // from the first token to the last
};

}  // namespace nibble::server
