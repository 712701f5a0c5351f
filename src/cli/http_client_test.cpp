// URLs are read strictly, events are found however the bytes are cut.
#include "cli/http_client.h"

#include "cli/json_document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace nibble::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Url, TakesHostPortAndPrefix) {
    const auto url = parse_url("http://127.0.0.1:8000/v1/");
    ASSERT_TRUE(url);
    EXPECT_EQ(url->host, "127.0.0.1");
    EXPECT_EQ(url->port, "8000");
    EXPECT_EQ(url->path, "");
    EXPECT_EQ(parse_url("http://box")->port, "80");
    EXPECT_EQ(parse_url("http://box/a/b/v1")->path, "/a/b");
    EXPECT_EQ(parse_url("http://[::1]:81")->host, "::1");
    EXPECT_EQ(parse_url("http://[::1]:81")->port, "81");
}

TEST(Url, SaysWhatIsWrong) {
    EXPECT_THAT(parse_url("https://box").error().message, HasSubstr("https"));
    for (const char* text : {"", "box:80", "ftp://box", "http://", "http://:80", "http://box:0", "http://box:65536",
                             "http://box:eighty", "http://box:", "http://[::1", "http://a b", "http://box/?q=1",
                             "http://me:secret@box", "http://box\r\nHost: other"})
        EXPECT_FALSE(parse_url(text)) << text;
}

std::vector<std::string> events_of(std::string_view bytes, size_t cut) {
    EventReader reader;
    std::vector<std::string> events;
    for (size_t at = 0; at < bytes.size(); at += cut)
        EXPECT_TRUE(reader.push(bytes.substr(at, cut), [&](std::string_view data) {
            events.emplace_back(data);
            return true;
        }));
    return events;
}

TEST(EventReader, FindsEventsHoweverTheyAreCut) {
    const std::string_view stream =
        ": keep-alive\n\ndata: {\"a\": 1}\n\ndata: two\ndata:  lines\n\nevent: x\r\ndata:bare\r\n\r\ndata: [DONE]\n\n"
        "data: without an end";
    for (size_t cut = 1; cut <= stream.size(); ++cut)
        EXPECT_THAT(events_of(stream, cut), ElementsAre("{\"a\": 1}", "two\n lines", "bare", "[DONE]")) << cut;
}

TEST(EventReader, EndsWhenItIsTold) {
    EventReader reader;
    int seen = 0;
    EXPECT_FALSE(reader.push("data: 1\n\ndata: 2\n\n", [&](std::string_view) { return ++seen < 1; }));
    EXPECT_EQ(seen, 1);
}

TEST(JsonDocument, IsBoundedInDepthAndDiscardedWhenItIsNone) {
    const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    EXPECT_TRUE(parse_document(nested(60)).is_array());
    EXPECT_TRUE(parse_document(nested(100)).is_discarded());
    EXPECT_TRUE(parse_document(nested(1'000'000)).is_discarded());
    EXPECT_TRUE(parse_document(std::string(1'000'000, '[')).is_discarded());
    EXPECT_TRUE(parse_document("{\"a\": 1").is_discarded());
    EXPECT_TRUE(parse_document("").is_discarded());
    EXPECT_EQ(parse_document("{\"a\": [1, {\"b\": 2}]}").dump(), "{\"a\":[1,{\"b\":2}]}");
}

TEST(HttpExchange, ASilentPortIsAnErrorThatNamesIt) {
    const auto answer = http_exchange(*parse_url("http://127.0.0.1:1"), {.method = "GET", .target = "/"});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, ErrorCode::peer_failed);
    EXPECT_THAT(answer.error().message, HasSubstr("127.0.0.1:1"));
}

}  // namespace
}  // namespace nibble::cli
