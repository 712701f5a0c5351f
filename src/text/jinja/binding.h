// Arguments of a filter, test, method or global function, bound to its parameters as Python binds them.
#pragma once

#include "text/jinja/operations.h"

#include <initializer_list>

namespace nibble::text::jinja {

struct Parameter {
    std::string_view name;  // empty: positional only
    Item fallback;          // missing: the argument is required
};

// Fills out[0…parameters.size()). Fails on an argument too many or too few, twice, or of an unknown name.
bool bind(Runtime& runtime, std::string_view function, const Arguments& arguments,
          std::initializer_list<Parameter> parameters, Item* out);

bool bind_nothing(Runtime& runtime, std::string_view function, const Arguments& arguments);
bool to_integer(Runtime& runtime, std::string_view function, const Item& item,
                int64_t& out);  // int or bool, else fails

}  // namespace nibble::text::jinja
