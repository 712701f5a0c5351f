// ops_bench: the CPU rows of the ops, one by one, against the memory bandwidth measured in the same run.
//
//   ops_bench [filter] [threads]     filter: part of a line's name; threads: 0 (all) by default
//
// Weights are cycled through at least 8 times the last-level cache, so every call reads memory. A line shows the best
// and the median call.
#include "numeric/bf16.h"
#include "ops/attention/attention.h"
#include "ops/bandwidth.h"
#include "ops/linear/linear.h"
#include "ops/mamba/mamba.h"
#include "ops/moe/moe.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace nibble::ops {
namespace {

using Clock = std::chrono::steady_clock;

// With one thread its own processor time counts, which a busy machine does not stretch.
double seconds_now(bool alone) {
    timespec now;
    clock_gettime(alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

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
        measure(
            name, [&] { return a.weight.stored_bytes; }, 2.0 * static_cast<double>(n * k * tokens), forced,
            [&](OpContext& context, int64_t call) {
                a.weight.data = memory_.data() + call % copies * a.weight.stored_bytes;
                ops::linear(context, a);
            });
    }

    // Nemotron 3 Nano's layer of 128 experts: which ones a call reads is the router's choice for its tokens.
    void moe(int64_t tokens, const char* row) {
        const std::string name = fmt::format("moe {} nvfp4 E=128 top 6 H=2688 F=1856 S=3712 T={}", row, tokens);
        if (name.find(filter_) == std::string::npos) return;
        constexpr int64_t kExperts = 128, kWidth = 2688, kHidden = 1856, kShared = 3712;
        std::byte* at = memory_.data();
        const auto weight = [&](WeightFormat format, int64_t n, int64_t k, int64_t count) {
            Weight w{.format = format, .layout = WeightLayout::cpu_rows16, .n = n, .k = k, .data = at, .scale = 1e-4f};
            w.stored_bytes = packed_bytes(format, w.layout, n, k);
            at += count * w.stored_bytes;
            CHECK(at <= memory_.data() + memory_.bytes());
            return w;
        };
        std::vector<float> scales(kExperts, 1e-4f);
        const auto experts = [&](int64_t n, int64_t k) {
            Experts e{.first = weight(WeightFormat::nvfp4, n, k, kExperts), .count = kExperts};
            e.stride_bytes = e.first.stored_bytes;
            e.scales = Tensor(scales.data(), DType::f32, {kExperts});
            return e;
        };
        MoeArgs a{.top_k = 6, .routed_scale = 2.5f};
        a.up = experts(kHidden, kWidth);
        a.down = experts(kWidth, kHidden);
        a.shared_up = weight(WeightFormat::nvfp4, kShared, kWidth, 1);
        a.shared_down = weight(WeightFormat::nvfp4, kWidth, kShared, 1);
        a.router = weight(WeightFormat::bf16, kExperts, kWidth, 1);
        const Tensor x = activations(tokens + 61, kWidth);
        a.y = activations(tokens, kWidth);
        std::vector<int32_t> chosen(kExperts);
        const ForcedRows forced = {{"moe", row}};
        int64_t calls = 0;
        // Bytes of the experts that were chosen, on average over the calls.
        const auto bytes = [&] {
            return a.router.stored_bytes + a.shared_up.stored_bytes + a.shared_down.stored_bytes +
                   distinct_ / calls * (a.up.first.stored_bytes + a.down.first.stored_bytes);
        };
        distinct_ = 0;
        const double products = static_cast<double>(tokens) * kWidth * 2.0 * (kExperts + 2 * 6 * kHidden + 2 * kShared);
        measure(name, bytes, products, forced, [&](OpContext& context, int64_t call) {
            std::fill(chosen.begin(), chosen.end(), 0);
            a.expert_tokens = Tensor(chosen.data(), DType::i32, {kExperts});
            a.x = x.rows(call % 61, call % 61 + tokens);
            ops::moe(context, a);
            distinct_ += std::count_if(chosen.begin(), chosen.end(), [](int32_t n) { return n > 0; });
            ++calls;
        });
    }

    // `layers` caches are cycled through.
    void attention(int64_t query_heads, int64_t kv_heads, int64_t dim, int64_t rows, int64_t context_length) {
        const std::string name = fmt::format("attention simd Hq={} Hkv={} D={} rows={} context={}", query_heads,
                                             kv_heads, dim, rows, context_length);
        if (name.find(filter_) == std::string::npos) return;
        constexpr int64_t kPage = 16;
        const int64_t pages = (context_length + kPage - 1) / kPage, bytes = pages * kPage * kv_heads * dim * 2;
        const int64_t layers = std::max<int64_t>(1, memory_bytes_ / (2 * bytes));
        std::vector<int32_t> table(static_cast<size_t>(pages)), row_start = {0, static_cast<int32_t>(rows)};
        for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
        auto length = static_cast<int32_t>(context_length);
        AttentionArgs a{.query_heads = query_heads, .kv_heads = kv_heads, .head_dim = dim, .scale = 0.1f};
        a.q = activations(rows, query_heads * dim);
        a.k = activations(rows, kv_heads * dim);
        a.v = activations(rows, kv_heads * dim);
        a.out = activations(rows, query_heads * dim);
        a.sequences = {.count = 1,
                       .tokens = rows,
                       .row_start = Tensor(row_start.data(), DType::i32, {2}),
                       .context_length = Tensor(&length, DType::i32, {1}),
                       .page_table = Tensor(table.data(), DType::i32, {1, pages}),
                       .page_size = kPage,
                       .max_rows = rows,
                       .max_context = context_length,
                       .total_context = context_length};
        const double keys =
            static_cast<double>(rows) * (static_cast<double>(context_length) - 0.5 * static_cast<double>(rows - 1));
        measure(
            name, [&] { return 2 * bytes; }, 4.0 * keys * static_cast<double>(query_heads * dim), {},
            [&](OpContext& context, int64_t call) {
                std::byte* at = memory_.data() + call % layers * 2 * bytes;
                a.k_pages = Tensor(at, DType::bf16, {pages, kPage, kv_heads, dim});
                a.v_pages = Tensor(at + bytes, DType::bf16, {pages, kPage, kv_heads, dim});
                ops::attention(context, a);
            });
    }

    void mamba(int64_t rows) {
        const std::string name = fmt::format("mamba simd nh=64 P=64 N=128 G=8 rows={}", rows);
        if (name.find(filter_) == std::string::npos) return;
        constexpr int64_t kHeads = 64, kDim = 64, kState = 128, kGroups = 8, kInner = kHeads * kDim;
        constexpr int64_t kChannels = kInner + 2 * kGroups * kState, kSlots = 64;
        device::Buffer states = allocate(kSlots * kInner * kState * 4), conv = allocate(kSlots * kChannels * 3 * 2);
        std::vector<float> ones(kChannels * 4, 0.1f);
        std::fill_n(reinterpret_cast<float*>(states.data()), states.bytes() / 4, 0.5f);
        std::fill_n(reinterpret_cast<float*>(conv.data()), conv.bytes() / 4, 0.0f);
        int32_t row_start[] = {0, static_cast<int32_t>(rows)}, slot = 0, length = 1000;
        MambaArgs a{.heads = kHeads, .head_dim = kDim, .groups = kGroups, .state_size = kState, .conv_kernel = 4};
        a.u = activations(rows, kInner + kChannels + kHeads);
        a.out = activations(rows, kInner);
        a.conv_weight = Tensor(ones.data(), DType::f32, {kChannels, 4});
        for (Tensor* t : {&a.a_log, &a.d, &a.dt_bias}) *t = Tensor(ones.data(), DType::f32, {kHeads});
        a.norm_weight = Tensor(ones.data(), DType::f32, {kInner});
        a.conv_state = conv.tensor(0, DType::bf16, {kSlots, kChannels, 3});
        a.ssm_state = states.tensor(0, DType::f32, {kSlots, kHeads, kDim, kState});
        a.sequences = {.count = 1,
                       .tokens = rows,
                       .row_start = Tensor(row_start, DType::i32, {2}),
                       .context_length = Tensor(&length, DType::i32, {1}),
                       .slot = Tensor(&slot, DType::i32, {1}),
                       .max_rows = rows,
                       .max_context = 1000,
                       .total_context = 1000};
        measure(
            name, [&] { return 2 * kInner * kState * 4; }, static_cast<double>(rows * kInner * kState) * 5, {},
            [&](OpContext& context, int64_t call) {
                slot = static_cast<int32_t>(call % kSlots);
                ops::mamba(context, a);
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
    void measure(const std::string& name, const std::function<int64_t()>& read, double operations,
                 const ForcedRows& forced, Call&& call) {
        OpContext context{.device = &device_, .threads = &pool_, .arena = &arena_, .forced = &forced};
        std::vector<double> seconds;
        const auto start = Clock::now();
        for (int64_t i = 0; i < 20 || Clock::now() - start < std::chrono::milliseconds(400); ++i) {
            const double begin = seconds_now(pool_.size() == 1);
            call(context, i);
            seconds.push_back(seconds_now(pool_.size() == 1) - begin);
        }
        std::sort(seconds.begin(), seconds.end());
        const int64_t bytes = read();
        const double best = seconds.front(), median = seconds[seconds.size() / 2];
        fmt::print("{:62} {:9.1f} us  {:6.1f} GB/s best {:6.1f} median  {:3.0f}% of read  {:7.1f} GFLOP/s\n", name,
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
    int64_t distinct_ = 0;
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
    for (const char* row : {"avx512_bf16", "simd"})
        for (const int64_t tokens : {1, 2, 4, 8, 16, 128, 512}) bench.moe(tokens, row);
    for (const auto& [rows, context] :
         {std::pair<int64_t, int64_t>{1, 256}, {1, 1024}, {1, 4096}, {1, 32768}, {512, 512}, {512, 4096}}) {
        bench.attention(32, 2, 128, rows, context);
        bench.attention(9, 3, 64, rows, context);
    }
    for (const int64_t rows : {1, 2, 16, 256}) bench.mamba(rows);
    bench.linear(WeightFormat::bf16, 131072, 2688, 1, "avx512_bf16");
    bench.linear(WeightFormat::f32, 128, 2688, 1, "simd");
}

}  // namespace
}  // namespace nibble::ops

int main(int argc, char** argv) {
    int threads = 0;
    if (argc > 2) std::from_chars(argv[2], argv[2] + std::strlen(argv[2]), threads);
    nibble::ops::Bench bench(argc > 1 ? argv[1] : "", threads);
    nibble::ops::run(bench);
}
