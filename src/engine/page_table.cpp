#include "engine/page_table.h"

#include "base/check.h"

#include <limits>

namespace nibble::engine {

PageTable::PageTable(int64_t pages, int64_t page_size) : page_size_(page_size) {
    CHECK(pages >= 0 && pages <= std::numeric_limits<PageId>::max(), "{} pages", pages);
    CHECK(pages == 0 || page_size > 0, "pages of {} tokens", page_size);
    holders_.assign(static_cast<size_t>(pages), 0);
    free_.reserve(holders_.size());
    for (int64_t page = pages; page-- > 0;) free_.push_back(static_cast<PageId>(page));
}

std::optional<PageId> PageTable::take() {
    if (free_.empty()) return std::nullopt;
    const PageId page = free_.back();
    free_.pop_back();
    CHECK(holders_[page] == 0, "page {} was free with {} holders", page, holders_[page]);
    holders_[page] = 1;
    return page;
}

void PageTable::hold(PageId page) {
    CHECK(holders(page) > 0, "page {} is free", page);
    ++holders_[page];
}

void PageTable::release(PageId page) {
    CHECK(holders(page) > 0, "page {} is released twice", page);
    if (--holders_[page] == 0) free_.push_back(page);
}

int32_t PageTable::holders(PageId page) const {
    CHECK(page >= 0 && page < pages(), "page {} of {}", page, pages());
    return holders_[page];
}

}  // namespace nibble::engine
