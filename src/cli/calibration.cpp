#include "cli/calibration.h"

#include "base/files.h"
#include "cli/terminal.h"
#include "cli/text_scorer.h"
#include "ops/input_observer.h"

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

namespace nibble::cli {
namespace {

constexpr uint64_t kTextLimit_bytes = uint64_t{1} << 30;
constexpr int64_t kWindow = 512;

class Observer final : public ops::InputObserver {
public:
    explicit Observer(checkpoint::InputStatistics& into) : into_(into) {}
    void see(std::string_view module, std::span<const float> x) override { into_.add(module, x); }

private:
    checkpoint::InputStatistics& into_;
};

}  // namespace

Result<checkpoint::InputStatistics> observe_inputs(const std::string& model, const std::filesystem::path& text,
                                                   int64_t tokens, ThreadPool& threads, ProgressBar& bar) {
    TRY(const std::string words, read_whole_file(text, kTextLimit_bytes));
    ModelFlags flags;
    flags.model = model;
    flags.device = "cpu";
    TRY(const auto scorer, TextScorer::open(flags, kWindow, threads, TextScorer::Activations::as_they_are,
                                            [&](std::string_view stage, int64_t bytes, int64_t total) {
                                                bar.update(stage, bytes, total);
                                            }));
    bar.clear();
    std::vector<text::TokenId> ids = scorer->tokenizer().encode(words, {.parse_special = false});
    if (static_cast<int64_t>(ids.size()) > tokens) ids.resize(static_cast<size_t>(tokens));
    if (ids.size() < 2)
        return error(ErrorCode::usage, "{}: expected a text, found {} tokens", text.string(), ids.size());

    checkpoint::InputStatistics inputs;
    Observer observer(inputs);
    std::vector<float> logits(static_cast<size_t>(TextScorer::kStepTokens * scorer->vocab_size()));
    const auto total = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0; begin + 1 < total; begin += kWindow) {
        const auto window =
            std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(kWindow, total - begin)));
        for (int64_t at = 0; at < static_cast<int64_t>(window.size()); at += TextScorer::kStepTokens) {
            const int64_t count = std::min(TextScorer::kStepTokens, static_cast<int64_t>(window.size()) - at);
            const int64_t rows = scorer->rows(window, at, count);
            scorer->logits(window, at, count, std::span(logits).first(static_cast<size_t>(rows * scorer->vocab_size())),
                           &observer);
            bar.update("calibrating", begin + at + count, total);
            if (interrupted()) return error(ErrorCode::cancelled, "interrupted");
        }
    }
    bar.clear();
    return inputs;
}

}  // namespace nibble::cli
