#include "base/host.h"

#include "base/temporary_folder.h"

#include <gtest/gtest.h>

namespace nibble {
namespace {

TEST(Processors, SiblingsOfACoreComeLast) {
    const TemporaryFolder root;
    for (int cpu = 0; cpu < 8; ++cpu) {  // two packages of two cores of two threads, numbered as Linux likes to
        const std::string topology = "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
        root.write(topology + "core_id", std::to_string(cpu % 2) + "\n");
        root.write(topology + "physical_package_id", std::to_string(cpu / 2 % 2) + "\n");
    }
    const Processors all = order_processors({0, 1, 2, 3, 4, 5, 6, 7}, root.path().string());
    EXPECT_EQ(all.order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_EQ(all.cores, 4);
    const Processors some = order_processors({0, 4, 5, 6}, root.path().string());
    EXPECT_EQ(some.order, (std::vector<int>{0, 5, 6, 4}));
    EXPECT_EQ(some.cores, 3);
}

TEST(Processors, WithoutTopologyEveryProcessorIsACore) {
    const TemporaryFolder root;
    EXPECT_EQ(order_processors({3, 5}, root.path().string()).cores, 2);
    EXPECT_GE(read_processors().cores, 1);
}

TEST(CgroupLimits, TightestOfVersion2Counts) {
    const TemporaryFolder root;
    root.write("proc/self/cgroup", "0::/system.slice/nibble.service\n");
    root.write("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
    root.write("sys/fs/cgroup/system.slice/nibble.service/cpu.max", "max 100000\n");
    root.write("sys/fs/cgroup/system.slice/nibble.service/memory.max", "1000000\n");
    root.write("sys/fs/cgroup/system.slice/nibble.service/memory.current", "700000\n");
    root.write("sys/fs/cgroup/system.slice/nibble.service/memory.stat",
               "anon 5\ninactive_file 200000\nactive_file 9\n");
    root.write("sys/fs/cgroup/system.slice/memory.max", "max\n");
    const CgroupLimits limits = read_cgroup_limits(root.path().string());
    EXPECT_EQ(limits.processors, 1.5);
    EXPECT_EQ(limits.memory_bytes, 1000000u);
    EXPECT_EQ(limits.memory_used_bytes, 500000u);
}

TEST(CgroupLimits, Version1IsReadWhereItsPathIsOfAnotherNamespace) {
    const TemporaryFolder root;
    root.write("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n");
    root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
    root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n");
    root.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "6000\n");
    root.write("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 9000\n");
    const CgroupLimits limits = read_cgroup_limits(root.path().string());
    EXPECT_EQ(limits.processors, 2.0);
    EXPECT_EQ(limits.memory_bytes, 5000u);
    EXPECT_EQ(limits.memory_used_bytes, 0u);
}

TEST(CgroupLimits, NoLimitIsNoLimit) {
    const TemporaryFolder root;
    EXPECT_FALSE(read_cgroup_limits(root.path().string()).processors);
    root.write("proc/self/cgroup", "garbage\n0::\n::\n1:cpu:/../../x\n2:cpu:/\n3:memory:/\n0::/a/../../b\n");
    root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    const CgroupLimits limits = read_cgroup_limits(root.path().string());
    EXPECT_FALSE(limits.processors);
    EXPECT_FALSE(limits.memory_bytes);
}

}  // namespace
}  // namespace nibble
