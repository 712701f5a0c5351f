#include "cli/flags.h"

#include "cli/config_file.h"
#include "cli/environment.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace nibble::cli {
namespace {

// The long name, or an argument's name; empty for what has neither.
std::string flag_name(const CLI::Option& option) {
    return option.get_lnames().empty() ? option.get_name(true) : option.get_lnames().front();
}

bool is_ours(const CLI::Option& option) {
    const std::string name = flag_name(option);
    return !name.empty() && name != "help" && name != "version";
}

bool is_secret(std::string_view flag) {
    return flag == "api-key";
}

// The nearest of the known names: the same letters but for one stretch of at most two.
std::string edit_hint(const std::string& wanted, const std::set<std::string>& known) {
    std::string nearest;
    size_t least = 3;
    for (const std::string& name : known) {
        size_t front = 0, back = 0;
        const size_t shorter = std::min(name.size(), wanted.size()), longer = std::max(name.size(), wanted.size());
        while (front < shorter && name[front] == wanted[front]) ++front;
        while (back < shorter - front && name[name.size() - 1 - back] == wanted[wanted.size() - 1 - back]) ++back;
        if (longer - front - back >= least) continue;
        least = longer - front - back;
        nearest = name;
    }
    return nearest.empty() ? "" : fmt::format("; is {} meant?", nearest);
}

// Gives the option its values as if they had been typed. `where` begins the message.
Result<void> assign(CLI::Option& option, const std::vector<std::string>& values, const std::string& where) {
    try {
        option.add_result(values);
        option.run_callback();
        return {};
    } catch (const CLI::Error& failure) {
        return error(ErrorCode::usage, "{}: {}", where, failure.what());
    }
}

// A variable has one text: where the flag may be repeated, commas part its values.
std::vector<std::string> split_values(const CLI::Option& option, const std::string& text) {
    if (option.get_items_expected_max() <= 1) return {text};
    std::vector<std::string> values;
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        if (end > begin) values.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return values;
}

}  // namespace

Result<Settings> complete_flags(CLI::App& program, CLI::App& verb) {
    std::set<std::string> known;
    for (const CLI::App* other : program.get_subcommands([](CLI::App*) { return true; }))
        for (const CLI::Option* option : other->get_options())
            if (is_ours(*option)) known.insert(variable_name(flag_name(*option)));
    std::map<std::string, std::string> variables;
    for (const Variable& variable : nibble_variables()) {
        if (!known.contains(variable.name))
            return error(ErrorCode::usage, "{} is set, but no flag has that name{}", variable.name,
                         edit_hint(variable.name, known));
        variables[variable.name] = variable.value;
    }

    std::map<std::string, std::string> origins;
    for (CLI::Option* option : verb.get_options()) {
        if (!is_ours(*option)) continue;
        const std::string flag = flag_name(*option), variable = variable_name(flag);
        if (option->count() > 0) {
            origins[flag] = "command line";
        } else if (const auto found = variables.find(variable); found != variables.end()) {
            TRY_VOID(assign(*option, split_values(*option, found->second),
                            is_secret(flag) ? variable : fmt::format("{}={}", variable, found->second)));
            origins[flag] = variable;
        }
    }

    if (const CLI::Option* config = verb.get_option_no_throw("--config"); config != nullptr && config->count() > 0) {
        const std::string path = config->as<std::string>();
        TRY(const std::vector<ConfigEntry> entries, read_config_file(path));
        for (const ConfigEntry& entry : entries) {
            const std::string where = fmt::format("{}:{}", path, entry.line);
            CLI::Option* option = nullptr;
            for (CLI::Option* candidate : verb.get_options())
                if (is_ours(*candidate) && flag_name(*candidate) == entry.flag) option = candidate;
            if (option == nullptr || entry.flag == "config" || entry.flag == "print-config")
                return error(ErrorCode::usage, "{}: {} is no flag of {}", where, entry.flag, verb.get_name());
            if (option->count() > 0 || entry.values.empty()) continue;
            TRY_VOID(assign(*option, entry.values, fmt::format("{}: {}", where, entry.flag)));
            origins[entry.flag] = where;
        }
    }

    Settings settings;
    for (const CLI::Option* option : verb.get_options()) {
        if (!is_ours(*option)) continue;
        const std::string flag = flag_name(*option);
        const auto origin = origins.find(flag);
        std::string value =
            option->count() > 0 ? fmt::format("{}", fmt::join(option->results(), ", ")) : option->get_default_str();
        if (option->count() > 0 && is_secret(flag)) value = "(hidden)";
        settings.flags.push_back({flag, std::move(value), origin == origins.end() ? "built in" : origin->second});
    }
    return settings;
}

std::string describe(const Settings& settings) {
    size_t flag_width = 0, value_width = 0;
    for (const Setting& setting : settings.flags) {
        flag_width = std::max(flag_width, setting.flag.size());
        value_width = std::max(value_width, std::min<size_t>(setting.value.size(), 40));
    }
    std::string text;
    for (const Setting& setting : settings.flags)
        text += fmt::format("{:<{}}  {:<{}}  {}\n", setting.flag, flag_width,
                            setting.value.empty() ? "-" : setting.value, value_width, setting.origin);
    return text;
}

}  // namespace nibble::cli
