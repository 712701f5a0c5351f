// Template: the Jinja 2.11/3.1 of chat templates, interpreted within limits.
//
// No host object is reachable from a template: it sees Values and the functions listed in docs/templates.md. Parsing
// and rendering do not recurse beyond `depth`. The oracle is Python's jinja2 with Hugging Face's settings (trim_blocks,
// lstrip_blocks, loop controls, ImmutableSandboxedEnvironment, tojson without HTML escapes). Immutable; any thread.
#pragma once

#include "base/result.h"
#include "text/value.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace nibble::text {

namespace jinja {
struct Program;
}

struct TemplateLimits {
    int64_t steps = 10'000'000;       // one a statement, an operation, an element, 64 bytes of text
    int depth = 64;                   // nesting of the source, and of macro calls
    int64_t range = 100'000;          // elements of one range()
    size_t output_bytes = 16u << 20;  // and of any one text; chat_template.cpp sets 4 x input + 1 MiB
    size_t memory_bytes = 512u << 20;
};

class Template {
public:
    // Errors: model_invalid, with line and column.
    static Result<Template> parse(std::string_view source, std::string_view name, const TemplateLimits& limits = {});
    // `variables` is an object. Errors: invalid_request for raise_exception(message), with nothing but the message, and
    // for what the data caused; model_invalid for what only the template can have caused; both naming the line.
    Result<std::string> render(const Value& variables, const TemplateLimits& limits = {}) const;

private:
    explicit Template(std::shared_ptr<const jinja::Program> program) : program_(std::move(program)) {}
    std::shared_ptr<const jinja::Program> program_;
};

}  // namespace nibble::text
