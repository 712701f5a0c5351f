// POST /v1/completions: prompts as text or token ids, one or many, echoed and scored where asked.
#pragma once

#include "base/result.h"
#include "server/http.h"
#include "server/served_model.h"
#include "server/services.h"

#include <memory>
#include <string>

namespace nibble::server {

// Reads and tokenizes; on a worker thread.
Result<std::unique_ptr<Answer>> make_completions_answer(const HttpRequest& request, const std::string& body,
                                                        std::shared_ptr<const ServedModel> model, Services& services);

}  // namespace nibble::server
