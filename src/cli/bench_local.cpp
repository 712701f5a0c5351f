#include "cli/bench_local.h"

#include "model/model.h"
#include "numeric/philox.h"
#include "ops/bandwidth.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

namespace nibble::cli {
namespace {

constexpr int kProfiledSteps = 12;  // the first fills the context and is not counted

void wait_idle(Session& session) {
    while (!session.engine().idle()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

std::vector<int32_t> random_prompt(int64_t tokens, int64_t vocab, uint64_t seed, uint64_t request) {
    std::vector<int32_t> prompt(static_cast<size_t>(tokens));
    for (size_t i = 0; i < prompt.size(); ++i) {
        const auto words = numeric::philox(seed, i, request);
        prompt[i] = static_cast<int32_t>((uint64_t{words.word[0]} * static_cast<uint64_t>(vocab)) >> 32);
    }
    return prompt;
}

Result<std::vector<StreamTimes>> run_local(Session& session, std::span<const std::vector<int32_t>> prompts,
                                           int64_t max_tokens) {
    std::mutex mutex;
    std::condition_variable ready;
    uint64_t events = 0, seen = 0;
    std::vector<StreamTimes> times(prompts.size());
    // When each event of a stream came, as the engine's thread tells: this one may be late, and see several at once.
    std::vector<std::vector<BenchClock::time_point>> came(prompts.size());
    std::vector<size_t> taken(prompts.size());
    std::vector<std::unique_ptr<engine::RequestStream>> streams(prompts.size());
    const auto start = BenchClock::now();
    for (size_t i = 0; i < prompts.size(); ++i) {
        times[i].start = start;
        times[i].prompt_tokens = static_cast<int64_t>(prompts[i].size());
        engine::Request request;
        request.id = fmt::format("bench-{}", i);
        request.prompt = prompts[i];
        request.sampling = {.temperature = 0, .max_tokens = static_cast<int>(max_tokens), .ignore_eos = true};
        TRY(streams[i], session.engine().submit(std::move(request), [&, i] {
            const std::lock_guard lock(mutex);
            came[i].push_back(BenchClock::now());
            ++events;
            ready.notify_one();
        }));
    }
    std::vector<bool> done(prompts.size());
    for (size_t open = streams.size(); open > 0;) {
        {
            std::unique_lock lock(mutex);
            ready.wait(lock, [&] { return events != seen; });
            seen = events;
        }
        const auto now = BenchClock::now();
        for (size_t i = 0; i < streams.size(); ++i) {
            while (!done[i]) {
                const auto event = streams[i]->try_next();
                if (!event) break;
                if (event->finish == engine::FinishReason::numerical_error)
                    return error(ErrorCode::internal, "a logit is not a number");
                times[i].cached_tokens = event->cached_tokens;
                if (event->token >= 0) {
                    const std::lock_guard lock(mutex);
                    times[i].arrivals.push_back(taken[i] < came[i].size() ? came[i][taken[i]] : now);
                }
                ++taken[i];
                if (event->finish != engine::FinishReason::none) {
                    done[i] = true;
                    --open;
                }
            }
        }
    }
    for (StreamTimes& stream : times) stream.output_tokens = static_cast<int64_t>(stream.arrivals.size());
    return times;
}

double probe_bandwidth(Session& session) {
    wait_idle(session);
    if (!session.device().is_cpu()) return session.bandwidth();
    const int64_t bytes = std::clamp(8 * session.device().l2_bytes, int64_t{64} << 20, int64_t{1} << 30);
    const auto measured = ops::measure_read_bandwidth(session.threads(), bytes);
    return measured ? *measured * 1e9 : session.bandwidth();
}

ops::ExpertCounts::Lists counted_experts(Session& session) {
    wait_idle(session);
    return session.executor().expert_counts();
}

Result<ops::Program> profile_decode(Session& session, int64_t concurrency, int64_t prompt_tokens, uint64_t seed) {
    wait_idle(session);
    const engine::ExecutorLimits& limits = session.executor().limits();
    const int64_t first = std::max<int64_t>(1, std::min(prompt_tokens, limits.max_step_tokens / concurrency));
    const int64_t each = limits.page_size > 0 ? (first + kProfiledSteps + limits.page_size - 1) / limits.page_size : 0;
    if (each * concurrency > limits.pages || first + kProfiledSteps > limits.max_context)
        return error(ErrorCode::does_not_fit, "--profile: {} sequences of {} tokens do not fit the cache", concurrency,
                     first + kProfiledSteps);
    engine::SamplingParams sampling{.temperature = 0};
    std::vector<std::vector<int32_t>> pages(static_cast<size_t>(concurrency)), tokens(pages.size());
    for (size_t b = 0; b < pages.size(); ++b) {
        pages[b].resize(static_cast<size_t>(each));
        std::iota(pages[b].begin(), pages[b].end(), static_cast<int32_t>(static_cast<int64_t>(b) * each));
    }
    ops::Program best;
    double best_time = 0;
    int64_t position = 0;
    for (int round = 0; round < kProfiledSteps; ++round) {
        engine::StepPlan plan;
        const int64_t count = round == 0 ? first : 1;
        for (size_t b = 0; b < pages.size(); ++b) {
            tokens[b] = random_prompt(count, limits.vocab_size, seed,
                                      (uint64_t{1} << 32) + static_cast<uint64_t>(round) * pages.size() + b);
            plan.rows.push_back({.sequence = static_cast<int64_t>(b),
                                 .tokens = tokens[b],
                                 .position = position,
                                 .pages = pages[b],
                                 .slot = static_cast<int32_t>(b),
                                 .sample = true,
                                 .sampling = &sampling,
                                 .prompt = tokens[b]});
            plan.tokens += count;
        }
        std::vector<engine::RowResult> results(plan.rows.size());
        ops::Program program = session.executor().profile(plan, results);
        const ops::Program recorded = model::record(session.model(), session.device(), concurrency, count, position);
        if (const std::string other = find_other_row(program, recorded); !other.empty())
            return error(ErrorCode::internal, "what ran is not what is recorded: {}", other);
        position += count;
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

double mean_distinct_experts(const ops::Program& program) {
    double sum = 0;
    int layers = 0;
    for (const ops::ProgramStep& step : program.steps) {
        if (step.cost.distinct_experts <= 0) continue;
        sum += step.cost.distinct_experts;
        ++layers;
    }
    return layers > 0 ? sum / layers : 0;
}

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

std::string find_other_row(const ops::Program& ran, const ops::Program& recorded) {
    const auto named = [](const ops::ProgramStep& step) {
        return fmt::format("{} {} ({} {})", step.module, step.op, step.format, step.shape);
    };
    if (ran.steps.size() < recorded.steps.size())
        return fmt::format("{} operations ran, {} are recorded", ran.steps.size(), recorded.steps.size());
    for (size_t i = 0; i < ran.steps.size(); ++i) {
        const ops::ProgramStep& step = ran.steps[i];
        if (i >= recorded.steps.size()) {
            if (step.op != "sample") return fmt::format("{} ran and is not recorded", named(step));
            continue;
        }
        const ops::ProgramStep& planned = recorded.steps[i];
        if (step.op != planned.op || step.module != planned.module)
            return fmt::format("operation {} is {}, recorded is {}", i + 1, named(step), named(planned));
        if (step.row != planned.row)
            return fmt::format("{} ran by row {}, recorded is {}", named(step), step.row, planned.row);
    }
    return {};
}

}  // namespace nibble::cli
