// Character classes, from the Unicode categories of utf8proc and the few properties that it does not carry.
#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace nibble::text::jinja {
namespace {

struct Range {
    char32_t first, last;
};

// Numeric_Type=Digit outside category Nd (superscripts, circled digits, …).
constexpr Range kOtherDigits[] = {{0xb2, 0xb3},       {0xb9, 0xb9},       {0x1369, 0x1371},   {0x19da, 0x19da},
                                  {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
                                  {0x2474, 0x247c},   {0x2488, 0x2490},   {0x24ea, 0x24ea},   {0x24f5, 0x24fd},
                                  {0x24ff, 0x24ff},   {0x2776, 0x277e},   {0x2780, 0x2788},   {0x278a, 0x2792},
                                  {0x10a40, 0x10a43}, {0x10e60, 0x10e68}, {0x11052, 0x1105a}, {0x1f100, 0x1f10a}};

// Ideographs with a numeric value.
constexpr Range kNumericIdeographs[] = {
    {0x3405, 0x3405},   {0x3483, 0x3483},   {0x382a, 0x382a},   {0x3b4d, 0x3b4d},   {0x4e00, 0x4e00},
    {0x4e03, 0x4e03},   {0x4e07, 0x4e07},   {0x4e09, 0x4e09},   {0x4e5d, 0x4e5d},   {0x4e8c, 0x4e8c},
    {0x4e94, 0x4e94},   {0x4e96, 0x4e96},   {0x4ebf, 0x4ec0},   {0x4edf, 0x4edf},   {0x4ee8, 0x4ee8},
    {0x4f0d, 0x4f0d},   {0x4f70, 0x4f70},   {0x5104, 0x5104},   {0x5146, 0x5146},   {0x5169, 0x5169},
    {0x516b, 0x516b},   {0x516d, 0x516d},   {0x5341, 0x5341},   {0x5343, 0x5345},   {0x534c, 0x534c},
    {0x53c1, 0x53c4},   {0x56db, 0x56db},   {0x58f1, 0x58f1},   {0x58f9, 0x58f9},   {0x5e7a, 0x5e7a},
    {0x5efe, 0x5eff},   {0x5f0c, 0x5f0e},   {0x5f10, 0x5f10},   {0x62fe, 0x62fe},   {0x634c, 0x634c},
    {0x67d2, 0x67d2},   {0x6f06, 0x6f06},   {0x7396, 0x7396},   {0x767e, 0x767e},   {0x8086, 0x8086},
    {0x842c, 0x842c},   {0x8cae, 0x8cae},   {0x8cb3, 0x8cb3},   {0x8d30, 0x8d30},   {0x9621, 0x9621},
    {0x9646, 0x9646},   {0x964c, 0x964c},   {0x9678, 0x9678},   {0x96f6, 0x96f6},   {0xf96b, 0xf96b},
    {0xf973, 0xf973},   {0xf978, 0xf978},   {0xf9b2, 0xf9b2},   {0xf9d1, 0xf9d1},   {0xf9d3, 0xf9d3},
    {0xf9fd, 0xf9fd},   {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200e2, 0x200e2}, {0x20121, 0x20121},
    {0x2092a, 0x2092a}, {0x20983, 0x20983}, {0x2098c, 0x2098c}, {0x2099c, 0x2099c}, {0x20aea, 0x20aea},
    {0x20afd, 0x20afd}, {0x20b19, 0x20b19}, {0x22390, 0x22390}, {0x22998, 0x22998}, {0x23b1b, 0x23b1b},
    {0x2626d, 0x2626d}, {0x2f890, 0x2f890}};

// Other_Lowercase and Other_Uppercase.
constexpr Range kOtherLower[] = {
    {0xaa, 0xaa},     {0xba, 0xba},     {0x2b0, 0x2b8},     {0x2c0, 0x2c1},     {0x2e0, 0x2e4},     {0x345, 0x345},
    {0x37a, 0x37a},   {0x1d2c, 0x1d6a}, {0x1d78, 0x1d78},   {0x1d9b, 0x1dbf},   {0x2071, 0x2071},   {0x207f, 0x207f},
    {0x2090, 0x209c}, {0x2170, 0x217f}, {0x24d0, 0x24e9},   {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},
    {0xa7f8, 0xa7f9}, {0xab5c, 0xab5f}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}};
constexpr Range kOtherUpper[] = {
    {0x2160, 0x216f}, {0x24b6, 0x24cf}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

bool within(std::span<const Range> ranges, char32_t c) {
    auto it = std::upper_bound(ranges.begin(), ranges.end(), c, [](char32_t c, const Range& r) { return c < r.first; });
    return it != ranges.begin() && c <= std::prev(it)->last;
}

utf8proc_category_t category(char32_t c) {
    return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_letter(utf8proc_category_t c) {
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

// The length of the well-formed sequence at s[at], and its code point; 0 when there is none.
size_t well_formed(std::string_view s, size_t at, char32_t& c) {
    auto byte = [&](size_t i) { return at + i < s.size() ? static_cast<unsigned char>(s[at + i]) : 0u; };
    auto tail = [&](size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
    const unsigned b = byte(0);
    if (b < 0x80) {
        c = b;
        return 1;
    }
    if (b < 0xc2) return 0;
    if (b < 0xe0) {
        if (!tail(1)) return 0;
        c = (b & 0x1fu) << 6 | (byte(1) & 0x3fu);
        return 2;
    }
    if (b < 0xf0) {
        if (!tail(1) || !tail(2)) return 0;
        c = (b & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
        return c < 0x800 || (c >= 0xd800 && c < 0xe000) ? 0 : 3;
    }
    if (b < 0xf5) {
        if (!tail(1) || !tail(2) || !tail(3)) return 0;
        c = (b & 0x07u) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu);
        return c < 0x10000 || c > 0x10ffff ? 0 : 4;
    }
    return 0;
}

}  // namespace

char32_t next_code_point(std::string_view s, size_t& at) {
    char32_t c = 0xfffd;
    size_t length = well_formed(s, at, c);
    at += length ? length : 1;
    return length ? c : 0xfffd;
}

void append_utf8(std::string& out, char32_t c) {
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = 0xfffd;
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += static_cast<char>(0xc0 | c >> 6);
        out += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        out += static_cast<char>(0xe0 | c >> 12);
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        out += static_cast<char>(0x80 | (c & 0x3f));
    } else {
        out += static_cast<char>(0xf0 | c >> 18);
        out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
        out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
        out += static_cast<char>(0x80 | (c & 0x3f));
    }
}

bool valid_utf8(std::string_view s) {
    for (size_t at = 0; at < s.size();) {
        uint64_t eight;
        if (at + 8 <= s.size() && (std::memcpy(&eight, s.data() + at, 8), (eight & 0x8080808080808080) == 0)) {
            at += 8;
            continue;
        }
        char32_t c;
        size_t length = well_formed(s, at, c);
        if (length == 0) return false;
        at += length;
    }
    return true;
}

bool is_ascii(std::string_view s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

size_t code_points(std::string_view s) {
    size_t count = 0;
    for (size_t at = 0; at < s.size(); count++) next_code_point(s, at);
    return count;
}

size_t byte_offset(std::string_view s, size_t index) {
    size_t at = 0;
    for (; index > 0 && at < s.size(); index--) next_code_point(s, at);
    return at;
}

bool is_space(char32_t c) {
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_line_end(char32_t c) {
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_printable(char32_t c) {
    if (c == ' ') return true;
    switch (category(c)) {
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_CS:
        case UTF8PROC_CATEGORY_CO:
        case UTF8PROC_CATEGORY_CN:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
        case UTF8PROC_CATEGORY_ZS:
            return false;
        default:
            return true;
    }
}

bool is_alpha(char32_t c) {
    return is_letter(category(c));
}
bool is_decimal(char32_t c) {
    return category(c) == UTF8PROC_CATEGORY_ND;
}
bool is_digit(char32_t c) {
    return is_decimal(c) || within(kOtherDigits, c);
}
bool is_numeric(char32_t c) {
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO ||
           within(kNumericIdeographs, c);
}
bool is_lower(char32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LL || within(kOtherLower, c);
}
bool is_upper(char32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LU || within(kOtherUpper, c);
}
bool is_title(char32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LT;
}
bool is_word(char32_t c) {
    return c == '_' || is_alpha(c) || is_numeric(c);
}

bool is_identifier(std::string_view s) {
    if (s.empty()) return false;
    for (size_t at = 0; at < s.size();) {
        const bool first = at == 0;
        char32_t c = next_code_point(s, at);
        utf8proc_category_t k = category(c);
        if (c == '_' || is_letter(k) || k == UTF8PROC_CATEGORY_NL) continue;
        if (first) return false;
        if (k != UTF8PROC_CATEGORY_MN && k != UTF8PROC_CATEGORY_MC && k != UTF8PROC_CATEGORY_ND &&
            k != UTF8PROC_CATEGORY_PC && c != 0xb7)
            return false;
    }
    return true;
}

}  // namespace nibble::text::jinja
