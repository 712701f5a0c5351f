// Resolver: gives every name of a parsed template its variable, by the scoping rules of jinja2.
//
// Scopes (a loop's body, a macro, a with, set, filter or call block) see the names around them; what a scope assigns
// stays in it. As in jinja2, what a name means does not depend on the order of execution: a name assigned anywhere in
// a scope is that scope's own, and starts out as the outer variable, as the caller's variable of that name (when it is
// assigned under an if), or empty. Recursion is as deep as the tree.
#pragma once

#include "base/result.h"
#include "text/jinja/ast.h"

namespace nibble::text::jinja {

// Errors: model_invalid with line and column: an unknown filter or test (not under an if: there only its use is an
// error), break outside a loop, assignment to `loop` inside one.
Result<void> resolve(Program& program);

}  // namespace nibble::text::jinja
