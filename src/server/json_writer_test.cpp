#include "server/json_writer.h"

#include "text/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace nibble::server {
namespace {

TEST(JsonWriter, CommasComeByThemselves) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().string("a", "x").key("b").begin_array().integer(1).null().begin_object().end_object();
    json.begin_array().end_array().boolean(true).end_array().number("c", 0.5).end_object();
    EXPECT_EQ(out, R"({"a":"x","b":[1,null,{},[],true],"c":0.5})");
}

TEST(JsonWriter, EveryByteOfAStringComesBack) {
    std::string text;
    for (int c = 0; c < 128; ++c) text += static_cast<char>(c);
    text += "\u00e9\u4e2d\U0001F600";
    std::string out;
    JsonWriter(out).string(text);
    const auto value = text::parse_json(out);
    ASSERT_TRUE(value) << out;
    EXPECT_EQ(value->as_string(), text);
}

TEST(JsonWriter, WhatJsonCannotSayHasASubstitute) {
    std::string out;
    JsonWriter json(out);
    json.begin_array().number(std::nan("")).number(1e300).logprob(-std::numeric_limits<float>::infinity());
    json.logprob(-0.25f).end_array();
    EXPECT_EQ(out, "[null,1e+300,-9999.0,-0.25]");
}

}  // namespace
}  // namespace nibble::server
