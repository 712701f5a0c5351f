// CharSet: a set of code points while a regular expression is read. CharMap: the same set, frozen for fast lookup.
#pragma once

#include "text/tokenizer/unicode.h"

#include <cstdint>
#include <vector>

namespace nibble::text {

class CharSet {
public:
    void add(char32_t first, char32_t last);
    void add(const std::vector<unicode::CodePointRange>& ranges);
    void add(const CharSet& other) { add(other.ranges()); }
    void negate();
    void intersect(const CharSet& other);
    void fold_case();  // adds what differs only by case from a member (simple folding)
    bool contains(char32_t c) const;
    const std::vector<unicode::CodePointRange>& ranges() const;  // ascending, not touching

private:
    mutable std::vector<unicode::CodePointRange> ranges_;
    mutable bool tidy_ = true;
};

class CharMap {
public:
    explicit CharMap(const CharSet& set);
    bool contains(char32_t c) const {
        const uint64_t* page = cells_.data() + size_t{pages_[c >> 8]} * 4;
        return (page[c >> 6 & 3] >> (c & 63) & 1) != 0;
    }

private:
    std::vector<uint16_t> pages_;  // of 256 code points
    std::vector<uint64_t> cells_;  // 4 words a page
};

}  // namespace nibble::text
