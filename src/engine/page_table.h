// PageTable: which pages of keys and values are free, and by how many sequences each other one is held. Numbers only;
// the memory is model::State's. Engine thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace nibble::engine {

using PageId = int32_t;

class PageTable {
public:
    // pages 0: the model keeps no keys and values, and no sequence needs a page.
    PageTable(int64_t pages, int64_t page_size);

    int64_t pages_for(int64_t tokens) const { return holders_.empty() ? 0 : (tokens + page_size_ - 1) / page_size_; }
    std::optional<PageId> take();  // held once; nothing when none is free
    void hold(PageId page);        // once more
    void release(PageId page);     // once less; free when nobody holds it

    int64_t pages() const { return static_cast<int64_t>(holders_.size()); }
    int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
    int32_t holders(PageId page) const;

private:
    int64_t page_size_;
    std::vector<PageId> free_;      // the last released is taken first: it may still be in a cache
    std::vector<int32_t> holders_;  // by page
};

}  // namespace nibble::engine
