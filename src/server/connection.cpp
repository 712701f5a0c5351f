#include "server/connection.h"

#include "base/check.h"

#include <fmt/format.h>
#include <boost/asio/buffer.hpp>

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <algorithm>
#include <ctime>

namespace nibble::server {
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr size_t kPipelineBytes = 64 * 1024;  // read ahead while a request is being answered
constexpr size_t kChunkLineBytes = 1024;      // of a chunk's size line, or of the end of a chunked body
constexpr size_t kProgressBytes = 64 * 1024;  // HttpOptions::write_deadline
constexpr int64_t kTrickleBytesPerMs = 1;     // HttpOptions::body_deadline: about 1 KiB/s
constexpr size_t kLingerBytes = 32u << 20;    // thrown away at most, after our last word
constexpr std::chrono::milliseconds kLinger{2'000};

void set_socket_option(Socket& socket, int level, int name, int value) {
    ::setsockopt(socket.native_handle(), level, name, &value, sizeof value);  // a wish: sockets without it work too
}

bool acceptable_request_id(std::string_view id) {
    return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
               c == '.' || c == ':';
    });
}

std::string_view http_date(IoThread& thread) {
    const int64_t now = std::time(nullptr);
    if (now != thread.date_second) {
        static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        std::tm tm{};
        const std::time_t seconds = now;
        gmtime_r(&seconds, &tm);
        thread.date = fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[tm.tm_wday], tm.tm_mday,
                                  kMonths[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        thread.date_second = now;
    }
    return thread.date;
}

}  // namespace

struct Connection::Parser {
    http::request_parser<http::string_body> message;
    size_t head_fields = 0;
};

void Connection::ChunkHeader::operator()(uint64_t, boost::beast::string_view extension, error_code& error) const {
    if (!extension.empty()) error = http::error::bad_chunk_extension;
}

Connection::Connection(IoThread& thread, HttpShared& shared, Socket socket)
    : thread_(thread), shared_(shared), socket_(std::move(socket)), scanner_(shared.options.head) {
    ++shared_.stats.connections;
}

Connection::~Connection() {
    if (exchange_) exchange_->detach();
    shared_.stats.exchanges -= unwritten_exchanges_;
    shared_.body_bytes -= reserved_bytes_;
    --shared_.stats.connections;
}

void Connection::start() {
    error_code error;
    socket_.non_blocking(true, error);
    const int family = socket_.local_endpoint(error).protocol().family();
    if (!error && (family == AF_INET || family == AF_INET6)) {
        set_socket_option(socket_, IPPROTO_TCP, TCP_NODELAY, 1);
        // A peer that vanished without a word is noticed within a minute, streaming (the heartbeat is not
        // acknowledged) or not (keep-alive probes are not).
        set_socket_option(socket_, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_socket_option(socket_, IPPROTO_TCP, TCP_KEEPIDLE, 15);
        set_socket_option(socket_, IPPROTO_TCP, TCP_KEEPINTVL, 10);
        set_socket_option(socket_, IPPROTO_TCP, TCP_KEEPCNT, 3);
        set_socket_option(socket_, IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
    }
    // Not left to grow to megabytes: a stalled reader would be noticed only when they are full.
    set_socket_option(socket_, SOL_SOCKET, SO_SNDBUF, 256 * 1024);
    const auto now = Clock::now();
    deadline_ = now + shared_.options.head_deadline;
    write_progress_ = last_event_ = now;
    settle();
}

// Entries.

void Connection::on_readable(const error_code& wait_error) {
    read_armed_ = false;
    if (phase_ == Phase::closed) return;
    error_code error = wait_error;
    size_t bytes = 0;
    if (!error) bytes = socket_.read_some(asio::buffer(thread_.scratch), error);
    if (error == asio::error::would_block || error == asio::error::interrupted) {
        settle();
        return;
    }
    if (error) {
        peer_ended_ = true;
        if (phase_ == Phase::answering && !finished_) ++shared_.stats.disconnects;
        // The end of the input is a goodbye, whatever is being made for the client; only what is made is delivered.
        if (error != asio::error::eof || phase_ != Phase::head || unsent() == 0) broken_ = true;
        close_after_ = true;
        settle();
        return;
    }
    if (phase_ == Phase::lingering || (phase_ == Phase::head && close_after_)) {
        discarded_bytes_ += bytes;  // our last word is written or said
        if (discarded_bytes_ > kLingerBytes) broken_ = true;
    } else {
        in_.append(thread_.scratch.data(), bytes);
        if (phase_ == Phase::body) {
            const auto gained = std::chrono::milliseconds(static_cast<int64_t>(bytes) / kTrickleBytesPerMs);
            deadline_ = std::min(Clock::now() + shared_.options.body_deadline, deadline_ + gained);
        } else if (phase_ == Phase::answering && in_.size() - in_read_ > kPipelineBytes) {
            broken_ = true;  // to stop reading would be to stop seeing that the client leaves
        }
    }
    settle();
}

void Connection::on_writable(const error_code& error) {
    write_armed_ = false;
    if (phase_ == Phase::closed) return;
    if (error) broken_ = true;
    settle();
}

void Connection::tick(Clock::time_point now) {
    if (phase_ == Phase::closed) return;
    const HttpOptions& options = shared_.options;
    if (unsent() > 0 && now - write_progress_ > options.write_deadline) {
        ++shared_.stats.stalled;
        broken_ = true;
    } else if (phase_ != Phase::answering && unsent() == 0 && now > deadline_) {
        if (phase_ == Phase::lingering || (phase_ == Phase::head && !head_begun_)) {
            broken_ = true;
        } else {
            ++shared_.stats.timeouts;
            refuse(408, phase_ == Phase::head ? "the request head did not come in time"
                                              : "the request body did not come in time");
        }
    } else if (phase_ == Phase::answering && streaming_ && unsent() == 0 && now - last_event_ >= options.heartbeat) {
        events_ += ": keep-alive\n\n";
        flush_events();
    }
    settle();
}

void Connection::cut() {
    if (phase_ != Phase::answering || finished_) return;
    if (exchange_->answer_)
        exchange_->answer_->cut(*exchange_);
    else
        reply({.status = 503, .body = shared_.handler->error_body(503, "the server is stopping"), .close = true});
    settle();
}

void Connection::close() {
    if (phase_ == Phase::closed) return;
    const auto self = shared_from_this();
    phase_ = Phase::closed;
    if (exchange_) {
        exchange_->detach();
        exchange_.reset();
    }
    shared_.stats.exchanges -= std::exchange(unwritten_exchanges_, 0);
    error_code ignored;
    socket_.shutdown(Socket::shutdown_both, ignored);
    socket_.close(ignored);
    thread_.connections.erase(self);
}

// Carrying on.

void Connection::settle() {
    for (bool again = true; again && !broken_ && phase_ != Phase::closed;) {
        again = false;
        bool waiting_for_room = false;
        while (!broken_) {
            if (phase_ == Phase::answering && finished_) {
                end_exchange();
            } else if ((phase_ == Phase::head || phase_ == Phase::body) && !close_after_ && in_read_ < in_.size()) {
                waiting_for_room = unsent() >= shared_.options.congested_bytes;
                if (waiting_for_room || !take_input()) break;
            } else {
                break;
            }
        }
        if (broken_) break;
        send();
        if (broken_ || unsent() > 0) break;
        if (waiting_for_room) {
            again = true;
        } else if (was_congested_ && phase_ == Phase::answering) {
            was_congested_ = false;
            if (exchange_->answer_) exchange_->answer_->resume(*exchange_);
            again = true;
        }
    }
    if (phase_ == Phase::closed) return;
    if (!broken_ && phase_ == Phase::head && close_after_ && unsent() == 0) say_goodbye();
    if (broken_) {
        close();
        return;
    }
    if (phase_ != Phase::answering && unsent() == 0) shared_.stats.exchanges -= std::exchange(unwritten_exchanges_, 0);
    arm();
}

void Connection::arm() {
    if (in_read_ == in_.size()) {
        in_.clear();
        if (in_.capacity() > 4096) in_.shrink_to_fit();
        in_read_ = 0;
    } else if (in_read_ > 16 * 1024) {
        in_.erase(0, in_read_);
        in_read_ = 0;
    }
    const bool congested = phase_ != Phase::answering && unsent() >= shared_.options.congested_bytes;
    if (!read_armed_ && !peer_ended_ && !congested) {
        read_armed_ = true;
        socket_.async_wait(Socket::wait_read,
                           [self = shared_from_this()](const error_code& error) { self->on_readable(error); });
    }
    if (!write_armed_ && unsent() > 0) {
        write_armed_ = true;
        socket_.async_wait(Socket::wait_write,
                           [self = shared_from_this()](const error_code& error) { self->on_writable(error); });
    }
}

bool Connection::take_input() {
    return phase_ == Phase::head ? take_head() : take_body();
}

bool Connection::take_head() {
    const std::string_view buffer = std::string_view(in_).substr(in_read_);
    if (!head_begun_) {
        // The first request's time runs since the connection was accepted.
        if (served_) deadline_ = Clock::now() + shared_.options.head_deadline;
        head_begun_ = true;
    }
    switch (scanner_.scan(buffer)) {
        case HeadScanner::State::more:
            return false;
        case HeadScanner::State::refused:
            refuse(scanner_.refusal().status, scanner_.refusal().reason);
            return true;
        case HeadScanner::State::complete:
            break;
    }
    const size_t begin = scanner_.head_begin(), end = scanner_.head_end();
    const std::string_view bytes = buffer.substr(begin, end - begin);
    auto parsed = parse_head(bytes, shared_.options.head);
    if (const Refusal* refusal = std::get_if<Refusal>(&parsed)) {
        refuse(refusal->status, refusal->reason);
        return true;
    }
    head_ = std::move(std::get<RequestHead>(parsed));
    const std::string_view id = head_.field("x-request-id");
    request_id_ = acceptable_request_id(id)
                      ? std::string(id)
                      : fmt::format("{}{:08x}", shared_.id_prefix, shared_.next_id.fetch_add(1) & 0xffffffff);
    if (auto reply = shared_.handler->admit(head_)) {
        // A body on its way is not waited for: the connection ends with the answer instead.
        reply->close |= head_.has_body() || shared_.closing;
        in_read_ += end;
        write_reply(*reply, head_.method == Method::head);
        start_next();
        return true;
    }
    in_read_ += end;
    begin_body(bytes);
    return true;
}

// Gives the head to the second parser, which then takes the body apart.
void Connection::begin_body(std::string_view head) {
    const HttpOptions& options = shared_.options;
    if (head_.content_length.value_or(0) > options.body_bytes) {
        refuse(413, "the request body is too large");
        return;
    }
    reserved_bytes_ = head_.content_length.value_or(0);
    if ((shared_.body_bytes += reserved_bytes_) > options.all_bodies_bytes && reserved_bytes_ > 0) {
        refuse(503, "too many request bodies are being received");
        return;
    }
    parser_ = std::make_unique<Parser>();
    auto& message = parser_->message;
    message.eager(true);
    message.header_limit(static_cast<uint32_t>(options.head.head_bytes + 16));
    message.body_limit(options.body_bytes);
    message.on_chunk_header(chunk_header_);
    error_code error;
    const size_t taken = message.put(asio::const_buffer(head.data(), head.size()), error);
    if (error == http::error::need_more) error = {};
    if (error || taken != head.size() || !message.is_header_done() || message.chunked() != head_.chunked ||
        (head_.content_length && message.content_length() != *head_.content_length)) {
        refuse(400, "the request head is malformed");
        return;
    }
    parser_->head_fields = static_cast<size_t>(std::distance(message.get().begin(), message.get().end()));
    if (message.is_done()) {
        dispatch();
        return;
    }
    phase_ = Phase::body;
    deadline_ = Clock::now() + options.body_deadline;
    if (head_.expect_continue) out_ += "HTTP/1.1 100 Continue\r\n\r\n";
}

bool Connection::take_body() {
    auto& message = parser_->message;
    error_code error;
    const size_t left = in_.size() - in_read_;
    const size_t taken = message.put(asio::const_buffer(in_.data() + in_read_, left), error);
    in_read_ += taken;
    if (error == http::error::body_limit) {
        refuse(413, "the request body is too large");
        return true;
    }
    if (error && error != http::error::need_more) {
        refuse(400, "the chunked request body is malformed");
        return true;
    }
    if (head_.chunked) {
        const size_t size = message.get().body().size();
        if (size > reserved_bytes_) {
            shared_.body_bytes += size - reserved_bytes_;
            reserved_bytes_ = size;
            if (shared_.body_bytes > shared_.options.all_bodies_bytes) {
                refuse(503, "too many request bodies are being received");
                return true;
            }
        }
    }
    if (message.is_done()) {
        if (static_cast<size_t>(std::distance(message.get().begin(), message.get().end())) != parser_->head_fields) {
            refuse(400, "trailer fields are not taken");
            return true;
        }
        dispatch();
        return true;
    }
    if (error && left - taken > kChunkLineBytes) {
        refuse(400, "a chunk's size line is too long");
        return true;
    }
    return taken > 0 && !error;
}

void Connection::dispatch() {
    HttpRequest request{.method = head_.method,
                        .path = head_.path,
                        .query = head_.query,
                        .id = request_id_,
                        .body = std::move(parser_->message.get().body()),
                        .origin = std::string(head_.field("origin")),
                        .received = Clock::now()};
    parser_.reset();
    phase_ = Phase::answering;
    ++unwritten_exchanges_;
    ++shared_.stats.exchanges;
    exchange_ = std::make_shared<ConnectionExchange>(*this, std::move(request), std::exchange(reserved_bytes_, 0));
    shared_.handler->handle(exchange_);
}

void Connection::end_exchange() {
    exchange_->detach();
    exchange_.reset();
    finished_ = streaming_ = was_congested_ = false;
    start_next();
}

void Connection::start_next() {
    phase_ = Phase::head;
    scanner_.reset();
    head_begun_ = false;
    served_ = true;
    request_id_.clear();
    deadline_ = Clock::now() + shared_.options.idle_deadline;
}

// An answer to what cannot be followed further: the connection ends with it.
void Connection::refuse(int status, std::string_view reason) {
    if (status != 408) ++shared_.stats.malformed;
    shared_.body_bytes -= std::exchange(reserved_bytes_, 0);
    parser_.reset();
    if (head_begun_ && phase_ == Phase::head) head_ = RequestHead{};  // not to be believed
    write_reply({.status = status, .body = shared_.handler->error_body(status, reason), .close = true}, false);
    start_next();
    in_read_ = in_.size();
}

void Connection::write_head(int status, std::string_view content_type, std::string_view framing, bool close,
                            const std::vector<std::pair<std::string_view, std::string>>& fields) {
    fmt::format_to(std::back_inserter(out_), "HTTP/1.1 {} {}\r\nDate: {}\r\n{}", status, status_text(status),
                   http_date(thread_), framing);
    if (!content_type.empty()) fmt::format_to(std::back_inserter(out_), "Content-Type: {}\r\n", content_type);
    if (!request_id_.empty()) fmt::format_to(std::back_inserter(out_), "x-request-id: {}\r\n", request_id_);
    for (const auto& [name, value] : fields) fmt::format_to(std::back_inserter(out_), "{}: {}\r\n", name, value);
    if (const std::string_view origin = head_.field("origin"); !origin.empty())
        for (const auto& [name, value] : shared_.handler->origin_fields(origin))
            fmt::format_to(std::back_inserter(out_), "{}: {}\r\n", name, value);
    close_after_ |= close || !head_.keep_alive || shared_.closing;
    if (close_after_)
        out_ += "Connection: close\r\n";
    else if (head_.minor_version == 0)
        out_ += "Connection: keep-alive\r\n";
    out_ += "\r\n";
}

void Connection::write_reply(const HttpReply& reply, bool head_only) {
    const std::string framing = reply.status == 204 ? "" : fmt::format("Content-Length: {}\r\n", reply.body.size());
    write_head(reply.status, reply.body.empty() ? "" : reply.content_type, framing, reply.close, reply.fields);
    if (!head_only) out_ += reply.body;
}

// Writes what it can; the rest waits for room.
void Connection::send() {
    if (write_armed_) return;
    while (unsent() > 0) {
        error_code error;
        const size_t bytes = socket_.write_some(asio::const_buffer(out_.data() + out_sent_, unsent()), error);
        out_sent_ += bytes;
        shared_.stats.sent_bytes += bytes;
        if (stalling_ && (written_since_progress_ += bytes) >= kProgressBytes) {
            written_since_progress_ = 0;
            write_progress_ = Clock::now();
        }
        if (error == asio::error::would_block || error == asio::error::interrupted) {
            if (!stalling_) {
                stalling_ = true;
                written_since_progress_ = 0;
                write_progress_ = Clock::now();
            }
            if (out_sent_ > kProgressBytes) {
                out_.erase(0, out_sent_);
                out_sent_ = 0;
            }
            return;
        }
        if (error) {
            if (phase_ == Phase::answering) ++shared_.stats.disconnects;
            broken_ = true;
            return;
        }
    }
    stalling_ = false;
    out_.clear();
    out_sent_ = 0;
    if (out_.capacity() > 64 * 1024) out_.shrink_to_fit();
}

// All is said. A socket closed with unread input would reset the connection and take our last words with it.
void Connection::say_goodbye() {
    if (peer_ended_) {
        broken_ = true;
        return;
    }
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    phase_ = Phase::lingering;
    in_read_ = in_.size();
    deadline_ = Clock::now() + kLinger;
}

// The exchange's side.

void Connection::reply(HttpReply reply) {
    if (phase_ != Phase::answering || finished_ || streaming_) return;
    write_reply(reply, head_.method == Method::head);
    finished_ = true;
}

void Connection::start_events() {
    CHECK(!streaming_ && !finished_, "an exchange is answered once");
    streaming_ = true;
    chunked_out_ = head_.minor_version >= 1;
    last_event_ = Clock::now();
    // X-Accel-Buffering: nginx passes each event on as it comes.
    write_head(200, "text/event-stream; charset=utf-8", chunked_out_ ? "Transfer-Encoding: chunked\r\n" : "",
               !chunked_out_, {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
}

void Connection::flush_events() {
    if (events_.empty()) return;
    if (chunked_out_) fmt::format_to(std::back_inserter(out_), "{:x}\r\n", events_.size());
    out_ += events_;
    if (chunked_out_) out_ += "\r\n";
    events_.clear();
    last_event_ = Clock::now();
}

void Connection::finish_events() {
    flush_events();
    if (chunked_out_) out_ += "0\r\n\r\n";
    finished_ = true;
}

}  // namespace nibble::server
