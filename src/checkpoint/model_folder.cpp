// find_model_folder: a model's name on the command line -> where its files lie. The only place of src/ that reads the
// environment, because the Hugging Face cache is found by it. Nothing is written.
#include "base/files.h"
#include "base/in_quotes.h"
#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <system_error>

namespace nibble::checkpoint {
namespace {

namespace fs = std::filesystem;

std::optional<fs::path> variable(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return fs::path(value);
}

bool is_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

// One component of a repository's name, as the hub allows it.
bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= 96 && text != "." && text != ".." &&
           std::all_of(text.begin(), text.end(),
                       [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

struct Repository {
    std::string folder;    // "models--org--name"
    std::string revision;  // empty: main
};

std::optional<Repository> parse_repository(std::string_view model) {
    Repository repository;
    if (const size_t at = model.find('@'); at != std::string_view::npos) {
        repository.revision = model.substr(at + 1);
        model = model.substr(0, at);
        // "refs/pr/1" and branches with slashes are revisions too; each part must be a plain name.
        for (std::string_view rest = repository.revision;;) {
            const size_t slash = rest.find('/');
            if (!is_name(rest.substr(0, slash))) return std::nullopt;
            if (slash == std::string_view::npos) break;
            rest.remove_prefix(slash + 1);
        }
    }
    const size_t slash = model.find('/');
    repository.folder = "models--" + std::string(model.substr(0, slash));
    if (!is_name(model.substr(0, slash))) return std::nullopt;
    if (slash != std::string_view::npos) {
        if (!is_name(model.substr(slash + 1))) return std::nullopt;
        repository.folder += "--" + std::string(model.substr(slash + 1));
    }
    return repository;
}

// The snapshot of a revision: a commit by its own name, else a ref file that holds a commit.
std::optional<fs::path> find_snapshot(const fs::path& repository, const std::string& revision) {
    const fs::path snapshots = repository / "snapshots";
    const std::string wanted = revision.empty() ? "main" : revision;
    if (wanted.find('/') == std::string::npos && is_folder(snapshots / wanted)) return snapshots / wanted;
    const std::string ref = wanted.starts_with("refs/") ? wanted.substr(5) : wanted;
    auto commit = read_whole_file(repository / "refs" / ref, 4096);
    if (!commit) commit = read_whole_file(repository / "refs" / wanted, 4096);
    if (commit) {
        while (!commit->empty() && std::isspace(static_cast<unsigned char>(commit->back()))) commit->pop_back();
        if (is_name(*commit) && is_folder(snapshots / *commit)) return snapshots / *commit;
        return std::nullopt;
    }
    if (!revision.empty()) return std::nullopt;
    // Fetched by commit: there is no ref, but one snapshot leaves no doubt.
    std::optional<fs::path> only;
    std::error_code failure;
    for (fs::directory_iterator entry(snapshots, failure), end; !failure && entry != end; entry.increment(failure)) {
        if (only) return std::nullopt;
        only = entry->path();
    }
    return only && is_folder(*only) ? only : std::nullopt;
}

}  // namespace

// As huggingface_hub looks for it.
std::optional<fs::path> hub_cache() {
    if (auto cache = variable("HF_HUB_CACHE")) return cache;
    if (auto cache = variable("HUGGINGFACE_HUB_CACHE")) return cache;
    if (auto home = variable("HF_HOME")) return *home / "hub";
    if (auto cache = variable("XDG_CACHE_HOME")) return *cache / "huggingface" / "hub";
    if (auto home = variable("HOME")) return *home / ".cache" / "huggingface" / "hub";
    return std::nullopt;
}

Result<Folder> find_model_folder(std::string_view model) {
    if (model == kDemoModel) return demo_model();
    if (model.empty() || model.find('\0') != std::string_view::npos)
        return error(ErrorCode::not_found, "model {}: expected a folder, or org/name[@revision]", in_quotes(model));
    std::error_code ignored;
    const fs::path path{std::string(model)};
    const fs::file_status status = fs::status(path, ignored);
    if (fs::is_directory(status)) return Folder(path);
    if (fs::exists(status))
        return error(ErrorCode::not_found, "model {}: a file; give the folder that it lies in", in_quotes(model));
    const auto repository = parse_repository(model);
    if (!repository) return error(ErrorCode::not_found, "model {}: no such folder", in_quotes(model));
    const auto cache = hub_cache();
    if (!cache)
        return error(ErrorCode::not_found,
                     "model {}: no such folder, and no Hugging Face cache (none of HF_HUB_CACHE, HF_HOME, HOME is set)",
                     in_quotes(model));
    const fs::path folder = *cache / repository->folder;
    if (!is_folder(folder))
        return error(ErrorCode::not_found, "model {}: no such folder here, and no {} in the Hugging Face cache",
                     in_quotes(model), folder.string());
    if (auto snapshot = find_snapshot(folder, repository->revision)) return Folder(*std::move(snapshot));
    return error(ErrorCode::not_found, "model {}: {} has no complete snapshot of revision {}", in_quotes(model),
                 folder.string(), in_quotes(repository->revision.empty() ? "main" : repository->revision));
}

}  // namespace nibble::checkpoint
