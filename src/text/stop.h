// StopMatcher: ends a stream of text at the first stop string in it, wherever the pieces were cut.
//
// The stop string that is complete first ends the text; of several that are complete at the same byte, the longest, and
// of equal ones the first in the list. Any end of the text that could still become a stop string is held back. Linear
// in the text (Aho-Corasick). Bytes are matched; pieces of whole characters give pieces of whole characters, as stop
// strings are whole characters. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble::text {

class StopMatcher {
public:
    explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false);  // empty strings never match
    struct Piece {
        std::string text;      // safe to show
        bool stopped = false;  // a stop string was met; text ends before it (or with it, when include_stop)
        int stop_index = -1;   // which
    };
    // After a stop everything is swallowed: pieces are empty and say stopped.
    Piece push(std::string_view text);
    std::string flush();  // the end came without a stop: what was held back. The matcher is then as new
    bool active() const { return nodes_.size() > 1; }

private:
    struct Node {
        std::vector<std::pair<unsigned char, uint32_t>> children = {};  // sorted by byte
        uint32_t fallback = 0;  // the longest other end of this node's string that is a node
        uint32_t depth = 0;     // bytes of its string
        int stop = -1;          // the stop string that is complete here, the longest such
    };
    uint32_t step(uint32_t node, unsigned char byte) const;
    uint32_t child(uint32_t node, unsigned char byte) const;  // 0: none

    std::vector<std::string> stops_;
    bool include_stop_;
    std::vector<Node> nodes_;                // 0: the root
    std::array<uint32_t, 256> from_root_{};  // the root's children
    uint32_t at_ = 0;                        // the longest end of the text so far that is a node
    std::string held_;                       // its string: what is held back
    Piece stopped_;                          // once stopped: what push() says from then on
};

}  // namespace nibble::text
