#include "text/tokenizer/regex_properties.h"

#include <string>
#include <utility>

namespace nibble::text {
namespace {

using unicode::Category;

std::string folded(std::string_view name) {
    std::string out;
    for (const char c : name) {
        if (c == '_' || c == '-' || c == ' ') continue;
        out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
    }
    return out;
}

// A property by general category (a bit mask) or flag, under the names that patterns use.
struct NamedProperty {
    std::string_view name;  // folded
    uint32_t categories;
    uint16_t flags;
};

template <class... C>
constexpr uint32_t mask(C... categories) {
    return ((uint32_t{1} << static_cast<int>(categories)) | ...);
}

constexpr uint32_t kLetters = mask(Category::Lu, Category::Ll, Category::Lt, Category::Lm, Category::Lo);
constexpr uint32_t kMarks = mask(Category::Mn, Category::Mc, Category::Me);
constexpr uint32_t kNumbers = mask(Category::Nd, Category::Nl, Category::No);
constexpr uint32_t kPunctuations =
    mask(Category::Pc, Category::Pd, Category::Ps, Category::Pe, Category::Pi, Category::Pf, Category::Po);
constexpr uint32_t kSymbols = mask(Category::Sm, Category::Sc, Category::Sk, Category::So);
constexpr uint32_t kSeparators = mask(Category::Zs, Category::Zl, Category::Zp);
constexpr uint32_t kOthers = mask(Category::Cc, Category::Cf, Category::Cs, Category::Co, Category::Cn);
constexpr uint32_t kCased = mask(Category::Lu, Category::Ll, Category::Lt);
constexpr uint32_t kEverything = (uint32_t{1} << 30) - 1;

constexpr NamedProperty kProperties[] = {
    {"l", kLetters, 0},
    {"letter", kLetters, 0},
    {"lc", kCased, 0},
    {"casedletter", kCased, 0},
    {"lu", mask(Category::Lu), 0},
    {"uppercaseletter", mask(Category::Lu), 0},
    {"ll", mask(Category::Ll), 0},
    {"lowercaseletter", mask(Category::Ll), 0},
    {"lt", mask(Category::Lt), 0},
    {"titlecaseletter", mask(Category::Lt), 0},
    {"lm", mask(Category::Lm), 0},
    {"modifierletter", mask(Category::Lm), 0},
    {"lo", mask(Category::Lo), 0},
    {"otherletter", mask(Category::Lo), 0},
    {"m", kMarks, 0},
    {"mark", kMarks, 0},
    {"combiningmark", kMarks, 0},
    {"mn", mask(Category::Mn), 0},
    {"nonspacingmark", mask(Category::Mn), 0},
    {"mc", mask(Category::Mc), 0},
    {"spacingmark", mask(Category::Mc), 0},
    {"me", mask(Category::Me), 0},
    {"enclosingmark", mask(Category::Me), 0},
    {"n", kNumbers, 0},
    {"number", kNumbers, 0},
    {"nd", mask(Category::Nd), 0},
    {"decimalnumber", mask(Category::Nd), 0},
    {"nl", mask(Category::Nl), 0},
    {"letternumber", mask(Category::Nl), 0},
    {"no", mask(Category::No), 0},
    {"othernumber", mask(Category::No), 0},
    {"p", kPunctuations, 0},
    {"punctuation", kPunctuations, 0},
    {"punct", kPunctuations, 0},
    {"pc", mask(Category::Pc), 0},
    {"connectorpunctuation", mask(Category::Pc), 0},
    {"pd", mask(Category::Pd), 0},
    {"dashpunctuation", mask(Category::Pd), 0},
    {"ps", mask(Category::Ps), 0},
    {"openpunctuation", mask(Category::Ps), 0},
    {"pe", mask(Category::Pe), 0},
    {"closepunctuation", mask(Category::Pe), 0},
    {"pi", mask(Category::Pi), 0},
    {"initialpunctuation", mask(Category::Pi), 0},
    {"pf", mask(Category::Pf), 0},
    {"finalpunctuation", mask(Category::Pf), 0},
    {"po", mask(Category::Po), 0},
    {"otherpunctuation", mask(Category::Po), 0},
    {"s", kSymbols, 0},
    {"symbol", kSymbols, 0},
    {"sm", mask(Category::Sm), 0},
    {"mathsymbol", mask(Category::Sm), 0},
    {"sc", mask(Category::Sc), 0},
    {"currencysymbol", mask(Category::Sc), 0},
    {"sk", mask(Category::Sk), 0},
    {"modifiersymbol", mask(Category::Sk), 0},
    {"so", mask(Category::So), 0},
    {"othersymbol", mask(Category::So), 0},
    {"z", kSeparators, 0},
    {"separator", kSeparators, 0},
    {"zs", mask(Category::Zs), 0},
    {"spaceseparator", mask(Category::Zs), 0},
    {"zl", mask(Category::Zl), 0},
    {"lineseparator", mask(Category::Zl), 0},
    {"zp", mask(Category::Zp), 0},
    {"paragraphseparator", mask(Category::Zp), 0},
    {"c", kOthers, 0},
    {"other", kOthers, 0},
    {"cc", mask(Category::Cc), 0},
    {"control", mask(Category::Cc), 0},
    {"cntrl", mask(Category::Cc), 0},
    {"cf", mask(Category::Cf), 0},
    {"format", mask(Category::Cf), 0},
    {"cs", mask(Category::Cs), 0},
    {"surrogate", mask(Category::Cs), 0},
    {"co", mask(Category::Co), 0},
    {"privateuse", mask(Category::Co), 0},
    {"cn", mask(Category::Cn), 0},
    {"unassigned", mask(Category::Cn), 0},
    {"any", kEverything, 0},
    {"assigned", kEverything & ~mask(Category::Cn), 0},
    {"digit", mask(Category::Nd), 0},
    {"graph", kEverything & ~(kSeparators | mask(Category::Cc, Category::Cn, Category::Cs)), 0},
    {"print", kEverything & ~mask(Category::Zl, Category::Zp, Category::Cc, Category::Cn, Category::Cs), 0},
    {"alpha", 0, unicode::kAlphabetic},
    {"alphabetic", 0, unicode::kAlphabetic},
    {"alnum", mask(Category::Nd), unicode::kAlphabetic},
    {"upper", 0, unicode::kUppercase},
    {"uppercase", 0, unicode::kUppercase},
    {"lower", 0, unicode::kLowercase},
    {"lowercase", 0, unicode::kLowercase},
    {"word", 0, unicode::kWord},
    {"ideographic", 0, unicode::kIdeographic},
    {"emoji", 0, unicode::kEmoji},
    {"emojipresentation", 0, unicode::kEmojiPresentation},
    {"extendedpictographic", 0, unicode::kExtendedPictographic},
};

}  // namespace

std::optional<CharSet> regex_property(std::string_view given) {
    const std::string name = folded(given);
    CharSet set;
    if (name == "space" || name == "whitespace") {
        for (const auto& [first, last] : {std::pair<char32_t, char32_t>{0x9, 0xD},
                                          {0x20, 0x20},
                                          {0x85, 0x85},
                                          {0xA0, 0xA0},
                                          {0x1680, 0x1680},
                                          {0x2000, 0x200A},
                                          {0x2028, 0x2029},
                                          {0x202F, 0x202F},
                                          {0x205F, 0x205F},
                                          {0x3000, 0x3000}}) {
            set.add(first, last);
        }
        return set;
    }
    if (name == "blank") {
        set = *regex_property("zs");
        set.add('\t', '\t');
        return set;
    }
    if (name == "xdigit") {
        set.add('0', '9');
        set.add('A', 'F');
        set.add('a', 'f');
        return set;
    }
    if (name == "ascii") {
        set.add(0, 0x7F);
        return set;
    }
    for (const auto& property : kProperties) {
        if (property.name != name) continue;
        set.add(unicode::where(
            [](const unicode::Properties& p, uint32_t wanted) { return (wanted >> p.category & 1) != 0; },
            property.categories));
        set.add(unicode::where([](const unicode::Properties& p, uint32_t wanted) { return (p.flags & wanted) != 0; },
                               property.flags));
        return set;
    }
    const auto ranges = unicode::script(name);
    if (ranges.empty()) return std::nullopt;
    set.add(ranges);
    return set;
}

}  // namespace nibble::text
