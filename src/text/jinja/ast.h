// The parsed template. The parser makes it, the resolver (resolver.h) gives every name its variable, and from then on
// it is constant: any number of renders read it at once. Nothing in it is nested deeper than TemplateLimits::depth,
// for chains (a.b.c, x|f|g, a + b + c, elif) are lists.
#pragma once

#include "text/jinja/item.h"
#include "text/jinja/operations.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nibble::text::jinja {

// A slot of an activation: of the function that runs (hops 0), of the one it was defined in (1), …
struct Variable {
    int32_t hops = 0;
    int32_t slot = -1;
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArguments {
    std::vector<ExpressionPtr> positional;
    std::vector<std::pair<std::string_view, ExpressionPtr>> named;
    ExpressionPtr spread;        // *list
    ExpressionPtr spread_named;  // **dict
};

// What follows an expression: .name  [item]  [a:b:c]  (…)  |filter  is test
struct Suffix {
    enum class Kind : uint8_t { attribute, item, slice, call, filter, test } kind;
    uint32_t at = 0;
    std::string_view name;        // attribute, filter, test
    Function function = nullptr;  // filter, test; null: there is none of that name, which only its use reports
    bool negated = false;         // is not
    ExpressionPtr parts[3];       // item: [0]; slice: start, stop, step, each may be absent
    CallArguments arguments;
};

struct Expression {
    enum class Kind : uint8_t {
        constant,
        name,
        list,         // operands
        tuple,        // operands
        dict,         // operands: key, value, key, value, …
        suffixed,     // operands[0] and suffixes
        negative,     // operands[0]
        positive,     // operands[0]
        logical_not,  // operands[0]
        arithmetic,   // operands[0] operators[0] operands[1] operators[1] …, from the left
        comparison,   // the same, as Python chains comparisons
        join,         // operands joined by ~
        all,          // operands joined by `and`
        any,          // operands joined by `or`
        conditional,  // operands: value, condition, and value otherwise unless absent
    } kind;
    uint32_t at = 0;
    Item constant;
    std::string_view name;
    Variable variable;
    std::vector<ExpressionPtr> operands;
    std::vector<Operator> operators;
    std::vector<Suffix> suffixes;
};

struct Target {
    enum class Kind : uint8_t { name, attribute, tuple } kind = Kind::name;
    uint32_t at = 0;
    std::string_view name;       // of the variable
    std::string_view attribute;  // name.attribute = …
    Variable variable;
    std::vector<Target> parts;
};

// What the slots of a scope hold when it is entered.
struct Load {
    enum class From : uint8_t { nothing, context, outer } from;
    int32_t slot;
    std::string_view name;  // context: looked up among the caller's variables and the globals
    Variable outer;
};
struct ScopeEntry {
    std::vector<Load> loads;
    std::vector<int32_t> slots;  // emptied when the scope is left
};

struct Statement;
using Body = std::vector<Statement>;

struct Text {
    std::string_view text;
};
struct Output {
    ExpressionPtr value;
};
struct Branch {
    ExpressionPtr condition;
    Body body;
};
struct If {
    std::vector<Branch> branches;
    Body otherwise;
};
// The condition of `for x in xs if condition`, which jinja2 makes a function of its own.
struct LoopFilter {
    ExpressionPtr condition;
    Target target;
    ScopeEntry entry;
    int32_t slots = 0;
};
struct For {
    Target target;
    ExpressionPtr source;
    std::unique_ptr<LoopFilter> filter;
    Body body, otherwise;
    ScopeEntry entry, otherwise_entry;
    int32_t loop_slot = -1;  // of `loop`, when the body uses it
};
struct Set {
    Target target;
    ExpressionPtr value;
};
struct SetBlock {
    Target target;
    std::vector<Suffix> filters;
    Body body;
    ScopeEntry entry;
};
struct FilterBlock {
    std::vector<Suffix> filters;
    Body body;
    ScopeEntry entry;
};
struct MacroParameter {
    uint32_t at = 0;
    std::string_view name;
    ExpressionPtr fallback;
    int32_t slot = -1;
};
struct MacroDefinition {
    std::string_view name;  // empty: the body of a call block
    std::vector<MacroParameter> parameters;
    Body body;
    ScopeEntry entry;
    int32_t slots = 0;
    int32_t caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;  // when the body uses them
};
struct MacroStatement {
    MacroDefinition macro;
    Variable variable;
};
struct CallBlock {
    ExpressionPtr call;  // absent: a generation block, whose body is rendered where it stands
    MacroDefinition caller;
};
struct With {
    std::vector<Target> targets;
    std::vector<ExpressionPtr> values;
    Body body;
    ScopeEntry entry;
};
struct Break {};
struct Continue {};

struct Statement {
    uint32_t at = 0;
    std::variant<Text, Output, If, For, Set, SetBlock, FilterBlock, MacroStatement, CallBlock, With, Break, Continue>
        node;
};

struct Program {
    std::string name;    // of the file, for errors
    std::string source;  // normalized; names and texts point into it
    std::deque<std::string> strings;
    Body body;
    ScopeEntry entry;
    int32_t slots = 0;
};

}  // namespace nibble::text::jinja
