#include "cli/session.h"

#include "base/bytes.h"
#include "base/files.h"
#include "cli/checksum.h"
#include "cli/generation_defaults.h"
#include "cli/memory_ledger.h"
#include "cli/model_outline.h"
#include "cli/read_bandwidth.h"
#include "cli/token_bytes.h"
#include "engine/step.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <future>

namespace nibble::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kTemplateLimit_bytes = uint64_t{4} << 20;
// Other programs come and go with as much: a reading before and one after fewer bytes than these tell nothing of them.
constexpr uint64_t kTelling_bytes = uint64_t{64} << 20;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// org/name of a folder in the Hugging Face cache (models--org--name/snapshots/revision), else nothing.
std::string hub_name(const Folder& folder) {
    const std::filesystem::path snapshots = folder.path().parent_path();
    if (snapshots.filename() != "snapshots") return {};
    std::string name = snapshots.parent_path().filename().string();
    if (!name.starts_with("models--")) return {};
    name.erase(0, std::strlen("models--"));
    if (const size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
    return name;
}

// The first is what answers carry; the others are what people type as well. Some clients dislike a '/' in a name.
std::vector<std::string> served_names(const std::string& argument, const Folder& folder) {
    std::vector<std::string> names;
    const auto add = [&](const std::string& name) {
        if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    };
    const std::string hub = hub_name(folder);
    add(hub);
    add(hub.substr(hub.find('/') + 1));
    if (hub.empty()) add(folder.name());
    add(argument);
    return names;
}

struct Text {
    std::shared_ptr<const text::Tokenizer> tokenizer;
    std::shared_ptr<const text::ChatTemplate> chat_template;
    text::OutputFormat format;
};

Result<Text> load_text(const ModelFlags& flags, const Folder& folder) {
    Text loaded;
    TRY(loaded.tokenizer, text::Tokenizer::load(folder));
    const std::string bos = loaded.tokenizer->bos_token(), eos = loaded.tokenizer->eos_token();
    if (!flags.chat_template.empty()) {
        TRY(const std::string source, read_whole_file(flags.chat_template, kTemplateLimit_bytes));
        TRY(loaded.chat_template, text::ChatTemplate::parse(source, flags.chat_template, bos, eos));
    } else {
        auto own = text::ChatTemplate::load(folder, bos, eos);
        if (own)
            loaded.chat_template = *std::move(own);
        else if (own.error().code != ErrorCode::not_found)
            return std::move(own).error();
    }
    if (loaded.chat_template) loaded.format = text::detect_output_format(loaded.chat_template->source());
    if (!flags.reasoning_parser.empty()) {
        TRY(loaded.format.reasoning, text::reasoning_format(flags.reasoning_parser));
    }
    if (!flags.tool_call_parser.empty()) {
        TRY(loaded.format.tools, text::tool_format(flags.tool_call_parser));
    }
    return loaded;
}

// Memory is read again between the weights and what comes after them, for others allocate too. They may have half of
// the reserve; a reading that cannot be true is said and not used.
Result<void> book_allocations(const ModelOutline& outline, const Plan& plan,
                              const std::function<void(const std::string&)>& remark) {
    const std::string& device = outline.device.name;
    const auto weights = static_cast<uint64_t>(outline.model->spec().weight_bytes);
    TRY(MemoryLedger ledger, MemoryLedger::open(device, outline.memory, plan.reserve_bytes / 2));
    TRY_VOID(ledger.allocate(weights, "weights"));
    if (weights >= kTelling_bytes) {
        TRY(const device::MemoryReading now, device::read_memory(outline.device));
        TRY_VOID(check_reading(device, now));
        if (const auto believed = ledger.read(now); !believed)
            remark(fmt::format("{}; the plan stays as it is", believed.error().message));
    }
    return ledger.allocate(plan.total_bytes - weights, "what comes after the weights");
}

}  // namespace

Result<std::unique_ptr<Session>> Session::open(const ModelFlags& flags, const SessionOptions& options) {
    const auto remark = [&](const std::string& line) {
        if (options.remark) options.remark(line);
    };
    std::unique_ptr<Session> session(new Session);
    session->threads_ = std::make_unique<ThreadPool>(flags.threads);
    TRY(const ModelOutline outline, outline_model(flags, {.draft = options.draft, .threads = session->threads_.get()}));
    session->checkpoint_ = outline.checkpoint;
    session->device_ = outline.device;
    const device::Device& device = session->device_;
    const Folder& folder = outline.folder;

    const PlanInput input = plan_input(outline, flags, options.default_sequences);
    if (input.share_bytes)
        remark(fmt::format("--gpu-memory-utilization {}: at most {}, in bytes: --memory-budget says it better",
                           *flags.gpu_memory_utilization, describe_bytes(*input.share_bytes)));
    TRY(session->plan_, make_plan(input));
    if (options.planned) options.planned(session->plan_);

    if (flags.verify && !flags.random_weights) {
        TRY(const Checksums sums, verify_checksums(*session->checkpoint_, [&](int64_t bytes, int64_t total) {
                if (options.progress) options.progress("verifying", bytes, total);
            }));
        for (const auto& [path, sum] : sums.unconfirmed)
            remark(fmt::format("--verify: nothing vouches for {}; its SHA-256 is {}", path.string(), sum));
    }

    // Text beside weights: one waits for the disk, the other for a processor.
    std::future<Result<Text>> text = std::async(
        std::launch::async, [&]() -> Result<Text> { return options.text ? load_text(flags, folder) : Text{}; });
    model::LoadOptions load = outline.load;
    load.source = flags.random_weights ? model::LoadOptions::Source::random : model::LoadOptions::Source::checkpoint;
    load.progress = [&](const model::LoadProgress& progress) {
        session->bytes_read_ = std::max(session->bytes_read_, progress.bytes_read);
        if (options.progress) options.progress(progress.stage, progress.bytes_read, progress.bytes_total);
    };
    const auto start = Clock::now();
    auto loaded = model::load(session->checkpoint_, device, load);
    session->read_seconds_ = seconds_since(start);
    Result<Text> read_text = text.get();
    if (!loaded) return std::move(loaded).error();
    TRY_VOID(book_allocations(outline, session->plan_, remark));
    std::unique_ptr<const model::Model> model = *std::move(loaded);
    session->model_ = model.get();
    TRY(Text words, std::move(read_text));

    // A server without this figure is better than none.
    if (options.measure_bandwidth) session->bandwidth_ = measure_read_bandwidth(device, *session->threads_).value_or(0);
    TRY(std::unique_ptr<engine::ModelExecutor> executor,
        engine::ModelExecutor::create(std::move(model), device, session->threads_.get(),
                                      {.pages = session->plan_.pages,
                                       .max_sequences = session->plan_.sequences,
                                       .max_step_tokens = step_tokens(flags, device),
                                       .max_context = session->plan_.context}));
    session->executor_ = executor.get();
    const int64_t sequences = session->plan_.sequences;
    session->engine_ = std::make_unique<engine::Engine>(
        std::move(executor),
        engine::EngineOptions{.max_context = session->plan_.context,
                              .max_sequences = sequences,
                              .max_queue = options.max_queue > 0 ? options.max_queue : 4 * sequences,
                              .max_step_tokens = step_tokens(flags, device)});

    server::ServedModel& served = session->served_;
    served.names = options.served_names.empty() ? served_names(flags.model, folder) : options.served_names;
    served.tokenizer = std::move(words.tokenizer);
    served.chat_template = std::move(words.chat_template);
    served.output_format = words.format;
    TRY(served.defaults, generation_defaults(*session->checkpoint_));
    served.defaults.eos_ids.assign(session->model_->spec().eos_ids.begin(), session->model_->spec().eos_ids.end());
    // A chat model's tokenizer names the token that ends a turn even where generation_config.json forgot it.
    if (const auto eos = served.tokenizer ? served.tokenizer->eos_id() : std::nullopt;
        eos && std::find(served.defaults.eos_ids.begin(), served.defaults.eos_ids.end(), *eos) ==
                   served.defaults.eos_ids.end())
        served.defaults.eos_ids.push_back(*eos);
    served.max_context = session->engine_->options().max_context;
    served.vocab_size = session->model_->spec().vocab_size;
    served.page_size = session->plan_.pages > 0 ? session->model_->spec().state.page_size : 0;
    served.created = static_cast<int64_t>(std::time(nullptr));
    served.engine = session->engine_.get();
    return session;
}

Session::~Session() = default;

int64_t Session::bytes_per_token(int64_t context) const {
    return token_bytes(*model_, device_, context);
}

}  // namespace nibble::cli
