#include "device/device.h"
#include "device/buffer.h"
#include "device/host_memory.h"
#include "device/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <utility>

namespace nibble::device {
namespace {

using testing::HasSubstr;

TEST(Tensor, ViewsRowsAndColumnsOfTheSameMemory) {
    float memory[12] = {};
    const Tensor t(memory, DType::f32, {3, 4});
    EXPECT_EQ(t.describe(), "f32 [3, 4]");
    EXPECT_EQ(t.bytes(), 48);
    EXPECT_EQ(t.rows(1, 3).data(), memory + 4);
    const Tensor c = t.columns(1, 3);
    EXPECT_EQ(c.row_as<float>(2), memory + 9);
    EXPECT_EQ(c.row_stride(), 4);
    EXPECT_FALSE(c.contiguous());
    EXPECT_TRUE(t.reshape({12}).contiguous());
    EXPECT_EQ(Tensor().describe(), "no tensor");
}

TEST(Buffer, IsZeroedAlignedAndFreed) {
    for (const int64_t bytes : {int64_t{1}, int64_t{4096}, int64_t{3} << 20, (int64_t{9} << 20) + 123}) {
        auto buffer = Buffer::allocate(cpu_device(), bytes, "test");
        ASSERT_TRUE(buffer) << buffer.error().message;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 256, 0u);
        if (bytes >= int64_t{4} << 20) {
            EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % (2u << 20), 0u);
        }
        EXPECT_EQ(buffer->bytes(), bytes);
        EXPECT_EQ(buffer->data()[0], std::byte{0});
        EXPECT_EQ(buffer->data()[bytes - 1], std::byte{0});
        std::memset(buffer->data(), 1, static_cast<size_t>(bytes));
        Buffer moved = std::move(*buffer);
        EXPECT_EQ(moved.data()[bytes - 1], std::byte{1});
    }
    const auto empty = Buffer::allocate(cpu_device(), 0, "nothing");
    ASSERT_TRUE(empty);
    EXPECT_EQ(empty->bytes(), 0);
}

TEST(Buffer, SaysWhatDoesNotFitHowMuchAndWhatThereIs) {
    for (const int64_t bytes : {int64_t{1} << 45, int64_t{1} << 62, INT64_MAX}) {
        const auto buffer = Buffer::allocate(cpu_device(), bytes, "KV cache");
        ASSERT_FALSE(buffer);
        EXPECT_EQ(buffer.error().code, ErrorCode::does_not_fit);
        EXPECT_THAT(buffer.error().message, HasSubstr("KV cache: "));
        EXPECT_THAT(buffer.error().message, HasSubstr("GiB cannot be allocated on "));
        EXPECT_THAT(buffer.error().message, HasSubstr(" is available"));
    }
}

TEST(Buffer, GivesTypedViews) {
    auto buffer = Buffer::allocate(cpu_device(), 1024, "test");
    const Tensor t = buffer->tensor(256, DType::bf16, {4, 32});
    EXPECT_EQ(t.data(), buffer->data() + 256);
    EXPECT_DEATH((void)buffer->tensor(1000, DType::f32, {7}), "of a buffer of 1024");
    const uint32_t value = 0xABCD;
    uint32_t back = 0;
    copy_to_device(cpu_device(), {}, t.data(), &value, sizeof value);
    copy_to_host(cpu_device(), {}, &back, t.data(), sizeof back);
    EXPECT_EQ(back, value);
    copy_to_host(cpu_device(), {}, nullptr, nullptr, 0);
    synchronize(cpu_device(), {});
}

TEST(Arena, MeasuresAsItAllocates) {
    const auto step = [](Arena& arena) {
        const Tensor x = arena.allocate(DType::bf16, {3, 100});
        {
            const ArenaScope scope(arena);
            arena.allocate_bytes(1);
            arena.allocate_bytes(5000);
        }
        arena.allocate(DType::f32, {10});
        return x;
    };
    Arena measuring;
    EXPECT_EQ(step(measuring).data(), nullptr);
    Arena arena(*Buffer::allocate(cpu_device(), measuring.peak_bytes(), "scratch"));
    const Tensor x = step(arena);
    EXPECT_NE(x.data(), nullptr);
    EXPECT_EQ(arena.peak_bytes(), measuring.peak_bytes());
    EXPECT_EQ(arena.used_bytes(), measuring.used_bytes());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.allocate_bytes(8)) % 256, 0u);
    EXPECT_DEATH(arena.allocate_bytes(1 << 20), "the arena of");
}

constexpr std::string_view kMeminfo = "MemTotal:       24682304 kB\nMemFree: 1 kB\nMemAvailable:   20000000 kB\n";

TEST(HostMemory, IsTheKernelsReadingOrTheCgroups) {
    const auto host = host_memory(kMeminfo, {});
    ASSERT_TRUE(host);
    EXPECT_EQ(host->total_bytes, int64_t{24682304} * 1024);
    EXPECT_EQ(host->available_bytes, int64_t{20000000} * 1024);
    const auto group = host_memory(kMeminfo, {.memory_bytes = 1000, .memory_used_bytes = 300});
    EXPECT_EQ(group->total_bytes, 1000);
    EXPECT_EQ(group->available_bytes, 700);
    EXPECT_EQ(host_memory(kMeminfo, {.memory_bytes = 1000, .memory_used_bytes = 3000})->available_bytes, 0);
    EXPECT_EQ(host_memory(kMeminfo, {.memory_bytes = UINT64_MAX})->total_bytes, host->total_bytes);
}

TEST(HostMemory, NonsenseIsRefusedWithBothReadings) {
    for (const std::string_view text :
         {"", "MemTotal: 100 kB\n", "MemAvailable: 100 kB\n", "MemTotal: 100 kB\nMemAvailable: 101 kB\n",
          "MemTotal: 100 kB\nMemAvailable: -35 kB\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n",
          "MemTotal: 9223372036854775807 kB\nMemAvailable: 1 kB\n", "MemTotal: nan kB\nMemAvailable: 1 kB\n",
          "MemTotal: -1 kB\nMemAvailable: -2 kB\n", "MemTotal:"}) {
        const auto reading = host_memory(text, {});
        ASSERT_FALSE(reading) << text;
        EXPECT_EQ(reading.error().code, ErrorCode::device_unusable);
        EXPECT_THAT(reading.error().message, HasSubstr("MemTotal "));
        EXPECT_THAT(reading.error().message, HasSubstr("MemAvailable "));
    }
}

// Whatever the readings, a budget made from them lies within the machine.
TEST(HostMemory, AvailableNeverExceedsTotalAndIsNeverNegative) {
    std::mt19937_64 random(1);
    const auto number = [&] { return static_cast<int64_t>(random()) >> (random() % 64); };
    for (int i = 0; i < 100'000; ++i) {
        const std::string text =
            "MemTotal: " + std::to_string(number()) + " kB\nMemAvailable: " + std::to_string(number()) + " kB\n";
        CgroupLimits limits;
        if (random() % 2) limits.memory_bytes = static_cast<uint64_t>(number());
        limits.memory_used_bytes = static_cast<uint64_t>(number());
        const auto reading = host_memory(text, limits);
        if (!reading) continue;
        EXPECT_GE(reading->available_bytes, 0) << text;
        EXPECT_LE(reading->available_bytes, reading->total_bytes) << text;
    }
}

TEST(Device, TheCpuIsAlwaysThere) {
    const auto cpu = find_device("cpu");
    ASSERT_TRUE(cpu);
    EXPECT_TRUE(cpu->is_cpu());
    EXPECT_FALSE(cpu->name.empty());
    EXPECT_GE(cpu->multiprocessors, 1);
    EXPECT_GT(cpu->memory_bytes, 0);
    const auto memory = read_memory(*cpu);
    ASSERT_TRUE(memory);
    EXPECT_LE(memory->available_bytes, memory->total_bytes);
    EXPECT_TRUE(find_device("auto"));
}

TEST(Device, UnknownNamesAreUsageErrors) {
    for (const std::string_view name :
         {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999", "CPU"}) {
        const auto device = find_device(name);
        ASSERT_FALSE(device) << name;
        EXPECT_EQ(device.error().code, ErrorCode::usage);
    }
}

TEST(Device, AMissingGpuIsSaidInOneSentence) {
    const auto device = find_device("cuda:77");
    ASSERT_FALSE(device);
    EXPECT_EQ(device.error().code, ErrorCode::device_unusable);
    EXPECT_THAT(device.error().message, HasSubstr("cuda:77"));
}

}  // namespace
}  // namespace nibble::device
