#include "text/jinja.h"

#include "text/jinja/interpreter.h"
#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"

namespace nibble::text {

Result<Template> Template::parse(std::string_view source, std::string_view name, const TemplateLimits& limits) {
    TRY(auto program, jinja::parse(source, name, limits));
    return Template(std::move(program));
}

Result<std::string> Template::render(const Value& variables, const TemplateLimits& limits) const {
    jinja::Runtime runtime(limits);
    jinja::Interpreter interpreter(*program_, runtime);
    std::string out;
    if (interpreter.render(variables, out)) return out;
    Error failure = *runtime.take_failure();
    if (!runtime.raised()) {
        const size_t line = jinja::position_of(program_->source, interpreter.where()).line;
        failure.message = fmt::format("{}:{}: {}", program_->name, line, failure.message);
    }
    return failure;
}

}  // namespace nibble::text
