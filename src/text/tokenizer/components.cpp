#include "text/tokenizer/components.h"

#include "text/tokenizer/vocabulary.h"

#include <algorithm>

namespace nibble::text {
namespace {

constexpr int kMaxNesting = 16;  // Sequences inside one another: the readers recurse as deep
constexpr size_t kMaxNormalizers = 64;
constexpr size_t kMaxPostSteps = 16, kMaxPostIds = 64;

bool is_one_of(std::string_view type, std::initializer_list<std::string_view> types) {
    return std::find(types.begin(), types.end(), type) != types.end();
}

Error too_deep(const JsonField& field) {
    return field.expected("at most 16 Sequences inside one another");
}

// {"String": …} or {"Regex": …}.
Result<Pattern> read_pattern(const JsonField& owner) {
    TRY(const JsonField field, owner.child("pattern"));
    if (const auto text = field.find("String")) {
        TRY(const auto value, text->string());
        auto pattern = Pattern::literal(std::string(value));
        if (!pattern) return text->at_this_place(pattern.error());
        return pattern;
    }
    if (const auto regex = field.find("Regex")) {
        TRY(const auto value, regex->string());
        auto pattern = Pattern::regex(value);
        if (!pattern) return regex->at_this_place(pattern.error());
        return pattern;
    }
    return field.expected("{\"String\": …} or {\"Regex\": …}");
}

Result<char32_t> read_character(const JsonField& owner, std::string_view key) {
    TRY(const JsonField field, owner.child(key));
    TRY(const auto text, field.string());
    if (text.empty() || text.size() != utf8::length(text[0])) return field.expected("one character");
    return utf8::at(text.data());
}

Result<void> add_normalizer(const JsonField& field, int nesting, std::vector<NormalizerStep>& steps) {
    using Kind = NormalizerStep::Kind;
    if (nesting > kMaxNesting) return too_deep(field);
    if (steps.size() >= kMaxNormalizers) return field.expected("at most 64 normalizers");
    TRY(const auto type, field.string("type"));
    if (type == "Sequence") {
        TRY(const JsonField list, field.child("normalizers"));
        TRY(const auto items, list.elements());
        for (const JsonField& item : items) TRY_VOID(add_normalizer(item, nesting + 1, steps));
    } else if (type == "NFC") {
        steps.push_back({.kind = Kind::nfc});
    } else if (type == "NFD") {
        steps.push_back({.kind = Kind::nfd});
    } else if (type == "NFKC") {
        steps.push_back({.kind = Kind::nfkc});
    } else if (type == "NFKD") {
        steps.push_back({.kind = Kind::nfkd});
    } else if (type == "Replace") {
        TRY(Pattern pattern, read_pattern(field));
        TRY(const auto content, field.string("content"));
        steps.push_back({.kind = Kind::replace, .pattern = std::move(pattern), .text = std::string(content)});
    } else if (type == "Prepend") {
        TRY(const auto prepend, field.string("prepend"));
        steps.push_back({.kind = Kind::prepend, .text = std::string(prepend)});
    } else if (type == "Strip") {
        TRY(const bool left, field.boolean("strip_left"));
        TRY(const bool right, field.boolean("strip_right"));
        steps.push_back({.kind = Kind::strip, .left = left, .right = right});
    } else if (type == "Lowercase") {
        steps.push_back({.kind = Kind::lowercase});
    } else if (type == "StripAccents") {
        steps.push_back({.kind = Kind::strip_accents});
    } else if (type == "Nmt") {
        steps.push_back({.kind = Kind::nmt});
    } else if (type == "ByteLevel") {
        steps.push_back({.kind = Kind::byte_level});
    } else {
        return field.unsupported(
            fmt::format("the normalizer {}", type),
            "Sequence, NFC, NFD, NFKC, NFKD, Replace, Prepend, Strip, Lowercase, StripAccents, Nmt, "
            "ByteLevel");
    }
    return {};
}

Result<SplitBehavior> read_behavior(const JsonField& field) {
    TRY(const auto name, field.string());
    if (name == "Removed") return SplitBehavior::removed;
    if (name == "Isolated") return SplitBehavior::isolated;
    if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
    if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
    if (name == "Contiguous") return SplitBehavior::contiguous;
    return field.expected("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

PreTokenizerStep split_step(Pattern pattern, SplitBehavior behavior, bool invert = false) {
    return {
        .kind = PreTokenizerStep::Kind::split, .pattern = std::move(pattern), .behavior = behavior, .invert = invert};
}

Result<void> add_metaspace(const JsonField& field, std::vector<PreTokenizerStep>& steps) {
    using Prepend = PreTokenizerStep::Prepend;
    TRY(const char32_t replacement, read_character(field, "replacement"));
    Prepend prepend = Prepend::always;
    if (const auto scheme = field.find("prepend_scheme")) {
        TRY(const auto name, scheme->string());
        if (name == "first") {
            prepend = Prepend::first;
        } else if (name == "never") {
            prepend = Prepend::never;
        } else if (name != "always") {
            return scheme->expected("always, first or never");
        }
    }
    TRY(const bool prefix, field.boolean("add_prefix_space", prepend != Prepend::never));
    if (!prefix && prepend != Prepend::never) {
        return field.expected("a prepend_scheme of never where add_prefix_space is false");
    }
    TRY(const bool split, field.boolean("split", true));
    const std::string mark = utf8::encode(replacement);
    steps.push_back({.kind = PreTokenizerStep::Kind::metaspace, .text = mark, .prepend = prepend});
    if (split) {
        auto pattern = Pattern::literal(mark);
        if (!pattern) return field.at_this_place(pattern.error());
        steps.push_back(split_step(*std::move(pattern), SplitBehavior::merged_with_next));
    }
    return {};
}

Result<void> add_pre_tokenizer(const JsonField& field, int nesting, std::vector<PreTokenizerStep>& steps) {
    using Kind = PreTokenizerStep::Kind;
    if (nesting > kMaxNesting) return too_deep(field);
    const auto numeric = [](char32_t c) { return unicode::has(c, unicode::kNumeric); };
    const auto punctuation = [](char32_t c) { return unicode::has(c, unicode::kPunctuation); };
    TRY(const auto type, field.string("type"));
    if (type == "Sequence") {
        TRY(const JsonField list, field.child("pretokenizers"));
        TRY(const auto items, list.elements());
        for (const JsonField& item : items) TRY_VOID(add_pre_tokenizer(item, nesting + 1, steps));
    } else if (type == "Split") {
        TRY(Pattern pattern, read_pattern(field));
        TRY(const JsonField behavior_field, field.child("behavior"));
        TRY(const SplitBehavior behavior, read_behavior(behavior_field));
        TRY(const bool invert, field.boolean("invert"));
        steps.push_back(split_step(std::move(pattern), behavior, invert));
    } else if (type == "ByteLevel") {
        TRY(const bool prefix, field.boolean("add_prefix_space"));
        TRY(const bool use_regex, field.boolean("use_regex", true));
        if (prefix) steps.push_back({.kind = Kind::prefix_space});
        if (use_regex) steps.push_back(split_step(Pattern::scanner(SplitScanner::gpt2()), SplitBehavior::isolated));
        steps.push_back({.kind = Kind::bytes});
    } else if (type == "Digits") {
        TRY(const bool individual, field.boolean("individual_digits"));
        steps.push_back(
            split_step(Pattern::characters(numeric), individual ? SplitBehavior::isolated : SplitBehavior::contiguous));
    } else if (type == "Metaspace") {
        TRY_VOID(add_metaspace(field, steps));
    } else if (type == "Whitespace") {
        steps.push_back(split_step(Pattern::words(), SplitBehavior::removed, true));
    } else if (type == "WhitespaceSplit") {
        steps.push_back(split_step(Pattern::characters(unicode::is_space), SplitBehavior::removed));
    } else if (type == "Punctuation") {
        SplitBehavior behavior = SplitBehavior::isolated;
        if (const auto given = field.find("behavior")) {
            TRY(behavior, read_behavior(*given));
        }
        steps.push_back(split_step(Pattern::characters(punctuation), behavior));
    } else if (type == "BertPreTokenizer") {
        steps.push_back(split_step(Pattern::characters(unicode::is_space), SplitBehavior::removed));
        steps.push_back(split_step(Pattern::characters(punctuation), SplitBehavior::isolated));
    } else if (type == "CharDelimiterSplit") {
        TRY(const char32_t delimiter, read_character(field, "delimiter"));
        auto pattern = Pattern::literal(utf8::encode(delimiter));
        if (!pattern) return field.at_this_place(pattern.error());
        steps.push_back(split_step(*std::move(pattern), SplitBehavior::removed));
    } else if (type == "FixedLength") {
        TRY(const JsonField length_field, field.child("length"));
        TRY(const int64_t length, length_field.integer(1, 1 << 20));
        steps.push_back({.kind = Kind::fixed_length, .length = static_cast<size_t>(length)});
    } else {
        return field.unsupported(
            fmt::format("the pre-tokenizer {}", type),
            "Sequence, Split, ByteLevel, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, "
            "BertPreTokenizer, CharDelimiterSplit, FixedLength");
    }
    if (steps.size() > PreTokenizer::kMaxSteps) {
        return field.expected(fmt::format("at most {} pre-tokenizer steps", PreTokenizer::kMaxSteps));
    }
    return {};
}

Result<int32_t> read_id(const JsonField& field) {
    TRY(const int64_t id, field.integer(0, Vocabulary::kMaxId));
    return static_cast<int32_t>(id);
}

// ["</s>", 2]
Result<int32_t> read_token_and_id(const JsonField& owner, std::string_view key) {
    TRY(const JsonField field, owner.child(key));
    TRY(const auto items, field.elements());
    if (items.size() != 2 || !items[0].is_string()) return field.expected("a token and its id");
    return read_id(items[1]);
}

Result<PostStep> read_template(const JsonField& field) {
    PostStep step;
    TRY(const JsonField single, field.child("single"));
    TRY(const auto parts, single.elements());
    const auto specials = field.find("special_tokens");
    for (const JsonField& part : parts) {
        if (const auto sequence = part.find("Sequence")) {
            TRY(const auto id, sequence->string("id"));
            if (id != "A") return sequence->expected("the sequence A, the only one of a single text");
            step.push_back({.is_text = true});
        } else if (const auto special = part.find("SpecialToken")) {
            TRY(const auto id, special->string("id"));
            const auto entry = specials ? specials->find(id) : std::nullopt;
            if (!entry) return special->expected("a token that special_tokens has");
            TRY(const JsonField ids_field, entry->child("ids"));
            TRY(const auto ids, ids_field.elements());
            PostPart added;
            for (const JsonField& one : ids) {
                TRY(const int32_t value, read_id(one));
                added.ids.push_back(value);
            }
            step.push_back(std::move(added));
        } else {
            return part.expected("a Sequence or a SpecialToken");
        }
        if (step.size() > kMaxPostIds) return single.expected("at most 64 parts");
    }
    return step;
}

Result<void> add_post_processor(const JsonField& field, int nesting, std::vector<PostStep>& steps) {
    if (nesting > kMaxNesting) return too_deep(field);
    TRY(const auto type, field.string("type"));
    if (type == "Sequence") {
        TRY(const JsonField list, field.child("processors"));
        TRY(const auto items, list.elements());
        for (const JsonField& item : items) TRY_VOID(add_post_processor(item, nesting + 1, steps));
    } else if (type == "ByteLevel") {
        return {};  // moves offsets only
    } else if (type == "TemplateProcessing") {
        TRY(PostStep step, read_template(field));
        size_t texts = 0;
        for (const PostPart& part : step) texts += part.is_text;
        if (texts != 1) return field.expected("a single template with the text in it once");
        steps.push_back(std::move(step));
    } else if (is_one_of(type, {"RobertaProcessing", "BertProcessing"})) {
        TRY(const int32_t cls, read_token_and_id(field, "cls"));
        TRY(const int32_t sep, read_token_and_id(field, "sep"));
        steps.push_back({{.ids = {cls}}, {.is_text = true}, {.ids = {sep}}});
    } else {
        return field.unsupported(fmt::format("the post-processor {}", type),
                                 "Sequence, ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing");
    }
    if (steps.size() > kMaxPostSteps) return field.expected("at most 16 post-processors");
    return {};
}

Result<void> add_decoder(const JsonField& field, int nesting, std::vector<DecoderStep>& steps) {
    using Kind = DecoderStep::Kind;
    if (nesting > kMaxNesting) return too_deep(field);
    TRY(const auto type, field.string("type"));
    if (type == "Sequence") {
        TRY(const JsonField list, field.child("decoders"));
        TRY(const auto items, list.elements());
        for (const JsonField& item : items) TRY_VOID(add_decoder(item, nesting + 1, steps));
    } else if (type == "ByteLevel") {
        steps.push_back({.kind = Kind::byte_level});
    } else if (type == "Replace") {
        TRY(Pattern pattern, read_pattern(field));
        TRY(const auto content, field.string("content"));
        steps.push_back({.kind = Kind::replace, .pattern = std::move(pattern), .text = std::string(content)});
    } else if (type == "ByteFallback") {
        steps.push_back({.kind = Kind::byte_fallback});
    } else if (type == "Fuse") {
        steps.push_back({.kind = Kind::fuse});
    } else if (type == "Strip") {
        TRY(const char32_t content, read_character(field, "content"));
        TRY(const JsonField start_field, field.child("start"));
        TRY(const int64_t start, start_field.integer(0, 1 << 20));
        TRY(const JsonField stop_field, field.child("stop"));
        TRY(const int64_t stop, stop_field.integer(0, 1 << 20));
        steps.push_back({.kind = Kind::strip,
                         .character = content,
                         .strip_begin = static_cast<size_t>(start),
                         .strip_end = static_cast<size_t>(stop)});
    } else if (type == "Metaspace") {
        std::vector<PreTokenizerStep> same;
        TRY_VOID(add_metaspace(field, same));
        steps.push_back({.kind = Kind::metaspace,
                         .text = same[0].text,
                         .drops_first = same[0].prepend != PreTokenizerStep::Prepend::never});
    } else if (type == "BPEDecoder") {
        TRY(const JsonField suffix_field, field.child("suffix"));
        TRY(const auto suffix, suffix_field.string());
        if (suffix.empty()) return suffix_field.expected("a string that is not empty");
        steps.push_back({.kind = Kind::word_suffix, .text = std::string(suffix)});
    } else {
        return field.unsupported(fmt::format("the decoder {}", type),
                                 "Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, BPEDecoder");
    }
    if (steps.size() > DecodeChain::kMaxSteps) {
        return field.expected(fmt::format("at most {} decoders", DecodeChain::kMaxSteps));
    }
    return {};
}

}  // namespace

Result<std::vector<NormalizerStep>> read_normalizer(const std::optional<JsonField>& field) {
    std::vector<NormalizerStep> steps;
    if (field) TRY_VOID(add_normalizer(*field, 0, steps));
    return steps;
}

Result<std::vector<PreTokenizerStep>> read_pre_tokenizer(const std::optional<JsonField>& field) {
    std::vector<PreTokenizerStep> steps;
    if (field) TRY_VOID(add_pre_tokenizer(*field, 0, steps));
    return steps;
}

Result<std::vector<PostStep>> read_post_processor(const std::optional<JsonField>& field) {
    std::vector<PostStep> steps;
    if (field) TRY_VOID(add_post_processor(*field, 0, steps));
    return steps;
}

Result<std::vector<DecoderStep>> read_decoder(const std::optional<JsonField>& field) {
    std::vector<DecoderStep> steps;
    if (field) {
        TRY_VOID(add_decoder(*field, 0, steps));
    } else {
        steps.push_back({.kind = DecoderStep::Kind::join_spaces});
    }
    return steps;
}

}  // namespace nibble::text
