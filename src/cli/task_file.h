// TaskFile: questions with exact answers, one JSON object a line.
//
//   {"prompt": "…"} or {"messages": [{"role": …, "content": …}, …]}   a prompt is one user message; where the model has
//                                                                     no chat template, a text to be continued
//   "tools": [{"type": "function", "function": {…}}, …]               that the model may call, as in a request
//   "thinking": true or false                                         switches reasoning where the template can
//   "max_tokens": 200                                                 of this answer
//   "answer": "…" or ["…", …]                                         any of them is right
//   "match": "exact" (default), "contains", "starts", "json"          of the answer's content, blanks trimmed; json:
//   the
//                                                                     answer is a value, and the content the same one
//   "calls": [{"name": "…", "arguments": {…}}, …]                     the calls that are right, in this order; with an
//                                                                     answer, both must be right
//   "task": "…"                                                       a name to count by
#pragma once

#include "base/result.h"
#include "text/value.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

enum class Match : uint8_t { exact, contains, starts, json };

struct Task {
    struct Call {
        std::string name;
        text::Value arguments;  // an object; of an answer that is no JSON: none
    };
    std::string name, where;  // "FILE:3"
    text::Value messages;     // an array
    std::string prompt;       // of one message; without a template it is what is continued
    text::Value tools;        // an array, or none
    std::optional<bool> thinking;
    std::optional<int64_t> max_tokens;
    std::vector<text::Value> answers;  // strings, but for Match::json; none: only calls count
    Match match = Match::exact;
    std::optional<std::vector<Call>> calls;
};

enum class Expectations : uint8_t { required, optional };  // optional: of a prompt that is only continued

// Errors: not_found, io, invalid_request naming file, line and field.
Result<std::vector<Task>> read_tasks(const std::filesystem::path& file,
                                     Expectations expectations = Expectations::required);

bool is_right(const Task& task, std::string_view content, const std::vector<Task::Call>& calls);

// Equal as JSON: numbers by value (3 is 3.0), objects whatever the order of their keys.
bool same_json(const text::Value& a, const text::Value& b);

std::string_view without_blanks(std::string_view text);  // at its ends

}  // namespace nibble::cli
