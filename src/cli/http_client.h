// HttpClient: one HTTP request to a server, answered whole or piece by piece, for measuring any server. http:// alone:
// nothing that is measured should be slowed by TLS. Blocks its caller; calls are independent, any thread. Boost is in
// http_client.cpp alone.
#pragma once

#include "base/result.h"

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble::cli {

struct Url {
    std::string host, port;  // "127.0.0.1", "8000"
    std::string path;        // "" or "/prefix", without the slash at its end
};
// "http://host[:port][/prefix]". A "/v1" at the end is left out: the routes bring it. Errors: usage.
Result<Url> parse_url(std::string_view text);

struct HttpCall {
    std::string method = "POST";
    std::string target;  // "/v1/completions", behind the URL's path
    std::string body;    // JSON
    std::vector<std::pair<std::string, std::string>> fields;
    std::chrono::seconds silence{600};  // between two pieces
};

struct HttpAnswer {
    int status = 0;
    std::string content_type, server;
    std::string body;  // empty where on_piece took it
};

// on_piece, when given, gets the body of a 200 in the pieces in which it arrives; false ends the exchange early.
// Errors: peer_failed: no connection, silence, bytes that are no HTTP.
Result<HttpAnswer> http_exchange(const Url& url, const HttpCall& call,
                                 const std::function<bool(std::string_view)>& on_piece = {});

// Server-sent events out of pieces of a body, cut anywhere.
class EventReader {
public:
    // Calls on_data for the data of each event that the piece completes; false from it is given back at once.
    bool push(std::string_view piece, const std::function<bool(std::string_view)>& on_data);

private:
    bool end_line(const std::function<bool(std::string_view)>& on_data);
    std::string line_, data_;
    bool has_data_ = false, after_cr_ = false;
};

}  // namespace nibble::cli
