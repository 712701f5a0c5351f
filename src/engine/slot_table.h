// SlotTable: which slots of recurrent state are free. A running sequence has one, whether its model keeps such state or
// not, so that everything kept per running sequence can be indexed by it. Engine thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace nibble::engine {

using SlotId = int32_t;

class SlotTable {
public:
    explicit SlotTable(int64_t slots);

    std::optional<SlotId> take();
    void release(SlotId slot);

    int64_t slots() const { return static_cast<int64_t>(taken_.size()); }
    int64_t free_slots() const { return static_cast<int64_t>(free_.size()); }

private:
    std::vector<SlotId> free_;
    std::vector<bool> taken_;  // by slot
};

}  // namespace nibble::engine
