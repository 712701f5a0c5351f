// Detokenizer: token ids to text as they come, one per sequence being streamed; owned by one thread.
//
// Never emits a part of a UTF-8 sequence: incomplete bytes are held back until they are completed, shown to be invalid
// (then U+FFFD, as Python's errors="replace" does it), or flushed. The pieces concatenated are Tokenizer::decode of all
// the ids, whatever the ids.
#pragma once

#include "text/tokenizer.h"

namespace nibble::text {

class Detokenizer {
public:
    Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens);
    std::string push(TokenId id);  // the text that became certain, maybe empty
    std::string flush();           // what was held back; the detokenizer is then as new

private:
    std::shared_ptr<const Tokenizer> tokenizer_;
    bool skip_special_tokens_;
    bool at_start_ = true;
    std::string held_;  // at most 3 bytes of an incomplete sequence
};

}  // namespace nibble::text
