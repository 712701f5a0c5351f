#include "cli/task_file.h"

#include "base/files.h"
#include "base/in_quotes.h"
#include "engine/engine.h"
#include "server/chat_prompt.h"
#include "server/choice_text.h"
#include "server/generation_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>

namespace nibble::cli {
namespace {

using namespace std::chrono_literals;
using text::Value;

constexpr uint64_t kFileLimit_bytes = uint64_t{1} << 30;
constexpr std::string_view kBlank = " \t\r\n";

std::string_view trimmed(std::string_view text) {
    const size_t begin = text.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

Result<Task> read_task(std::string_view line, std::string where) {
    const auto wrong = [&](std::string_view field, std::string_view expected) {
        return error(ErrorCode::invalid_request, "{}: {}: expected {}", where, field, expected);
    };
    auto parsed = text::parse_json(line);
    if (!parsed) return error(ErrorCode::invalid_request, "{}: {}", where, parsed.error().message);
    if (!parsed->is_object()) return wrong("the line", "a JSON object");
    Task task;
    const Value *prompt = parsed->find("prompt"), *messages = parsed->find("messages");
    if ((prompt != nullptr) == (messages != nullptr)) return wrong("prompt, messages", "one of them");
    if (prompt != nullptr) {
        if (!prompt->is_string()) return wrong("prompt", "a string");
        task.prompt = prompt->as_string();
        text::Object message;
        message.set("role", Value("user"));
        message.set("content", *prompt);
        task.messages = Value(text::Array{Value(std::move(message))});
    } else {
        if (!messages->is_array() || messages->as_array().empty()) return wrong("messages", "a list of messages");
        for (const Value& message : messages->as_array()) {
            const Value* role = message.find("role");
            if (role == nullptr || !role->is_string()) return wrong("messages", "objects with a role");
        }
        task.messages = *messages;
    }
    const Value* answer = parsed->find("answer");
    if (answer == nullptr) return wrong("answer", "a string, or a list of them");
    const auto add = [&](const Value& one) {
        if (one.is_string()) task.answers.emplace_back(trimmed(one.as_string()));
        return one.is_string() && !task.answers.back().empty();
    };
    bool good = answer->is_string() ? add(*answer) : answer->is_array() && !answer->as_array().empty();
    if (answer->is_array())
        for (const Value& one : answer->as_array()) good = add(one) && good;
    if (!good) return wrong("answer", "a string that is not empty, or a list of them");
    if (const Value* match = parsed->find("match")) {
        const std::string name = match->is_string() ? match->as_string() : "";
        if (name != "exact" && name != "contains" && name != "starts")
            return wrong("match", "exact, contains or starts");
        task.match = name == "exact" ? Match::exact : name == "contains" ? Match::contains : Match::starts;
    }
    if (const Value* name = parsed->find("task")) {
        if (!name->is_string()) return wrong("task", "a string");
        task.name = name->as_string();
    }
    task.where = std::move(where);
    return task;
}

// One task being answered.
struct Running {
    size_t task = 0;
    std::unique_ptr<engine::RequestStream> stream;
    server::ChoiceText words;
    std::vector<engine::TokenId> stop_ids;
    std::string content;

    void show(const server::ChoiceText::Piece& piece) {
        content += piece.text;
        for (const text::OutputDelta& delta : piece.parsed)
            if (delta.kind == text::OutputDelta::Kind::content) content += delta.text;
    }
};

Result<Running> start(const Task& task, size_t index, const server::ServedModel& model, int64_t max_tokens) {
    const auto named = [&](Error failure) {
        failure.message = task.where + ": " + failure.message;
        return failure;
    };
    server::RenderedPrompt rendered{task.prompt, false};
    std::optional<text::OutputParserOptions> parser;
    if (model.chat_template) {
        server::ChatPrompt prompt;
        prompt.input.messages = task.messages;
        auto made = server::render_chat_prompt(prompt, model);
        if (!made) return named(std::move(made).error());
        rendered = *std::move(made);
        parser = text::OutputParserOptions{.format = model.output_format,
                                           .starts_in_reasoning = rendered.starts_in_reasoning,
                                           .thinking_disabled = false,
                                           .tools = {}};
    } else if (task.prompt.empty()) {
        return named(error(ErrorCode::unsupported, "messages, but the checkpoint has no chat template"));
    }
    engine::Request request{.id = fmt::format("task-{}", index)};
    auto ids = server::encode_prompt(model, rendered.text, !model.chat_template, "the prompt");
    if (!ids) return named(std::move(ids).error());
    request.prompt = *std::move(ids);
    server::GenerationParams params;
    params.sampling.temperature = 0;
    params.sampling.stop_ids = model.defaults.eos_ids;
    params.max_tokens = max_tokens;
    if (auto fits = server::fit_to_context(params, model, request.prompt.size(), "the prompt"); !fits)
        return named(std::move(fits).error());
    request.sampling = params.sampling;
    auto stream = model.engine->submit(std::move(request));
    if (!stream) return named(std::move(stream).error());
    return Running{.task = index,
                   .stream = *std::move(stream),
                   .words = server::ChoiceText(model.tokenizer, params, std::move(parser)),
                   .stop_ids = params.sampling.stop_ids,
                   .content = {}};
}

// Takes tokens until the answer is complete.
Result<TaskAnswer> finish(Running& running, const Task& task, const std::atomic<bool>& stop) {
    TaskAnswer answer;
    for (;;) {
        if (stop) return error(ErrorCode::cancelled, "interrupted");
        const std::optional<engine::TokenEvent> event = running.stream->next(50ms);
        if (!event) continue;
        if (event->finish == engine::FinishReason::numerical_error)
            return error(ErrorCode::internal, "{}: the model computed something that is no number", task.where);
        if (event->token >= 0) {
            const bool ends =
                event->finish == engine::FinishReason::stop &&
                std::find(running.stop_ids.begin(), running.stop_ids.end(), event->token) != running.stop_ids.end();
            server::ChoiceText::Piece piece;
            running.words.push(event->token, !ends, piece);
            running.show(piece);
        }
        answer.cut = event->finish == engine::FinishReason::length;
        if (event->finish != engine::FinishReason::none) break;
    }
    server::ChoiceText::Piece rest;
    running.words.finish(rest);
    running.show(rest);
    answer.content = trimmed(running.content);
    answer.right = is_right(task, answer.content);
    return answer;
}

}  // namespace

Result<std::vector<Task>> read_tasks(const std::filesystem::path& file) {
    TRY(const std::string text, read_whole_file(file, kFileLimit_bytes));
    std::vector<Task> tasks;
    std::string_view rest = text;
    for (int number = 1; !rest.empty(); ++number) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = trimmed(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.empty()) continue;
        TRY(Task task, read_task(line, fmt::format("{}:{}", file.string(), number)));
        tasks.push_back(std::move(task));
    }
    if (tasks.empty()) return error(ErrorCode::invalid_request, "{}: expected tasks, found none", file.string());
    return tasks;
}

bool is_right(const Task& task, std::string_view content) {
    content = trimmed(content);
    return std::any_of(task.answers.begin(), task.answers.end(), [&](const std::string& answer) {
        switch (task.match) {
            case Match::exact:
                return content == answer;
            case Match::contains:
                return content.find(answer) != std::string_view::npos;
            case Match::starts:
                return content.starts_with(answer);
        }
        return false;
    });
}

Result<std::vector<TaskAnswer>> answer_tasks(const std::vector<Task>& tasks, const server::ServedModel& model,
                                             int64_t max_tokens, int64_t at_once, const std::atomic<bool>& stop,
                                             const std::function<void(int64_t)>& progress) {
    std::vector<TaskAnswer> answers(tasks.size());
    std::deque<Running> running;  // in the order of the tasks, which all have the same right to the engine
    size_t next = 0;
    for (int64_t done = 0; done < static_cast<int64_t>(tasks.size()); ++done) {
        while (next < tasks.size() && static_cast<int64_t>(running.size()) < at_once) {
            TRY(Running started, start(tasks[next], next, model, max_tokens));
            running.push_back(std::move(started));
            ++next;
        }
        Running& first = running.front();
        TRY(answers[first.task], finish(first, tasks[first.task], stop));
        running.pop_front();
        progress(done + 1);
    }
    return answers;
}

}  // namespace nibble::cli
