#include "server/http.h"

#include "server/connection.h"

#include <fmt/format.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <condition_variable>
#include <random>
#include <thread>

namespace nibble::server {
namespace {

using boost::system::error_code;
using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;
constexpr std::chrono::milliseconds kTick{250};

// As many connections as there may be open files, less those that everything else needs.
size_t connection_limit(size_t wanted) {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return wanted;
    const rlim_t target = std::min<rlim_t>(files.rlim_max, wanted + 256);
    if (files.rlim_cur < target) {
        files.rlim_cur = target;
        if (::setrlimit(RLIMIT_NOFILE, &files) != 0) ::getrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur == RLIM_INFINITY) return wanted;
    const auto room = static_cast<size_t>(files.rlim_cur > 512 ? files.rlim_cur - 256 : files.rlim_cur / 2);
    return std::max<size_t>(1, std::min(wanted, room));
}

Result<asio::generic::stream_protocol::endpoint> tcp_endpoint(asio::io_context& context, const HttpOptions& options) {
    error_code failure;
    const auto address = asio::ip::make_address(options.host, failure);
    if (!failure) return asio::generic::stream_protocol::endpoint(asio::ip::tcp::endpoint(address, options.port));
    asio::ip::tcp::resolver resolver(context);
    const auto found =
        resolver.resolve(options.host, std::to_string(options.port), asio::ip::tcp::resolver::passive, failure);
    if (failure || found.empty())
        return Error{ErrorCode::usage, fmt::format("host '{}' is no address of this machine: {}", options.host,
                                                   failure ? failure.message() : "nothing found")};
    // localhost may mean both families; the older one is what clients try without being told.
    for (const auto& entry : found)
        if (entry.endpoint().address().is_v4()) return asio::generic::stream_protocol::endpoint(entry.endpoint());
    return asio::generic::stream_protocol::endpoint(found.begin()->endpoint());
}

bool is_loopback(const asio::generic::stream_protocol::endpoint& endpoint) {
    if (endpoint.protocol().family() == AF_INET) {
        const auto* address = reinterpret_cast<const sockaddr_in*>(endpoint.data());
        return (ntohl(address->sin_addr.s_addr) >> 24) == 127;
    }
    if (endpoint.protocol().family() == AF_INET6) {
        const auto* address = reinterpret_cast<const sockaddr_in6*>(endpoint.data());
        return IN6_IS_ADDR_LOOPBACK(&address->sin6_addr) != 0;
    }
    return true;
}

// A socket file left by a server that is gone is removed; one that answers, or another kind of file, is not.
Result<void> clear_socket_path(const std::string& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return {};
    if (!S_ISSOCK(status.st_mode))
        return Error{ErrorCode::address_in_use, fmt::format("'{}' exists and is not a socket", path)};
    asio::io_context context;
    asio::local::stream_protocol::socket probe(context);
    error_code failure;
    probe.connect(asio::local::stream_protocol::endpoint(path), failure);
    if (!failure) return Error{ErrorCode::address_in_use, fmt::format("another server answers on '{}'", path)};
    if (::unlink(path.c_str()) != 0)
        return Error{ErrorCode::io, fmt::format("'{}' cannot be removed: {}", path, std::strerror(errno))};
    return {};
}

}  // namespace

struct HttpServer::State {
    struct Thread : IoThread {
        std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
        std::optional<asio::steady_timer> timer;
        std::thread thread;
    };
    HttpShared shared;
    std::vector<std::unique_ptr<Thread>> threads;
    std::optional<Acceptor> acceptor;
    std::optional<asio::steady_timer> accept_pause;
    size_t max_connections = 0;
    size_t next_thread = 0;
    int spare_fd = -1;  // given up to answer a client when no other is left
    uint16_t port = 0;
    bool loopback = true;
    std::atomic<bool> stopped{false};

    void accept();
    void accepted(const error_code& error, Socket socket, Thread& thread);
    void tick(Thread& thread);
    template <class Call>
    void on_all_connections(Call call);
};

HttpServer::HttpServer() : state_(std::make_unique<State>()) {}

HttpServer::~HttpServer() {
    stop();
}

Result<std::unique_ptr<HttpServer>> HttpServer::bind(const HttpOptions& options) {
    std::unique_ptr<HttpServer> server(new HttpServer);
    State& state = *server->state_;
    state.shared.options = options;
    state.shared.id_prefix = fmt::format("{:08x}", std::random_device{}());
    state.max_connections = connection_limit(options.max_connections);
    for (int i = 0; i < std::max(1, options.io_threads); ++i)
        state.threads.push_back(std::make_unique<State::Thread>());
    asio::io_context& context = *state.threads.front()->context;

    asio::generic::stream_protocol::endpoint endpoint;
    std::string name = options.unix_socket;
    if (!name.empty()) {
        if (name.size() >= sizeof(sockaddr_un::sun_path))
            return Error{ErrorCode::usage, fmt::format("unix socket path '{}' has {} bytes; at most {} fit", name,
                                                       name.size(), sizeof(sockaddr_un::sun_path) - 1)};
        TRY_VOID(clear_socket_path(name));
        endpoint = asio::local::stream_protocol::endpoint(name);
    } else {
        TRY(endpoint, tcp_endpoint(context, options));
        name = fmt::format("{}:{}", options.host, options.port);
    }
    state.loopback = is_loopback(endpoint);

    error_code failure;
    state.acceptor.emplace(context);
    state.acceptor->open(endpoint.protocol(), failure);
    if (failure) return Error{ErrorCode::io, fmt::format("no socket for {}: {}", name, failure.message())};
    if (options.unix_socket.empty()) state.acceptor->set_option(asio::socket_base::reuse_address(true), failure);
    const mode_t mask = ::umask(0177);  // a unix socket is its owner's
    state.acceptor->bind(endpoint, failure);
    ::umask(mask);
    if (!failure) state.acceptor->listen(4096, failure);
    if (failure == asio::error::address_in_use)
        return Error{ErrorCode::address_in_use, fmt::format("{} is in use by another program", name)};
    if (failure) return Error{ErrorCode::io, fmt::format("cannot listen on {}: {}", name, failure.message())};
    state.acceptor->non_blocking(true, failure);
    if (options.unix_socket.empty()) {
        const auto local = state.acceptor->local_endpoint(failure);
        if (failure) return Error{ErrorCode::io, fmt::format("cannot listen on {}: {}", name, failure.message())};
        state.port =
            ntohs(local.protocol().family() == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(local.data())->sin6_port
                                                        : reinterpret_cast<const sockaddr_in*>(local.data())->sin_port);
    }
    state.spare_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    return server;
}

Result<void> HttpServer::start(HttpHandler& handler) {
    state_->shared.handler = &handler;
    state_->accept_pause.emplace(*state_->threads.front()->context);
    for (auto& owned : state_->threads) {
        State::Thread& thread = *owned;
        thread.work.emplace(thread.context->get_executor());
        thread.timer.emplace(*thread.context);
        asio::post(*thread.context, [this, &thread] { state_->tick(thread); });
        try {
            thread.thread = std::thread([&thread] { thread.context->run(); });
        } catch (const std::system_error& failure) {
            return Error{ErrorCode::io, fmt::format("no thread for connections: {}", failure.what())};
        }
    }
    asio::post(*state_->threads.front()->context, [this] { state_->accept(); });
    return {};
}

uint16_t HttpServer::port() const {
    return state_->port;
}
bool HttpServer::loopback() const {
    return state_->loopback;
}
const HttpStats& HttpServer::stats() const {
    return state_->shared.stats;
}

void HttpServer::State::accept() {
    Thread& thread = *threads[next_thread++ % threads.size()];
    acceptor->async_accept(*thread.context, [this, &thread](const error_code& error, Socket socket) {
        accepted(error, std::move(socket), thread);
    });
}

void HttpServer::State::accepted(const error_code& error, Socket socket, Thread& thread) {
    if (error == asio::error::operation_aborted || stopped) return;
    if (error) {
        // Out of descriptors or memory. One client is told by a closed connection, which frees the queue's head;
        // then we wait, for trying again at once would only burn the processor.
        if (error == asio::error::no_descriptors && spare_fd >= 0) {
            ::close(spare_fd);
            const int victim = ::accept4(acceptor->native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (victim >= 0) {
                ++shared.stats.refused_connections;
                ::close(victim);
            }
            spare_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        accept_pause->expires_after(std::chrono::milliseconds(50));
        accept_pause->async_wait([this](const error_code& aborted) {
            if (!aborted) accept();
        });
        return;
    }
    ++shared.stats.accepted;
    if (static_cast<size_t>(shared.stats.connections) >= max_connections) {
        ++shared.stats.refused_connections;
        static const std::string kFull =
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        error_code ignored;
        socket.non_blocking(true, ignored);
        socket.write_some(asio::buffer(kFull), ignored);
        socket.close(ignored);
    } else {
        asio::post(*thread.context, [this, &thread, accepted = std::move(socket)]() mutable {
            const auto connection = std::make_shared<Connection>(thread, shared, std::move(accepted));
            thread.connections.insert(connection);
            connection->start();
        });
    }
    accept();
}

void HttpServer::State::tick(Thread& thread) {
    const auto now = Clock::now();
    // A tick may end connections: walk a copy.
    std::vector<std::shared_ptr<Connection>> all(thread.connections.begin(), thread.connections.end());
    for (const auto& connection : all) connection->tick(now);
    thread.timer->expires_after(kTick);
    thread.timer->async_wait([this, &thread](const error_code& aborted) {
        if (!aborted) tick(thread);
    });
}

template <class Call>
void HttpServer::State::on_all_connections(Call call) {
    for (auto& owned : threads) {
        Thread& thread = *owned;
        asio::post(*thread.context, [&thread, call] {
            std::vector<std::shared_ptr<Connection>> all(thread.connections.begin(), thread.connections.end());
            for (const auto& connection : all) call(*connection);
        });
    }
}

void HttpServer::close_after_answers() {
    state_->shared.closing = true;
}

bool HttpServer::wait_idle(std::chrono::milliseconds limit) {
    const auto end = Clock::now() + limit;
    while (state_->shared.stats.exchanges > 0) {
        if (Clock::now() >= end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

void HttpServer::cut_answers() {
    state_->on_all_connections([](Connection& connection) { connection.cut(); });
}

void HttpServer::stop() {
    if (state_->stopped.exchange(true)) return;
    for (auto& owned : state_->threads) {
        State::Thread& thread = *owned;
        if (!thread.thread.joinable()) continue;
        asio::post(*thread.context, [this, &thread] {
            if (&thread == state_->threads.front().get()) {
                error_code ignored;
                state_->acceptor->close(ignored);
                state_->accept_pause->cancel();
            }
            std::vector<std::shared_ptr<Connection>> all(thread.connections.begin(), thread.connections.end());
            for (const auto& connection : all) connection->close();
            thread.timer->cancel();
            thread.work.reset();
            thread.context->stop();
        });
    }
    for (auto& thread : state_->threads)
        if (thread->thread.joinable()) thread->thread.join();
    // A connection may have been on its way from the accepting thread when the others stopped.
    for (auto& thread : state_->threads) {
        thread->connections.clear();
        thread->timer.reset();
    }
    state_->accept_pause.reset();
    state_->acceptor.reset();
    if (!state_->shared.options.unix_socket.empty() && state_->shared.handler)
        ::unlink(state_->shared.options.unix_socket.c_str());
    if (state_->spare_fd >= 0) ::close(state_->spare_fd);
    state_->spare_fd = -1;
}

std::string_view status_text(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 204:
            return "No Content";
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 413:
            return "Content Too Large";
        case 414:
            return "URI Too Long";
        case 415:
            return "Unsupported Media Type";
        case 417:
            return "Expectation Failed";
        case 429:
            return "Too Many Requests";
        case 431:
            return "Request Header Fields Too Large";
        case 499:
            return "Client Closed Request";
        case 500:
            return "Internal Server Error";
        case 503:
            return "Service Unavailable";
        case 505:
            return "HTTP Version Not Supported";
    }
    return "Unknown";
}

}  // namespace nibble::server
