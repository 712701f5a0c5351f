#include "text/jinja/resolver.h"

#include "text/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>

namespace nibble::text::jinja {
namespace {

// A function of the template: the whole of it, a macro, the body of a call block, or the filter of a loop. Its
// variables live in the slots of one activation.
struct FunctionScope {
    FunctionScope* outer = nullptr;
    int depth = 0;
    std::map<std::pair<int, std::string_view>, int32_t> slots = {};  // (level of the scope, name)

    int32_t slot(int level, std::string_view name) {
        return slots.try_emplace({level, name}, static_cast<int32_t>(slots.size())).first->second;
    }
};

struct Identity {
    FunctionScope* function = nullptr;
    int32_t slot = -1;
};

// The names of one scope. A branch of an if works on an overlay of its scope, which is merged afterwards, so that
// analysis costs what the branches add.
class Symbols {
public:
    Symbols(Symbols* outer, FunctionScope* function)
        : outer_(outer), function_(function), level_(outer ? outer->level_ + 1 : 0) {}
    static Symbols overlay(Symbols& base) {
        Symbols branch(base.outer_, base.function_);
        branch.base_ = &base;
        branch.level_ = base.level_;
        return branch;
    }

    FunctionScope* function() const { return function_; }

    std::optional<Identity> find(std::string_view name) const {
        for (const Symbols* scope = this; scope; scope = scope->outer_)
            if (auto own = scope->find_own(name)) return own;
        return std::nullopt;
    }

    Identity parameter(std::string_view name) {
        stores_.insert(name);
        return define(name, {.from = Load::From::nothing});
    }

    void load(std::string_view name) {
        if (!find(name)) define(name, {.from = Load::From::context, .name = name});
    }

    void store(std::string_view name) {
        if (!stored(name)) stores_.insert(name);
        if (find_own(name)) return;
        if (auto outer = find_outer(name))
            define(name, {.from = Load::From::outer, .name = name, .outer = *outer});
        else
            define(name, {.from = Load::From::nothing});
    }

    // After an if: what only some branches assign starts out as the outer or the caller's variable.
    void merge(std::span<Symbols* const> branches) {
        std::set<std::string_view> assigned;
        for (const Symbols* branch : branches)
            for (std::string_view name : branch->stores_)
                if (!stored(name)) assigned.insert(name);
        for (const Symbols* branch : branches) {
            for (const auto& [name, identity] : branch->refs_) refs_.insert_or_assign(name, identity);
            for (const auto& [slot, load] : branch->loads_) loads_.insert_or_assign(slot, load);
            stores_.insert(branch->stores_.begin(), branch->stores_.end());
        }
        for (std::string_view name : assigned) {
            const int32_t slot = find_own(name)->slot;
            if (auto outer = find_outer(name))
                loads_.insert_or_assign(slot, Origin{.from = Load::From::outer, .name = name, .outer = *outer});
            else
                loads_.insert_or_assign(slot, Origin{.from = Load::From::context, .name = name});
        }
    }

    ScopeEntry entry() const {
        ScopeEntry out;
        for (const auto& [slot, origin] : loads_) {
            out.slots.push_back(slot);
            if (origin.parameter) continue;
            Load load{.from = origin.from, .slot = slot, .name = origin.name, .outer = {}};
            if (origin.from == Load::From::outer)
                load.outer = {.hops = function_->depth - origin.outer.function->depth, .slot = origin.outer.slot};
            out.loads.push_back(load);
        }
        return out;
    }

    void mark_parameter(std::string_view name) {
        if (auto own = find_own(name)) loads_[own->slot].parameter = true;
    }

private:
    struct Origin {
        Load::From from = Load::From::nothing;
        std::string_view name = {};
        Identity outer = {};
        bool parameter = false;  // filled by whoever enters the scope
    };

    std::optional<Identity> find_own(std::string_view name) const {
        for (const Symbols* layer = this; layer; layer = layer->base_)
            if (auto it = layer->refs_.find(name); it != layer->refs_.end()) return it->second;
        return std::nullopt;
    }
    std::optional<Identity> find_outer(std::string_view name) const {
        return outer_ ? outer_->find(name) : std::nullopt;
    }
    bool stored(std::string_view name) const {
        for (const Symbols* layer = this; layer; layer = layer->base_)
            if (layer->stores_.contains(name)) return true;
        return false;
    }
    Identity define(std::string_view name, Origin origin) {
        const Identity identity{function_, function_->slot(level_, name)};
        refs_.insert_or_assign(name, identity);
        loads_.insert_or_assign(identity.slot, origin);
        return identity;
    }

    Symbols* outer_;
    Symbols* base_ = nullptr;
    FunctionScope* function_;
    int level_;
    std::map<std::string_view, Identity> refs_;
    std::map<int32_t, Origin> loads_;
    std::set<std::string_view> stores_;
};

// Every expression directly inside a suffix or an expression.
template <class Visit>
void for_each_part(const CallArguments& arguments, Visit&& visit) {
    for (const ExpressionPtr& value : arguments.positional) visit(*value);
    for (const auto& [name, value] : arguments.named) visit(*value);
    if (arguments.spread) visit(*arguments.spread);
    if (arguments.spread_named) visit(*arguments.spread_named);
}
template <class Visit>
void for_each_part(const Suffix& suffix, Visit&& visit) {
    for (const ExpressionPtr& part : suffix.parts)
        if (part) visit(*part);
    for_each_part(suffix.arguments, visit);
}
template <class Visit>
void for_each_part(const Expression& expression, Visit&& visit) {
    for (const ExpressionPtr& operand : expression.operands) visit(*operand);
    for (const Suffix& suffix : expression.suffixes) for_each_part(suffix, visit);
}

// Which of a few special names (loop; caller, kwargs, varargs) a body reads before it assigns them. Looks into nested
// loops and macros too, in the order of jinja2's node fields.
class SpecialNames {
public:
    explicit SpecialNames(std::initializer_list<std::string_view> names) : names_(names) {}
    bool read(std::string_view name) const { return read_.contains(name); }

    void body(const Body& body) {
        for (const Statement& statement : body) std::visit(*this, statement.node);
    }
    void operator()(const Text&) {}
    void operator()(const Break&) {}
    void operator()(const Continue&) {}
    void operator()(const Output& node) { expression(*node.value); }
    void operator()(const If& node) {
        for (const Branch& branch : node.branches) {
            expression(*branch.condition);
            body(branch.body);
        }
        body(node.otherwise);
    }
    void operator()(const For& node) {
        target(node.target);
        expression(*node.source);
        body(node.body);
        body(node.otherwise);
        if (node.filter) expression(*node.filter->condition);
    }
    void operator()(const Set& node) {
        target(node.target);
        expression(*node.value);
    }
    void operator()(const SetBlock& node) {
        target(node.target);
        suffixes(node.filters);
        body(node.body);
    }
    void operator()(const FilterBlock& node) {
        body(node.body);
        suffixes(node.filters);
    }
    void operator()(const MacroStatement& node) { macro(node.macro); }
    void operator()(const CallBlock& node) {
        if (node.call) expression(*node.call);
        macro(node.caller);
    }
    void operator()(const With& node) {
        for (const Target& t : node.targets) target(t);
        for (const ExpressionPtr& value : node.values) expression(*value);
        body(node.body);
    }

private:
    void expression(const Expression& e) {
        if (e.kind == Expression::Kind::name && names_.contains(e.name)) read_.insert(e.name);
        for_each_part(e, [this](const Expression& part) { expression(part); });
    }
    void suffixes(const std::vector<Suffix>& suffixes) {
        for (const Suffix& suffix : suffixes)
            for_each_part(suffix, [this](const Expression& part) { expression(part); });
    }
    void target(const Target& t) {
        if (t.kind == Target::Kind::name) names_.erase(t.name);
        for (const Target& part : t.parts) target(part);
    }
    void macro(const MacroDefinition& macro) {
        for (const MacroParameter& parameter : macro.parameters) names_.erase(parameter.name);
        for (const MacroParameter& parameter : macro.parameters)
            if (parameter.fallback) expression(*parameter.fallback);
        body(macro.body);
    }

    std::set<std::string_view> names_, read_;
};

// Collects the names of one scope, without entering the scopes inside it.
class Analysis {
public:
    explicit Analysis(Symbols& symbols) : symbols_(&symbols) {}

    void body(const Body& body) {
        for (const Statement& statement : body) std::visit(*this, statement.node);
    }
    void expression(const Expression& e) {
        if (e.kind == Expression::Kind::name) symbols_->load(e.name);
        for_each_part(e, [this](const Expression& part) { expression(part); });
    }
    void suffixes(const std::vector<Suffix>& suffixes) {
        for (const Suffix& suffix : suffixes)
            for_each_part(suffix, [this](const Expression& part) { expression(part); });
    }
    void store(const Target& target) {
        if (target.kind == Target::Kind::name) symbols_->store(target.name);
        if (target.kind == Target::Kind::attribute) symbols_->load(target.name);
        for (const Target& part : target.parts) store(part);
    }
    void parameter(const Target& target) {
        if (target.kind == Target::Kind::name) {
            symbols_->parameter(target.name);
            symbols_->mark_parameter(target.name);
        }
        for (const Target& part : target.parts) parameter(part);
    }

    void operator()(const Text&) {}
    void operator()(const Break&) {}
    void operator()(const Continue&) {}
    void operator()(const Output& node) { expression(*node.value); }
    void operator()(const If& node) {
        Symbols& scope = *symbols_;
        expression(*node.branches[0].condition);
        Symbols first = Symbols::overlay(scope), others = Symbols::overlay(scope), last = Symbols::overlay(scope);
        Analysis(first).body(node.branches[0].body);
        for (size_t i = 1; i < node.branches.size(); i++) {
            Analysis(others).expression(*node.branches[i].condition);
            Symbols branch = Symbols::overlay(others);
            Analysis(branch).body(node.branches[i].body);
            Symbols* const branches[] = {&branch};
            others.merge(branches);
        }
        Analysis(last).body(node.otherwise);
        Symbols* const branches[] = {&first, &others, &last};
        scope.merge(branches);
    }
    void operator()(const For& node) { expression(*node.source); }
    void operator()(const Set& node) {
        expression(*node.value);
        store(node.target);
    }
    void operator()(const SetBlock& node) { store(node.target); }
    void operator()(const FilterBlock& node) { suffixes(node.filters); }
    void operator()(const MacroStatement& node) { symbols_->store(node.macro.name); }
    void operator()(const CallBlock& node) {
        if (node.call) expression(*node.call);
    }
    void operator()(const With& node) {
        for (const ExpressionPtr& value : node.values) expression(*value);
    }

private:
    Symbols* symbols_;
};

// Where a statement stands.
struct Place {
    Symbols* symbols;
    bool soft = false;         // under an if: an unknown filter is an error only when it runs
    bool breakable = false;    // inside a loop of the same function
    bool inside_loop = false;  // inside any loop
};

// Walks the tree once, with the scope of each part at hand, and writes the variables into it.
class Resolver {
public:
    explicit Resolver(Program& program) : program_(program) {}

    Result<void> run() {
        FunctionScope function;
        Symbols symbols(nullptr, &function);
        Analysis(symbols).body(program_.body);
        body(program_.body, {.symbols = &symbols});
        program_.entry = symbols.entry();
        program_.slots = static_cast<int32_t>(function.slots.size());
        if (error_) return std::move(*error_);
        return {};
    }

private:
    void fail(uint32_t at, std::string_view message) {
        if (error_) return;
        const Position p = position_of(program_.source, at);
        error_ = error(ErrorCode::model_invalid, "{}:{}:{}: {}", program_.name, p.line, p.column, message);
    }

    Variable variable(std::string_view name, const Place& place) {
        const Identity identity = *place.symbols->find(name);
        return {.hops = place.symbols->function()->depth - identity.function->depth, .slot = identity.slot};
    }

    void expression(Expression& e, Place place) {
        if (e.kind == Expression::Kind::name) e.variable = variable(e.name, place);
        if (e.kind == Expression::Kind::conditional) place.soft = true;
        for (ExpressionPtr& operand : e.operands) expression(*operand, place);
        suffixes(e.suffixes, place);
    }

    void suffixes(std::vector<Suffix>& suffixes, const Place& place) {
        for (Suffix& suffix : suffixes) {
            const bool filter = suffix.kind == Suffix::Kind::filter;
            if ((filter || suffix.kind == Suffix::Kind::test) && suffix.function == nullptr && !place.soft)
                fail(suffix.at, fmt::format("no {} named '{}'", filter ? "filter" : "test", suffix.name));
            for (ExpressionPtr& part : suffix.parts)
                if (part) expression(*part, place);
            for (ExpressionPtr& value : suffix.arguments.positional) expression(*value, place);
            for (auto& [name, value] : suffix.arguments.named) expression(*value, place);
            if (suffix.arguments.spread) expression(*suffix.arguments.spread, place);
            if (suffix.arguments.spread_named) expression(*suffix.arguments.spread_named, place);
        }
    }

    void target(Target& t, const Place& place, bool assigned) {
        if (t.kind == Target::Kind::name && t.name == "loop" && assigned && place.inside_loop)
            fail(t.at, "'loop' cannot be assigned to inside a loop");
        if (t.kind != Target::Kind::tuple) t.variable = variable(t.name, place);
        for (Target& part : t.parts) target(part, place, assigned);
    }

    void body(Body& body, const Place& place) {
        for (Statement& statement : body) {
            at_ = statement.at;
            std::visit([&](auto& node) { resolve(node, place); }, statement.node);
        }
    }

    void resolve(Text&, const Place&) {}
    void resolve(Output& node, const Place& place) { expression(*node.value, place); }
    void resolve(Break&, const Place& place) {
        if (!place.breakable) fail(at_, "'break' outside a loop");
    }
    void resolve(Continue&, const Place& place) {
        if (!place.breakable) fail(at_, "'continue' outside a loop");
    }
    void resolve(If& node, Place place) {
        place.soft = true;
        for (Branch& branch : node.branches) {
            expression(*branch.condition, place);
            body(branch.body, place);
        }
        body(node.otherwise, place);
    }
    void resolve(Set& node, const Place& place) {
        expression(*node.value, place);
        target(node.target, place, true);
    }

    void resolve(For& node, const Place& place) {
        Symbols inside(place.symbols, place.symbols->function());
        SpecialNames names{"loop"};
        names.body(node.body);
        if (names.read("loop")) {
            node.loop_slot = inside.parameter("loop").slot;
            inside.mark_parameter("loop");
        }
        Analysis(inside).parameter(node.target);
        Analysis(inside).body(node.body);

        expression(*node.source, place);
        if (node.filter) filter(*node.filter, place);
        const Place in_body{.symbols = &inside, .breakable = true, .inside_loop = true};
        target(node.target, in_body, true);
        body(node.body, in_body);
        node.entry = inside.entry();

        Symbols otherwise(place.symbols, place.symbols->function());
        Analysis(otherwise).body(node.otherwise);
        body(node.otherwise, {.symbols = &otherwise, .breakable = place.breakable, .inside_loop = true});
        node.otherwise_entry = otherwise.entry();
    }

    void filter(LoopFilter& filter, const Place& place) {
        FunctionScope* outer = place.symbols->function();
        FunctionScope function{.outer = outer, .depth = outer->depth + 1};
        Symbols symbols(place.symbols, &function);
        Analysis(symbols).parameter(filter.target);
        Analysis(symbols).expression(*filter.condition);
        const Place inside{.symbols = &symbols};
        target(filter.target, inside, false);
        expression(*filter.condition, inside);
        filter.entry = symbols.entry();
        filter.slots = static_cast<int32_t>(function.slots.size());
    }

    void resolve(SetBlock& node, const Place& place) {
        Symbols symbols(place.symbols, place.symbols->function());
        Analysis(symbols).body(node.body);
        Analysis(symbols).suffixes(node.filters);
        const Place inside{.symbols = &symbols, .breakable = place.breakable, .inside_loop = place.inside_loop};
        body(node.body, inside);
        suffixes(node.filters, inside);
        target(node.target, place, true);
        node.entry = symbols.entry();
    }

    void resolve(FilterBlock& node, const Place& place) {
        Symbols symbols(place.symbols, place.symbols->function());
        Analysis(symbols).body(node.body);
        Analysis(symbols).suffixes(node.filters);
        const Place inside{.symbols = &symbols, .breakable = place.breakable, .inside_loop = place.inside_loop};
        body(node.body, inside);
        suffixes(node.filters, inside);
        node.entry = symbols.entry();
    }

    void resolve(With& node, const Place& place) {
        Symbols symbols(place.symbols, place.symbols->function());
        for (const Target& t : node.targets) Analysis(symbols).parameter(t);
        Analysis(symbols).body(node.body);
        const Place inside{.symbols = &symbols, .breakable = place.breakable, .inside_loop = place.inside_loop};
        for (ExpressionPtr& value : node.values) expression(*value, place);
        for (Target& t : node.targets) target(t, inside, false);
        body(node.body, inside);
        node.entry = symbols.entry();
    }

    void resolve(MacroStatement& node, const Place& place) {
        macro(node.macro, place);
        node.variable = variable(node.macro.name, place);
    }

    void resolve(CallBlock& node, const Place& place) {
        macro(node.caller, place);
        if (node.call) expression(*node.call, place);
    }

    void macro(MacroDefinition& macro, const Place& place) {
        FunctionScope* outer = place.symbols->function();
        FunctionScope function{.outer = outer, .depth = outer->depth + 1};
        Symbols symbols(place.symbols, &function);
        const MacroParameter* explicit_caller = nullptr;
        for (MacroParameter& parameter : macro.parameters) {
            parameter.slot = symbols.parameter(parameter.name).slot;
            symbols.mark_parameter(parameter.name);
            if (parameter.name == "caller") explicit_caller = &parameter;
        }
        SpecialNames names{"caller", "kwargs", "varargs"};
        names.body(macro.body);
        auto special = [&](std::string_view name, int32_t& slot) {
            const bool is_parameter = std::any_of(macro.parameters.begin(), macro.parameters.end(),
                                                  [&](const MacroParameter& p) { return p.name == name; });
            if (!names.read(name) || is_parameter) return;
            slot = symbols.parameter(name).slot;
            symbols.mark_parameter(name);
        };
        special("caller", macro.caller_slot);
        special("kwargs", macro.kwargs_slot);
        special("varargs", macro.varargs_slot);
        if (explicit_caller && names.read("caller") && !explicit_caller->fallback)
            fail(explicit_caller->at, "the parameter 'caller' must have a default");
        for (const MacroParameter& parameter : macro.parameters)
            if (parameter.fallback) Analysis(symbols).expression(*parameter.fallback);
        Analysis(symbols).body(macro.body);

        const Place inside{.symbols = &symbols, .inside_loop = place.inside_loop};
        for (MacroParameter& parameter : macro.parameters)
            if (parameter.fallback) expression(*parameter.fallback, inside);
        body(macro.body, inside);
        macro.entry = symbols.entry();
        macro.slots = static_cast<int32_t>(function.slots.size());
    }

    Program& program_;
    std::optional<Error> error_;
    uint32_t at_ = 0;
};

}  // namespace

Result<void> resolve(Program& program) {
    return Resolver(program).run();
}

}  // namespace nibble::text::jinja
