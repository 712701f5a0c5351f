// Vocabulary: the pieces of a BPE model and their ids, both ways. Filled at load, then immutable; any thread.
#pragma once

#include "text/tokenizer/hash.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

class Vocabulary {
public:
    static constexpr int32_t kMaxId = (1 << 21) - 1;  // ids above are refused: tables are as long as the largest id
    static constexpr int32_t kNone = -1;

    enum class Added { yes, piece_known, id_taken };
    void reserve(size_t pieces, size_t bytes);
    Added add(std::string_view piece, int32_t id);  // 0 <= id <= kMaxId

    int32_t find(std::string_view piece) const;
    // ids[i] = find(wanted[i]), several times faster for many: the misses of one overlap those of the others.
    void find_all(std::span<const std::string_view> wanted, std::span<int32_t> ids) const;
    std::string_view piece(int32_t id) const {
        if (!has(id)) return {};
        return {bytes_.data() + entries_[id].begin, entries_[id].size};
    }
    bool has(int32_t id) const { return id >= 0 && id < id_end() && entries_[id].size != kAbsent; }
    int32_t id_end() const { return static_cast<int32_t>(entries_.size()); }  // one above the largest id
    size_t size() const { return count_; }

private:
    static constexpr uint32_t kAbsent = UINT32_MAX;
    struct Entry {
        uint32_t begin = 0, size = kAbsent;
    };
    void grow(size_t slots);
    int32_t find(std::string_view wanted, uint64_t hash) const;

    std::string bytes_;
    std::vector<Entry> entries_;  // by id
    struct Slot {
        uint32_t tag = 0;  // upper half of the hash
        int32_t id = kNone;
    };
    std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
    size_t count_ = 0;
};

}  // namespace nibble::text
