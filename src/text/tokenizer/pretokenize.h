// PreTokenizer: cuts a normalized text into the words that are encoded one by one.
//
// A chain of steps, each of which cuts or rewrites the pieces of the one before. Pieces flow through the chain one at a
// time, so memory does not grow with their number. Immutable; any thread.
#pragma once

#include "text/tokenizer/pattern.h"

#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

// What a split does with what the pattern matched.
enum class SplitBehavior : uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct PreTokenizerStep {
    enum class Kind : uint8_t {
        split,
        prefix_space,  // " " before a piece that begins with none
        bytes,         // into the byte-level alphabet
        metaspace,     // ' ' becomes `text`, which is put before pieces that do not begin with it
        fixed_length,  // pieces of `length` characters
    } kind;
    std::optional<Pattern> pattern = {};  // split
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;
    std::string text = {};  // metaspace
    enum class Prepend : uint8_t { never, first, always } prepend = Prepend::never;
    size_t length = 0;
};

class PreTokenizer {
public:
    static constexpr size_t kMaxSteps = 64;

    PreTokenizer() = default;
    // Without `raw_bytes`, words come in the byte-level alphabet even where they could be left as bytes.
    explicit PreTokenizer(std::vector<PreTokenizerStep> steps, bool raw_bytes = true);
    PreTokenizer(PreTokenizer&&) = default;  // not copied: only_scanner_ points into steps_
    PreTokenizer& operator=(PreTokenizer&&) = default;

    // The last step is `bytes`, and the only one: the words come as raw bytes, not yet in the alphabet.
    bool words_are_bytes() const { return words_are_bytes_; }

    // Calls `word` for every word, none empty, in order. `at_start`: the text begins the whole input.
    template <class Word>
    void run(std::string_view text, bool at_start, Word&& word) const;

private:
    class Chain;
    using Sink = void (*)(void* context, std::string_view word);
    void run_steps(std::string_view text, bool at_start, Sink sink, void* context) const;
    // The commonest chain, a known pattern whose matches are kept as they are, without the machinery.
    const SplitScanner* only_scanner_ = nullptr;

    std::vector<PreTokenizerStep> steps_;
    bool words_are_bytes_ = false;
};

template <class Word>
void PreTokenizer::run(std::string_view text, bool at_start, Word&& word) const {
    if (text.empty()) return;
    if (only_scanner_ == nullptr) {
        run_steps(
            text, at_start, [](void* context, std::string_view piece) { (*static_cast<Word*>(context))(piece); },
            &word);
        return;
    }
    const char* p = text.data();
    const char* const end = p + text.size();
    while (p < end) {
        const char* q = only_scanner_->match(p, end);
        if (q == p) {  // a gap: up to the next match
            q = p + 1;
            while (q < end && ((*q & 0xC0) == 0x80 || only_scanner_->match(q, end) == q)) q++;
        }
        word(std::string_view(p, static_cast<size_t>(q - p)));
        p = q;
    }
}

}  // namespace nibble::text
