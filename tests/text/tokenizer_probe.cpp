// tokenizer_probe: the tokenizer behind a line protocol, for tests in Python (tokenizer_diff.py).
//
// Requests on stdin, one a line; one answer each on stdout. Texts are hexadecimal bytes ("-" is the empty text).
//   load PATH [CONFIG]      tokenizer.json (and tokenizer_config.json)    -> "ok" or "error MESSAGE"
//   encode PARSE ADD TEXT   parse_special, add_special_tokens: 0 or 1     -> ids
//   decode SKIP ID…                                                       -> text
//   stream SKIP ID…         through a Detokenizer; "!" if a piece was no whole UTF-8 -> text
//   regex PATTERN TEXT      known patterns by hand   -> begin-end … of what is not empty, or "error MESSAGE"
//   interpret PATTERN TEXT  the same, always interpreted
//   normalize FORM TEXT     nfc, nfd, nfkc, nfkd                          -> text
//   piece ID                                                              -> text, its bytes, special or not
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer/normalize.h"
#include "text/tokenizer/pattern.h"
#include "text/tokenizer/utf8.h"

#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

using namespace nibble;
using namespace nibble::text;

namespace {

std::string unhex(const std::string& hex) {
    std::string out;
    if (hex == "-") return out;
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    for (size_t i = 0; i + 1 < hex.size(); i += 2)
        out.push_back(static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1])));
    return out;
}

std::string hex(std::string_view bytes) {
    if (bytes.empty()) return "-";
    std::string out;
    for (const char c : bytes) {
        out.push_back("0123456789abcdef"[static_cast<unsigned char>(c) >> 4]);
        out.push_back("0123456789abcdef"[static_cast<unsigned char>(c) & 15]);
    }
    return out;
}

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::string spans(const Result<Pattern>& pattern, const std::string& text) {
    if (!pattern) return "error " + const_cast<Result<Pattern>&>(pattern).error().message;
    Pattern::Matches matches(*pattern);
    matches.start(text);
    std::string out;
    size_t begin = 0, end = 0;
    while (matches.next(begin, end)) {
        if (begin < end) out += fmt::format("{}-{} ", begin, end);
    }
    return out;
}

std::string answer(const std::string& line, std::shared_ptr<const Tokenizer>& tokenizer) {
    std::istringstream in(line);
    std::string verb;
    in >> verb;
    if (verb == "load") {
        std::string path, config;
        in >> path >> config;
        auto loaded = Tokenizer::parse(read_file(path), config.empty() ? "" : read_file(config), "tokenizer.json");
        if (!loaded) return "error " + loaded.error().message;
        tokenizer = *loaded;
        return "ok";
    }
    if (verb == "regex" || verb == "interpret") {
        std::string pattern, text;
        in >> pattern >> text;
        return spans(verb == "regex" ? Pattern::regex(unhex(pattern)) : Pattern::interpreted(unhex(pattern)),
                     unhex(text));
    }
    if (verb == "normalize") {
        std::string form, text, out;
        in >> form >> text;
        text = unhex(text);
        const NormalForm which = form == "nfc"    ? NormalForm::nfc
                                 : form == "nfd"  ? NormalForm::nfd
                                 : form == "nfkc" ? NormalForm::nfkc
                                                  : NormalForm::nfkd;
        return hex(normalize(which, text, out) ? out : text);
    }
    if (!tokenizer) return "error nothing loaded";
    if (verb == "encode") {
        EncodeOptions options;
        std::string text;
        in >> options.parse_special >> options.add_special_tokens >> text;
        std::string out;
        for (const TokenId id : tokenizer->encode(unhex(text), options)) out += fmt::format("{} ", id);
        return out;
    }
    if (verb == "piece") {
        TokenId id = 0;
        in >> id;
        return fmt::format("{} {} {}", hex(tokenizer->token_piece(id)), hex(tokenizer->token_bytes(id)),
                           tokenizer->is_special(id) ? 1 : 0);
    }
    bool skip = false;
    in >> skip;
    std::vector<TokenId> ids(std::istream_iterator<TokenId>(in), {});
    if (verb == "decode") return hex(tokenizer->decode(ids, skip));
    if (verb == "stream") {
        Detokenizer detokenizer(tokenizer, skip);
        std::string out;
        bool whole = true;
        for (const TokenId id : ids) {
            const std::string piece = detokenizer.push(id);
            whole = whole && utf8::is_valid(piece);
            out += piece;
        }
        out += detokenizer.flush();
        return (whole ? "" : "!") + hex(out);
    }
    return "error unknown request";
}

}  // namespace

int main() {
    std::ios::sync_with_stdio(false);
    std::shared_ptr<const Tokenizer> tokenizer;
    for (std::string line; std::getline(std::cin, line);) std::cout << answer(line, tokenizer) << '\n' << std::flush;
}
