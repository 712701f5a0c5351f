// Each check says what a fault costs and what mends it, on fake trees of /proc and /sys.
#include "cli/host_checks.h"

#include "base/temporary_folder.h"
#include "cli/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace nibble::cli {
namespace {

using testing::HasSubstr;
using State = Check::State;

// A machine without faults.
void write_machine(const TemporaryFolder& root) {
    root.write("proc/cpuinfo",
               "processor\t: 0\nmodel name\t: Test CPU 9000\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"
               "cpu MHz\t\t: 3000.5\n");
    root.write("proc/meminfo",
               "MemTotal:       126877696 kB\nMemFree:          500000 kB\nMemAvailable:   110000000 kB\n"
               "Buffers:           1000 kB\nCached:         30000000 kB\nSwapTotal:             0 kB\n"
               "SwapFree:              0 kB\nShmem:              1000 kB\n");
    root.write("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00\n");
    root.write("proc/sys/vm/overcommit_memory", "0\n");
    root.write("proc/self/limits",
               "Limit                     Soft Limit           Hard Limit           Units     \n"
               "Max open files            1024                 524288               files     \n"
               "Max locked memory         unlimited            unlimited            bytes     \n");
    root.write("proc/self/cgroup", "0::/\n");
    root.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
}

const Check* find(const std::vector<Check>& checks, std::string_view what) {
    for (const Check& check : checks)
        if (check.what == what) return &check;
    return nullptr;
}

// The check of that name is a warning with a consequence and a remedy.
void expect_warning(const std::vector<Check>& checks, std::string_view what, std::string_view found) {
    const Check* check = find(checks, what);
    ASSERT_NE(check, nullptr) << what;
    EXPECT_EQ(check->state, State::warning) << what;
    EXPECT_THAT(check->found, HasSubstr(std::string(found)));
    EXPECT_FALSE(check->consequence.empty()) << what;
    EXPECT_FALSE(check->remedy.empty()) << what;
}

TEST(HostChecks, AMachineWithoutFaultsHasNone) {
    const TemporaryFolder root;
    write_machine(root);
    const auto checks = check_host(root.path(), true);
    for (const Check& check : checks) EXPECT_EQ(check.state, State::ok) << check.what << ": " << check.found;
    EXPECT_THAT(find(checks, "processor")->found, HasSubstr("Test CPU 9000"));
    EXPECT_THAT(find(checks, "processor")->found, HasSubstr("avx512_bf16"));
    EXPECT_THAT(find(checks, "page cache")->found, HasSubstr("28.6"));
    EXPECT_THAT(find(checks, "open files")->found, HasSubstr("524288"));
}

TEST(HostChecks, FaultsAreWarningsWithARemedy) {
    const TemporaryFolder root;
    write_machine(root);
    root.write("proc/cpuinfo", "model name\t: Old\nflags\t\t: fpu sse2\n");
    root.write(
        "proc/meminfo",
        "MemTotal:       126877696 kB\nMemAvailable:   10000000 kB\nSwapTotal:   8000000 kB\nSwapFree:  1000000 kB\n");
    root.write("proc/pressure/memory", "full avg10=7.50 avg60=0.00 avg300=0.00 total=2\n");
    root.write("proc/sys/vm/overcommit_memory", "2\n");
    root.write("proc/self/limits", "Max open files            256                 1024               files     \n");
    root.write("proc/self/cgroup", "0::/\n");
    root.write("sys/fs/cgroup/cpu.max", "50000 100000\n");
    root.write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    const auto checks = check_host(root.path(), false);
    expect_warning(checks, "processor", "Old");
    expect_warning(checks, "memory", "of 121.0");
    expect_warning(checks, "swap", "in use");
    expect_warning(checks, "memory pressure", "8 %");
    expect_warning(checks, "overcommit", "strict");
    expect_warning(checks, "huge pages", "never");
    expect_warning(checks, "control group", "0.5 processors");
    expect_warning(checks, "open files", "1024");
}

TEST(HostChecks, UnusedSwapMattersWhereAGpuSharesTheMemory) {
    const TemporaryFolder root;
    write_machine(root);
    root.write("proc/meminfo",
               "MemTotal:       126877696 kB\nMemAvailable:   110000000 kB\nSwapTotal:   8000000 kB\n"
               "SwapFree:  8000000 kB\n");
    EXPECT_EQ(find(check_host(root.path(), false), "swap")->state, State::ok);
    expect_warning(check_host(root.path(), true), "swap", "7.6");
}

TEST(HostChecks, AnEmptyTreeIsSaidAndNothingIsAssumed) {
    const TemporaryFolder root;
    const auto checks = check_host(root.path(), false);
    EXPECT_EQ(find(checks, "memory")->state, State::failed);
    expect_warning(checks, "huge pages", "none");
}

TEST(FabricChecks, NameLibrariesAndPorts) {
    const TemporaryFolder root;
    EXPECT_EQ(check_fabric(root.path(), 1)[0].state, State::ok);
    expect_warning(check_fabric(root.path(), 2), "NCCL", "not found");
    root.write("usr/lib/x86_64-linux-gnu/libnccl.so.2", "");
    root.write("sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n");
    root.write("sys/class/infiniband/mlx5_0/ports/1/rate", "200 Gb/sec (4X HDR)\n");
    auto checks = check_fabric(root.path(), 2);
    EXPECT_EQ(find(checks, "NCCL")->state, State::ok);
    EXPECT_THAT(find(checks, "RDMA")->found, HasSubstr("mlx5_0/1: 4: ACTIVE, 200 Gb/sec"));
    root.write("proc/self/limits", "Max locked memory         65536                8388608            bytes     \n");
    expect_warning(check_fabric(root.path(), 2), "locked memory", "8.0 MiB");
    root.write("proc/self/limits", "Max locked memory         unlimited            unlimited            bytes     \n");
    EXPECT_EQ(find(check_fabric(root.path(), 2), "locked memory")->state, State::ok);
    root.write("sys/class/infiniband/mlx5_1/ports/1/state", "1: DOWN\n");
    expect_warning(check_fabric(root.path(), 2), "RDMA", "mlx5_1/1: 1: DOWN");
}

constexpr std::array kBuiltFor = {90, 120, 121};

device::NvmlReading one_gpu() {
    device::NvmlReading nvml{.driver = "580.1", .cuda_version = 13000, .gpus = {}};
    nvml.gpus.push_back({.index = 0,
                         .name = "NVIDIA H200",
                         .uuid = "GPU-1",
                         .compute_capability = 90,
                         .sm_clock_mhz = 1980,
                         .max_sm_clock_mhz = 1980,
                         .power_w = 90,
                         .power_limit_w = 700,
                         .default_power_limit_w = 700,
                         .temperature_c = 40,
                         .throttle_reasons = 0x1,
                         .memory_total_bytes = uint64_t{150} << 30,
                         .memory_used_bytes = 0,
                         .persistence = true});
    return nvml;
}

TEST(GpuChecks, AHealthyGpuThatThereAreKernelsForIsFine) {
    for (const Check& check : check_gpus(one_gpu(), {.has_backend = true, .built_for = kBuiltFor}))
        EXPECT_EQ(check.state, State::ok) << check.what << ": " << check.found;
}

TEST(GpuChecks, WhatSlowsAGpuIsAWarning) {
    device::NvmlReading nvml = one_gpu();
    nvml.cuda_version = 12080;
    nvml.gpus[0].compute_capability = 80;
    nvml.gpus[0].throttle_reasons = 0x24;
    nvml.gpus[0].power_limit_w = 400;
    nvml.gpus[0].persistence = false;
    const auto checks = check_gpus(nvml, {.has_backend = true, .built_for = kBuiltFor});
    expect_warning(checks, "GPU driver", "12.8");
    expect_warning(checks, "GPU 0", "compute capability 8.0");
    expect_warning(checks, "GPU 0 clocks", "power cap, thermal limit");
    expect_warning(checks, "GPU 0 power cap", "400 W, 700 W is usual");
    expect_warning(checks, "GPU 0 persistence", "off");
    expect_warning(check_gpus(one_gpu(), {.has_backend = false, .built_for = kBuiltFor}), "GPU 0", "H200");
}

TEST(GpuChecks, MemoryThatTheDriverDoesNotTellIsTheHosts) {
    device::NvmlReading nvml = one_gpu();
    nvml.gpus[0].name = "NVIDIA GB10";
    nvml.gpus[0].compute_capability = 121;
    nvml.gpus[0].memory_total_bytes = {};
    const auto checks = check_gpus(nvml, {.has_backend = true, .built_for = kBuiltFor});
    EXPECT_EQ(find(checks, "GPU 0")->state, State::ok);
    EXPECT_THAT(find(checks, "GPU 0")->found, HasSubstr("MemAvailable"));
}

TEST(GpuChecks, NoDriverIsNoFault) {
    const auto checks = check_gpus(error(ErrorCode::device_unusable, "there is no NVIDIA driver"), {});
    ASSERT_EQ(checks.size(), 1u);
    EXPECT_EQ(checks[0].state, State::ok);
}

TEST(Bandwidth, IsHeldAgainstWhatTheDeviceIsKnownFor) {
    const device::Device gb10{.kind = device::DeviceKind::cuda, .name = "NVIDIA GB10"};
    EXPECT_EQ(judge_bandwidth(gb10, 235e9).state, State::ok);
    EXPECT_EQ(judge_bandwidth(gb10, 120e9).state, State::warning);
    EXPECT_EQ(judge_bandwidth(device::Device{}, 10e9).state, State::ok);
}

TEST(HubCache, CountsModelsAndSaysWhatIsMissing) {
    const TemporaryFolder root;
    root.write("models--org--a/refs/main", "x");
    root.write("models--org--b/refs/main", "x");
    root.write("version.txt", "1");
    EXPECT_THAT(check_hub_cache(root.path()).found, HasSubstr("2 models"));
    EXPECT_EQ(check_hub_cache(root / "absent").state, State::ok);
    EXPECT_EQ(check_hub_cache({}).state, State::warning);
}

TEST(CpuReading, IsReadOnArmToo) {
    const TemporaryFolder root;
    root.write("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp bf16 i8mm\nCPU part\t: 0xd85\n");
    const CpuReading cpu = read_cpu(root.path());
    EXPECT_TRUE(cpu.has("bf16"));
    EXPECT_FALSE(cpu.has("bf"));
    EXPECT_EQ(cpu.name, "");
}

}  // namespace
}  // namespace nibble::cli
