// MergeQueue: the pending merges of one word, lowest rank first, then leftmost.
//
// Merges of one rank arrive nearly in order of position and are wanted in that order, so each rank keeps a list, sorted
// when its turn comes, and only ranks are in a heap: n log n whatever the word, and close to linear for real ones. A
// queue belongs to one thread and is used again for the next word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nibble::text {

class MergeQueue {
public:
    void begin(size_t ranks);  // the queue is empty; ranks are below this
    void push(uint32_t rank, uint32_t position);
    bool pop(uint32_t& rank, uint32_t& position);  // false: empty
    // A position that will be popped soon, most likely; the last one popped when there is none. For prefetching.
    uint32_t ahead() const { return ahead_; }
    void release();  // gives memory back after a large word

private:
    static constexpr uint32_t kNone = UINT32_MAX;
    static constexpr size_t kBlock = 14;
    struct Block {  // a cache line: lists are walked and appended to without a miss for each element
        uint32_t count = 0, next = kNone;
        uint32_t positions[kBlock];
    };
    struct List {  // of a rank that is waiting
        uint32_t first = kNone, last = kNone;
        uint32_t highest = 0;
        bool sorted = true;
    };
    struct Active {  // a rank whose turn it is, or was until a lower one came
        uint32_t rank = 0;
        size_t next = 0;
        std::vector<uint32_t> positions;  // ascending
        std::vector<uint32_t> late;       // what came since: a heap, the lowest first
    };
    void activate(uint32_t rank);

    std::vector<uint32_t> places_;  // by rank: 0 nothing; 2 i + 1 lists_[i]; 2 i + 2 active_[i]
    std::vector<List> lists_;
    std::vector<uint32_t> free_lists_;
    std::vector<Block> blocks_;
    uint32_t free_blocks_ = kNone;
    std::vector<uint32_t> waiting_;  // ranks with a list: a heap, the lowest first
    std::vector<Active> active_;     // a stack: each rank is below the one under it
    size_t depth_ = 0;               // of active_ in use; the rest keep their memory
    uint32_t ahead_ = 0;
};

}  // namespace nibble::text
