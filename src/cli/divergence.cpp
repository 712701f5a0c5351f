#include "cli/divergence.h"

#include "base/in_quotes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <numeric>
#include <system_error>

namespace nibble::cli {
namespace {

constexpr int64_t kMaxTop = 1 << 16;

uint64_t row_bytes(const ReferenceHead& head) {
    return 4 + uint64_t{head.top} * 8;  // own log-probability, ids, log-probabilities
}

Error cannot(std::string_view what, const std::filesystem::path& path) {
    return error(ErrorCode::io, "{}: cannot be {}: {}", path.string(), what, std::generic_category().message(errno));
}

std::filesystem::path partial(const std::filesystem::path& path) {
    return path.string() + ".partial";
}

}  // namespace

RowScore score(std::span<const float> logits) {
    RowScore row;
    for (size_t i = 1; i < logits.size(); ++i)
        if (logits[i] > logits[static_cast<size_t>(row.best)]) row.best = static_cast<int32_t>(i);
    const float most = logits[static_cast<size_t>(row.best)];
    double sum = 0;
    for (const float logit : logits) sum += static_cast<double>(std::exp(logit - most));
    row.log_sum = static_cast<double>(most) + std::log(sum);
    return row;
}

double divergence(std::span<const float> reference, const RowScore& reference_score, std::span<const float> logits,
                  const RowScore& score) {
    // log p - log q = (a - log_sum_a) - (b - log_sum_b)
    const double shift = score.log_sum - reference_score.log_sum;
    const auto log_sum = static_cast<float>(reference_score.log_sum);
    double sum = 0;
    for (size_t i = 0; i < reference.size(); ++i)
        sum += static_cast<double>(std::exp(reference[i] - log_sum)) *
               (static_cast<double>(reference[i]) - static_cast<double>(logits[i]) + shift);
    return sum;
}

TopRow top_of(std::span<const float> logits, const RowScore& score, int64_t k) {
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto likelier = [&](int32_t a, int32_t b) {
        const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
        return x != y ? x > y : a < b;
    };
    const auto end = order.begin() + std::min<int64_t>(k, static_cast<int64_t>(order.size()));
    if (end != order.end()) std::nth_element(order.begin(), end, order.end(), likelier);
    std::sort(order.begin(), end, likelier);
    TopRow row;
    row.token.assign(order.begin(), end);
    for (const int32_t token : row.token)
        row.logprob.push_back(
            static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token)]) - score.log_sum));
    return row;
}

double divergence(const TopRow& reference, std::span<const float> logits, const RowScore& score) {
    double sum = 0, p_rest = 1, q_rest = 1;
    for (size_t i = 0; i < reference.token.size(); ++i) {
        const double log_p = static_cast<double>(reference.logprob[i]);
        const double log_q = static_cast<double>(logits[static_cast<size_t>(reference.token[i])]) - score.log_sum;
        const double p = std::exp(log_p);
        sum += p * (log_p - log_q);
        p_rest -= p;
        q_rest -= std::exp(log_q);
    }
    // What is left of 1 after so many roundings is no probability when it is this small.
    constexpr double kNothing = 1e-6;
    if (p_rest > kNothing) sum += p_rest * std::log(p_rest / std::max(q_rest, kNothing * 1e-3));
    return sum;
}

Summary summarize(std::vector<double> values) {
    Summary summary;
    summary.count = static_cast<int64_t>(values.size());
    if (values.empty()) return summary;
    const auto count = static_cast<double>(values.size());
    for (const double value : values) summary.mean += value / count;
    double squares = 0;
    for (const double value : values) squares += (value - summary.mean) * (value - summary.mean);
    summary.standard_error = values.size() > 1 ? std::sqrt(squares / (count - 1) / count) : 0;
    std::sort(values.begin(), values.end());
    const auto at = [&](double q) { return values[static_cast<size_t>(q * (count - 1))]; };
    summary.median = at(0.5);
    summary.p99 = at(0.99);
    summary.most = values.back();
    return summary;
}

Result<ReferenceWriter> ReferenceWriter::create(const std::filesystem::path& path, const ReferenceHead& head) {
    ReferenceWriter writer;
    writer.file_ = std::fopen(partial(path).c_str(), "wbe");
    if (writer.file_ == nullptr) return cannot("created", partial(path));
    writer.path_ = path;
    if (std::fwrite(&head, sizeof head, 1, writer.file_) != 1) return cannot("written", partial(path));
    return writer;
}

ReferenceWriter::ReferenceWriter(ReferenceWriter&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, nullptr)) {}

ReferenceWriter::~ReferenceWriter() {
    if (file_ == nullptr) return;
    std::fclose(file_);
    std::error_code ignored;
    std::filesystem::remove(partial(path_), ignored);
}

Result<void> ReferenceWriter::add(const TopRow& row, float own_logprob) {
    const size_t top = row.token.size();
    if (std::fwrite(&own_logprob, sizeof own_logprob, 1, file_) != 1 ||
        std::fwrite(row.token.data(), sizeof(int32_t), top, file_) != top ||
        std::fwrite(row.logprob.data(), sizeof(float), top, file_) != top)
        return cannot("written", partial(path_));
    return {};
}

Result<void> ReferenceWriter::finish() {
    if (std::fclose(std::exchange(file_, nullptr)) != 0) return cannot("written", partial(path_));
    std::error_code failure;
    std::filesystem::rename(partial(path_), path_, failure);
    if (failure) return error(ErrorCode::io, "{}: cannot be renamed: {}", partial(path_).string(), failure.message());
    return {};
}

Result<ReferenceReader> ReferenceReader::open(const std::filesystem::path& path, const ReferenceHead& expected) {
    TRY(File file, File::open(path));
    ReferenceReader reader(std::move(file));
    ReferenceHead& head = reader.head_;
    const std::string name = path.string();
    if (reader.file_.size() < sizeof head)
        return error(ErrorCode::model_invalid, "{}: expected a reference of nibble eval, found {} bytes", name,
                     reader.file_.size());
    TRY_VOID(reader.file_.read(0, std::as_writable_bytes(std::span(&head, 1))));
    if (std::memcmp(head.magic, expected.magic, sizeof head.magic) != 0 || head.version != expected.version ||
        head.top < 1 || head.top > kMaxTop || head.top > head.vocab)
        return error(ErrorCode::model_invalid, "{}: expected a reference of nibble eval, found something else", name);
    if (head.vocab != expected.vocab)
        return error(ErrorCode::usage, "{}: of a vocabulary of {}, the model has {}", name, head.vocab, expected.vocab);
    if (head.rows != expected.rows || head.tokens_hash != expected.tokens_hash)
        return error(ErrorCode::usage, "{}: of another text, window or tokenizer ({} predicted tokens, here {})", name,
                     head.rows, expected.rows);
    if (head.rows > (uint64_t{1} << 40) || reader.file_.size() != sizeof head + head.rows * row_bytes(head))
        return error(ErrorCode::model_invalid, "{}: {} bytes for {} rows; it was cut short", name, reader.file_.size(),
                     head.rows);
    return reader;
}

Result<ReferenceReader::Row> ReferenceReader::read(int64_t row) const {
    std::vector<std::byte> bytes(row_bytes(head_));
    TRY_VOID(file_.read(sizeof head_ + static_cast<uint64_t>(row) * bytes.size(), bytes));
    Row found;
    found.top.token.resize(head_.top);
    found.top.logprob.resize(head_.top);
    std::memcpy(&found.own_logprob, bytes.data(), 4);
    std::memcpy(found.top.token.data(), bytes.data() + 4, head_.top * size_t{4});
    std::memcpy(found.top.logprob.data(), bytes.data() + 4 + head_.top * size_t{4}, head_.top * size_t{4});
    for (const int32_t token : found.top.token)
        if (token < 0 || static_cast<uint64_t>(token) >= head_.vocab)
            return error(ErrorCode::model_invalid, "{}: row {} names token {} of a vocabulary of {}",
                         file_.path().string(), row, token, head_.vocab);
    return found;
}

}  // namespace nibble::cli
