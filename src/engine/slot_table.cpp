#include "engine/slot_table.h"

#include "base/check.h"

#include <limits>

namespace nibble::engine {

SlotTable::SlotTable(int64_t slots) {
    CHECK(slots >= 1 && slots <= std::numeric_limits<SlotId>::max(), "{} slots", slots);
    taken_.assign(static_cast<size_t>(slots), false);
    free_.reserve(taken_.size());
    for (int64_t slot = slots; slot-- > 0;) free_.push_back(static_cast<SlotId>(slot));
}

std::optional<SlotId> SlotTable::take() {
    if (free_.empty()) return std::nullopt;
    const SlotId slot = free_.back();
    free_.pop_back();
    CHECK(!taken_[slot], "slot {} was free and taken", slot);
    taken_[slot] = true;
    return slot;
}

void SlotTable::release(SlotId slot) {
    CHECK(slot >= 0 && slot < slots() && taken_[slot], "slot {} of {} is released and not taken", slot, slots());
    taken_[slot] = false;
    free_.push_back(slot);
}

}  // namespace nibble::engine
