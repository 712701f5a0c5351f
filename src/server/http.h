// HTTP: connections, deadlines and limits below the routes; Boost appears in http.cpp and connection*.cpp alone.
//
// A few io threads own the connections, each connection one thread for life. A request is first offered to
// HttpHandler::admit by its head, then given to HttpHandler::handle as an Exchange. The exchange is answered with one
// reply(), or as a stream of server-sent events written by an Answer. When the client goes away, whatever is being made
// for it is destroyed at once, waiting or streaming alike.
#pragma once

#include "base/result.h"
#include "server/framing.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble::server {

struct HttpRequest {
    Method method = Method::get;
    std::string path;
    std::string query;
    std::string id;  // the client's x-request-id, or one drawn here; sent back with the answer
    std::string body;
    std::string origin;  // empty: no browser page asked
    std::chrono::steady_clock::time_point received;
};

struct HttpReply {
    int status = 200;
    std::string body = {};
    std::string_view content_type = "application/json";
    std::vector<std::pair<std::string_view, std::string>> fields = {};  // Retry-After, Allow, …
    bool close = false;                                                 // the connection ends with this answer
};

class Answer;

// One request being answered. Held by the connection and by whoever makes the answer; outlives the connection, then
// everything said to it is ignored.
class Exchange : public std::enable_shared_from_this<Exchange> {
public:
    virtual ~Exchange() = default;

    // Any thread.
    virtual const HttpRequest& request() const = 0;
    virtual std::string take_body() = 0;                         // once, by the one that parses it
    virtual void post(std::function<void(Exchange&)> task) = 0;  // runs on the connection's thread, if it is still open
    // Calls the answer's resume() on the connection's thread; calls that come before it runs are one.
    virtual std::function<void()> waker() = 0;

    // The connection's thread.
    virtual void reply(HttpReply reply) = 0;
    virtual void set_answer(std::unique_ptr<Answer> answer) = 0;  // starts it; destroyed when the exchange ends
    virtual void start_events() = 0;                              // 200 and the head of an event stream
    virtual std::string& events() = 0;                            // append "data: …\n\n" to it,
    virtual void flush() = 0;                                     // and hand it over
    virtual bool congested() const = 0;  // the client reads too slowly: write no more until resume() is called
    virtual void finish_events() = 0;
};

// What makes an answer over time. Lives on the connection's thread; destroying it cancels the work behind it.
class Answer {
public:
    virtual ~Answer() = default;
    virtual void start(Exchange& exchange) = 0;
    virtual void resume(Exchange& exchange) = 0;  // the waker was called, or a congested client has read on
    virtual void cut(Exchange& exchange) = 0;     // the server stops: end now, saying so
};

class HttpHandler {
public:
    virtual ~HttpHandler() = default;
    // Both on an io thread, and never waiting. admit: nullopt to read the body and go on.
    virtual std::optional<HttpReply> admit(const RequestHead& head) = 0;
    virtual void handle(const std::shared_ptr<Exchange>& exchange) = 0;
    // For answers that came about below the routes (framing, deadlines, limits): the body of an error in our shape.
    virtual std::string error_body(int status, std::string_view message) = 0;
    // Fields added to every answer to a page of this origin (CORS); usually none.
    virtual std::vector<std::pair<std::string_view, std::string>> origin_fields(std::string_view origin) = 0;
};

struct HttpOptions {
    std::string host = "127.0.0.1";  // an address or a name
    uint16_t port = 8000;            // 0: any free one
    std::string unix_socket;         // a path: listen there, and not on TCP
    int io_threads = 2;
    size_t max_connections = 16'384;  // less where the limit on open files is lower

    HeadLimits head;
    size_t body_bytes = 8u << 20;
    size_t all_bodies_bytes = 256u << 20;  // of all requests being received at once
    size_t congested_bytes = 256u << 10;   // unread output of one connection at which its answer pauses
    std::chrono::milliseconds head_deadline{10'000};
    std::chrono::milliseconds idle_deadline{75'000};   // of a kept connection between requests
    std::chrono::milliseconds body_deadline{10'000};   // without progress; a trickle under 1 KiB/s is no progress
    std::chrono::milliseconds write_deadline{30'000};  // for 64 KiB to be taken
    std::chrono::milliseconds heartbeat{15'000};       // comment line in a silent event stream
};

struct HttpStats {
    std::atomic<int64_t> connections{0};  // open now
    std::atomic<int64_t> exchanges{0};    // being answered, until their last byte is handed to the kernel
    std::atomic<uint64_t> accepted{0}, refused_connections{0}, malformed{0}, timeouts{0}, stalled{0}, disconnects{0};
    std::atomic<uint64_t> sent_bytes{0};
};

class HttpServer {
public:
    // Listens, but answers nothing before start(). Errors: address_in_use, usage (no such host), io.
    static Result<std::unique_ptr<HttpServer>> bind(const HttpOptions& options);
    ~HttpServer();  // stop()

    Result<void> start(HttpHandler& handler);  // the handler outlives the server
    uint16_t port() const;                     // 0 for a unix socket
    bool loopback() const;                     // only this machine can connect
    const HttpStats& stats() const;

    void close_after_answers();                       // draining: each answer closes its connection
    bool wait_idle(std::chrono::milliseconds limit);  // true: no exchange is left
    void cut_answers();                               // Answer::cut on all
    void stop();                                      // closes every connection and joins the threads

private:
    HttpServer();
    struct State;
    std::unique_ptr<State> state_;
};

std::string_view status_text(int status);

}  // namespace nibble::server
