#include "cli/routing_file.h"

#include "base/files.h"
#include "base/in_quotes.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <utility>
#include <vector>

namespace nibble::cli {
namespace {

constexpr uint64_t kMostBytes = uint64_t{16} << 20;

struct RoutedLayer {
    int64_t experts = 0;
    double top_k = 0;
};

std::map<std::string, RoutedLayer, std::less<>> routed_layers(const ops::Program& one_token) {
    std::map<std::string, RoutedLayer, std::less<>> layers;
    for (const ops::ProgramStep& step : one_token.steps)
        for (const ops::WeightRead& weight : step.weights)
            if (weight.role == ops::WeightRead::Role::routed_experts)
                layers[step.module] = {weight.count, std::round(step.cost.distinct_experts)};
    return layers;
}

// P(an expert is among a token's top k) in proportion to the counts; none is above 1, so what is cut off there goes to
// the others.
Result<std::vector<double>> probabilities(const std::vector<double>& counts, double top_k, const std::string& where) {
    double sum = 0;
    size_t chosen = 0;
    for (const double count : counts) {
        if (!(count >= 0) || !std::isfinite(count))
            return error(ErrorCode::usage, "{}: expected numbers from 0 on, found {}", where, count);
        sum += count;
        chosen += count > 0;
    }
    if (!std::isfinite(sum) || static_cast<double>(chosen) < top_k)
        return error(ErrorCode::usage, "{}: expected at least {} experts that were chosen, found {}", where, top_k,
                     chosen);
    std::vector<double> p(counts.size());
    double left = top_k;  // of the probability to give, and of the counts that share it
    std::vector<bool> full(counts.size());
    for (bool again = true; again;) {
        again = false;
        for (size_t e = 0; e < counts.size(); ++e) {
            if (full[e]) continue;
            p[e] = sum > 0 ? left * counts[e] / sum : 0;
            if (p[e] <= 1.0 + 1e-12) continue;
            p[e] = 1.0;
            full[e] = again = true;
        }
        if (!again) break;
        left = top_k;
        sum = 0;
        for (size_t e = 0; e < counts.size(); ++e) full[e] ? left -= 1.0 : sum += counts[e];
    }
    return p;
}

Result<ops::RoutingModel> parse(const nlohmann::json& json, const std::string& path, const ops::Program& one_token) {
    if (!json.is_object()) return error(ErrorCode::usage, "{}: expected an object of layers and lists", path);
    const auto layers = routed_layers(one_token);
    ops::RoutingModel routing;
    for (const auto& [name, list] : json.items()) {
        const std::string where = path + ": " + in_quotes(name);
        const auto layer = layers.find(name);
        if (layer == layers.end())
            return error(ErrorCode::usage, "{}: the model has no routed layer of that name{}", where,
                         layers.empty() ? "" : "; its first is " + in_quotes(layers.begin()->first));
        const bool numbers = list.is_array() &&
                             std::all_of(list.begin(), list.end(), [](const auto& value) { return value.is_number(); });
        if (!numbers || static_cast<int64_t>(list.size()) != layer->second.experts)
            return error(ErrorCode::usage, "{}: expected a list of {} numbers, found {}", where, layer->second.experts,
                         numbers ? std::to_string(list.size()) : "something else");
        TRY(routing.layer_probability[name],
            probabilities(list.get<std::vector<double>>(), layer->second.top_k, where));
    }
    return routing;
}

}  // namespace

Result<ops::RoutingModel> read_routing_file(const std::string& path, const ops::Program& one_token) {
    auto text = read_whole_file(path, kMostBytes);
    if (!text) return error(ErrorCode::usage, "--routing: {}", text.error().message);
    try {
        const nlohmann::json json = nlohmann::json::parse(*text);
        return parse(json, path, one_token);
    } catch (const std::exception& failure) {
        return error(ErrorCode::usage, "{}: not JSON: {}", path, failure.what());
    }
}

std::string routing_text(const ops::ExpertCounts::Lists& counts) {
    std::string text = "{";
    for (const auto& [module, experts] : counts)
        text += fmt::format("{}\n  {}: {}", text.size() > 1 ? "," : "", nlohmann::json(module).dump(),
                            nlohmann::json(experts).dump());
    return text + "\n}\n";
}

}  // namespace nibble::cli
