#include "engine/page_table.h"

#include "engine/slot_table.h"

#include <gtest/gtest.h>

#include <set>

namespace nibble::engine {
namespace {

TEST(PageTable, GivesEveryPageOnceAndThenNone) {
    PageTable table(5, 16);
    std::set<PageId> pages;
    for (int i = 0; i < 5; ++i) pages.insert(table.take().value());
    EXPECT_EQ(pages, (std::set<PageId>{0, 1, 2, 3, 4}));
    EXPECT_EQ(table.take(), std::nullopt);
    EXPECT_EQ(table.free_pages(), 0);
    table.release(3);
    EXPECT_EQ(table.take(), 3);
}

TEST(PageTable, PageIsFreeWhenItsLastHolderReleasesIt) {
    PageTable table(1, 16);
    const PageId page = table.take().value();
    table.hold(page);
    table.release(page);
    EXPECT_EQ(table.free_pages(), 0);
    table.release(page);
    EXPECT_EQ(table.free_pages(), 1);
}

TEST(PageTable, RoundsTokensUpToPages) {
    const PageTable table(10, 16);
    EXPECT_EQ(table.pages_for(0), 0);
    EXPECT_EQ(table.pages_for(1), 1);
    EXPECT_EQ(table.pages_for(16), 1);
    EXPECT_EQ(table.pages_for(17), 2);
    EXPECT_EQ(PageTable(0, 0).pages_for(1000), 0);
}

TEST(PageTableDeath, DoubleReleaseIsCaught) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    PageTable table(2, 16);
    const PageId page = table.take().value();
    table.release(page);
    EXPECT_DEATH(table.release(page), "released twice");
    EXPECT_DEATH(table.hold(page), "is free");
    EXPECT_DEATH(table.release(2), "page 2 of 2");
}

TEST(SlotTable, GivesEverySlotOnceAndTakesItBack) {
    SlotTable table(2);
    EXPECT_EQ(table.take(), 0);
    EXPECT_EQ(table.take(), 1);
    EXPECT_EQ(table.take(), std::nullopt);
    table.release(0);
    EXPECT_EQ(table.free_slots(), 1);
    EXPECT_EQ(table.take(), 0);
}

TEST(SlotTableDeath, DoubleReleaseIsCaught) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    SlotTable table(1);
    EXPECT_DEATH(table.release(0), "not taken");
}

}  // namespace
}  // namespace nibble::engine
