#!/usr/bin/env python3
"""Writes src/text/tokenizer/unicode_tables.cpp: the Unicode data that tokenizer.json files are read with.

The Python package `tokenizers` mixes several Unicode versions: its regular expressions (Oniguruma), its digit, word and
punctuation tests (the Rust standard library and crates) and its normalizers each carry their own. The tables are
therefore asked of the package itself, code point by code point, so that a text is cut where the package cuts it.

    tools/make_unicode_tables.py > src/text/tokenizer/unicode_tables.cpp      (needs: pip install tokenizers)
"""
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()
PROPERTIES = "Alphabetic Uppercase Lowercase Word Ideographic Emoji Emoji_Presentation Extended_Pictographic".split()
SCRIPTS = """Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki
Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian
Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan
Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi
Gurmukhi Gurung_Khema Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited
Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi
Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian
Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui
Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari
New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian Old_Italic Old_North_Arabian
Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene
Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting
Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet
Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Todhri Toto Tulu_Tigalari Ugaritic Vai Vithkuqi
Wancho Warang_Citi Yezidi Yi Zanabazar_Square""".split()

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
ALL = "".join(map(chr, CODE_POINTS))


def matching(regex_class):
    """The code points in a class of the package's regular expressions."""
    split = pre_tokenizers.Split(Regex("[^%s]+" % regex_class), "removed")
    return {ord(c) for piece, _ in split.pre_tokenize_str(ALL) for c in piece}


def kept_apart(pre_tokenizer):
    """The code points that a pre-tokenizer makes a piece of their own between two letters."""
    found = set()
    for c in CODE_POINTS:
        pieces = [p for p, _ in pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")]
        if pieces == ["a", chr(c), "a"]:
            found.add(c)
    return found


def runs(values):
    """[(first code point, value)] for a list of one value a code point."""
    out = []
    for c, value in enumerate(values):
        if not out or out[-1][1] != value:
            out.append((c, value))
    return out


def print_array(kind, name, items):
    print(f"const {kind} {name}[] = {{")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 118:
            print(line)
            line = "   "
        line += f" {item},"
    print(line)
    print("};")


def main():
    category = [CATEGORIES.index("Cs") if 0xD800 <= c <= 0xDFFF else None for c in range(0x110000)]
    for i, name in enumerate(CATEGORIES):
        if name != "Cs":
            for c in matching(r"\p{%s}" % name):
                assert category[c] is None
                category[c] = i
    flags = [0] * 0x110000
    for bit, name in enumerate(PROPERTIES):
        for c in matching(r"\p{%s}" % name):
            flags[c] |= 1 << bit
    bit = len(PROPERTIES)
    whitespace = pre_tokenizers.Whitespace()
    words = {c for c in CODE_POINTS if len(whitespace.pre_tokenize_str("a" + chr(c))) == 1 and
             whitespace.pre_tokenize_str("a" + chr(c))[0][0] != "a"}
    strip = normalizers.StripAccents()
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    for found in (
        words,
        kept_apart(pre_tokenizers.Digits(individual_digits=True)),
        kept_apart(pre_tokenizers.Punctuation()),
        {c for c in CODE_POINTS if strip.normalize_str("a" + chr(c)) == "a"},
        # Known to the normalizers: it decomposes, or it is put before U+0345, whose combining class is the highest.
        {c for c in CODE_POINTS if nfkd.normalize_str(chr(c)) != chr(c) or
         nfd.normalize_str("\u0345" + chr(c)) != "\u0345" + chr(c) or c == 0x345},
    ):
        for c in found:
            flags[c] |= 1 << bit
        bit += 1

    tuples = sorted(set(zip(category, flags)))
    assert len(tuples) <= 256
    index = {t: i for i, t in enumerate(tuples)}
    properties = runs([index[t] for t in zip(category, flags)])

    script = [0] * 0x110000
    for i, name in enumerate(SCRIPTS):
        for c in matching(r"\p{%s}" % name):
            assert script[c] == 0
            script[c] = i + 1
    scripts = runs(script)

    lower = normalizers.Lowercase()
    mapped = {c: lower.normalize_str(chr(c)) for c in CODE_POINTS if lower.normalize_str(chr(c)) != chr(c)}
    special = {c: s for c, s in mapped.items() if len(s) != 1}
    assert list(special) == [0x130], special
    ranges = []  # first, last, stride, delta
    for c in sorted(set(mapped) - set(special)):
        delta = ord(mapped[c]) - c
        if ranges and ranges[-1][3] == delta:
            first, last, stride, _ = ranges[-1]
            if first == last and c - last <= 2:
                ranges[-1] = (first, c, c - last, delta)
                continue
            if c - last == stride:
                ranges[-1] = (first, c, stride, delta)
                continue
        ranges.append((c, c, 1, delta))

    print(f"""// Unicode data as the Python package `tokenizers` {tokenizers.__version__} has it. Made by tools/make_unicode_tables.py; not edited.
//
// Runs: the first code point of the run in the upper 24 bits, what holds from there in the lower 8. Constant.
#include "text/tokenizer/unicode.h"

namespace nibble::text::unicode {{

// clang-format off
// What a code point can be: general category, flags (unicode.h).""")
    print_array("Properties", "kProperties", [f"{{{c}, 0x{f:04x}}}" for c, f in tuples])
    print("\n// Code points to entries of kProperties.")
    print_array("uint32_t", "kPropertyRuns", [f"0x{c << 8 | v:x}" for c, v in properties])
    print("\n// Code points to 1 + the index of a script; 0 is Unknown.")
    print_array("uint32_t", "kScriptRuns", [f"0x{c << 8 | v:x}" for c, v in scripts])
    print_array("char* const", "kScriptNames", [f'"{s}"' for s in SCRIPTS])
    print("\n// First, last, stride, and what is added to get the lower case. U+0130, which becomes two, is not here.")
    print_array("LowercaseRange", "kLowercaseRanges", ["{0x%x, 0x%x, %d, %d}" % r for r in ranges])
    print(f"""// clang-format on

const size_t kPropertyCount = {len(tuples)};
const size_t kPropertyRunCount = {len(properties)};
const size_t kScriptRunCount = {len(scripts)};
const size_t kScriptCount = {len(SCRIPTS)};
const size_t kLowercaseRangeCount = {len(ranges)};

}}  // namespace nibble::text::unicode""")
    print(len(tuples), len(properties), len(scripts), len(ranges), file=sys.stderr)


if __name__ == "__main__":
    main()
