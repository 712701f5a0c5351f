// Interpreter: renders a Program. One render, one thread, one object.
//
// Walks the tree; recursion is bounded by the depth of the source, by TemplateLimits::depth for macros that call each
// other, and by kStackBytes of native stack, whichever comes first.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/loop.h"
#include "text/jinja/runtime.h"
#include "text/value.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace nibble::text::jinja {

// The variables of one call of a function of the template.
struct Activation {
    Activation* outer;
    Item* slots;
};

class Interpreter {
public:
    Interpreter(const Program& program, Runtime& runtime) : program_(program), runtime_(runtime) {}
    // False when runtime.failure() says why; where() is the place in the source.
    bool render(const Value& variables, std::string& out);
    size_t where() const { return at_; }

private:
    enum class Flow { normal, broken, continued, failed };
    struct Filtering;  // the state of a loop's filter

    bool out_of_stack();
    Activation* activate(Activation* outer, int32_t slots);
    void enter(const ScopeEntry& entry, Activation& activation);
    void leave(const ScopeEntry& entry, Activation& activation);
    Item& slot(const Variable& variable, Activation& activation);
    Item lookup(std::string_view name);

    Flow run(const Body& body, Activation& activation);
    Flow run_if(const If& node, Activation& activation);
    Flow run_for(const For& node, Activation& activation);
    Flow run_with(const With& node, Activation& activation);
    Flow run_set(const Set& node, Activation& activation);
    Flow run_set_block(const SetBlock& node, Activation& activation);
    Flow run_filter_block(const FilterBlock& node, Activation& activation);
    Flow run_call_block(const CallBlock& node, Activation& activation);
    Flow captured(const Body& body, Activation& activation, Item& out);
    static bool accepts(Runtime& runtime, Loop& loop, Item& item, bool& yes);
    bool unpacked(const Target& target, Activation& activation, Item& out);
    bool assign(const Target& target, Activation& activation, const Item& value);
    bool check_namespaces(const Target& target, Activation& activation);
    bool write(std::string_view text);
    bool write_block(const Item& value);

    bool evaluate(const Expression& e, Activation& activation, Item& out);
    bool evaluate_list(const Expression& e, Activation& activation, Item& out);
    bool evaluate_dict(const Expression& e, Activation& activation, Item& out);
    bool evaluate_arithmetic(const Expression& e, Activation& activation, Item& out);
    bool evaluate_comparison(const Expression& e, Activation& activation, Item& out);
    bool evaluate_join(const Expression& e, Activation& activation, Item& out);
    bool evaluate_suffixed(const Expression& e, Activation& activation, Item& out, const Item* caller = nullptr);
    bool apply(const Suffix& suffix, Activation& activation, Item& value, const Item* caller = nullptr);
    bool apply_slice(const Suffix& suffix, Activation& activation, Item& value);
    bool apply_call(const Suffix& suffix, Activation& activation, Item& value, const Item* caller);
    bool call(const Item& callee, const Arguments& arguments, Item& out);
    bool call_macro(const Macro& macro, const Arguments& arguments, Item& out);

    const Program& program_;
    Runtime& runtime_;
    const Dict* context_ = nullptr;
    std::string* out_ = nullptr;  // what is written to: the output, or the text that a block captures
    uint32_t at_ = 0;
    int macro_depth_ = 0;
    const char* stack_base_ = nullptr;
};

}  // namespace nibble::text::jinja
