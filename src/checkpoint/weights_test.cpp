#include "checkpoint/weights.h"

#include "checkpoint/tiny_checkpoint.h"
#include "numeric/fp16.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

namespace nibble::checkpoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <class T>
std::string message(const Result<T>& result) {
    return result ? "no error" : result.error().message;
}

// A folder with one safetensors file.
struct Folder {
    TemporaryFolder folder;

    explicit Folder(const std::vector<TinyTensor>& tensors, std::string_view config = "{}", std::string_view hf = "") {
        folder.write("model.safetensors", safetensors_bytes(tensors));
        folder.write("config.json", config);
        if (!hf.empty()) folder.write("hf_quant_config.json", hf);
    }
    Weights weights(std::vector<std::pair<std::string, std::string>> aliases = {}, bool headers_only = false) const {
        auto checkpoint = Checkpoint::open(folder.path(), {.headers_only = headers_only});
        EXPECT_TRUE(checkpoint) << message(checkpoint);
        return Weights(*checkpoint, std::move(aliases));
    }
};

const std::string kCodes = std::string(8, '\x21') + std::string(8, '\x43');
const TinyTensor kBlockScales = {"x.weight_scale", "F8_E4M3", {2, 1}, "\x38\x40"};

TEST(Weights, ModeloptGlobalScaleMultiplies) {
    const Folder folder({{"x.weight", "U8", {2, 8}, kCodes},
                         kBlockScales,
                         {"x.weight_scale_2", "F32", {}, bytes_of({0.25f})},
                         {"x.input_scale", "F32", {}, bytes_of({2})}});
    Weights weights = folder.weights();
    const auto matrix = weights.matrix("x", 2, 16);
    ASSERT_TRUE(matrix) << message(matrix);
    EXPECT_EQ(matrix->format, MatrixFormat::nvfp4);
    EXPECT_EQ(matrix->scale, 0.25f);
    EXPECT_EQ(matrix->input_scale, 2.0f);
    EXPECT_EQ(matrix->stored_bytes, 16u + 2 + 4 + 4);
    EXPECT_EQ(matrix_row_bytes(*matrix), 8);
    EXPECT_EQ(matrix_row_scale_bytes(*matrix), 1);
    std::string codes(8, 'x'), scales(1, 'x');
    ASSERT_TRUE(weights.read_rows(*matrix, 1, 1, reinterpret_cast<std::byte*>(codes.data()),
                                  reinterpret_cast<std::byte*>(scales.data())));
    EXPECT_EQ(codes, std::string(8, '\x43'));
    EXPECT_EQ(scales, "\x40");
    EXPECT_TRUE(weights.all_accounted_for());
}

TEST(Weights, CompressedTensorsGlobalScaleDivides) {
    const Folder folder({{"x.weight_packed", "U8", {2, 8}, kCodes},
                         kBlockScales,
                         {"x.weight_global_scale", "F32", {1}, bytes_of({4})},
                         {"x.input_global_scale", "F32", {1}, bytes_of({0.5f})}});
    Weights weights = folder.weights();
    const auto matrix = weights.matrix("x", 2, 16);
    ASSERT_TRUE(matrix) << message(matrix);
    EXPECT_EQ(matrix->scale, 0.25f);
    EXPECT_EQ(matrix->input_scale, 2.0f);
    EXPECT_TRUE(weights.all_accounted_for());
}

TEST(Weights, ADivisorWithoutAFiniteInverseIsRefused) {
    const Folder folder({{"x.weight_packed", "U8", {2, 8}, kCodes},
                         kBlockScales,
                         {"x.weight_global_scale", "F32", {1}, bytes_of({1e-45f})}});
    EXPECT_THAT(message(folder.weights().matrix("x", 2, 16)), HasSubstr("a scale with a finite inverse"));
}

TEST(Weights, WeightOnlyClaimsLeaveTheInputScaleUnused) {
    const Folder folder({{"x.weight", "U8", {2, 8}, kCodes},
                         kBlockScales,
                         {"x.weight_scale_2", "F32", {}, bytes_of({0.25f})},
                         {"x.input_scale", "F32", {}, bytes_of({0})}},
                        "{}", R"({"quantization":{"quant_algo":"W4A16_NVFP4"}})");
    Weights weights = folder.weights();
    const auto matrix = weights.matrix("x", 2, 16);
    ASSERT_TRUE(matrix) << message(matrix);
    EXPECT_EQ(matrix->input_scale, 0.0f);
    EXPECT_EQ(matrix->claim.algorithm, "W4A16_NVFP4");
    EXPECT_TRUE(weights.all_accounted_for());
}

TEST(Weights, Fp8ScalesOfEveryShape) {
    const TinyTensor weight = {"x.weight", "F8_E4M3", {2, 3}, "\x30\x38\x40\xb0\xb8\xc0"};
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {1}, {1, 1}})
        for (const char* name : {"x.weight_scale", "x.weight_scale_inv"}) {
            Weights weights = Folder({weight, {name, "BF16", shape, bf16_bytes_of({3})}}).weights();
            const auto matrix = weights.matrix("x", 2, 3);
            ASSERT_TRUE(matrix) << message(matrix);
            EXPECT_EQ(matrix->format, MatrixFormat::fp8_tensor);
            EXPECT_EQ(matrix->scale, 3.0f);
        }
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{2}, {2, 1}}) {
        Weights weights = Folder({weight, {"x.weight_scale", "F32", shape, bytes_of({3, 5})}}).weights();
        const auto matrix = weights.matrix("x", 2, 3);
        ASSERT_TRUE(matrix) << message(matrix);
        EXPECT_EQ(matrix->format, MatrixFormat::fp8_row);
        EXPECT_THAT(matrix->row_scale, ElementsAre(3, 5));
    }
    const TinyTensor wide = {"x.weight", "F8_E4M3", {130, 2}, std::string(260, '\x38')};
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{2, 1}, {2, 1, 1, 1}}) {
        Weights weights = Folder({wide, {"x.weight_scale_inv", "BF16", shape, bf16_bytes_of({3, 5})}}).weights();
        const auto matrix = weights.matrix("x", 130, 2);
        ASSERT_TRUE(matrix) << message(matrix);
        EXPECT_EQ(matrix->format, MatrixFormat::fp8_block);
        EXPECT_THAT(*weights.block_scale_values(*matrix), ElementsAre(3, 5));
    }
    EXPECT_THAT(message(Folder({weight, {"x.weight_scale", "U8", {2, 1}, "ab"}}).weights().matrix("x", 2, 3)),
                HasSubstr("MXFP8"));
}

TEST(Weights, HalfFloatsAreDeliveredAsFloats) {
    std::string halves;
    for (int i = 0; i < 12; ++i) {
        const uint16_t half = numeric::fp16_from_float(static_cast<float>(i) - 5.5f);
        halves.append(reinterpret_cast<const char*>(&half), 2);
    }
    Weights weights = Folder({{"x.weight", "F16", {4, 3}, halves}}).weights();
    const auto matrix = weights.matrix("x", 4, 3);
    ASSERT_TRUE(matrix);
    EXPECT_EQ(matrix_row_bytes(*matrix), 12);
    std::vector<float> rows(6);
    ASSERT_TRUE(weights.read_rows(*matrix, 1, 2, reinterpret_cast<std::byte*>(rows.data()), nullptr));
    EXPECT_THAT(rows, ElementsAre(-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f));
}

TEST(Weights, ValuesOfEveryFloatType) {
    Weights weights = Folder({{"a", "F32", {2}, bytes_of({1, 2})},
                              {"b", "BF16", {1, 2}, bf16_bytes_of({3, 4})},
                              {"c", "F16", {}, std::string("\x00\x3c", 2)},
                              {"d", "F16", {1}, std::string("\x00\x7c", 2)}})
                          .weights();
    EXPECT_THAT(*weights.values("a", {2}), ElementsAre(1, 2));
    EXPECT_THAT(*weights.values("b", {1, 2}), ElementsAre(3, 4));
    EXPECT_THAT(*weights.values("c", {1}), ElementsAre(1));
    EXPECT_THAT(*weights.values("c", {}), ElementsAre(1));
    EXPECT_THAT(message(weights.values("d", {1})), HasSubstr("tensor 'd': expected finite values, found inf"));
    EXPECT_THAT(message(weights.values("a", {3})), HasSubstr("tensor 'a': expected [3], found F32 [2]"));
    EXPECT_THAT(message(weights.values("e", {3})), HasSubstr("tensor 'e' is missing"));
    const auto entry = weights.tensor("b", {1, 2});
    ASSERT_TRUE(entry);
    EXPECT_EQ((*entry)->dtype, numeric::DType::bf16);
}

TEST(Weights, AliasesNameATensorOneWay) {
    const Folder folder(
        {{"language_model.backbone.layers.0.w.weight", "BF16", {1, 2}, bf16_bytes_of({1, 2})},
         {"language_model.lm_head.weight", "BF16", {1, 2}, bf16_bytes_of({1, 2})},
         {"vision.x", "I64", {1}, "12345678"},
         {"vision.y", "F64", {1}, "12345678"}},
        R"({"quantization_config":{"quant_method":"modelopt","quant_algo":"NVFP4","ignore":["model.layers.0.w"]}})");
    Weights weights =
        folder.weights({{"model.", "backbone."}, {"", "language_model."}, {"model.", "language_model.backbone."}});
    EXPECT_TRUE(weights.has("model.layers.0.w.weight"));
    EXPECT_TRUE(weights.has_matrix("lm_head"));
    EXPECT_FALSE(weights.has_matrix("model.layers.1.w"));
    const auto matrix = weights.matrix("model.layers.0.w", 1, 2);
    ASSERT_TRUE(matrix) << message(matrix);
    EXPECT_EQ(matrix->module, "language_model.backbone.layers.0.w");
    EXPECT_TRUE(matrix->claim.named);  // the config names it as the model does
    EXPECT_TRUE(weights.matrix("lm_head", 1, 2));
    EXPECT_THAT(message(weights.all_accounted_for()),
                HasSubstr("2 tensors that no part of the model uses: 'vision.x' (I64 [1])"));
    weights.ignore("vision.*");
    EXPECT_TRUE(weights.all_accounted_for());
}

TEST(Weights, HeadersAloneGiveFormatsAndUnitScales) {
    TinyCheckpoint checkpoint;
    TemporaryFolder folder;
    for (auto& [name, content] : checkpoint.files) {
        if (!name.ends_with(".safetensors")) continue;
        uint64_t header = 0;
        std::memcpy(&header, content.data(), 8);
        content.resize(8 + header + 1);
    }
    checkpoint.write_to(folder);
    EXPECT_FALSE(Checkpoint::open(folder.path()));
    auto opened = Checkpoint::open(folder.path(), {.headers_only = true});
    ASSERT_TRUE(opened) << message(opened);
    EXPECT_TRUE((*opened)->has_tensor_headers());
    EXPECT_FALSE((*opened)->has_tensor_data());
    EXPECT_EQ((*opened)->tensor_bytes(), 60u);  // 12 + 8 + 0, 16 + 2 + 4 + 4, 6 + 4 + 4
    Weights weights(*opened);
    const auto matrix = weights.matrix("m.a", 2, 16);
    ASSERT_TRUE(matrix) << message(matrix);
    EXPECT_EQ(matrix->format, MatrixFormat::nvfp4);
    EXPECT_EQ(matrix->scale, 1.0f);
    EXPECT_THAT(*weights.values("m.norm.weight", {2}), ElementsAre(0, 0));
}

TEST(Weights, ConfigsAloneGiveFormatsByTheirClaims) {
    auto opened = Checkpoint::open(
        std::string(NIBBLE_SOURCE_DIR) + "/models/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4", {.headers_only = true});
    ASSERT_TRUE(opened) << message(opened);
    EXPECT_FALSE((*opened)->has_tensor_headers());
    Weights weights(*opened);
    const auto format = [&](std::string_view module) { return weights.matrix(module, 1856, 2688)->format; };
    EXPECT_EQ(format("backbone.layers.0.mixer.in_proj"), MatrixFormat::fp8_tensor);
    EXPECT_EQ(format("backbone.layers.1.mixer.experts.7.up_proj"), MatrixFormat::nvfp4);
    EXPECT_EQ(format("backbone.layers.5.mixer.q_proj"), MatrixFormat::bf16);
    EXPECT_EQ(format("backbone.embeddings"), MatrixFormat::bf16);
    EXPECT_EQ(weights.matrix("lm_head", 131072, 2688)->stored_bytes, 131072u * 2688 / 16 * 9 + 8);
    EXPECT_TRUE(weights.has_matrix("anything"));
    EXPECT_EQ(*weights.tensor("anything", {3}), nullptr);
    EXPECT_THAT(*weights.values("anything", {3}), ElementsAre(0, 0, 0));
    EXPECT_TRUE(weights.all_accounted_for());
    EXPECT_FALSE(Checkpoint::open((*opened)->folder()));
}

TEST(Weights, AnExpressionThatGivesUpIsAContradiction) {
    const std::string module(3000, 'a');
    const Folder folder({{module + ".weight", "BF16", {1, 2}, bf16_bytes_of({1, 2})}},
                        R"({"quantization_config":{"quant_method":"compressed-tensors","ignore":["re:(a+)+$"],
                            "config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":8,"type":"float"}}}}})");
    Weights weights = folder.weights();
    EXPECT_TRUE(weights.matrix(module, 1, 2));  // the whole name is matched at once
    const Folder other({{module + ".b.weight", "BF16", {1, 2}, bf16_bytes_of({1, 2})}},
                       R"({"quantization_config":{"quant_method":"compressed-tensors","ignore":["re:(a+)+$"],
                            "config_groups":{"g":{"targets":["Linear"],"weights":{"num_bits":8,"type":"float"}}}}})");
    EXPECT_THAT(message(other.weights().matrix(module + ".b", 1, 2)), HasSubstr("takes too many steps to match"));
}

TEST(Weights, ManyThreadsReadAtOnce) {
    std::vector<float> all(64 * 32);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<float>(i);
    Weights weights = Folder({{"x.weight", "F32", {64, 32}, bytes_of(all)}}).weights();
    const auto matrix = weights.matrix("x", 64, 32);
    ASSERT_TRUE(matrix);
    std::vector<float> read(all.size());
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (int64_t row = t; row < 64; row += 4)
                EXPECT_TRUE(
                    weights.read_rows(*matrix, row, 1, reinterpret_cast<std::byte*>(read.data() + row * 32), nullptr));
            EXPECT_TRUE(weights.matrix("x", 64, 32));
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(read, all);
}

}  // namespace
}  // namespace nibble::checkpoint
