#include "text/tokenizer/unicode.h"

#include <algorithm>
#include <map>
#include <string>

namespace nibble::text::unicode {
namespace {

constexpr char32_t kEnd = 0x110000;

// Calls f(first, end, value) for every run.
template <class F>
void for_each_run(const uint32_t* runs, size_t count, F&& f) {
    for (size_t i = 0; i < count; i++) {
        const char32_t first = runs[i] >> 8;
        const char32_t end = i + 1 < count ? runs[i + 1] >> 8 : kEnd;
        f(first, end, runs[i] & 0xFF);
    }
}

void add(std::vector<CodePointRange>& ranges, char32_t first, char32_t end) {
    if (!ranges.empty() && ranges.back().last + 1 == first) {
        ranges.back().last = end - 1;
    } else {
        ranges.push_back({first, end - 1});
    }
}

}  // namespace

std::span<const Properties> kinds() {
    return {kProperties, kPropertyCount};
}

const KindTable& KindTable::get() {
    static const KindTable table;
    return table;
}

KindTable::KindTable() {
    std::vector<uint8_t> flat(kEnd);
    for_each_run(kPropertyRuns, kPropertyRunCount, [&](char32_t first, char32_t end, uint32_t kind) {
        std::fill(flat.begin() + first, flat.begin() + end, static_cast<uint8_t>(kind));
    });
    std::map<std::vector<uint8_t>, uint16_t> known;
    for (size_t block = 0; block < kEnd / 256; block++) {
        std::vector<uint8_t> cells(flat.begin() + block * 256, flat.begin() + (block + 1) * 256);
        const auto [place, fresh] = known.try_emplace(std::move(cells), static_cast<uint16_t>(known.size()));
        blocks_[block] = place->second;
        if (fresh) cells_.insert(cells_.end(), place->first.begin(), place->first.end());
    }
}

std::span<const LowercaseRange> lowercase_ranges() {
    return {kLowercaseRanges, kLowercaseRangeCount};
}

Lowercase lowercase(char32_t c) {
    if (c < 0x80) return {c >= 'A' && c <= 'Z' ? c + 32 : c, 0};
    if (c == 0x130) return {'i', 0x307};
    const auto ranges = lowercase_ranges();
    const auto after = std::upper_bound(ranges.begin(), ranges.end(), c,
                                        [](char32_t value, const LowercaseRange& r) { return value < r.first; });
    if (after == ranges.begin()) return {c, 0};
    const LowercaseRange& r = after[-1];
    if (c <= r.last && (c - r.first) % r.stride == 0) {
        return {static_cast<char32_t>(static_cast<int64_t>(c) + r.delta), 0};
    }
    return {c, 0};
}

std::vector<CodePointRange> script(std::string_view name) {
    const auto same = [](std::string_view a, std::string_view b) {
        const auto letters = [](std::string_view s) {
            std::string out;
            for (const char c : s) {
                if (c == '_' || c == '-' || c == ' ') continue;
                out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
            }
            return out;
        };
        return letters(a) == letters(b);
    };
    std::vector<CodePointRange> ranges;
    for (size_t i = 0; i < kScriptCount; i++) {
        if (!same(kScriptNames[i], name)) continue;
        for_each_run(kScriptRuns, kScriptRunCount, [&](char32_t first, char32_t end, uint32_t value) {
            if (value == i + 1) add(ranges, first, end);
        });
    }
    return ranges;
}

std::vector<CodePointRange> where(bool (*wanted)(const Properties&, uint32_t), uint32_t argument) {
    std::vector<CodePointRange> ranges;
    for_each_run(kPropertyRuns, kPropertyRunCount, [&](char32_t first, char32_t end, uint32_t kind) {
        if (wanted(kProperties[kind], argument)) add(ranges, first, end);
    });
    return ranges;
}

}  // namespace nibble::text::unicode
