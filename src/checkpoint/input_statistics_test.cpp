// Whose input a matrix reads, by name.
#include "checkpoint/input_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace nibble::checkpoint {
namespace {

LinearModule module(std::string name, int64_t k) {
    LinearModule made;
    made.name = std::move(name);
    made.k = k;
    return made;
}

TEST(InputStatistics, SiblingsExpertsAndATiedHeadAreFound) {
    InputStatistics inputs;
    const std::vector<float> two = {1, -3}, three = {1, 2, 3};
    inputs.add("l.0.q_proj+k_proj+v_proj", two);
    inputs.add("l.0.q_proj+k_proj+v_proj", two);
    inputs.add("l.1.mlp.gate_proj", three);
    inputs.add("l.2.experts.up_proj", two);
    inputs.add("model.embed_tokens", two);
    for (const char* name : {"l.0.q_proj", "l.0.k_proj", "l.0.v_proj"}) {
        const auto found = inputs.find(module(name, 2));
        ASSERT_NE(found.input, nullptr) << name;
        EXPECT_TRUE(found.own);
        EXPECT_EQ(found.input->rows, 2);
        EXPECT_EQ(found.input->largest, 3);
        EXPECT_EQ(found.input->square_sum, (std::vector<double>{2, 18}));
    }
    EXPECT_NE(inputs.find(module("l.1.mlp.up_proj", 3)).input, nullptr);
    EXPECT_EQ(inputs.find(module("l.1.mlp.up_proj", 2)).input, nullptr);  // another shape
    EXPECT_EQ(inputs.find(module("l.0.o_proj", 2)).input, nullptr);
    const auto expert = inputs.find(module("l.2.experts.7.up_proj", 2));
    ASSERT_NE(expert.input, nullptr);
    EXPECT_FALSE(expert.own);
    EXPECT_EQ(inputs.find(module("l.2.experts.7.down_proj", 2)).input, nullptr);
    const TensorEntry table{.name = "model.embed_tokens.weight", .dtype = numeric::DType::bf16, .shape = {9, 2}};
    LinearModule head = module("lm_head", 2);
    head.source = &table;
    EXPECT_EQ(inputs.find(head).input, nullptr);
    head.tied = true;
    EXPECT_NE(inputs.find(head).input, nullptr);
}

TEST(InputStatistics, WeightsHaveTheMeanOneAndNoneIsNothing) {
    InputStatistics inputs;
    inputs.add("a", std::vector<float>{0, 1, 2});
    const auto weights = InputStatistics::weights(*inputs.find(module("a", 3)).input);
    EXPECT_GT(weights[0], 0);
    EXPECT_NEAR(weights[1] * 4, weights[2], 1e-6);
    EXPECT_NEAR(weights[1] + weights[2], 3, 1e-5);
    inputs.add("zero", std::vector<float>{0, 0});
    EXPECT_EQ(InputStatistics::weights(*inputs.find(module("zero", 2)).input), (std::vector<float>{1, 1}));
}

}  // namespace
}  // namespace nibble::checkpoint
