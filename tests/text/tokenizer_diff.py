#!/usr/bin/env python3
"""Compares nibble's tokenizer with the Python package `tokenizers`, on tokenizers and texts made from a seed.

    tokenizer_diff.py PROBE [--seed N] [--count N] [--family NAME]

PROBE is the tokenizer_probe program. For every family of tokenizers (the byte-level ones with their split patterns, the
SentencePiece-like ones, and random combinations of all supported components) a small model is trained on generated text,
and `count` texts are encoded with and without added tokens, decoded, streamed, and encoded literally by both. The texts
are made to hurt: all scripts, combining marks, emoji, right to left, control characters, every kind of space, long runs,
contractions, added tokens between spaces, text that normalization changes.
"""
import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = (CONTRACTIONS +
          r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+%s" + r"|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*%s")
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NEMOTRON = CASED % ("", "") + r"|\p{N}" + REST
O200K = CASED % (CONTRACTIONS + "?", CONTRACTIONS + "?") + r"|\p{N}{1,3}" + REST
DEEPSEEK = [
    r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
]
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        + CONTRACTIONS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GROUPED_DIGITS = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PATTERNS = [
    GPT2, LLAMA3, CL100K, QWEN2, QWEN35, NEMOTRON, O200K, BLOOM, KIMI, GROUPED_DIGITS, *DEEPSEEK, r"\w+|[^\w\s]+",
    r"(?<=\p{L})\d+|\b\w", r"(?<!\s)\s|\S{1,4}", r"(a|ab)(c|bcd)*|\p{Greek}+|\p{Han}{2,3}?", r"[[:alpha:]]+|[[:punct:]]",
    r"(?i)Ärger|k+|s|\bσ", r"^.|.$|\n+", r"\d{3}|[0-9]+|\h", r"x*", r"(?:\p{Lu}\p{Ll}*?)+|\p{Emoji}+", r"[^\p{L}\p{N}]*+\p{L}|.",
    r"(?>\s+)|(?=[A-Z])[A-z]+|[^\n]", r"\A\s*|\s*\z|\p{^L}", "[\\x{4e00}-\\x{9fff}]+|[a-z&&[^aeiou]]+|\\u00e9", r"(\p{L}\p{M}*){2}?",
]

SCRIPTS = [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x586),
           (0x5D0, 0x5EA), (0x620, 0x64A), (0x700, 0x74A), (0x904, 0x939), (0x985, 0x9B9), (0xA05, 0xA39), (0xB85, 0xBB9),
           (0xC05, 0xC39), (0xD05, 0xD39), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF40, 0xFBC), (0x1000, 0x109F),
           (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FD), (0x1780, 0x17FF), (0x1E00, 0x1FFF),
           (0x2C00, 0x2DFF), (0x3041, 0x3096), (0x30A1, 0x30FF), (0x3105, 0x312F), (0x4E00, 0x4FFF), (0x5B57, 0x5FFF),
           (0xA000, 0xA4CF), (0xA720, 0xA7FF), (0xAC00, 0xAD00), (0xFB00, 0xFB4F), (0xFE70, 0xFEFC), (0xFF00, 0xFFEF),
           (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1E900, 0x1E943), (0x20000, 0x20100), (0x2F800, 0x2FA1D)]
SPACES = " \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
NEAR_SPACES = "\u200b\u200c\u200d\u2060\ufeff\u180e\x00\x1c\x1f"
WORDS = ("the of and to in is that it was for on are as with his they at be this have from I'm you're don't we'll he'd "
         "they've it's IT'S DON'T ſ'ſ function return const class import def self print None True null void int double "
         "hello world Hello World HELLO WORLD camelCase PascalCase HTTPServer snake_case kebab-case x86_64 v1.2.3 3.14159 "
         "1,000,000 2026-08-13 user@example.org https://example.org/a/b?c=d#e straße Ärger naïve café résumé Übung ijssel "
         "Привет мир как дела γειά σου Κόσμε مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีครับ こんにちは世界 カタカナ "
         "人工智能 你好 世界 안녕하세요 세계 Việt Nam Đặng Ǆ ǅ ǆ ﬁn ﬂow ½ ² Ⅷ ٣٤٥ १२३ ௧௨௩ 一二三").split(" ")
MARKS = "".join(map(chr, [*range(0x300, 0x36F), 0x483, 0x591, 0x5B0, 0x5C1, 0x64B, 0x651, 0x670, 0x93C, 0x94D, 0x9BE, 0xE31, 0xE34,
                          0xE48, 0x1DC0, 0x20D0, 0x3099, 0x309A, 0xFE0F, 0xFE20, 0x1D165]))
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️", "1️⃣", "🧑🏿‍🚀", "☠", "🎉🎉"]
CHANGING = ["e\u0301", "\u1e9b\u0323", "\u212b", "\u2126", "q\u0307\u0323", "\u1100\u1161\u11a8", "\u0344", "\u0958", "\u09c7\u09be",
            "a\u0315\u0300\u05ae\u0062", "ﬃ", "①", "ｶﾞ", "㌀", "\u1112\u1161\u11ab", "\u0dd9\u0dcf\u0dca", "\u2adc",
            "\U0001d15e", "\u0345\u0301", "İI", "\u1fbc", "\u0f71\u0f72\u0f74"]


class Texts:
    """Texts from a seed."""

    def __init__(self, seed, tokens=()):
        self.random = random.Random(seed)
        self.tokens = list(tokens)
        self.kinds = [self.words, self.words, self.words, self.any_script, self.code, self.marks, self.spaces, self.emoji,
                      self.numbers, self.controls, self.punctuation, self.changing, self.run, self.anything, self.short]

    def script_word(self):
        first, last = self.random.choice(SCRIPTS)
        return "".join(chr(self.random.randint(first, last)) for _ in range(self.random.randint(1, 9)))

    def word(self):
        r = self.random.random()
        w = self.random.choice(WORDS) if r < 0.8 else self.script_word()
        if r < 0.1:
            w = w.upper()
        elif r < 0.2:
            w = w.capitalize()
        return w

    def words(self):
        return " ".join(self.word() for _ in range(self.random.randint(1, 14)))

    def any_script(self):
        return self.random.choice(["", " ", ", "]).join(self.script_word() for _ in range(self.random.randint(1, 8)))

    def code(self):
        lines = []
        for _ in range(self.random.randint(1, 5)):
            indent = self.random.choice(["", "    ", "\t", "        "]) * self.random.randint(0, 3)
            body = self.random.choice(["if (x != nullptr) {", "}", "return foo(bar, 12);", "// comment", "x = y / z;", "/**/", "a->b();",
                                       "<div class=\"a\">", "'s", "print('it''s')"])
            lines.append(indent + body)
        return self.random.choice(["\n", "\r\n", "\n\n"]).join(lines)

    def marks(self):
        base = self.random.choice(["", "a", "Z", "क", "ท", " ", "字", "1", "."])
        return "".join(base + "".join(self.random.choice(MARKS) for _ in range(self.random.randint(0, 7)))
                       for _ in range(self.random.randint(1, 6)))

    def spaces(self):
        pool = SPACES if self.random.random() < 0.7 else SPACES + NEAR_SPACES
        return "".join(self.random.choice([self.word(), "", "!"]) + "".join(
            self.random.choice(pool if self.random.random() < 0.5 else " \n") for _ in range(self.random.randint(1, 6)))
                       for _ in range(self.random.randint(1, 5)))

    def emoji(self):
        return self.random.choice(["", " "]).join(
            self.random.choice(EMOJI + [self.word()]) for _ in range(self.random.randint(1, 6)))

    def numbers(self):
        digits = self.random.choice(["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "²³½Ⅳ①", "0１𝟚"])
        return "".join(self.random.choice(digits) if self.random.random() < 0.85 else self.random.choice(" .,-a'")
                       for _ in range(self.random.randint(1, 16)))

    def controls(self):
        return "".join(chr(self.random.choice([self.random.randint(0, 0x20), self.random.randint(0x7F, 0x9F), 0xFFFD, 0xFFFE,
                                               0xE000, 0x10FFFF, 0xAD, 0x61]))
                       for _ in range(self.random.randint(1, 8)))

    def punctuation(self):
        return "".join(self.random.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»…—。、¿。\n\r/ ▁Ġ")
                       for _ in range(self.random.randint(1, 12)))

    def changing(self):
        return self.random.choice(["", " ", "x"]).join(
            self.random.choice(CHANGING) for _ in range(self.random.randint(1, 6)))

    def run(self):
        unit = self.random.choice(["a", "A", " ", "\n", "aB", "字", "́", "é", "=", "-", "0", "▁", "  x", "Ａ", "\r\n", "ab ", "<", "'"])
        return unit * self.random.choice([2, 5, 17, 40, 130])

    def anything(self):
        return "".join(self.code_point() for _ in range(self.random.randint(1, 12)))

    def code_point(self):
        while True:
            c = self.random.choice([self.random.randint(0, 0x3000), self.random.randint(0, 0xFFFF), self.random.randint(0, 0x1FFFF),
                                    self.random.randint(0, 0x10FFFF)])
            if not 0xD800 <= c <= 0xDFFF:
                return chr(c)

    def short(self):
        return self.random.choice(["", " ", "  ", "\n", "a", "'", "'s", "▁", "\u0301", "é", "\r", "Ġ", "<", "\x00"])

    def text(self):
        parts = []
        for _ in range(self.random.randint(1, 4)):
            parts.append(self.random.choice(self.kinds)())
            if self.tokens and self.random.random() < 0.35:
                gap = lambda: "".join(self.random.choice(" \n\t\xa0") for _ in range(self.random.choice([0, 0, 1, 2, 3])))
                token = self.random.choice(self.tokens)
                if self.random.random() < 0.1:
                    token = token[:-1]
                parts.append(gap() + token + gap())
        return self.random.choice(["", " "]).join(parts)


def training_lines(seed):
    texts = Texts(seed)
    return [texts.words() for _ in range(1200)] + [texts.text() for _ in range(600)]


def token(content, **flags):
    return AddedToken(content, **{"normalized": False, "special": False, **flags})


CHAT_TOKENS = [token("<|endoftext|>", special=True), token("<|im_start|>", special=True), token("<|im_end|>", special=True),
               token("<think>"), token("</think>"), token("<tool_call>"), token("<|im_end|>x")]
ODD_TOKENS = [token("[L]", lstrip=True), token("[R]", rstrip=True, special=True), token("[B]", lstrip=True, rstrip=True),
              token("wörd", single_word=True), token("Norm É", normalized=True), token("  ", normalized=True), token("x", single_word=True),
              token("\n\n\n"), token("<s p>", special=True, normalized=True), token("e\u0301", normalized=True)]


def train(tokenizer, seed, size, initial, added):
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=initial, show_progress=False,
                                  limit_alphabet=400, max_token_length=24)
    tokenizer.train_from_iterator(training_lines(seed), trainer)
    tokenizer.add_tokens(added)
    return tokenizer


def byte_level(seed, pattern=None, normalizer=None, sequence=None, added=CHAT_TOKENS, use_regex=False, prefix=False,
               ignore_merges=False, size=1500):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        t.normalizer = normalizer
    level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)
    steps = list(sequence or [])
    if pattern is not None:
        steps += [pre_tokenizers.Split(Regex(p), "isolated") for p in ([pattern] if isinstance(pattern, str) else pattern)]
    t.pre_tokenizer = pre_tokenizers.Sequence(steps + [level]) if steps else level
    t.decoder = decoders.ByteLevel()
    return train(t, seed, size, pre_tokenizers.ByteLevel.alphabet(), added)


def edited(tokenizer, edit):
    data = json.loads(tokenizer.to_str())
    edit(data)
    return Tokenizer.from_str(json.dumps(data))


def with_byte_pieces(data):
    vocab = data["model"]["vocab"]
    for b in range(256):
        vocab.setdefault("<0x%02X>" % b, len(vocab))
    data["model"]["byte_fallback"] = True


def sentencepiece(seed, style):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    if style == "gemma":
        t.normalizer = normalizers.Replace(" ", "▁")
        t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    elif style == "llama2":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=style)
        t.decoder = decoders.Metaspace(prepend_scheme=style)
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
                                  limit_alphabet=300, max_token_length=16)
    if style in ("gemma", "llama2"):  # trained on words, used on whole texts
        saved, t.pre_tokenizer = t.pre_tokenizer, pre_tokenizers.Metaspace(prepend_scheme="never")
        t.train_from_iterator(training_lines(seed), trainer)
        if saved is None:
            t = edited(t, lambda data: data.update(pre_tokenizer=None))
        else:
            t.pre_tokenizer = saved
        t = edited(t, with_byte_pieces)
    else:
        t.train_from_iterator(training_lines(seed), trainer)
    t.add_tokens(CHAT_TOKENS[1:4] + [token("▁▁", normalized=False), token("\n\n")])
    unk, bos, eos = (t.token_to_id(x) for x in ("<unk>", "<s>", "</s>"))
    return edited(t, lambda data: data.update(post_processor={
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]},
                           "</s>": {"id": "</s>", "ids": [eos, unk], "tokens": ["</s>", "<unk>"]}}}))


def word_suffix(seed, prefix=None, suffix=None):
    affixes = {k: v for k, v in (("continuing_subword_prefix", prefix), ("end_of_word_suffix", suffix)) if v}
    t = Tokenizer(models.BPE(unk_token="<unk>", **affixes))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    if suffix:
        t.decoder = decoders.BPEDecoder(suffix)
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=["<unk>", "<s>"], show_progress=False, limit_alphabet=200,
                                  **affixes)
    t.train_from_iterator(training_lines(seed), trainer)
    t.add_tokens(ODD_TOKENS)
    return t


def random_components(seed):
    """A tokenizer whose components are drawn from all that are supported."""
    r = random.Random(seed)
    patterns = [r" ", "-", "▁", r"\s+", r"[a-z]+", r"\p{L}+", r"\d", r"\p{P}", r"x*"]

    def normalizer():
        return r.choice([
            normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD, normalizers.Lowercase,
            normalizers.StripAccents, normalizers.Nmt, lambda: normalizers.Strip(True, False),  # on the right, the package miscounts beyond ASCII
            lambda: normalizers.Replace(r.choice([" ", "a", "--", Regex(r"\s+"), Regex(r"(?<=a)b|[0-9]")]), r.choice(["", "▁", "xy"])),
            lambda: normalizers.Prepend(r.choice(["▁", "ab"])), normalizers.ByteLevel])()

    def split():
        pattern = r.choice(patterns)
        return pre_tokenizers.Split(
            pattern if len(pattern) == 1 else Regex(pattern),
            r.choice(["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]), r.random() < 0.4)

    def pre_tokenizer(index):
        # After a split, "first" depends on which original character a normalizer counts each byte to.
        schemes = ["always", "first", "never"] if index == 0 else ["always", "never"]
        return r.choice([
            split, split, pre_tokenizers.Whitespace, pre_tokenizers.WhitespaceSplit, pre_tokenizers.BertPreTokenizer,
            lambda: pre_tokenizers.Digits(r.random() < 0.5), lambda: pre_tokenizers.FixedLength(r.randint(1, 6)),
            lambda: pre_tokenizers.Punctuation(r.choice(["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"])),
            lambda: pre_tokenizers.Metaspace(prepend_scheme=r.choice(schemes), split=r.random() < 0.7),
            lambda: pre_tokenizers.CharDelimiterSplit(r.choice("a ,")),
            lambda: pre_tokenizers.ByteLevel(r.random() < 0.5, use_regex=r.random() < 0.5)])()

    def decoder():
        return r.choice([
            decoders.ByteLevel, decoders.Fuse, decoders.ByteFallback, lambda: decoders.Replace(r.choice(["▁", "a", "th"]), r.choice(["", " ", "aa"])),
            lambda: decoders.Replace(Regex(r"[aeiou]+|\s"), "-"), lambda: decoders.Metaspace(prepend_scheme=r.choice(["always", "never"])),
            lambda: decoders.Strip(r.choice("a b"), r.randint(0, 2), 0), lambda: decoders.BPEDecoder("e")])()

    unknown = r.choice([{}, {"unk_token": "<unk>"}])
    t = Tokenizer(models.BPE(**unknown, fuse_unk=r.random() < 0.5, ignore_merges=r.random() < 0.3))
    t.normalizer = normalizers.Sequence([normalizer() for _ in range(r.randint(0, 3))])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizer(i) for i in range(r.randint(0, 3))])
    t.decoder = decoders.Sequence([decoder() for _ in range(r.randint(0, 4))])
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>"], show_progress=False, limit_alphabet=300,
                                  max_token_length=12, initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if r.random() < 0.5 else [])
    t.train_from_iterator(training_lines(seed)[::6], trainer)
    if r.random() < 0.5:
        t = edited(t, with_byte_pieces)
    added = {}  # nibble refuses tokens of which normalization leaves nothing, or the same
    for odd in r.sample(ODD_TOKENS, 4) + CHAT_TOKENS[:3]:
        seen = t.normalizer.normalize_str(odd.content) if odd.normalized else odd.content
        if seen:
            added.setdefault(seen, odd)
    t.add_tokens(list(added.values()))
    return t


FAMILIES = {
    "nemotron": lambda s: byte_level(s, NEMOTRON, ignore_merges=True),
    "qwen2": lambda s: byte_level(s, QWEN2, normalizers.NFC()),
    "qwen3.5": lambda s: byte_level(s, QWEN35, normalizers.NFC()),
    "gpt2": lambda s: byte_level(s, use_regex=True, added=CHAT_TOKENS[:1]),
    "roberta": lambda s: byte_level(s, use_regex=True, prefix=True, added=[token("<mask>", lstrip=True, special=True)]),
    "smollm": lambda s: byte_level(s, sequence=[pre_tokenizers.Digits(individual_digits=True)], use_regex=True),
    "llama3": lambda s: byte_level(s, LLAMA3, ignore_merges=True),
    "cl100k": lambda s: byte_level(s, CL100K),
    "o200k": lambda s: byte_level(s, O200K),
    "deepseek": lambda s: byte_level(s, DEEPSEEK),
    "bloom": lambda s: byte_level(s, BLOOM),
    "kimi": lambda s: byte_level(s, KIMI, normalizers.NFC()),
    "falcon": lambda s: byte_level(s, sequence=[pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(False),
                                                pre_tokenizers.Digits(False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]),
    "odd-tokens": lambda s: byte_level(s, QWEN2, normalizers.NFC(), added=ODD_TOKENS),
    "gemma": lambda s: sentencepiece(s, "gemma"),
    "llama2": lambda s: sentencepiece(s, "llama2"),
    "metaspace-first": lambda s: sentencepiece(s, "first"),
    "metaspace-always": lambda s: sentencepiece(s, "always"),
    "word-suffix": lambda s: word_suffix(s, suffix="</w>"),
    "word-prefix": lambda s: word_suffix(s, prefix="##"),
    **{"random-%d" % i: random_components for i in range(8)},
}


def hexed(text):
    data = text.encode() if isinstance(text, str) else text
    return data.hex() or "-"


class Checker:
    def __init__(self, probe):
        self.probe = probe
        self.passed = self.failed = 0
        self.pending = []

    def ask(self, request, expected, what):
        self.pending.append((request, expected, what))

    def run(self, title):
        if not self.pending:
            return
        asked = "".join(request + "\n" for request, _, _ in self.pending)
        done = subprocess.run([self.probe], input=asked.encode(), stdout=subprocess.PIPE)
        answers = done.stdout.decode().split("\n")[:-1]
        answers += ["no answer (exit status %d)" % done.returncode] * (len(self.pending) - len(answers))
        failed = 0
        for (request, expected, what), answer in zip(self.pending, answers):
            if answer.strip() == expected:
                continue
            failed += 1
            if failed <= 3:
                print(f"FAIL {title}: {what}\n  request  {request[:300]}\n  expected {expected[:300]}\n  found    {answer.strip()[:300]}")
        self.failed += failed
        self.passed += len(self.pending) - failed
        print(f"{title}: {len(self.pending)} compared, {failed} differ", flush=True)
        self.pending = []


def literal(tokenizer, text):
    """The whole pipeline without its added tokens."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    pieces = [text]
    if tokenizer.pre_tokenizer is not None:
        pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    return [t.id for piece in pieces if piece for t in tokenizer.model.tokenize(piece)]


def numbers(ids):
    return " ".join(map(str, ids))


def check_family(checker, name, seed, count, folder):
    tokenizer = FAMILIES[name](seed)
    path = os.path.join(folder, name + ".json")
    tokenizer.save(path)
    tokenizer = Tokenizer.from_file(path)
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    texts = Texts(seed * 7919 + 1, added)
    r = random.Random(seed * 31 + 7)
    size = tokenizer.get_vocab_size()
    checker.ask("load " + path, "ok", "load")
    # Literal text keeps special tokens out where the package would let whole words in.
    # And literal() forgets whether the first character of a text was removed, on which prepend_scheme first depends.
    described = json.loads(tokenizer.to_str())
    skip_literal = '"first"' in json.dumps(described["pre_tokenizer"]) and described["normalizer"] is not None
    special = {t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special}
    for _ in range(count):
        text = texts.text()
        try:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            full = tokenizer.encode(text).ids
        except BaseException as e:  # the package panics on some combinations
            if "Panic" not in type(e).__name__:
                raise
            continue
        checker.ask(f"encode 1 0 {hexed(text)}", numbers(ids), repr(text))
        checker.ask(f"encode 1 1 {hexed(text)}", numbers(full), repr(text))
        for some in (ids, [r.randrange(size + 3) for _ in range(r.randint(0, 12))]):
            skip = r.random() < 0.5
            try:
                decoded = tokenizer.decode(some, skip_special_tokens=skip)
            except BaseException as e:
                if "Panic" not in type(e).__name__:
                    raise
                continue
            checker.ask(f"decode {int(skip)} {numbers(some)}", hexed(decoded), f"decode {some}")
            checker.ask(f"stream {int(skip)} {numbers(some)}", hexed(decoded), f"stream {some}")
        if skip_literal:
            continue
        plain = literal(tokenizer, text)
        if not any(tokenizer.id_to_token(i) in special for i in plain):
            checker.ask(f"encode 0 0 {hexed(text)}", numbers(plain), "literal " + repr(text))
    checker.run(name)


def check_apart(checker, name, seed, count, folder):
    """In a process of its own: some combinations of components kill the package."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        alone = Checker(checker.probe)
        try:
            check_family(alone, name, seed, count, folder)
            os.write(writer, b"%d %d" % (alone.passed, alone.failed))
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.close(writer)
    counts = os.read(reader, 100).split()
    os.close(reader)
    os.waitpid(child, 0)
    if len(counts) != 2:
        print(f"{name}: the package died, nothing was compared", flush=True)
        return
    checker.passed += int(counts[0])
    checker.failed += int(counts[1])


def check_patterns(checker, seed, count):
    texts = Texts(seed * 104729 + 3)
    for pattern in PATTERNS:
        split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
        for _ in range(count):
            text = texts.text()
            offsets = [0]
            for c in text:
                offsets.append(offsets[-1] + len(c.encode()))
            spans = " ".join(f"{offsets[b]}-{offsets[e]}" for _, (b, e) in split.pre_tokenize_str(text))
            for verb in ("regex", "interpret"):
                checker.ask(f"{verb} {hexed(pattern)} {hexed(text)}", spans, f"{pattern} on {text!r}")
        checker.run("pattern " + pattern[:60])


def check_normalizers(checker, seed, count):
    texts = Texts(seed * 1299709 + 5)
    forms = {"nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD()}
    for name, form in forms.items():
        for _ in range(count):
            text = texts.text()
            checker.ask(f"normalize {name} {hexed(text)}", hexed(form.normalize_str(text)), f"{name} of {text!r}")
        for c in range(0, 0x110000):
            if not 0xD800 <= c <= 0xDFFF and (c < 0x3400 or c % 31 == seed % 31):
                text = "a" + chr(c) + "\u0300" + chr(c)
                checker.ask(f"normalize {name} {hexed(text)}", hexed(form.normalize_str(text)), f"{name} of U+{c:04X}")
        checker.run("normal form " + name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probe")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300, help="texts a family and pattern")
    parser.add_argument("--family", help="only this one; also: patterns, normalizers")
    args = parser.parse_args()
    # A runaway oracle ends itself, not the machine; but a sanitizer maps terabytes, and the probe inherits the limit.
    if not any(word in os.environ.get("TEST_BUILD", "") for word in ("asan", "tsan")):
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    checker = Checker(args.probe)
    with tempfile.TemporaryDirectory() as folder:
        if args.family in (None, "patterns"):
            check_patterns(checker, args.seed, args.count)
        if args.family in (None, "normalizers"):
            check_normalizers(checker, args.seed, args.count)
        for i, name in enumerate(FAMILIES):
            if args.family in (None, name):
                check = check_apart if name.startswith("random") else check_family
                check(checker, name, args.seed * 1000 + i, args.count, folder)
    print(f"{checker.passed} passed, {checker.failed} failed")
    return checker.failed != 0


if __name__ == "__main__":
    sys.exit(main())
