// TextTable: columns for people: words to the left, numbers to the right, two blanks between.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

class TextTable {
public:
    // '<' or '>' a column. The first row is the head.
    explicit TextTable(std::string_view alignment) : alignment_(alignment) {}
    // Missing cells are empty; nothing stands behind the last one.
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    // Each line ends in a newline and begins with `indent` blanks.
    std::string text(size_t indent = 2) const;

private:
    std::string alignment_;
    std::vector<std::vector<std::string>> rows_;
};

// "2,981"; rounds.
std::string grouped(double value);
// "2,981", "48.2", "0.35": bytes as MB (1e6), three figures.
std::string megabytes(double bytes);
// "2.98 GB", "273 MB".
std::string decimal_bytes(double bytes);
// "1,450", "81", "9.4".
std::string per_second(double value);

}  // namespace nibble::cli
