#include "text/jinja/python_text.h"

#include "text/jinja/unicode.h"

#include <algorithm>
#include <cstring>

namespace nibble::text::jinja {
namespace {

// The start of the code point that ends at s[end].
size_t previous(std::string_view s, size_t end) {
    size_t begin = end - 1;
    for (int back = 0; back < 3 && begin > 0 && (static_cast<unsigned char>(s[begin]) & 0xc0) == 0x80; back++) begin--;
    size_t at = begin;
    next_code_point(s, at);
    return at == end ? begin : end - 1;  // bytes that are no UTF-8 stand alone
}

template <class Predicate>
std::string_view strip_while(std::string_view s, Side side, Predicate&& drop) {
    size_t begin = 0, end = s.size();
    if (side != Side::right) {
        while (begin < end) {
            size_t next = begin;
            if (!drop(next_code_point(s, next))) break;
            begin = next;
        }
    }
    if (side != Side::left) {
        while (end > begin) {
            const size_t start = previous(s, end);
            size_t at = start;
            if (!drop(next_code_point(s, at))) break;
            end = start;
        }
    }
    return s.substr(begin, end - begin);
}

}  // namespace

size_t find_first(std::string_view s, std::string_view part, size_t from) {
    if (from > s.size()) return std::string_view::npos;
    if (part.size() < 16) return s.find(part, from);
    // glibc's memmem is linear in the worst case, which string_view::find is not.
    const void* at = memmem(s.data() + from, s.size() - from, part.data(), part.size());
    return at ? static_cast<size_t>(static_cast<const char*>(at) - s.data()) : std::string_view::npos;
}

size_t find_last(std::string_view s, std::string_view part) {
    if (part.size() < 16) return s.rfind(part);
    const std::string reversed(s.rbegin(), s.rend()), wanted(part.rbegin(), part.rend());
    const size_t at = find_first(reversed, wanted);
    return at == std::string_view::npos ? at : s.size() - at - part.size();
}

std::string_view strip(std::string_view s, Side side) {
    return strip_while(s, side, is_space);
}

std::string_view strip(std::string_view s, std::string_view chars, Side side) {
    std::u32string set;
    for (size_t at = 0; at < chars.size();) set += next_code_point(chars, at);
    std::sort(set.begin(), set.end());
    return strip_while(s, side, [&](char32_t c) { return std::binary_search(set.begin(), set.end(), c); });
}

std::vector<std::string_view> split_words(std::string_view s, int64_t limit, bool from_right) {
    std::vector<std::string_view> words;
    std::string_view rest = s;
    for (;;) {
        rest = strip(rest, from_right ? Side::right : Side::left);
        if (rest.empty()) break;
        if (limit == 0) {
            // The remainder keeps its inner space, and loses what is at its outer end only.
            words.push_back(rest);
            break;
        }
        limit--;
        if (from_right) {
            size_t begin = rest.size();
            while (begin > 0) {
                const size_t start = previous(rest, begin);
                size_t at = start;
                if (is_space(next_code_point(rest, at))) break;
                begin = start;
            }
            words.push_back(rest.substr(begin));
            rest = rest.substr(0, begin);
        } else {
            size_t end = 0;
            while (end < rest.size()) {
                size_t next = end;
                if (is_space(next_code_point(rest, next))) break;
                end = next;
            }
            words.push_back(rest.substr(0, end));
            rest = rest.substr(end);
        }
    }
    if (from_right) std::reverse(words.begin(), words.end());
    return words;
}

std::vector<std::string_view> split_at(std::string_view s, std::string_view separator, int64_t limit, bool from_right) {
    std::vector<std::string_view> pieces;
    std::string_view rest = s;
    while (limit != 0) {
        const size_t at = from_right ? find_last(rest, separator) : find_first(rest, separator);
        if (at == std::string_view::npos) break;
        if (from_right) {
            pieces.push_back(rest.substr(at + separator.size()));
            rest = rest.substr(0, at);
        } else {
            pieces.push_back(rest.substr(0, at));
            rest = rest.substr(at + separator.size());
        }
        limit--;
    }
    pieces.push_back(rest);
    if (from_right) std::reverse(pieces.begin(), pieces.end());
    return pieces;
}

std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends) {
    std::vector<std::string_view> lines;
    size_t begin = 0;
    for (size_t at = 0; at < s.size();) {
        const size_t end = at;
        const char32_t c = next_code_point(s, at);
        if (!is_line_end(c)) continue;
        if (c == '\r' && at < s.size() && s[at] == '\n') at++;
        lines.push_back(s.substr(begin, (keep_ends ? at : end) - begin));
        begin = at;
    }
    if (begin < s.size()) lines.push_back(s.substr(begin));
    return lines;
}

std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t limit) {
    std::string out;
    if (from.empty()) {
        for (size_t at = 0; limit != 0; limit--) {
            out += to;
            if (at >= s.size()) return out;
            const size_t begin = at;
            next_code_point(s, at);
            out += s.substr(begin, at - begin);
            if (limit == 1) return out.append(s.substr(at));
        }
        return std::string(s);
    }
    size_t begin = 0;
    while (limit != 0) {
        const size_t at = find_first(s, from, begin);
        if (at == std::string_view::npos) break;
        out.append(s.substr(begin, at - begin)).append(to);
        begin = at + from.size();
        limit--;
    }
    return out.append(s.substr(begin));
}

int64_t count(std::string_view s, std::string_view part) {
    if (part.empty()) return static_cast<int64_t>(code_points(s)) + 1;
    int64_t n = 0;
    for (size_t at = find_first(s, part); at != std::string_view::npos; at = find_first(s, part, at + part.size())) n++;
    return n;
}

}  // namespace nibble::text::jinja
