// Server: the whole of it, for whoever runs it. Bound and answering before the model is there; then ready; then
// drained.
//
//   auto server = Server::bind(options);           // 503 with progress from now on
//   (*server)->set_loading("weights", 40);         // any thread
//   (*server)->set_ready(model);                   // the engine outlives the server
//   (*server)->drain(30s);                         // no new work, what runs may finish, then it is cut
//
// bind, set_ready and drain: one thread. cut() may come from any, a signal's thread among them, to end a drain early.
#pragma once

#include "server/http.h"
#include "server/routes.h"
#include "server/served_model.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace nibble::server {

struct ServerOptions {
    HttpOptions http;
    RouteOptions routes;                          // access.check_host is set from where the server listens
    bool public_without_key = false;              // listen beyond this machine though no API key is set
    bool strict = false;                          // unknown request fields are errors
    int workers = 0;                              // threads for parsing and tokenizing; 0: half the processors, 1 to 8
    std::function<void(const std::string&)> log;  // one line a finished request; from an io thread, briefly
};

class Server {
public:
    // Errors: usage (a public address without a key; no such host), address_in_use, io.
    static Result<std::unique_ptr<Server>> bind(ServerOptions options);
    ~Server();  // ends everything at once

    uint16_t port() const;        // 0 for a unix socket
    std::string address() const;  // "http://127.0.0.1:8000", "unix:/run/nibble.sock"

    void set_loading(std::string stage, double percent);
    void set_ready(ServedModel model);
    // Any thread. While there is a reason, new work is answered 503 with it; what runs goes on.
    void set_refusing(std::optional<std::string> reason);

    // True: every answer was completed. Else they were cut, each with an error that says so.
    bool drain(std::chrono::milliseconds limit);
    void cut();

    const HttpStats& http_stats() const;

private:
    Server();
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace nibble::server
