// Without a driver there is an error that says so; what slows a GPU is named.
#include "device/nvml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nibble::device {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Nvml, WithoutALibraryTheErrorNamesIt) {
    const auto reading = read_nvml("libno-such-driver.so.1");
    ASSERT_FALSE(reading);
    EXPECT_EQ(reading.error().code, ErrorCode::device_unusable);
    EXPECT_THAT(reading.error().message, HasSubstr("libno-such-driver.so.1"));
}

TEST(Nvml, ALibraryOfAnotherKindIsAnErrorToo) {
    EXPECT_FALSE(read_nvml("libm.so.6"));
}

TEST(Nvml, ReasonsThatSlowAreNamedAndIdlenessIsNone) {
    EXPECT_THAT(throttle_names(0x1), IsEmpty());
    EXPECT_THAT(throttle_names(0x5), ElementsAre("power cap"));
    EXPECT_THAT(throttle_names(0x60), ElementsAre("thermal limit", "hardware thermal slowdown"));
}

TEST(Nvml, AGpuIsFoundByNameWhereTheOrdersDiffer) {
    NvmlReading nvml;
    nvml.gpus = {{.index = 0, .name = "NVIDIA A2", .uuid = "a"}, {.index = 1, .name = "NVIDIA H200", .uuid = "b"}};
    Device device{.kind = DeviceKind::cuda, .index = 0, .name = "NVIDIA H200"};
    ASSERT_NE(find_reading(nvml, device), nullptr);
    EXPECT_EQ(find_reading(nvml, device)->uuid, "b");
    device.name = "NVIDIA GB10";
    EXPECT_EQ(find_reading(nvml, device), nullptr);
    EXPECT_EQ(find_reading(nvml, Device{}), nullptr);
}

}  // namespace
}  // namespace nibble::device
