#include "checkpoint/config.h"

#include "base/temporary_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace nibble::checkpoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Config parsed(std::string_view json) {
    auto config = Config::parse(json, "config.json");
    EXPECT_TRUE(config) << config.error().message;
    return *std::move(config);
}

template <class T>
std::string message(const Result<T>& result) {
    return result ? "no error" : result.error().message;
}

TEST(Config, GivesFieldsByDottedName) {
    const Config config = parsed(R"({"a":{"b":{"n":3,"x":2.5,"s":"t","yes":true,"no":null}},"n":-1})");
    EXPECT_EQ(*config.require_int("a.b.n", 0, 10), 3);
    EXPECT_EQ(*config.require_number("a.b.n"), 3.0);
    EXPECT_EQ(*config.require_number("a.b.x"), 2.5);
    EXPECT_EQ(*config.require_string("a.b.s"), "t");
    EXPECT_EQ(*config.optional_bool("a.b.yes"), true);
    EXPECT_EQ(*config.optional_bool("a.b.no"), std::nullopt);
    EXPECT_FALSE(config.has("a.b.no"));
    EXPECT_FALSE(config.has("a.b.n.more"));
    EXPECT_TRUE(config.has("a"));
    EXPECT_THAT(config.keys(), ElementsAre("a", "n"));
    EXPECT_THAT(config.keys("a.b"), ElementsAre("n", "x", "s", "yes", "no"));
    EXPECT_THAT(config.keys("n"), IsEmpty());
}

TEST(Config, ErrorsNameFileFieldExpectedAndFound) {
    const Config config = parsed(R"({"text_config":{"n":"many","x":1.5,"l":[1,"a"],"o":{}}})");
    EXPECT_EQ(message(config.require_int("text_config.n", 1, 5)),
              "config.json: text_config.n: expected an integer from 1 to 5, found 'many'");
    EXPECT_EQ(message(config.require_int("text_config.x", 1, 5)),
              "config.json: text_config.x: expected an integer from 1 to 5, found 1.5");
    EXPECT_EQ(message(config.require_int("hidden_size", 1, 5)),
              "config.json: hidden_size: expected an integer from 1 to 5, found nothing");
    EXPECT_EQ(message(config.require_number("text_config.o")),
              "config.json: text_config.o: expected a number, found an object");
    EXPECT_EQ(message(config.optional_bool("text_config.x")),
              "config.json: text_config.x: expected true or false, found 1.5");
    EXPECT_EQ(message(config.string_list("text_config.l")),
              "config.json: text_config.l: expected a list of strings alone, found a list of 2");
    EXPECT_EQ(message(config.section("text_config.x")), "config.json: text_config.x: expected an object, found 1.5");
    const auto section = config.section("text_config");
    EXPECT_EQ(message(section->require_string("x")), "config.json: text_config.x: expected a string, found 1.5");
    EXPECT_EQ(section->require_string("x").error().param, "text_config.x");
}

TEST(Config, AcceptsTheNumbersThatPythonWrites) {
    const Config config = parsed(
        R"({"limit":[0.0,Infinity],"low":-Infinity,"none":NaN,"text":"NaN, Infinity and \"-Infinity\"","tagged":{"__float__":"Infinity"}})");
    const auto limit = config.number_list("limit");
    ASSERT_TRUE(limit);
    EXPECT_THAT(*limit, ElementsAre(0.0, std::numeric_limits<double>::infinity()));
    EXPECT_EQ(*config.require_number("low"), -std::numeric_limits<double>::infinity());
    EXPECT_TRUE(std::isnan(*config.require_number("none")));
    EXPECT_EQ(*config.require_string("text"), "NaN, Infinity and \"-Infinity\"");
    EXPECT_EQ(*config.require_number("tagged"), std::numeric_limits<double>::infinity());
    EXPECT_FALSE(Config::parse(R"({"a":nan})", "c"));
    EXPECT_FALSE(Config::parse(R"({"a":NaNN})", "c"));
    EXPECT_FALSE(Config::parse(R"({"a":--Infinity})", "c"));
    EXPECT_FALSE(Config::parse(R"({NaN:1})", "c"));
}

TEST(Config, AbsentAndNullListsAndSectionsAreEmpty) {
    const Config config = parsed(R"({"eos":[2,11],"one":2,"null":null,"names":["a","b"]})");
    EXPECT_THAT(*config.int_or_list("eos"), ElementsAre(2, 11));
    EXPECT_THAT(*config.int_or_list("one"), ElementsAre(2));
    EXPECT_THAT(*config.int_or_list("null"), IsEmpty());
    EXPECT_THAT(*config.string_list("names"), ElementsAre("a", "b"));
    EXPECT_THAT(*config.string_list("absent"), IsEmpty());
    const auto section = config.section("absent");
    ASSERT_TRUE(section);
    EXPECT_FALSE(section->has("x"));
    EXPECT_THAT(section->keys(), IsEmpty());
    EXPECT_EQ(message(section->require_int("x", 0, 1)),
              "config.json: absent.x: expected an integer from 0 to 1, found nothing");
}

TEST(Config, IntegersKeepTheirRange) {
    const Config config =
        parsed(R"({"max":9223372036854775807,"min":-9223372036854775808,"big":18446744073709551615})");
    EXPECT_EQ(*config.require_int("max", 0, INT64_MAX), INT64_MAX);
    EXPECT_EQ(*config.require_int("min", INT64_MIN, 0), INT64_MIN);
    EXPECT_FALSE(config.require_int("big", INT64_MIN, INT64_MAX));
    EXPECT_EQ(*config.require_number("big"), 18446744073709551615.0);
}

TEST(Config, MembersKeepNamesThatHoldDots) {
    const Config config = parsed(R"({"layers":{"m.0.a":{"algo":"FP8"},"m.0.b":{"algo":1}}})");
    const auto members = config.members("layers");
    ASSERT_EQ(members.size(), 2u);
    EXPECT_EQ(members[0].first, "m.0.a");
    EXPECT_EQ(*members[0].second.require_string("algo"), "FP8");
    EXPECT_EQ(message(members[1].second.require_string("algo")),
              "config.json: layers.m.0.b.algo: expected a string, found 1");
    EXPECT_FALSE(config.string_map("layers"));
    EXPECT_THAT(*parsed(R"({"m":{"a.b":"c"}})").string_map("m"), ElementsAre(testing::Pair("a.b", "c")));
}

TEST(Config, ItemsOfAListAreConfigs) {
    const Config config = parsed(R"({"tokens":[{"id":1},{"id":"x"}]})");
    const auto items = config.items("tokens");
    ASSERT_EQ(items.size(), 2u);
    EXPECT_EQ(*items[0].require_int("id", 0, 9), 1);
    EXPECT_THAT(message(items[1].require_int("id", 0, 9)), HasSubstr("tokens[1].id"));
}

TEST(Config, HasLimits) {
    std::string deep = "1";
    for (int i = 0; i < 62; ++i) deep = "[" + deep + "]";
    EXPECT_TRUE(Config::parse(R"({"a":)" + deep + "}", "c"));
    EXPECT_FALSE(Config::parse(R"({"a":[[)" + deep + "]]}", "c"));
    deep = std::string(100'000, '[') + std::string(100'000, ']');
    EXPECT_FALSE(Config::parse(R"({"a":)" + deep + "}", "c"));
    std::string wide = "[0";
    wide.reserve(9'000'000);
    for (int i = 0; i < 4'300'000; ++i) wide += ",0";
    EXPECT_THAT(message(Config::parse(R"({"a":)" + wide + "]}", "c")), HasSubstr("more than 4194304 values"));
    EXPECT_THAT(message(Config::parse(std::string((64 << 20) + 1, ' '), "c")), HasSubstr("expected at most"));
}

TEST(Config, HostileTextInErrorsIsMadeSafe) {
    const Config config = parsed(R"({"a":"\u001b[2J\nnext"})");
    EXPECT_EQ(message(config.require_int("a", 0, 1)),
              "config.json: a: expected an integer from 0 to 1, found '\\x1b[2J\\x0anext'");
}

}  // namespace
}  // namespace nibble::checkpoint
