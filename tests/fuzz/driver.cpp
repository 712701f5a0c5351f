// The fuzz targets' main() under g++: runs LLVMFuzzerTestOneInput on a corpus and on seeded mutations of it.
//
//   NOUN_fuzz [--seconds=N] [--runs=N] [--seed=N] [--max-length=N] [FILE|FOLDER]...
//
// Without coverage feedback it finds less than libFuzzer, but it needs no second compiler and is the same on every
// machine: the n-th input depends on corpus and seed alone. A crash, hang over 10 s or a sanitizer's report ends the
// process with a status other than 0 and leaves the input in ./crash-NOUN.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));  // there when built with a sanitizer

namespace {

using Bytes = std::vector<uint8_t>;

Bytes g_input;  // the one that runs: read by on_signal
std::string g_crash_file;

void save_input() {
    if (std::FILE* file = std::fopen(g_crash_file.c_str(), "wb"); file != nullptr) {
        std::fwrite(g_input.data(), 1, g_input.size(), file);
        std::fclose(file);
        std::fprintf(stderr, "\nthe input (%zu bytes) is in %s\n", g_input.size(), g_crash_file.c_str());
    }
}

void on_signal(int signal) {
    std::fprintf(stderr, "\nsignal %d%s", signal, signal == SIGALRM ? ": an input took more than 10 s" : "");
    save_input();
    _exit(77);
}

void run(const Bytes& input) {
    g_input = input;
    alarm(10);
    LLVMFuzzerTestOneInput(g_input.data(), g_input.size());
    alarm(0);
}

class Mutator {
public:
    Mutator(uint64_t seed, std::vector<Bytes> corpus, size_t max_length)
        : random_(seed), corpus_(std::move(corpus)), max_length_(max_length) {}

    Bytes next() {
        Bytes bytes = corpus_[below(corpus_.size())];
        for (size_t i = 1 + below(6); i > 0; --i) mutate(bytes);
        if (bytes.size() > max_length_) bytes.resize(max_length_);
        return bytes;
    }

private:
    size_t below(size_t n) { return n == 0 ? 0 : random_() % n; }

    void mutate(Bytes& bytes) {
        static constexpr std::string_view kPieces[] = {"{",
                                                       "}",
                                                       "[",
                                                       "]",
                                                       "\"",
                                                       ":",
                                                       ",",
                                                       "\\",
                                                       "\\u",
                                                       "-1",
                                                       "0",
                                                       "1e308",
                                                       "18446744073709551616",
                                                       "null",
                                                       "true",
                                                       "{{",
                                                       "}}",
                                                       "{%",
                                                       "%}",
                                                       "<think>",
                                                       "</think>",
                                                       "<tool_call>",
                                                       "\r\n",
                                                       "\n\n",
                                                       "\xF0\x9F",
                                                       "\xFF",
                                                       "\xCC\x81",
                                                       "9223372036854775807",
                                                       "[[[[[[[[",
                                                       "{\"a\":",
                                                       "((((",
                                                       "\0\0\0\0\0\0\0\0"};
        const size_t at = below(bytes.size() + 1);
        const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        switch (below(9)) {
            case 0:
                if (!bytes.empty()) bytes[below(bytes.size())] ^= uint8_t(1u << below(8));
                break;
            case 1:
                if (!bytes.empty()) bytes[below(bytes.size())] = uint8_t(random_());
                break;
            case 2:
                bytes.insert(here, uint8_t(random_()));
                break;
            case 3:
                bytes.erase(here,
                            here + static_cast<std::ptrdiff_t>(below(std::min<size_t>(bytes.size() - at, 64) + 1)));
                break;
            case 4: {
                const std::string_view piece = kPieces[below(std::size(kPieces))];
                bytes.insert(here, piece.begin(), piece.end());
                break;
            }
            case 5: {  // a part again
                const size_t from = below(bytes.size()), length = below(std::min<size_t>(bytes.size() - from, 256) + 1);
                const Bytes part(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                                 bytes.begin() + static_cast<std::ptrdiff_t>(from + length));
                bytes.insert(here, part.begin(), part.end());
                break;
            }
            case 6: {  // the tail of another
                const Bytes& other = corpus_[below(corpus_.size())];
                const size_t from = below(other.size());
                bytes.resize(at);
                bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(std::min(from, other.size())),
                             other.end());
                break;
            }
            case 7:
                bytes.resize(at);
                break;
            case 8:
                if (bytes.size() >= 8) {  // a length or offset at an edge
                    static constexpr uint64_t kEdges[] = {
                        0, 1, 8, 0x7FFFFFFF, 0xFFFFFFFF, uint64_t{1} << 40, INT64_MAX, UINT64_MAX};
                    const uint64_t edge = kEdges[below(std::size(kEdges))];
                    std::memcpy(bytes.data() + below(bytes.size() - 7), &edge, 8);
                }
                break;
        }
    }

    std::mt19937_64 random_;
    std::vector<Bytes> corpus_;
    size_t max_length_;
};

bool number_after(std::string_view argument, std::string_view name, uint64_t& value) {
    if (!argument.starts_with(name)) return false;
    argument.remove_prefix(name.size());
    if (std::from_chars(argument.data(), argument.data() + argument.size(), value).ec != std::errc{}) {
        std::fprintf(stderr, "%.*s: expected a number\n", static_cast<int>(name.size()), name.data());
        std::exit(2);
    }
    return true;
}

void read_corpus(const std::filesystem::path& path, std::vector<Bytes>& corpus) {
    std::vector<std::filesystem::path> files;
    if (std::filesystem::is_directory(path)) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
            if (entry.is_regular_file()) files.push_back(entry.path());
        std::sort(files.begin(), files.end());
    } else {
        files.push_back(path);
    }
    for (const auto& file : files) {
        std::ifstream stream(file, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
    }
}

}  // namespace

int main(int argc, char** argv) {
    uint64_t seconds = 5, runs = UINT64_MAX, seed = 1, max_length = 65536;
    std::vector<Bytes> corpus;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (number_after(argument, "--seconds=", seconds) || number_after(argument, "--runs=", runs) ||
            number_after(argument, "--seed=", seed) || number_after(argument, "--max-length=", max_length))
            continue;
        read_corpus(argument, corpus);
    }
    g_crash_file = "crash-" + std::filesystem::path(argv[0]).filename().string();
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM}) std::signal(signal, on_signal);
    if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_input);

    const size_t given = corpus.size();
    if (corpus.empty()) corpus.emplace_back();
    uint64_t count = 0;
    for (const Bytes& input : corpus) run(input), ++count;

    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    Mutator mutator(seed, std::move(corpus), max_length);
    for (; count < runs; ++count) {
        if (count % 64 == 0 && std::chrono::steady_clock::now() > end) break;
        run(mutator.next());
    }
    std::printf("%llu inputs from a corpus of %zu\n", static_cast<unsigned long long>(count), given);
    return 0;
}
