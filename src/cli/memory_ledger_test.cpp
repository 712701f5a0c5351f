// Whatever is read, no more is allocated than there was.
#include "cli/memory_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace nibble::cli {
namespace {

using device::MemoryReading;
using testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20, kGiB = int64_t{1} << 30;

MemoryLedger ledger_of(int64_t available, int64_t total, uint64_t reserve) {
    auto ledger = MemoryLedger::open("GPU", {total, available}, reserve);
    EXPECT_TRUE(ledger);
    return *std::move(ledger);
}

TEST(MemoryLedger, RefusesReadingsThatCannotBeTrueWithBothNumbers) {
    const auto below = MemoryLedger::open("GPU", {121 * kGiB, -3563 * kGiB / 100}, 0);
    ASSERT_FALSE(below);
    EXPECT_EQ(below.error().code, ErrorCode::device_unusable);
    EXPECT_THAT(below.error().message, HasSubstr("-35.63 GiB"));
    EXPECT_THAT(below.error().message, HasSubstr("121.00 GiB"));
    EXPECT_FALSE(MemoryLedger::open("GPU", {kGiB, 2 * kGiB}, 0));
    EXPECT_FALSE(MemoryLedger::open("GPU", {0, 0}, 0));
    EXPECT_FALSE(MemoryLedger::open("GPU", {std::numeric_limits<int64_t>::min(), 0}, 0));
}

TEST(MemoryLedger, RefusesMemoryThatGrowsWhileItIsAllocated) {
    MemoryLedger ledger = ledger_of(100 * kGiB, 121 * kGiB, 8 * kGiB);
    ASSERT_TRUE(ledger.allocate(18 * kGiB, "weights"));
    const auto rising = ledger.read({121 * kGiB, 101 * kGiB});
    ASSERT_FALSE(rising);
    EXPECT_THAT(rising.error().message, HasSubstr("101.00 GiB"));
    EXPECT_THAT(rising.error().message, HasSubstr("100.00 GiB"));
    EXPECT_EQ(ledger.left_bytes(), static_cast<uint64_t>(74 * kGiB));
}

TEST(MemoryLedger, ALaterReadingLowersWhatIsLeftAndNeverRaisesIt) {
    MemoryLedger ledger = ledger_of(100 * kGiB, 121 * kGiB, 8 * kGiB);
    ASSERT_TRUE(ledger.read({121 * kGiB, 50 * kGiB}));
    EXPECT_EQ(ledger.left_bytes(), static_cast<uint64_t>(42 * kGiB));
    ASSERT_TRUE(ledger.read({121 * kGiB, 120 * kGiB}));
    EXPECT_EQ(ledger.left_bytes(), static_cast<uint64_t>(42 * kGiB));
    EXPECT_FALSE(ledger.allocate(43 * kGiB, "keys and values"));
    EXPECT_EQ(ledger.left_bytes(), static_cast<uint64_t>(42 * kGiB));
}

// A generator that is fast enough for ten million histories.
struct Numbers {
    uint64_t state;
    uint64_t next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
    int64_t below(int64_t limit) { return static_cast<int64_t>(next() % static_cast<uint64_t>(limit)); }
};

// What a lying driver may say of `available` bytes that are really there.
MemoryReading told(Numbers& numbers, int64_t total, int64_t available) {
    switch (numbers.below(12)) {
        case 0:
            return {total, -3563 * kGiB / 100};  // published traces of a shared pool
        case 1:
            return {total, -2050 * kGiB / 100};
        case 2:
            return {total, available + 3563 * kGiB / 100};
        case 3:
            return {total, total + numbers.below(kGiB)};
        case 4:
            return {static_cast<int64_t>(numbers.next()), static_cast<int64_t>(numbers.next())};
        case 5:
            return {0, 0};
        case 6:
            return {total, numbers.below(total + 1)};  // plausible, and wrong
        default:
            return {total, available};
    }
}

// Memory that is really there changes as other programs come and go. The first believed reading is true: with no true
// reading at all there is nothing to go by.
TEST(MemoryLedger, NeverOverCommitsInTenMillionHistories) {
    Numbers numbers{0x9e3779b97f4a7c15};
    int64_t refused_readings = 0, refused_allocations = 0, allocations = 0;
    for (int history = 0; history < 10'000'000; ++history) {
        const int64_t total = kGiB + numbers.below(256 * kGiB), available = numbers.below(total + 1);
        const auto reserve = static_cast<uint64_t>(numbers.below(total / 8));
        auto opened = MemoryLedger::open({}, {total, available}, reserve);
        ASSERT_TRUE(opened);
        MemoryLedger& ledger = *opened;
        const auto most = static_cast<uint64_t>(available) > reserve ? static_cast<uint64_t>(available) - reserve : 0;
        uint64_t allocated = 0, bound = most;  // bound: on what is allocated from here on and was so far
        for (int step = 0; step < 3; ++step) {
            const uint64_t before = ledger.left_bytes();
            const MemoryReading reading = told(numbers, total, available - static_cast<int64_t>(allocated));
            // Wording an error takes longer than finding it: one in 64 is worded.
            const bool taken = ledger.judge(reading) == ReadingFault::none;
            if (taken || history % 64 == 0) ASSERT_EQ(static_cast<bool>(ledger.read(reading)), taken);
            if (taken) {
                ASSERT_TRUE(reading.available_bytes >= 0 && reading.available_bytes <= reading.total_bytes);
                const auto read = static_cast<uint64_t>(reading.available_bytes);
                bound = std::min(bound, allocated + (read > reserve ? read - reserve : 0));
            } else {
                ++refused_readings;
                ASSERT_EQ(ledger.left_bytes(), before);
            }
            const auto wanted = static_cast<uint64_t>(numbers.below(64 * kGiB)) >> numbers.below(16);
            const bool fits = wanted <= ledger.left_bytes();
            if (fits || history % 64 == 0) ASSERT_EQ(static_cast<bool>(ledger.allocate(wanted, {})), fits);
            if (fits) {
                allocated += wanted;
                ++allocations;
            } else {
                ++refused_allocations;
            }
            ASSERT_LE(allocated, bound);
            ASSERT_LE(allocated, most);
            ASSERT_LE(ledger.left_bytes(), most - allocated);
        }
    }
    // The histories are of every kind.
    EXPECT_GT(refused_readings, 5'000'000);
    EXPECT_GT(refused_allocations, 2'000'000);
    EXPECT_GT(allocations, 5'000'000);
}

}  // namespace
}  // namespace nibble::cli
