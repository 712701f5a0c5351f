// The caller's Value as an Item. Texts are not copied: the Value must outlive the render.
#pragma once

#include "text/jinja/runtime.h"
#include "text/value.h"

namespace nibble::text::jinja {

bool from_value(Runtime& runtime, const Value& value, Item& out);  // fails when nested over kMaxNesting

}  // namespace nibble::text::jinja
