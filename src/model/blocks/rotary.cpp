#include "model/blocks/rotary.h"

#include "base/in_quotes.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

namespace nibble::model {
namespace {

using checkpoint::Config;

// The rotary fields of a config, wherever it keeps them.
struct Fields {
    const Config& config;
    std::string section;  // "rope_scaling", "rope_parameters", or empty

    std::string in_section(std::string_view field) const { return fmt::format("{}.{}", section, field); }

    Result<std::optional<double>> optional(std::string_view field) const {
        if (section.empty()) return std::optional<double>();
        return config.optional_number(in_section(field));
    }
    // In the section, else beside it.
    Result<double> either(std::string_view field, double otherwise) const {
        TRY(std::optional<double> value, optional(field));
        if (!value) {
            TRY(value, config.optional_number(field));
        }
        return value.value_or(otherwise);
    }
    Result<double> positive(std::string_view field) const {
        TRY(const double value, config.require_number(in_section(field)));
        if (!(value > 0) || !std::isfinite(value)) return config.wrong(in_section(field), "a number above 0");
        return value;
    }
    Result<std::vector<float>> factors(std::string_view field, int64_t count) const {
        TRY(const std::vector<double> list, config.number_list(in_section(field)));
        if (static_cast<int64_t>(list.size()) != count ||
            !std::all_of(list.begin(), list.end(), [](double v) { return v > 0 && std::isfinite(v); }))
            return config.wrong(in_section(field), fmt::format("a list of {} numbers above 0", count));
        return std::vector<float>(list.begin(), list.end());
    }
    // The length before scaling; beside the section it has priority.
    Result<int64_t> original_length(int64_t max_position_embeddings) const {
        constexpr std::string_view kField = "original_max_position_embeddings";
        TRY(std::optional<int64_t> length, config.optional_int(kField, 1, int64_t{1} << 40));
        if (!length) {
            TRY(length, config.optional_int(in_section(kField), 1, int64_t{1} << 40));
        }
        return length.value_or(max_position_embeddings);
    }
};

// base^(2i / dim), i = 0 … dim/2 - 1. An odd dim rounds up, as a range with step 2 does.
std::vector<float> powers(double base, int64_t dim) {
    std::vector<float> values;
    for (int64_t i = 0; i < dim; i += 2)
        values.push_back(std::pow(static_cast<float>(base), static_cast<float>(i) / static_cast<float>(dim)));
    return values;
}

std::vector<float> inverse(double base, int64_t dim, float factor = 1.0f) {
    std::vector<float> values = powers(base, dim);
    for (float& v : values) v = 1.0f / v / factor;
    return values;
}

double mscale(double factor, double multiplier) {
    return factor <= 1.0 ? 1.0 : 0.1 * multiplier * std::log(factor) + 1.0;
}

Result<Rotary> yarn(const Fields& fields, double base, int64_t dim, int64_t max_position_embeddings) {
    TRY(const double factor, fields.positive("factor"));
    TRY(const int64_t original, fields.original_length(max_position_embeddings));
    TRY(const auto attention_factor, fields.optional("attention_factor"));
    TRY(const auto multiplier, fields.optional("mscale"));
    TRY(const auto all_dim, fields.optional("mscale_all_dim"));
    TRY(const auto beta_fast, fields.optional("beta_fast"));
    TRY(const auto beta_slow, fields.optional("beta_slow"));
    TRY(const auto truncate, fields.config.optional_bool(fields.in_section("truncate")));

    // The dimension that turns `rotations` times within the original length.
    const auto turning = [&](double rotations) {
        return static_cast<double>(dim) * std::log(static_cast<double>(original) / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(base));
    };
    const auto or_default = [](std::optional<double> v, double otherwise) { return v && *v != 0 ? *v : otherwise; };
    double low = turning(or_default(beta_fast, 32)), high = turning(or_default(beta_slow, 1));
    if (truncate.value_or(true)) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(dim - 1));
    if (low == high) high += 0.001;

    Rotary rotary{.max_context = max_position_embeddings};
    const std::vector<float> power = powers(base, dim);
    for (size_t i = 0; i < power.size(); ++i) {
        const float ramp =
            std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
        const float keep = 1.0f - ramp;
        rotary.inv_freq.push_back(1.0f / (static_cast<float>(factor) * power[i]) * (1.0f - keep) +
                                  1.0f / power[i] * keep);
    }
    if (attention_factor)
        rotary.scale = static_cast<float>(*attention_factor);
    else if (multiplier.value_or(0) != 0 && all_dim.value_or(0) != 0)
        rotary.scale = static_cast<float>(mscale(factor, *multiplier) / mscale(factor, *all_dim));
    else
        rotary.scale = static_cast<float>(mscale(factor, 1));
    return rotary;
}

Result<Rotary> longrope(const Fields& fields, double base, int64_t dim, int64_t max_position_embeddings) {
    TRY(const int64_t original, fields.original_length(max_position_embeddings));
    TRY(const std::vector<float> short_factor, fields.factors("short_factor", (dim + 1) / 2));
    TRY(const auto attention_factor, fields.optional("attention_factor"));
    TRY(const auto given, fields.optional("factor"));
    const double factor = given.value_or(static_cast<double>(max_position_embeddings) / static_cast<double>(original));
    Rotary rotary{.max_context = std::min(original, max_position_embeddings)};
    const std::vector<float> power = powers(base, dim);
    for (size_t i = 0; i < power.size(); ++i) rotary.inv_freq.push_back(1.0f / (short_factor[i] * power[i]));
    if (attention_factor)
        rotary.scale = static_cast<float>(*attention_factor);
    else if (factor > 1.0)
        rotary.scale = static_cast<float>(std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original))));
    return rotary;
}

Result<Rotary> llama3(const Fields& fields, double base, int64_t dim, int64_t max_position_embeddings) {
    TRY(const double given_factor, fields.positive("factor"));
    TRY(const double given_low, fields.positive("low_freq_factor"));
    TRY(const double given_high, fields.positive("high_freq_factor"));
    TRY(const int64_t given_original, fields.original_length(max_position_embeddings));
    if (given_high == given_low)
        return fields.config.wrong(fields.in_section("high_freq_factor"), "a number other than low_freq_factor");
    const auto factor = static_cast<float>(given_factor), low = static_cast<float>(given_low);
    const auto high = static_cast<float>(given_high), original = static_cast<float>(given_original);
    Rotary rotary{.inv_freq = inverse(base, dim), .max_context = max_position_embeddings};
    for (float& v : rotary.inv_freq) {
        const float wavelength = static_cast<float>(2 * std::numbers::pi) / v;
        if (wavelength < original / high) continue;
        if (wavelength > original / low) {
            v /= factor;
        } else {
            const float smooth = (original / wavelength - low) / (high - low);
            v = (1.0f - smooth) * v / factor + smooth * v;
        }
    }
    return rotary;
}

}  // namespace

Result<Rotary> read_rotary(const Config& config, int64_t head_dim, int64_t max_position_embeddings) {
    Fields fields{.config = config};
    for (const char* section : {"rope_scaling", "rope_parameters"})
        if (fields.section.empty() && !config.keys(section).empty()) fields.section = section;

    std::string kind = "default";
    if (!fields.section.empty()) {
        TRY(auto named, config.optional_string(fields.in_section("rope_type")));
        if (!named) {
            TRY(named, config.optional_string(fields.in_section("type")));
        }
        kind = named.value_or(kind);
    }
    TRY(const double base, fields.either("rope_theta", 10000.0));
    TRY(const double partial, fields.either("partial_rotary_factor", 1.0));
    if (!(base > 1.0) || !std::isfinite(base)) return config.wrong("rope_theta", "a number above 1");
    if (!(partial > 0.0 && partial <= 1.0)) return config.wrong("partial_rotary_factor", "a number in (0, 1]");
    const auto dim = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
    if (dim < 2) return config.wrong("partial_rotary_factor", "a factor that leaves a dimension to rotate");

    // transformers' llama, mistral and qwen2 turn the whole head in the default kind, whatever partial_rotary_factor
    // says.
    if (kind == "default") return Rotary{.inv_freq = inverse(base, head_dim), .max_context = max_position_embeddings};
    if (kind == "yarn") return yarn(fields, base, dim, max_position_embeddings);
    if (kind == "longrope") return longrope(fields, base, dim, max_position_embeddings);
    if (kind == "llama3") return llama3(fields, base, dim, max_position_embeddings);
    if (kind == "linear") {
        TRY(const double factor, fields.positive("factor"));
        return Rotary{.inv_freq = inverse(base, dim, static_cast<float>(factor)),
                      .max_context = max_position_embeddings};
    }
    if (kind == "dynamic") {
        if (dim <= 2) return config.wrong(fields.section, "at least 4 rotated dimensions for dynamic scaling");
        TRY(const double factor, fields.positive("factor"));
        const double scaled =
            base * std::pow(factor - (factor - 1), static_cast<double>(dim) / static_cast<double>(dim - 2));
        return Rotary{.inv_freq = inverse(scaled, dim), .max_context = max_position_embeddings};
    }
    if (kind == "proportional") {
        TRY(const auto factor, fields.optional("factor"));
        Rotary rotary{.inv_freq = inverse(base, head_dim, static_cast<float>(factor.value_or(1.0))),
                      .max_context = max_position_embeddings};
        const auto turned = static_cast<size_t>(partial * static_cast<double>(head_dim) / 2);
        std::fill(rotary.inv_freq.begin() + static_cast<int64_t>(std::min(turned, rotary.inv_freq.size())),
                  rotary.inv_freq.end(), 0.0f);
        return rotary;
    }
    return error(ErrorCode::unsupported,
                 "{}: {}.rope_type is {}; known are default, linear, dynamic, yarn, longrope, "
                 "llama3 and proportional",
                 config.file(), fields.section, in_quotes(kind));
}

}  // namespace nibble::model
