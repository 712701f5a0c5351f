#include "base/temporary_folder.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/tiny_checkpoint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

namespace nibble::checkpoint {
namespace {

// Pages of the file that are in memory.
size_t resident_pages(const std::filesystem::path& path) {
    const size_t bytes = std::filesystem::file_size(path), pages = (bytes + 4095) / 4096;
    const int fd = ::open(path.c_str(), O_RDONLY);
    void* region = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    std::vector<unsigned char> resident(pages);
    EXPECT_EQ(::mincore(region, bytes, resident.data()), 0);
    ::munmap(region, bytes);
    ::close(fd);
    return static_cast<size_t>(
        std::count_if(resident.begin(), resident.end(), [](unsigned char page) { return page & 1; }));
}

TEST(PageCache, LosesWhatWasReadWhenAskedTo) {
    const TemporaryFolder folder;
    struct statfs system;
    ASSERT_EQ(::statfs(folder.path().c_str(), &system), 0);
    if (system.f_type == TMPFS_MAGIC || sysconf(_SC_PAGESIZE) != 4096) GTEST_SKIP() << "files live in memory here";
    constexpr int64_t kBytes = 20 << 20;
    const auto file =
        folder.write("model.safetensors", safetensors_bytes({{"a", "U8", {kBytes}, std::string(kBytes, 'x')}}));
    folder.write("config.json", "{}");
    const int fd = ::open(file.c_str(), O_RDWR);
    ASSERT_EQ(::fsync(fd), 0);  // pages not yet written cannot be dropped
    ::close(fd);
    for (const PageCache choice : {PageCache::automatic, PageCache::drop}) {
        const auto checkpoint = Checkpoint::open(folder.path(), {.page_cache = choice});
        ASSERT_TRUE(checkpoint);
        std::vector<std::byte> rows(100'000);
        for (int64_t at = 0; at < kBytes; at += 100'000) {
            const auto part = std::span(rows).first(static_cast<size_t>(std::min<int64_t>(100'000, kBytes - at)));
            ASSERT_TRUE((*checkpoint)->read(*(*checkpoint)->find("a"), static_cast<uint64_t>(at), part));
        }
        if (choice == PageCache::drop) {
            EXPECT_LT(resident_pages(file), 200u);
        } else {
            EXPECT_GT(resident_pages(file), 5000u);  // nearly all: a small checkpoint stays
        }
    }
}

}  // namespace
}  // namespace nibble::checkpoint
