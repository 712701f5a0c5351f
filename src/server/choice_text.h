// ChoiceText: the tokens of one choice to what may be shown of it: detokenized, ended at stop strings, taken apart into
// reasoning, content and tool calls. One per sequence, one thread.
#pragma once

#include "engine/request.h"
#include "server/generation_fields.h"
#include "text/detokenizer.h"
#include "text/output_parser.h"
#include "text/stop.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nibble::server {

class ChoiceText {
public:
    ChoiceText(std::shared_ptr<const text::Tokenizer> tokenizer, const GenerationParams& params,
               std::optional<text::OutputParserOptions> parser);

    // What became certain with the last token(s). With a parser `parsed` says it, without one `text`.
    struct Piece {
        std::string text;
        std::vector<text::OutputDelta> parsed;
        int stop_string = -1;  // of GenerationParams::stop: it was met, nothing follows
    };
    // `visible`: false for a token that ends the answer and is not a part of it.
    void push(engine::TokenId token, bool visible, Piece& out);
    void finish(Piece& out);  // what was held back; out is added to

    int tool_calls() const { return parser_ ? parser_->tool_calls() : 0; }
    bool in_reasoning() const { return in_reasoning_; }  // the last thing said was reasoning

private:
    void show(std::string&& text, Piece& out);

    text::Detokenizer detokenizer_;
    text::StopMatcher stop_;
    std::optional<text::OutputParser> parser_;
    int min_tokens_;
    int tokens_ = 0;
    bool in_reasoning_ = false;
};

}  // namespace nibble::server
