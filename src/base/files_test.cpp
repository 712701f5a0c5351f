#include "base/files.h"

#include "base/bytes.h"
#include "base/in_quotes.h"
#include "base/temporary_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>

namespace nibble {
namespace {

using testing::HasSubstr;

template <class T>
std::string message(const Result<T>& result) {
    return result ? "no error" : result.error().message;
}

TEST(File, ReadsByPosition) {
    const TemporaryFolder folder;
    const auto file = File::open(folder.write("a", "0123456789"));
    ASSERT_TRUE(file) << message(file);
    EXPECT_EQ(file->size(), 10u);
    std::array<std::byte, 4> part;
    ASSERT_TRUE(file->read(3, part));
    EXPECT_EQ(std::string(reinterpret_cast<char*>(part.data()), 4), "3456");
    EXPECT_TRUE(file->read(10, {}));
}

TEST(File, SaysWhereAFileEnds) {
    const TemporaryFolder folder;
    const auto file = File::open(folder.write("a", "0123456789"));
    std::array<std::byte, 4> part;
    const auto beyond = file->read(8, part);
    ASSERT_FALSE(beyond);
    EXPECT_EQ(beyond.error().code, ErrorCode::model_invalid);
    EXPECT_THAT(message(beyond), HasSubstr("ends at byte 10"));
    EXPECT_FALSE(file->read(UINT64_MAX, part));
    EXPECT_FALSE(file->read(UINT64_MAX - 2, part));
}

TEST(File, NoticesThatAFileShrinks) {
    const TemporaryFolder folder;
    const auto path = folder.write("a", std::string(100'000, 'x'));
    const auto file = File::open(path);
    ASSERT_EQ(::truncate(path.c_str(), 50'000), 0);
    std::vector<std::byte> all(100'000);
    const auto read = file->read(0, all);
    ASSERT_FALSE(read);
    EXPECT_THAT(message(read), HasSubstr("it had 100000 when opened"));
}

TEST(File, RefusesWhatIsNoRegularFileWithoutBlocking) {
    const TemporaryFolder folder;
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    std::filesystem::create_directory(folder / "directory");
    std::filesystem::create_symlink("loop-b", folder / "loop-a");
    std::filesystem::create_symlink("loop-a", folder / "loop-b");
    std::filesystem::create_symlink("nowhere", folder / "dangling");
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{.sun_family = AF_UNIX};
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s", (folder / "socket").c_str());
    ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::pair<std::string, std::string> cases[] = {
        {"fifo", "found a FIFO"},     {"directory", "found a folder"}, {"loop-a", "in a circle"},
        {"dangling", "no such file"}, {"absent", "no such file"},      {"socket", "found a socket"},
    };
    for (const auto& [name, expected] : cases) {
        const auto file = File::open(folder / name);
        ASSERT_FALSE(file) << name;
        EXPECT_EQ(file.error().code, ErrorCode::not_found);
        EXPECT_THAT(message(file), HasSubstr(expected));
    }
    EXPECT_THAT(message(File::open("/dev/zero")), HasSubstr("found a device"));
    ::close(fd);
}

TEST(ReadWholeFile, HasALimit) {
    const TemporaryFolder folder;
    const auto path = folder.write("a", "12345");
    EXPECT_EQ(read_whole_file(path, 5).value_or(""), "12345");
    EXPECT_THAT(message(read_whole_file(path, 4)), HasSubstr("at most 4 bytes"));
    EXPECT_EQ(read_whole_file(folder.write("empty", ""), 0).value_or("x"), "");
}

TEST(InQuotes, MakesTextSafeForAMessage) {
    EXPECT_EQ(in_quotes("model.layers.0"), "'model.layers.0'");
    EXPECT_EQ(in_quotes("a\nb\x1b[31m"), "'a\\x0ab\\x1b[31m'");
    EXPECT_EQ(in_quotes("caf\xc3\xa9 \xf0\x9f\x98\x80"), "'caf\xc3\xa9 \xf0\x9f\x98\x80'");
    EXPECT_EQ(in_quotes("\xff\xc3(\xc0\x80\xed\xa0\x80"), "'\\xff\\xc3(\\xc0\\x80\\xed\\xa0\\x80'");
    EXPECT_EQ(in_quotes(std::string(1000, 'a'), 10), "'aaaaaaaaaa…'");
    EXPECT_EQ(in_quotes(std::string_view("\0", 1)), "'\\x00'");
}

TEST(Bytes, AreWordedInBinaryUnits) {
    EXPECT_EQ(describe_bytes(312), "312 bytes");
    EXPECT_EQ(describe_bytes(4096), "4.0 KiB");
    EXPECT_EQ(describe_bytes(uint64_t{3} << 29), "1.50 GiB");
    EXPECT_EQ(checked_multiply<int64_t>(INT64_MAX, 2), std::nullopt);
    EXPECT_EQ(checked_add<uint64_t>(UINT64_MAX, 1), std::nullopt);
    EXPECT_EQ(checked_add<uint64_t>(2, 1), 3u);
}

}  // namespace
}  // namespace nibble
