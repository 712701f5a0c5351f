#include "checkpoint/quant_scheme.h"

#include "checkpoint/module_patterns.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <set>

namespace nibble::checkpoint {
namespace {

using enum ClaimedFormat;
using testing::HasSubstr;

const std::string kModels = std::string(NIBBLE_SOURCE_DIR) + "/models/";

std::string layer(int i, std::string_view rest) {
    return fmt::format("backbone.layers.{}.mixer.{}", i, rest);
}

QuantScheme published(const std::string& model, bool own_config_alone = false) {
    const auto config = Config::load(kModels + model + "/config.json");
    const auto hf = Config::load(kModels + model + "/hf_quant_config.json");
    EXPECT_TRUE(config) << config.error().message;
    auto scheme = QuantScheme::parse(hf && !own_config_alone ? &*hf : nullptr, *config);
    EXPECT_TRUE(scheme) << scheme.error().message;
    return *std::move(scheme);
}

Result<QuantScheme> parsed(std::string_view quantization_config, std::string_view hf_quantization = "") {
    const auto config = Config::parse(
        quantization_config.empty() ? "{}" : fmt::format(R"({{"quantization_config":{}}})", quantization_config),
        "config.json");
    std::optional<Config> hf;
    if (!hf_quantization.empty())
        hf = *Config::parse(
            fmt::format(R"({{"producer":{{"name":"modelopt","version":"1"}},"quantization":{}}})", hf_quantization),
            "hf_quant_config.json");
    return QuantScheme::parse(hf ? &*hf : nullptr, *config);
}

ClaimedFormat format(const QuantScheme& scheme, std::string_view module) {
    return scheme.claim(module).format;
}

constexpr std::string_view kNanoPattern = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME";

// Nano: exclude_modules has 60 names; exactly those of its modules are BF16.
TEST(QuantScheme, NanoExcludesItsSixtyModulesAndNoOther) {
    const QuantScheme scheme = published("NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4");
    EXPECT_EQ(scheme.summary(), "modelopt 0.29.0 NVFP4, FP8 KV cache, 60 modules excluded");
    EXPECT_TRUE(scheme.kv_cache_fp8());
    EXPECT_EQ(scheme.dialect(), Dialect::modelopt);
    const std::set<int> bf16_mamba = {4, 11, 18, 25, 32, 41};
    int excluded = 0, quantised = 0;
    const auto expect = [&](const std::string& module, ClaimedFormat expected) {
        const Claim claim = scheme.claim(module);
        EXPECT_EQ(claim.format, expected) << module << " by " << claim.because;
        EXPECT_EQ(claim.named, expected == unquantized) << module;
        ++(expected == unquantized ? excluded : quantised);
    };
    expect("lm_head", unquantized);
    for (int i = 0; i < static_cast<int>(kNanoPattern.size()); ++i) {
        switch (kNanoPattern[static_cast<size_t>(i)]) {
            case 'M':
                expect(layer(i, "in_proj"), bf16_mamba.contains(i) ? unquantized : nvfp4);
                expect(layer(i, "out_proj"), bf16_mamba.contains(i) ? unquantized : nvfp4);
                expect(layer(i, "conv1d"), unquantized);
                break;
            case '*':
                for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) expect(layer(i, name), unquantized);
                break;
            default:
                for (int e = 0; e < 128; ++e)
                    for (const char* name : {"up_proj", "down_proj"})
                        expect(layer(i, fmt::format("experts.{}.{}", e, name)), nvfp4);
                for (const char* name : {"up_proj", "down_proj"})
                    expect(layer(i, fmt::format("shared_experts.{}", name)), nvfp4);
        }
    }
    EXPECT_EQ(excluded, 60);
    EXPECT_EQ(quantised, 5968);
    // Not listed, and not linear layers either: no claim that the tensors could contradict.
    for (const char* module :
         {"backbone.embeddings", "backbone.norm_f", "backbone.layers.1.mixer.gate", "backbone.layers.0.norm"}) {
        EXPECT_EQ(format(scheme, module), unquantized) << module;
        EXPECT_FALSE(scheme.claim(module).named) << module;
    }
    EXPECT_THAT(scheme.claim("lm_head").because, HasSubstr("hf_quant_config.json: exclude_modules[0] 'lm_head'"));
}

TEST(QuantScheme, LightningIsMixed) {
    const QuantScheme scheme = published("NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4");
    EXPECT_EQ(scheme.summary(),
              "modelopt 0.44.0rc5 MIXED_PRECISION (46 FP8, 5935 W4A16_NVFP4), FP8 KV cache, 72 modules excluded");
    int counted_fp8 = 0, counted_nvfp4 = 0;
    for (int i = 0; i < static_cast<int>(kNanoPattern.size()); ++i) {
        const char kind = kNanoPattern[static_cast<size_t>(i)];
        if (kind == 'M')
            for (const char* name : {"in_proj", "out_proj"}) counted_fp8 += format(scheme, layer(i, name)) == fp8;
        if (kind == 'M') {
            EXPECT_EQ(format(scheme, layer(i, "conv1d")), unquantized);
        }
        if (kind == '*') {
            for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
                EXPECT_EQ(format(scheme, layer(i, name)), unquantized);
        }
        if (kind != 'E') continue;
        EXPECT_EQ(format(scheme, layer(i, "gate")), unquantized);
        EXPECT_TRUE(scheme.claim(layer(i, "gate")).named);
        for (const char* name : {"up_proj", "down_proj"}) {
            for (int e = 0; e < 128; ++e)
                counted_nvfp4 += format(scheme, layer(i, fmt::format("experts.{}.{}", e, name))) == nvfp4_w4a16;
            counted_nvfp4 += format(scheme, layer(i, fmt::format("shared_experts.{}", name))) == nvfp4_w4a16;
        }
    }
    counted_nvfp4 += format(scheme, "lm_head") == nvfp4_w4a16;
    EXPECT_EQ(counted_fp8, 46);
    EXPECT_EQ(counted_nvfp4, 5935);
    EXPECT_EQ(format(scheme, "mtp.layers.0.mixer.q_proj"), unquantized);
    EXPECT_EQ(format(scheme, "backbone.embeddings"), unquantized);
    EXPECT_EQ(scheme.claim(layer(0, "in_proj")).algorithm, "FP8");
}

// Qwen3.6 lists ".mlp.experts", the container; only hf_quant_config.json asks for FP8 keys and values.
TEST(QuantScheme, AContainerSpeaksForItsExperts) {
    const QuantScheme scheme = published("Qwen3.6-35B-A3B-NVFP4");
    EXPECT_EQ(format(scheme, "model.language_model.layers.0.mlp.experts.17.up_proj"), nvfp4_w4a16);
    EXPECT_EQ(format(scheme, "model.language_model.layers.0.mlp.experts.gate_up_proj"), nvfp4_w4a16);
    EXPECT_EQ(format(scheme, "model.language_model.layers.0.mlp.shared_expert.gate_proj"), nvfp4_w4a16);
    EXPECT_EQ(format(scheme, "model.language_model.layers.0.linear_attn.in_proj_z"), fp8);
    EXPECT_EQ(format(scheme, "model.language_model.layers.0.linear_attn.in_proj_qkvz"), fp8);  // both parts are FP8
    EXPECT_EQ(format(scheme, "model.language_model.layers.3.self_attn.qkv_proj"), fp8);
    EXPECT_EQ(format(scheme, "model.language_model.layers.0.linear_attn.in_proj_b"), unquantized);
    EXPECT_EQ(format(scheme, "model.language_model.layers.0.mlp.shared_expert_gate"), unquantized);
    EXPECT_EQ(format(scheme, "mtp.layers.0.mlp.experts.0.up_proj"), unquantized);
    EXPECT_TRUE(scheme.claim("mtp.layers.0.mlp.experts.0.up_proj").named);
    EXPECT_TRUE(scheme.kv_cache_fp8());
    const QuantScheme own = published("Qwen3.6-35B-A3B-NVFP4", true);
    EXPECT_EQ(own.summary(), "modelopt 0.37.0 MIXED_PRECISION (130 FP8, 161 W4A16_NVFP4), 2 modules excluded");
    EXPECT_FALSE(own.kv_cache_fp8());
    EXPECT_EQ(format(own, "model.language_model.layers.0.mlp.experts.17.up_proj"), nvfp4_w4a16);
}

TEST(QuantScheme, BothFilesOfGemmaSayTheSame) {
    for (const bool own : {false, true}) {
        const QuantScheme scheme = published("Gemma-4-26B-A4B-NVFP4", own);
        EXPECT_TRUE(scheme.kv_cache_fp8());
        EXPECT_EQ(format(scheme, "model.language_model.layers.7.mlp.down_proj"), unquantized);
        EXPECT_EQ(format(scheme, "model.language_model.layers.7.self_attn.q_proj"), unquantized);
        EXPECT_EQ(format(scheme, "model.language_model.layers.7.experts.3.down_proj"), nvfp4);
        EXPECT_EQ(format(scheme, "model.embed_vision.embedding_projection"), unquantized);
    }
}

TEST(QuantScheme, WithoutAConfigNothingIsClaimed) {
    const QuantScheme scheme = published("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16");
    EXPECT_EQ(format(scheme, "lm_head"), none);
    EXPECT_EQ(scheme.summary(), "not quantised");
    EXPECT_EQ(scheme.dialect(), Dialect::none);
    EXPECT_FALSE(scheme.kv_cache_fp8());
}

TEST(QuantScheme, CompressedTensorsGroupsAndIgnore) {
    const auto scheme =
        parsed(R"({"quant_method":"compressed-tensors","format":"nvfp4-pack-quantized","version":"0.10.2",
        "quantization_status":"compressed","ignore":["lm_head","re:.*mlp.gate$"],
        "config_groups":{"group_0":{"targets":["Linear"],"format":"nvfp4-pack-quantized",
            "weights":{"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16,"symmetric":true,"dynamic":false},
            "input_activations":{"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16,"dynamic":"local"}}}})");
    ASSERT_TRUE(scheme) << scheme.error().message;
    EXPECT_EQ(scheme->dialect(), Dialect::compressed_tensors);
    EXPECT_EQ(scheme->summary(), "compressed-tensors 0.10.2 nvfp4-pack-quantized, 2 modules excluded");
    EXPECT_EQ(format(*scheme, "model.layers.0.self_attn.q_proj"), nvfp4);
    EXPECT_FALSE(scheme->claim("model.layers.0.self_attn.q_proj").named);
    EXPECT_EQ(format(*scheme, "lm_head"), unquantized);
    EXPECT_TRUE(scheme->claim("lm_head").named);
    EXPECT_EQ(format(*scheme, "model.layers.3.mlp.gate"), unquantized);
    EXPECT_EQ(format(*scheme, "model.layers.3.mlp.gate_proj"), nvfp4);  // the expression ends with $
    EXPECT_EQ(format(*scheme, "model.embed_tokens"), unquantized);
}

TEST(QuantScheme, CompressedTensorsFormatsPerGroup) {
    const auto scheme = parsed(R"({"quant_method":"compressed-tensors","format":"mixed-precision","ignore":[],
        "kv_cache_scheme":{"num_bits":8,"type":"float","strategy":"tensor"},
        "config_groups":{
          "g0":{"targets":["re:.*self_attn\\..*_proj"],"format":"float-quantized","weights":{"num_bits":8,"type":"float","strategy":"channel"},
                "input_activations":{"num_bits":8,"type":"float","strategy":"token","dynamic":true}},
          "g1":{"targets":["re:.*experts.*"],"format":"nvfp4-pack-quantized","weights":{"num_bits":4,"type":"float","group_size":16},"input_activations":null},
          "g2":{"targets":["m.block"],"weights":{"num_bits":8,"type":"float","strategy":"block","block_structure":[128,128]}},
          "g3":{"targets":["m.tensor"],"weights":{"num_bits":8,"type":"float","strategy":"tensor"}},
          "g4":{"targets":["m.mx"],"format":"mxfp4-pack-quantized","weights":{"num_bits":4,"type":"float","strategy":"group","group_size":32}}}})");
    ASSERT_TRUE(scheme) << scheme.error().message;
    EXPECT_EQ(format(*scheme, "model.layers.0.self_attn.q_proj"), fp8_per_channel);
    EXPECT_EQ(format(*scheme, "model.layers.0.mlp.experts.3.up_proj"), nvfp4_w4a16);
    EXPECT_EQ(format(*scheme, "m.block"), fp8_block);
    EXPECT_EQ(format(*scheme, "m.tensor"), fp8);
    EXPECT_EQ(format(*scheme, "m.mx"), mxfp4);
    EXPECT_EQ(format(*scheme, "m.tensor.more"), unquantized);
    EXPECT_TRUE(scheme->kv_cache_fp8());
    EXPECT_EQ(scheme->claim("m.block").because, "config.json: quantization_config: config_groups.g2.targets[0]");
}

TEST(QuantScheme, Fp8OfDeepSeekAndOfTransformers) {
    const auto block =
        parsed(R"({"quant_method":"fp8","fmt":"e4m3","activation_scheme":"dynamic","weight_block_size":[128,128],
        "modules_to_not_convert":["lm_head","model.layers.0.mlp.gate"]})");
    ASSERT_TRUE(block);
    EXPECT_EQ(block->dialect(), Dialect::fp8_block);
    EXPECT_EQ(format(*block, "model.layers.0.mlp.up_proj"), fp8_block);
    EXPECT_EQ(format(*block, "lm_head"), unquantized);
    EXPECT_EQ(format(*parsed(R"({"quant_method":"fp8"})"), "x.up_proj"), fp8);
    EXPECT_FALSE(parsed(R"({"quant_method":"fp8","weight_block_size":[64,64]})"));
}

TEST(QuantScheme, UnknownMethodsAreUnsupportedByName) {
    for (
        const auto& [json, expected] : {
            std::pair{R"({"quant_method":"awq","bits":4})", "'awq'"},
            std::pair{R"({"quant_method":"gptq"})", "'gptq'"},
            std::pair{R"({"quant_method":"bitsandbytes"})", "'bitsandbytes'"},
            std::pair{R"({"quant_method":"modelopt","quant_algo":"W4A16_AWQ"})", "'W4A16_AWQ'"},
            std::pair{
                R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"g":{"targets":["Linear"],
                          "weights":{"num_bits":4,"type":"int","strategy":"group","group_size":128}}}})",
                "pack-quantized"},
            std::pair{R"({"quant_method":"compressed-tensors","quantization_status":"frozen","config_groups":{}})",
                      "frozen"},
        }) {
        const auto scheme = parsed(json);
        ASSERT_FALSE(scheme) << json;
        EXPECT_EQ(scheme.error().code, ErrorCode::unsupported) << json;
        EXPECT_THAT(scheme.error().message, HasSubstr(expected));
    }
    EXPECT_EQ(parsed(R"({})").error().code, ErrorCode::model_invalid);
}

TEST(QuantScheme, ModeloptWithoutLayersReadsItsGroups) {
    const auto scheme = parsed(R"({"quant_method":"modelopt","quant_algo":"MIXED_PRECISION","config_groups":{
        "group_0":{"weights":{"num_bits":8,"type":"float","dynamic":false},"targets":["m.a"]},
        "group_1":{"weights":{"num_bits":4,"type":"float","group_size":16},"input_activations":{"num_bits":4},"targets":["m.b"]}}})");
    ASSERT_TRUE(scheme) << scheme.error().message;
    EXPECT_EQ(format(*scheme, "m.a"), fp8);
    EXPECT_EQ(format(*scheme, "m.b"), nvfp4);
    EXPECT_EQ(format(*scheme, "m.c"), unquantized);
}

TEST(QuantScheme, ExclusionIsExactThenByWildcardThenByPart) {
    const auto scheme =
        parsed("", R"({"quant_algo":"NVFP4","exclude_modules":["visual","model.layers.1*","head?","*.k_proj"]})");
    ASSERT_TRUE(scheme);
    EXPECT_TRUE(scheme->claim("visual").named);
    EXPECT_EQ(format(*scheme, "model.visual.blocks.0.fc1"), unquantized);  // a part of the name: an old reader's way
    EXPECT_FALSE(scheme->claim("model.visual.blocks.0.fc1").named);
    EXPECT_EQ(format(*scheme, "model.layers.1.mlp.up_proj"), unquantized);
    EXPECT_EQ(format(*scheme, "model.layers.17.mlp.up_proj"), unquantized);  // '*' crosses what it likes
    EXPECT_EQ(format(*scheme, "model.layers.2.self_attn.k_proj"), unquantized);
    EXPECT_EQ(format(*scheme, "model.layers.2.self_attn.q_proj"), nvfp4);
    EXPECT_EQ(format(*scheme, "head1"), unquantized);
    EXPECT_EQ(format(*scheme, "head12"), nvfp4);
}

TEST(QuantScheme, FusedModulesFollowTheirPartsAndTheirPartsThem) {
    const auto scheme = parsed("", R"({"quant_algo":"MIXED_PRECISION","quantized_layers":{
        "l.q_proj":{"quant_algo":"FP8"},"l.k_proj":{"quant_algo":"FP8"},"l.v_proj":{"quant_algo":"FP8"},
        "l.gate_proj":{"quant_algo":"FP8"},"l.up_proj":{"quant_algo":"NVFP4"},"n.qkv_proj":{"quant_algo":"NVFP4"}}})");
    ASSERT_TRUE(scheme);
    EXPECT_EQ(format(*scheme, "l.qkv_proj"), fp8);
    EXPECT_EQ(format(*scheme, "l.gate_up_proj"), other);
    EXPECT_EQ(scheme->claim("l.gate_up_proj").algorithm, "FP8 and NVFP4");
    EXPECT_EQ(format(*scheme, "n.k_proj"), nvfp4);
    EXPECT_EQ(format(*scheme, "n.o_proj"), unquantized);
}

TEST(QuantScheme, ListsWhatTheConfigsName) {
    size_t listed = 0, excluded = 0;
    for (const QuantScheme::Entry& entry : published("NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4").entries())
        ++(entry.claim.format == unquantized ? excluded : listed);
    EXPECT_EQ(listed, 46u + 5935u);
    EXPECT_EQ(excluded, 72u);
    const auto groups = parsed(R"({"quant_method":"compressed-tensors","config_groups":{"group_0":{
        "targets":["re:.*mlp.*"],"weights":{"num_bits":8,"type":"float","strategy":"channel"}}},"ignore":["lm_head"]})");
    ASSERT_TRUE(groups) << groups.error().message;
    const auto entries = groups->entries();
    ASSERT_EQ(entries.size(), 2u);
    EXPECT_EQ(entries[0].name, "re:.*mlp.*");
    EXPECT_EQ(entries[0].claim.format, fp8_per_channel);
    EXPECT_EQ(entries[1].claim.format, unquantized);
}

TEST(ModulePatterns, WildcardsAreShellWildcards) {
    EXPECT_TRUE(wildcard_matches("*", ""));
    EXPECT_TRUE(wildcard_matches("mtp*", "mtp.layers.0"));
    EXPECT_TRUE(wildcard_matches("*.layers.*.q_proj", "a.layers.3.x.q_proj"));
    EXPECT_FALSE(wildcard_matches("*.layers.*.q_proj", "a.layers.3.q_proj.x"));
    EXPECT_TRUE(wildcard_matches("l[0-3]", "l2"));
    EXPECT_FALSE(wildcard_matches("l[!0-3]", "l2"));
    EXPECT_TRUE(wildcard_matches("l[]a]", "l]"));
    EXPECT_TRUE(wildcard_matches("l[", "l["));
    EXPECT_FALSE(wildcard_matches("a?c", "ac"));
    EXPECT_FALSE(wildcard_matches("", "a"));
}

TEST(ModulePatterns, HostilePatternsEndSoon) {
    const auto begin = std::chrono::steady_clock::now();
    std::string stars;
    for (int i = 0; i < 1000; ++i) stars += "*a";
    EXPECT_FALSE(wildcard_matches(stars + "b", std::string(4000, 'a')));
    auto patterns = ModulePatterns::parse({"re:(a+)+$"}, ModulePatterns::Syntax::regex, "config.json: ignore");
    ASSERT_TRUE(patterns);
    const auto match = patterns->match(std::string(5000, 'a') + "!");
    ASSERT_TRUE(match);
    EXPECT_EQ(match->how, ModulePatterns::How::failed);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
    const auto broken = ModulePatterns::parse({"x", "re:("}, ModulePatterns::Syntax::regex, "config.json: ignore");
    ASSERT_FALSE(broken);
    EXPECT_THAT(broken.error().message, HasSubstr("config.json: ignore[1]: 're:(' is no regular expression"));
}

TEST(ModulePatterns, ExpressionsBeginAtTheNamesStart) {
    const auto patterns = ModulePatterns::parse({"re:layers.*"}, ModulePatterns::Syntax::regex, "x");
    ASSERT_TRUE(patterns);
    EXPECT_TRUE(patterns->match("layers.0"));
    EXPECT_FALSE(patterns->match("model.layers.0"));
}

}  // namespace
}  // namespace nibble::checkpoint
