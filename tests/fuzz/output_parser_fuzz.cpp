// Any text as a model's answer, in any format: pieces give what the whole gives, every call ends, and the arguments of
// a call are JSON. The first two bytes choose the format and the pieces.
#include "text/output_parser.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace nibble::text;

const Value& tools() {
    static const Value value = *parse_json(
        R"([{"function": {"name": "f", "parameters": {"properties": {"s": {"type": "string"}, "i": {"type": "integer"},
        "n": {"type": ["number", "null"]}, "b": {"type": "boolean"}, "o": {"type": "object"}, "u": {"anyOf": [{"type": "string"}, {"type": "array"}]}}}}}])");
    return value;
}

struct Answer {
    std::string reasoning, content, calls;
    std::string arguments;  // of the call that is open
    bool open = false, broken = false;

    void add(const std::vector<OutputDelta>& deltas, bool valid) {
        for (const OutputDelta& d : deltas) {
            switch (d.kind) {
                case OutputDelta::Kind::reasoning:
                    reasoning += d.text;
                    break;
                case OutputDelta::Kind::content:
                    content += d.text;
                    break;
                case OutputDelta::Kind::tool_start:
                    if (open) std::abort();
                    open = true;
                    arguments.clear();
                    calls += d.name + d.id;
                    break;
                case OutputDelta::Kind::tool_arguments:
                    if (!open) std::abort();
                    arguments += d.text;
                    break;
                case OutputDelta::Kind::tool_end:
                    if (!open || (valid && !parse_json(arguments, 200))) std::abort();
                    open = false;
                    calls += arguments;
                    break;
            }
        }
    }
};

Answer parse(const OutputParserOptions& options, std::string_view text, size_t piece, bool valid) {
    OutputParser parser(options);
    std::vector<OutputDelta> deltas;
    for (size_t at = 0; at < text.size(); at += piece) parser.push(text.substr(at, piece), deltas);
    parser.finish(deltas);
    Answer answer;
    answer.add(deltas, valid);
    if (answer.open) std::abort();
    return answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    const OutputParserOptions options{
        .format = {static_cast<ReasoningFormat>(data[0] % 3), static_cast<ToolFormat>(data[0] / 3 % 4)},
        .starts_in_reasoning = (data[0] & 64) != 0,
        .thinking_disabled = (data[0] & 128) != 0,
        .tools = tools(),
        .id_seed = 1};
    const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
    // Arguments hold the text's bytes: they are JSON when those are UTF-8.
    std::string quoted;
    append_json_string(quoted, text);
    const bool valid = parse_json(quoted).has_value();
    const Answer whole = parse(options, text, text.size() + 1, valid);
    const Answer pieces = parse(options, text, 1 + data[1] % 16, valid);
    if (whole.reasoning != pieces.reasoning || whole.content != pieces.content || whole.calls != pieces.calls)
        std::abort();
    return 0;
}
