// The head of an HTTP request on any bytes: the same verdict however they arrive, and what is taken another parser
// (Beast's, more lenient) takes too and reads the same.
#include "server/framing.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

using namespace nibble::server;

void must(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::abort();
}

void compare_with_beast(std::string_view bytes, const RequestHead& head) {
    boost::beast::http::request_parser<boost::beast::http::string_body> parser;
    parser.header_limit(1 << 20);
    parser.body_limit(boost::none);
    boost::system::error_code error;
    parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
    must(!error || error == boost::beast::http::error::need_more, "Beast takes it");
    must(parser.is_header_done(), "Beast sees its end");
    const auto target = parser.get().target();
    const size_t question = target.find('?');
    must(head.path == std::string_view(target.data(), std::min(question, target.size())), "the path is the same");
    must(parser.chunked() == head.chunked, "the coding is the same");
    must(parser.content_length().has_value() == head.content_length.has_value(), "both see a length");
    must(!head.content_length || *parser.content_length() == *head.content_length, "the length is the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const HeadLimits limits;
    HeadScanner whole(limits), slow(limits);
    const HeadScanner::State state = whole.scan(text);
    HeadScanner::State other = HeadScanner::State::more;
    for (size_t end = 1; end <= size && other == HeadScanner::State::more; ++end)
        other = slow.scan(text.substr(0, end));
    must(state == other, "the verdict does not depend on how the bytes arrive");
    if (state != HeadScanner::State::complete) return 0;
    must(whole.head_begin() == slow.head_begin() && whole.head_end() == slow.head_end(), "nor does the head's place");
    must(whole.head_end() <= size && whole.head_begin() < whole.head_end(), "the head lies inside");
    const std::string_view bytes = text.substr(whole.head_begin(), whole.head_end() - whole.head_begin());
    const auto parsed = parse_head(bytes, limits);
    if (const RequestHead* head = std::get_if<RequestHead>(&parsed)) {
        compare_with_beast(bytes, *head);
        (void)percent_decode(head->path);
        if (const auto host = host_of_authority(head->field("host"))) (void)is_loopback_host(*host);
    }
    return 0;
}
