#include "base/folder.h"

#include "base/temporary_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace nibble {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kConfig = "{}", kData = "abcdef";

const std::array<EmbeddedFile, 2> kFiles = {
    EmbeddedFile{.name = "config.json", .bytes = std::as_bytes(std::span(kConfig))},
    EmbeddedFile{.name = "b.safetensors", .bytes = std::as_bytes(std::span(kData))}};

TEST(Folder, OfTheFileSystemAndOfTheProgramAreReadAlike) {
    const TemporaryFolder disk;
    disk.write("config.json", kConfig);
    disk.write("b.safetensors", kData);
    for (const Folder& folder : {Folder(disk.path()), Folder::embedded("demo", kFiles)}) {
        EXPECT_THAT(*folder.names(), ElementsAre("b.safetensors", "config.json"));
        EXPECT_TRUE(folder.has("config.json") && folder.has_file("config.json"));
        EXPECT_FALSE(folder.has("config") || folder.has_file("config"));
        EXPECT_EQ(*folder.read("config.json", 2), "{}");
        EXPECT_EQ(folder.read("config.json", 1).error().code, ErrorCode::model_invalid);
        const auto missing = folder.open("c.json");
        ASSERT_FALSE(missing);
        EXPECT_EQ(missing.error().code, ErrorCode::not_found);
        EXPECT_THAT(missing.error().message, HasSubstr(folder.string("c.json")));

        const auto file = folder.open("b.safetensors");
        ASSERT_TRUE(file);
        EXPECT_EQ(file->size(), 6u);
        EXPECT_EQ(file->path().string(), folder.string("b.safetensors"));
        std::array<std::byte, 3> bytes{};
        ASSERT_TRUE(file->read(2, bytes));
        EXPECT_EQ(bytes[0], std::byte{'c'});
        EXPECT_EQ(bytes[2], std::byte{'e'});
        EXPECT_FALSE(file->read(4, bytes));
        EXPECT_FALSE(file->read(UINT64_MAX, bytes));
        file->drop_from_cache(0, 6);
    }
}

TEST(Folder, IsNamedInMessages) {
    const Folder demo = Folder::embedded("demo", kFiles), disk("models/demo/");
    EXPECT_TRUE(demo.is_embedded());
    EXPECT_FALSE(disk.is_embedded());
    EXPECT_EQ(demo.string("config.json"), "demo:config.json");
    EXPECT_EQ(disk.string("config.json"), "models/demo/config.json");
    EXPECT_EQ(demo.name(), "demo");
    EXPECT_EQ(disk.name(), "demo");
}

TEST(Folder, ThatIsNotThereHasNoNames) {
    const auto names = Folder("/nonexistent").names();
    ASSERT_FALSE(names);
    EXPECT_EQ(names.error().code, ErrorCode::io);
}

}  // namespace
}  // namespace nibble
