#include "cli/bench_timing.h"

#include <algorithm>

namespace nibble::cli {
namespace {

double milliseconds(BenchClock::time_point from, BenchClock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

Result<Round> summarise(std::span<const StreamTimes> streams, int64_t concurrency) {
    if (streams.empty()) return error(ErrorCode::peer_failed, "nothing was generated");
    Round round;
    auto first = streams[0].start, last = first;
    std::vector<BenchClock::time_point> begun;
    for (size_t i = 0; i < streams.size(); ++i) {
        const StreamTimes& stream = streams[i];
        if (stream.arrivals.empty()) return error(ErrorCode::peer_failed, "request {} ended without a token", i + 1);
        first = std::min(first, stream.start);
        last = std::max(last, stream.arrivals.back());
        begun.push_back(stream.arrivals.front());
        round.first_token_ms.push_back(milliseconds(stream.start, stream.arrivals.front()));
        round.end_to_end_ms.push_back(milliseconds(stream.start, stream.arrivals.back()));
        for (size_t t = 1; t < stream.arrivals.size(); ++t)
            round.between_ms.push_back(milliseconds(stream.arrivals[t - 1], stream.arrivals[t]));
        round.prompt_tokens += stream.prompt_tokens;
        round.output_tokens += stream.output_tokens;
        round.cached_tokens += stream.cached_tokens;
        round.by_id = round.by_id && stream.by_id;
        round.no_usage = round.no_usage || stream.no_usage;
    }
    std::sort(begun.begin(), begun.end());
    const size_t many = std::min<size_t>(begun.size(), static_cast<size_t>(std::max<int64_t>(concurrency, 1)));
    const auto all_begun = begun[many - 1];
    double decoded = 0;
    int64_t prompts_begun = 0;
    for (const StreamTimes& stream : streams) {
        // A piece of text may hold several tokens: then each stands for as many as all do on average.
        const auto after = std::count_if(stream.arrivals.begin(), stream.arrivals.end(),
                                         [&](BenchClock::time_point arrival) { return arrival > all_begun; });
        decoded += static_cast<double>(after) * static_cast<double>(stream.output_tokens) /
                   static_cast<double>(stream.arrivals.size());
        if (stream.arrivals.front() <= all_begun) prompts_begun += stream.prompt_tokens;
    }
    const double decode_ms = milliseconds(all_begun, last), prefill_ms = milliseconds(first, all_begun);
    const double all_ms = milliseconds(first, last);
    round.decode_tokens_per_second = decode_ms > 0 ? decoded / decode_ms * 1e3 : 0;
    round.prefill_tokens_per_second = prefill_ms > 0 ? static_cast<double>(prompts_begun) / prefill_ms * 1e3 : 0;
    round.tokens_per_second = all_ms > 0 ? static_cast<double>(round.output_tokens) / all_ms * 1e3 : 0;
    return round;
}

double quantile(std::vector<double> values, double q) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const double at = q * static_cast<double>(values.size() - 1);
    const auto low = static_cast<size_t>(at);
    const size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

}  // namespace nibble::cli
