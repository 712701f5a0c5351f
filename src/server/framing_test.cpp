#include "server/framing.h"

#include <gtest/gtest.h>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <random>
#include <string>
#include <vector>

namespace nibble::server {
namespace {

// Scan and parse as a connection does; the whole text at once.
std::variant<RequestHead, Refusal> take(const std::string& text, const HeadLimits& limits = {}) {
    HeadScanner scanner(limits);
    switch (scanner.scan(text)) {
        case HeadScanner::State::more:
            return Refusal{0, "more"};
        case HeadScanner::State::refused:
            return scanner.refusal();
        case HeadScanner::State::complete:
            break;
    }
    return parse_head(std::string_view(text).substr(scanner.head_begin(), scanner.head_end() - scanner.head_begin()),
                      limits);
}

int status_of(const std::string& text) {
    const auto result = take(text);
    const Refusal* refusal = std::get_if<Refusal>(&result);
    return refusal ? refusal->status : 200;
}

RequestHead head_of(const std::string& text) {
    auto result = take(text);
    EXPECT_TRUE(std::holds_alternative<RequestHead>(result)) << text;
    return std::holds_alternative<RequestHead>(result) ? std::get<RequestHead>(std::move(result)) : RequestHead{};
}

std::string with(const std::string& fields) {
    return "POST /a HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}

TEST(Framing, APlainRequestIsTakenApart) {
    const RequestHead head = head_of(
        "POST /v1/x?a=b&c HTTP/1.1\r\nHost: localhost:8000\r\nContent-Length: 12\r\nX-One:  two words \t\r\n\r\n");
    EXPECT_EQ(head.method, Method::post);
    EXPECT_EQ(head.path, "/v1/x");
    EXPECT_EQ(head.query, "a=b&c");
    EXPECT_EQ(head.minor_version, 1);
    EXPECT_TRUE(head.keep_alive);
    EXPECT_EQ(head.content_length, 12u);
    EXPECT_EQ(head.field("x-one"), "two words");
    EXPECT_FALSE(head.has("x-two"));
}

TEST(Framing, WhatTwoParsersCouldReadInTwoWaysIsRefused) {
    const std::vector<std::string> bad = {
        // both lengths, doubled lengths, lengths that are no decimal number
        with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        with("Content-Length: 5\r\nContent-Length: 5\r\n"),
        with("Content-Length: 5\r\nContent-Length: 6\r\n"),
        with("Content-Length: 5, 5\r\n"),
        with("Content-Length: 5,6\r\n"),
        with("Content-Length: +5\r\n"),
        with("Content-Length: -5\r\n"),
        with("Content-Length: 0x5\r\n"),
        with("Content-Length: 5 5\r\n"),
        with("Content-Length: 5a\r\n"),
        with("Content-Length: 5.0\r\n"),
        with("Content-Length: 1e3\r\n"),
        with("Content-Length: \r\n"),
        with("Content-Length: \"5\"\r\n"),
        with("Content-Length: 99999999999999999999999\r\n"),
        with("Content-Length: 18446744073709551621\r\n"),
        // codings that are not exactly chunked
        with("Transfer-Encoding: gzip\r\n"),
        with("Transfer-Encoding: gzip, chunked\r\n"),
        with("Transfer-Encoding: chunked, gzip\r\n"),
        with("Transfer-Encoding: chunked, chunked\r\n"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        with("Transfer-Encoding: identity\r\n"),
        with("Transfer-Encoding: xchunked\r\n"),
        with("Transfer-Encoding: chunkedx\r\n"),
        with("Transfer-Encoding: \"chunked\"\r\n"),
        with("Transfer-Encoding: chunked;q=1\r\n"),
        with("Transfer-Encoding:\r\n"),
        with("Transfer-Encoding: \x0b"
             "chunked\r\n"),
        // field syntax
        with("Transfer-Encoding : chunked\r\n"),
        with(" Transfer-Encoding: chunked\r\n"),
        with("X: a\r\n b\r\n"),
        with("X: a\r\n\tb\r\n"),
        with("X\r\n"),
        with(": x\r\n"),
        with("X Y: z\r\n"),
        with("X\tY: z\r\n"),
        with("X(Y): z\r\n"),
        with("X\xc3\xa9: z\r\n"),
        with(std::string("X: a\0b\r\n", 8)),
        with("X: a\x7f\r\n"),
        with("X: a\x01\r\n"),
        with("X: a\rb\r\n"),
        with("X: a\n"),
        with("X: a\nY: b\r\n"),
        with("X: a\r\r\n"),
        with("Authorization: a\r\nAuthorization: b\r\n"),
        with("Content-Type: a\r\nContent-Type: b\r\n"),
        with("Connection: a b\r\n"),
        // the request line
        "POST /a HTTP/1.1\nHost: x\n\n",
        "POST /a HTTP/1.1\rHost: x\r\r",
        "POST  /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a  HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST\t/a HTTP/1.1\r\nHost: x\r\n\r\n",
        " POST /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a HTTP/1.1 \r\nHost: x\r\n\r\n",
        "POST /a\r\nHost: x\r\n\r\n",
        "POST /a http/1.1\r\nHost: x\r\n\r\n",
        "POST /a HTTP/1,1\r\nHost: x\r\n\r\n",
        "POST /a HTTP/11\r\nHost: x\r\n\r\n",
        "POST /a HTTP/1.10\r\nHost: x\r\n\r\n",
        "PO ST /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "PO(ST /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "/a HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\nPOST /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "\x16\x03\x01\x02",
        // targets
        "POST http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST https://y/a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST ?a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST * HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a\\b HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
        // hosts
        "POST /a HTTP/1.1\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost:\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a b\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: [::g]\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: []\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a%41\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a?b\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: \\a\r\n\r\n",
        // HTTP/1.0
        "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    for (const std::string& text : bad) EXPECT_EQ(status_of(text), 400) << text;
    EXPECT_GE(bad.size(), 80u);
}

TEST(Framing, OtherRefusalsSayWhich) {
    EXPECT_EQ(status_of("GET /a HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
    EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\n"), 505);
    EXPECT_EQ(status_of("GET /a HTTP/1.2\r\nHost: x\r\n\r\n"), 505);
    EXPECT_EQ(status_of("GET /a HTTP/0.9\r\nHost: x\r\n\r\n"), 505);
    EXPECT_EQ(status_of(with("Expect: 200-ok\r\n")), 417);
    EXPECT_EQ(status_of("GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n"), 414);
    EXPECT_EQ(status_of(with("X: " + std::string(40'000, 'a') + "\r\n")), 431);
    std::string many;
    for (int i = 0; i < 120; ++i) many += "X" + std::to_string(i) + ": y\r\n";
    EXPECT_EQ(status_of(with(many)), 431);
    EXPECT_EQ(status_of("GET /" + std::string(33'000, 'a')), 431);  // before it is complete
}

TEST(Framing, WhatIsUnusualAndClearIsTaken) {
    EXPECT_EQ(head_of("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::get);
    EXPECT_EQ(head_of("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").path, "*");
    EXPECT_EQ(head_of("BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::other);
    EXPECT_TRUE(head_of(with("transfer-ENCODING: CHUNKED\r\n")).chunked);
    EXPECT_EQ(head_of(with("Content-Length: 007\r\n")).content_length, 7u);
    EXPECT_FALSE(head_of("GET / HTTP/1.0\r\n\r\n").keep_alive);
    EXPECT_TRUE(head_of("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
    EXPECT_FALSE(head_of(with("Connection: x-custom, close\r\n")).keep_alive);
    EXPECT_FALSE(head_of(with("Connection: x\r\nConnection: close\r\n")).keep_alive);
    EXPECT_TRUE(head_of(with("Expect: 100-Continue\r\n")).expect_continue);
    EXPECT_EQ(head_of(with("X:\r\n")).field("x"), "");
    EXPECT_EQ(head_of(with("X: caf\xc3\xa9\r\n")).field("x"), "caf\xc3\xa9");
    EXPECT_EQ(head_of("GET /%2e%2e//x HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n").path, "/%2e%2e//x");
}

TEST(Framing, HowTheBytesArriveMakesNoDifference) {
    const std::string text = with("Content-Length: 5\r\nX: y\r\n");
    for (size_t cut = 0; cut <= text.size(); ++cut) {
        HeadScanner scanner{HeadLimits{}};
        const auto first = scanner.scan(std::string_view(text).substr(0, cut));
        EXPECT_EQ(first, cut == text.size() ? HeadScanner::State::complete : HeadScanner::State::more);
        if (cut < text.size()) {
            EXPECT_EQ(scanner.scan(text), HeadScanner::State::complete);
        }
        EXPECT_EQ(scanner.head_end(), text.size());
    }
}

TEST(Framing, ABadByteIsSeenBeforeTheHeadIsComplete) {
    for (const std::string text : {"GET / HTTP/1.1\n", "\x16\x03\x01", "GET / HTTP/1.1\r\nHost: x\r\n y", "GET /\r/"}) {
        HeadScanner scanner{HeadLimits{}};
        EXPECT_EQ(scanner.scan(text), HeadScanner::State::refused) << text;
    }
}

// Another parser, more lenient than ours: what we take it must take too, and read the same in it.
TEST(Framing, WhatIsTakenBeastReadsTheSame) {
    namespace http = boost::beast::http;
    const std::vector<std::string> seeds = {
        with("Content-Length: 5\r\nX: y\r\nContent-Type: application/json\r\n"),
        with("Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n"),
        "GET /v1/models?x=1 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    };
    const std::string alphabet = "\r\n :,;\t0123456789abcdefxGET/HP1.\x7f\xff\"+-";
    std::mt19937_64 random(7);
    int taken = 0;
    for (int round = 0; round < 200'000; ++round) {
        std::string text = seeds[random() % seeds.size()];
        for (uint64_t change = random() % 4; change > 0; --change) {
            const size_t at = random() % text.size();
            switch (random() % 4) {
                case 0:
                    text[at] = alphabet[random() % alphabet.size()];
                    break;
                case 1:
                    text.insert(at, 1, alphabet[random() % alphabet.size()]);
                    break;
                case 2:
                    text.erase(at, 1 + random() % 3);
                    break;
                case 3:
                    text.insert(at, seeds[random() % seeds.size()].substr(0, random() % 40));
                    break;
            }
            if (text.empty()) text = "x";
        }
        const auto result = take(text);
        const RequestHead* ours = std::get_if<RequestHead>(&result);
        if (!ours) continue;
        ++taken;
        HeadScanner scanner{HeadLimits{}};
        scanner.scan(text);
        http::request_parser<http::string_body> theirs;
        theirs.header_limit(64 * 1024);
        theirs.body_limit(boost::none);
        boost::system::error_code error;
        theirs.put(boost::asio::buffer(text.data() + scanner.head_begin(), scanner.head_end() - scanner.head_begin()),
                   error);
        ASSERT_TRUE(!error || error == http::error::need_more) << error.message() << "\n" << text;
        ASSERT_TRUE(theirs.is_header_done()) << text;
        const auto& message = theirs.get();
        const std::string target(message.target());
        const size_t question = target.find('?');
        ASSERT_EQ(target.substr(0, question), ours->path) << text;
        ASSERT_EQ(question == std::string::npos ? "" : target.substr(question + 1), ours->query) << text;
        ASSERT_EQ(theirs.chunked(), ours->chunked) << text;
        ASSERT_EQ(theirs.content_length().has_value(), ours->content_length.has_value()) << text;
        if (ours->content_length) {
            ASSERT_EQ(theirs.content_length().value(), *ours->content_length) << text;
        }
        ASSERT_EQ(static_cast<size_t>(std::distance(message.begin(), message.end())), ours->fields.size()) << text;
        for (const auto& [name, value] : ours->fields) {
            ASSERT_NE(message.find(name), message.end()) << text;
        }
    }
    EXPECT_GT(taken, 10'000);
}

TEST(Framing, HostsAreNamesOrAddresses) {
    EXPECT_EQ(host_of_authority("LocalHost:80"), "localhost");
    EXPECT_EQ(host_of_authority("[::1]:8000"), "[::1]");
    EXPECT_EQ(host_of_authority("x:"), "x");
    EXPECT_FALSE(host_of_authority(":80"));
    for (const char* host : {"localhost", "a.localhost", "127.0.0.1", "127.9.8.7", "[::1]"})
        EXPECT_TRUE(is_loopback_host(host)) << host;
    for (const char* host :
         {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "127.0.0.256", "0.0.0.0",
          "128.0.0.1", "127.0.0.1.", "xlocalhost", "[::]", "[::ffff:127.0.0.1]", "0177.0.0.1"})
        EXPECT_FALSE(is_loopback_host(host)) << host;
}

TEST(Framing, PercentDecodingIsStrictAndDoneOnce) {
    EXPECT_EQ(percent_decode("a%2Fb"), "a/b");
    EXPECT_EQ(percent_decode("a%252F"), "a%2F");
    EXPECT_FALSE(percent_decode("a%2"));
    EXPECT_FALSE(percent_decode("a%zz"));
    EXPECT_FALSE(percent_decode("a%00"));
}

}  // namespace
}  // namespace nibble::server
