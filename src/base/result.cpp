#include "base/result.h"

namespace nibble {
inline namespace base {

int exit_code(ErrorCode code) {
    switch (code) {
        case ErrorCode::usage:
        case ErrorCode::invalid_request:
            return 2;
        case ErrorCode::not_found:
        case ErrorCode::model_invalid:
        case ErrorCode::unsupported:
            return 3;
        case ErrorCode::does_not_fit:
            return 4;
        case ErrorCode::device_unusable:
            return 5;
        case ErrorCode::address_in_use:
            return 6;
        case ErrorCode::gate_failed:
            return 7;
        case ErrorCode::peer_failed:
            return 8;
        case ErrorCode::cancelled:
            return 130;
        case ErrorCode::overloaded:
        case ErrorCode::unavailable:
        case ErrorCode::io:
        case ErrorCode::internal:
            return 1;
    }
    return 1;
}

int http_status(ErrorCode code) {
    switch (code) {
        case ErrorCode::usage:
        case ErrorCode::invalid_request:
        case ErrorCode::unsupported:
            return 400;
        case ErrorCode::not_found:
            return 404;
        case ErrorCode::does_not_fit:
            return 400;
        case ErrorCode::overloaded:
            return 429;
        case ErrorCode::unavailable:
            return 503;
        case ErrorCode::cancelled:
            return 499;
        case ErrorCode::model_invalid:
        case ErrorCode::device_unusable:
        case ErrorCode::address_in_use:
        case ErrorCode::gate_failed:
        case ErrorCode::peer_failed:
        case ErrorCode::io:
        case ErrorCode::internal:
            return 500;
    }
    return 500;
}

std::string_view code_name(ErrorCode code) {
    switch (code) {
        case ErrorCode::internal:
            return "internal";
        case ErrorCode::usage:
            return "usage";
        case ErrorCode::invalid_request:
            return "invalid_request";
        case ErrorCode::not_found:
            return "not_found";
        case ErrorCode::model_invalid:
            return "model_invalid";
        case ErrorCode::unsupported:
            return "unsupported";
        case ErrorCode::does_not_fit:
            return "does_not_fit";
        case ErrorCode::device_unusable:
            return "device_unusable";
        case ErrorCode::address_in_use:
            return "address_in_use";
        case ErrorCode::gate_failed:
            return "gate_failed";
        case ErrorCode::peer_failed:
            return "peer_failed";
        case ErrorCode::overloaded:
            return "overloaded";
        case ErrorCode::unavailable:
            return "unavailable";
        case ErrorCode::cancelled:
            return "cancelled";
        case ErrorCode::io:
            return "io";
    }
    return "internal";
}

}  // namespace base
}  // namespace nibble
