// Template: the part of Jinja 2.11/3.1 that chat templates use, interpreted within limits.
//
// No host object is reachable from a template: it sees Values and the functions listed in docs/serving.md. Parsing and
// rendering do not recurse beyond `depth`. The oracle is Python's jinja2 with Hugging Face's settings (trim_blocks,
// lstrip_blocks, loop controls, ImmutableSandboxedEnvironment, tojson without HTML escapes). Immutable; any thread.
#pragma once

#include "base/result.h"
#include "text/value.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace nibble::text {

struct TemplateLimits {
    int64_t steps = 10'000'000;
    int depth = 64;                   // nesting of the source and of macro calls
    int64_t range = 100'000;          // elements of one range()
    size_t output_bytes = 16u << 20;  // chat_template.cpp sets 4 x input + 1 MiB
};

class Template {
public:
    // Errors: model_invalid, with line and column.
    static Result<Template> parse(std::string_view source, std::string_view name, const TemplateLimits& limits = {});
    // `variables` is an object. Errors: invalid_request for raise_exception(message) and for what the data caused,
    // model_invalid for what only the template can have caused, naming the line.
    Result<std::string> render(const Value& variables, const TemplateLimits& limits = {}) const;

    struct Node;
    ~Template();
    Template(Template&&) noexcept;
    Template& operator=(Template&&) noexcept;

private:
    explicit Template(std::shared_ptr<const Node> root);
    std::shared_ptr<const Node> root_;
};

}  // namespace nibble::text
