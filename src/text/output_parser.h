// OutputParser: the model's text, as it streams, to reasoning, content and tool calls.
//
// One incremental machine serves streamed and whole answers: feeding the same text in any pieces gives the same
// concatenated result (tested over all split points). Linear in the text. One per sequence, one thread.
// Formats: docs/templates.md; sources: vLLM's nemotron_v3, qwen3, deepseek_r1, qwen3_coder and hermes parsers'
// behaviour.
//
// Nothing is lost: what looks like a tool call and is none stays text. What goes are the markers themselves and the
// newlines at their seams: before and behind </think>, and white space before a tool call and between two.
#pragma once

#include "base/result.h"
#include "text/value.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::text {

enum class ReasoningFormat {
    none,
    think_tags,  // <think>…</think> (Nemotron, Qwen, DeepSeek style)
    gemma4,      // <|channel>thought\n…<channel|>
};
enum class ToolFormat {
    none,
    qwen3_coder,  // <tool_call><function=NAME><parameter=KEY>…  (Nemotron 3, Qwen 3.5/3.6)
    hermes,       // <tool_call>{"name": …, "arguments": {…}}</tool_call>
    gemma4,       // <|tool_call>call:NAME{…}<tool_call|>
};

struct OutputFormat {
    ReasoningFormat reasoning = ReasoningFormat::none;
    ToolFormat tools = ToolFormat::none;
};

// What the checkpoint's chat template writes is what its model answers in.
OutputFormat detect_output_format(std::string_view chat_template_source);
Result<ReasoningFormat> reasoning_format(std::string_view name);  // --reasoning-parser: none, nemotron_v3, qwen3, …
Result<ToolFormat> tool_format(std::string_view name);            // --tool-call-parser: none, qwen3_coder, hermes, …

// One thing that became certain. Several may come from one push.
struct OutputDelta {
    enum class Kind { reasoning, content, tool_start, tool_arguments, tool_end } kind;
    std::string text;    // reasoning, content: the text; tool_arguments: the next piece of the arguments' JSON text
    int tool_index = 0;  // tool_*: 0, 1, …
    std::string name;    // tool_start
    std::string id;      // tool_start: "call_" + 24 hex digits
};

struct OutputParserOptions {
    OutputFormat format;
    bool starts_in_reasoning = false;  // the prompt ended inside an open <think>
    bool thinking_disabled = false;  // the request switched it off: text without a close tag is content, and reasoning
                                     // is held back until its close tag
    Value tools;                     // the request's tools: schemas type the arguments. None: tool calls are not parsed
    uint64_t id_seed = 0;            // for the ids of tool calls
};

class OutputParser {
public:
    explicit OutputParser(OutputParserOptions options);
    ~OutputParser();
    OutputParser(OutputParser&&) noexcept;
    void push(std::string_view text, std::vector<OutputDelta>& out);
    void finish(std::vector<OutputDelta>& out);  // the end of the text: flushes what was held back
    int tool_calls() const;                      // begun so far

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace nibble::text
