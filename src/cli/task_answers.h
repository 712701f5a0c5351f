// TaskAnswers: the tasks of a file asked of a session's model, and what it says.
#pragma once

#include "base/result.h"
#include "cli/task_file.h"
#include "server/generation_fields.h"
#include "server/served_model.h"
#include "text/output_parser.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace nibble::cli {

// A task as the model reads it: what a server would make of the same request.
struct TaskPrompt {
    std::vector<engine::TokenId> ids;
    server::GenerationParams params;  // greedy
    std::optional<text::OutputParserOptions> parser;
};

// max_tokens: of an answer whose task does not say. Errors: what is wrong with the task, naming its line.
Result<TaskPrompt> task_prompt(const Task& task, const server::ServedModel& model, int64_t max_tokens);

struct TaskAnswer {
    std::string content;
    std::vector<Task::Call> calls;
    bool right = false, cut = false;  // cut: max_tokens were not enough
};

// Greedy answers to all tasks, several at once. Errors: what the first task that cannot be asked says; cancelled.
Result<std::vector<TaskAnswer>> answer_tasks(const std::vector<Task>& tasks, const server::ServedModel& model,
                                             int64_t max_tokens, int64_t at_once, const std::atomic<bool>& stop,
                                             const std::function<void(int64_t done)>& progress);

}  // namespace nibble::cli
