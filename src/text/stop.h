// StopMatcher: ends a stream of text at the first occurrence of any stop string, wherever the pieces were cut.
//
// Holds back any suffix that could still become a stop string. Linear in the text (Aho-Corasick or equal). One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

class StopMatcher {
public:
    explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false);
    struct Piece {
        std::string text;      // safe to show
        bool stopped = false;  // a stop string was met; text ends before it (or with it, when include_stop)
        int stop_index = -1;   // which
    };
    Piece push(std::string_view text);
    std::string flush();  // the end came without a stop: what was held back
    bool active() const { return !stops_.empty(); }

private:
    std::vector<std::string> stops_;
    bool include_stop_;
    std::string held_;
};

}  // namespace nibble::text
