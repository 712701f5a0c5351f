// POST /v1/chat/completions: OpenAI's request to a Generation, and its answer, streamed or whole.
#pragma once

#include "base/result.h"
#include "server/http.h"
#include "server/served_model.h"
#include "server/services.h"

#include <memory>
#include <string>

namespace nibble::server {

// Reads, renders and tokenizes; on a worker thread.
Result<std::unique_ptr<Answer>> make_chat_answer(const HttpRequest& request, const std::string& body,
                                                 std::shared_ptr<const ServedModel> model, Services& services);

}  // namespace nibble::server
