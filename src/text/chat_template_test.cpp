#include "text/chat_template.h"

#include "base/temporary_folder.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace nibble::text {
namespace {

std::string read(const std::string& name) {
    std::ifstream file(std::string(NIBBLE_SOURCE_DIR) + "/tests/data/templates/" + name);
    std::stringstream out;
    out << file.rdbuf();
    return out.str();
}

std::shared_ptr<const ChatTemplate> parse(std::string_view source, std::string bos = "", std::string eos = "") {
    auto parsed = ChatTemplate::parse(source, "chat_template.jinja", std::move(bos), std::move(eos));
    EXPECT_TRUE(parsed) << parsed.error().message;
    return parsed ? *parsed : nullptr;
}

ChatInput input(std::string_view messages, std::string_view kwargs = "null", std::string_view tools = "null") {
    return {.messages = *parse_json(messages), .tools = *parse_json(tools), .template_kwargs = *parse_json(kwargs)};
}

std::string text(const Result<std::string>& rendered) {
    return rendered ? *rendered : "error: " + rendered.error().message;
}

constexpr std::string_view kTool =
    R"([{"type": "function", "function": {"name": "get_weather", "description": "Weather by city ",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "City name"},
    "unit": {"type": "string", "enum": ["c", "f"]}, "days": {"type": "integer", "default": 1}}, "required": ["city"]}}}])";

TEST(ChatTemplate, NemotronConversationsAreWrittenAsTheModelKnowsThem) {
    const auto t = parse(read("nemotron_like.jinja"));
    EXPECT_EQ(text(t->render(input(R"([{"role": "user", "content": "hi"}])"))),
              "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n");
    EXPECT_EQ(text(t->render(input(R"([{"role": "user", "content": "hi"}])", R"({"enable_thinking": false})"))),
              "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think></think>");
    constexpr std::string_view kTurns =
        R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"},
        {"role": "assistant", "content": "x", "reasoning_content": "r1"}, {"role": "user", "content": "b"}])";
    const std::string before =
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
    const std::string after = "<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n<think>\n";
    EXPECT_EQ(text(t->render(input(kTurns))), before + "<think></think>x" + after);
    EXPECT_EQ(text(t->render(input(kTurns, R"({"truncate_history_thinking": false})"))),
              before + "<think>\nr1</think>x" + after);
}

TEST(ChatTemplate, NemotronCallsAndResultsAreWrittenAsTheModelKnowsThem) {
    const auto t = parse(read("nemotron_like.jinja"));
    const std::string out = text(t->render(input(R"([{"role": "user", "content": "w?"},
        {"role": "assistant", "content": "", "reasoning_content": "need tool", "tool_calls": [{"id": "1", "type": "function",
         "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\", \"days\": 2, \"opt\": null, \"l\": [1, \"é\"], \"b\": true}"}}]},
        {"role": "tool", "content": "{\"t\":3}"}, {"role": "tool", "content": "ok"}])",
                                                 "null", kTool)));
    for (std::string_view part :
         {"<name>get_weather</name>\n<description>Weather by city</description>\n<parameters>",
          "\n<parameter>\n<name>unit</name>\n<type>string</type>\n<enum>[\"c\", \"f\"]</enum>\n</parameter>",
          "\n<default>1</default>\n", "\n<required>[\"city\"]</required>\n</parameters>\n</function>",
          "<|im_start|>assistant\n<think>\nneed "
          "tool</think>\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</"
          "parameter>\n<parameter=days>\n2\n</parameter>\n"
          "<parameter=opt>\nNone\n</parameter>\n<parameter=l>\n[1, "
          "\"é\"]\n</parameter>\n<parameter=b>\nTrue\n</parameter>\n</function>\n</tool_call>\n<|im_end|>\n",
          "<|im_start|>user\n<tool_response>\n{\"t\":3}\n</tool_response>\n<tool_response>\nok\n</"
          "tool_response>\n<|im_end|>\n"})
        EXPECT_NE(out.find(part), std::string::npos) << part << "\nnot in\n" << out;
}

TEST(ChatTemplate, QwenConversationsAreWrittenAsTheModelKnowsThem) {
    const auto t = parse(read("qwen_like.jinja"));
    EXPECT_EQ(text(t->render(input(R"([{"role": "user", "content": "hello"}])"))),
              "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n<think>\n");
    EXPECT_EQ(
        text(t->render(input(
            R"([{"role": "user", "content": "q1"}, {"role": "assistant", "content": "<think>\nold thought\n</think>\n\nold answer"},
                  {"role": "user", "content": "q2"}])",
            R"({"enable_thinking": false})"))),
        "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\nold "
        "answer<|im_end|>\n<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
    auto calls = input(
        R"([{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f",
        "arguments": "{\"flag\": true, \"nested\": {\"x\": [1, 2]}}"}}]}])");
    calls.add_generation_prompt = false;
    EXPECT_EQ(text(t->render(calls)),
              "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</"
              "think>\n\n<tool_call>\n<function=f>\n<parameter=flag>\ntrue\n</parameter>\n"
              "<parameter=nested>\n{\"x\": [1, 2]}\n</parameter>\n</function>\n</tool_call><|im_end|>\n");
    for (std::string_view refused : {"[]", R"([{"role": "system", "content": "s"}])",
                                     R"([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}])",
                                     R"([{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}])"}) {
        const auto rendered = t->render(input(refused));
        ASSERT_FALSE(rendered) << refused;
        EXPECT_EQ(rendered.error().code, ErrorCode::invalid_request);
        EXPECT_EQ(rendered.error().param, "messages");
    }
}

TEST(ChatTemplate, GemmaTurnsAreWrittenAsTheModelKnowsThem) {
    const auto t = parse(read("gemma_like.jinja"), "<bos>");
    EXPECT_EQ(text(t->render(input(R"([{"role": "user", "content": " hi "}])"))),
              "<bos><|turn>user\nhi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>");
    EXPECT_EQ(text(t->render(input(R"([{"role": "developer", "content": "s"}, {"role": "user", "content": "hi"}])",
                                   R"({"enable_thinking": true})"))),
              "<bos><|turn>system\n<|think|>\ns<turn|>\n<|turn>user\nhi<turn|>\n<|turn>model\n");
    EXPECT_NE(text(t->render(input(R"([{"role": "user", "content": "hi"}])", "null", kTool)))
                  .find("parameters:{properties:{city:{description:<|\"|>City "
                        "name<|\"|>,required:true,type:<|\"|>STRING<|\"|>},days:{type:<|\"|>INTEGER<|\"|>},"
                        "unit:{enum:[<|\"|>c<|\"|>,<|\"|>f<|\"|>],type:<|\"|>STRING<|\"|>}}}}<tool|>"),
              std::string::npos);
}

TEST(ChatTemplate, ArgumentsMayBeTextOrAnObjectAndKeepTheirOrder) {
    const auto t = parse(
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}{% "
        "endfor %}");
    auto calls = [](std::string_view arguments) {
        return input(
            R"([{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": )" +
            std::string(arguments) + "}}]}]");
    };
    EXPECT_EQ(text(t->render(calls(R"("{\"b\": 1, \"a\": 1.0}")"))), R"({"b": 1, "a": 1.0})");
    EXPECT_EQ(text(t->render(calls(R"({"b": 1, "a": 2})"))), R"({"b": 1, "a": 2})");
    EXPECT_EQ(text(t->render(calls(R"("")"))), "{}");
    EXPECT_EQ(text(t->render(calls("null"))), "{}");
    for (std::string_view bad : {R"("{oops")", R"("[1]")", "3"}) {
        const auto rendered = t->render(calls(bad));
        ASSERT_FALSE(rendered) << bad;
        EXPECT_EQ(rendered.error().param, "messages[0].tool_calls[0].function.arguments");
        EXPECT_EQ(rendered.error().code, ErrorCode::invalid_request);
    }
}

TEST(ChatTemplate, PartsBecomeTextUnlessTheTemplateTakesThem) {
    constexpr std::string_view kParts =
        R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])";
    constexpr std::string_view kImage =
        R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])";
    const auto plain = parse("{% for m in messages %}[{{ m.content }}]{% endfor %}");
    EXPECT_EQ(text(plain->render(input(kParts))), "[a\nb]");
    const auto refused = plain->render(input(kImage));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().param, "messages[0].content[0]");
    const auto taking = parse(read("qwen_like.jinja"));
    EXPECT_EQ(text(taking->render(input(kParts))), "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n<think>\n");
    EXPECT_NE(text(taking->render(input(kImage))).find("<|image_pad|>"), std::string::npos);
}

TEST(ChatTemplate, RolesAndReasoningGoByTheNamesThatTheTemplateKnows) {
    const auto t = parse("{% for m in messages %}{{ m.role }}:{{ m.reasoning_content }}{{ m.content }};{% endfor %}");
    EXPECT_EQ(
        text(t->render(input(
            R"([{"role": "developer", "content": "d"}, {"role": "assistant", "reasoning": "r", "content": "c"}, {"role": "assistant"}])"))),
        "system:d;assistant:rc;assistant:None;");
    const auto knows = parse("{# developer #}{% for m in messages %}{{ m.role }}{% endfor %}");
    EXPECT_EQ(text(knows->render(input(R"([{"role": "developer", "content": "d"}])"))), "developer");
}

TEST(ChatTemplate, KwargsReachTheTemplateButNotItsOwnVariables) {
    const auto t =
        parse("{{ bos_token }}{{ effort }}{{ documents is none }}{{ tools is none }}{{ eos_token is defined }}", "<s>");
    EXPECT_EQ(text(t->render(input("[]", R"({"effort": "low"})"))), "<s>lowTrueTrueFalse");
    for (std::string name : {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "pad_token"}) {
        const auto rendered = t->render(input("[]", "{\"" + name + "\": 1}"));
        ASSERT_FALSE(rendered) << name;
        EXPECT_EQ(rendered.error().param, "chat_template_kwargs." + name);
        EXPECT_EQ(rendered.error().code, ErrorCode::invalid_request);
    }
    EXPECT_FALSE(t->render(input("[]", "[]")));
    EXPECT_FALSE(t->render(input("{}")));
    EXPECT_FALSE(t->render(input("[1]")));
    EXPECT_FALSE(t->render(input("[]", "null", "{}")));
}

TEST(ChatTemplate, TheLastMessageCanBeContinued) {
    const auto t = parse(read("qwen_like.jinja"));
    auto open = [](std::string_view content) {
        auto in = input(
            R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": )" + std::string(content) + "}]",
            R"({"preserve_thinking": false})");
        in.add_generation_prompt = false;
        in.continue_final_message = true;
        return in;
    };
    EXPECT_EQ(text(t->render(open(R"("The answer ")"))),
              "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nThe answer");
    EXPECT_EQ(text(t->render(open(R"([{"type": "text", "text": "The"}])"))),
              "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nThe");
    const auto keeping = parse("{% for m in messages %}<{{ m.content }}>{% endfor %}");
    EXPECT_EQ(text(keeping->render(open(R"("The answer ")"))), "<q><The answer ");
    auto both = open(R"("x")");
    both.add_generation_prompt = true;
    EXPECT_EQ(t->render(both).error().param, "continue_final_message");
    EXPECT_EQ(t->render(open("null")).error().param, "continue_final_message");
    const auto dropping = parse("{{ messages[0].content }}");
    EXPECT_EQ(dropping->render(open(R"("x")")).error().param, "continue_final_message");
}

TEST(ChatTemplate, ALargeTextIsRefusedAndALongOneIsNot) {
    const auto t = parse("{% for i in range(100) %}{{ messages[0].content }}{% endfor %}");
    EXPECT_TRUE(t->render(input(R"([{"role": "user", "content": "abc"}])")));
    const auto rendered =
        t->render(input("[{\"role\": \"user\", \"content\": \"" + std::string(100'000, 'x') + "\"}]"));
    ASSERT_FALSE(rendered);
    EXPECT_NE(rendered.error().message.find("over the limit"), std::string::npos);
    const auto once = parse("{{ messages[0].content }}");
    EXPECT_EQ(text(once->render(input("[{\"role\": \"user\", \"content\": \"" + std::string(4'000'000, 'x') + "\"}]")))
                  .size(),
              4'000'000u);
}

TEST(ChatTemplate, IsFoundInTheCheckpointsFolder) {
    const ChatInput plain = input("[]"), with_tools = input("[]", "null", kTool);
    TemporaryFolder folder;
    EXPECT_EQ(ChatTemplate::load(folder.path(), "", "").error().code, ErrorCode::not_found);
    folder.write("tokenizer_config.json", "{\"chat_template\": null}");
    EXPECT_EQ(ChatTemplate::load(folder.path(), "", "").error().code, ErrorCode::not_found);
    folder.write("chat_template.json", "{\"chat_template\": \"json\"}");
    EXPECT_EQ(text((*ChatTemplate::load(folder.path(), "", ""))->render(plain)), "json");
    folder.write("tokenizer_config.json",
                 R"({"chat_template": "config{{ pad_token }}{{ bos_token }}", "pad_token": {"content": "<pad>"}})");
    EXPECT_EQ(text((*ChatTemplate::load(folder.path(), "<s>", ""))->render(plain)), "config<pad><s>");
    folder.write(
        "tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "tools{{ tools | length }}"}, {"name": "default", "template": "plain"}]})");
    const auto named = *ChatTemplate::load(folder.path(), "", "");
    EXPECT_EQ(text(named->render(plain)), "plain");
    EXPECT_EQ(text(named->render(with_tools)), "tools1");
    EXPECT_EQ(named->source(), "plain");
    EXPECT_TRUE(named->supports_tools());
    EXPECT_FALSE(named->supports_thinking());
    folder.write("chat_template.jinja", "own {{ enable_thinking }}");
    const auto own = *ChatTemplate::load(folder.path(), "", "");
    EXPECT_EQ(text(own->render(with_tools)), "own ");
    EXPECT_FALSE(own->supports_tools());
    EXPECT_TRUE(own->supports_thinking());
    folder.write("additional_chat_templates/tool_use.jinja", "own tools");
    EXPECT_EQ(text((*ChatTemplate::load(folder.path(), "", ""))->render(with_tools)), "own tools");
}

TEST(ChatTemplate, DamagedFilesAreRefusedByName) {
    for (std::string config :
         {"{", "[]", "{\"chat_template\": 3}", "{\"chat_template\": [{\"name\": \"a\"}]}", "{\"chat_template\": []}",
          "{\"chat_template\": [{\"name\": \"a\", \"template\": \"\"}, {\"name\": \"b\", \"template\": \"\"}]}",
          "{\"chat_template\": \"{{ x\"}"}) {
        TemporaryFolder folder;
        folder.write("tokenizer_config.json", config);
        const auto loaded = ChatTemplate::load(folder.path(), "", "");
        ASSERT_FALSE(loaded) << config;
        EXPECT_EQ(loaded.error().code, ErrorCode::model_invalid) << config;
        EXPECT_NE(loaded.error().message.find("tokenizer_config.json"), std::string::npos) << loaded.error().message;
    }
    TemporaryFolder folder;
    folder.write("chat_template.jinja", "a\n{{ x | nofilter }}");
    EXPECT_EQ(ChatTemplate::load(folder.path(), "", "").error().message,
              "chat_template.jinja:2:8: no filter named 'nofilter'");
}

}  // namespace
}  // namespace nibble::text
