#include "cli/draft_acceptance.h"

#include "cli/task_answers.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

namespace nibble::cli {
namespace {

using engine::TokenId;

struct Answering {
    const Task* task = nullptr;
    std::vector<TokenId> tokens;  // prompt and answer
    engine::SamplingParams sampling;
    std::vector<int32_t> pages;
    int32_t slot = 0;
    TokenId drafted = -1;  // for the token that comes next; -1: none yet
    bool done = false;
    DraftCount count;

    engine::StepRow row(size_t begin, size_t count_of_tokens, bool sample) const {
        return {.sequence = slot,
                .tokens = std::span(tokens).subspan(begin, count_of_tokens),
                .position = static_cast<int64_t>(begin),
                .pages = pages,
                .slot = slot,
                .sample = sample,
                .sampling = &sampling,
                .prompt = tokens};
    }
    void choose(TokenId token) {
        if (drafted >= 0) {
            ++count.proposed;
            count.accepted += token == drafted;
        }
        tokens.push_back(token);
        ++count.tokens;
        done = count.tokens >= sampling.max_tokens ||
               std::find(sampling.stop_ids.begin(), sampling.stop_ids.end(), token) != sampling.stop_ids.end();
    }
};

// One step and the draft behind it. following: of rows that do not sample, the token after the row's last.
Result<void> step(engine::ModelExecutor& executor, const engine::StepPlan& plan, std::span<Answering* const> rows,
                  TokenId following) {
    std::vector<engine::RowResult> results(rows.size());
    executor.run(plan, results);
    std::vector<TokenId> next, drafted(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
        if (results[i].numerical_error)
            return error(ErrorCode::internal, "{}: the model computed something that is no number",
                         rows[i]->task->where);
        next.push_back(plan.rows[i].sample ? results[i].token : following);
    }
    executor.draft(plan, next, drafted);
    for (size_t i = 0; i < rows.size(); ++i) {
        if (!plan.rows[i].sample) continue;
        rows[i]->choose(next[i]);
        rows[i]->drafted = drafted[i];
    }
    return {};
}

Result<void> read_prompt(engine::ModelExecutor& executor, Answering& answering) {
    const size_t length = answering.tokens.size(), most = static_cast<size_t>(executor.limits().max_step_tokens);
    for (size_t begin = 0; begin < length; begin += most) {
        const size_t count = std::min(most, length - begin);
        const bool last = begin + count == length;
        engine::StepPlan plan{.rows = {answering.row(begin, count, last)},
                              .tokens = static_cast<int64_t>(count),
                              .logit_rows = last ? 1 : 0};
        Answering* const row = &answering;
        TRY_VOID(step(executor, plan, {&row, 1}, last ? 0 : answering.tokens[begin + count]));
    }
    return {};
}

}  // namespace

DraftCount& DraftCount::operator+=(const DraftCount& other) {
    accepted += other.accepted;
    proposed += other.proposed;
    tokens += other.tokens;
    return *this;
}

Result<std::vector<DraftCount>> count_accepted(const std::vector<Task>& tasks, Session& session, int64_t max_tokens,
                                               const std::atomic<bool>& stop,
                                               const std::function<void(int64_t)>& progress) {
    engine::ModelExecutor& executor = session.executor();
    const engine::ExecutorLimits& limits = executor.limits();
    std::vector<DraftCount> counts;
    while (counts.size() < tasks.size()) {
        // As many tasks together as there are places and pages for.
        std::vector<Answering> together;
        int64_t pages = 0;
        for (size_t i = counts.size(); i < tasks.size() && static_cast<int64_t>(together.size()) < limits.slots; ++i) {
            TRY(TaskPrompt prompt, task_prompt(tasks[i], session.served_model(), max_tokens));
            const int64_t tokens = static_cast<int64_t>(prompt.ids.size()) + prompt.params.sampling.max_tokens;
            const int64_t each = limits.pages > 0 ? (tokens + limits.page_size - 1) / limits.page_size : 0;
            if (pages + each > limits.pages) {
                if (together.empty())
                    return error(ErrorCode::does_not_fit, "{}: {} tokens do not fit in {} pages of {}", tasks[i].where,
                                 tokens, limits.pages, limits.page_size);
                break;
            }
            Answering& one = together.emplace_back();
            one.task = &tasks[i];
            one.tokens = std::move(prompt.ids);
            one.tokens.reserve(static_cast<size_t>(tokens));
            one.sampling = std::move(prompt.params.sampling);
            one.slot = static_cast<int32_t>(together.size()) - 1;
            one.pages.resize(static_cast<size_t>(each));
            std::iota(one.pages.begin(), one.pages.end(), static_cast<int32_t>(pages));
            pages += each;
        }
        for (Answering& one : together) TRY_VOID(read_prompt(executor, one));
        for (;;) {
            if (stop) return error(ErrorCode::cancelled, "interrupted");
            engine::StepPlan plan;
            std::vector<Answering*> rows;
            for (Answering& one : together) {
                if (one.done || plan.tokens == limits.max_step_tokens) continue;
                plan.rows.push_back(one.row(one.tokens.size() - 1, 1, true));
                rows.push_back(&one);
                ++plan.tokens;
                ++plan.logit_rows;
            }
            if (rows.empty()) break;
            TRY_VOID(step(executor, plan, rows, 0));
        }
        for (const Answering& one : together) counts.push_back(one.count);
        progress(static_cast<int64_t>(counts.size()));
    }
    return counts;
}

}  // namespace nibble::cli
