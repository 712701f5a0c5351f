#include "cli/config_file.h"

#include "base/files.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>

namespace nibble::cli {
namespace {

constexpr uint64_t kLimit_bytes = 1 << 20;  // yaml-cpp bounds its own recursion
}  // namespace

Result<std::vector<ConfigEntry>> read_config_file(const std::filesystem::path& path) {
    auto text = read_whole_file(path, kLimit_bytes);
    if (!text) return Error{ErrorCode::usage, std::move(text).error().message, "config"};
    const auto wrong = [&](int line, const std::string& what) {
        return Error{ErrorCode::usage, fmt::format("{}:{}: {}", path.string(), line, what), "config"};
    };
    std::vector<ConfigEntry> entries;
    try {
        const YAML::Node root = YAML::Load(*text);
        if (root.IsNull()) return entries;
        if (!root.IsMap()) return wrong(root.Mark().line + 1, "expected a mapping of flags to values");
        std::set<std::string> seen;
        for (const auto& pair : root) {
            const YAML::Node key = pair.first, value = pair.second;
            ConfigEntry entry;
            entry.line = key.Mark().line + 1;
            if (!key.IsScalar()) return wrong(entry.line, "expected the name of a flag");
            entry.flag = key.Scalar();
            std::replace(entry.flag.begin(), entry.flag.end(), '_', '-');
            if (!seen.insert(entry.flag).second) return wrong(entry.line, fmt::format("{} is set twice", entry.flag));
            if (value.IsScalar()) {
                entry.values.push_back(value.Scalar());
            } else if (value.IsSequence()) {
                for (const YAML::Node& item : value) {
                    if (!item.IsScalar())
                        return wrong(item.Mark().line + 1,
                                     fmt::format("{}: expected a list of plain values", entry.flag));
                    entry.values.push_back(item.Scalar());
                }
            } else if (!value.IsNull()) {
                return wrong(value.Mark().line + 1, fmt::format("{}: expected a value or a list of them", entry.flag));
            }
            entries.push_back(std::move(entry));
        }
    } catch (const YAML::Exception& failure) {
        return wrong(failure.mark.line + 1, fmt::format("not YAML: {}", failure.msg));
    }
    return entries;
}

}  // namespace nibble::cli
