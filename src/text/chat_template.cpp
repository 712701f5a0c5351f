#include "text/chat_template.h"

#include "text/chat_messages.h"
#include "text/jinja/python_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace nibble::text {
namespace {

constexpr uint64_t kTemplateBytes = 4u << 20;
constexpr uint64_t kConfigBytes = 64u << 20;

// Names that a request's chat_template_kwargs may not set.
constexpr std::string_view kReserved[] = {"messages",  "tools",    "add_generation_prompt", "continue_final_message",
                                          "bos_token", "eos_token"};
constexpr std::string_view kSpecialTokens[] = {"pad_token", "unk_token", "sep_token", "cls_token", "mask_token"};

// Written behind the final message that is to be continued, and looked for in the text. Ends in a space, which shows
// whether the template trimmed the message.
constexpr std::string_view kContinuation = "NIBBLE_CONTINUES_FROM_HERE ";

struct Named {
    std::string name;
    std::string source;
};

// Whether the source mentions a name as a whole word.
bool mentions(std::string_view source, std::string_view word) {
    auto is_word = [&](size_t at) {
        const char c = at < source.size() ? source[at] : ' ';
        return c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    };
    for (size_t at = source.find(word); at != std::string_view::npos; at = source.find(word, at + 1))
        if ((at == 0 || !is_word(at - 1)) && !is_word(at + word.size())) return true;
    return false;
}

bool is_reserved(std::string_view name) {
    return std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved) ||
           std::find(std::begin(kSpecialTokens), std::end(kSpecialTokens), name) != std::end(kSpecialTokens);
}

Value message(std::string_view role, Value content) {
    Object out;
    out.set("role", role);
    out.set("content", std::move(content));
    return Value(std::move(out));
}

Value part(std::string_view text) {
    Object out;
    out.set("type", "text");
    out.set("text", text);
    return Value(Array{Value(std::move(out))});
}

TemplateLimits limits_for(size_t input_bytes, size_t messages) {
    TemplateLimits limits;
    // Some published templates look back over all messages at each of them.
    limits.steps += 10'000 * static_cast<int64_t>(messages);
    limits.output_bytes = 4 * input_bytes + (1 << 20);
    limits.memory_bytes = 64 * input_bytes + (64 << 20);
    return limits;
}

// The templates of a chat_template field: a string, or a list of {name, template}.
Result<std::vector<Named>> read_field(const Value& field, const std::string& file) {
    if (field.is_string()) return std::vector<Named>{{"default", field.as_string()}};
    std::vector<Named> out;
    if (!field.is_array())
        return error(ErrorCode::model_invalid, "{}: chat_template: expected a string or a list", file);
    for (size_t i = 0; i < field.as_array().size(); i++) {
        const Value* name = field.as_array()[i].find("name");
        const Value* source = field.as_array()[i].find("template");
        if (!name || !name->is_string() || !source || !source->is_string())
            return error(ErrorCode::model_invalid, "{}: chat_template[{}]: expected a name and a template", file, i);
        out.push_back({name->as_string(), source->as_string()});
    }
    return out;
}

Result<Value> read_json_file(const Folder& folder, std::string_view name) {
    TRY(std::string text, folder.read(name, kConfigBytes));
    auto value = parse_json(text);
    if (!value) return error(ErrorCode::model_invalid, "{}: {}", folder.string(name), value.error().message);
    if (!value->is_object()) return error(ErrorCode::model_invalid, "{}: expected an object", folder.string(name));
    return *std::move(value);
}

}  // namespace

struct ChatTemplate::State {
    struct Form {
        std::string source;
        std::string name;
        Template parsed;
        MessageForm messages;
    };
    std::vector<Form> templates;  // the default one first; then that for tools, if there is one
    Object special_tokens;

    static Result<std::shared_ptr<const ChatTemplate>> make(std::vector<Named> sources, const std::string& file,
                                                            Object special_tokens);
    Result<void> add(std::string source, std::string_view name);
    Object variables(Value messages, Value tools, bool add_generation_prompt) const;
    MessageForm find_form(const Form& form) const;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const State> state) : state_(std::move(state)) {}
ChatTemplate::~ChatTemplate() = default;

Result<void> ChatTemplate::State::add(std::string source, std::string_view name) {
    TRY(Template parsed, Template::parse(source, name));
    templates.push_back({std::move(source), std::string(name), std::move(parsed), {}});
    templates.back().messages = find_form(templates.back());
    return {};
}

Object ChatTemplate::State::variables(Value messages, Value tools, bool add_generation_prompt) const {
    Object out = special_tokens;
    out.set("messages", std::move(messages));
    out.set("tools", std::move(tools));
    out.set("documents", Value());
    out.set("add_generation_prompt", add_generation_prompt);
    return out;
}

// Renders a conversation with the content of one role as text and as a list of one part. A template that takes parts
// gives the same text for both.
MessageForm ChatTemplate::State::find_form(const Form& form) const {
    MessageForm out;
    out.knows_developer = mentions(form.source, "developer");
    constexpr std::string_view kProbe = "probe";
    for (size_t i = 0; i < kTemplateRoles.size(); i++) {
        auto render = [&](Value content) {
            Array messages;
            if (kTemplateRoles[i] == "system") messages.push_back(message("system", content));
            messages.push_back(message("user", kTemplateRoles[i] == "user" ? content : Value("question")));
            if (kTemplateRoles[i] == "assistant") messages.push_back(message("assistant", content));
            if (kTemplateRoles[i] == "tool") {
                Object function, call, answer;
                function.set("name", "f");
                function.set("arguments", Object{});
                call.set("id", "call00000");
                call.set("type", "function");
                call.set("function", std::move(function));
                answer.set("role", "assistant");
                answer.set("content", "");
                answer.set("tool_calls", Array{Value(std::move(call))});
                messages.push_back(Value(std::move(answer)));
                messages.push_back(message("tool", content));
            }
            return form.parsed.render(Value(variables(Value(std::move(messages)), Value(), false)), limits_for(0, 0));
        };
        const auto as_text = render(Value(kProbe)), as_parts = render(part(kProbe));
        out.takes_parts[i] = as_text && as_parts && *as_text == *as_parts && as_text->find(kProbe) != std::string::npos;
    }
    return out;
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::State::make(std::vector<Named> sources,
                                                                      const std::string& file, Object special_tokens) {
    auto state = std::make_unique<State>();
    state->special_tokens = std::move(special_tokens);
    const auto named = [&](std::string_view name) {
        return std::find_if(sources.begin(), sources.end(), [&](const Named& n) { return n.name == name; });
    };
    auto chosen = named("default");
    if (chosen == sources.end() && sources.size() == 1) chosen = sources.begin();
    if (chosen == sources.end())
        return error(ErrorCode::model_invalid, "{}: chat_template: none of its {} templates is named default", file,
                     sources.size());
    TRY_VOID(state->add(std::move(chosen->source), file));
    if (auto for_tools = named("tool_use"); for_tools != sources.end() && for_tools != chosen)
        TRY_VOID(state->add(std::move(for_tools->source), fmt::format("{} (tool_use)", file)));
    return std::shared_ptr<const ChatTemplate>(new ChatTemplate(std::move(state)));
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source, std::string_view name,
                                                                std::string bos, std::string eos) {
    Object tokens;
    if (!bos.empty()) tokens.set("bos_token", std::move(bos));
    if (!eos.empty()) tokens.set("eos_token", std::move(eos));
    return State::make({{"default", std::string(source)}}, std::string(name), std::move(tokens));
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::load(const Folder& folder, std::string bos, std::string eos) {
    constexpr std::string_view kOwn = "chat_template.jinja", kConfig = "tokenizer_config.json",
                               kForTools = "additional_chat_templates/tool_use.jinja",
                               kProcessor = "chat_template.json";
    Value config;
    if (folder.has_file(kConfig)) {
        TRY(config, read_json_file(folder, kConfig));
    }
    Object tokens;
    if (!bos.empty()) tokens.set("bos_token", std::move(bos));
    if (!eos.empty()) tokens.set("eos_token", std::move(eos));
    for (std::string_view name : kSpecialTokens) {
        const Value* token = config.find(name);
        if (token && token->is_object()) token = token->find("content");
        if (token && token->is_string()) tokens.set(name, *token);
    }

    if (folder.has_file(kOwn)) {
        TRY(std::string source, folder.read(kOwn, kTemplateBytes));
        std::vector<Named> sources = {{"default", std::move(source)}};
        if (folder.has_file(kForTools)) {
            TRY(std::string tool_source, folder.read(kForTools, kTemplateBytes));
            sources.push_back({"tool_use", std::move(tool_source)});
        }
        return State::make(std::move(sources), std::string(kOwn), std::move(tokens));
    }
    std::string file(kConfig);
    const Value* field = config.find("chat_template");
    Value processor;
    if ((!field || field->is_none()) && folder.has_file(kProcessor)) {
        TRY(processor, read_json_file(folder, kProcessor));
        field = processor.find("chat_template");
        file = kProcessor;
    }
    if (!field || field->is_none())
        return error(ErrorCode::not_found,
                     "{}: neither chat_template.jinja nor a chat_template in tokenizer_config.json", folder.string());
    TRY(auto sources, read_field(*field, file));
    return State::make(std::move(sources), file, std::move(tokens));
}

namespace {

// Puts the continuation mark behind the text of the last message; gives that text.
Result<std::string> mark_final_message(Value& messages) {
    auto refuse = [](std::string_view what) {
        return Error{ErrorCode::invalid_request, std::string(what), "continue_final_message"};
    };
    Array all = messages.as_array();
    if (all.empty()) return refuse("there is no message to continue");
    Object last = all.back().as_object();
    const Value* content = last.find("content");
    std::string text;
    if (content && content->is_string()) {
        text = content->as_string();
        last.set("content", text + std::string(kContinuation));
    } else if (content && content->is_array()) {
        Array parts = content->as_array();
        const auto it = std::find_if(parts.rbegin(), parts.rend(),
                                     [](const Value& p) { return p.find("text") && p.find("text")->is_string(); });
        if (it == parts.rend()) return refuse("the last message has no text to continue");
        Object marked = it->as_object();
        text = marked.find("text")->as_string();
        marked.set("text", text + std::string(kContinuation));
        *it = Value(std::move(marked));
        last.set("content", std::move(parts));
    } else {
        return refuse("the last message has no text to continue");
    }
    all.back() = Value(std::move(last));
    messages = Value(std::move(all));
    return text;
}

// Cuts the text where the final message ends.
Result<std::string> cut_at_mark(std::string rendered, std::string_view final_text) {
    const std::string_view mark = jinja::strip(kContinuation, jinja::Side::both);
    const size_t at = rendered.rfind(mark);
    if (at == std::string::npos || rendered.find(jinja::strip(final_text, jinja::Side::both)) == std::string::npos)
        return Error{ErrorCode::invalid_request,
                     "the chat template changes the last message, which cannot be continued", "continue_final_message"};
    const bool kept_space = rendered.compare(at, kContinuation.size(), kContinuation) == 0;
    rendered.resize(at);
    if (!kept_space) rendered.resize(jinja::strip(rendered, jinja::Side::right).size());
    return rendered;
}

}  // namespace

Result<std::string> ChatTemplate::render(const ChatInput& input) const {
    const bool with_tools = input.tools.is_array() && !input.tools.as_array().empty();
    if (!with_tools && !input.tools.is_none() && !input.tools.is_array())
        return Error{ErrorCode::invalid_request, "tools: must be a list", "tools"};
    if (input.continue_final_message && input.add_generation_prompt)
        return Error{ErrorCode::invalid_request, "continue_final_message excludes add_generation_prompt",
                     "continue_final_message"};
    const State::Form& form = with_tools ? state_->templates.back() : state_->templates.front();
    TRY(Value messages, prepare_messages(input.messages, form.messages));
    std::string final_text;
    if (input.continue_final_message) {
        TRY(final_text, mark_final_message(messages));
    }
    Object variables = state_->variables(messages, with_tools ? input.tools : Value(), input.add_generation_prompt);
    if (!input.template_kwargs.is_none()) {
        if (!input.template_kwargs.is_object())
            return Error{ErrorCode::invalid_request, "chat_template_kwargs: must be an object", "chat_template_kwargs"};
        for (const auto& [name, value] : input.template_kwargs.as_object().entries()) {
            if (is_reserved(name)) {
                const std::string param = "chat_template_kwargs." + name;
                return Error{ErrorCode::invalid_request, fmt::format("{}: may not be set by a request", param), param};
            }
            variables.set(name, value);
        }
    }
    const Value all(std::move(variables));
    auto rendered = form.parsed.render(all, limits_for(text_bytes(all), messages.as_array().size()));
    if (!rendered) {
        Error failure = rendered.error();
        if (failure.code == ErrorCode::invalid_request) {
            failure.message = fmt::format("the chat template refuses the messages: {}", failure.message);
            failure.param = "messages";
        }
        return failure;
    }
    if (!input.continue_final_message) return rendered;
    return cut_at_mark(*std::move(rendered), final_text);
}

const std::string& ChatTemplate::source() const {
    return state_->templates.front().source;
}

bool ChatTemplate::supports_tools() const {
    return std::any_of(state_->templates.begin(), state_->templates.end(),
                       [](const State::Form& form) { return mentions(form.source, "tools"); });
}

bool ChatTemplate::supports_thinking() const {
    return mentions(source(), "enable_thinking");
}

}  // namespace nibble::text
