// Config: one JSON file of a checkpoint (config.json, hf_quant_config.json, generation_config.json), read by name.
//
// JSON stops here: other rooms see numbers, strings and lists. Every getter's error names the file, the field, what was
// expected and what was found. Accepts what transformers writes: NaN and Infinity literals. A name that stands twice in
// an object is refused. Immutable after load; copies share the file.
#pragma once

#include "base/folder.h"
#include "base/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble::checkpoint {

class Config {
public:
    // Errors: not_found, io, model_invalid (not JSON, nested deeper than 64, larger than 64 MiB or 4 million values).
    static Result<Config> load(const std::filesystem::path& file);
    static Result<Config> load(const Folder& folder, std::string_view name);
    static Result<Config> parse(std::string_view json, std::string file_name);

    // Fields are dotted paths: "text_config.hidden_size". A JSON null counts as absent. Getters' errors: model_invalid.
    bool has(std::string_view field) const;
    Result<int64_t> require_int(std::string_view field, int64_t min, int64_t max) const;
    Result<double> require_number(std::string_view field) const;
    Result<std::string> require_string(std::string_view field) const;
    Result<std::optional<int64_t>> optional_int(std::string_view field, int64_t min, int64_t max) const;
    Result<std::optional<double>> optional_number(std::string_view field) const;
    Result<std::optional<bool>> optional_bool(std::string_view field) const;
    Result<std::optional<std::string>> optional_string(std::string_view field) const;
    Result<std::vector<std::string>> string_list(std::string_view field) const;  // absent: empty
    Result<std::vector<double>> number_list(std::string_view field) const;       // absent: empty
    Result<std::vector<int64_t>> int_or_list(std::string_view field) const;      // 2, or [2, 11]; absent: empty
    Result<Config> section(std::string_view field) const;                        // an object; absent: an empty one
    std::vector<std::string> keys(std::string_view field = {}) const;            // of the object there, in file order
    std::vector<Config> items(std::string_view field) const;                     // of a list of objects
    // Name and value of every member of the object there, in file order: for names that hold dots.
    std::vector<std::pair<std::string, Config>> members(std::string_view field) const;
    // The same for an object whose values are all strings; absent: empty.
    Result<std::vector<std::pair<std::string, std::string>>> string_map(std::string_view field) const;
    // What stands there, in a few words: "an object", "'silu'", "3.5", "nothing".
    std::string describe(std::string_view field) const;
    const std::string& file() const;
    // An error about a field's value, worded like the getters'.
    Error wrong(std::string_view field, std::string_view expected) const;

private:
    struct State;
    struct Node;
    Config(std::shared_ptr<const State> state, const Node* node, std::string prefix);
    const Node* find(std::string_view field) const;
    std::string full_name(std::string_view field) const;

    std::shared_ptr<const State> state_;
    const Node* node_ = nullptr;  // into state_; null: an empty object
    std::string prefix_;          // of names in errors
};

}  // namespace nibble::checkpoint
