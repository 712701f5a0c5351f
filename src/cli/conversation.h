// Conversation: turns of a chat with a session's model, as serve would answer them: the same template, the same
// sampling defaults, the same reading of the output. One thread.
#pragma once

#include "base/result.h"
#include "engine/request.h"
#include "server/served_model.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::cli {

struct ConversationOptions {
    std::string system;            // empty: none
    bool raw = false;              // prompts as they are, without the chat template; every turn stands alone
    std::optional<bool> thinking;  // where the template can switch it
    std::optional<int64_t> max_tokens;
    std::optional<double> temperature, top_p, min_p, repetition_penalty;
    std::optional<int64_t> top_k;
    std::optional<uint64_t> seed;
};

struct Turn {
    std::string reasoning, content;
    engine::FinishReason finish = engine::FinishReason::none;
    int64_t prompt_tokens = 0, tokens = 0;
    double first_token_seconds = 0;  // from the question to the first token
    double decode_seconds = 0;       // from the first token to the last
    double tokens_per_second() const {
        return decode_seconds > 0 ? static_cast<double>(tokens - 1) / decode_seconds : 0;
    }
};

enum class Voice { reasoning, content };

class Conversation {
public:
    Conversation(const server::ServedModel& model, ConversationOptions options);

    // Asks, and says the answer piece by piece as it becomes certain. When `stop` is set the answer ends where it is
    // and is kept as far as it came. Errors: invalid_request (too long), unsupported (no chat template), internal.
    Result<Turn> ask(const std::string& question, const std::atomic<bool>& stop,
                     const std::function<void(Voice, std::string_view)>& say);

    void reset();                         // forgets the turns, keeps the system message
    void set_system(std::string system);  // and forgets the turns

private:
    const server::ServedModel& model_;
    ConversationOptions options_;
    text::Array messages_;
};

}  // namespace nibble::cli
