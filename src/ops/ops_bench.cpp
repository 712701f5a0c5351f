// ops_bench: the CPU rows of the ops, one by one, against the memory bandwidth measured in the same run.
//
//   ops_bench [filter] [threads]     filter: part of a line's name; threads: 0 (all) by default
//
// Weights are cycled through at least 8 times the last-level cache, so every call reads memory. A line shows the best
// and the median call.
#include "ops/bandwidth.h"
#include "numeric/bf16.h"
#include "ops/linear/linear.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace nibble::ops {
namespace {

using Clock = std::chrono::steady_clock;

class Bench {
public:
    Bench(std::string filter, int threads)
        : filter_(std::move(filter)),
          device_(device::cpu_device()),
          pool_(threads),
          memory_bytes_(std::max<int64_t>(8 * device_.l2_bytes, int64_t{256} << 20)),
          memory_(allocate(memory_bytes_ + (int64_t{1} << 30))),
          arena_(allocate(int64_t{512} << 20)) {
        std::mt19937_64 random(1);
        auto* words = reinterpret_cast<uint64_t*>(memory_.data());
        // No byte is a NaN of E4M3 or bf16, and as scales all are of moderate size.
        for (int64_t i = 0; i < memory_.bytes() / 8; ++i)
            words[i] = (random() & 0xBFBFBFBFBFBFBFBF) | 0x2020202020202020;
        bandwidth_ =
            static_cast<double>(memory_bytes_) / best_read_seconds(pool_, memory_.data(), memory_bytes_, 9) * 1e-9;
        fmt::print("{}, {} threads, reads {:.1f} GB/s\n", device_.name, pool_.size(), bandwidth_);
    }

    void linear(WeightFormat format, int64_t n, int64_t k, int64_t tokens, const char* row) {
        const std::string name = fmt::format("linear {} {:5} N={} K={} T={}", row, ops::name(format), n, k, tokens);
        if (name.find(filter_) == std::string::npos) return;
        LinearArgs a;
        a.x = activations(tokens, k);
        a.y = activations(tokens, n);
        a.weight = {.format = format, .layout = WeightLayout::cpu_rows16, .n = n, .k = k, .scale = 1e-3f};
        a.weight.stored_bytes = packed_bytes(format, a.weight.layout, n, k);
        const int64_t copies = std::max<int64_t>(1, memory_bytes_ / a.weight.stored_bytes);
        CHECK(copies * a.weight.stored_bytes <= memory_.bytes());
        const ForcedRows forced = {{"linear", row}};
        measure(name, a.weight.stored_bytes, 2.0 * static_cast<double>(n * k * tokens), forced,
                [&](OpContext& context, int64_t call) {
                    a.weight.data = memory_.data() + call % copies * a.weight.stored_bytes;
                    ops::linear(context, a);
                });
    }

private:
    static device::Buffer allocate(int64_t bytes) {
        auto buffer = device::Buffer::allocate(device::cpu_device(), bytes, "the bench");
        CHECK(buffer, "{}", buffer.error().message);
        return std::move(*buffer);
    }

    Tensor activations(int64_t rows, int64_t columns) {
        buffers_.push_back(allocate(rows * columns * 2));
        Tensor t = buffers_.back().tensor(0, DType::bf16, {rows, columns});
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        for (int64_t i = 0; i < t.elements(); ++i) t.as<numeric::bf16>()[i] = numeric::bf16::from_float(normal(random));
        return t;
    }

    template <class Call>
    void measure(const std::string& name, int64_t bytes, double operations, const ForcedRows& forced, Call&& call) {
        OpContext context{.device = &device_, .threads = &pool_, .arena = &arena_, .forced = &forced};
        std::vector<double> seconds;
        const auto start = Clock::now();
        for (int64_t i = 0; i < 20 || Clock::now() - start < std::chrono::milliseconds(400); ++i) {
            const auto begin = Clock::now();
            call(context, i);
            seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
        }
        std::sort(seconds.begin(), seconds.end());
        const double best = seconds.front(), median = seconds[seconds.size() / 2];
        fmt::print("{:52} {:9.1f} us  {:6.1f} GB/s best {:6.1f} median  {:3.0f}% of read  {:7.1f} GFLOP/s\n", name,
                   median * 1e6, static_cast<double>(bytes) / best * 1e-9, static_cast<double>(bytes) / median * 1e-9,
                   static_cast<double>(bytes) / median * 1e-7 / bandwidth_, operations / best * 1e-9);
    }

    std::string filter_;
    device::Device device_;
    ThreadPool pool_;
    int64_t memory_bytes_;
    device::Buffer memory_;
    device::Arena arena_;
    std::vector<device::Buffer> buffers_;
    double bandwidth_ = 0;
};

// Nemotron 3 Nano's matrices.
void run(Bench& bench) {
    for (const char* row : {"avx512_bf16", "simd"})
        for (const WeightFormat format : {WeightFormat::nvfp4, WeightFormat::fp8, WeightFormat::bf16}) {
            for (const auto& [n, k] :
                 {std::pair<int64_t, int64_t>{10304, 2688}, {2688, 4096}, {1856, 2688}, {2688, 1856}})
                bench.linear(format, n, k, 1, row);
            for (const int64_t tokens : {2, 4, 8, 12, 16, 128, 512}) bench.linear(format, 10304, 2688, tokens, row);
        }
    bench.linear(WeightFormat::bf16, 131072, 2688, 1, "avx512_bf16");
    bench.linear(WeightFormat::f32, 128, 2688, 1, "simd");
}

}  // namespace
}  // namespace nibble::ops

int main(int argc, char** argv) {
    nibble::ops::Bench bench(argc > 1 ? argv[1] : "", argc > 2 ? std::atoi(argv[2]) : 0);
    nibble::ops::run(bench);
}
