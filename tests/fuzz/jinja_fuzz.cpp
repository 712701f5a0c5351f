// Any bytes as a template, up to the first zero, and as the JSON of its variables behind it.
#include "text/jinja.h"
#include "text/value.h"

#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace nibble::text;
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    const size_t zero = input.find('\0');
    const std::string_view variables =
        zero == std::string_view::npos
            ? R"({"messages": [{"role": "user", "content": "Äa b\n"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5, {"b": null}]}}}]}],
                  "tools": [{"function": {"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}}], "n": 3, "s": "text", "add_generation_prompt": true})"
            : input.substr(zero + 1);
    TemplateLimits limits;
    limits.steps = 100'000;
    limits.output_bytes = 1 << 20;
    limits.memory_bytes = 16 << 20;
    const auto parsed = Template::parse(input.substr(0, zero), "fuzz", limits);
    const auto context = parse_json(variables);
    if (parsed && context) (void)parsed->render(*context, limits);
    return 0;
}
