#include "text/output_parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace nibble::text {
namespace {

using Kind = OutputDelta::Kind;

struct Call {
    std::string name, arguments;
    bool ended = false;
    bool operator==(const Call&) const = default;
};

struct Answer {
    std::string reasoning, content;
    std::vector<Call> calls;
    bool operator==(const Answer&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Answer& a) {
    out << "reasoning [" << a.reasoning << "] content [" << a.content << "]";
    for (const Call& c : a.calls) out << " call " << c.name << " [" << c.arguments << "]" << (c.ended ? "" : " open");
    return out;
}

void add(Answer& answer, const std::vector<OutputDelta>& deltas) {
    for (const OutputDelta& d : deltas) {
        switch (d.kind) {
            case Kind::reasoning:
                answer.reasoning += d.text;
                break;
            case Kind::content:
                answer.content += d.text;
                break;
            case Kind::tool_start:
                EXPECT_EQ(d.tool_index, static_cast<int>(answer.calls.size()));
                EXPECT_EQ(d.id.size(), 29u);
                answer.calls.push_back({.name = d.name, .arguments = {}});
                break;
            case Kind::tool_arguments:
                ASSERT_EQ(d.tool_index + 1, static_cast<int>(answer.calls.size()));
                EXPECT_FALSE(answer.calls.back().ended);
                answer.calls.back().arguments += d.text;
                break;
            case Kind::tool_end:
                ASSERT_EQ(d.tool_index + 1, static_cast<int>(answer.calls.size()));
                answer.calls.back().ended = true;
                break;
        }
    }
}

Value tools() {
    return *parse_json(
        R"([{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "ratio": {"type": "number"}, "fast": {"type": "boolean"},
        "opts": {"type": "object"}, "list": {"type": "array"}, "maybe": {"type": ["string", "null"]},
        "any": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}}}},
        {"type": "function", "function": {"name": "f"}}])");
}

OutputParserOptions options(ReasoningFormat reasoning, ToolFormat format, bool open = false, bool disabled = false) {
    return {.format = {reasoning, format},
            .starts_in_reasoning = open,
            .thinking_disabled = disabled,
            .tools = tools(),
            .id_seed = 7};
}

Answer parse(const OutputParserOptions& options, const std::vector<std::string_view>& pieces) {
    OutputParser parser(options);
    Answer answer;
    std::vector<OutputDelta> deltas;
    for (std::string_view piece : pieces) {
        deltas.clear();
        parser.push(piece, deltas);
        add(answer, deltas);
    }
    deltas.clear();
    parser.finish(deltas);
    add(answer, deltas);
    EXPECT_EQ(parser.tool_calls(), static_cast<int>(answer.calls.size()));
    return answer;
}

Answer parse(const OutputParserOptions& options, std::string_view text) {
    return parse(options, std::vector<std::string_view>{text});
}

const OutputParserOptions kNemotron = options(ReasoningFormat::think_tags, ToolFormat::qwen3_coder, true);
const OutputParserOptions kQwenOff = options(ReasoningFormat::think_tags, ToolFormat::qwen3_coder, false, true);
const OutputParserOptions kHermes = options(ReasoningFormat::think_tags, ToolFormat::hermes);
const OutputParserOptions kGemma = options(ReasoningFormat::gemma4, ToolFormat::gemma4);

TEST(OutputParser, ReasoningEndsAtItsCloseTagAndTheSeamsGo) {
    EXPECT_EQ(parse(kNemotron, "hm\n\nso\n</think>\n\nThe answer.\n"), (Answer{"hm\n\nso", "The answer.\n", {}}));
    EXPECT_EQ(parse(kNemotron, "hm</think>x"), (Answer{"hm", "x", {}}));
    EXPECT_EQ(parse(kNemotron, "<think>\nhm</think>x"), (Answer{"hm", "x", {}}));
    EXPECT_EQ(parse(kNemotron, "</think>x"), (Answer{"", "x", {}}));
    EXPECT_EQ(parse(kNemotron, "</think><think>\nagain</think>x"), (Answer{"again", "x", {}}));
}

TEST(OutputParser, TextCutOffInsideReasoningIsReasoning) {
    EXPECT_EQ(parse(kNemotron, "I think that"), (Answer{"I think that", "", {}}));
    EXPECT_EQ(parse(kNemotron, "I think\n</thi"), (Answer{"I think\n</thi", "", {}}));
}

TEST(OutputParser, WithThinkingDisabledTextWithoutACloseTagIsContent) {
    const auto open = options(ReasoningFormat::think_tags, ToolFormat::none, true, true);
    EXPECT_EQ(parse(open, "The answer."), (Answer{"", "The answer.", {}}));
    EXPECT_EQ(parse(open, "hm</think>x"), (Answer{"hm", "x", {}}));
    EXPECT_EQ(parse(kQwenOff, "The answer."), (Answer{"", "The answer.", {}}));
    EXPECT_EQ(parse(kQwenOff, "<think>hm</think>\nx"), (Answer{"hm", "x", {}}));
    EXPECT_EQ(parse(kQwenOff, "<think>hm"), (Answer{"", "hm", {}}));
    EXPECT_EQ(parse(kQwenOff, "</think>\n\nx"), (Answer{"", "x", {}}));
}

TEST(OutputParser, TagsInsideContentAreContent) {
    const auto closed = options(ReasoningFormat::think_tags, ToolFormat::qwen3_coder);
    EXPECT_EQ(parse(closed, "Use <think> and </think>."), (Answer{"", "Use <think> and </think>.", {}}));
    EXPECT_EQ(parse(closed, "<think>a</think>b <think>c</think>"), (Answer{"a", "b <think>c</think>", {}}));
    EXPECT_EQ(parse(closed, "a < b <tool"), (Answer{"", "a < b <tool", {}}));
}

TEST(OutputParser, WithoutFormatsEverythingIsContent) {
    const auto none = options(ReasoningFormat::none, ToolFormat::none);
    const std::string text = "<think>a</think>\n<tool_call>\n<function=f>\n</function>\n</tool_call>  ";
    EXPECT_EQ(parse(none, text), (Answer{"", text, {}}));
    auto no_tools = kNemotron;
    no_tools.tools = Value();
    no_tools.starts_in_reasoning = false;
    EXPECT_EQ(parse(no_tools, "x" + text), (Answer{"", "x" + text, {}}));
}

TEST(Qwen3Coder, ArgumentsAreTypedByTheSchema) {
    EXPECT_EQ(
        parse(kNemotron,
              "ok</think>Let me look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nPa\"ris\n</parameter>\n"
              "<parameter=days>\n2\n</parameter>\n<parameter=ratio>\n3.0\n</parameter>\n<parameter=fast>\nTrue\n"
              "</parameter>\n<parameter=opts>\n{'a': [1, True, None]}\n</parameter>\n<parameter=list>\n[1, "
              "{\"b\":2}]\n</parameter>\n"
              "<parameter=maybe>\nNULL\n</parameter>\n<parameter=any>\n7\n</parameter>\n<parameter=other>\n1\n</"
              "parameter>\n"
              "</function>\n</tool_call>"),
        (Answer{"ok",
                "Let me look.",
                {{"get_weather",
                  R"({"city": "Pa\"ris", "days": 2, "ratio": 3, "fast": true, "opts": {"a": [1, true, null]}, )"
                  R"("list": [1, {"b":2}], "maybe": null, "any": 7, "other": "1"})",
                  true}}}));
}

TEST(Qwen3Coder, WhatCannotBeConvertedStaysAString) {
    EXPECT_EQ(parse(kQwenOff,
                    "<tool_call><function=get_weather><parameter=days>two</parameter><parameter=ratio>x</parameter>"
                    "<parameter=opts>{oops}</parameter><parameter=fast>yes</parameter><parameter=any>a "
                    "b</parameter></function></tool_call>"),
              (Answer{"",
                      "",
                      {{"get_weather",
                        R"({"days": "two", "ratio": "x", "opts": "{oops}", "fast": false, "any": "a b"})", true}}}));
}

TEST(Qwen3Coder, NumbersOfAnySizeKeepTheirDigits) {
    EXPECT_EQ(parse(kQwenOff,
                    "<tool_call><function=get_weather><parameter=days>-0012345678901234567890</"
                    "parameter><parameter=ratio>1.50</parameter></function></tool_call>"),
              (Answer{"", "", {{"get_weather", R"({"days": -12345678901234567890, "ratio": 1.5})", true}}}));
}

TEST(Qwen3Coder, ValuesLoseOneNewlineAtEachEnd) {
    EXPECT_EQ(parse(kQwenOff,
                    "<tool_call>\n<function=f>\n<parameter=a>\n\nx\n\n</parameter>\n<parameter=b>\n</"
                    "parameter>\n<parameter=c></parameter>\n"
                    "<parameter=d>y</parameter></function></tool_call>"),
              (Answer{"", "", {{"f", R"({"a": "\nx\n", "b": "", "c": "", "d": "y"})", true}}}));
}

TEST(Qwen3Coder, MissingTagsAreFilledIn) {
    const Answer wanted{"", "", {{"get_weather", R"({"city": "Paris", "days": 2})", true}}};
    EXPECT_EQ(parse(kQwenOff,
                    "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n<parameter=days>\n2\n</function>\n</"
                    "tool_call>"),
              wanted);
    EXPECT_EQ(parse(kQwenOff,
                    "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</"
                    "parameter>\n<parameter=days>\n2\n</tool_call>"),
              wanted);
    EXPECT_EQ(
        parse(kQwenOff,
              "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n"),
        wanted);
    EXPECT_EQ(parse(kQwenOff,
                    "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n</"
                    "parameter>\n</function>\n</tool_call>"),
              wanted);
    EXPECT_EQ(parse(kQwenOff, "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar"),
              (Answer{"", "", {{"get_weather", R"({"city": "Par"})", true}}}));
    EXPECT_EQ(parse(kQwenOff, "<tool_call>\n<function=f>\n"), (Answer{"", "", {{"f", "{}", true}}}));
}

TEST(Qwen3Coder, SeveralCallsAndTextBehindThem) {
    EXPECT_EQ(parse(kQwenOff,
                    "a\n<tool_call>\n<function=f>\n</function>\n</"
                    "tool_call>\n<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n"
                    "</function>\n</tool_call>\n\nb"),
              (Answer{"", "ab", {{"f", "{}", true}, {"f", R"({"x": "1"})", true}}}));
    EXPECT_EQ(parse(kQwenOff, "<tool_call>\n<function=f>\n</function>\n<function=f>\n</function>\n</tool_call>"),
              (Answer{"", "", {{"f", "{}", true}, {"f", "{}", true}}}));
}

TEST(Qwen3Coder, ACallBeforeTheEndOfReasoningEndsIt) {
    EXPECT_EQ(parse(kNemotron, "I call f.\n<tool_call>\n<function=f>\n</function>\n</tool_call>\n</think>\n"),
              (Answer{"I call f.", "", {{"f", "{}", true}}}));
    // Talk of calls is no call: the function must exist.
    EXPECT_EQ(parse(kNemotron, "I use <tool_call>\n<function=NAME> then.</think>x"),
              (Answer{"I use <tool_call>\n<function=NAME> then.", "x", {}}));
}

TEST(Qwen3Coder, WhatIsNoCallStaysText) {
    for (std::string text : {"<tool_call>", "<tool_call>\nnothing", "<tool_call>\n<function=>\n",
                             "<tool_call>\n<function=a\nb>", "<function=unknown>\nx", "<tool_call",
                             "x <tool_call>\n<func", "<tool_call></tool_call>", "<parameter=x>1</parameter>"})
        EXPECT_EQ(parse(kQwenOff, text), (Answer{"", text, {}}));
    EXPECT_EQ(parse(kQwenOff,
                    "<tool_call><function=f> lost <b> words <parameter=x>1</parameter> more </function></tool_call>"),
              (Answer{"", "lost <b> words more", {{"f", R"({"x": "1"})", true}}}));
}

TEST(Hermes, CallsAreRead) {
    EXPECT_EQ(parse(kHermes,
                    "ok\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": "
                    "{\"city\":\"Par\\u00eds\",\"n\":[1,2.50,{}],\"x\":null}}\n</tool_call>\n"
                    "<tool_call>\n{\"arguments\": {}, \"name\": \"f\"}\n</tool_call>"),
              (Answer{"",
                      "ok",
                      {{"get_weather", R"({"city": "Par\u00eds", "n": [1, 2.50, {}], "x": null})", true},
                       {"f", "{}", true}}}));
    EXPECT_EQ(parse(kHermes, R"(<tool_call>{"name": "f", "arguments": "{\"a\": 1}"}</tool_call>)"),
              (Answer{"", "", {{"f", R"({"a": 1})", true}}}));
    EXPECT_EQ(parse(kHermes, R"(<tool_call>{"name": "f"}</tool_call>)"), (Answer{"", "", {{"f", "{}", true}}}));
    EXPECT_EQ(
        parse(kHermes, R"(<tool_call>{"id": [1, {"a": "}"}], "name": "f", "parameters": {"b": True}}</tool_call>)"),
        (Answer{"", "", {{"f", R"({"b": true})", true}}}));
    EXPECT_EQ(parse(kHermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"code\": \"a\nb\\d\"}}</tool_call>"),
              (Answer{"", "", {{"f", R"({"code": "a\nb\\d"})", true}}}));
}

TEST(Hermes, WhatIsNoCallStaysText) {
    for (std::string text : {"<tool_call>{}</tool_call>", "<tool_call>{\"name\": 3}</tool_call>",
                             "<tool_call>{oops</tool_call>", "<tool_call>{\"name\": \"f\"",
                             "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", "<tool_call>\n[]"})
        EXPECT_EQ(parse(kHermes, text), (Answer{"", text, {}}));
    EXPECT_EQ(parse(options(ReasoningFormat::think_tags, ToolFormat::hermes, true),
                    "e.g. <tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>.</think>x"),
              (Answer{"e.g. <tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>.", "x", {}}));
}

TEST(Hermes, ABrokenCallIsClosedAndTheRestIsText) {
    EXPECT_EQ(parse(kHermes, R"(<tool_call>{"name": "f", "arguments": {"a": 1, "b": oops}}</tool_call>)"),
              (Answer{"", "oops}}</tool_call>", {{"f", R"({"a": 1})", true}}}));
    EXPECT_EQ(parse(kHermes, R"(<tool_call>{"name": "f", "arguments": {"a": "cut of)"),
              (Answer{"", "", {{"f", R"({"a": "cut of"})", true}}}));
}

TEST(Hermes, TheXmlFormIsReadTooAndTheOtherWayRound) {
    EXPECT_EQ(parse(kHermes, "<tool_call>\n<function=f>\n</function>\n</tool_call>"),
              (Answer{"", "", {{"f", "{}", true}}}));
    EXPECT_EQ(parse(kQwenOff, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"),
              (Answer{"", "", {{"f", R"({"a": 1})", true}}}));
}

TEST(Gemma4, ReasoningAndCalls) {
    EXPECT_EQ(parse(kGemma, "<|channel>thought\nhm\n<channel|>Hello."), (Answer{"hm", "Hello.", {}}));
    EXPECT_EQ(
        parse(kGemma,
              "<|tool_call>call:get_weather{city:<|\"|>Paris, "
              "{x}<|\"|>,days:2,ratio:-1.5e3,fast:true,none:nil,o:{a:[1,<|\"|>b<|\"|>],e:{}},w:some word,<|\"|>q "
              "k<|\"|>:\"x\\\"y\"}<tool_call|>"),
        (Answer{
            "",
            "",
            {{"get_weather",
              R"({"city": "Paris, {x}", "days": 2, "ratio": -1.5e3, "fast": true, "none": null, "o": {"a": [1, "b"], "e": {}}, "w": "some word", "q k": "x\"y"})",
              true}}}));
    EXPECT_EQ(parse(kGemma, "a<|tool_call>call:f{}<tool_call|><|tool_call>call:f{a:1"),
              (Answer{"", "a", {{"f", "{}", true}, {"f", R"({"a": 1})", true}}}));
}

TEST(Gemma4, WhatIsNoCallStaysText) {
    for (std::string text : {"<|tool_call>", "<|tool_call>call:", "<|tool_call>call:f", "<|tool_call>call:{}",
                             "<|tool_call>f{}", "x <|tool"})
        EXPECT_EQ(parse(kGemma, text), (Answer{"", text, {}}));
    EXPECT_EQ(parse(kGemma, "<|tool_call>call:f{a:1,b}<tool_call|>"),
              (Answer{"", "b}<tool_call|>", {{"f", R"({"a": 1})", true}}}));
}

const std::vector<std::pair<const OutputParserOptions*, std::string>>& corpus() {
    static const std::vector<std::pair<const OutputParserOptions*, std::string>> all = {
        {&kNemotron,
         "hm\n\n<thin</thi\n\n</think>\n\nThe <answer>.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\n\nP "
         "</par <parameter\n\n</parameter>\n<parameter=days>\n "
         "12\n</parameter></function>\n</tool_call>\n\n<tool_call>\n\n"},
        {&kNemotron,
         "<think>\n<think>\nx <tool_call>\n<function=f>\n</fun</function></tool_call></think>\n\nrest "
         "<tool_call>{\"name\": \"f\", \"arguments\": {\"é\": \"ü\\ud83d\\ude00<\"}} </tool_call>"},
        {&kQwenOff,
         "<tool_call>\n<function=f> a < b <parameter=k>1 < 2 && <<</parameter><parameter=k2>\n<b>\n</function> tail "
         "</tool_call> x"},
        {&kQwenOff,
         "<think>a\n\n</think\n</think><tool_call><tool_call>\n<function=get_weather><parameter=maybe>null</"
         "parameter><parameter=opts>\n{\"a\": \"<\"}\n<parameter=list>[1]"},
        {&kHermes, "<tool_call>{\"name\": \"f\", \"arguments\":0{\"s\": 1}}</tool_call>"},
        {&kHermes,
         "a <tool_call> \n{\"name\": \"f\", \"x\": \"\\\"}\", \"arguments\": {\"a\": [1, -2.5e3, \"\\n\\u00e9<\"], "
         "\"b\": {}, \"c\": tru}} more"},
        {&kHermes,
         "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}\n</tool_call>\n\n <tool_call>{\"name\": \"f\" "
         "]</tool_call>  "},
        {&kGemma,
         "<|channel>\nthought\n\nhm <chan\n<channel|>\nok <|tool_call>call:f{a:<|\"|>x <| y\n<|\"|>,b:[1,tru,null, {c "
         ": <|\"|>d<|\"|>}],<|\"|>e<|\"|>:nil}<tool_call|> <|channel>thoughtful<channel|>z"},
        {&kGemma,
         "<|tool_call>call:f{a:\"x\\n\\\"\\q\",b:word with spaces,c:}<tool_call|>\n<|tool_call>call:g-1.x{a b}<"},
    };
    return all;
}

TEST(OutputParser, AnySplitGivesTheSameAnswer) {
    for (const auto& [options, text] : corpus()) {
        const Answer whole = parse(*options, text);
        std::vector<std::string_view> bytes;
        for (size_t i = 0; i < text.size(); i++) bytes.push_back(std::string_view(text).substr(i, 1));
        EXPECT_EQ(parse(*options, bytes), whole) << text;
        for (size_t a = 0; a <= text.size(); a++) {
            for (size_t b = a; b <= text.size(); b++) {
                const std::string_view t = text;
                ASSERT_EQ(parse(*options, {t.substr(0, a), t.substr(a, b - a), t.substr(b)}), whole)
                    << text << " at " << a << " and " << b;
            }
        }
    }
}

TEST(OutputParser, AnyPrefixEndsWellAndKeepsItsCalls) {
    for (const auto& [options, text] : corpus()) {
        for (size_t n = 0; n <= text.size(); n++) {
            const Answer answer = parse(*options, text.substr(0, n));
            for (const Call& call : answer.calls) {
                EXPECT_TRUE(call.ended);
                const auto json = parse_json(call.arguments);
                // A prefix may end inside a character; JSON with half of one is not valid UTF-8.
                const bool whole_characters = n == text.size() || (static_cast<unsigned char>(text[n]) & 0xc0) != 0x80;
                EXPECT_TRUE(json || !whole_characters) << call.arguments << " of " << text.substr(0, n);
            }
        }
    }
}

TEST(OutputParser, StringArgumentsComeAsTheyAreWritten) {
    OutputParser parser(kQwenOff);
    std::vector<OutputDelta> deltas;
    parser.push("<tool_call>\n<function=get_weather>\n<parameter=city>\nPar", deltas);
    Answer answer;
    add(answer, deltas);
    ASSERT_EQ(answer.calls.size(), 1u);
    EXPECT_EQ(answer.calls[0].arguments, R"({"city": "Par)");
}

TEST(OutputParser, IdsDifferByCallAndSeedAndRepeat) {
    auto ids = [](uint64_t seed) {
        auto o = kQwenOff;
        o.id_seed = seed;
        OutputParser parser(o);
        std::vector<OutputDelta> deltas;
        parser.push("<tool_call><function=f></function></tool_call><tool_call><function=f></function></tool_call>",
                    deltas);
        std::vector<std::string> out;
        for (const OutputDelta& d : deltas)
            if (d.kind == Kind::tool_start) out.push_back(d.id);
        return out;
    };
    ASSERT_EQ(ids(1).size(), 2u);
    EXPECT_NE(ids(1)[0], ids(1)[1]);
    EXPECT_NE(ids(1)[0], ids(2)[0]);
    EXPECT_EQ(ids(1), ids(1));
    EXPECT_TRUE(ids(1)[0].starts_with("call_"));
}

// The time of an answer of n bytes, fed byte by byte; linear work doubles with n.
double seconds(const OutputParserOptions& options, const std::string& text) {
    const auto begin = std::chrono::steady_clock::now();
    OutputParser parser(options);
    std::vector<OutputDelta> deltas;
    for (char c : text) {
        deltas.clear();
        parser.push({&c, 1}, deltas);
    }
    parser.finish(deltas);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(OutputParser, TimeIsLinearOnHostileText) {
    auto repeated = [](std::string_view piece, size_t bytes) {
        std::string s;
        while (s.size() < bytes) s += piece;
        return s;
    };
    const std::string open_value = "<tool_call><function=f><parameter=x>",
                      open_list = "<tool_call><function=get_weather><parameter=list>";
    for (std::string_view piece : {"<", "\n", " ", "<tool_call>", "<tool_call>\n<function=", "</think", "<think>", "a",
                                   "<tool_call>{", "<|tool_call>call:"}) {
        for (const std::string& before : {std::string(), open_value, open_list, std::string("<tool_call>{\"a\": \""),
                                          std::string("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"")}) {
            for (const OutputParserOptions* options : {&kNemotron, &kQwenOff, &kHermes, &kGemma}) {
                const std::string text = before + repeated(piece, 1 << 17);
                EXPECT_LT(seconds(*options, text), 2.0) << before << " and " << piece;
            }
        }
    }
}

TEST(OutputFormat, IsFoundInTheTemplate) {
    const auto is = [](std::string_view source, ReasoningFormat reasoning, ToolFormat tools) {
        const OutputFormat found = detect_output_format(source);
        EXPECT_EQ(found.reasoning, reasoning) << source;
        EXPECT_EQ(found.tools, tools) << source;
    };
    is("{{ '<think>' }}<tool_call>\n<function=a>\n<parameter=b>", ReasoningFormat::think_tags, ToolFormat::qwen3_coder);
    is("<tool_call>\n{\"name\": x, \"arguments\": y}", ReasoningFormat::none, ToolFormat::hermes);
    is("<|channel>thought <|tool_call>call:", ReasoningFormat::gemma4, ToolFormat::gemma4);
    is("<|im_start|>", ReasoningFormat::none, ToolFormat::none);
    EXPECT_EQ(*reasoning_format("nemotron_v3"), ReasoningFormat::think_tags);
    EXPECT_EQ(*tool_format("qwen3_coder"), ToolFormat::qwen3_coder);
    EXPECT_EQ(reasoning_format("magic").error().code, ErrorCode::usage);
    EXPECT_EQ(tool_format("magic").error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace nibble::text
