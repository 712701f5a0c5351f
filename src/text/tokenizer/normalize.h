// The Unicode normal forms, and the normalizer of a tokenizer.json: the steps that a text goes through before it is
// cut.
//
// The forms know the characters that the Python package `tokenizers` knows (unicode.h, kNormalizes); what they
// decompose to comes from utf8proc, which agrees on those in every version, as Unicode promises. Linear in the text (n
// log n in a run of combining marks). Immutable; any thread.
#pragma once

#include "text/tokenizer/pattern.h"

#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

enum class NormalForm : uint8_t { nfc, nfd, nfkc, nfkd };

// Nothing when `text`, which is valid UTF-8, is in the form already; else `out` is the text in the form.
bool normalize(NormalForm form, std::string_view text, std::string& out);

struct NormalizerStep {
    enum class Kind : uint8_t {
        nfc,
        nfd,
        nfkc,
        nfkd,
        replace,
        prepend,
        strip,
        lowercase,
        strip_accents,
        nmt,
        byte_level
    } kind;
    std::optional<Pattern> pattern = {};  // replace
    std::string text = {};                // replace: the new text; prepend
    bool left = false, right = false;     // strip
};

class Normalizer {
public:
    Normalizer() = default;
    explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}
    bool empty() const { return steps_.empty(); }

    // The normalized text: `text` itself when nothing changes, else in `buffer`. `at_start` says whether its first
    // character comes from the first of the whole input, and is made false when that one was removed.
    std::string_view apply(std::string_view text, std::string& buffer, bool& at_start) const;

private:
    std::vector<NormalizerStep> steps_;
};

}  // namespace nibble::text
