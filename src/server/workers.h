// Workers: a few threads for what takes milliseconds (parsing, templates, tokenizing), so that the io threads never do.
//
// The queue is bounded; a full one is an ordinary answer. Jobs may outlive what they were started for: they hold what
// they need.
#pragma once

#include "base/bounded_queue.h"
#include "base/result.h"

#include <functional>
#include <thread>
#include <vector>

namespace nibble::server {

class Workers {
public:
    explicit Workers(size_t queue) : jobs_(queue) {}
    ~Workers() { stop(); }

    Result<void> start(int threads);  // io, when the system gives no thread
    bool submit(std::function<void()> job) { return jobs_.try_push(std::move(job)); }  // false: full or stopped
    void stop();                                                                       // after the queued jobs

private:
    BoundedQueue<std::function<void()>> jobs_;
    std::vector<std::thread> threads_;
};

}  // namespace nibble::server
