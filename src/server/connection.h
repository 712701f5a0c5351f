// Connection: one client's socket and the requests that come over it, one after another. Included by http.cpp,
// connection.cpp and connection_exchange.cpp alone, for it speaks Boost.
//
// A connection belongs to one io thread and is touched by no other. Every event (bytes, room to write, a task from
// elsewhere, the clock) enters through one of the public functions; each ends in settle(), which carries on as far as
// it can: ends what is finished, takes the next pipelined request, writes, and waits again. Nothing calls back into an
// entry, so an Answer may finish its own exchange while it is running.
#pragma once

#include "server/http.h"

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <unordered_set>

namespace nibble::server {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using Socket = asio::generic::stream_protocol::socket;

class Connection;

// What all connections share. Constant but for the atomics.
struct HttpShared {
    HttpOptions options;
    HttpHandler* handler = nullptr;
    HttpStats stats;
    std::atomic<bool> closing{false};   // close_after_answers()
    std::atomic<size_t> body_bytes{0};  // promised by requests whose bodies are held
    std::string id_prefix;              // of drawn request ids; another one each start
    std::atomic<uint64_t> next_id{0};
};

// The connections of one io thread, and what they share there.
struct IoThread {
    std::shared_ptr<asio::io_context> context = std::make_shared<asio::io_context>(1);
    std::unordered_set<std::shared_ptr<Connection>> connections;
    std::vector<char> scratch = std::vector<char>(64 * 1024);  // one read's bytes
    std::string date;                                          // of the HTTP field, made once a second
    int64_t date_second = -1;
};

class ConnectionExchange;

class Connection : public std::enable_shared_from_this<Connection> {
public:
    Connection(IoThread& thread, HttpShared& shared, Socket socket);
    ~Connection();

    void start();
    void tick(Clock::time_point now);
    void cut();
    void close();  // at once; the exchange is dropped

private:
    friend class ConnectionExchange;
    enum class Phase {
        head,  // waiting for a request, or in the middle of its head
        body,
        answering,  // the exchange is being answered; bytes read are of later requests
        lingering,  // our last word is said: what still comes is thrown away until the client closes
        closed,
    };

    void on_readable(const boost::system::error_code& error);
    void on_writable(const boost::system::error_code& error);
    void settle();
    bool take_input();  // one step of parsing; false: needs more bytes
    bool take_head();
    bool take_body();
    void begin_body(std::string_view head);
    void dispatch();
    void end_exchange();
    void start_next();
    void refuse(int status, std::string_view reason);
    void write_reply(const HttpReply& reply, bool head_only);
    void write_head(int status, std::string_view content_type, std::string_view framing, bool close,
                    const std::vector<std::pair<std::string_view, std::string>>& fields);
    void send();
    void say_goodbye();
    void arm();
    size_t unsent() const { return out_.size() - out_sent_; }

    // The exchange's side.
    void reply(HttpReply reply);
    void start_events();
    void flush_events();
    void finish_events();

    IoThread& thread_;
    HttpShared& shared_;
    Socket socket_;
    Phase phase_ = Phase::head;

    std::string in_;  // unparsed bytes, from in_read_ on
    size_t in_read_ = 0;
    HeadScanner scanner_;
    RequestHead head_;
    struct ChunkHeader {  // chunk extensions mean nothing to us and something else to others
        void operator()(uint64_t, boost::beast::string_view extension, boost::system::error_code& error) const;
    } chunk_header_;
    struct Parser;
    std::unique_ptr<Parser> parser_;
    size_t reserved_bytes_ = 0;  // of HttpShared::body_bytes, until an exchange takes it over
    std::string request_id_;

    std::shared_ptr<ConnectionExchange> exchange_;
    int64_t unwritten_exchanges_ = 0;  // in stats.exchanges, until the last byte of them is written
    bool finished_ = false;            // the exchange has said all
    bool streaming_ = false;
    bool chunked_out_ = false;
    bool was_congested_ = false;
    bool close_after_ = false;
    bool peer_ended_ = false;
    bool broken_ = false;

    std::string events_;  // of the stream, not yet framed
    std::string out_;     // framed, from out_sent_ on not yet written
    size_t out_sent_ = 0;
    size_t discarded_bytes_ = 0;
    bool read_armed_ = false, write_armed_ = false;

    bool served_ = false;  // a request, at least
    bool head_begun_ = false;
    bool stalling_ = false;             // the socket had no room when we last wrote
    Clock::time_point deadline_;        // of head, idle, body or lingering, whichever phase it is
    Clock::time_point write_progress_;  // stalling: since then less than 64 KiB were taken
    size_t written_since_progress_ = 0;
    Clock::time_point last_event_;
};

// Exchange over a connection. Detached when the connection ends or goes on to its next request.
class ConnectionExchange final : public Exchange {
public:
    ConnectionExchange(Connection& connection, HttpRequest request, size_t reserved_bytes);
    ~ConnectionExchange() override;
    void detach();

    const HttpRequest& request() const override { return request_; }
    std::string take_body() override;
    void post(std::function<void(Exchange&)> task) override;
    std::function<void()> waker() override;

    void reply(HttpReply reply) override;
    void set_answer(std::unique_ptr<Answer> answer) override;
    void start_events() override;
    std::string& events() override;
    void flush() override;
    bool congested() const override;
    void finish_events() override;

private:
    friend class Connection;
    // Shared with the wakers given out, which may outlive everything else here.
    struct Wake {
        std::atomic<bool> pending{false};
        std::weak_ptr<asio::io_context> context;
        std::weak_ptr<ConnectionExchange> exchange;
    };
    template <class Call>
    void enter(Call&& call);

    Connection* connection_;
    HttpShared& shared_;
    std::weak_ptr<asio::io_context> context_;
    HttpRequest request_;
    std::atomic<size_t> reserved_bytes_;
    std::unique_ptr<Answer> answer_;
    std::shared_ptr<Wake> wake_;
    std::string nowhere_;  // what is written to a detached exchange
};

}  // namespace nibble::server
