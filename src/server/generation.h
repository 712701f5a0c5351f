// Generation: the choices of one request on their way: asked of the engine a window at a time, read as they come,
// turned into text. What is made of it (chat chunks, completions, other wires) is the sink's.
//
// Lives on the connection's thread; destroying it cancels what is still running.
#pragma once

#include "engine/engine.h"
#include "server/choice_text.h"
#include "server/generation_fields.h"
#include "server/http.h"
#include "server/served_model.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nibble::server {

struct GenerationPrompt {
    std::vector<engine::TokenId> ids;
    std::string text;  // what echo repeats
};

struct GenerationUsage {
    int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0, reasoning_tokens = 0;
};

// How a request went, for the log, the metrics and the timings extension.
struct GenerationTimes {
    double queue_and_prefill_ms = 0;  // submit to the first token of the first choice to give one
    double decode_ms = 0;             // from there to the last token
};

enum class Finish { none, stop, length, tool_calls, cancelled };
std::string_view finish_name(Finish finish);  // OpenAI's

// One token of one choice, and what it made certain; or an end without a token.
struct GenerationDelta {
    int64_t choice = 0;  // prompt * n + i
    int64_t prompt = 0;
    const engine::TokenEvent* event = nullptr;  // its token is -1 where there is none
    bool token_visible = false;                 // false: no token, or one that ends the answer and is not shown
    bool first = false;                         // of its choice
    ChoiceText::Piece piece;
    Finish finish = Finish::none;  // not none: the choice's last
    engine::TokenId stop_id = -1;  // finished at this one of the request's own stop ids
};

class Generation {
public:
    struct Spec {
        std::shared_ptr<const ServedModel> model;
        std::string id;  // of the request
        std::vector<GenerationPrompt> prompts;
        GenerationParams params;
        std::vector<engine::SamplingParams> sampling;     // one a prompt: max_tokens differ
        std::optional<text::OutputParserOptions> parser;  // chat
    };
    // An error ends the request: an unfinished choice cannot be answered for.
    using Sink = std::function<void(GenerationDelta&)>;

    explicit Generation(Spec spec);

    // Asks for the first choices. Errors: as Engine::submit.
    Result<void> start(std::function<void()> waker);
    // Gives the sink what has come, until nothing is there or `congested` says so. Errors: internal (a number that is
    // none), unavailable (the engine stopped), overloaded (the reader was too slow).
    Result<void> pump(const Exchange& exchange, const Sink& sink);
    bool done() const { return unfinished_ == 0; }
    void cancel();

    int64_t choices() const { return static_cast<int64_t>(choices_.size()); }
    const Spec& spec() const { return spec_; }
    GenerationUsage usage() const;
    int64_t choice_tokens(int64_t choice) const { return choices_[static_cast<size_t>(choice)].tokens; }
    GenerationTimes times() const;

private:
    struct Choice {
        std::unique_ptr<engine::RequestStream> stream;  // null before it is asked for and after its end
        std::optional<ChoiceText> text;
        int64_t tokens = 0, reasoning_tokens = 0;
        int cached_tokens = 0;
        bool asked = false, begun = false, finished = false;
    };
    Result<bool> ask(int64_t choice);  // false: the queue is full, and others of ours will make room
    Result<void> fill_window();
    Result<void> take(int64_t choice, engine::TokenEvent event, const Sink& sink);
    void finish(Choice& choice);

    Spec spec_;
    std::function<void()> waker_;
    std::vector<Choice> choices_;
    std::vector<int64_t> active_;
    int64_t next_choice_ = 0, unfinished_ = 0;
    std::chrono::steady_clock::time_point started_, first_token_, last_token_;
    bool any_token_ = false;
};

}  // namespace nibble::server
