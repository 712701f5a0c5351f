#include "server/chat_prompt.h"

#include "base/in_quotes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace nibble::server {
namespace {

using text::Array;
using text::Object;
using text::Value;

constexpr std::array<std::string_view, 6> kRoles = {"system", "developer", "user", "assistant", "tool", "function"};
constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>";

// A string, or parts of text, checked; the template decides what it takes. None stays none.
Value read_content(Fields& message) {
    const Value* content = message.any("content");
    if (!content || content->is_string()) return content ? *content : Value();
    if (!content->is_array()) {
        message.fail("content", fmt::format("expected a string or a list of parts, found {}", describe(*content)));
        return {};
    }
    Array parts;
    for (size_t i = 0; i < content->as_array().size(); ++i) {
        const Value& given = content->as_array()[i];
        const std::string name = fmt::format("content[{}]", i);
        std::string_view text;
        if (given.is_string()) {
            text = given.as_string();
        } else if (!given.is_object()) {
            message.fail(name, fmt::format("expected an object, found {}", describe(given)));
            return {};
        } else {
            Fields part(given.as_object(), message.path_of(name));
            const auto type = part.string("type");
            if (!type || *type == "text" || *type == "input_text" || *type == "output_text") {
                const auto said = part.string("text");
                if (part.ok() && !said) part.fail("text", "is required");
                text = said.value_or("");
            } else if (*type == "refusal") {
                text = part.string("refusal").value_or("");
            } else {
                part.unsupported("type", fmt::format("only text parts are taken, found {}", in_quotes(*type, 40)));
            }
            if (part.error()) {
                message.fail(*part.error());
                return {};
            }
        }
        Object part;
        part.set("type", Value("text"));
        part.set("text", Value(text));
        parts.emplace_back(std::move(part));
    }
    return Value(std::move(parts));
}

// An assistant's earlier calls: arguments as JSON text, or (some clients) as the object itself.
Value read_tool_calls(Fields& message, const ServedModel& model) {
    const Array* calls = message.array("tool_calls", static_cast<size_t>(model.limits.tools));
    if (!calls || calls->empty()) return {};
    Array out;
    for (size_t i = 0; i < calls->size(); ++i) {
        const std::string path = message.path_of(fmt::format("tool_calls[{}]", i));
        const Value& call = (*calls)[i];
        if (!call.is_object()) {
            message.fail(fmt::format("tool_calls[{}]", i), fmt::format("expected an object, found {}", describe(call)));
            return {};
        }
        Fields fields(call.as_object(), path);
        const auto id = fields.string("id");
        const auto type = fields.string("type");
        if (type && *type != "function")
            fields.unsupported("type", fmt::format("only function is supported, found {}", in_quotes(*type, 40)));
        const Object* function = fields.object("function");
        if (fields.ok() && !function) fields.fail("function", "is required");
        if (fields.error()) {
            message.fail(*fields.error());
            return {};
        }
        Fields inner(*function, path + ".function");
        const auto name = inner.string("name");
        if (inner.ok() && (!name || name->empty())) inner.fail("name", "is required");
        const Value* arguments = inner.any("arguments");
        if (arguments && !arguments->is_string() && !arguments->is_object())
            inner.fail("arguments", fmt::format("expected JSON text or an object, found {}", describe(*arguments)));
        if (inner.error()) {
            message.fail(*inner.error());
            return {};
        }
        Object function_out;
        function_out.set("name", Value(*name));
        function_out.set("arguments", arguments ? *arguments : Value(Object{}));
        Object call_out;
        if (id) call_out.set("id", Value(*id));
        call_out.set("type", Value("function"));
        call_out.set("function", Value(std::move(function_out)));
        out.emplace_back(std::move(call_out));
    }
    return Value(std::move(out));
}

Value read_message(Fields& fields, const Value& given, size_t index, const ServedModel& model) {
    const std::string path = fmt::format("messages[{}]", index);
    if (!given.is_object()) {
        fields.fail(path, fmt::format("expected an object, found {}", describe(given)));
        return {};
    }
    Fields message(given.as_object(), path);
    auto role = message.string("role");
    if (message.ok() && (!role || std::find(kRoles.begin(), kRoles.end(), *role) == kRoles.end()))
        message.fail("role", fmt::format("expected system, developer, user, assistant or tool, found {}",
                                         role ? in_quotes(*role, 40) : "nothing"));
    Value content = read_content(message);
    const Value calls = read_tool_calls(message, model);
    auto reasoning = message.string("reasoning_content");
    if (const auto other = message.string("reasoning"); !reasoning) reasoning = other;
    const auto name = message.string("name");
    const auto call_id = message.string("tool_call_id");
    if (message.ok() && content.is_none() && calls.is_none() && *role != "assistant")
        message.fail("content", "is required");
    if (message.error()) {
        fields.fail(*message.error());
        return {};
    }
    Object out;
    out.set("role", Value(*role == "function" ? "tool" : *role));
    // Templates are written for strings; null is for those that look whether calls came alone.
    out.set("content", content.is_none() && calls.is_none() ? Value("") : std::move(content));
    if (reasoning && !reasoning->empty()) out.set("reasoning_content", Value(*reasoning));
    if (!calls.is_none()) out.set("tool_calls", calls);
    if (name) out.set("name", Value(*name));
    if (call_id) out.set("tool_call_id", Value(*call_id));
    return Value(std::move(out));
}

bool acceptable_function_name(std::string_view name) {
    return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
               c == '.' || c == ':' || c == '/';
    });
}

void check_tool(Fields& fields, const Value& tool, size_t index) {
    const std::string path = fmt::format("tools[{}]", index);
    if (!tool.is_object()) {
        fields.fail(path, fmt::format("expected an object, found {}", describe(tool)));
        return;
    }
    Fields outer(tool.as_object(), path);
    const auto type = outer.string("type");
    if (outer.ok() && (!type || *type != "function"))
        outer.unsupported("type",
                          fmt::format("only function is supported, found {}", type ? in_quotes(*type, 40) : "nothing"));
    const Object* function = outer.object("function");
    if (outer.ok() && !function) outer.fail("function", "is required");
    if (outer.error()) {
        fields.fail(*outer.error());
        return;
    }
    Fields inner(*function, path + ".function");
    const auto name = inner.string("name");
    if (inner.ok() && (!name || !acceptable_function_name(*name)))
        inner.fail("name", fmt::format("expected 1 to 128 letters, digits, or one of _-.:/ , found {}",
                                       name ? in_quotes(*name, 40) : "nothing"));
    inner.string("description");
    inner.object("parameters");
    inner.boolean("strict");
    if (inner.error()) fields.fail(*inner.error());
}

void read_tools(Fields& fields, const ServedModel& model, ChatPrompt& prompt) {
    const Array* tools = fields.array("tools", static_cast<size_t>(model.limits.tools));
    if (tools)
        for (size_t i = 0; i < tools->size() && fields.ok(); ++i) check_tool(fields, (*tools)[i], i);

    const Value* choice = fields.any("tool_choice");
    bool none = false;
    if (choice && choice->is_object()) {
        fields.unsupported("tool_choice", "a named function cannot be forced yet; auto and none are supported");
    } else if (choice && choice->is_string()) {
        const std::string& name = choice->as_string();
        none = name == "none";
        if (name == "required")
            fields.unsupported("tool_choice", "required is not supported yet; auto and none are");
        else if (name != "auto" && !none)
            fields.fail("tool_choice", fmt::format("expected auto or none, found {}", in_quotes(name, 40)));
    } else if (choice) {
        fields.fail("tool_choice", fmt::format("expected auto or none, found {}", describe(*choice)));
    }
    prompt.parallel_calls = fields.boolean("parallel_tool_calls").value_or(true);
    if (!tools || tools->empty() || none || !fields.ok()) return;
    if (model.chat_template && !model.chat_template->supports_tools()) {
        fields.unsupported("tools", "the model's chat template has no place for tools");
        return;
    }
    prompt.input.tools = Value(*tools);
    prompt.tools_active = true;
}

// reasoning_effort to the switches that this template has; what chat_template_kwargs says goes first.
void read_template_switches(Fields& fields, const ServedModel& model, ChatPrompt& prompt) {
    Object kwargs;
    if (const Object* given = fields.object("chat_template_kwargs")) kwargs = *given;
    const auto set_default = [&](std::string_view name, Value value) {
        const bool mentioned = model.chat_template && model.chat_template->source().find(name) != std::string::npos;
        if (mentioned && !kwargs.find(name)) kwargs.set(name, std::move(value));
    };
    if (const auto effort = fields.string("reasoning_effort")) {
        static constexpr std::array<std::string_view, 6> kEfforts = {"none",   "minimal", "low",
                                                                     "medium", "high",    "xhigh"};
        if (std::find(kEfforts.begin(), kEfforts.end(), *effort) == kEfforts.end()) {
            fields.fail("reasoning_effort", fmt::format("expected none, minimal, low, medium, high or xhigh, found {}",
                                                        in_quotes(*effort, 40)));
            return;
        }
        set_default("enable_thinking", Value(*effort != "none"));
        set_default("reasoning_effort", Value(*effort));
        if (*effort == "minimal" || *effort == "low") set_default("low_effort", Value(true));
        if (*effort == "medium") set_default("medium_effort", Value(true));
    }
    for (const std::string_view name : {"enable_thinking", "thinking"})
        if (const Value* value = kwargs.find(name); value && value->is_bool() && !value->as_bool())
            prompt.thinking_disabled = true;
    if (kwargs.size() > 0) prompt.input.template_kwargs = Value(std::move(kwargs));
}

}  // namespace

ChatPrompt read_chat_prompt(Fields& fields, const ServedModel& model) {
    ChatPrompt prompt;
    if (!model.chat_template) fields.unsupported("messages", "the model has no chat template; use /v1/completions");
    const Array* messages = fields.array("messages", static_cast<size_t>(model.limits.messages));
    if (fields.ok() && (!messages || messages->empty())) fields.fail("messages", "expected at least one message");
    if (messages && fields.ok()) {
        Array out;
        out.reserve(messages->size());
        for (size_t i = 0; i < messages->size() && fields.ok(); ++i)
            out.push_back(read_message(fields, (*messages)[i], i, model));
        prompt.input.messages = Value(std::move(out));
    }
    read_tools(fields, model, prompt);
    read_template_switches(fields, model, prompt);

    const auto generation_prompt = fields.boolean("add_generation_prompt");
    prompt.input.continue_final_message = fields.boolean("continue_final_message").value_or(false);
    prompt.input.add_generation_prompt = generation_prompt.value_or(!prompt.input.continue_final_message);
    if (prompt.input.continue_final_message && fields.ok()) {
        if (prompt.input.add_generation_prompt)
            fields.fail("continue_final_message", "excludes add_generation_prompt");
        else if (prompt.input.messages.as_array().back().find("role")->as_string() != "assistant")
            fields.fail("continue_final_message", "the last message must be the assistant's");
    }
    return prompt;
}

Result<RenderedPrompt> render_chat_prompt(const ChatPrompt& prompt, const ServedModel& model) {
    TRY(std::string text, model.chat_template->render(prompt.input));
    RenderedPrompt out;
    // Only what the prompt ends with counts: a tag that a message quotes somewhere does not open anything.
    std::string_view tail = text;
    if (prompt.input.continue_final_message) {
        const Value* last = prompt.input.messages.as_array().back().find("content");
        tail = last->is_string() ? std::string_view(last->as_string()) : std::string_view();
        const size_t open = tail.rfind(kThinkOpen);
        out.starts_in_reasoning =
            open != std::string_view::npos && tail.find(kThinkClose, open) == std::string_view::npos;
    } else {
        while (!tail.empty() && (tail.back() == '\n' || tail.back() == ' ')) tail.remove_suffix(1);
        out.starts_in_reasoning =
            tail.size() >= kThinkOpen.size() && tail.substr(tail.size() - kThinkOpen.size()) == kThinkOpen;
    }
    out.text = std::move(text);
    return out;
}

Result<std::vector<engine::TokenId>> encode_prompt(const ServedModel& model, std::string_view text,
                                                   bool add_special_tokens, std::string_view field) {
    if (text.size() > static_cast<size_t>(model.limits.prompt_bytes))
        return Error{ErrorCode::invalid_request,
                     fmt::format("{}: expected at most {} bytes of prompt text, found {}", field,
                                 model.limits.prompt_bytes, text.size()),
                     std::string(field)};
    return model.tokenizer->encode(text, {.parse_special = true, .add_special_tokens = add_special_tokens});
}

}  // namespace nibble::server
