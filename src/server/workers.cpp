#include "server/workers.h"

#include <fmt/format.h>

#include <system_error>

namespace nibble::server {

Result<void> Workers::start(int threads) {
    try {
        for (int i = 0; i < threads; ++i)
            threads_.emplace_back([this] {
                while (auto job = jobs_.pop()) (*job)();
            });
    } catch (const std::system_error& failure) {
        return Error{ErrorCode::io, fmt::format("no thread for requests: {}", failure.what())};
    }
    return {};
}

void Workers::stop() {
    jobs_.close();
    for (std::thread& thread : threads_)
        if (thread.joinable()) thread.join();
    threads_.clear();
}

}  // namespace nibble::server
