// Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}, and the one place where they get a status.
//
// Messages are ours; a mistake of ours is reported by a fixed sentence, for its text could tell of the inside.
#pragma once

#include "base/result.h"
#include "server/http.h"

#include <string>
#include <string_view>

namespace nibble::server {

struct ApiError {
    int status = 500;
    std::string message;
    std::string param;  // empty: null
    std::string_view type = "server_error";
    std::string_view code;  // empty: null
};

ApiError api_error(const Error& error);
ApiError api_error(int status, std::string_view message);

std::string openai_error_json(const ApiError& error);
HttpReply openai_error_reply(const ApiError& error);  // with Retry-After where trying again may help

}  // namespace nibble::server
