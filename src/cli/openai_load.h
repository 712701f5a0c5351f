// OpenAiLoad: generations asked of any OpenAI-compatible server by streaming requests, and when their tokens came.
// A thread a request in flight; the caller waits.
#pragma once

#include "base/result.h"
#include "cli/bench_timing.h"
#include "cli/http_client.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace nibble::cli {

struct OpenAiServer {
    Url url;
    std::string api_key;  // empty: none
    std::string model;    // what requests call it
};

struct OpenAiRequest {
    std::string target;  // "/v1/completions", "/v1/chat/completions"
    std::string body;    // JSON; streamed, with usage and, where the server knows how, token ids
};

// The first model that GET /v1/models names, and what the server calls itself ("" when it does not say).
struct ServerIdentity {
    std::string model, software;
};
// Errors: peer_failed, with the status and the beginning of what was answered.
Result<ServerIdentity> ask_identity(const OpenAiServer& server);

// A completion of exactly max_tokens greedy tokens after the ids, whatever the end token says.
OpenAiRequest completion_request(const OpenAiServer& server, std::span<const int32_t> prompt, int64_t max_tokens);

// OpenAI bodies, one a line; a line of OpenAI's batch format ({"url", "body"}) counts too. "model" and what streaming
// needs are set, everything else stays. Errors: usage, with file and line; not_found.
Result<std::vector<OpenAiRequest>> read_requests(const std::filesystem::path& file, const OpenAiServer& server);

// In order, at most `concurrency` at a time. Errors: peer_failed: the first request that failed, and how.
Result<std::vector<StreamTimes>> run_load(const OpenAiServer& server, std::span<const OpenAiRequest> requests,
                                          int64_t concurrency);

}  // namespace nibble::cli
