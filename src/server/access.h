// Access: who may ask, decided by the head of a request alone: Host, Origin, API key, in this order.
//
// A browser's page on another site can reach a server on localhost; it cannot lie about Origin, and when its name is
// rebound to 127.0.0.1 it still says its own name in Host. Keys are kept as SHA-256 and compared without a shortcut.
// Immutable; any thread.
#pragma once

#include "server/framing.h"
#include "server/openai_error.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::server {

struct AccessOptions {
    std::vector<std::string> api_keys;         // none: no key is asked for
    std::vector<std::string> allowed_origins;  // of pages that may use the API: "https://chat.example", or "*" for any
    std::vector<std::string> allowed_hosts;    // names beside localhost and its addresses, where those are checked
    bool check_host = true;                    // only localhost can connect, so only localhost's names make sense
};

class Access {
public:
    explicit Access(const AccessOptions& options);

    // The page and the name, for every request; nullopt: go on.
    std::optional<ApiError> check_origin(const RequestHead& head) const;
    std::optional<ApiError> check_key(const RequestHead& head) const;

    // The answer to OPTIONS: what a page of an allowed origin may do, else just the methods.
    HttpReply preflight(const RequestHead& head, std::string_view methods) const;
    std::vector<std::pair<std::string_view, std::string>> origin_fields(std::string_view origin) const;

private:
    using Digest = std::array<unsigned char, 32>;
    static Digest digest(std::string_view text);
    bool listed_origin(std::string_view origin) const;

    std::vector<Digest> keys_;
    std::vector<std::string> origins_, hosts_;
    bool check_host_;
};

}  // namespace nibble::server
