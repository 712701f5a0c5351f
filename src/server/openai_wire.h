// What chat completions and completions write alike: the head of every object, usage, timings, error events.
#pragma once

#include "server/generation.h"
#include "server/openai_error.h"

#include <string>
#include <string_view>

namespace nibble::server {

// {"id":…,"object":…,"created":…,"model":…, — open, with the comma.
std::string openai_head(std::string_view id, std::string_view object, int64_t created, std::string_view model);

// "usage":{…} of the whole request.
void append_usage(std::string& out, const GenerationUsage& usage);
// "timings":{…}, llama.cpp's names.
void append_timings(std::string& out, const Generation& generation);

void append_error_event(std::string& events, const ApiError& error);  // and the stream's end
void append_done_event(std::string& events);

// "stop_reason":… of vLLM, where a stop string or an own stop id ended the choice; nothing else.
void append_stop_reason(std::string& out, const GenerationDelta& delta, const GenerationParams& params);

std::string ids_json(const std::vector<engine::TokenId>& ids);  // [1,2,3]

int64_t unix_seconds();

}  // namespace nibble::server
