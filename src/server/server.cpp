#include "server/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <thread>

namespace nibble::server {

using namespace std::chrono_literals;

struct Server::State {
    ServerOptions options;
    Services services;
    Workers workers{1024};
    std::unique_ptr<Routes> routes;
    std::unique_ptr<HttpServer> http;
    std::atomic<bool> cut_now{false};
};

Server::Server() : state_(std::make_unique<State>()) {}

Server::~Server() {
    // Jobs post to connections and connections hold answers that use the services: first no more of either.
    if (state_->http) state_->http->stop();
    state_->workers.stop();
}

Result<std::unique_ptr<Server>> Server::bind(ServerOptions options) {
    std::unique_ptr<Server> server(new Server);
    State& state = *server->state_;
    TRY(state.http, HttpServer::bind(options.http));
    const bool keyed = !options.routes.access.api_keys.empty();
    if (!state.http->loopback() && !keyed && !options.public_without_key)
        return Error{ErrorCode::usage,
                     fmt::format("{} can be reached from other machines, and no API key is set: give --api-key, or say "
                                 "that this is meant",
                                 options.http.host)};
    for (const std::string& key : options.routes.access.api_keys)
        if (key.empty()) return Error{ErrorCode::usage, "an API key is empty"};
    options.routes.access.check_host = state.http->loopback() && options.http.unix_socket.empty();

    std::random_device entropy;
    state.services.draw_base = (uint64_t{entropy()} << 32) | entropy();
    state.services.strict = options.strict;
    state.services.log = options.log;
    int workers = options.workers;
    if (workers <= 0) workers = std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 1, 8);
    TRY_VOID(state.workers.start(workers));
    state.routes = std::make_unique<Routes>(options.routes, state.services, state.workers);
    state.routes->set_http_stats(state.http->stats());
    state.options = std::move(options);
    TRY_VOID(state.http->start(*state.routes));
    return server;
}

uint16_t Server::port() const {
    return state_->http->port();
}

std::string Server::address() const {
    const HttpOptions& http = state_->options.http;
    if (!http.unix_socket.empty()) return "unix:" + http.unix_socket;
    const bool v6 = http.host.find(':') != std::string::npos;
    return v6 ? fmt::format("http://[{}]:{}", http.host, port()) : fmt::format("http://{}:{}", http.host, port());
}

void Server::set_loading(std::string stage, double percent) {
    state_->routes->set_loading(std::move(stage), percent);
}

void Server::set_ready(ServedModel model) {
    state_->routes->set_ready(std::make_shared<const ServedModel>(std::move(model)));
}

void Server::set_refusing(std::optional<std::string> reason) {
    state_->routes->set_refusing(std::move(reason));
}

bool Server::drain(std::chrono::milliseconds limit) {
    state_->routes->set_draining();
    state_->http->close_after_answers();
    const auto end = std::chrono::steady_clock::now() + limit;
    bool complete = state_->http->wait_idle(0ms);
    while (!complete && !state_->cut_now && std::chrono::steady_clock::now() < end)
        complete = state_->http->wait_idle(20ms);
    if (!complete) {
        state_->http->cut_answers();
        state_->http->wait_idle(1'000ms);  // for the last words to be sent
    }
    return complete;
}

void Server::cut() {
    state_->cut_now = true;
}

const HttpStats& Server::http_stats() const {
    return state_->http->stats();
}

}  // namespace nibble::server
