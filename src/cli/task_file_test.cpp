#include "cli/task_file.h"

#include "base/temporary_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace nibble::cli {
namespace {

using testing::HasSubstr;
using text::Value;

Result<Task> task(const std::string& line, Expectations expectations = Expectations::required) {
    const TemporaryFolder folder;
    TRY(auto tasks, read_tasks(folder.write("tasks", line + "\n"), expectations));
    return tasks.front();
}

Value json(std::string_view text) {
    return *text::parse_json(text);
}

TEST(TaskFile, HoldsToolsThinkingAndLength) {
    const auto read = task(
        R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "thinking": false,
            "tools": [{"type": "function", "function": {"name": "f"}}], "max_tokens": 7, "task": "t",
            "calls": [{"name": "f", "arguments": {"a": 1, "b": [2.0]}}]})");
    EXPECT_FALSE(read);  // one object a line
    const auto one =
        task(R"({"messages": [{"role": "user", "content": "u"}], "thinking": false, )"
             R"("tools": [{"type": "function", "function": {"name": "f"}}], "max_tokens": 7, "task": "t", )"
             R"("calls": [{"name": "f", "arguments": {"a": 1, "b": [2.0]}}]})");
    ASSERT_TRUE(one) << one.error().message;
    EXPECT_EQ(one->thinking, false);
    EXPECT_EQ(one->max_tokens, 7);
    EXPECT_EQ(one->name, "t");
    EXPECT_EQ(one->tools.as_array().size(), 1u);
    ASSERT_TRUE(one->calls && one->calls->size() == 1);
    EXPECT_FALSE(task(R"({"prompt": "p"})"));
    EXPECT_TRUE(task(R"({"prompt": "p"})", Expectations::optional));
}

TEST(TaskFile, CallsAreRightByNameAndValues) {
    const Task one = *task(R"({"prompt": "p", "calls": [{"name": "f", "arguments": {"a": 1, "b": [2.0]}}]})");
    const std::vector<Task::Call> right{{"f", json(R"({"b": [2], "a": 1.0})")}};
    EXPECT_TRUE(is_right(one, "whatever it says beside", right));
    EXPECT_FALSE(is_right(one, "", {}));
    EXPECT_FALSE(is_right(one, "", {right[0], right[0]}));
    EXPECT_FALSE(is_right(one, "", {{"g", right[0].arguments}}));
    EXPECT_FALSE(is_right(one, "", {{"f", json(R"({"a": 1})")}}));
    EXPECT_FALSE(is_right(one, "", {{"f", Value()}}));  // arguments that were no JSON
    const Task both = *task(R"({"prompt": "p", "answer": "x", "calls": []})");
    EXPECT_TRUE(is_right(both, "x", {}));
    EXPECT_FALSE(is_right(both, "y", {}));
    EXPECT_FALSE(is_right(both, "x", right));
}

TEST(TaskFile, JsonIsRightByValue) {
    const Task one =
        *task(R"({"prompt": "p", "match": "json", "answer": {"name": "A", "age": 3, "tags": [true, null]}})");
    EXPECT_TRUE(is_right(one, R"({"age": 3.0, "tags": [true, null], "name": "A"})", {}));
    EXPECT_FALSE(is_right(one, R"({"age": 3, "tags": [null, true], "name": "A"})", {}));
    EXPECT_FALSE(is_right(one, R"({"age": "3", "tags": [true, null], "name": "A"})", {}));
    EXPECT_FALSE(is_right(one, R"({"age": 3, "tags": [true, null], "name": "A", "more": 1})", {}));
    EXPECT_FALSE(is_right(one, R"(Here it is: {"age": 3})", {}));
    EXPECT_FALSE(is_right(one, "", {}));
    EXPECT_TRUE(is_right(*task(R"({"prompt": "p", "match": "json", "answer": "x"})"), R"("x")", {}));
}

TEST(TaskFile, TextIsRightAsTheMatchSays) {
    const auto right = [](const char* match, const char* content) {
        return is_right(*task(fmt::format(R"({{"prompt": "p", "answer": ["ab", " c "], "match": "{}"}})", match)),
                        content, {});
    };
    EXPECT_TRUE(right("exact", "ab") && right("exact", "c") && !right("exact", "abc"));
    EXPECT_TRUE(right("starts", "abx") && !right("starts", "xab"));
    EXPECT_TRUE(right("contains", "xaby") && !right("contains", "xy"));
}

TEST(TaskFile, AWrongFieldIsNamed) {
    for (const auto& [line, field] : std::initializer_list<std::pair<const char*, const char*>>{
             {R"({"prompt": "p", "answer": "x", "tools": {}})", "tools: expected"},
             {R"({"prompt": "p", "answer": "x", "thinking": 1})", "thinking: expected"},
             {R"({"prompt": "p", "answer": "x", "max_tokens": 0})", "max_tokens: expected"},
             {R"({"prompt": "p", "calls": {}})", "calls: expected"},
             {R"({"prompt": "p", "calls": [{"name": "f"}]})", "calls: expected"},
             {R"({"prompt": "p", "calls": [{"name": "f", "arguments": "{}"}]})", "calls: expected"},
             {R"({"prompt": "p", "answer": "x", "match": "near"})", "match: expected"}}) {
        const auto read = task(line);
        ASSERT_FALSE(read) << line;
        EXPECT_THAT(read.error().message, HasSubstr(field));
        EXPECT_THAT(read.error().message, HasSubstr("tasks:1"));
    }
}

}  // namespace
}  // namespace nibble::cli
