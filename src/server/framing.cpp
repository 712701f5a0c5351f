#include "server/framing.h"

#include <algorithm>
#include <array>

namespace nibble::server {
namespace {

constexpr bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
constexpr bool is_alpha(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// RFC 9110 tchar.
constexpr std::array<bool, 256> kTokenChar = [] {
    std::array<bool, 256> table{};
    for (int c = 0; c < 256; ++c)
        table[c] = is_digit(static_cast<char>(c)) || (c < 128 && is_alpha(static_cast<char>(c)));
    for (char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<unsigned char>(c)] = true;
    return table;
}();

bool is_token(std::string_view text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return kTokenChar[static_cast<unsigned char>(c)]; });
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

// 1*DIGIT that fits; signs, spaces, lists and hexadecimal are someone else's idea of a length.
std::optional<uint64_t> decimal(std::string_view text) {
    if (text.empty() || text.size() > 18) return std::nullopt;
    uint64_t value = 0;
    for (char c : text) {
        if (!is_digit(c)) return std::nullopt;
        value = value * 10 + static_cast<uint64_t>(c - '0');
    }
    return value;
}

// Fields whose second appearance would leave it open which one counts.
constexpr std::array<std::string_view, 10> kOnce = {
    "host",   "content-length", "transfer-encoding", "content-type", "content-encoding", "authorization", "x-api-key",
    "expect", "origin",         "x-request-id"};

Method method_of(std::string_view name) {
    if (name == "GET") return Method::get;
    if (name == "POST") return Method::post;
    if (name == "HEAD") return Method::head;
    if (name == "OPTIONS") return Method::options;
    return Method::other;
}

std::optional<Refusal> parse_request_line(std::string_view line, const HeadLimits& limits, RequestHead& head) {
    const size_t first = line.find(' ');
    const size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last)
        return Refusal{400, "the request line is not METHOD SP TARGET SP HTTP/1.1"};
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(method) || method.size() > 32) return Refusal{400, "the method is not a token"};
    if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !is_digit(version[5]) || version[6] != '.' ||
        !is_digit(version[7]))
        return Refusal{400, "the request line does not end in HTTP/1.1"};
    if (version[5] != '1' || version[7] > '1') return Refusal{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
    head.minor_version = version[7] - '0';
    head.method = method_of(method);
    if (target.size() > limits.target_bytes) return Refusal{414, "the request target is too long"};
    for (unsigned char c : target)
        if (c <= ' ' || c >= 0x7f || c == '#' || c == '\\' || c == '"' || c == '<' || c == '>')
            return Refusal{400, "the request target holds a character that must be percent-encoded"};
    if (!(target.front() == '/' || (target == "*" && head.method == Method::options)))
        return Refusal{400, "the request target must be a path (origin form)"};
    const size_t question = target.find('?');
    head.path = target.substr(0, question);
    if (question != std::string_view::npos) head.query = target.substr(question + 1);
    return std::nullopt;
}

std::optional<Refusal> parse_connection(std::string_view value, RequestHead& head) {
    while (true) {
        const size_t comma = value.find(',');
        const std::string option = lower(trim(value.substr(0, comma)));
        if (!option.empty() && !is_token(option)) return Refusal{400, "Connection is not a list of tokens"};
        if (option == "close") head.keep_alive = false;
        if (option == "keep-alive" && head.minor_version == 0) head.keep_alive = true;  // a proxy of the old school
        if (comma == std::string_view::npos) return std::nullopt;
        value.remove_prefix(comma + 1);
    }
}

// What the fields say together: the length of the body, and the rest that decides how to go on.
std::optional<Refusal> interpret_fields(RequestHead& head) {
    head.keep_alive = head.minor_version >= 1;
    for (const auto& [name, value] : head.fields)
        if (name == "connection")
            if (auto refusal = parse_connection(value, head)) return refusal;
    if (head.has("transfer-encoding")) {
        if (head.has("content-length")) return Refusal{400, "Content-Length and Transfer-Encoding exclude each other"};
        if (head.minor_version == 0) return Refusal{400, "Transfer-Encoding is not part of HTTP/1.0"};
        if (lower(head.field("transfer-encoding")) != "chunked")
            return Refusal{400, "Transfer-Encoding must be exactly: chunked"};
        head.chunked = true;
    }
    if (head.has("content-length")) {
        head.content_length = decimal(head.field("content-length"));
        if (!head.content_length) return Refusal{400, "Content-Length must be one decimal number"};
    }
    if (head.has("expect")) {
        if (lower(head.field("expect")) != "100-continue") return Refusal{417, "Expect must be 100-continue"};
        head.expect_continue = head.minor_version >= 1;
    }
    if (head.has("host")) {
        if (!host_of_authority(head.field("host"))) return Refusal{400, "Host must be a host name with optional port"};
    } else if (head.minor_version >= 1) {
        return Refusal{400, "Host is missing"};
    }
    return std::nullopt;
}

int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::string_view RequestHead::field(std::string_view name) const {
    for (const auto& [key, value] : fields)
        if (key == name) return value;
    return {};
}

bool RequestHead::has(std::string_view name) const {
    return std::any_of(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
}

void HeadScanner::reset() {
    *this = HeadScanner(limits_);
}

HeadScanner::State HeadScanner::refuse(int status, std::string_view reason) {
    refusal_ = {status, reason};
    return State::refused;
}

HeadScanner::State HeadScanner::scan(std::string_view buffer) {
    for (; at_ < buffer.size(); ++at_) {
        if (at_ - begin_ >= limits_.head_bytes) return refuse(431, "the request head is too large");
        const auto c = static_cast<unsigned char>(buffer[at_]);
        const bool after_cr = at_ > line_begin_ && buffer[at_ - 1] == '\r';
        if (after_cr && c != '\n') return refuse(400, "a CR stands without its LF");
        if (c == '\n') {
            if (!after_cr) return refuse(400, "a line ends in LF without CR");
            const bool empty = at_ - line_begin_ == 1;
            line_begin_ = at_ + 1;
            if (!empty) {
                if (++lines_ > limits_.fields + 1) return refuse(431, "the request has too many header fields");
                continue;
            }
            if (lines_ > 0) {
                ++at_;
                return State::complete;
            }
            // Some clients send an empty line after a body (RFC 9112 2.2); one is let pass.
            if (begin_ > 0) return refuse(400, "the request begins with empty lines");
            begin_ = line_begin_;
            continue;
        }
        if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
            return refuse(400, "the request head holds a control character");
        if ((c == ' ' || c == '\t') && at_ == line_begin_)
            return refuse(400, lines_ == 0 ? "the request line begins with a space" : "a header field is folded");
    }
    return State::more;
}

std::variant<RequestHead, Refusal> parse_head(std::string_view head, const HeadLimits& limits) {
    RequestHead out;
    size_t end = head.find("\r\n");
    if (end == std::string_view::npos) return Refusal{400, "the request line has no end"};
    if (auto refusal = parse_request_line(head.substr(0, end), limits, out)) return *refusal;
    head.remove_prefix(end + 2);
    while (true) {
        end = head.find("\r\n");
        if (end == std::string_view::npos) return Refusal{400, "the header fields have no end"};
        if (end == 0) break;
        const std::string_view line = head.substr(0, end);
        head.remove_prefix(end + 2);
        const size_t colon = line.find(':');
        if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
            return Refusal{400, "a header field is not NAME: VALUE"};
        std::string name = lower(line.substr(0, colon));
        if (std::find(kOnce.begin(), kOnce.end(), name) != kOnce.end() && out.has(name))
            return Refusal{400, "a header field that may stand once is repeated"};
        if (out.fields.size() >= static_cast<size_t>(limits.fields))
            return Refusal{431, "the request has too many header fields"};
        out.fields.emplace_back(std::move(name), std::string(trim(line.substr(colon + 1))));
    }
    if (auto refusal = interpret_fields(out)) return *refusal;
    return out;
}

std::optional<std::string> host_of_authority(std::string_view authority) {
    if (authority.empty() || authority.size() > 255 + 6) return std::nullopt;
    size_t host_end = 0;
    if (authority.front() == '[') {
        host_end = authority.find(']');
        if (host_end == std::string_view::npos || host_end < 3) return std::nullopt;
        for (char c : authority.substr(1, host_end - 1))
            if (hex_digit(c) < 0 && c != ':' && c != '.') return std::nullopt;
        ++host_end;
    } else {
        while (host_end < authority.size() &&
               (is_digit(authority[host_end]) || is_alpha(authority[host_end]) || authority[host_end] == '-' ||
                authority[host_end] == '.' || authority[host_end] == '_' || authority[host_end] == '~'))
            ++host_end;
        if (host_end == 0) return std::nullopt;
    }
    const std::string_view rest = authority.substr(host_end);
    if (!rest.empty()) {
        if (rest.front() != ':' || rest.size() > 6) return std::nullopt;
        if (rest.size() > 1) {
            const auto port = decimal(rest.substr(1));
            if (!port || *port > 65535) return std::nullopt;
        }
    }
    return lower(authority.substr(0, host_end));
}

bool is_loopback_host(std::string_view host) {
    if (host == "localhost" || host == "[::1]") return true;
    if (host.size() > 10 && host.substr(host.size() - 10) == ".localhost") return true;
    // 127.a.b.c in plain decimal; other spellings of it (octal, short forms) are names, not addresses.
    int parts = 0;
    std::string_view rest = host;
    while (true) {
        const size_t dot = rest.find('.');
        const auto part = decimal(rest.substr(0, dot));
        if (!part || *part > 255 || (parts == 0 && *part != 127)) return false;
        ++parts;
        if (dot == std::string_view::npos) return parts == 4;
        rest.remove_prefix(dot + 1);
    }
}

std::optional<std::string> percent_decode(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (text.size() - i < 3) return std::nullopt;
        const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
        if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return out;
}

}  // namespace nibble::server
