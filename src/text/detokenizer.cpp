#include "text/detokenizer.h"

#include "text/tokenizer/state.h"

namespace nibble::text {

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)),
      skip_special_tokens_(skip_special_tokens),
      stream_(std::make_unique<DecodeStream>(tokenizer_->state_->parts->decoder)) {}

Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;

std::string Detokenizer::push(TokenId id) {
    std::string out;
    const Tokenizer::State& state = *tokenizer_->state_;
    if (state.is_shown(id, skip_special_tokens_)) stream_->push(state.prepared[id], out);
    return out;
}

std::string Detokenizer::flush() {
    std::string out;
    stream_->flush(out);
    return out;
}

}  // namespace nibble::text
