#include "server/choice_text.h"

namespace nibble::server {

namespace {

// Gemma's markers of reasoning and calls are special tokens: the parser must see them, and takes them out.
bool markers_are_special(const std::optional<text::OutputParserOptions>& parser) {
    return parser && (parser->format.reasoning == text::ReasoningFormat::gemma4 ||
                      (parser->format.tools == text::ToolFormat::gemma4 && !parser->tools.is_none()));
}

}  // namespace

ChoiceText::ChoiceText(std::shared_ptr<const text::Tokenizer> tokenizer, const GenerationParams& params,
                       std::optional<text::OutputParserOptions> parser)
    : detokenizer_(std::move(tokenizer), params.skip_special_tokens && !markers_are_special(parser)),
      stop_(params.stop, params.include_stop),
      min_tokens_(params.sampling.min_tokens) {
    if (parser) {
        in_reasoning_ = parser->starts_in_reasoning;
        parser_.emplace(std::move(*parser));
    }
}

void ChoiceText::show(std::string&& text, Piece& out) {
    if (!parser_) {
        if (out.text.empty())
            out.text = std::move(text);
        else
            out.text += text;
        return;
    }
    if (text.empty()) return;
    parser_->push(text, out.parsed);
    if (!out.parsed.empty()) in_reasoning_ = out.parsed.back().kind == text::OutputDelta::Kind::reasoning;
}

void ChoiceText::push(engine::TokenId token, bool visible, Piece& out) {
    ++tokens_;
    if (!visible) return;
    std::string text = detokenizer_.push(token);
    // Before min_tokens a stop string is a string like any other.
    if (!stop_.active() || tokens_ <= min_tokens_) {
        show(std::move(text), out);
        return;
    }
    text::StopMatcher::Piece piece = stop_.push(text);
    show(std::move(piece.text), out);
    if (piece.stopped) {
        out.stop_string = piece.stop_index;
        if (parser_) parser_->finish(out.parsed);
    }
}

void ChoiceText::finish(Piece& out) {
    std::string text = detokenizer_.flush();
    if (stop_.active()) {
        text::StopMatcher::Piece piece = stop_.push(text);
        text = std::move(piece.text);
        if (piece.stopped)
            out.stop_string = piece.stop_index;
        else
            text += stop_.flush();
    }
    show(std::move(text), out);
    if (parser_) parser_->finish(out.parsed);
}

}  // namespace nibble::server
