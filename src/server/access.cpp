#include "server/access.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

namespace nibble::server {
namespace {

bool same_ignoring_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
        return (x >= 'A' && x <= 'Z' ? x + 32 : x) == (y >= 'A' && y <= 'Z' ? y + 32 : y);
    });
}

// The page was served from here itself.
bool same_site(std::string_view origin, std::string_view host) {
    for (const std::string_view scheme : {"http://", "https://"})
        if (origin.substr(0, scheme.size()) == scheme) return same_ignoring_case(origin.substr(scheme.size()), host);
    return false;
}

}  // namespace

Access::Access(const AccessOptions& options)
    : origins_(options.allowed_origins), hosts_(options.allowed_hosts), check_host_(options.check_host) {
    for (const std::string& key : options.api_keys) keys_.push_back(digest(key));
}

Access::Digest Access::digest(std::string_view text) {
    Digest out;
    SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data());
    return out;
}

bool Access::listed_origin(std::string_view origin) const {
    return std::any_of(origins_.begin(), origins_.end(), [&](const std::string& allowed) {
        return allowed == "*" || same_ignoring_case(allowed, origin);
    });
}

std::optional<ApiError> Access::check_origin(const RequestHead& head) const {
    if (check_host_ && head.has("host")) {
        const auto host = host_of_authority(head.field("host"));
        const bool listed = host && std::any_of(hosts_.begin(), hosts_.end(), [&](const std::string& allowed) {
                                return same_ignoring_case(allowed, *host);
                            });
        if (!host || (!is_loopback_host(*host) && !listed)) {
            ApiError error = api_error(403, "this server answers to localhost only; the Host field names another");
            error.code = "host_not_allowed";
            return error;
        }
    }
    if (!head.has("origin")) return std::nullopt;
    const std::string_view origin = head.field("origin");
    if (listed_origin(origin) || same_site(origin, head.field("host"))) return std::nullopt;
    ApiError error = api_error(403, "pages of this origin are not on the server's list");
    error.code = "origin_not_allowed";
    return error;
}

std::optional<ApiError> Access::check_key(const RequestHead& head) const {
    if (keys_.empty()) return std::nullopt;
    std::string_view given = head.field("x-api-key");
    if (head.has("authorization")) {
        const std::string_view value = head.field("authorization");
        constexpr std::string_view kBearer = "Bearer ";
        given = same_ignoring_case(value.substr(0, kBearer.size()), kBearer) ? value.substr(kBearer.size())
                                                                             : std::string_view{};
    }
    // Every key is compared to its last byte, whatever the others said.
    const Digest offered = digest(given);
    int match = 0;
    for (const Digest& key : keys_) match |= CRYPTO_memcmp(key.data(), offered.data(), key.size()) == 0;
    if (match && !given.empty()) return std::nullopt;
    ApiError error = api_error(
        401, given.empty() ? "an API key is needed: Authorization: Bearer KEY" : "the API key is not known here");
    error.code = "invalid_api_key";
    return error;
}

std::vector<std::pair<std::string_view, std::string>> Access::origin_fields(std::string_view origin) const {
    if (!listed_origin(origin)) return {};
    return {{"Access-Control-Allow-Origin", std::string(origin)},
            {"Vary", "Origin"},
            {"Access-Control-Expose-Headers", "x-request-id, Retry-After"}};
}

HttpReply Access::preflight(const RequestHead& head, std::string_view methods) const {
    HttpReply reply{.status = 204, .fields = {{"Allow", std::string(methods)}}};
    if (head.has("access-control-request-method") && listed_origin(head.field("origin"))) {
        reply.fields.emplace_back("Access-Control-Allow-Methods", std::string(methods));
        reply.fields.emplace_back("Access-Control-Allow-Headers",
                                  "Authorization, Content-Type, x-api-key, x-request-id, anthropic-version");
        reply.fields.emplace_back("Access-Control-Max-Age", "600");
    }
    return reply;
}

}  // namespace nibble::server
