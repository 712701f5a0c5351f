#include "server/generation.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::server {
namespace {

using Clock = std::chrono::steady_clock;

// Choices of one request in the engine at once: a list of a thousand prompts leaves room for others.
constexpr size_t kWindow = 32;

double milliseconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

std::string_view finish_name(Finish finish) {
    switch (finish) {
        case Finish::none:
            break;
        case Finish::stop:
            return "stop";
        case Finish::length:
            return "length";
        case Finish::tool_calls:
            return "tool_calls";
        case Finish::cancelled:
            return "cancelled";
    }
    return "none";
}

Generation::Generation(Spec spec) : spec_(std::move(spec)), choices_(spec_.prompts.size() * spec_.params.n) {
    unfinished_ = choices();
}

Result<void> Generation::start(std::function<void()> waker) {
    waker_ = std::move(waker);
    started_ = Clock::now();
    return fill_window();
}

Result<bool> Generation::ask(int64_t index) {
    const auto prompt = static_cast<size_t>(index / spec_.params.n);
    engine::Request request{.id = choices() == 1 ? spec_.id : fmt::format("{}-{}", spec_.id, index),
                            .prompt = spec_.prompts[prompt].ids,
                            .sampling = spec_.sampling[prompt],
                            .priority = spec_.params.priority};
    request.sampling.seed = choice_seed(spec_.params.sampling.seed, index % spec_.params.n);
    auto stream = spec_.model->engine->submit(std::move(request), waker_);
    if (!stream) {
        if (stream.error().code == ErrorCode::overloaded && !active_.empty()) return false;
        return std::move(stream).error();
    }
    Choice& choice = choices_[static_cast<size_t>(index)];
    choice.stream = std::move(*stream);
    auto parser = spec_.parser;
    if (parser) parser->id_seed = choice_seed(parser->id_seed, index);
    choice.text.emplace(spec_.model->tokenizer, spec_.params, std::move(parser));
    choice.asked = true;
    active_.push_back(index);
    return true;
}

Result<void> Generation::fill_window() {
    while (next_choice_ < choices() && active_.size() < kWindow) {
        TRY(const bool asked, ask(next_choice_));
        if (!asked) break;
        ++next_choice_;
    }
    return {};
}

Result<void> Generation::pump(const Exchange& exchange, const Sink& sink) {
    // Round and round, one event a choice, so that the choices of a request come along together.
    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < active_.size();) {
            if (exchange.congested()) return {};
            const int64_t index = active_[i];
            Choice& choice = choices_[static_cast<size_t>(index)];
            if (auto event = choice.stream->try_next()) {
                any = true;
                TRY_VOID(take(index, std::move(*event), sink));
            }
            if (choice.finished)
                active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
            else
                ++i;
        }
        TRY_VOID(fill_window());
    }
    return {};
}

Result<void> Generation::take(int64_t index, engine::TokenEvent event, const Sink& sink) {
    Choice& choice = choices_[static_cast<size_t>(index)];
    choice.cached_tokens = event.cached_tokens;
    switch (event.finish) {
        case engine::FinishReason::numerical_error:
            return Error{ErrorCode::internal, "the model's arithmetic gave a value that is no number"};
        case engine::FinishReason::shutdown:
            return Error{ErrorCode::unavailable, "the server is stopping"};
        case engine::FinishReason::shed:
            return Error{ErrorCode::unavailable, "the host is short of memory; what waited was ended"};
        case engine::FinishReason::cancelled:
            return Error{ErrorCode::overloaded, "the answer was not read as fast as it was made, and was ended"};
        default:
            break;
    }

    GenerationDelta delta{.choice = index, .prompt = index / spec_.params.n, .event = &event};
    delta.first = !std::exchange(choice.begun, true);
    if (event.token >= 0) {
        const auto now = Clock::now();
        if (!std::exchange(any_token_, true)) first_token_ = now;
        last_token_ = now;
        ++choice.tokens;
        const std::vector<engine::TokenId>& own = spec_.params.own_stop_ids;
        const bool stopped = event.finish == engine::FinishReason::stop;
        if (stopped && std::find(own.begin(), own.end(), event.token) != own.end()) delta.stop_id = event.token;
        delta.token_visible = !stopped || (delta.stop_id >= 0 && spec_.params.include_stop);
        const bool was_reasoning = choice.text->in_reasoning();
        choice.text->push(event.token, delta.token_visible, delta.piece);
        choice.reasoning_tokens += was_reasoning || choice.text->in_reasoning();
    }
    if (delta.piece.stop_string >= 0) {
        delta.finish = Finish::stop;
    } else if (event.finish != engine::FinishReason::none) {
        choice.text->finish(delta.piece);
        // A stop string may have been completed by what was held back: then it is what ended the answer.
        const bool stopped = event.finish == engine::FinishReason::stop || delta.piece.stop_string >= 0;
        delta.finish = stopped ? Finish::stop : Finish::length;
    }
    if (delta.finish == Finish::stop && choice.text->tool_calls() > 0) delta.finish = Finish::tool_calls;
    if (delta.finish != Finish::none) finish(choice);
    sink(delta);
    return {};
}

void Generation::finish(Choice& choice) {
    choice.stream.reset();  // cancels, where a stop string was met
    choice.finished = true;
    --unfinished_;
}

void Generation::cancel() {
    for (const int64_t index : active_) choices_[static_cast<size_t>(index)].stream.reset();
    active_.clear();
    next_choice_ = choices();
}

GenerationUsage Generation::usage() const {
    GenerationUsage usage;
    for (const GenerationPrompt& prompt : spec_.prompts) usage.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
    for (size_t i = 0; i < choices_.size(); ++i) {
        usage.completion_tokens += choices_[i].tokens;
        usage.reasoning_tokens += choices_[i].reasoning_tokens;
        // A prompt counts once, with what its first choice found in the cache.
        if (i % static_cast<size_t>(spec_.params.n) == 0) usage.cached_tokens += choices_[i].cached_tokens;
    }
    return usage;
}

GenerationTimes Generation::times() const {
    if (!any_token_) return {.queue_and_prefill_ms = milliseconds(started_, Clock::now())};
    return {.queue_and_prefill_ms = milliseconds(started_, first_token_),
            .decode_ms = milliseconds(first_token_, last_token_)};
}

}  // namespace nibble::server
