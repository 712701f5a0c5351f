#include "checkpoint/writer.h"

#include "base/temporary_folder.h"
#include "checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

namespace nibble::checkpoint {
namespace {

using numeric::DType;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::byte> pattern(size_t bytes, size_t seed) {
    std::vector<std::byte> data(bytes);
    for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i * 7 + seed * 13);
    return data;
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
}

const std::vector<TensorDeclaration> kTensors = {
    {"a.weight", DType::u8, {3, 5}}, {"a.scale", DType::f32, {}}, {"b \"quoted\"\n", DType::bf16, {7}},
    {"c", DType::f8_e4m3, {0, 4}},   {"d", DType::i64, {2}},      {"e", DType::e2m1x2, {100}},
};

TEST(CheckpointWriter, WhatItWritesIsReadBack) {
    for (const uint64_t shard_bytes : {uint64_t{5'000'000'000}, uint64_t{20}, uint64_t{1}, uint64_t{0}}) {
        const TemporaryFolder folder;
        auto writer = CheckpointWriter::create(folder.path(), kTensors, shard_bytes);
        ASSERT_TRUE(writer) << writer.error().message;
        std::vector<std::thread> threads;
        std::vector<std::vector<std::byte>> data;
        for (size_t i = 0; i < kTensors.size(); ++i) {
            int64_t bytes = numeric::size_bytes(kTensors[i].dtype);
            for (const int64_t extent : kTensors[i].shape) bytes *= extent;
            data.push_back(pattern(static_cast<size_t>(bytes), i));
        }
        for (size_t i = 0; i < kTensors.size(); ++i)
            threads.emplace_back([&, i] {  // the second half first
                const std::span<const std::byte> all(data[i]);
                EXPECT_TRUE(writer->write(i, all.size() / 2, all.subspan(all.size() / 2)));
                EXPECT_TRUE(writer->write(i, 0, all.first(all.size() / 2)));
            });
        for (auto& thread : threads) thread.join();
        const auto done = writer->finish();
        ASSERT_TRUE(done) << done.error().message;

        folder.write("config.json", "{}");
        const auto checkpoint = Checkpoint::open(folder.path());
        ASSERT_TRUE(checkpoint) << checkpoint.error().message;
        EXPECT_EQ((*checkpoint)->tensors().size(), kTensors.size());
        EXPECT_EQ((*checkpoint)->tensor_bytes(), writer->total_bytes());
        EXPECT_EQ((*checkpoint)->files().size() == 1, shard_bytes > 1000);
        for (size_t i = 0; i < kTensors.size(); ++i) {
            const TensorEntry* entry = (*checkpoint)->find(kTensors[i].name);
            ASSERT_NE(entry, nullptr) << kTensors[i].name;
            EXPECT_EQ(entry->shape, kTensors[i].shape);
            EXPECT_EQ(entry->dtype, kTensors[i].dtype == DType::e2m1x2 ? DType::u8 : kTensors[i].dtype);
            std::vector<std::byte> back(entry->bytes);
            EXPECT_TRUE((*checkpoint)->read(*entry, 0, back));
            EXPECT_EQ(back, data[i]);
        }
    }
}

TEST(CheckpointWriter, LeavesNothingWithoutFinish) {
    const TemporaryFolder folder;
    {
        auto writer = CheckpointWriter::create(folder.path(), kTensors, 1);
        ASSERT_TRUE(writer);
        EXPECT_THAT(names_in(folder.path()), testing::Each(testing::EndsWith(".partial")));
        EXPECT_TRUE(writer->write(0, 0, pattern(3, 0)));
    }
    EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(CheckpointWriter, RefusesAFolderThatHoldsWeights) {
    const TemporaryFolder folder;
    folder.write("model.safetensors", "x");
    const auto writer = CheckpointWriter::create(folder.path(), kTensors);
    ASSERT_FALSE(writer);
    EXPECT_THAT(writer.error().message, HasSubstr("holds weights already ('model.safetensors')"));
    EXPECT_THAT(names_in(folder.path()), ElementsAre("model.safetensors"));
}

TEST(CheckpointWriter, RefusesANameTwice) {
    const TemporaryFolder folder;
    EXPECT_FALSE(CheckpointWriter::create(folder.path(), {{"a", DType::u8, {1}}, {"a", DType::u8, {1}}}));
}

TEST(CheckpointWriter, TellsTheSystemsReason) {
    const TemporaryFolder folder;
    folder.write("file", "x");
    const auto writer = CheckpointWriter::create(folder / "file/sub", kTensors);
    ASSERT_FALSE(writer);
    EXPECT_EQ(writer.error().code, ErrorCode::io);
    const auto huge = CheckpointWriter::create(folder / "huge", {{"a", DType::u8, {int64_t{1} << 50}}});
    ASSERT_FALSE(huge);
    EXPECT_EQ(huge.error().code, ErrorCode::io);
    EXPECT_THAT(names_in(folder / "huge"), IsEmpty());
}

TEST(CheckpointWriter, AForgottenByteIsOurMistake) {
    const TemporaryFolder folder;
    auto writer = CheckpointWriter::create(folder.path(), {{"a", DType::u8, {2}}});
    ASSERT_TRUE(writer);
    EXPECT_TRUE(writer->write(0, 1, pattern(1, 0)));
    EXPECT_DEATH((void)writer->finish(), "1 of 2 bytes were written");
    EXPECT_DEATH((void)writer->write(0, 1, pattern(2, 0)), "bytes 1 \\+ 2 of 2");
}

TEST(CheckpointWriter, AModelOfNoTensorsIsAFile) {
    const TemporaryFolder folder;
    auto writer = CheckpointWriter::create(folder.path(), {});
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->finish());
    EXPECT_TRUE(read_safetensors_header(folder / "model.safetensors"));
}

}  // namespace
}  // namespace nibble::checkpoint
