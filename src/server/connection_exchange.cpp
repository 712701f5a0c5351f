// The side of a connection that a route sees: one request and its answer. Shared by the connection and the route; on
// the connection's io thread, but for post and the waker, which any thread may call. A connection that ends or goes on
// to its next request detaches it, and what is written after that is dropped.
#include "server/connection.h"

#include <boost/asio/post.hpp>

#include <utility>

namespace nibble::server {

ConnectionExchange::ConnectionExchange(Connection& connection, HttpRequest request, size_t reserved_bytes)
    : connection_(&connection),
      shared_(connection.shared_),
      context_(connection.thread_.context),
      request_(std::move(request)),
      reserved_bytes_(reserved_bytes) {}

ConnectionExchange::~ConnectionExchange() {
    shared_.body_bytes -= reserved_bytes_.load();
}

void ConnectionExchange::detach() {
    connection_ = nullptr;
    answer_.reset();
}

std::string ConnectionExchange::take_body() {
    shared_.body_bytes -= reserved_bytes_.exchange(0);
    return std::move(request_.body);
}

template <class Call>
void ConnectionExchange::enter(Call&& call) {
    if (!connection_) return;
    const auto connection = connection_->shared_from_this();
    call();
    connection->settle();
}

void ConnectionExchange::post(std::function<void(Exchange&)> task) {
    const auto context = context_.lock();
    if (!context) return;
    asio::post(*context, [self = std::static_pointer_cast<ConnectionExchange>(shared_from_this()),
                          task = std::move(task)] { self->enter([&] { task(*self); }); });
}

std::function<void()> ConnectionExchange::waker() {
    if (!wake_) {
        wake_ = std::make_shared<Wake>();
        wake_->context = context_;
        wake_->exchange = std::static_pointer_cast<ConnectionExchange>(shared_from_this());
    }
    return [wake = wake_] {
        if (wake->pending.exchange(true)) return;
        const auto context = wake->context.lock();
        if (!context) return;
        asio::post(*context, [wake] {
            wake->pending = false;
            const auto exchange = wake->exchange.lock();
            if (!exchange) return;
            exchange->enter([&] {
                if (exchange->answer_ && !exchange->connection_->finished_) exchange->answer_->resume(*exchange);
            });
        });
    };
}

void ConnectionExchange::reply(HttpReply reply) {
    if (connection_) connection_->reply(std::move(reply));
}

void ConnectionExchange::set_answer(std::unique_ptr<Answer> answer) {
    if (!connection_ || connection_->finished_) return;
    answer_ = std::move(answer);
    answer_->start(*this);
}

void ConnectionExchange::start_events() {
    if (connection_) connection_->start_events();
}

std::string& ConnectionExchange::events() {
    return connection_ ? connection_->events_ : nowhere_;
}

void ConnectionExchange::flush() {
    if (connection_) connection_->flush_events();
}

bool ConnectionExchange::congested() const {
    if (!connection_) return true;
    const bool congested =
        connection_->unsent() + connection_->events_.size() >= connection_->shared_.options.congested_bytes;
    connection_->was_congested_ |= congested;
    return congested;
}

void ConnectionExchange::finish_events() {
    if (connection_) connection_->finish_events();
}

}  // namespace nibble::server
