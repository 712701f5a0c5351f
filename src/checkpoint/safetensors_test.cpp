#include "checkpoint/safetensors.h"

#include "base/temporary_folder.h"
#include "checkpoint/tiny_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nibble::checkpoint {
namespace {

using numeric::DType;
using testing::ElementsAre;

TEST(Safetensors, EntriesComeInTheOrderOfTheirData) {
    const TemporaryFolder folder;
    const auto file = folder.write(
        "a",
        safetensors_bytes(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[4,8]},
            "a":{"data_offsets":[0,4],"shape":[],"dtype":"F32","later":[1]},"z":{"dtype":"U8","shape":[3,0],"data_offsets":[4,4]}}   )",
                          "12345678"));
    const auto header = read_safetensors_header(file);
    ASSERT_TRUE(header) << header.error().message;
    ASSERT_EQ(header->tensors.size(), 3u);
    const TensorEntry& a = header->tensors[0];
    EXPECT_EQ(a.name, "a");
    EXPECT_EQ(a.dtype, DType::f32);
    EXPECT_TRUE(a.shape.empty());
    EXPECT_EQ(a.elements(), 1);
    EXPECT_EQ(header->tensors[1].name, "z");
    EXPECT_EQ(header->tensors[1].elements(), 0);
    EXPECT_THAT(header->tensors[2].shape, ElementsAre(2, 1));
    EXPECT_EQ(header->tensors[2].offset + 4, header->file_bytes);
    EXPECT_EQ(header->file_bytes, std::filesystem::file_size(file));
}

// The low byte of a length may be any letter: '{' alone does not make a JSON file of it.
TEST(Safetensors, EveryHeaderLengthIsALength) {
    const TemporaryFolder folder;
    for (size_t length = 2; length < 600; ++length) {
        const auto file = folder.write("a", safetensors_bytes("{}" + std::string(length - 2, ' '), ""));
        const auto header = read_safetensors_header(file);
        EXPECT_TRUE(header) << header.error().message;
    }
}

TEST(Safetensors, HeadersAloneNeedNoData) {
    const TemporaryFolder folder;
    const std::string whole = safetensors_bytes(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})", "12345678");
    for (size_t missing = 0; missing <= 8; ++missing) {
        const auto file = folder.write("a", std::string_view(whole).substr(0, whole.size() - missing));
        const auto header = read_safetensors_header(file, true);
        ASSERT_TRUE(header) << header.error().message;
        EXPECT_EQ(header->file_bytes, whole.size());
        EXPECT_EQ(read_safetensors_header(file).has_value(), missing == 0);
    }
    EXPECT_FALSE(read_safetensors_header(folder.write("a", std::string_view(whole).substr(0, whole.size() - 9)), true));
    EXPECT_FALSE(read_safetensors_header(folder.write("a", whole + "x"), true));
}

}  // namespace
}  // namespace nibble::checkpoint
