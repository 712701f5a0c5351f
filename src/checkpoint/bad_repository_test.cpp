// Repositories as they go wrong in the world: each is refused with a reason that names the file and the fault.
#include "checkpoint/tiny_checkpoint.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>

namespace nibble::checkpoint {
namespace {

using testing::HasSubstr;

constexpr const char* kFirst = "model-00001-of-00003.safetensors";
constexpr const char* kSecond = "model-00002-of-00003.safetensors";
constexpr const char* kThird = "model-00003-of-00003.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// What is damaged: the files in memory, or (after) the folder that they were written to.
struct BadRepository {
    const char* name;
    const char* expected;  // in the error
    std::function<void(std::map<std::string, std::string>&)> damage = [](auto&) {};
    std::function<void(const TemporaryFolder&)> after = [](const TemporaryFolder&) {};
};

// One file of the header `header` and as many bytes of data.
auto single(std::string header, size_t data_bytes = 8) {
    return [=](std::map<std::string, std::string>& files) {
        for (const char* name : {kFirst, kSecond, kThird, kIndex}) files.erase(name);
        files["model.safetensors"] = safetensors_bytes(header, std::string(data_bytes, '\0'));
    };
}

auto replace(const char* file, std::string_view from, std::string_view to) {
    return [=, from = std::string(from), to = std::string(to)](std::map<std::string, std::string>& files) {
        const size_t at = files.at(file).find(from);
        ASSERT_NE(at, std::string::npos) << from;
        files[file].replace(at, from.size(), to);
    };
}

// The same within a shard's header: its length is kept by the JSON's own white space.
auto replace_shard(const char* file, std::vector<TinyTensor> tensors) {
    return [=](std::map<std::string, std::string>& files) { files[file] = safetensors_bytes(tensors); };
}

auto write(const char* file, std::string content) {
    return [=](std::map<std::string, std::string>& files) { files[file] = content; };
}

auto link(const char* file, const char* target) {
    return [=](const TemporaryFolder& folder) {
        std::filesystem::remove(folder / file);
        std::filesystem::create_symlink(target, folder / file);
    };
}

auto fifo(const char* file) {
    return [=](const TemporaryFolder& folder) {
        std::filesystem::remove(folder / file);
        ASSERT_EQ(::mkfifo((folder / file).c_str(), 0600), 0);
    };
}

const std::string codes(16, '\x21');
const std::vector<TinyTensor> kMatrixA = {{"m.a.weight", "U8", {2, 8}, codes},
                                          {"m.a.weight_scale", "F8_E4M3", {2, 1}, "\x38\x40"},
                                          {"m.a.weight_scale_2", "F32", {}, bytes_of({0.25f})},
                                          {"m.a.input_scale", "F32", {}, bytes_of({2})}};

std::vector<TinyTensor> matrix_a_with(size_t i, TinyTensor tensor) {
    auto tensors = kMatrixA;
    tensors[i] = std::move(tensor);
    return tensors;
}

std::vector<TinyTensor> matrix_b_with(TinyTensor weight, TinyTensor scale) {
    return {std::move(weight), std::move(scale), {"m.c.weight", "F16", {1, 2}, std::string("\x00\x3c\x00\x40", 4)}};
}

const TinyTensor kWeightB = {"m.b.weight", "F8_E4M3", {2, 3}, "\x30\x38\x40\xb0\xb8\xc0"};

std::string deep(std::string_view open, size_t depth) {
    std::string json = R"({"a":)";
    for (size_t i = 0; i < depth; ++i) json += open;
    return json;
}

const std::vector<BadRepository>& cases() {
    static const float kNan = std::numeric_limits<float>::quiet_NaN();
    static const std::vector<BadRepository> all = {
        // The folder.
        {"no config", "no config.json", [](auto& files) { files.erase("config.json"); }},
        {"no weights", "no weights", [](auto& files) { for (const char* f : {kFirst, kSecond, kThird, kIndex}) files.erase(f); }},
        {"pickle alone", "Python pickle ('pytorch_model.bin')",
         [](auto& files) {
             for (const char* f : {kFirst, kSecond, kThird, kIndex}) files.erase(f);
             files["pytorch_model.bin"] = "PK\x03\x04";
             files["modeling_tiny.py"] = "import os";
         }},
        {"sharded pickle alone", "Python pickle",
         [](auto& files) {
             for (const char* f : {kFirst, kSecond, kThird, kIndex}) files.erase(f);
             files["pytorch_model-00001-of-00002.bin"] = "x";
         }},
        {"GGUF alone", "GGUF",
         [](auto& files) {
             for (const char* f : {kFirst, kSecond, kThird, kIndex}) files.erase(f);
             files["model.gguf"] = "GGUF";
         }},
        {"other safetensors alone", "found 'consolidated.safetensors'",
         [](auto& files) {
             for (const char* f : {kFirst, kSecond, kThird, kIndex}) files.erase(f);
             files["consolidated.safetensors"] = "x";
         }},
        {"shards without index", "there is no model.safetensors.index.json", [](auto& files) { files.erase(kIndex); }},
        {"config is a folder", "found a folder", [](auto& files) { files.erase("config.json"); files["config.json/x"] = ""; }},
        {"config is a FIFO", "found a FIFO", {}, fifo("config.json")},
        {"config links to itself", "circle", {}, link("config.json", "config.json")},
        // Shards against the index.
        {"first shard missing", kFirst, [](auto& files) { files.erase(kFirst); }},
        {"last shard missing", kThird, [](auto& files) { files.erase(kThird); }},
        {"shards swapped", "is expected in model-00002-of-00003.safetensors, found in model-00001", [](auto& files) { std::swap(files[kFirst], files[kSecond]); }},
        {"shard is a copy of another", "stands in both", [](auto& files) { files[kSecond] = files[kThird]; }},
        {"extra shard", "does not name it", write("model-00004-of-00004.safetensors", "x")},
        {"extra shard of the other naming", "does not name it", write("model.safetensors-00001-of-00002.safetensors", "x")},
        {"whole model beside the shards", "does not name it", write("model.safetensors", "x")},
        {"index names a tensor that is nowhere",
         "tensor 'm.0.weight' is expected in model-00003-of-00003.safetensors, which does",
         replace(kIndex, "\"m.c.weight\"", "\"m.0.weight\"")},
        {"index forgets a tensor", "is not listed", replace(kIndex, ",\"m.c.weight\":\"model-00003-of-00003.safetensors\"", "")},
        {"index forgets the first tensor", "is not listed", replace(kIndex, "\"m.a.input_scale\":\"model-00002-of-00003.safetensors\",", "")},
        {"index puts a tensor in the wrong shard", "is expected in",
         replace(kIndex, "\"m.c.weight\":\"model-00003", "\"m.c.weight\":\"model-00001")},
        {"index names a tensor twice", "twice", replace(kIndex, "\"m.c.weight\"", "\"m.emb.weight\"")},
        {"index path leaves the folder", "expected a file of this folder",
         replace(kIndex, "\"m.c.weight\":\"model", "\"m.c.weight\":\"../model")},
        {"index path is absolute", "expected a file of this folder",
         replace(kIndex, "\"m.c.weight\":\"model-00003-of-00003.safetensors", "\"m.c.weight\":\"/etc/passwd")},
        {"index path has a folder", "expected a file of this folder", replace(kIndex, "\"m.c.weight\":\"model", "\"m.c.weight\":\"sub/model")},
        {"index path holds NUL", "expected a file of this folder", replace(kIndex, "\"m.c.weight\":\"model", "\"m.c.weight\":\"\\u0000model")},
        {"index path is empty", "expected a file of this folder",
         replace(kIndex, "\"m.c.weight\":\"model-00003-of-00003.safetensors", "\"m.c.weight\":\"")},
        {"index names a pickle", "expected a .safetensors file",
         replace(kIndex, "\"m.c.weight\":\"model-00003-of-00003.safetensors", "\"m.c.weight\":\"model.bin")},
        {"index value is a number", "expected an object of strings",
         replace(kIndex, "\"m.c.weight\":\"model-00003-of-00003.safetensors\"", "\"m.c.weight\":3")},
        {"index without weight_map", "weight_map", write(kIndex, "{}")},
        {"index with an empty weight_map", "at least one tensor", write(kIndex, R"({"weight_map":{}})")},
        {"index with a list", "an object of strings", write(kIndex, R"({"weight_map":[]})")},
        {"index is a list", "expected a JSON object", write(kIndex, "[]")},
        {"index is empty", "not JSON", write(kIndex, "")},
        {"index is a FIFO", "found a FIFO", {}, fifo(kIndex)},
        {"shard is a FIFO", "found a FIFO", {}, fifo(kSecond)},
        {"shard is a folder", "found a folder", [](auto& files) { files.erase(kSecond); files[std::string(kSecond) + "/x"] = ""; }},
        {"shard links to itself", "circle", {}, link(kSecond, kSecond)},
        {"shard links to nowhere", "no such file", {}, link(kSecond, "gone")},
        {"shard links to a device", "found a device", {}, link(kSecond, "/dev/zero")},
        // What a shard may turn out to be.
        {"LFS pointer", "Git LFS pointer",
         write(kFirst, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4998400000\n")},
        {"empty shard", "0 bytes, expected at least the 8", write(kFirst, "")},
        {"zeroed shard", "header length is 0", [](auto& files) { files[kFirst].assign(files[kFirst].size(), '\0'); }},
        {"zeroed header", "all zeros", [](auto& files) { files[kFirst].replace(8, 100, std::string(files[kFirst].size() - 8, '\0')); }},
        {"zip archive", "zip archive", write(kFirst, std::string("PK\x03\x04") + std::string(100, 'x'))},
        {"GGUF under a wrong name", "GGUF file", write(kFirst, std::string("GGUF") + std::string(100, 'x'))},
        {"error page", "HTML page", write(kFirst, "<!DOCTYPE html><html>404</html>")},
        {"bare JSON", "begins with the length", write(kFirst, R"({"a":{"dtype":"F32"}})")},
        {"bytes behind the data", "1 too many", [](auto& files) { files[kFirst] += 'x'; }},
        {"header longer than the file", "truncated", [](auto& files) { files[kFirst][2] = 1; }},
        {"header above 100 MB", "at most 100000000", [](auto& files) { files[kFirst][4] = 1; }},
        // Headers.
        {"header is a list", "does not begin with '{'", single("[]", 0)},
        {"space before the header", "does not begin with '{'", single(" {}", 0)},
        {"header without end", "not a JSON object", single(R"({"a":)", 0)},
        {"deep header", "not a JSON object", single(deep("[", 100'000), 0)},
        {"deep objects", "not a JSON object", single(deep(R"({"a":)", 100'000), 0)},
        {"invalid UTF-8 in a name", "not a JSON object", single("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}")},
        {"tensor is a number", "expected an object", single(R"({"a":3})", 0)},
        {"tensor twice", "twice",
         single(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})")},
        {"field twice", "it twice", single(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})")},
        {"no dtype", "dtype: expected a string, found nothing", single(R"({"a":{"shape":[2],"data_offsets":[0,8]}})")},
        {"no shape", "shape: expected a list, found nothing", single(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})")},
        {"no offsets", "data_offsets: expected a list", single(R"({"a":{"dtype":"F32","shape":[2]}})")},
        {"unknown dtype", "dtype 'F7' is not one that nibble reads", single(R"({"a":{"dtype":"F7","shape":[2],"data_offsets":[0,8]}})")},
        {"dtype of another case", "'f32' is not one", single(R"({"a":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}})")},
        {"negative extent", "integers from 0 on", single(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})")},
        {"fractional extent", "integers from 0 on", single(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})")},
        {"extent as text", "integers from 0 on", single(R"({"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})")},
        {"extents that overflow", "fewer than 2^63", single(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})")},
        {"extents that overflow to the right size", "fewer than 2^63",
         single(R"({"a":{"dtype":"U8","shape":[4611686018427387906,4],"data_offsets":[0,8]}})")},
        {"extent above 2^64", "not a JSON object", single(R"({"a":{"dtype":"U8","shape":[36893488147419103232],"data_offsets":[0,8]}})")},
        {"size that does not fit the shape", "8 bytes for F32 [2], found 4",
         single(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4)},
        {"offsets backwards", "an end behind the begin", single(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})")},
        {"three offsets", "two integers, found more", single(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})")},
        {"one offset", "two integers, found fewer", single(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})")},
        {"gap before the first", "expected to begin at byte 0", single(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})")},
        {"gap between two", "expected to begin at byte 2",
         single(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}})")},
        {"overlap", "expected to begin at byte 4",
         single(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}})")},
        {"same bytes twice", "expected to begin at byte 8",
         single(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})")},
        {"data beyond any file", "more than a file can hold",
         single(R"({"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}})")},
        {"data beyond the file", "truncated: ", single(R"({"a":{"dtype":"U8","shape":[1000000],"data_offsets":[0,1000000]}})")},
        {"sum of extents beyond the file", "truncated: ",
         single(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[9],"data_offsets":[8,17]}})")},
        {"metadata of numbers", "expected a string", single(R"({"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})")},
        {"metadata is a list", "an object of strings", single(R"({"__metadata__":[],"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})")},
        // Tensors that are not what the model expects.
        {"missing tensor", "tensor 'm.emb.weight' is missing", single(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})")},
        {"transposed tensor", "expected [3, 2], found BF16 [2, 3]",
         replace_shard(kFirst, {{"m.emb.weight", "BF16", {2, 3}, bf16_bytes_of({1, 2, 3, 4, 5, 6})},
                                {"m.norm.weight", "F32", {2}, bytes_of({0.5f, 2})}, {"m.empty", "F32", {0, 2}, ""}})},
        {"integers for a norm", "expected BF16, F16 or F32, found I32 [2]",
         replace_shard(kFirst, {{"m.emb.weight", "BF16", {3, 2}, bf16_bytes_of({1, 2, 3, 4, 5, 6})},
                                {"m.norm.weight", "I32", {2}, bytes_of({0.5f, 2})}, {"m.empty", "F32", {0, 2}, ""}})},
        {"NaN in a norm", "expected finite values, found nan",
         replace_shard(kFirst, {{"m.emb.weight", "BF16", {3, 2}, bf16_bytes_of({1, 2, 3, 4, 5, 6})},
                                {"m.norm.weight", "F32", {2}, bytes_of({0.5f, kNan})}, {"m.empty", "F32", {0, 2}, ""}})},
        {"codes of the wrong shape", "expected U8 [2, 8], found U8 [4, 4]", replace_shard(kSecond, matrix_a_with(0, {"m.a.weight", "U8", {4, 4}, codes}))},
        {"block scales of the wrong shape", "expected F8_E4M3 [2, 1], found F8_E4M3 [1, 2]",
         replace_shard(kSecond, matrix_a_with(1, {"m.a.weight_scale", "F8_E4M3", {1, 2}, "\x38\x40"}))},
        {"block scales of the wrong type", "expected F8_E4M3 [2, 1], found F8_E5M2",
         replace_shard(kSecond, matrix_a_with(1, {"m.a.weight_scale", "F8_E5M2", {2, 1}, "\x38\x40"}))},
        {"NaN among block scales", "block scales from 0 to 448",
         replace_shard(kSecond, matrix_a_with(1, {"m.a.weight_scale", "F8_E4M3", {2, 1}, "\x38\x7f"}))},
        {"negative block scale", "block scales from 0 to 448",
         replace_shard(kSecond, matrix_a_with(1, {"m.a.weight_scale", "F8_E4M3", {2, 1}, "\xb8\x38"}))},
        {"power-of-two block scales", "MXFP4", replace_shard(kSecond, matrix_a_with(1, {"m.a.weight_scale", "U8", {2, 1}, "\x38\x40"}))},
        {"global scale is zero", "a positive scale, found 0", replace_shard(kSecond, matrix_a_with(2, {"m.a.weight_scale_2", "F32", {}, bytes_of({0})}))},
        {"global scale is NaN", "a positive scale, found nan", replace_shard(kSecond, matrix_a_with(2, {"m.a.weight_scale_2", "F32", {}, bytes_of({kNan})}))},
        {"global scale is infinite", "a positive scale, found inf",
         replace_shard(kSecond, matrix_a_with(2, {"m.a.weight_scale_2", "F32", {}, bytes_of({std::numeric_limits<float>::infinity()})}))},
        {"global scale is negative", "a positive scale, found -1", replace_shard(kSecond, matrix_a_with(2, {"m.a.weight_scale_2", "F32", {}, bytes_of({-1})}))},
        {"two global scales", "one F32 or BF16 value, found F32 [2]",
         replace_shard(kSecond, matrix_a_with(2, {"m.a.weight_scale_2", "F32", {2}, bytes_of({1, 1})}))},
        {"negative input scale", "a positive scale, found -2", replace_shard(kSecond, matrix_a_with(3, {"m.a.input_scale", "F32", {}, bytes_of({-2})}))},
        {"FP8 without a scale", "'m.b.weight_scale' is missing",
         [](auto& files) {
             files[kThird] = safetensors_bytes({kWeightB, {"m.c.weight", "F16", {1, 2}, std::string("\x00\x3c\x00\x40", 4)}});
             replace(kIndex, "\"m.b.weight_scale\":\"model-00003-of-00003.safetensors\",", "")(files);
         }},
        {"FP8 scale of an odd shape", "one scale, [2], [2, 1] or [1, 1], found F32 [3]",
         replace_shard(kThird, matrix_b_with(kWeightB, {"m.b.weight_scale", "F32", {3}, bytes_of({1, 1, 1})}))},
        {"NaN among FP8 codes", "expected finite values",
         replace_shard(kThird, matrix_b_with({"m.b.weight", "F8_E4M3", {2, 3}, "\x30\x38\x7f\xb0\xb8\xc0"},
                                             {"m.b.weight_scale", "F32", {}, bytes_of({1})}))},
        {"8-bit integers", "nibble does not read weights of I8",
         replace_shard(kThird, matrix_b_with({"m.b.weight", "I8", {2, 3}, "abcdef"}, {"m.b.weight_scale", "F32", {}, bytes_of({1})}))},
        {"tensors contradict quantized_layers", "is BF16 by its tensors",
         [](auto& files) {
             files[kThird] = safetensors_bytes({{"m.b.weight", "BF16", {2, 3}, bf16_bytes_of({1, 2, 3, 4, 5, 6})},
                                                {"m.c.weight", "F16", {1, 2}, std::string("\x00\x3c\x00\x40", 4)}});
             replace(kIndex, "\"m.b.weight_scale\":\"model-00003-of-00003.safetensors\",", "")(files);
         }},
        {"plain weights with a scale", "which needs no scale",
         replace_shard(kThird, matrix_b_with({"m.b.weight", "BF16", {2, 3}, bf16_bytes_of({1, 2, 3, 4, 5, 6})},
                                             {"m.b.weight_scale", "F32", {}, bytes_of({1})}))},
        {"tensors contradict exclude_modules", "is NVFP4 by its tensors",
         replace("hf_quant_config.json", "\"m.emb\",", "\"m.a\",")},
        {"surplus tensor", "1 tensor that no part of the model uses: 'm.x.weight'",
         [](auto& files) {
             files[kThird] = safetensors_bytes({kWeightB, {"m.b.weight_scale", "F32", {}, bytes_of({3})},
                                                {"m.c.weight", "F16", {1, 2}, std::string("\x00\x3c\x00\x40", 4)},
                                                {"m.x.weight", "F32", {1}, bytes_of({1})}});
             replace(kIndex, "\"m.c.weight\":", "\"m.x.weight\":\"model-00003-of-00003.safetensors\",\"m.c.weight\":")(files);
         }},
        {"AWQ scales", "AWQ-scaled activations",
         [](auto& files) {
             auto tensors = kMatrixA;
             tensors.push_back({"m.a.pre_quant_scale", "BF16", {2}, bf16_bytes_of({1, 1})});
             files[kSecond] = safetensors_bytes(tensors);
             replace(kIndex, "\"m.c.weight\":", "\"m.a.pre_quant_scale\":\"model-00002-of-00003.safetensors\",\"m.c.weight\":")(files);
         }},
        // Configs.
        {"config is a list", "expected a JSON object", write("config.json", "[]")},
        {"config is deep", "not JSON", write("config.json", deep("[", 1000))},
        {"config names a field twice", "twice", write("config.json", R"({"a":1,"a":2})")},
        {"config is not UTF-8", "not JSON", write("config.json", "{\"a\":\"\xff\"}")},
        {"generation config is broken", "generation_config.json: not JSON", write("generation_config.json", "{")},
        {"quantisation config without quantization", "quantization: expected an object", write("hf_quant_config.json", "{}")},
        {"unknown algorithm", "does not know the algorithm 'INT3_MAGIC'",
         write("hf_quant_config.json", R"({"quantization":{"quant_algo":"INT3_MAGIC"}})")},
        {"NVFP4_SVD", "does not know the algorithm 'NVFP4_SVD'",
         write("hf_quant_config.json", R"({"quantization":{"quant_algo":"NVFP4_SVD"}})")},
        {"unknown layer algorithm", "quantized_layers.m.a: nibble does not know the algorithm 'W4A8_AWQ'",
         replace("hf_quant_config.json", "\"NVFP4\"", "\"W4A8_AWQ\"")},
        {"NVFP4 of another group", "a scale per 16 values, found 32", replace("hf_quant_config.json", "\"group_size\":16", "\"group_size\":32")},
        {"mixed precision without layers", "quantized_layers: expected an entry",
         write("hf_quant_config.json", R"({"quantization":{"quant_algo":"MIXED_PRECISION"}})")},
    };
    return all;
}

class BadRepositoryTest : public testing::TestWithParam<size_t> {};

TEST_P(BadRepositoryTest, IsRefusedWithItsReason) {
    const BadRepository& bad = cases()[GetParam()];
    TinyCheckpoint checkpoint;
    if (bad.damage) bad.damage(checkpoint.files);
    const TemporaryFolder folder;
    checkpoint.write_to(folder);
    if (bad.after) bad.after(folder);
    const auto loaded = load_tiny(folder.path());
    ASSERT_FALSE(loaded) << bad.name;
    EXPECT_THAT(loaded.error().message, HasSubstr(bad.expected)) << bad.name;
    EXPECT_EQ(exit_code(loaded.error().code), 3) << bad.name << ": " << loaded.error().message;
    EXPECT_THAT(loaded.error().message, HasSubstr(folder.path().string())) << bad.name;
}

std::string case_name(const testing::TestParamInfo<size_t>& info) {
    std::string name = cases()[info.param].name;
    for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return name;
}

INSTANTIATE_TEST_SUITE_P(All, BadRepositoryTest, testing::Range(size_t{0}, cases().size()), case_name);

TEST(BadRepository, ThereAreMoreThanSixty) {
    EXPECT_GE(cases().size(), 60u);
}

TEST(BadRepository, CodeBesideTheWeightsIsIgnored) {
    TinyCheckpoint checkpoint;
    checkpoint.files["modeling_tiny.py"] = "import os; os.system('true')";
    checkpoint.files["pytorch_model.bin"] = "PK\x03\x04";
    checkpoint.files["consolidated.safetensors"] = "another layout of the same weights";
    checkpoint.files["config.json"] = R"({"auto_map":{"AutoModel":"modeling_tiny.Tiny"}})";
    const TemporaryFolder folder;
    checkpoint.write_to(folder);
    const auto loaded = load_tiny(folder.path());
    EXPECT_TRUE(loaded) << loaded.error().message;
}

}  // namespace
}  // namespace nibble::checkpoint
