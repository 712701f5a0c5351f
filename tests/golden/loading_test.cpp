// Loading: a checkpoint's spellings of one model give the same bits; what is missing, surplus or misshapen is named;
// and random weights run.
#include "runner.h"

#include "checkpoint/writer.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <string>

namespace nibble::model {
namespace {

using device::DType;

struct Stored {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
};
using Tensors = std::map<std::string, Stored>;

// A copy of a golden checkpoint, changed on its way.
class Rewritten : public testing::Test {
protected:
    Rewritten() : folder_(std::filesystem::temp_directory_path() / fmt::format("nibble_loading_{}", getpid())) {}
    ~Rewritten() override { std::filesystem::remove_all(folder_); }

    static std::filesystem::path golden(const char* name) {
        return std::filesystem::path(NIBBLE_SOURCE_DIR "/tests/golden") / name;
    }

    const std::filesystem::path& rewrite(const char* name, const std::function<void(Tensors&)>& change,
                                         const std::function<void(std::string&)>& change_config = {}) const {
        std::filesystem::remove_all(folder_);
        std::filesystem::create_directory(folder_);
        const auto from = must(checkpoint::Checkpoint::open(golden(name)));
        for (const char* file : {"hf_quant_config.json", "generation_config.json"})
            if (std::filesystem::exists(golden(name) / file))
                std::filesystem::copy_file(golden(name) / file, folder_ / file);
        std::ifstream stream(golden(name) / "config.json");
        std::string config{std::istreambuf_iterator<char>(stream), {}};
        if (change_config) change_config(config);
        std::ofstream(folder_ / "config.json") << config;

        Tensors tensors;
        for (const auto& entry : from->tensors()) {
            Stored stored{entry.dtype, entry.shape, std::vector<std::byte>(entry.bytes)};
            CHECK(from->read(entry, 0, stored.bytes).has_value());
            tensors[entry.name] = std::move(stored);
        }
        change(tensors);
        std::vector<checkpoint::TensorDeclaration> declared;
        for (const auto& [tensor, stored] : tensors) declared.push_back({tensor, stored.dtype, stored.shape});
        auto writer = must(checkpoint::CheckpointWriter::create(folder_, declared));
        size_t i = 0;
        for (const auto& [tensor, stored] : tensors) CHECK(writer.write(i++, 0, stored.bytes).has_value());
        CHECK(writer.finish().has_value());
        return folder_;
    }

    static Error refusal(const std::filesystem::path& folder, const LoadOptions& options = {}) {
        auto model = load(must(checkpoint::Checkpoint::open(folder)), device::cpu_device(), options);
        EXPECT_FALSE(model);
        return model ? Error{} : std::move(model).error();
    }

    static std::vector<Runner::Row> logits(const std::filesystem::path& folder, LoadOptions options = {}) {
        Runner runner(folder, options, {.longest = 64});
        std::vector<int32_t> tokens;
        for (int32_t i = 0; i < 40; ++i) tokens.push_back((37 * i + 11) % 320);
        return runner.prefill(0, tokens, tokens.size());
    }

    const std::filesystem::path folder_;
};

void rename_prefix(Tensors& tensors, const std::string& from, const std::string& to) {
    Tensors renamed;
    for (auto& [name, stored] : tensors)
        renamed[name.starts_with(from) ? to + name.substr(from.size()) : name] = std::move(stored);
    tensors = std::move(renamed);
}

TEST_F(Rewritten, WithModelForBackboneAndStackedExpertsIsTheSameModel) {
    const auto expected = logits(golden("nano-bf16"));
    const auto& folder = rewrite("nano-bf16", [](Tensors& tensors) {
        Tensors stacked;
        for (const char* projection : {"up_proj", "down_proj"})
            for (int layer : {1, 6}) {
                const std::string prefix = fmt::format("backbone.layers.{}.mixer.experts", layer);
                Stored& all = stacked[fmt::format("{}.{}", prefix, projection)];
                for (int e = 0; e < 8; ++e) {
                    auto one = tensors.extract(fmt::format("{}.{}.{}.weight", prefix, e, projection));
                    ASSERT_FALSE(one.empty());
                    const Stored& stored = one.mapped();
                    all.dtype = stored.dtype;
                    all.shape = {8, stored.shape[0], stored.shape[1]};
                    all.bytes.insert(all.bytes.end(), stored.bytes.begin(), stored.bytes.end());
                }
            }
        tensors.merge(stacked);
        rename_prefix(tensors, "backbone.", "model.");
    });
    EXPECT_EQ(logits(folder), expected);
}

TEST_F(Rewritten, TiedUsesTheEmbeddingUnlessItHasAHead) {
    const auto tie = [](std::string& config) {
        const std::string no = "\"tie_word_embeddings\": false";
        config.replace(config.find(no), no.size(), "\"tie_word_embeddings\": true");
    };
    const auto as_head =
        logits(rewrite("nano-bf16", [](Tensors& t) { t["lm_head.weight"] = t["backbone.embeddings.weight"]; }));
    EXPECT_EQ(logits(rewrite(
                  "nano-bf16", [](Tensors& t) { t.erase("lm_head.weight"); }, tie)),
              as_head);
    EXPECT_EQ(logits(rewrite(
                  "nano-bf16", [](Tensors&) {}, tie)),
              logits(golden("nano-bf16")));
    // Only the head is there: it is the embedding as well.
    EXPECT_EQ(logits(rewrite(
                  "nano-bf16",
                  [](Tensors& t) {
                      t["lm_head.weight"] = t["backbone.embeddings.weight"];
                      t.erase("backbone.embeddings.weight");
                  },
                  tie)),
              as_head);
    const Error missing = refusal(rewrite("nano-bf16", [](Tensors& t) { t.erase("lm_head.weight"); }));
    EXPECT_NE(missing.message.find("lm_head"), std::string::npos) << missing.message;
}

TEST_F(Rewritten, WithoutATensorIsRefusedByItsName) {
    Tensors all;
    rewrite("nano-nvfp4", [&](Tensors& tensors) { all = tensors; });
    int tried = 0;
    for (const auto& [name, stored] : all) {
        if (++tried % 7 != 0 || name.ends_with(".input_scale")) continue;  // the format itself may lack that one
        const Error error = refusal(rewrite("nano-nvfp4", [&](Tensors& tensors) { tensors.erase(name); }));
        EXPECT_EQ(error.code, ErrorCode::model_invalid) << name << ": " << error.message;
        const std::string module = name.substr(0, name.rfind('.'));
        EXPECT_NE(error.message.find(module), std::string::npos) << name << ": " << error.message;
    }
    EXPECT_GT(tried, 200);
}

TEST_F(Rewritten, WithASurplusOrMisshapenTensorIsRefusedByItsName) {
    Error error = refusal(rewrite("nano-nvfp4", [](Tensors& tensors) {
        tensors["backbone.layers.3.mixer.q_norm.weight"] = {DType::f32, {1}, std::vector<std::byte>(4)};
    }));
    EXPECT_EQ(error.code, ErrorCode::model_invalid);
    EXPECT_NE(error.message.find("backbone.layers.3.mixer.q_norm.weight"), std::string::npos) << error.message;
    for (const char* name : {"backbone.layers.0.mixer.conv1d.weight", "backbone.layers.0.mixer.A_log", "lm_head.weight",
                             "backbone.layers.1.mixer.experts.3.up_proj.weight_scale", "backbone.norm_f.weight"}) {
        error = refusal(rewrite("nano-nvfp4", [&](Tensors& tensors) {
            Stored& stored = tensors.at(name);
            stored.bytes.resize(stored.bytes.size() / static_cast<size_t>(stored.shape[0]));
            stored.shape[0] = 1;
        }));
        EXPECT_EQ(error.code, ErrorCode::model_invalid);
        EXPECT_NE(error.message.find(name), std::string::npos) << error.message;
    }
}

TEST_F(Rewritten, WithExpertsOfTwoFormatsIsRefused) {
    const Error error = refusal(rewrite("nano-bf16", [](Tensors& tensors) {
        Stored& one = tensors.at("backbone.layers.1.mixer.experts.3.up_proj.weight");
        one.dtype = DType::f32;
        one.bytes.resize(one.bytes.size() * 2);
    }));
    EXPECT_EQ(error.code, ErrorCode::unsupported);
    EXPECT_NE(error.message.find("backbone.layers.1.mixer.experts.3.up_proj"), std::string::npos) << error.message;
}

TEST_F(Rewritten, WithAnOverlongHeadIsRefused) {
    const Error error = refusal(rewrite("llama-fp8", [](Tensors& tensors) {
        Stored& head = tensors.at("lm_head.weight");
        head.shape[0] += 1;
        head.bytes.resize(head.bytes.size() + 128);
    }));
    EXPECT_EQ(error.code, ErrorCode::model_invalid);
}

TEST_F(Rewritten, WithADraftBlockThatIsNotWhatTheConfigSaysIsRefusedByTheTensorsName) {
    const std::map<std::string, std::function<void(Tensors&)>> damages = {
        {"mtp.layers.0.enorm.weight", [](Tensors& tensors) { tensors.erase("mtp.layers.0.enorm.weight"); }},
        {"mtp.layers.0.eh_proj.weight",
         [](Tensors& tensors) {
             tensors["mtp.layers.0.eh_proj.weight"].shape = {128, 64};
         }},
        {"mtp.layers.1.mixer.experts.15.down_proj",
         [](Tensors& tensors) { tensors.erase("mtp.layers.1.mixer.experts.15.down_proj.weight"); }},
        {"mtp.layers.2.norm.weight",
         [](Tensors& tensors) { tensors["mtp.layers.2.norm.weight"] = tensors["mtp.layers.1.norm.weight"]; }},
        {"mtp.layers.0.final_layernorm.weight",
         [](Tensors& tensors) {
             tensors["mtp.layers.0.final_layernorm.weight"] = tensors["mtp.layers.1.final_layernorm.weight"];
         }},
    };
    for (const auto& [name, damage] : damages) {
        const auto& folder = rewrite("lightning-mixed", damage);
        const Error failure = refusal(folder, {.draft = true});
        EXPECT_EQ(failure.code, ErrorCode::model_invalid) << name;
        EXPECT_NE(failure.message.find(name), std::string::npos) << failure.message;
        EXPECT_TRUE(load(must(checkpoint::Checkpoint::open(folder)), device::cpu_device(), {})) << name;  // not loaded
    }
}

TEST(Loading, ADraftBlockThatIsNotThereIsUnsupported) {
    for (const char* name : {"nano-nvfp4", "llama-bf16"}) {
        const auto checkpoint =
            must(checkpoint::Checkpoint::open(std::filesystem::path(NIBBLE_SOURCE_DIR "/tests/golden") / name));
        const auto model = load(checkpoint, device::cpu_device(), {.draft = true});
        ASSERT_FALSE(model) << name;
        EXPECT_EQ(model.error().code, ErrorCode::unsupported);
        EXPECT_NE(model.error().message.find("no draft block"), std::string::npos) << model.error().message;
    }
}

TEST(Loading, ReportsItsProgressFromItsOwnThread) {
    ThreadPool threads(3, false);
    std::vector<LoadProgress> reports;
    const auto thread = std::this_thread::get_id();
    LoadOptions options{.threads = &threads};
    options.progress = [&](const LoadProgress& progress) {
        EXPECT_TRUE(std::this_thread::get_id() == thread);
        reports.push_back(progress);
    };
    const auto checkpoint = must(checkpoint::Checkpoint::open(NIBBLE_SOURCE_DIR "/tests/golden/nano-nvfp4"));
    const auto model = must(load(checkpoint, device::cpu_device(), options));
    ASSERT_FALSE(reports.empty());
    EXPECT_EQ(reports.back().bytes_read, reports.back().bytes_total);
    EXPECT_GT(reports.back().bytes_total, 200'000);
    EXPECT_EQ(model->spec().tensor_count, static_cast<int64_t>(checkpoint->tensors().size()));
    EXPECT_EQ(model->spec().name, "nano-nvfp4");
}

// The published shape in small: a config and its quantisation, no tensors.
class RandomWeights : public Rewritten {
protected:
    RandomWeights() {
        std::filesystem::create_directory(folder_);
        for (const char* file : {"config.json", "hf_quant_config.json"})
            std::filesystem::copy_file(golden("lightning-mixed") / file, folder_ / file);
    }
    std::vector<Runner::Row> random_logits(uint64_t seed, int64_t memory_bytes = 0) {
        return logits(
            folder_, {.source = LoadOptions::Source::random, .random_seed = seed, .random_memory_bytes = memory_bytes});
    }
};

TEST_F(RandomWeights, RunWithoutTensorsAndDependOnTheSeedAlone) {
    const auto first = random_logits(1);
    for (const auto& row : first) {
        double square = 0;
        for (float v : row) square += double(v) * v;
        EXPECT_GT(std::sqrt(square / static_cast<double>(row.size())), 0.3);
        EXPECT_LT(std::sqrt(square / static_cast<double>(row.size())), 3.0);
    }
    EXPECT_EQ(random_logits(1), first);
    EXPECT_NE(random_logits(2), first);
    EXPECT_NE(first[20], first[30]);
}

TEST_F(RandomWeights, ShareStorageBeyondTheGivenMemory) {
    const auto bytes = [&](int64_t limit) {
        LoadOptions options{.source = LoadOptions::Source::random, .random_memory_bytes = limit};
        const auto checkpoint = must(checkpoint::Checkpoint::open(folder_, {.headers_only = true}));
        return must(load(checkpoint, device::cpu_device(), options))->spec().weight_bytes;
    };
    const int64_t whole = bytes(0);
    EXPECT_EQ(bytes(2 * whole), whole);
    EXPECT_LT(bytes(1), whole * 3 / 4);  // one of each kind
    EXPECT_LE(bytes(whole * 9 / 10), whole * 9 / 10);
    for (const auto& row : random_logits(1, 1))
        for (float v : row) ASSERT_TRUE(std::isfinite(v));
    // What a step is said to read does not shrink with the memory.
    const auto read = [&](int64_t limit) {
        LoadOptions options{.source = LoadOptions::Source::random, .random_memory_bytes = limit};
        const auto model = must(
            load(must(checkpoint::Checkpoint::open(folder_, {.headers_only = true})), device::cpu_device(), options));
        return record(*model, device::cpu_device(), 1, 1, 10).total().weight_bytes;
    };
    EXPECT_EQ(read(1), read(0));
}

}  // namespace
}  // namespace nibble::model
