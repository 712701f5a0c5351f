// Keeps N streamed chat requests running against a server on this machine, as fast as they come, and counts the events.
//
//   stream_load_probe PORT CONNECTIONS TOKENS SECONDS  ->  "requests R events E bytes B seconds S"
//
// One thread; it only looks for the events' beginnings, so that it costs less than what it measures.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view kEvent = "data: {", kEnd = "data: [DONE]\n\n\r\n0\r\n\r\n";

struct Stream {
    int socket = -1;
    std::string tail;  // the end of what came, where an event's beginning may be cut
};

int connect_to(int port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        std::perror("connect");
        std::exit(1);
    }
    return socket;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const int port = std::atoi(argv[1]), connections = std::atoi(argv[2]), tokens = std::atoi(argv[3]);
    const double seconds = std::atof(argv[4]);
    const std::string body = fmt::format(
        R"({{"messages":[{{"role":"user","content":"go on"}}],"stream":true,"ignore_eos":true,"max_tokens":{}}})",
        tokens);
    const std::string request = fmt::format(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        "{}\r\n\r\n{}",
        body.size(), body);

    const int poll = ::epoll_create1(0);
    std::vector<Stream> streams(static_cast<size_t>(connections));
    for (size_t i = 0; i < streams.size(); ++i) {
        streams[i].socket = connect_to(port);
        epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
        ::epoll_ctl(poll, EPOLL_CTL_ADD, streams[i].socket, &event);
        if (::write(streams[i].socket, request.data(), request.size()) < 0) return 1;
    }
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
    uint64_t requests = 0, events = 0, bytes = 0;
    int open = connections;
    std::vector<char> buffer(256 * 1024);
    std::array<epoll_event, 64> ready;
    while (open > 0) {
        const int count = ::epoll_wait(poll, ready.data(), ready.size(), 1000);
        for (int k = 0; k < count; ++k) {
            Stream& stream = streams[ready[static_cast<size_t>(k)].data.u64];
            const ssize_t got = ::read(stream.socket, buffer.data(), buffer.size());
            if (got <= 0) {
                fmt::print(stderr, "a stream ended early: {}\n", stream.tail);
                return 1;
            }
            bytes += static_cast<uint64_t>(got);
            std::string text = stream.tail;
            const size_t old = text.size();
            text.append(buffer.data(), static_cast<size_t>(got));
            // An event counts where its beginning ends.
            for (size_t at = 0; (at = text.find(kEvent, at)) != std::string::npos; at += kEvent.size())
                events += at + kEvent.size() > old;
            stream.tail = text.substr(text.size() - std::min(text.size(), kEnd.size()));
            if (stream.tail != kEnd) continue;
            stream.tail.clear();
            ++requests;
            if (elapsed() < seconds) {
                if (::write(stream.socket, request.data(), request.size()) < 0) return 1;
            } else {
                ::close(stream.socket);
                --open;
            }
        }
    }
    fmt::print("requests {} events {} bytes {} seconds {:.3f}\n", requests, events, bytes, elapsed());
    return 0;
}
