// Detokenizer: token ids to text as they come, one per sequence being streamed; owned by one thread.
//
// Never emits a part of a UTF-8 sequence: incomplete bytes are held back until they are completed, shown to be invalid
// (then U+FFFD, as Python's errors="replace" does it), or flushed. The pieces concatenated are Tokenizer::decode of all
// the ids, whatever the ids; so a run of <0xNN> tokens is held back to its end, as one bad byte spoils the run.
#pragma once

#include "text/tokenizer.h"

#include <memory>
#include <string>

namespace nibble::text {

class DecodeStream;

class Detokenizer {
public:
    Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens);
    ~Detokenizer();
    Detokenizer(Detokenizer&&) noexcept;
    Detokenizer& operator=(Detokenizer&&) noexcept;
    std::string push(TokenId id);  // the text that became certain, maybe empty
    std::string flush();           // what was held back; the detokenizer is then as new

private:
    std::shared_ptr<const Tokenizer> tokenizer_;
    bool skip_special_tokens_;
    std::unique_ptr<DecodeStream> stream_;
};

}  // namespace nibble::text
