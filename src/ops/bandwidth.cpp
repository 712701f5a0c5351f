#include "ops/bandwidth.h"

#include "device/buffer.h"
#include "ops/simd.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <limits>
#include <numeric>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/bandwidth.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// bytes is a multiple of 256.
uint64_t sum(const std::byte* data, int64_t bytes) {
    const hn::CappedTag<uint64_t, 8> d;
    constexpr int64_t kVectorBytes = static_cast<int64_t>(hn::MaxLanes(d)) * 8;
    auto total = hn::Zero(d), other = hn::Zero(d);
    for (int64_t i = 0; i < bytes; i += 256) {
        // The processor's own prefetchers stop at a page's end; this keeps lines coming across it.
        constexpr int64_t kAhead = 4096;
        for (int64_t line = 0; line < 256; line += 64) hwy::Prefetch(data + i + kAhead + line);
        for (int64_t v = 0; v < 256; v += 2 * kVectorBytes) {
            total = hn::Add(total, hn::Load(d, reinterpret_cast<const uint64_t*>(data + i + v)));
            other = hn::Add(other, hn::Load(d, reinterpret_cast<const uint64_t*>(data + i + v + kVectorBytes)));
        }
    }
    // Lane by lane: the sum of all lanes is signed in the compiler's own header, and may not overflow there.
    HWY_ALIGN std::array<uint64_t, hn::MaxLanes(d)> lanes{};
    hn::Store(hn::Add(total, other), d, lanes.data());
    return std::accumulate(lanes.begin(), lanes.end(), uint64_t{0});
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {

HWY_EXPORT(sum);

double best_read_seconds(ThreadPool& threads, const std::byte* data, int64_t bytes, int passes) {
    // Piece by piece, the best pass of each: on a busy machine few passes are undisturbed from end to end, and a piece
    // is long gone from the caches when its turn comes again.
    constexpr int64_t kPieces = 32;
    std::array<double, kPieces> best;
    best.fill(std::numeric_limits<double>::infinity());
    std::atomic<uint64_t> sink = 0;  // the sums are used, so they are made
    const int64_t units = bytes / 256;
    for (int pass = 0; pass < passes; ++pass)
        for (int64_t piece = 0; piece < kPieces; ++piece) {
            const int64_t first = units * piece / kPieces, last = units * (piece + 1) / kPieces;
            const auto start = std::chrono::steady_clock::now();
            threads.parallel_for(last - first, 64, [&](int64_t begin, int64_t end, int) {
                sink += HWY_DYNAMIC_DISPATCH(sum)(data + (first + begin) * 256, (end - begin) * 256);
            });
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
            best[piece] = std::min(best[piece], seconds.count());
        }
    return std::accumulate(best.begin(), best.end(), 0.0);
}

Result<double> measure_read_bandwidth(ThreadPool& threads, int64_t bytes) {
    bytes = std::max<int64_t>(bytes / 256, 1) * 256;
    TRY(const device::Buffer buffer, device::Buffer::allocate(device::cpu_device(), bytes, "the bandwidth probe"));
    // Random, for memory and links may compress or remember constant data; and first touched by the thread that reads.
    threads.parallel_for(bytes / 256, 4096, [&](int64_t begin, int64_t end, int) {
        auto* word = reinterpret_cast<uint64_t*>(buffer.data());
        uint64_t state = static_cast<uint64_t>(begin) * 0x9E3779B97F4A7C15ull + 1;
        for (int64_t i = begin * 32; i < end * 32; ++i) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            word[i] = state;
        }
    });
    constexpr int kPasses = 7;
    return static_cast<double>(bytes) / best_read_seconds(threads, buffer.data(), bytes, kPasses) * 1e-9;
}

}  // namespace nibble::ops
#endif
