// Small tokenizer.json files for tests: a vocabulary and merges in a few words, and components as JSON text.
#pragma once

#include "base/check.h"
#include "text/tokenizer.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/utf8.h"

#include <random>
#include <string>
#include <vector>

namespace nibble::text::sample {

inline std::string json_string(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<int>(c));
        } else {
            out += c;
        }
    }
    return out + "\"";
}

// Pieces get ids in order.
struct Sample {
    std::vector<std::string> pieces;
    std::vector<std::pair<std::string, std::string>> merges;
    std::string model_options;  // further fields of the model, each with a comma in front
    std::string added = "[]";
    std::string normalizer = "null", pre_tokenizer = "null", post_processor = "null", decoder = "null";

    std::string json() const {
        std::string vocab, list;
        for (size_t i = 0; i < pieces.size(); i++) {
            vocab += fmt::format("{}{}:{}", i == 0 ? "" : ",", json_string(pieces[i]), i);
        }
        for (size_t i = 0; i < merges.size(); i++) {
            list += fmt::format("{}[{},{}]", i == 0 ? "" : ",", json_string(merges[i].first),
                                json_string(merges[i].second));
        }
        return fmt::format(R"({{"version":"1.0","truncation":null,"padding":null,"added_tokens":{},"normalizer":{},)"
                           R"("pre_tokenizer":{},"post_processor":{},"decoder":{},)"
                           R"("model":{{"type":"BPE","vocab":{{{}}},"merges":[{}]{}}}}})",
                           added, normalizer, pre_tokenizer, post_processor, decoder, vocab, list, model_options);
    }

    std::shared_ptr<const Tokenizer> load(std::string_view config = "") const {
        auto tokenizer = Tokenizer::parse(json(), config, "tokenizer.json");
        CHECK(tokenizer, "{}", tokenizer.error().message);
        return *tokenizer;
    }
};

inline std::string added_token(int id, std::string_view content, std::string_view flags = "") {
    const auto flag = [&](std::string_view name) { return flags.find(name) != std::string_view::npos; };
    return fmt::format(
        R"({{"id":{},"content":{},"special":{},"lstrip":{},"rstrip":{},"single_word":{},"normalized":{}}})", id,
        json_string(content), flag("special"), flag("lstrip"), flag("rstrip"), flag("single_word"), flag("normalized"));
}

// Every byte is a piece, and the pieces that the merges make.
inline Sample byte_level(const std::vector<std::pair<std::string, std::string>>& merges = {}) {
    Sample sample;
    for (const char32_t c : byte_level::kCharOfByte) sample.pieces.push_back(utf8::encode(c));
    for (const auto& [left, right] : merges) sample.pieces.push_back(left + right);
    sample.merges = merges;
    sample.pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";
    sample.decoder = R"({"type":"ByteLevel"})";
    return sample;
}

// Texts that have everything: ASCII, spaces, letters of many scripts, marks, emoji, controls.
inline std::string random_text(std::mt19937& random, size_t length) {
    static const std::vector<std::string> parts = {
        "a",      "b",  "Z",    "the",  " ",      "  ",     "\n",     "\r\n",   "\t",     "'s",     "'LL",
        "1",      "23", "!",    "/",    "é",      "é",      "\u0301", "字",     "界",     "한",     "ᄒ",
        "\u1161", "😀",  "ª",    "Ǆ",    "\u00A0", "\u2028", "\u3000", "\u200D", "①",      "٣",      "▁",
        "Ġ",      "ſ",  "\x01", "\x7F", "<",      "'",      "İ",      "ß",      "\u05B0", "\u0E31", "ท"};
    std::string text;
    for (size_t i = 0; i < length; i++) text += parts[random() % parts.size()];
    return text;
}

}  // namespace nibble::text::sample
