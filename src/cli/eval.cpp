// eval: what a model's answers are worth: the perplexity of a text, how far its distributions are from another model's
// or from a stored reference, and how many questions of a task file it answers exactly. Gates make it a test.
#include "base/files.h"
#include "base/in_quotes.h"
#include "cli/divergence.h"
#include "cli/draft_acceptance.h"
#include "cli/flags.h"
#include "cli/model_flags.h"
#include "cli/option_checks.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "cli/task_answers.h"
#include "cli/terminal.h"
#include "cli/text_scorer.h"
#include "cli/verb.h"

#include <fmt/format.h>
#include <xxhash.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace nibble::cli {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;
using text::TokenId;

constexpr uint64_t kTextLimit_bytes = uint64_t{1} << 30;
constexpr int64_t kPrefixTokens = 4;  // at most, that a tokenizer puts before a text

struct EvalFlags {
    ModelFlags model;
    std::string text, against, reference, save_reference, tasks;
    int64_t window = 1024, tokens = 0, reference_top = 256, max_tokens = 512;
    std::optional<double> max_ppl, max_kl, min_accuracy, min_acceptance;
    bool json = false, w4a4 = false, draft = false;
};

// A text cut into windows that begin anew, each with what the tokenizer puts before a text.
struct Windows {
    std::vector<std::vector<TokenId>> windows;
    int64_t tokens = 0, predicted = 0;
    uint64_t hash = 0;
};

Result<Windows> read_windows(const EvalFlags& flags, const text::Tokenizer& tokenizer) {
    TRY(const std::string text, read_whole_file(flags.text, kTextLimit_bytes));
    std::vector<TokenId> ids = tokenizer.encode(text, {.parse_special = false});
    if (flags.tokens > 0 && flags.tokens < static_cast<int64_t>(ids.size()))
        ids.resize(static_cast<size_t>(flags.tokens));
    std::vector<TokenId> prefix = tokenizer.encode("", {.add_special_tokens = true});
    if (static_cast<int64_t>(prefix.size()) > std::min(kPrefixTokens, flags.window / 2)) prefix.clear();
    Windows cut;
    cut.tokens = static_cast<int64_t>(ids.size());
    const size_t each = static_cast<size_t>(flags.window) - prefix.size();
    for (size_t at = 0; at < ids.size(); at += each) {
        const size_t count = std::min(each, ids.size() - at);
        if (count + prefix.size() < 2) break;
        std::vector<TokenId> window = prefix;
        window.insert(window.end(), ids.begin() + static_cast<ptrdiff_t>(at),
                      ids.begin() + static_cast<ptrdiff_t>(at + count));
        cut.predicted += static_cast<int64_t>(window.size()) - 1;
        cut.hash = XXH3_64bits_withSeed(window.data(), window.size() * sizeof(TokenId), cut.hash);
        cut.windows.push_back(std::move(window));
    }
    if (cut.predicted == 0)
        return error(ErrorCode::usage, "{}: holds {} tokens; expected more", flags.text, ids.size());
    return cut;
}

struct TextResult {
    int64_t tokens = 0, predicted = 0;
    Summary nll, reference_nll, kl;
    bool has_reference = false, kl_of_top = false;
    int64_t same_best = 0;
    double seconds = 0;
};

class TextEvaluation {
public:
    TextEvaluation(const EvalFlags& flags, ThreadPool& threads, ProgressBar& bar)
        : flags_(flags), threads_(threads), bar_(bar) {}

    Result<TextResult> run() {
        TRY(model_,
            open(flags_.model, flags_.w4a4 ? TextScorer::Activations::nvfp4 : TextScorer::Activations::as_they_are));
        TRY(windows_, read_windows(flags_, model_->tokenizer()));
        TRY_VOID(open_reference());
        const auto vocab = static_cast<size_t>(model_->vocab_size());
        logits_.resize(static_cast<size_t>(TextScorer::kStepTokens) * vocab);
        if (against_) other_.resize(logits_.size());
        const auto start = Clock::now();
        for (const std::vector<TokenId>& window : windows_.windows)
            for (int64_t at = 0; at < static_cast<int64_t>(window.size()); at += TextScorer::kStepTokens) {
                TRY_VOID(step(window, at));
                bar_.update("tokens", static_cast<int64_t>(nll_.size()), windows_.predicted);
                if (interrupted()) return error(ErrorCode::cancelled, "interrupted");
            }
        bar_.clear();
        if (writer_) TRY_VOID(writer_->finish());
        TextResult result{.tokens = windows_.tokens,
                          .predicted = windows_.predicted,
                          .nll = summarize(std::move(nll_)),
                          .reference_nll = summarize(std::move(reference_nll_)),
                          .kl = summarize(std::move(kl_)),
                          .has_reference = against_ || reader_,
                          .kl_of_top = reader_.has_value(),
                          .same_best = same_best_};
        result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
        return result;
    }

private:
    Result<std::unique_ptr<TextScorer>> open(const ModelFlags& flags, TextScorer::Activations activations) {
        auto scorer = TextScorer::open(
            flags, flags_.window, threads_, activations,
            [&](std::string_view stage, int64_t bytes, int64_t total) { bar_.update(stage, bytes, total); });
        bar_.clear();
        return scorer;
    }

    Result<void> open_reference() {
        ReferenceHead head;
        head.top = static_cast<uint32_t>(std::min(flags_.reference_top, model_->vocab_size()));
        head.vocab = static_cast<uint64_t>(model_->vocab_size());
        head.rows = static_cast<uint64_t>(windows_.predicted);
        head.tokens_hash = windows_.hash;
        if (!flags_.reference.empty()) {
            TRY(auto reader, ReferenceReader::open(flags_.reference, head));
            reader_.emplace(std::move(reader));
        }
        if (!flags_.save_reference.empty()) {
            TRY(auto writer, ReferenceWriter::create(flags_.save_reference, head));
            writer_.emplace(std::move(writer));
        }
        if (flags_.against.empty()) return {};
        ModelFlags other = flags_.model;
        other.model = flags_.against;
        TRY(against_, open(other, TextScorer::Activations::as_they_are));
        if (against_->vocab_size() != model_->vocab_size())
            return error(ErrorCode::usage, "--against {}: a vocabulary of {}, the model has {}", flags_.against,
                         against_->vocab_size(), model_->vocab_size());
        TRY(const Windows its, read_windows(flags_, against_->tokenizer()));
        if (its.hash != windows_.hash)
            return error(ErrorCode::usage, "--against {}: its tokenizer cuts the text into other tokens",
                         flags_.against);
        return {};
    }

    Result<void> step(const std::vector<TokenId>& window, int64_t at) {
        const int64_t count = std::min(TextScorer::kStepTokens, static_cast<int64_t>(window.size()) - at);
        const int64_t rows = model_->rows(window, at, count);
        const auto vocab = static_cast<size_t>(model_->vocab_size());
        const size_t values = static_cast<size_t>(rows) * vocab;
        model_->logits(window, at, count, std::span(logits_).first(values));
        if (against_) against_->logits(window, at, count, std::span(other_).first(values));

        const size_t first = nll_.size();
        nll_.resize(first + static_cast<size_t>(rows));
        if (against_ || reader_) {
            kl_.resize(nll_.size());
            reference_nll_.resize(nll_.size());
        }
        std::vector<TopRow> tops(writer_ ? static_cast<size_t>(rows) : 0);
        std::mutex mutex;
        std::optional<Error> failure;
        threads_.parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
            int64_t same = 0;
            for (int64_t r = begin; r < end; ++r) {
                const auto row = std::span(logits_).subspan(static_cast<size_t>(r) * vocab, vocab);
                const auto next = static_cast<size_t>(window[static_cast<size_t>(at + r + 1)]);
                const size_t place = first + static_cast<size_t>(r);
                const RowScore own = score(row);
                nll_[place] = own.log_sum - static_cast<double>(row[next]);
                bool finite = std::isfinite(own.log_sum);
                if (writer_) tops[static_cast<size_t>(r)] = top_of(row, own, flags_.reference_top);
                if (against_) {
                    const auto other = std::span(other_).subspan(static_cast<size_t>(r) * vocab, vocab);
                    const RowScore its = score(other);
                    finite = finite && std::isfinite(its.log_sum);
                    kl_[place] = divergence(other, its, row, own);
                    reference_nll_[place] = its.log_sum - static_cast<double>(other[next]);
                    same += its.best == own.best;
                } else if (reader_) {
                    auto stored = reader_->read(static_cast<int64_t>(place));
                    if (stored) {
                        kl_[place] = divergence(stored->top, row, own);
                        reference_nll_[place] = -static_cast<double>(stored->own_logprob);
                        same += stored->top.token[0] == own.best;
                    } else {
                        const std::lock_guard lock(mutex);
                        failure = std::move(stored).error();
                    }
                }
                if (finite) continue;
                const std::lock_guard lock(mutex);
                failure = error(ErrorCode::internal, "token {} of the text: a logit is not a number", place);
            }
            const std::lock_guard lock(mutex);
            same_best_ += same;
        });
        if (failure) return *std::move(failure);
        for (size_t r = 0; r < tops.size(); ++r) TRY_VOID(writer_->add(tops[r], static_cast<float>(-nll_[first + r])));
        return {};
    }

    const EvalFlags& flags_;
    ThreadPool& threads_;
    ProgressBar& bar_;
    std::unique_ptr<TextScorer> model_, against_;
    std::optional<ReferenceReader> reader_;
    std::optional<ReferenceWriter> writer_;
    Windows windows_;
    std::vector<float> logits_, other_;  // of a step
    std::vector<double> nll_, reference_nll_, kl_;
    int64_t same_best_ = 0;
};

struct TaskCount {
    int64_t right = 0, cut = 0, count = 0;
    double share() const { return count > 0 ? static_cast<double>(right) / static_cast<double>(count) : 0; }
};

struct TaskResult {
    TaskCount all;
    std::map<std::string, TaskCount> by_name;
};

Result<TaskResult> run_tasks(const EvalFlags& flags, ProgressBar& bar, ordered_json& record) {
    TRY(const auto tasks, read_tasks(flags.tasks));
    SessionOptions options{.default_sequences = 8};
    options.progress = [&](std::string_view stage, int64_t bytes, int64_t total) { bar.update(stage, bytes, total); };
    TRY(const auto session, Session::open(flags.model, options));
    bar.clear();
    TRY(const auto answers,
        answer_tasks(tasks, session->served_model(), flags.max_tokens, session->plan().sequences, interrupted(),
                     [&](int64_t done) { bar.update("tasks", done, static_cast<int64_t>(tasks.size())); }));
    bar.clear();
    TaskResult result;
    for (size_t i = 0; i < tasks.size(); ++i) {
        for (TaskCount* count : {&result.all, &result.by_name[tasks[i].name]}) {
            ++count->count;
            count->right += answers[i].right;
            count->cut += answers[i].cut;
        }
        record["answers"].push_back(
            {{"where", tasks[i].where}, {"right", answers[i].right}, {"content", answers[i].content}});
        for (const Task::Call& call : answers[i].calls)
            record["answers"].back()["calls"].push_back(
                {{"name", call.name}, {"arguments", ordered_json::parse(text::to_json(call.arguments))}});
    }
    return result;
}

struct DraftResult {
    DraftCount all;
    std::map<std::string, DraftCount> by_name;
};

Result<DraftResult> run_draft(const EvalFlags& flags, ProgressBar& bar, ordered_json& record) {
    TRY(const auto tasks, read_tasks(flags.tasks, Expectations::optional));
    SessionOptions options{.default_sequences = 8, .draft = true};
    options.progress = [&](std::string_view stage, int64_t bytes, int64_t total) { bar.update(stage, bytes, total); };
    TRY(const auto session, Session::open(flags.model, options));
    bar.clear();
    TRY(const auto counts, count_accepted(tasks, *session, flags.max_tokens, interrupted(), [&](int64_t done) {
            bar.update("tasks", done, static_cast<int64_t>(tasks.size()));
        }));
    bar.clear();
    DraftResult result;
    for (size_t i = 0; i < tasks.size(); ++i) {
        result.all += counts[i];
        result.by_name[tasks[i].name] += counts[i];
        record["answers"].push_back({{"where", tasks[i].where},
                                     {"tokens", counts[i].tokens},
                                     {"proposed", counts[i].proposed},
                                     {"accepted", counts[i].accepted}});
    }
    record["acceptance"] = result.all.share();
    record["accepted"] = result.all.accepted;
    record["proposed"] = result.all.proposed;
    for (const auto& [name, count] : result.by_name) record["by_task"][name] = count.share();
    return result;
}

struct Gate {
    std::string_view flag;
    std::optional<double> bound;
    double found = 0;
    bool at_least = false;
    bool missed() const { return bound && !(at_least ? found >= *bound : found <= *bound); }
};

void print_text(const TextResult& text) {
    fmt::print("{:<26} {} in windows that begin anew, {} predicted, {:.0f} s\n", "tokens", text.tokens, text.predicted,
               text.seconds);
    const double ppl = std::exp(text.nll.mean);
    fmt::print("{:<26} {:.4f} ± {:.4f}\n", "perplexity", ppl, ppl * text.nll.standard_error);
    if (!text.has_reference) return;
    fmt::print("{:<26} {:.4f} ({:+.3f} %)\n", "perplexity of the reference", std::exp(text.reference_nll.mean),
               100 * (std::exp(text.nll.mean - text.reference_nll.mean) - 1));
    fmt::print("{:<26} {:.6f} ± {:.6f}; median {:.6f}, 99 % {:.4f}, most {:.3f}{}\n", "KL divergence", text.kl.mean,
               text.kl.standard_error, text.kl.median, text.kl.p99, text.kl.most,
               text.kl_of_top ? " (of the stored tokens and the rest as one)" : "");
    fmt::print("{:<26} {:.2f} %\n", "same likeliest token",
               100 * static_cast<double>(text.same_best) / static_cast<double>(text.predicted));
}

ordered_json to_record(const Summary& summary) {
    return {{"mean", summary.mean},
            {"standard_error", summary.standard_error},
            {"median", summary.median},
            {"p99", summary.p99},
            {"max", summary.most}};
}

void print_tasks(const TaskResult& tasks) {
    for (const auto& [name, count] : tasks.by_name)
        if (!name.empty())
            fmt::print("{:<26} {:>5.1f} %  {} of {}\n", name, 100 * count.share(), count.right, count.count);
    fmt::print("{:<26} {:>5.1f} %  {} of {}{}\n", "accuracy", 100 * tasks.all.share(), tasks.all.right, tasks.all.count,
               tasks.all.cut > 0 ? fmt::format(", {} answers cut off", tasks.all.cut) : "");
}

void print_draft(const DraftResult& draft) {
    const auto line = [](std::string_view name, const DraftCount& count) {
        fmt::print("{:<26} {:>5.1f} %  {} of {}\n", name, 100 * count.share(), count.accepted, count.proposed);
    };
    for (const auto& [name, count] : draft.by_name)
        if (!name.empty()) line(name, count);
    line("drafts accepted", draft.all);
}

Result<void> check(const EvalFlags& flags) {
    const bool compares = !flags.against.empty() || !flags.reference.empty();
    const auto needs = [](std::string_view flag, std::string_view other) {
        return error(ErrorCode::usage, "{} needs {}", flag, other);
    };
    if (flags.text.empty() && flags.tasks.empty())
        return error(ErrorCode::usage, "what is to be evaluated? --text FILE, --tasks FILE");
    if (!flags.against.empty() && !flags.reference.empty())
        return error(ErrorCode::usage, "--against and --reference: expected one of them");
    if (flags.text.empty() && (compares || !flags.save_reference.empty() || flags.max_ppl))
        return needs("--against, --reference, --save-reference, --max-ppl", "--text");
    if (flags.max_kl && !compares) return needs("--max-kl", "--against or --reference");
    if (flags.w4a4 && (flags.text.empty() || !flags.tasks.empty())) return needs("--w4a4", "--text, and no --tasks");
    if (flags.min_accuracy && (flags.tasks.empty() || flags.draft))
        return needs("--min-accuracy", "--tasks without --draft");
    if (flags.draft && flags.tasks.empty()) return needs("--draft", "--tasks");
    if (flags.min_acceptance && !flags.draft) return needs("--min-acceptance", "--draft");
    return {};
}

Result<int> eval(const EvalFlags& flags, const Settings& settings) {
    if (flags.model.print_config) {
        fmt::print("{}", describe(settings));
        return 0;
    }
    TRY_VOID(check(flags));
    install_interrupt();
    ProgressBar bar(stderr_is_terminal());
    ordered_json record{{"model", flags.model.model}};
    std::vector<Gate> gates;
    if (!flags.text.empty()) {
        ThreadPool threads(flags.model.threads);
        TRY(const TextResult text, TextEvaluation(flags, threads, bar).run());
        const double ppl = std::exp(text.nll.mean);
        record["text"] = {{"file", flags.text},    {"w4a4", flags.w4a4},          {"window", flags.window},
                          {"tokens", text.tokens}, {"predicted", text.predicted}, {"seconds", text.seconds},
                          {"perplexity", ppl},     {"nll", to_record(text.nll)}};
        if (text.has_reference)
            record["text"].update(
                {{"reference", flags.against.empty() ? flags.reference : flags.against},
                 {"reference_perplexity", std::exp(text.reference_nll.mean)},
                 {"kl", to_record(text.kl)},
                 {"kl_over", text.kl_of_top ? "stored tokens" : "vocabulary"},
                 {"same_best", static_cast<double>(text.same_best) / static_cast<double>(text.predicted)}});
        if (!flags.json) print_text(text);
        gates.push_back({"--max-ppl", flags.max_ppl, ppl});
        gates.push_back({"--max-kl", flags.max_kl, text.kl.mean});
    }
    if (flags.draft) {
        ordered_json& its = record["draft"];
        its["file"] = flags.tasks;
        TRY(const DraftResult draft, run_draft(flags, bar, its));
        if (!flags.json) print_draft(draft);
        gates.push_back({"--min-acceptance", flags.min_acceptance, draft.all.share(), true});
    } else if (!flags.tasks.empty()) {
        ordered_json& its = record["tasks"];
        its["file"] = flags.tasks;
        TRY(const TaskResult tasks, run_tasks(flags, bar, its));
        its["accuracy"] = tasks.all.share();
        its["right"] = tasks.all.right;
        its["count"] = tasks.all.count;
        for (const auto& [name, count] : tasks.by_name) its["by_task"][name] = count.share();
        if (!flags.json) print_tasks(tasks);
        gates.push_back({"--min-accuracy", flags.min_accuracy, tasks.all.share(), true});
    }
    if (flags.json) fmt::print("{}\n", record.dump(2, ' ', false, ordered_json::error_handler_t::replace));
    if (std::fflush(stdout) != 0) return error(ErrorCode::io, "stdout cannot be written");
    std::string missed;
    for (const Gate& gate : gates)
        if (gate.missed())
            missed +=
                fmt::format("{}{} {}: found {:.6g}", missed.empty() ? "" : "; ", gate.flag, *gate.bound, gate.found);
    if (!missed.empty()) return error(ErrorCode::gate_failed, "{}", missed);
    return 0;
}

}  // namespace

void add_eval(CLI::App& program, Action& action) {
    const auto flags = std::make_shared<EvalFlags>();
    CLI::App& verb = *program.add_subcommand("eval", "Perplexity, divergence from another model, and exact answers");
    add_model_flags(verb, flags->model);
    verb.add_option("--text", flags->text, "Perplexity of this file's text")->check(existing_file())->type_name("FILE");
    verb.add_option("--window", flags->window, "Tokens of the text that are read at once; each window begins anew")
        ->capture_default_str()
        ->check(in_range<int64_t>(2, 1 << 20))
        ->type_name("N");
    verb.add_option("--tokens", flags->tokens, "Only the first N tokens of the text")
        ->check(in_range<int64_t>(2, int64_t{1} << 40))
        ->type_name("N");
    verb.add_option("--against", flags->against, "Mean KL divergence from this model, over the whole vocabulary")
        ->type_name("MODEL");
    verb.add_option("--reference", flags->reference, "Mean KL divergence from what --save-reference stored")
        ->check(existing_file())
        ->type_name("FILE");
    verb.add_option("--save-reference", flags->save_reference, "Store the likeliest tokens of every position")
        ->type_name("FILE");
    verb.add_option("--reference-top", flags->reference_top, "How many of them")
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 65536))
        ->type_name("N");
    verb.add_flag("--w4a4", flags->w4a4, "Round activations to NVFP4 by the input scales: what W4A4 would lose (CPU)");
    verb.add_option("--tasks", flags->tasks, "Questions with exact answers, a JSON object a line")
        ->check(existing_file())
        ->type_name("FILE");
    verb.add_option("--max-tokens", flags->max_tokens, "Of the answer to a task")
        ->capture_default_str()
        ->check(in_range<int64_t>(1, 1 << 20))
        ->type_name("N");
    verb.add_flag("--draft", flags->draft,
                  "Of the tasks' answers: how often the draft block's first token is the model's own next one");
    verb.add_option("--max-ppl", flags->max_ppl, "Gate: exit 7 when the perplexity is above")->type_name("F");
    verb.add_option("--max-kl", flags->max_kl, "Gate: exit 7 when the mean divergence is above")->type_name("F");
    verb.add_option("--min-accuracy", flags->min_accuracy, "Gate: exit 7 when fewer answers are right (0 to 1)")
        ->check(in_range(0.0, 1.0))
        ->type_name("F");
    verb.add_option("--min-acceptance", flags->min_acceptance, "Gate: exit 7 when fewer drafts are accepted (0 to 1)")
        ->check(in_range(0.0, 1.0))
        ->type_name("F");
    verb.add_flag("--json", flags->json, "One JSON record on stdout");
    verb.callback([flags, &action] { action = [flags](const Settings& settings) { return eval(*flags, settings); }; });
}

}  // namespace nibble::cli
