#include "text/tokenizer/merge_queue.h"

#include <algorithm>
#include <functional>

namespace nibble::text {
namespace {

constexpr std::greater<uint32_t> kLowestFirst;
constexpr size_t kKeptBlocks = 1 << 12;
constexpr size_t kAhead = 16;

void heap_push(std::vector<uint32_t>& heap, uint32_t value) {
    heap.push_back(value);
    std::push_heap(heap.begin(), heap.end(), kLowestFirst);
}

uint32_t heap_pop(std::vector<uint32_t>& heap) {
    std::pop_heap(heap.begin(), heap.end(), kLowestFirst);
    const uint32_t value = heap.back();
    heap.pop_back();
    return value;
}

}  // namespace

// After a word everything has been popped, so places_ is all zero again.
void MergeQueue::begin(size_t ranks) {
    if (places_.size() < ranks) places_.resize(ranks);
}

void MergeQueue::push(uint32_t rank, uint32_t position) {
    const uint32_t place = places_[rank];
    if (place != 0 && place % 2 == 0) {
        heap_push(active_[place / 2 - 1].late, position);
        return;
    }
    uint32_t list = place / 2;
    if (place == 0) {
        if (free_lists_.empty()) {
            list = static_cast<uint32_t>(lists_.size());
            lists_.emplace_back();
        } else {
            list = free_lists_.back();
            free_lists_.pop_back();
            lists_[list] = {};
        }
        places_[rank] = 2 * list + 1;
        heap_push(waiting_, rank);
    }
    List& to = lists_[list];
    to.sorted = to.sorted && to.highest <= position;
    to.highest = position;
    if (to.last == kNone || blocks_[to.last].count == kBlock) {
        uint32_t block = free_blocks_;
        if (block == kNone) {
            block = static_cast<uint32_t>(blocks_.size());
            blocks_.emplace_back();
        } else {
            free_blocks_ = blocks_[block].next;
            blocks_[block].count = 0;
            blocks_[block].next = kNone;
        }
        (to.last == kNone ? to.first : blocks_[to.last].next) = block;
        to.last = block;
    }
    Block& block = blocks_[to.last];
    block.positions[block.count++] = position;
}

void MergeQueue::activate(uint32_t rank) {
    if (depth_ == active_.size()) active_.emplace_back();
    Active& active = active_[depth_++];
    active.rank = rank;
    active.next = 0;
    active.positions.clear();
    active.late.clear();
    const uint32_t index = places_[rank] / 2;
    const List& list = lists_[index];
    for (uint32_t block = list.first; block != kNone; block = blocks_[block].next) {
        const uint32_t* positions = blocks_[block].positions;
        active.positions.insert(active.positions.end(), positions, positions + blocks_[block].count);
    }
    if (!list.sorted) std::sort(active.positions.begin(), active.positions.end());
    blocks_[list.last].next = free_blocks_;
    free_blocks_ = list.first;
    free_lists_.push_back(index);
    places_[rank] = static_cast<uint32_t>(2 * depth_);
}

bool MergeQueue::pop(uint32_t& rank, uint32_t& position) {
    while (true) {
        if (!waiting_.empty() && (depth_ == 0 || waiting_.front() < active_[depth_ - 1].rank)) {
            activate(heap_pop(waiting_));
        }
        if (depth_ == 0) return false;
        Active& active = active_[depth_ - 1];
        const bool more = active.next < active.positions.size();
        if (!more && active.late.empty()) {
            places_[active.rank] = 0;
            depth_--;
            continue;
        }
        rank = active.rank;
        if (active.late.empty() || (more && active.positions[active.next] <= active.late.front())) {
            position = active.positions[active.next++];
            ahead_ = active.positions[std::min(active.next + kAhead, active.positions.size() - 1)];
        } else {
            position = heap_pop(active.late);
        }
        return true;
    }
}

void MergeQueue::release() {
    if (blocks_.size() <= kKeptBlocks) return;
    *this = {};
}

}  // namespace nibble::text
