#include "text/tokenizer/char_set.h"

#include <algorithm>
#include <array>
#include <map>

namespace nibble::text {
namespace {

constexpr char32_t kLast = 0x10FFFF;

// What simple case folding joins besides a letter and its lower case.
constexpr std::array<std::array<char32_t, 2>, 13> kFoldedTogether = {{{0x73, 0x17F},
                                                                      {0x3C3, 0x3C2},
                                                                      {0x3B2, 0x3D0},
                                                                      {0x3B8, 0x3D1},
                                                                      {0x3C6, 0x3D5},
                                                                      {0x3C0, 0x3D6},
                                                                      {0x3BA, 0x3F0},
                                                                      {0x3C1, 0x3F1},
                                                                      {0x3B5, 0x3F5},
                                                                      {0x3B9, 0x1FBE},
                                                                      {0x3B9, 0x345},
                                                                      {0x3BC, 0xB5},
                                                                      {0x1E61, 0x1E9B}}};

}  // namespace

void CharSet::add(char32_t first, char32_t last) {
    ranges_.push_back({first, last});
    tidy_ = false;
}

void CharSet::add(const std::vector<unicode::CodePointRange>& ranges) {
    ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
    tidy_ = false;
}

const std::vector<unicode::CodePointRange>& CharSet::ranges() const {
    if (tidy_) return ranges_;
    std::sort(ranges_.begin(), ranges_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    size_t kept = 0;
    for (const auto& range : ranges_) {
        if (kept > 0 && range.first <= ranges_[kept - 1].last + 1) {
            ranges_[kept - 1].last = std::max(ranges_[kept - 1].last, range.last);
        } else {
            ranges_[kept++] = range;
        }
    }
    ranges_.resize(kept);
    tidy_ = true;
    return ranges_;
}

void CharSet::negate() {
    std::vector<unicode::CodePointRange> rest;
    char32_t next = 0;
    for (const auto& range : ranges()) {
        if (range.first > next) rest.push_back({next, range.first - 1});
        next = range.last + 1;
    }
    if (next <= kLast) rest.push_back({next, kLast});
    ranges_ = std::move(rest);
}

void CharSet::intersect(const CharSet& other) {
    std::vector<unicode::CodePointRange> both;
    const auto& a = ranges();
    const auto& b = other.ranges();
    for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
        const char32_t first = std::max(a[i].first, b[j].first);
        const char32_t last = std::min(a[i].last, b[j].last);
        if (first <= last) both.push_back({first, last});
        a[i].last < b[j].last ? i++ : j++;
    }
    ranges_ = std::move(both);
}

void CharSet::fold_case() {
    const CharSet before = *this;
    for (const auto& range : unicode::lowercase_ranges()) {
        for (char32_t c = range.first; c <= range.last; c += range.stride) {
            const char32_t low = unicode::lowercase(c).first;
            if (before.contains(c)) add(low, low);
            if (before.contains(low)) add(c, c);
        }
    }
    const CharSet half = *this;
    for (const auto& [a, b] : kFoldedTogether) {
        if (half.contains(a)) add(b, b);
        if (half.contains(b)) add(a, a);
    }
    // What the second step brought in may have an upper case: S for ſ.
    const CharSet nearly = *this;
    for (const auto& range : unicode::lowercase_ranges()) {
        for (char32_t c = range.first; c <= range.last; c += range.stride) {
            if (nearly.contains(unicode::lowercase(c).first)) add(c, c);
        }
    }
}

bool CharSet::contains(char32_t c) const {
    const auto& all = ranges();
    auto after = std::upper_bound(all.begin(), all.end(), c,
                                  [](char32_t value, const unicode::CodePointRange& r) { return value < r.first; });
    return after != all.begin() && c <= after[-1].last;
}

CharMap::CharMap(const CharSet& set) : pages_(0x1100) {
    // Page 0 of cells_ is empty, page 1 full; the others are kept once each.
    cells_.assign({0, 0, 0, 0, ~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}});
    std::map<std::array<uint64_t, 4>, uint16_t> known;
    auto range = set.ranges().begin();
    const auto end = set.ranges().end();
    for (size_t page = 0; page < pages_.size(); page++) {
        const char32_t base = static_cast<char32_t>(page) << 8;
        while (range != end && range->last < base) ++range;
        if (range == end) break;
        if (range->first > base + 255) continue;
        if (range->first <= base && range->last >= base + 255) {
            pages_[page] = 1;
            continue;
        }
        std::array<uint64_t, 4> bits{};
        for (auto r = range; r != end && r->first <= base + 255; ++r) {
            for (size_t word = 0; word < 4; word++) {
                const char32_t low = base + static_cast<char32_t>(word) * 64;
                if (r->last < low || r->first > low + 63) continue;
                const unsigned from = r->first > low ? r->first - low : 0;
                const unsigned to = std::min<char32_t>(r->last - low, 63);
                bits[word] |= (~uint64_t{0} >> (63 - (to - from))) << from;
            }
        }
        const auto [place, fresh] = known.try_emplace(bits, static_cast<uint16_t>(cells_.size() / 4));
        if (fresh) cells_.insert(cells_.end(), bits.begin(), bits.end());
        pages_[page] = place->second;
    }
}

}  // namespace nibble::text
