#include "text/chat_messages.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::text {
namespace {

Error refuse(std::string param, std::string_view what) {
    return Error{ErrorCode::invalid_request, fmt::format("{}: {}", param, what), std::move(param)};
}

bool takes_parts(const MessageForm& form, std::string_view role) {
    const auto it = std::find(kTemplateRoles.begin(), kTemplateRoles.end(), role);
    return it != kTemplateRoles.end() && form.takes_parts[static_cast<size_t>(it - kTemplateRoles.begin())];
}

// The text of a part, null when it is of another kind.
const Value* part_text(const Value& part) {
    if (part.is_string()) return &part;
    const Value* text = part.find("text");
    return text && text->is_string() ? text : nullptr;
}

Result<Value> join_parts(const Array& parts, const std::string& path) {
    std::string joined;
    for (size_t i = 0; i < parts.size(); i++) {
        const Value* text = part_text(parts[i]);
        if (!text) {
            const Value* type = parts[i].find("type");
            return refuse(fmt::format("{}.content[{}]", path, i),
                          fmt::format("the model's chat template takes text here, found a part of type {}",
                                      type && type->is_string() ? type->as_string() : "unknown"));
        }
        if (i > 0) joined += '\n';
        joined += text->as_string();
    }
    return Value(std::move(joined));
}

// Arguments as an object, whether they came as one or as JSON text. No arguments are an empty object.
Result<Value> prepare_arguments(const Value& arguments, const std::string& path) {
    if (arguments.is_object()) return arguments;
    if (arguments.is_none()) return Value(Object{});
    if (!arguments.is_string()) return refuse(path, "must be JSON text or an object");
    const std::string& text = arguments.as_string();
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) return Value(Object{});
    auto parsed = parse_json(text);
    if (!parsed) return refuse(path, parsed.error().message);
    if (!parsed->is_object()) return refuse(path, "must be the JSON text of an object");
    return *std::move(parsed);
}

Object with(const Object& object, std::string_view key, Value value) {
    Object changed = object;
    changed.set(key, std::move(value));
    return changed;
}

Result<Value> prepare_calls(const Array& calls, const std::string& path) {
    Array prepared;
    for (size_t i = 0; i < calls.size(); i++) {
        const std::string call_path = fmt::format("{}.tool_calls[{}]", path, i);
        if (!calls[i].is_object()) return refuse(call_path, "must be an object");
        const Value* function = calls[i].find("function");
        const Value* arguments = function ? function->find("arguments") : calls[i].find("arguments");
        if (!arguments) {
            prepared.push_back(calls[i]);
            continue;
        }
        TRY(Value object, prepare_arguments(*arguments, call_path + (function ? ".function.arguments" : ".arguments")));
        if (function)
            prepared.push_back(
                with(calls[i].as_object(), "function", with(function->as_object(), "arguments", std::move(object))));
        else
            prepared.push_back(with(calls[i].as_object(), "arguments", std::move(object)));
    }
    return Value(std::move(prepared));
}

// Reasoning goes by several names; templates read reasoning_content, and those of gpt-oss thinking.
void alias_reasoning(Object& message) {
    for (std::string_view name : {"reasoning_content", "thinking", "reasoning"}) {
        const Value* given = message.find(name);
        if (!given || given->is_none()) continue;
        const Value reasoning = *given;
        message.set("reasoning_content", reasoning);
        if (!message.find("thinking")) message.set("thinking", reasoning);
        return;
    }
}

Result<Value> prepare_message(const Object& given, const std::string& path, const MessageForm& form) {
    Object message = given;
    std::string role;
    if (const Value* r = message.find("role"); r && r->is_string()) role = r->as_string();
    if (role == "developer" && !form.knows_developer) {
        role = "system";
        message.set("role", role);
    }
    const Value* content = message.find("content");
    if (content && content->is_array() && !takes_parts(form, role)) {
        TRY(Value joined, join_parts(content->as_array(), path));
        message.set("content", std::move(joined));
    } else if (!content && role == "assistant") {
        message.set("content", Value());  // clients leave it out beside tool calls; templates look for none
    }
    if (const Value* calls = message.find("tool_calls"); calls && calls->is_array()) {
        TRY(Value prepared, prepare_calls(calls->as_array(), path));
        message.set("tool_calls", std::move(prepared));
    }
    alias_reasoning(message);
    return Value(std::move(message));
}

}  // namespace

Result<Value> prepare_messages(const Value& messages, const MessageForm& form) {
    if (!messages.is_array()) return refuse("messages", "must be a list");
    Array prepared;
    for (size_t i = 0; i < messages.as_array().size(); i++) {
        const std::string path = fmt::format("messages[{}]", i);
        if (!messages.as_array()[i].is_object()) return refuse(path, "must be an object");
        TRY(Value message, prepare_message(messages.as_array()[i].as_object(), path, form));
        prepared.push_back(std::move(message));
    }
    return Value(std::move(prepared));
}

size_t text_bytes(const Value& value) {
    size_t bytes = 0;
    if (value.is_string()) bytes = value.as_string().size();
    if (value.is_array())
        for (const Value& element : value.as_array()) bytes += text_bytes(element);
    if (value.is_object())
        for (const auto& [key, element] : value.as_object().entries()) bytes += key.size() + text_bytes(element);
    return bytes;
}

}  // namespace nibble::text
