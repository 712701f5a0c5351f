#include "cli/http_client.h"

#include "base/in_quotes.h"

#include <fmt/format.h>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace nibble::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

constexpr auto kConnectTime = std::chrono::seconds(10);
constexpr uint64_t kBodyLimit_bytes = uint64_t{256} << 20;
constexpr size_t kEventLimit_bytes = size_t{16} << 20;

// One exchange: asynchronous operations run one after the other, so that each has its deadline.
class Exchange {
public:
    explicit Exchange(const Url& url) : url_(url) {}

    Result<void> connect() {
        asio::ip::tcp::resolver resolver(context_);
        error_code failure;
        const auto endpoints = resolver.resolve(url_.host, url_.port, failure);
        if (failure) return failed("cannot be resolved", failure);
        stream_.expires_after(kConnectTime);
        run([&](auto done) { stream_.async_connect(endpoints, [done](error_code code, const auto&) { done(code); }); });
        if (failure_) return failed("does not take a connection", failure_);
        stream_.socket().set_option(asio::ip::tcp::no_delay(true), failure);
        return {};
    }

    Result<void> send(http::request<http::string_body>& request, std::chrono::seconds silence) {
        stream_.expires_after(silence);
        run([&](auto done) { http::async_write(stream_, request, [done](error_code code, size_t) { done(code); }); });
        if (failure_) return failed("does not take the request", failure_);
        return {};
    }

    Result<HttpAnswer> receive(std::chrono::seconds silence, const std::function<bool(std::string_view)>& on_piece) {
        http::response_parser<http::buffer_body> parser;
        parser.body_limit(kBodyLimit_bytes);
        stream_.expires_after(silence);
        run([&](auto done) {
            http::async_read_header(stream_, buffer_, parser, [done](error_code code, size_t) { done(code); });
        });
        if (failure_) return failed("does not answer", failure_);
        const auto& head = parser.get();
        HttpAnswer answer{.status = static_cast<int>(head.result_int()),
                          .content_type = std::string(head[http::field::content_type]),
                          .server = std::string(head[http::field::server]),
                          .body = {}};
        std::array<char, 16384> part;
        while (!parser.is_done()) {
            parser.get().body().data = part.data();
            parser.get().body().size = part.size();
            parser.get().body().more = true;
            stream_.expires_after(silence);
            run([&](auto done) {
                http::async_read_some(stream_, buffer_, parser, [done](error_code code, size_t) { done(code); });
            });
            if (failure_ && failure_ != http::error::need_buffer) return failed("broke its answer off", failure_);
            const std::string_view piece(part.data(), part.size() - parser.get().body().size);
            if (piece.empty()) continue;
            if (on_piece && answer.status == 200) {
                if (!on_piece(piece)) break;
            } else {
                answer.body += piece;
            }
        }
        error_code ignored;
        stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
        return answer;
    }

private:
    template <class Start>
    void run(Start&& start) {
        failure_ = {};
        start([this](error_code code) { failure_ = code; });
        context_.restart();
        context_.run();
    }
    Error failed(const char* what, const error_code& code) const {
        return error(ErrorCode::peer_failed, "http://{}:{} {}: {}", url_.host, url_.port, what, code.message());
    }

    const Url& url_;
    asio::io_context context_{1};
    beast::tcp_stream stream_{context_};
    beast::flat_buffer buffer_;
    error_code failure_;
};

bool is_port(std::string_view text) {
    int port = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), port);
    return failure == std::errc() && end == text.data() + text.size() && port > 0 && port < 65536;
}

}  // namespace

Result<Url> parse_url(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return error(ErrorCode::usage, "--url {}: {}", in_quotes(text), why);
    };
    constexpr std::string_view kScheme = "http://";
    if (text.starts_with("https://"))
        return refuse("https is not spoken here: measure the server behind the proxy, by http://");
    if (!text.starts_with(kScheme)) return refuse("expected http://HOST[:PORT]");
    std::string_view rest = text.substr(kScheme.size());
    const size_t slash = std::min(rest.find('/'), rest.size());
    std::string_view host = rest.substr(0, slash), path = rest.substr(slash);
    if (host.find('@') != std::string_view::npos) return refuse("a password has no place in it; --api-key gives a key");
    if (std::any_of(text.begin(), text.end(),
                    [](unsigned char c) { return c <= ' ' || c == 0x7f || c == '?' || c == '#'; }))
        return refuse("expected http://HOST[:PORT][/PREFIX]");
    Url url{.host = {}, .port = "80", .path = {}};
    const bool bracketed = host.starts_with('[');
    const size_t end = bracketed ? host.find(']') : std::min(host.find(':'), host.size());
    if (end == std::string_view::npos) return refuse("the ']' of the address is missing");
    url.host = host.substr(bracketed ? 1 : 0, end - (bracketed ? 1 : 0));
    const std::string_view behind = host.substr(end + (bracketed ? 1 : 0));
    if (url.host.empty()) return refuse("there is no host");
    if (!behind.empty()) {
        if (behind[0] != ':' || !is_port(behind.substr(1))) return refuse("expected a port from 1 to 65535");
        url.port = behind.substr(1);
    }
    while (path.ends_with('/')) path.remove_suffix(1);
    if (path.ends_with("/v1")) path.remove_suffix(3);
    while (path.ends_with('/')) path.remove_suffix(1);
    url.path = path;
    return url;
}

Result<HttpAnswer> http_exchange(const Url& url, const HttpCall& call,
                                 const std::function<bool(std::string_view)>& on_piece) {
    try {
        const auto verb = http::string_to_verb(call.method);
        http::request<http::string_body> request(verb, url.path + call.target, 11);
        const bool v6 = url.host.find(':') != std::string::npos;
        request.set(http::field::host, fmt::format("{}{}{}:{}", v6 ? "[" : "", url.host, v6 ? "]" : "", url.port));
        request.set(http::field::user_agent, "nibble-bench");
        request.set(http::field::connection, "close");
        if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
        for (const auto& [field, value] : call.fields) request.set(field, value);
        request.body() = call.body;
        request.prepare_payload();
        Exchange exchange(url);
        TRY_VOID(exchange.connect());
        TRY_VOID(exchange.send(request, call.silence));
        return exchange.receive(call.silence, on_piece);
    } catch (const std::exception& failure) {
        return error(ErrorCode::peer_failed, "http://{}:{}: {}", url.host, url.port, failure.what());
    }
}

bool EventReader::push(std::string_view piece, const std::function<bool(std::string_view)>& on_data) {
    for (const char c : piece) {
        if (c == '\n' && std::exchange(after_cr_, false)) continue;  // the second half of CR LF
        after_cr_ = c == '\r';
        if (c == '\n' || c == '\r') {
            if (!end_line(on_data)) return false;
        } else if (line_.size() < kEventLimit_bytes) {
            line_ += c;
        }
    }
    return true;
}

bool EventReader::end_line(const std::function<bool(std::string_view)>& on_data) {
    bool go_on = true;
    if (line_.empty()) {
        if (std::exchange(has_data_, false)) go_on = on_data(data_);
        data_.clear();
    } else if (std::string_view(line_).starts_with("data:") && data_.size() < kEventLimit_bytes) {
        std::string_view value = std::string_view(line_).substr(5);
        if (value.starts_with(' ')) value.remove_prefix(1);
        if (has_data_) data_ += '\n';
        data_ += value;
        has_data_ = true;
    }
    line_.clear();
    return go_on;
}

}  // namespace nibble::cli
