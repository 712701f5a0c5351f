#include "checkpoint/tiny_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstring>

#include "numeric/bf16.h"

namespace nibble::checkpoint {

std::string safetensors_bytes(std::string_view header, std::string_view data) {
    std::string file;
    for (int i = 0; i < 8; ++i) file += static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
    return file.append(header).append(data);
}

std::string safetensors_bytes(const std::vector<TinyTensor>& tensors) {
    std::string header = "{", data;
    for (const TinyTensor& tensor : tensors) {
        header += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                              header == "{" ? "" : ",", tensor.name, tensor.dtype, fmt::join(tensor.shape, ","),
                              data.size(), data.size() + tensor.data.size());
        data += tensor.data;
    }
    return safetensors_bytes(header + "}", data);
}

std::string bytes_of(const std::vector<float>& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::string bf16_bytes_of(const std::vector<float>& values) {
    std::string bytes;
    for (const float value : values) {
        const auto half = numeric::bf16::from_float(value);
        bytes.append(reinterpret_cast<const char*>(&half), sizeof half);
    }
    return bytes;
}

TinyCheckpoint::TinyCheckpoint() {
    const std::string codes(2 * 8, '\x21');  // [2, 16] of 0.5 and 1
    files["model-00001-of-00003.safetensors"] = safetensors_bytes({
        {"m.emb.weight", "BF16", {3, 2}, bf16_bytes_of({1, 2, 3, 4, 5, 6})},
        {"m.norm.weight", "F32", {2}, bytes_of({0.5f, 2})},
        {"m.empty", "F32", {0, 2}, ""},
    });
    files["model-00002-of-00003.safetensors"] = safetensors_bytes({
        {"m.a.weight", "U8", {2, 8}, codes},
        {"m.a.weight_scale", "F8_E4M3", {2, 1}, "\x38\x40"},
        {"m.a.weight_scale_2", "F32", {}, bytes_of({0.25f})},
        {"m.a.input_scale", "F32", {}, bytes_of({2})},
    });
    files["model-00003-of-00003.safetensors"] = safetensors_bytes({
        {"m.b.weight", "F8_E4M3", {2, 3}, "\x30\x38\x40\xb0\xb8\xc0"},
        {"m.b.weight_scale", "F32", {}, bytes_of({3})},
        {"m.c.weight", "F16", {1, 2}, std::string("\x00\x3c\x00\x40", 4)},
    });
    files["model.safetensors.index.json"] = R"({"metadata":{"total_size":78},"weight_map":{
"m.emb.weight":"model-00001-of-00003.safetensors","m.norm.weight":"model-00001-of-00003.safetensors",
"m.empty":"model-00001-of-00003.safetensors","m.a.weight":"model-00002-of-00003.safetensors",
"m.a.weight_scale":"model-00002-of-00003.safetensors","m.a.weight_scale_2":"model-00002-of-00003.safetensors",
"m.a.input_scale":"model-00002-of-00003.safetensors","m.b.weight":"model-00003-of-00003.safetensors",
"m.b.weight_scale":"model-00003-of-00003.safetensors","m.c.weight":"model-00003-of-00003.safetensors"}})";
    files["config.json"] = R"({"architectures":["Tiny"],"hidden_size":2,"eps":1e-05,"limits":[0.0,Infinity]})";
    files["generation_config.json"] = R"({"eos_token_id":[2,11]})";
    files["hf_quant_config.json"] = R"({"producer":{"name":"modelopt","version":"0.44"},"quantization":{
"quant_algo":"MIXED_PRECISION","kv_cache_quant_algo":"FP8","exclude_modules":["m.emb","m.c"],
"quantized_layers":{"m.a":{"quant_algo":"NVFP4","group_size":16},"m.b":{"quant_algo":"FP8"}}}})";
}

void TinyCheckpoint::write_to(const TemporaryFolder& folder) const {
    for (const auto& [name, content] : files) folder.write(name, content);
}

Result<void> load_tiny(const Folder& folder) {
    TRY(auto checkpoint, Checkpoint::open(folder));
    Weights weights(checkpoint);
    TRY_VOID(weights.values("m.emb.weight", {3, 2}));
    TRY_VOID(weights.values("m.norm.weight", {2}));
    TRY_VOID(weights.values("m.empty", {0, 2}));
    for (const auto& [module, n, k] : {std::tuple{"m.a", 2, 16}, std::tuple{"m.b", 2, 3}, std::tuple{"m.c", 1, 2}}) {
        TRY(const Matrix matrix, weights.matrix(module, n, k));
        std::vector<std::byte> codes(static_cast<size_t>(matrix_row_bytes(matrix) * n));
        std::vector<std::byte> scales(static_cast<size_t>(matrix_row_scale_bytes(matrix) * n));
        TRY_VOID(weights.read_rows(matrix, 0, n, codes.data(), scales.data()));
    }
    return weights.all_accounted_for();
}

namespace {

TEST(TinyCheckpoint, LoadsWhole) {
    const TemporaryFolder folder;
    TinyCheckpoint().write_to(folder);
    const auto loaded = load_tiny(folder.path());
    EXPECT_TRUE(loaded) << loaded.error().message;
}

// The same files as if they were compiled in.
struct Embedded {
    TinyCheckpoint tiny;
    std::vector<EmbeddedFile> files;
    Folder folder() {
        files.clear();
        for (const auto& [name, content] : tiny.files)
            files.push_back({.name = name, .bytes = std::as_bytes(std::span(content))});
        return Folder::embedded("demo", files);
    }
};

TEST(TinyCheckpoint, LoadsWholeFromMemory) {
    Embedded embedded;
    const auto loaded = load_tiny(embedded.folder());
    EXPECT_TRUE(loaded) << loaded.error().message;
}

TEST(TinyCheckpoint, InMemoryIsNamedByFileAndFieldWhereItIsWrong) {
    for (const char* name : {"config.json", "model.safetensors.index.json"}) {
        Embedded embedded;
        ASSERT_TRUE(embedded.tiny.files.contains(name));
        embedded.tiny.files[name] = "[";
        const auto loaded = load_tiny(embedded.folder());
        ASSERT_FALSE(loaded) << name;
        EXPECT_EQ(loaded.error().code, ErrorCode::model_invalid);
        EXPECT_NE(loaded.error().message.find(std::string("demo:") + name), std::string::npos)
            << loaded.error().message;
    }
    for (const auto& [name, content] : TinyCheckpoint().files) {
        if (!name.ends_with(".safetensors")) continue;
        Embedded embedded;
        embedded.tiny.files[name].pop_back();
        const auto cut = load_tiny(embedded.folder());
        ASSERT_FALSE(cut) << name;
        EXPECT_NE(cut.error().message.find("demo:" + name), std::string::npos) << cut.error().message;
        embedded.tiny.files.erase(name);
        EXPECT_FALSE(load_tiny(embedded.folder())) << name;
    }
}

}  // namespace
}  // namespace nibble::checkpoint
