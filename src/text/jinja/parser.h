// Parser: tokens to the tree of ast.h, refusing what jinja2 refuses. Recursion is bounded by TemplateLimits::depth.
#pragma once

#include "base/result.h"
#include "text/jinja.h"
#include "text/jinja/ast.h"

#include <memory>
#include <string_view>

namespace nibble::text::jinja {

// Errors: model_invalid, with line and column. Blocks of template inheritance (extends, block, include, import),
// autoescape and recursive loops are refused.
Result<std::shared_ptr<const Program>> parse(std::string_view source, std::string_view name,
                                             const TemplateLimits& limits);

}  // namespace nibble::text::jinja
