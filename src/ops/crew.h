// How CPU rows put work on the crew: small loops stay with the caller, uneven units go to whoever is free.
#pragma once

#include "ops/op.h"

#include <atomic>
#include <cstdint>

namespace nibble::ops {

inline int64_t workers(const OpContext& context) {
    return context.threads != nullptr ? context.threads->size() : 1;
}

// body(begin, end) over [0, count) in equal parts; by the caller alone when `work` (elements touched) is less than
// waking the crew costs.
template <class Body>
void share(OpContext& context, int64_t count, int64_t work, const Body& body) {
    constexpr int64_t kWorthSharing = int64_t{1} << 15;
    if (workers(context) == 1 || work < kWorthSharing)
        body(int64_t{0}, count);
    else
        context.threads->parallel_for(count, 1, [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

// body(unit) for every unit of [0, count), in order, each by the next free worker.
template <class Body>
void draw(OpContext& context, int64_t count, const Body& body) {
    if (workers(context) == 1 || count <= 1) {
        for (int64_t unit = 0; unit < count; ++unit) body(unit);
        return;
    }
    std::atomic<int64_t> next = 0;
    context.threads->run([&](int, int) {
        for (int64_t unit = next.fetch_add(1, std::memory_order_relaxed); unit < count;
             unit = next.fetch_add(1, std::memory_order_relaxed))
            body(unit);
    });
}

}  // namespace nibble::ops
