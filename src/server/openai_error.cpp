#include "server/openai_error.h"

#include "server/json_writer.h"

namespace nibble::server {
namespace {

std::string_view type_of(int status) {
    switch (status) {
        case 401:
            return "authentication_error";
        case 403:
            return "permission_error";
        case 429:
            return "rate_limit_error";
    }
    return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

ApiError api_error(const Error& error) {
    ApiError out{.status = http_status(error.code), .message = error.message, .param = error.param};
    out.type = type_of(out.status);
    switch (error.code) {
        case ErrorCode::invalid_request:
        case ErrorCode::usage:
            out.code = "invalid_value";
            break;
        case ErrorCode::unsupported:
            out.code = "unsupported_value";
            break;
        case ErrorCode::not_found:
            out.code = error.param == "model" ? "model_not_found" : "not_found";
            break;
        case ErrorCode::does_not_fit:
            out.code = "context_length_exceeded";
            break;
        case ErrorCode::overloaded:
            out.code = "queue_full";
            break;
        case ErrorCode::unavailable:
            out.code = "unavailable";
            break;
        case ErrorCode::cancelled:
            out.code = "cancelled";
            break;
        default:
            out.message = "the server could not answer because of a fault of its own";
            out.param.clear();
            out.code = "internal_error";
    }
    return out;
}

ApiError api_error(int status, std::string_view message) {
    return {.status = status, .message = std::string(message), .type = type_of(status)};
}

std::string openai_error_json(const ApiError& error) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().key("error").begin_object();
    json.string("message", error.message).string("type", error.type);
    if (error.param.empty())
        json.key("param").null();
    else
        json.string("param", error.param);
    if (error.code.empty())
        json.key("code").null();
    else
        json.string("code", error.code);
    json.end_object().end_object();
    return out;
}

HttpReply openai_error_reply(const ApiError& error) {
    HttpReply reply{.status = error.status, .body = openai_error_json(error)};
    if (error.status == 429 || error.status == 503) reply.fields.emplace_back("Retry-After", "1");
    if (error.status == 401) reply.fields.emplace_back("WWW-Authenticate", "Bearer");
    return reply;
}

}  // namespace nibble::server
