// Every truncation and every flipped bit of a tiny checkpoint: refused, or a load that is valid in itself. Never a
// crash, a hang, or a read out of bounds (the sanitizer builds run this too).
#include "checkpoint/tiny_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

namespace nibble::checkpoint {
namespace {

using testing::HasSubstr;

TEST(Damage, EveryTruncationOfAShardIsRefusedByName) {
    const TinyCheckpoint healthy;
    const TemporaryFolder folder;
    healthy.write_to(folder);
    for (const auto& [name, content] : healthy.files) {
        if (!name.ends_with(".safetensors")) continue;
        for (size_t length = content.size(); length-- > 0;) {
            std::filesystem::resize_file(folder / name, length);
            const auto loaded = load_tiny(folder.path());
            ASSERT_FALSE(loaded) << name << " cut to " << length;
            EXPECT_EQ(loaded.error().code, ErrorCode::model_invalid);
            EXPECT_THAT(loaded.error().message, HasSubstr(name));
            EXPECT_THAT(loaded.error().message, HasSubstr("expected"));
            EXPECT_THAT(loaded.error().message, HasSubstr(std::to_string(length)));
        }
        folder.write(name, content);
    }
}

TEST(Damage, EveryTruncationOfAJsonFileIsRefusedByName) {
    const TinyCheckpoint healthy;
    const TemporaryFolder folder;
    healthy.write_to(folder);
    for (const auto& [name, content] : healthy.files) {
        if (!name.ends_with(".json")) continue;
        for (size_t length = content.size(); length-- > 0;) {
            std::filesystem::resize_file(folder / name, length);
            const auto loaded = load_tiny(folder.path());
            ASSERT_FALSE(loaded) << name << " cut to " << length;
            EXPECT_THAT(loaded.error().message, HasSubstr(name));
        }
        folder.write(name, content);
    }
}

// The bits of data are not covered by any check but finiteness, so only headers and JSON are flipped here.
TEST(Damage, EveryFlippedBitIsRefusedOrAValidLoad) {
    const TinyCheckpoint healthy;
    const TemporaryFolder folder;
    healthy.write_to(folder);
    int refused = 0, accepted = 0;
    for (const auto& [name, content] : healthy.files) {
        size_t checked = content.size();
        if (name.ends_with(".safetensors")) {
            uint64_t header = 0;
            std::memcpy(&header, content.data(), 8);
            checked = 8 + header;
        }
        // In place: to write the file anew each time would wait for the disk.
        std::fstream file(folder / name, std::ios::in | std::ios::out | std::ios::binary);
        const auto put = [&](size_t at, char byte) { file.seekp(static_cast<std::streamoff>(at)).put(byte).flush(); };
        for (size_t bit = 0; bit < checked * 8; ++bit) {
            put(bit / 8, static_cast<char>(content[bit / 8] ^ (1 << bit % 8)));
            const auto loaded = load_tiny(folder.path());
            ++(loaded ? accepted : refused);
            if (!loaded) {
                EXPECT_FALSE(loaded.error().message.empty());
            }
            put(bit / 8, content[bit / 8]);
        }
        ASSERT_TRUE(file);
    }
    // What is accepted: text nobody reads ("architectures", "producer"), numbers within range, and white space.
    EXPECT_GT(refused, 4 * accepted);
    EXPECT_GT(accepted, 0);
}

TEST(Damage, ReadingBeyondAFileThatShrankIsAnError) {
    const TinyCheckpoint healthy;
    const TemporaryFolder folder;
    healthy.write_to(folder);
    auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint);
    Weights weights(*checkpoint);
    const auto matrix = weights.matrix("m.a", 2, 16);
    ASSERT_TRUE(matrix);
    std::filesystem::resize_file(folder / "model-00002-of-00003.safetensors", 40);
    std::byte codes[16], scales[2];
    const auto read = weights.read_rows(*matrix, 0, 2, codes, scales);
    ASSERT_FALSE(read);
    EXPECT_THAT(read.error().message, HasSubstr("model-00002-of-00003.safetensors: the file ends at byte 40"));
    EXPECT_THAT(read.error().message, HasSubstr("m.a.weight"));
}

TEST(Damage, ASurveyOpensWhatItCan) {
    TinyCheckpoint tiny;
    tiny.files["hf_quant_config.json"] = R"({"quantization":{"quant_algo":"NVFP5"}})";
    const TemporaryFolder folder;
    tiny.write_to(folder);
    const auto strict = Checkpoint::open(folder.path(), {.headers_only = true});
    ASSERT_FALSE(strict);
    EXPECT_EQ(strict.error().code, ErrorCode::unsupported);
    const auto unclaimed = Checkpoint::open(folder.path(), {.headers_only = true, .claims = false});
    ASSERT_TRUE(unclaimed) << unclaimed.error().message;
    EXPECT_TRUE((*unclaimed)->has_tensor_headers());
    EXPECT_EQ((*unclaimed)->quant_scheme().claim("m.lin").format, ClaimedFormat::none);

    tiny = TinyCheckpoint();
    tiny.files.erase("model.safetensors.index.json");
    const TemporaryFolder unindexed;
    tiny.write_to(unindexed);
    EXPECT_FALSE(Checkpoint::open(unindexed.path(), {.headers_only = true}));
    const auto configs = Checkpoint::open(unindexed.path(), {.headers_only = true, .tensors = false});
    ASSERT_TRUE(configs) << configs.error().message;
    EXPECT_FALSE((*configs)->has_tensor_headers());
}

}  // namespace
}  // namespace nibble::checkpoint
