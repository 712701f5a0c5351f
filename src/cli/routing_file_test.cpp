// A routing file is refused by layer and number, and its counts become what a token's top k is drawn from.
#include "cli/routing_file.h"

#include "base/temporary_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

namespace nibble::cli {
namespace {

using testing::HasSubstr;

ops::Program two_layers() {
    ops::Program program;
    for (const char* module : {"l.0", "l.1"})
        program.steps.push_back({.op = "moe",
                                 .module = module,
                                 .cost = {.distinct_experts = 2.0000001},
                                 .weights = {{.role = ops::WeightRead::Role::routed_experts, .count = 4, .read = 2}}});
    return program;
}

Result<ops::RoutingModel> read(const std::string& json) {
    const TemporaryFolder folder;
    const std::string path = (folder.path() / "routing.json").string();
    std::ofstream(path) << json;
    return read_routing_file(path, two_layers());
}

TEST(RoutingFile, OnlyProportionsMatter) {
    const auto few = read(R"({"l.0": [1, 1, 1, 1], "l.1": [0.4, 0.3, 0.2, 0.1]})");
    const auto many = read(R"({"l.0": [70, 70, 70, 70], "l.1": [4000, 3000, 2000, 1000]})");
    ASSERT_TRUE(few && many) << few.error().message;
    for (const char* layer : {"l.0", "l.1"})
        for (const int64_t tokens : {1, 3})
            EXPECT_NEAR(few->distinct_experts(layer, 4, 2, tokens), many->distinct_experts(layer, 4, 2, tokens), 1e-9);
    EXPECT_NEAR(few->distinct_experts("l.0", 4, 2, 5), ops::RoutingModel().distinct_experts("l.0", 4, 2, 5), 1e-9);
    EXPECT_LT(few->distinct_experts("l.1", 4, 2, 5), few->distinct_experts("l.0", 4, 2, 5));
}

TEST(RoutingFile, ATokenAlwaysHasItsTopK) {
    for (const char* counts : {"[1, 1, 0, 0]", "[1000, 1, 1, 0]", "[5, 4, 3, 2]", "[1e9, 1e-9, 1e-9, 1e-9]"}) {
        const auto routing = read(std::string(R"({"l.0": )") + counts + "}");
        ASSERT_TRUE(routing) << counts << routing.error().message;
        EXPECT_NEAR(routing->distinct_experts("l.0", 4, 2, 1), 2.0, 1e-6) << counts;
        for (const double p : routing->layer_probability.at("l.0")) EXPECT_LE(p, 1.0 + 1e-9) << counts;
    }
}

TEST(RoutingFile, WhatIsWrittenIsRead) {
    const auto routing = read(routing_text({{"l.0", {3, 1, 0, 4}}, {"l.1", {2, 2, 2, 2}}}));
    ASSERT_TRUE(routing) << routing.error().message;
    EXPECT_EQ(routing->layer_probability.at("l.0"), (std::vector<double>{0.75, 0.25, 0, 1}));
    EXPECT_EQ(routing->layer_probability.at("l.1"), (std::vector<double>{0.5, 0.5, 0.5, 0.5}));
}

TEST(RoutingFile, IsRefusedWithTheLayerAndWhatWasExpected) {
    const std::pair<const char*, const char*> cases[] = {
        {"", "not JSON"},
        {"[1]", "expected an object"},
        {R"({"l.7": [1, 1, 1, 1]})", "'l.7': the model has no routed layer of that name; its first is 'l.0'"},
        {R"({"l.0": [1, 1, 1]})", "'l.0': expected a list of 4 numbers, found 3"},
        {R"({"l.0": [1, 1, "1", 1]})", "expected a list of 4 numbers"},
        {R"({"l.0": {"a": 1}})", "expected a list of 4 numbers"},
        {R"({"l.0": [1, -1, 1, 1]})", "expected numbers from 0 on, found -1"},
        {R"({"l.0": [1, 0, 0, 0]})", "expected at least 2 experts that were chosen, found 1"},
        {R"({"l.0": [1e308, 1e308, 1e308, 1e308]})", "'l.0'"},
    };
    for (const auto& [json, says] : cases) {
        const auto routing = read(json);
        ASSERT_FALSE(routing) << json;
        EXPECT_EQ(routing.error().code, ErrorCode::usage);
        EXPECT_THAT(routing.error().message, HasSubstr(says));
    }
    EXPECT_THAT(read_routing_file("/nonexistent/file", two_layers()).error().message, HasSubstr("--routing"));
    EXPECT_FALSE(read(std::string(1'000'000, '[')));
}

}  // namespace
}  // namespace nibble::cli
