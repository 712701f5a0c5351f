#include "cli/task_answers.h"

#include "engine/engine.h"
#include "server/chat_prompt.h"
#include "server/choice_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <utility>

namespace nibble::cli {
namespace {

using namespace std::chrono_literals;
using text::Value;

// One task being answered.
struct Running {
    size_t task = 0;
    std::unique_ptr<engine::RequestStream> stream;
    server::ChoiceText words;
    std::vector<engine::TokenId> stop_ids;
    std::string content;
    std::vector<std::pair<std::string, std::string>> calls;  // name, arguments as JSON text

    void show(const server::ChoiceText::Piece& piece) {
        using Kind = text::OutputDelta::Kind;
        content += piece.text;
        for (const text::OutputDelta& delta : piece.parsed) {
            if (delta.kind == Kind::content) content += delta.text;
            if (delta.kind == Kind::tool_start) calls.emplace_back(delta.name, "");
            if (delta.kind == Kind::tool_arguments && !calls.empty()) calls.back().second += delta.text;
        }
    }
};

Result<Running> start(const Task& task, size_t index, const server::ServedModel& model, int64_t max_tokens) {
    TRY(TaskPrompt prompt, task_prompt(task, model, max_tokens));
    engine::Request request{
        .id = fmt::format("task-{}", index), .prompt = std::move(prompt.ids), .sampling = prompt.params.sampling};
    auto stream = model.engine->submit(std::move(request));
    if (!stream) return error(stream.error().code, "{}: {}", task.where, stream.error().message);
    return Running{.task = index,
                   .stream = *std::move(stream),
                   .words = server::ChoiceText(model.tokenizer, prompt.params, std::move(prompt.parser)),
                   .stop_ids = prompt.params.sampling.stop_ids,
                   .content = {},
                   .calls = {}};
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
    answer.content = without_blanks(running.content);
    for (const auto& [name, arguments] : running.calls) {
        auto value = text::parse_json(arguments);
        answer.calls.push_back({name, value ? *std::move(value) : Value()});
    }
    answer.right = is_right(task, answer.content, answer.calls);
    return answer;
}

}  // namespace

Result<TaskPrompt> task_prompt(const Task& task, const server::ServedModel& model, int64_t max_tokens) {
    const auto named = [&](Error failure) {
        failure.message = task.where + ": " + failure.message;
        return failure;
    };
    TaskPrompt made;
    std::string text = task.prompt;
    if (model.chat_template) {
        text::Object request;
        request.set("messages", task.messages);
        if (!task.tools.is_none()) request.set("tools", task.tools);
        if (task.thinking) {
            text::Object switches;
            switches.set("enable_thinking", Value(*task.thinking));
            request.set("chat_template_kwargs", Value(std::move(switches)));
        }
        server::Fields fields(request);
        const server::ChatPrompt prompt = server::read_chat_prompt(fields, model);
        if (fields.error()) return named(*fields.error());
        auto rendered = server::render_chat_prompt(prompt, model);
        if (!rendered) return named(std::move(rendered).error());
        text = std::move(rendered->text);
        made.parser = text::OutputParserOptions{.format = model.output_format,
                                                .starts_in_reasoning = rendered->starts_in_reasoning,
                                                .thinking_disabled = prompt.thinking_disabled,
                                                .tools = prompt.input.tools};
    } else if (task.prompt.empty() || !task.tools.is_none()) {
        return named(error(ErrorCode::unsupported, "messages or tools, but the checkpoint has no chat template"));
    }
    auto ids = server::encode_prompt(model, text, !model.chat_template, "the prompt");
    if (!ids) return named(std::move(ids).error());
    made.ids = *std::move(ids);
    if (made.ids.empty()) return named(error(ErrorCode::invalid_request, "the prompt is empty"));
    made.params.sampling.temperature = 0;
    made.params.sampling.stop_ids = model.defaults.eos_ids;
    made.params.max_tokens = task.max_tokens.value_or(max_tokens);
    if (auto fits = server::fit_to_context(made.params, model, made.ids.size(), "the prompt"); !fits)
        return named(std::move(fits).error());
    return made;
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
