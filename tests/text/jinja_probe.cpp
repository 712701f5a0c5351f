// Renders templates for tests in Python: one JSON object a line in, one out.
//   {"template": …, "context": {…}}  ->  {"text": …}  or  {"error": message, "code": name}
#include "base/result.h"
#include "text/jinja.h"
#include "text/value.h"

#include <iostream>
#include <string>

using namespace nibble;
using namespace nibble::text;

namespace {

Result<std::string> render(const Value& request) {
    const Value* source = request.find("template");
    const Value* context = request.find("context");
    if (!source || !source->is_string() || !context) return error(ErrorCode::usage, "template and context expected");
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
