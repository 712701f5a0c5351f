// The tables of filters, by what they work on.
#pragma once

#include "text/jinja/operations.h"

#include <span>

namespace nibble::text::jinja {

struct FilterRow {
    std::string_view name;
    Function function;
};

std::span<const FilterRow> text_filters();
std::span<const FilterRow> sequence_filters();
std::span<const FilterRow> value_filters();

}  // namespace nibble::text::jinja
