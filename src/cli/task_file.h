// TaskFile: questions with exact answers, one JSON object a line, asked of a session's model.
//
//   {"prompt": "…"} or {"messages": [{"role": …, "content": …}, …]}   a prompt is one user message; where the model has
//                                                                     no chat template, a text to be continued
//   "answer": "…" or ["…", …]                                         any of them is right
//   "match": "exact" (default), "contains", "starts"                  of the answer's content, blanks trimmed
//   "task": "…"                                                       a name to count by
#pragma once

#include "base/result.h"
#include "server/served_model.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace nibble::cli {

enum class Match : uint8_t { exact, contains, starts };

struct Task {
    std::string name, where;  // "FILE:3"
    text::Value messages;     // an array
    std::string prompt;       // of one message; without a template it is what is continued
    std::vector<std::string> answers;
    Match match = Match::exact;
};

// Errors: not_found, io, invalid_request naming file, line and field.
Result<std::vector<Task>> read_tasks(const std::filesystem::path& file);

bool is_right(const Task& task, std::string_view content);

struct TaskAnswer {
    std::string content;
    bool right = false, cut = false;  // cut: max_tokens were not enough
};

// Greedy answers to all tasks, several at once. Errors: what the first task that cannot be asked says; cancelled.
Result<std::vector<TaskAnswer>> answer_tasks(const std::vector<Task>& tasks, const server::ServedModel& model,
                                             int64_t max_tokens, int64_t at_once, const std::atomic<bool>& stop,
                                             const std::function<void(int64_t done)>& progress);

}  // namespace nibble::cli
