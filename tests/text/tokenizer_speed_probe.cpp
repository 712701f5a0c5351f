// tokenizer_speed_probe: how fast a tokenizer loads, encodes and decodes, and whether its time grows in step with the
// text.
//
//   tokenizer_speed_probe TOKENIZER_JSON [TEXT_FILE]
//
// Prints MB/s of thread CPU time (best of three) for ordinary text and for texts that have brought tokenizers to their
// knees, at 1, 2 and 4 MiB, and the growth of the time from each to the next. One thread.
#include "text/detokenizer.h"
#include "text/tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>

using namespace nibble;
using namespace nibble::text;

namespace {

double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double best_of_three(const std::function<void()>& work) {
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        const double begin = cpu_seconds();
        work();
        best = std::min(best, cpu_seconds() - begin);
    }
    return best;
}

std::string read_file(const char* path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::string repeated(std::string_view unit, size_t bytes) {
    std::string text;
    text.reserve(bytes + unit.size());
    while (text.size() < bytes) text.append(unit);
    return text;
}

void append_utf8(std::string& out, char32_t c) {
    if (c < 0x800) {
        out.push_back(static_cast<char>(0xC0 | c >> 6));
    } else {
        out.push_back(static_cast<char>(0xE0 | c >> 12));
        out.push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    }
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
}

std::string random_text(char32_t first, char32_t last, size_t bytes) {
    std::mt19937 random(7);
    std::string text;
    while (text.size() < bytes) {
        const char32_t c = first + random() % (last - first + 1);
        c < 0x80 ? text.push_back(static_cast<char>(c)) : append_utf8(text, c);
    }
    return text;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    const std::string json = read_file(argv[1]);
    std::shared_ptr<const Tokenizer> tokenizer;
    const double load = best_of_three([&] {
        auto loaded = Tokenizer::parse(json, "", argv[1]);
        if (!loaded) {
            fmt::print("{}\n", loaded.error().message);
            std::exit(1);
        }
        tokenizer = *loaded;
    });
    fmt::print("load {:.1f} MB: {:.0f} ms\n", static_cast<double>(json.size()) / 1e6, load * 1e3);

    std::vector<std::pair<std::string, std::function<std::string(size_t)>>> texts = {
        {"one letter", [](size_t n) { return repeated("a", n); }},
        {"one capital", [](size_t n) { return repeated("Z", n); }},
        {"blanks", [](size_t n) { return repeated(" ", n); }},
        {"blanks and letters", [](size_t n) { return repeated("             x", n); }},
        {"newlines", [](size_t n) { return repeated("\n", n); }},
        {"newline, blanks", [](size_t n) { return "\n" + repeated(" ", n) + "x"; }},
        {"digits", [](size_t n) { return repeated("0123456789", n); }},
        {"dashes", [](size_t n) { return repeated("-", n); }},
        {"slashes", [](size_t n) { return repeated("!/\n", n); }},
        {"apostrophes", [](size_t n) { return repeated("'", n); }},
        {"random letters", [](size_t n) { return random_text('a', 'z', n); }},
        {"random ASCII", [](size_t n) { return random_text(' ', '~', n); }},
        {"unbroken Han", [](size_t n) { return random_text(0x4E00, 0x9FFF, n); }},
        {"one Han", [](size_t n) { return repeated("字", n); }},
        {"Hangul", [](size_t n) { return random_text(0xAC00, 0xD7A3, n); }},
        {"Jamo", [](size_t n) { return random_text(0x1100, 0x11FF, n); }},
        {"Thai", [](size_t n) { return random_text(0xE01, 0xE4E, n); }},
        {"combining marks", [](size_t n) { return random_text(0x300, 0x36F, n); }},
        {"a, one mark", [](size_t n) { return "a" + repeated("\u0301", n); }},
        {"ordinal then capitals", [](size_t n) { return repeated("\u00AAAAAAAAAAAAA", n); }},
        {"added tokens", [](size_t n) { return repeated("<|im_start|>", n); }},
        {"nearly added tokens", [](size_t n) { return repeated("<|im_star", n); }},
        {"invalid bytes", [](size_t n) { return repeated("\xFF\xC3", n); }},
    };
    if (argc > 2) {
        texts.insert(texts.begin(),
                     {"given text", [text = read_file(argv[2])](size_t n) { return repeated(text, n).substr(0, n); }});
    }
    for (const auto& [name, make] : texts) {
        std::string line = fmt::format("{:22}", name);
        double before = 0;
        std::vector<TokenId> ids;
        for (const size_t size : {size_t{1} << 20, size_t{2} << 20, size_t{4} << 20}) {
            const std::string text = make(size);
            const double seconds = best_of_three([&] { ids = tokenizer->encode(text); });
            line += fmt::format("  {:7.1f} MB/s", static_cast<double>(text.size()) / seconds / 1e6);
            if (before > 0) line += fmt::format(" (x{:.2f})", seconds / before);
            before = seconds;
        }
        const double decode = best_of_three([&] { tokenizer->decode(ids, true); });
        const double stream = best_of_three([&] {
            Detokenizer detokenizer(tokenizer, true);
            for (const TokenId id : ids) detokenizer.push(id);
            detokenizer.flush();
        });
        const auto count = static_cast<double>(ids.size());
        fmt::print("{}   {:8} ids; decode {:.1f} M/s, stream {:.1f} M/s\n", line, ids.size(), count / decode / 1e6,
                   count / stream / 1e6);
    }
}
