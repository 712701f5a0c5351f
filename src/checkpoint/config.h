// Config: one JSON file of a checkpoint (config.json, hf_quant_config.json, generation_config.json), read by name.
//
// JSON stops here: other rooms see numbers, strings and lists. Every getter's error names the file, the field, what was
// expected and what was found. Accepts what transformers writes: NaN and Infinity literals. Immutable after load.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nibble::checkpoint {

class Config {
public:
    static Result<Config> load(const std::filesystem::path& file);
    static Result<Config> parse(std::string_view json, std::string file_name);

    // Fields are dotted paths: "text_config.hidden_size". A JSON null counts as absent.
    bool has(std::string_view field) const;
    Result<int64_t> require_int(std::string_view field, int64_t min, int64_t max) const;
    Result<double> require_number(std::string_view field) const;
    Result<std::string> require_string(std::string_view field) const;
    Result<std::optional<int64_t>> optional_int(std::string_view field, int64_t min, int64_t max) const;
    Result<std::optional<double>> optional_number(std::string_view field) const;
    Result<std::optional<bool>> optional_bool(std::string_view field) const;
    Result<std::optional<std::string>> optional_string(std::string_view field) const;
    Result<std::vector<std::string>> string_list(std::string_view field) const;   // absent: empty
    Result<std::vector<double>> number_list(std::string_view field) const;        // absent: empty
    Result<std::vector<int64_t>> int_or_list(std::string_view field) const;       // 2, or [2, 11]; absent: empty
    Result<Config> section(std::string_view field) const;                         // an object; absent: an empty one
    std::vector<std::string> keys(std::string_view field = {}) const;             // of the object there, in file order
    std::vector<Config> items(std::string_view field) const;                      // of a list of objects
    const std::string& file() const;
    // An error about a field's value, worded like the getters'.
    Error wrong(std::string_view field, std::string_view expected) const;

private:
    struct State;
    std::shared_ptr<const State> state_;
    std::string prefix_;
};

}  // namespace nibble::checkpoint
