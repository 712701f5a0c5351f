#include "cli/task_file.h"

#include "base/files.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::cli {
namespace {

using text::Value;

constexpr uint64_t kFileLimit_bytes = uint64_t{1} << 30;
constexpr int64_t kMostTokens = int64_t{1} << 20;
constexpr std::string_view kBlank = " \t\r\n";

// One line, read field by field; the first mistake is kept.
class TaskReader {
public:
    TaskReader(std::string_view line, std::string where, Expectations expectations)
        : line_(line), expectations_(expectations) {
        task_.where = std::move(where);
    }

    Result<Task> read() {
        auto parsed = text::parse_json(line_);
        if (!parsed) return error(ErrorCode::invalid_request, "{}: {}", task_.where, parsed.error().message);
        if (!parsed->is_object()) return wrong("the line", "a JSON object");
        line_value_ = *std::move(parsed);
        TRY_VOID(read_question());
        TRY_VOID(read_settings());
        TRY_VOID(read_calls());
        TRY_VOID(read_answers());
        return std::move(task_);
    }

private:
    const Value* find(std::string_view field) const { return line_value_.find(field); }
    Error wrong(std::string_view field, std::string_view expected) const {
        return error(ErrorCode::invalid_request, "{}: {}: expected {}", task_.where, field, expected);
    }

    Result<void> read_question() {
        const Value *prompt = find("prompt"), *messages = find("messages");
        if ((prompt != nullptr) == (messages != nullptr)) return wrong("prompt, messages", "one of them");
        if (prompt != nullptr) {
            if (!prompt->is_string()) return wrong("prompt", "a string");
            task_.prompt = prompt->as_string();
            text::Object message;
            message.set("role", Value("user"));
            message.set("content", *prompt);
            task_.messages = Value(text::Array{Value(std::move(message))});
            return {};
        }
        if (!messages->is_array() || messages->as_array().empty()) return wrong("messages", "a list of messages");
        for (const Value& message : messages->as_array()) {
            const Value* role = message.find("role");
            if (role == nullptr || !role->is_string()) return wrong("messages", "objects with a role");
        }
        task_.messages = *messages;
        return {};
    }

    Result<void> read_settings() {
        if (const Value* tools = find("tools")) {
            if (!tools->is_array() || tools->as_array().empty()) return wrong("tools", "a list of tools");
            task_.tools = *tools;
        }
        if (const Value* thinking = find("thinking")) {
            if (!thinking->is_bool()) return wrong("thinking", "true or false");
            task_.thinking = thinking->as_bool();
        }
        if (const Value* most = find("max_tokens")) {
            if (!most->is_int() || most->as_int() < 1 || most->as_int() > kMostTokens)
                return wrong("max_tokens", fmt::format("a number from 1 to {}", kMostTokens));
            task_.max_tokens = most->as_int();
        }
        if (const Value* name = find("task")) {
            if (!name->is_string()) return wrong("task", "a string");
            task_.name = name->as_string();
        }
        return {};
    }

    Result<void> read_calls() {
        const Value* calls = find("calls");
        if (calls == nullptr) return {};
        if (!calls->is_array()) return wrong("calls", "a list of objects with name and arguments");
        task_.calls.emplace();
        for (const Value& call : calls->as_array()) {
            const Value *name = call.find("name"), *arguments = call.find("arguments");
            if (name == nullptr || !name->is_string() || arguments == nullptr || !arguments->is_object())
                return wrong("calls", "a list of objects with name and arguments");
            task_.calls->push_back({name->as_string(), *arguments});
        }
        return {};
    }

    Result<void> read_answers() {
        if (const Value* match = find("match")) {
            const std::string name = match->is_string() ? match->as_string() : "";
            if (name != "exact" && name != "contains" && name != "starts" && name != "json")
                return wrong("match", "exact, contains, starts or json");
            task_.match = name == "exact"      ? Match::exact
                          : name == "contains" ? Match::contains
                          : name == "starts"   ? Match::starts
                                               : Match::json;
        }
        const Value* answer = find("answer");
        if (answer == nullptr) {
            if (task_.calls || expectations_ == Expectations::optional) return {};
            return wrong("answer", "a string, or a list of them; or calls");
        }
        if (task_.match == Match::json) {
            task_.answers.push_back(*answer);
            return {};
        }
        const auto add = [&](const Value& one) {
            if (!one.is_string() || without_blanks(one.as_string()).empty()) return false;
            task_.answers.emplace_back(without_blanks(one.as_string()));
            return true;
        };
        bool good = answer->is_string() ? add(*answer) : answer->is_array() && !answer->as_array().empty();
        if (answer->is_array())
            for (const Value& one : answer->as_array()) good = add(one) && good;
        if (!good) return wrong("answer", "a string that is not empty, or a list of them");
        return {};
    }

    std::string_view line_;
    const Expectations expectations_;
    Value line_value_;
    Task task_;
};

bool is_number(const Value& value) {
    return value.is_int() || value.is_float();
}

bool is_content_right(const Task& task, std::string_view content) {
    if (task.match == Match::json) {
        const auto value = text::parse_json(content);
        return value && same_json(*value, task.answers.front());
    }
    return std::any_of(task.answers.begin(), task.answers.end(), [&](const Value& one) {
        const std::string& answer = one.as_string();
        if (task.match == Match::contains) return content.find(answer) != std::string_view::npos;
        if (task.match == Match::starts) return content.starts_with(answer);
        return content == answer;
    });
}

}  // namespace

std::string_view without_blanks(std::string_view text) {
    const size_t begin = text.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

// As deep as parse_json lets a value be.
bool same_json(const Value& a, const Value& b) {
    if (is_number(a) && is_number(b)) {
        if (a.is_int() && b.is_int()) return a.as_int() == b.as_int();
        const auto value = [](const Value& v) { return v.is_int() ? static_cast<double>(v.as_int()) : v.as_float(); };
        return value(a) == value(b);
    }
    if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
    if (a.is_bool() && b.is_bool()) return a.as_bool() == b.as_bool();
    if (a.is_none() && b.is_none()) return true;
    if (a.is_array() && b.is_array())
        return std::equal(a.as_array().begin(), a.as_array().end(), b.as_array().begin(), b.as_array().end(),
                          same_json);
    if (!a.is_object() || !b.is_object() || a.as_object().size() != b.as_object().size()) return false;
    const auto& entries = a.as_object().entries();
    return std::all_of(entries.begin(), entries.end(), [&](const auto& entry) {
        const Value* other = b.find(entry.first);
        return other != nullptr && same_json(entry.second, *other);
    });
}

Result<std::vector<Task>> read_tasks(const std::filesystem::path& file, Expectations expectations) {
    TRY(const std::string text, read_whole_file(file, kFileLimit_bytes));
    std::vector<Task> tasks;
    std::string_view rest = text;
    for (int number = 1; !rest.empty(); ++number) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = without_blanks(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.empty()) continue;
        TRY(Task task, TaskReader(line, fmt::format("{}:{}", file.string(), number), expectations).read());
        tasks.push_back(std::move(task));
    }
    if (tasks.empty()) return error(ErrorCode::invalid_request, "{}: expected tasks, found none", file.string());
    return tasks;
}

bool is_right(const Task& task, std::string_view content, const std::vector<Task::Call>& calls) {
    if (task.calls && !std::equal(task.calls->begin(), task.calls->end(), calls.begin(), calls.end(),
                                  [](const Task::Call& a, const Task::Call& b) {
                                      return a.name == b.name && same_json(a.arguments, b.arguments);
                                  }))
        return false;
    return task.answers.empty() ? task.calls.has_value() : is_content_right(task, content);
}

}  // namespace nibble::cli
