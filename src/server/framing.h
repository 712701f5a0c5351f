// The head of an HTTP/1.x request, taken strictly: what two parsers could read in two ways is refused, not repaired.
//
// Refused with 400: bare CR or LF, control characters, folded lines, space before a colon, Content-Length beside
// Transfer-Encoding, either of them twice or in another form than 1*DIGIT and "chunked", a target that is not a plain
// path, a Host that is missing, doubled or malformed. Nothing is decoded or normalised: what is authorised is what is
// routed. Connections feed the accepted bytes to Boost.Beast as well, and go on only where both agree. No Boost here;
// pure functions over bytes, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nibble::server {

enum class Method : uint8_t { get, head, post, options, other };

struct HeadLimits {
    size_t head_bytes = 32 * 1024;  // request line and fields, with the empty line
    size_t target_bytes = 8 * 1024;
    int fields = 100;
};

struct RequestHead {
    Method method = Method::other;
    std::string path;   // of the target, up to the first '?'
    std::string query;  // after it
    int minor_version = 1;
    bool keep_alive = true;
    bool chunked = false;
    std::optional<uint64_t> content_length;
    bool expect_continue = false;
    std::vector<std::pair<std::string, std::string>> fields;  // names in lower case, values trimmed, in order

    // The value of a field given once or (of those that may be repeated) first; empty when absent.
    std::string_view field(std::string_view lower_case_name) const;
    bool has(std::string_view lower_case_name) const;
    bool has_body() const { return chunked || content_length.value_or(0) > 0; }
};

// Why a head was not taken: the status to answer with before closing, and a sentence for the client.
struct Refusal {
    int status = 400;
    std::string_view reason;
};

// Finds the end of a head in a buffer that grows, and what is wrong with it as early as it can be seen.
class HeadScanner {
public:
    explicit HeadScanner(const HeadLimits& limits) : limits_(limits) {}
    enum class State { more, complete, refused };
    // `buffer` holds every byte since the last reset(); what an earlier call has seen is not looked at again.
    State scan(std::string_view buffer);
    size_t head_begin() const { return begin_; }  // complete: the head is [begin, end); one empty line may precede it
    size_t head_end() const { return at_; }
    const Refusal& refusal() const { return refusal_; }
    void reset();

private:
    State refuse(int status, std::string_view reason);

    HeadLimits limits_;
    size_t at_ = 0, begin_ = 0, line_begin_ = 0;
    int lines_ = 0;
    Refusal refusal_;
};

// `head` ends with the empty line. Errors as above, and 414, 417, 431, 505.
std::variant<RequestHead, Refusal> parse_head(std::string_view head, const HeadLimits& limits);

// host[:port] as in RFC 3986 without user: the host in lower case, brackets of an IPv6 literal kept.
std::optional<std::string> host_of_authority(std::string_view authority);
bool is_loopback_host(std::string_view host);  // localhost, *.localhost, 127.0.0.0/8, [::1]

// %XX undone once; nullopt on a broken escape or a NUL. For path segments that name something (a model).
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace nibble::server
