// POST /tokenize, /detokenize (vLLM's shapes) and /apply-template (llama.cpp's): text and ids without the model.
#pragma once

#include "base/result.h"
#include "server/http.h"
#include "server/served_model.h"
#include "server/services.h"

#include <string>

namespace nibble::server {

// All three on a worker thread.
Result<HttpReply> tokenize(const std::string& body, const ServedModel& model, Services& services);
Result<HttpReply> detokenize(const std::string& body, const ServedModel& model, Services& services);
Result<HttpReply> apply_template(const std::string& body, const ServedModel& model, Services& services);

}  // namespace nibble::server
