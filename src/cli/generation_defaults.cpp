#include "cli/generation_defaults.h"

#include <cmath>
#include <limits>

namespace nibble::cli {
namespace {

// The field as a float in [min, max], left as it is when absent.
Result<void> read(const checkpoint::Config& config, std::string_view field, double min, double max, float& value) {
    TRY(const auto number, config.optional_number(field));
    if (!number) return {};
    if (!(*number >= min && *number <= max))
        return config.wrong(field, fmt::format("a number from {:g} to {:g}", min, max));
    value = static_cast<float>(*number);
    return {};
}

}  // namespace

Result<server::GenerationDefaults> generation_defaults(const checkpoint::Checkpoint& checkpoint) {
    server::GenerationDefaults defaults;
    const checkpoint::Config* config = checkpoint.generation_config();
    if (config == nullptr) return defaults;
    TRY_VOID(read(*config, "temperature", 0, 100, defaults.temperature));
    TRY_VOID(read(*config, "top_p", 0, 1, defaults.top_p));
    TRY_VOID(read(*config, "min_p", 0, 1, defaults.min_p));
    TRY_VOID(read(*config, "repetition_penalty", 0, 100, defaults.repetition_penalty));
    if (defaults.top_p == 0) defaults.top_p = std::numeric_limits<float>::min();  // only the likeliest
    if (defaults.repetition_penalty == 0) return config->wrong("repetition_penalty", "a number above 0");
    TRY(const auto top_k, config->optional_int("top_k", -1, std::numeric_limits<int32_t>::max()));
    if (top_k) defaults.top_k = *top_k > 0 ? static_cast<int>(*top_k) : 0;
    TRY(const auto max_tokens, config->optional_int("max_new_tokens", 1, int64_t{1} << 40));
    defaults.max_tokens = max_tokens;
    return defaults;
}

}  // namespace nibble::cli
