#include "engine/token_counts.h"

namespace nibble::engine {

std::span<const ops::SampleEntry> TokenCounts::of(int64_t sequence, std::span<const TokenId> prompt,
                                                  std::span<const TokenId> output, bool with_prompt) {
    if (sequence != sequence_ || output.size() < output_counted_) {
        sequence_ = sequence;
        output_counted_ = 0;
        entries_.clear();
        place_.clear();
        if (with_prompt)
            for (TokenId token : prompt) count(token, 0);
    }
    for (; output_counted_ < output.size(); ++output_counted_) count(output[output_counted_], 1);
    return entries_;
}

void TokenCounts::count(TokenId token, float more) {
    const auto [place, first] = place_.try_emplace(token, entries_.size());
    if (first) entries_.push_back({.token = token, .value = 0});
    entries_[place->second].value += more;
}

}  // namespace nibble::engine
