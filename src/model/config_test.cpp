// Configs: what the families read, in every spelling; and that no value of any field does more than be refused.
#include "model/llama.h"
#include "model/nemotron_h_config.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace nibble::model {
namespace {

using nlohmann::json;

json nemotron() {
    return {{"model_type", "nemotron_h"},
            {"hybrid_override_pattern", "ME*-"},
            {"vocab_size", 64},
            {"hidden_size", 32},
            {"mamba_num_heads", 4},
            {"mamba_head_dim", 8},
            {"n_groups", 2},
            {"ssm_state_size", 16},
            {"conv_kernel", 4},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"head_dim", 8},
            {"intermediate_size", 48},
            {"n_routed_experts", 8},
            {"num_experts_per_tok", 2},
            {"moe_intermediate_size", 16},
            {"moe_shared_expert_intermediate_size", 32}};
}

json llama() {
    return {{"model_type", "llama"},  {"vocab_size", 64},         {"hidden_size", 32},        {"intermediate_size", 48},
            {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"num_key_value_heads", 2}, {"rope_theta", 10000.0}};
}

Result<NemotronHConfig> read(const json& config) {
    auto parsed = checkpoint::Config::parse(config.dump(), "config.json");
    EXPECT_TRUE(parsed) << parsed.error().message;
    return NemotronHConfig::read(*parsed);
}

std::string refusal(const json& config, ErrorCode code = ErrorCode::model_invalid) {
    auto result = read(config);
    EXPECT_FALSE(result);
    if (result) return {};
    EXPECT_EQ(result.error().code, code) << result.error().message;
    return result.error().message;
}

TEST(NemotronHConfig, ReadsTheDraftBlockWhenItIsAskedFor) {
    const auto draft = [](const json& config) {
        return NemotronHConfig::read(*checkpoint::Config::parse(config.dump(), "config.json"), true);
    };
    const std::vector<LayerKind> expected{LayerKind::attention, LayerKind::moe};
    json config = nemotron();
    config["num_nextn_predict_layers"] = 1;
    config["mtp_hybrid_override_pattern"] = "*E";
    EXPECT_EQ(draft(config)->draft_layers, expected);
    EXPECT_TRUE(read(config)->draft_layers.empty());
    config["mtp_hybrid_override_pattern"] = "M";
    config["mtp_layers_block_type"] = {"attention", "moe"};
    EXPECT_EQ(draft(config)->draft_layers, expected);
    // What the draft's layers need is read though the model has no such layer.
    config["hybrid_override_pattern"] = "M";
    EXPECT_EQ(draft(config)->n_routed_experts, 8);
    config.erase("n_routed_experts");
    EXPECT_NE(draft(config).error().message.find("n_routed_experts"), std::string::npos);
    EXPECT_TRUE(read(config));

    for (const json& count : {json(nullptr), json(0), json(2)}) {
        config = nemotron();
        config["num_nextn_predict_layers"] = count;
        config["mtp_hybrid_override_pattern"] = "*E";
        ASSERT_FALSE(draft(config));
        EXPECT_EQ(draft(config).error().code, ErrorCode::unsupported);
        EXPECT_NE(draft(config).error().message.find("num_nextn_predict_layers"), std::string::npos);
        EXPECT_TRUE(read(config));
    }
    config["num_nextn_predict_layers"] = 1;
    config["mtp_hybrid_override_pattern"] = "*M";
    EXPECT_EQ(draft(config).error().code, ErrorCode::unsupported);
    config["mtp_hybrid_override_pattern"] = "*x";
    EXPECT_EQ(draft(config).error().code, ErrorCode::model_invalid);
    config.erase("mtp_hybrid_override_pattern");
    EXPECT_NE(draft(config).error().message.find("mtp_hybrid_override_pattern"), std::string::npos);
}

TEST(NemotronHConfig, ReadsTheOrderOfLayersInEverySpelling) {
    const std::vector<LayerKind> expected{LayerKind::mamba, LayerKind::moe, LayerKind::attention, LayerKind::mlp};
    json config = nemotron();
    EXPECT_EQ(read(config)->layers, expected);
    config["layers_block_type"] = {"mamba", "moe", "attention", "mlp"};
    config["hybrid_override_pattern"] = "MMMM";  // the list wins
    EXPECT_EQ(read(config)->layers, expected);
    config.erase("hybrid_override_pattern");
    config["layers_block_type"] = {"linear_attention", "moe", "full_attention", "mlp"};
    EXPECT_EQ(read(config)->layers, expected);
    config["num_hidden_layers"] = 52;  // says nothing beside a list
    EXPECT_EQ(read(config)->layers, expected);
}

TEST(NemotronHConfig, ReadsTheLimitsOfTheTimeStep) {
    json config = nemotron();
    EXPECT_EQ(read(config)->time_step_min_limit, 0.0f);
    EXPECT_TRUE(std::isinf(read(config)->time_step_max_limit));
    config["time_step_limit"] = {0.01, {{"__float__", "Infinity"}}};
    EXPECT_EQ(read(config)->time_step_min_limit, 0.01f);
    EXPECT_TRUE(std::isinf(read(config)->time_step_max_limit));
    config["time_step_limit"] = {0.1, 0.01};
    EXPECT_NE(refusal(config).find("time_step_limit"), std::string::npos);
}

TEST(NemotronHConfig, AsksOnlyForWhatItsLayersNeed) {
    json config = {
        {"hybrid_override_pattern", "--"}, {"vocab_size", 64}, {"hidden_size", 32}, {"intermediate_size", 48}};
    EXPECT_TRUE(read(config));
    config["hybrid_override_pattern"] = "-M";
    EXPECT_NE(refusal(config).find("mamba_num_heads"), std::string::npos);
}

TEST(NemotronHConfig, RefusesWhatItCannotRun) {
    json config = nemotron();
    config["moe_latent_size"] = 1024;
    EXPECT_NE(refusal(config, ErrorCode::unsupported).find("moe_latent_size"), std::string::npos);
    config = nemotron();
    config["mlp_hidden_act"] = "gelu";
    EXPECT_NE(refusal(config, ErrorCode::unsupported).find("mlp_hidden_act is 'gelu'"), std::string::npos);
    config = nemotron();
    config["hybrid_override_pattern"] = "MEX";
    EXPECT_NE(refusal(config).find("layer 2 is 'X'"), std::string::npos);
    for (const char* field : {"n_groups", "num_key_value_heads", "n_group", "num_experts_per_tok", "topk_group"}) {
        config = nemotron();
        config[field] = 3;
        if (config[field] == 3 && std::string_view(field) == "num_experts_per_tok") config[field] = 9;
        EXPECT_NE(refusal(config).find(field), std::string::npos);
    }
}

TEST(LlamaConfig, TakesTransformersDefaults) {
    const auto config = *checkpoint::Config::parse(llama().dump(), "config.json");
    const auto c = LlamaConfig::read(config, "llama");
    ASSERT_TRUE(c) << c.error().message;
    EXPECT_EQ(c->head_dim, 8);
    EXPECT_EQ(c->rms_norm_eps, 1e-6f);
    EXPECT_EQ(c->max_position_embeddings, 2048);
    EXPECT_FALSE(c->tie_word_embeddings);
    EXPECT_EQ(c->window, (std::vector<int64_t>{0, 0}));
}

TEST(LlamaConfig, ReadsTheWindowAsItsModelTypeMeansIt) {
    const auto window = [](json config, const char* type) {
        return LlamaConfig::read(*checkpoint::Config::parse(config.dump(), "config.json"), type)->window;
    };
    json config = llama();
    EXPECT_EQ(window(config, "mistral"), (std::vector<int64_t>{4096, 4096}));
    EXPECT_EQ(window(config, "qwen2"), (std::vector<int64_t>{0, 0}));
    config["sliding_window"] = nullptr;
    EXPECT_EQ(window(config, "mistral"), (std::vector<int64_t>{0, 0}));
    config["sliding_window"] = 5;
    EXPECT_EQ(window(config, "mistral"), (std::vector<int64_t>{5, 5}));
    EXPECT_EQ(window(config, "llama"), (std::vector<int64_t>{0, 0}));
    config["use_sliding_window"] = true;
    config["max_window_layers"] = 1;
    EXPECT_EQ(window(config, "qwen2"), (std::vector<int64_t>{0, 5}));
    config["layer_types"] = {"sliding_attention", "full_attention"};
    EXPECT_EQ(window(config, "qwen2"), (std::vector<int64_t>{5, 0}));
}

// A folder of a config alone, opened and recorded: whatever a field holds, the worst is an error.
class ConfigFolder : public testing::Test {
protected:
    ConfigFolder() : folder_(std::filesystem::temp_directory_path() / fmt::format("nibble_config_{}", getpid())) {
        std::filesystem::create_directory(folder_);
    }
    ~ConfigFolder() override { std::filesystem::remove_all(folder_); }

    Result<std::unique_ptr<Model>> load_config(const std::string& text) const {
        std::ofstream(folder_ / "config.json") << text;
        TRY(auto checkpoint, checkpoint::Checkpoint::open(folder_, {.headers_only = true}));
        return load(std::move(checkpoint), device::cpu_device(), {.source = LoadOptions::Source::headers});
    }

    void damage_every_field(const json& original) const {
        ASSERT_TRUE(load_config(original.dump()));
        std::vector<json> values = {nullptr,
                                    true,
                                    "x",
                                    "",
                                    0,
                                    -1,
                                    1,
                                    3,
                                    0.5,
                                    1e300,
                                    -1e300,
                                    65536,
                                    1 << 24,
                                    INT64_MAX,
                                    json::array(),
                                    json::array({1}),
                                    json::object(),
                                    json::array({"mamba", nullptr}),
                                    std::string(5000, 'M')};
        int refused = 0, loaded = 0;
        for (const auto& [field, unused] : original.items())
            for (const json& value : values) {
                json damaged = original;
                damaged[field] = value;
                auto model = load_config(damaged.dump());
                if (!model) {
                    ++refused;
                    EXPECT_FALSE(model.error().message.empty());
                    EXPECT_NE(model.error().code, ErrorCode::internal);
                    continue;
                }
                ++loaded;
                const ops::Program program = record(**model, device::cpu_device(), 2, 3, 5);
                EXPECT_FALSE(program.steps.empty());
            }
        EXPECT_GT(refused, 20);
        EXPECT_GT(loaded, 20);
    }

    const std::filesystem::path folder_;
};

TEST_F(ConfigFolder, OfNemotronHWithAnyDamageIsRefusedOrRuns) {
    json config = nemotron();
    for (const char* field : {"n_group", "topk_group", "n_shared_experts", "chunk_size", "max_position_embeddings"})
        config[field] = 1;
    for (const char* field : {"use_bias", "mlp_bias", "attention_bias", "mamba_proj_bias", "use_conv_bias",
                              "tie_word_embeddings", "norm_topk_prob"})
        config[field] = false;
    config["routed_scaling_factor"] = 2.5;
    config["layer_norm_epsilon"] = 1e-5;
    config["time_step_limit"] = {0.0, 1.0};
    config["mamba_hidden_act"] = "silu";
    config["mlp_hidden_act"] = "relu2";
    config["eos_token_id"] = {2, 11};
    config["architectures"] = {"NemotronHForCausalLM"};
    damage_every_field(config);
}

TEST_F(ConfigFolder, OfLlamaWithAnyDamageIsRefusedOrRuns) {
    json config = llama();
    config["head_dim"] = 8;
    config["rms_norm_eps"] = 1e-5;
    config["max_position_embeddings"] = 512;
    config["attention_bias"] = config["mlp_bias"] = config["tie_word_embeddings"] = false;
    config["hidden_act"] = "silu";
    config["partial_rotary_factor"] = 1.0;
    config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
    config["sliding_window"] = 16;
    damage_every_field(config);
    for (const char* kind : {"linear", "dynamic", "yarn", "longrope", "llama3", "proportional"}) {
        json scaling = {{"rope_type", kind},
                        {"factor", 4.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 64},
                        {"beta_fast", 32.0},
                        {"beta_slow", 1.0},
                        {"mscale", 1.0},
                        {"mscale_all_dim", 1.0},
                        {"attention_factor", 1.0},
                        {"truncate", true},
                        {"rope_theta", 10000.0},
                        {"partial_rotary_factor", 1.0}};
        scaling["short_factor"] = scaling["long_factor"] = json::array({1.0, 1.0, 1.0, 1.0});
        for (const auto& [field, unused] : scaling.items())
            for (const json& value : std::vector<json>{nullptr, 0, -1, 1e300, 1e-300, 1, 0.3, "x", json::array()}) {
                json damaged = config;
                damaged["rope_scaling"] = scaling;
                damaged["rope_scaling"][field] = value;
                (void)load_config(damaged.dump());
            }
    }
}

TEST_F(ConfigFolder, OfAnUnknownFamilySaysWhatThereIs) {
    json config = {{"model_type", "gpt2"}, {"architectures", {"GPT2LMHeadModel"}}};
    auto model = load_config(config.dump());
    ASSERT_FALSE(model);
    EXPECT_EQ(model.error().code, ErrorCode::unsupported);
    for (const char* word : {"'gpt2'", "GPT2LMHeadModel", "nemotron_h", "llama"})
        EXPECT_NE(model.error().message.find(word), std::string::npos) << model.error().message;
}

TEST_F(ConfigFolder, TakesTheEndOfTextIdsFromTheGenerationConfigFirst) {
    json config = llama();
    config["eos_token_id"] = 2;
    auto model = load_config(config.dump());
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ((*model)->spec().eos_ids, std::vector<int32_t>{2});
    std::ofstream(folder_ / "generation_config.json") << R"({"eos_token_id": [2, 11]})";
    model = load_config(config.dump());
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ((*model)->spec().eos_ids, (std::vector<int32_t>{2, 11}));
}

// The shapes of published models, from their configs alone: one decoded token reads the bytes that the published
// tensors hold (tests/checkpoint compares those). What nibble keeps wider or narrower is small: scales, small vectors.
class PublishedModel : public testing::TestWithParam<std::pair<const char*, double>> {};
INSTANTIATE_TEST_SUITE_P(Every, PublishedModel,
                         testing::Values(std::pair{"NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", 2'886'300'576.0},
                                         std::pair{"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 6'471'347'840.0},
                                         std::pair{"NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4", 2'435'478'780.0}));

TEST_P(PublishedModel, ReadsItsKnownBytesForAToken) {
    const auto [name, bytes] = GetParam();
    auto checkpoint =
        checkpoint::Checkpoint::open(std::filesystem::path(NIBBLE_SOURCE_DIR "/models") / name, {.headers_only = true});
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    auto model = load(*checkpoint, device::cpu_device(), {.source = LoadOptions::Source::headers});
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ((*model)->spec().layers, 52);
    EXPECT_EQ((*model)->spec().state.attention.size(), 6u);
    EXPECT_EQ((*model)->spec().state.recurrent.size(), 23u);
    const ops::Cost token = record(**model, device::cpu_device(), 1, 1, 1023).total();
    EXPECT_NEAR(static_cast<double>(token.weight_bytes), bytes, 0.0008 * bytes);
    EXPECT_EQ(token.kv_read_bytes, 6144 * 1024);
    EXPECT_EQ(token.kv_written_bytes, 6144);
    EXPECT_EQ(token.state_read_bytes, 23 * ((int64_t{2} << 20) + 36864));
    EXPECT_EQ(token.state_written_bytes, token.state_read_bytes);
    EXPECT_NEAR(token.distinct_experts, 23 * 6, 1e-6);
    const ops::Cost eight = record(**model, device::cpu_device(), 8, 1, 1023).total();
    EXPECT_NEAR(eight.distinct_experts / 23, 40.8, 0.1);
}

}  // namespace
}  // namespace nibble::model
