// Which module gets which encoding, by scheme; and how a config is changed as text.
#include "checkpoint/quant_rules.h"
#include "checkpoint/json_members.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace nibble::checkpoint {
namespace {

LinearModule plain(std::string name, ModuleRole role, int layer, int64_t k = 64) {
    LinearModule module;
    module.name = std::move(name);
    module.role = role;
    module.layer = layer;
    module.n = 32;
    module.k = k;
    return module;
}

// Mamba, MoE, Mamba, attention, MLP: as Nemotron-H begins.
std::vector<LinearModule> hybrid() {
    return {plain("lm_head", ModuleRole::head, -1),
            plain("backbone.embeddings", ModuleRole::embedding, -1),
            plain("backbone.layers.0.mixer.in_proj", ModuleRole::mamba, 0),
            plain("backbone.layers.1.mixer.experts.0.up_proj", ModuleRole::mlp, 1),
            plain("backbone.layers.1.mixer.gate", ModuleRole::router, 1),
            plain("backbone.layers.2.mixer.in_proj", ModuleRole::mamba, 2),
            plain("backbone.layers.3.mixer.q_proj", ModuleRole::attention, 3),
            plain("mtp.layers.0.mixer.q_proj", ModuleRole::draft, 0)};
}

std::string encodings(const QuantRules::Choices& choices, const std::vector<LinearModule>& modules) {
    const auto rules = QuantRules::make(choices);
    if (!rules) return rules.error().message;
    const auto assigned = rules->assign(modules);
    if (!assigned) return assigned.error().message;
    std::string text;
    for (const Encoding encoding : assigned->encodings)
        text += encoding == Encoding::keep ? '-' : encoding == Encoding::nvfp4 ? '4' : '8';
    return text;
}

TEST(QuantRules, SchemesAreThePublishedOnes) {
    EXPECT_EQ(encodings({.scheme = "all-nvfp4"}, hybrid()), "4-44-444");
    EXPECT_EQ(encodings({.scheme = "nvidia-nano"}, hybrid()), "--44----");
    EXPECT_EQ(encodings({.scheme = "nvidia-lightning"}, hybrid()), "4-84-8--");
    EXPECT_EQ(encodings({.scheme = "nvidia-nano", .head = Encoding::fp8, .attention = Encoding::nvfp4}, hybrid()),
              "8-44--4-");
    EXPECT_EQ(encodings({.scheme = {}, .mamba = Encoding::fp8}, hybrid()), "--8--8--");
}

TEST(QuantRules, LeftoversAreThoseThatAreNotQuantisedYet) {
    auto modules = hybrid();
    modules[2].format = MatrixFormat::nvfp4;
    TensorEntry codes{.name = "backbone.layers.0.mixer.in_proj.weight", .dtype = numeric::DType::u8, .shape = {32, 32}};
    modules[2].tensors.weight = &codes;
    EXPECT_EQ(encodings({.scheme = {}, .mamba = Encoding::nvfp4}, modules), "-----4--");
    EXPECT_NE(encodings({.scheme = {}, .mamba = Encoding::fp8}, modules).find(codes.name), std::string::npos);
    EXPECT_NE(encodings({.scheme = "all-nvfp4"}, modules).find(codes.name), std::string::npos);
}

TEST(QuantRules, ColumnsOfNoWholeGroupStayUnderASchemeAndAreRefusedByName) {
    auto modules = hybrid();
    modules[0].k = 24;
    const auto rules = QuantRules::make({.scheme = "all-nvfp4"});
    ASSERT_TRUE(rules.has_value());
    const auto assigned = rules->assign(modules);
    ASSERT_TRUE(assigned.has_value());
    EXPECT_EQ(assigned->encodings[0], Encoding::keep);
    ASSERT_EQ(assigned->remarks.size(), 1u);
    EXPECT_NE(assigned->remarks[0].find("24 columns"), std::string::npos);
    EXPECT_NE(encodings({.scheme = {}, .head = Encoding::nvfp4}, modules).find("24 columns"), std::string::npos);
    EXPECT_EQ(encodings({.scheme = {}, .head = Encoding::fp8}, modules), "8-------");
}

TEST(JsonMembers, OneMemberChangesAndTheRestKeepsItsBytes) {
    const std::string text = "{\"a\": [1, {\"b\": \"}\\\"]\"}],\n \"b\" : Infinity , \"c\": {\"b\": 2}}";
    const auto replaced = with_json_member(text, "b", "7", "f");
    ASSERT_TRUE(replaced.has_value());
    EXPECT_EQ(*replaced, "{\"a\": [1, {\"b\": \"}\\\"]\"}],\n \"b\" : 7 , \"c\": {\"b\": 2}}");
    const auto added = with_json_member(text, "d", "true", "f");
    ASSERT_TRUE(added.has_value());
    EXPECT_EQ(*added, text.substr(0, text.size() - 1) + ",\n  \"d\": true}");
    EXPECT_EQ(with_json_member("{}", "d", "1", "f").value_or(""), "{\n  \"d\": 1\n}");
    EXPECT_EQ(json_member(text, "c", "f").value_or(""), "{\"b\": 2}");
    EXPECT_EQ(json_member(text, "a", "f").value_or(""), "[1, {\"b\": \"}\\\"]\"}]");
}

TEST(JsonMembers, WhatIsNoObjectIsRefused) {
    for (const std::string_view text :
         {"", "  ", "[1]", "{", "{\"a\"", "{\"a\":", "{\"a\": 1", "{\"a\": \"", "{a: 1}"}) {
        EXPECT_FALSE(with_json_member(text, "a", "1", "f").has_value()) << text;
        EXPECT_FALSE(json_member(text, "a", "f").has_value()) << text;
    }
    EXPECT_FALSE(json_member("{\"a\": 1}", "b", "f").has_value());
}

}  // namespace
}  // namespace nibble::checkpoint
