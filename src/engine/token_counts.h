// TokenCounts: the distinct tokens of a sequence with how often each is in its output, for the penalties. Kept from
// step to step, so that a long prompt is counted once. Engine thread.
#pragma once

#include "engine/request.h"
#include "ops/sample/sample.h"

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace nibble::engine {

class TokenCounts {
public:
    // The counts of this sequence so far. `with_prompt`: tokens of the prompt are listed as well, with what the output
    // has of them (0 or more). Valid until the next call.
    std::span<const ops::SampleEntry> of(int64_t sequence, std::span<const TokenId> prompt,
                                         std::span<const TokenId> output, bool with_prompt);

private:
    void count(TokenId token, float more);

    int64_t sequence_ = -1;
    size_t output_counted_ = 0;
    std::vector<ops::SampleEntry> entries_;
    std::unordered_map<TokenId, size_t> place_;  // of a token in entries_
};

}  // namespace nibble::engine
