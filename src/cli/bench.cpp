// bench: how fast this machine runs a model, beside what its memory allows.
//
// In-process, through the engine that serve uses. Prompts are random token ids, different in every request. The ceiling
// is the read bandwidth probed in the same run over the bytes of the recorded Program, so a share is printed with every
// figure. Decoding is timed from the moment when every sequence has its first token.
#include "base/files.h"
#include "cli/flags.h"
#include "cli/model_flags.h"
#include "cli/option_checks.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "numeric/philox.h"
#include "ops/bandwidth.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace nibble::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchFlags {
    ModelFlags model;
    std::vector<int64_t> concurrency = {1}, prompt_tokens = {128};
    int64_t output_tokens = 128, repeats = 3;
    uint64_t seed = 1;
    bool same_prompt = false, profile = false, json = false;
};

double ms_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

double quantile(std::vector<double> values, double q) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const double at = q * static_cast<double>(values.size() - 1);
    const auto low = static_cast<size_t>(at);
    const size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

std::vector<engine::TokenId> random_prompt(int64_t tokens, int64_t vocab, uint64_t seed, uint64_t request) {
    std::vector<engine::TokenId> prompt(static_cast<size_t>(tokens));
    for (size_t i = 0; i < prompt.size(); ++i) {
        const auto words = numeric::philox(seed, i, request);
        prompt[i] = static_cast<engine::TokenId>((uint64_t{words.word[0]} * static_cast<uint64_t>(vocab)) >> 32);
    }
    return prompt;
}

// Bytes per second that memory gives at this moment. Other machines on the same host share a processor's memory, so
// every round is held against the better of the probes before and after it; a GPU's memory is its own, and is probed
// once. The engine must be idle.
double probe(Session& session) {
    while (!session.engine().idle()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!session.device().is_cpu()) return session.bandwidth();
    const int64_t bytes = std::clamp(8 * session.device().l2_bytes, int64_t{64} << 20, int64_t{1} << 30);
    const auto measured = ops::measure_read_bandwidth(session.threads(), bytes);
    return measured ? *measured * 1e9 : session.bandwidth();
}

// One round: `concurrency` requests at once, from the first submission to the last token.
struct Round {
    double decode_tokens_per_second = 0;   // all sequences together
    double prefill_tokens_per_second = 0;  // prompt tokens until every sequence has its first token
    std::vector<double> first_token_ms, between_ms;
};

Result<Round> run_round(Session& session, const BenchFlags& flags, int64_t concurrency, int64_t prompt_tokens,
                        uint64_t& next_request) {
    struct Stream {
        std::unique_ptr<engine::RequestStream> tokens;
        std::vector<Clock::time_point> arrivals;
        bool done = false;
    };
    std::vector<Stream> streams(static_cast<size_t>(concurrency));
    const int64_t vocab = session.model().spec().vocab_size;
    std::mutex mutex;
    std::condition_variable ready;
    uint64_t events = 0, seen = 0;
    const auto start = Clock::now();
    for (Stream& stream : streams) {
        engine::Request request;
        request.id = fmt::format("bench-{}", next_request);
        request.prompt = random_prompt(prompt_tokens, vocab, flags.seed, flags.same_prompt ? 0 : next_request);
        ++next_request;
        request.sampling = {.temperature = 0, .max_tokens = static_cast<int>(flags.output_tokens), .ignore_eos = true};
        TRY(stream.tokens, session.engine().submit(std::move(request), [&] {
            const std::lock_guard lock(mutex);
            ++events;
            ready.notify_one();
        }));
    }
    for (size_t open = streams.size(); open > 0;) {
        {
            std::unique_lock lock(mutex);
            ready.wait(lock, [&] { return events != seen; });
            seen = events;
        }
        const auto now = Clock::now();
        for (Stream& stream : streams) {
            if (stream.done) continue;
            while (auto event = stream.tokens->try_next()) {
                if (event->finish == engine::FinishReason::numerical_error)
                    return error(ErrorCode::internal, "a logit is not a number");
                if (event->token >= 0) stream.arrivals.push_back(now);
                if (event->finish != engine::FinishReason::none) {
                    stream.done = true;
                    --open;
                    break;
                }
            }
        }
    }
    Round round;
    auto all_started = start, last = start;
    for (const Stream& stream : streams) {
        if (stream.arrivals.empty()) return error(ErrorCode::internal, "a request ended without a token");
        all_started = std::max(all_started, stream.arrivals.front());
        last = std::max(last, stream.arrivals.back());
        round.first_token_ms.push_back(ms_between(start, stream.arrivals.front()));
        for (size_t i = 1; i < stream.arrivals.size(); ++i)
            round.between_ms.push_back(ms_between(stream.arrivals[i - 1], stream.arrivals[i]));
    }
    int64_t decoded = 0;
    for (const Stream& stream : streams)
        decoded += std::count_if(stream.arrivals.begin(), stream.arrivals.end(),
                                 [&](Clock::time_point arrival) { return arrival > all_started; });
    const double decode_ms = ms_between(all_started, last);
    round.decode_tokens_per_second = decode_ms > 0 ? static_cast<double>(decoded) / decode_ms * 1e3 : 0;
    round.prefill_tokens_per_second =
        static_cast<double>(concurrency * prompt_tokens) / ms_between(start, all_started) * 1e3;
    return round;
}

// The profile's steps summed by op and format, in the order of their share.
struct ProfileLine {
    std::string what, row;
    int64_t count = 0, bytes = 0;
    double microseconds = 0;
};

std::vector<ProfileLine> summed(const ops::Program& program) {
    std::map<std::string, ProfileLine> lines;
    for (const ops::ProgramStep& step : program.steps) {
        const std::string what = step.format.empty() ? step.op : fmt::format("{} {}", step.op, step.format);
        ProfileLine& line = lines[what + "/" + step.row];
        line.what = what;
        line.row = step.row;
        ++line.count;
        line.bytes += step.cost.memory_bytes();
        line.microseconds += step.microseconds;
    }
    std::vector<ProfileLine> sorted;
    for (auto& [key, line] : lines) sorted.push_back(std::move(line));
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.microseconds > b.microseconds; });
    return sorted;
}

// Decode steps of `concurrency` sequences, each operation waited for: the engine must be idle.
ops::Program profile_decode(Session& session, const BenchFlags& flags, int64_t concurrency, int64_t prompt_tokens) {
    const engine::ExecutorLimits& limits = session.executor().limits();
    const int64_t each = limits.page_size > 0 ? (prompt_tokens + 64 + limits.page_size - 1) / limits.page_size : 0;
    engine::SamplingParams sampling{.temperature = 0};
    std::vector<std::vector<int32_t>> pages(static_cast<size_t>(concurrency));
    std::vector<std::vector<engine::TokenId>> tokens(static_cast<size_t>(concurrency));
    ops::Program best;
    double best_time = 0;
    for (int64_t position = 0, round = 0; round < 12; ++round) {
        engine::StepPlan plan;
        for (int64_t b = 0; b < concurrency; ++b) {
            auto& its = pages[static_cast<size_t>(b)];
            its.resize(static_cast<size_t>(each));
            std::iota(its.begin(), its.end(), static_cast<int32_t>(b * each));
            // A few tokens first, so that what follows are decode steps with a context.
            const int64_t count = round == 0 ? std::min(prompt_tokens, limits.max_step_tokens / concurrency) : 1;
            tokens[static_cast<size_t>(b)] =
                random_prompt(count, limits.vocab_size, flags.seed, static_cast<uint64_t>(900 + round * 64 + b));
            plan.rows.push_back({.sequence = b,
                                 .tokens = tokens[static_cast<size_t>(b)],
                                 .position = position,
                                 .pages = its,
                                 .slot = static_cast<int32_t>(b),
                                 .sample = true,
                                 .sampling = &sampling,
                                 .prompt = tokens[static_cast<size_t>(b)]});
            plan.tokens += count;
        }
        position += static_cast<int64_t>(tokens[0].size());
        std::vector<engine::RowResult> results(plan.rows.size());
        ops::Program program = session.executor().profile(plan, results);
        if (round == 0) continue;
        const double time = std::accumulate(program.steps.begin(), program.steps.end(), 0.0,
                                            [](double sum, const auto& step) { return sum + step.microseconds; });
        if (best.steps.empty() || time < best_time) {
            best = std::move(program);
            best_time = time;
        }
    }
    return best;
}

Result<int> bench(const BenchFlags& flags, const Settings& settings) {
    if (flags.model.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    if (flags.model.model.empty()) return error(ErrorCode::usage, "MODEL is required: a folder, or org/name");
    const int64_t most = *std::max_element(flags.concurrency.begin(), flags.concurrency.end());
    ModelFlags model = flags.model;
    if (!model.max_num_seqs) model.max_num_seqs = most;
    if (!model.max_model_len)
        model.max_model_len =
            *std::max_element(flags.prompt_tokens.begin(), flags.prompt_tokens.end()) + flags.output_tokens + 80;

    ProgressBar bar(stderr_is_terminal());
    SessionOptions options;
    options.text = false;
    options.measure_bandwidth = true;
    options.remark = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
    options.progress = [&](std::string_view stage, int64_t bytes, int64_t total) { bar.update(stage, bytes, total); };
    auto opened = Session::open(model, options);
    bar.clear();
    if (!opened) return std::move(opened).error();
    Session& session = **opened;
    double bandwidth = probe(session);

    nlohmann::ordered_json record = {{"model", flags.model.model},
                                     {"random_weights", flags.model.random_weights},
                                     {"version", version()},
                                     {"commit", commit()},
                                     {"device", session.device().name},
                                     {"threads", session.device().is_cpu() ? session.threads().size() : 0},
                                     {"weight_bytes", session.model().spec().weight_bytes},
                                     {"prompts", flags.same_prompt ? "identical" : "distinct random ids"},
                                     {"seed", flags.seed}};
    if (!flags.json) {
        fmt::print("{}{} on {}, {} weights, {:.2f} GB\n", flags.model.model,
                   flags.model.random_weights ? " (random weights)" : "", session.device().name,
                   session.model().spec().family, static_cast<double>(session.model().spec().weight_bytes) / 1e9);
        if (flags.same_prompt)
            fmt::print("IDENTICAL PROMPTS: sequences share experts; not comparable with distinct ones\n");
        fmt::print("{:>6} {:>7} {:>7} | {:>10} {:>10} {:>9} {:>9} {:>7} | {:>11} {:>9} {:>9}\n", "conc", "prompt",
                   "output", "decode t/s", "spread", "MB/step", "read GB/s", "share", "prefill t/s", "TTFT ms",
                   "ITL ms");
    }
    uint64_t next_request = 1;
    for (const int64_t prompt : flags.prompt_tokens) {
        for (const int64_t concurrency : flags.concurrency) {
            std::vector<double> decode, prefill, first, between, bandwidths, shares;
            const ops::Cost cost =
                model::record(session.model(), session.device(), concurrency, 1, prompt + flags.output_tokens / 2)
                    .total();
            const double bytes = static_cast<double>(cost.memory_bytes());
            for (int64_t repeat = -1; repeat < flags.repeats; ++repeat) {  // the first warms up and is not counted
                TRY(const Round round, run_round(session, flags, concurrency, prompt, next_request));
                const double before = std::exchange(bandwidth, probe(session));
                if (repeat < 0) continue;
                bandwidths.push_back(std::max(before, bandwidth));
                shares.push_back(bytes * round.decode_tokens_per_second / static_cast<double>(concurrency) /
                                 std::max(bandwidths.back(), 1.0));
                decode.push_back(round.decode_tokens_per_second);
                prefill.push_back(round.prefill_tokens_per_second);
                first.insert(first.end(), round.first_token_ms.begin(), round.first_token_ms.end());
                between.insert(between.end(), round.between_ms.begin(), round.between_ms.end());
            }
            const double median = quantile(decode, 0.5), low = quantile(decode, 0), high = quantile(decode, 1);
            const double share = quantile(shares, 0.5);
            record["runs"].push_back({{"concurrency", concurrency},
                                      {"prompt_tokens", prompt},
                                      {"output_tokens", flags.output_tokens},
                                      {"repeats", flags.repeats},
                                      {"decode_tokens_per_second", median},
                                      {"decode_low", low},
                                      {"decode_high", high},
                                      {"bytes_per_step", cost.memory_bytes()},
                                      {"expected_distinct_experts", cost.distinct_experts},
                                      {"read_bandwidth_gb_s", quantile(bandwidths, 0.5) / 1e9},
                                      {"share_of_bandwidth", share},
                                      {"prefill_tokens_per_second", quantile(prefill, 0.5)},
                                      {"ttft_ms_p50", quantile(first, 0.5)},
                                      {"ttft_ms_p99", quantile(first, 0.99)},
                                      {"inter_token_ms_p50", quantile(between, 0.5)},
                                      {"inter_token_ms_p99", quantile(between, 0.99)}});
            if (!flags.json) {
                fmt::print(
                    "{:>6} {:>7} {:>7} | {:>10.1f} {:>10} {:>9.1f} {:>9.1f} {:>6.1f}% | {:>11.0f} {:>9.1f} {:>9.2f}\n",
                    concurrency, prompt, flags.output_tokens, median, fmt::format("{:.0f}-{:.0f}", low, high),
                    bytes / 1e6, quantile(bandwidths, 0.5) / 1e9, share * 100, quantile(prefill, 0.5),
                    quantile(first, 0.5), quantile(between, 0.5));
                std::fflush(stdout);
            }
        }
    }
    if (flags.profile) {
        while (!session.engine().idle()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        for (const int64_t concurrency : flags.concurrency) {
            const auto lines = summed(profile_decode(session, flags, concurrency, flags.prompt_tokens.front()));
            double all = 0;
            for (const ProfileLine& line : lines) all += line.microseconds;
            if (!flags.json)
                fmt::print(
                    "\nprofile of a decode step, concurrency {}: each operation is waited for, so the sum exceeds a "
                    "step\n{:<20} {:<14} {:>6} {:>11} {:>8} {:>9} {:>9} {:>8}\n",
                    concurrency, "op", "row", "count", "us", "% time", "MB", "GB/s", "% band");
            for (const ProfileLine& line : lines) {
                const double rate =
                    line.microseconds > 0 ? static_cast<double>(line.bytes) / line.microseconds / 1e3 : 0;
                record["profile"].push_back({{"concurrency", concurrency},
                                             {"op", line.what},
                                             {"row", line.row},
                                             {"count", line.count},
                                             {"microseconds", line.microseconds},
                                             {"bytes", line.bytes}});
                if (!flags.json)
                    fmt::print("{:<20} {:<14} {:>6} {:>11.1f} {:>7.1f}% {:>9.1f} {:>9.1f} {:>7.1f}%\n", line.what,
                               line.row, line.count, line.microseconds, line.microseconds / all * 100,
                               static_cast<double>(line.bytes) / 1e6, rate,
                               bandwidth > 0 ? rate * 1e9 / bandwidth * 100 : 0);
            }
        }
    }
    if (flags.json) fmt::print("{}\n", record.dump(2));
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

void add_bench(CLI::App& program, Action& action) {
    const auto flags = std::make_shared<BenchFlags>();
    CLI::App& verb = *program.add_subcommand("bench", "Measure speed beside the ceiling of this machine's memory");
    add_model_flags(verb, flags->model);
    verb.add_option("--concurrency", flags->concurrency, "Sequences at once; several are measured in turn")
        ->delimiter(',')
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 1024));
    verb.add_option("--prompt-tokens", flags->prompt_tokens, "Tokens of a prompt; several are measured in turn")
        ->delimiter(',')
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 1 << 20));
    verb.add_option("--output-tokens", flags->output_tokens, "Tokens generated for each prompt")
        ->capture_default_str()
        ->check(in_range<int64_t>(2, 1 << 20));
    verb.add_option("--repeats", flags->repeats, "Counted rounds after one to warm up; the median is shown")
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 1000));
    verb.add_option("--seed", flags->seed, "Of the prompts")->capture_default_str();
    verb.add_flag("--same-prompt", flags->same_prompt, "One prompt for all (not comparable; labelled)");
    verb.add_flag("--profile", flags->profile, "Time, bytes and bandwidth of each operation of a decode step");
    verb.add_flag("--json", flags->json, "One JSON record on stdout");
    verb.callback([flags, &action] { action = [flags](const Settings& settings) { return bench(*flags, settings); }; });
}

}  // namespace nibble::cli
