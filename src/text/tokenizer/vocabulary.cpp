#include "text/tokenizer/vocabulary.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <bit>

namespace nibble::text {

void Vocabulary::reserve(size_t pieces, size_t bytes) {
    entries_.reserve(pieces);
    bytes_.reserve(bytes);
    grow(std::bit_ceil(pieces * 2 + 16));
}

void Vocabulary::grow(size_t slots) {
    if (slots <= slots_.size()) return;
    std::vector<Slot> old(slots);
    old.swap(slots_);
    const size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
        if (slot.id == kNone) continue;
        size_t i = hash_bytes(piece(slot.id)) & mask;
        while (slots_[i].id != kNone) i = (i + 1) & mask;
        slots_[i] = slot;
    }
}

Vocabulary::Added Vocabulary::add(std::string_view piece, int32_t id) {
    CHECK(id >= 0 && id <= kMaxId);
    if (has(id)) return Added::id_taken;
    if (find(piece) != kNone) return Added::piece_known;
    CHECK(bytes_.size() + piece.size() < kAbsent);
    if (static_cast<size_t>(id) >= entries_.size()) entries_.resize(static_cast<size_t>(id) + 1);
    entries_[id] = {static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(piece.size())};
    bytes_.append(piece);
    count_++;
    if (count_ * 2 > slots_.size()) grow(std::bit_ceil(count_ * 4));
    const uint64_t hash = hash_bytes(piece);
    const size_t mask = slots_.size() - 1;
    size_t i = hash & mask;
    while (slots_[i].id != kNone) i = (i + 1) & mask;
    slots_[i] = {static_cast<uint32_t>(hash >> 32), id};
    return Added::yes;
}

int32_t Vocabulary::find(std::string_view wanted) const {
    return slots_.empty() ? kNone : find(wanted, hash_bytes(wanted));
}

int32_t Vocabulary::find(std::string_view wanted, uint64_t hash) const {
    const auto tag = static_cast<uint32_t>(hash >> 32);
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash & mask; slots_[i].id != kNone; i = (i + 1) & mask) {
        if (slots_[i].tag == tag && piece(slots_[i].id) == wanted) return slots_[i].id;
    }
    return kNone;
}

void Vocabulary::find_all(std::span<const std::string_view> wanted, std::span<int32_t> ids) const {
    CHECK(wanted.size() == ids.size());
    if (slots_.empty()) {
        std::fill(ids.begin(), ids.end(), kNone);
        return;
    }
    constexpr size_t kBatch = 32;
    std::array<uint64_t, kBatch> hashes;
    const size_t mask = slots_.size() - 1;
    for (size_t begin = 0; begin < wanted.size(); begin += kBatch) {
        const size_t n = std::min(kBatch, wanted.size() - begin);
        for (size_t i = 0; i < n; i++) {
            hashes[i] = hash_bytes(wanted[begin + i]);
            __builtin_prefetch(&slots_[hashes[i] & mask]);
        }
        for (size_t i = 0; i < n; i++) {
            const int32_t likely = slots_[hashes[i] & mask].id;
            if (likely != kNone) __builtin_prefetch(&entries_[likely]);
        }
        for (size_t i = 0; i < n; i++) {
            const int32_t likely = slots_[hashes[i] & mask].id;
            if (likely != kNone) __builtin_prefetch(bytes_.data() + entries_[likely].begin);
        }
        for (size_t i = 0; i < n; i++) ids[begin + i] = find(wanted[begin + i], hashes[i]);
    }
}

}  // namespace nibble::text
