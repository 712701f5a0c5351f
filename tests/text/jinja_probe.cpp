// Renders templates for tests in Python: one JSON object a line in, one out.
//   {"template": …, "context": {…}}                         the variables as they are
//   {"template": …, "messages": […], "tools": […] or null,  through ChatTemplate
//    "kwargs": {…}, "add_generation_prompt": …, "continue_final_message": …, "bos_token": …, "eos_token": …}
//   ->  {"text": …}  or  {"error": message, "code": name}
#include "base/result.h"
#include "text/chat_template.h"
#include "text/jinja.h"
#include "text/value.h"

#include <iostream>
#include <string>

using namespace nibble;
using namespace nibble::text;

namespace {

Value member(const Value& request, std::string_view name) {
    const Value* value = request.find(name);
    return value ? *value : Value();
}

bool is_true(const Value& value) {
    return value.is_bool() && value.as_bool();
}

Result<std::string> render_chat(const Value& request, std::string_view source) {
    const Value bos = member(request, "bos_token"), eos = member(request, "eos_token");
    TRY(auto parsed, ChatTemplate::parse(source, "template", bos.is_string() ? bos.as_string() : "",
                                         eos.is_string() ? eos.as_string() : ""));
    return parsed->render({.messages = member(request, "messages"),
                           .tools = member(request, "tools"),
                           .add_generation_prompt = is_true(member(request, "add_generation_prompt")),
                           .continue_final_message = is_true(member(request, "continue_final_message")),
                           .template_kwargs = member(request, "kwargs")});
}

Result<std::string> render(const Value& request) {
    const Value* source = request.find("template");
    const Value* context = request.find("context");
    if (!source || !source->is_string()) return error(ErrorCode::usage, "template expected");
    if (!context) return render_chat(request, source->as_string());
    TRY(auto parsed, Template::parse(source->as_string(), "template"));
    return parsed.render(*context);
}

}  // namespace

int main() {
    std::ios::sync_with_stdio(false);
    std::string line;
    while (std::getline(std::cin, line)) {
        Object answer;
        auto request = parse_json(line, 200);
        auto text = request ? render(*request) : Result<std::string>(request.error());
        if (text) {
            answer.set("text", *text);
        } else {
            answer.set("error", text.error().message);
            answer.set("code", code_name(text.error().code));
        }
        std::cout << to_json(answer) << '\n' << std::flush;
    }
}
