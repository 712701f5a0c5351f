// Divergence: how far the distributions of one model are from another's, token by token of a text, and what the text
// costs each of them. All sums are double; logarithms are natural. Pure, but for ReferenceFile, which owns a file.
#pragma once

#include "base/files.h"
#include "base/result.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace nibble::cli {

// One row of logits, looked at once.
struct RowScore {
    double log_sum = 0;  // log Σ exp(logit): a log-probability is the logit less this. Not finite: so are logits
    int32_t best = 0;    // the likeliest token, the lowest id among equals
};
RowScore score(std::span<const float> logits);

// Σ p log(p / q) over the whole vocabulary, of the reference's distribution p.
double divergence(std::span<const float> reference, const RowScore& reference_score, std::span<const float> logits,
                  const RowScore& score);

// The k likeliest tokens of a reference, whose remaining probability is one class. The divergence over these k + 1
// classes is exact for them and never more than the one over the vocabulary.
struct TopRow {
    std::vector<int32_t> token;  // the likeliest first
    std::vector<float> logprob;
};
TopRow top_of(std::span<const float> logits, const RowScore& score, int64_t k);
double divergence(const TopRow& reference, std::span<const float> logits, const RowScore& score);

struct Summary {
    int64_t count = 0;
    double mean = 0, standard_error = 0, median = 0, p99 = 0, most = 0;
};
Summary summarize(std::vector<double> values);

// What a run of `eval` on a text stored: for each predicted token the reference's k likeliest and the token's own
// log-probability. Text and window are recognised by a hash of the tokens.
struct ReferenceHead {
    char magic[8] = {'n', 'i', 'b', 'b', 'l', 'e', 'K', 'L'};
    uint32_t version = 1, top = 0;
    uint64_t vocab = 0, rows = 0, tokens_hash = 0;
};

class ReferenceWriter {
public:
    // Written as path.partial. Errors: io.
    static Result<ReferenceWriter> create(const std::filesystem::path& path, const ReferenceHead& head);
    ~ReferenceWriter();
    ReferenceWriter(ReferenceWriter&& other) noexcept;
    ReferenceWriter& operator=(ReferenceWriter&&) = delete;

    Result<void> add(const TopRow& row, float own_logprob);
    Result<void> finish();  // renames

private:
    ReferenceWriter() = default;
    std::filesystem::path path_;
    std::FILE* file_ = nullptr;
};

class ReferenceReader {
public:
    // Errors: not_found, io, model_invalid (no such file of ours, cut short), usage when it is of another text, window
    // or vocabulary.
    static Result<ReferenceReader> open(const std::filesystem::path& path, const ReferenceHead& expected);
    struct Row {
        TopRow top;
        float own_logprob = 0;
    };
    Result<Row> read(int64_t row) const;  // any thread

private:
    explicit ReferenceReader(File file) : file_(std::move(file)) {}
    File file_;
    ReferenceHead head_;
};

}  // namespace nibble::cli
