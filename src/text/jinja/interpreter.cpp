// Statements. Expressions are in evaluation.cpp.
#include "text/jinja/interpreter.h"

#include "text/jinja/from_value.h"

namespace nibble::text::jinja {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr ptrdiff_t kStackBytes = 4 << 20;  // instrumented frames are many times larger
#else
constexpr ptrdiff_t kStackBytes = 160 << 10;  // of the 256 KiB that a connection's thread has
#endif

}  // namespace

struct Interpreter::Filtering {
    Interpreter* interpreter;
    const LoopFilter* filter;
    Activation* activation;
    bool entered;
};

bool Interpreter::render(const Value& variables, std::string& out) {
    stack_base_ = static_cast<const char*>(__builtin_frame_address(0));
    Item context;
    if (!from_value(runtime_, variables, context)) return false;
    if (context.is(Kind::dict)) context_ = context.dict;
    out_ = &out;
    Activation* root = activate(nullptr, program_.slots);
    enter(program_.entry, *root);
    run(program_.body, *root);
    return !runtime_.failed();
}

bool Interpreter::out_of_stack() {
    if (stack_base_ - static_cast<const char*>(__builtin_frame_address(0)) < kStackBytes) return false;
    runtime_.fail_template("macros and expressions nested too deeply");
    return true;
}

Activation* Interpreter::activate(Activation* outer, int32_t slots) {
    Item* items = static_cast<Item*>(runtime_.arena().allocate(static_cast<size_t>(slots) * sizeof(Item)));
    std::uninitialized_fill_n(items, slots, Item());
    return runtime_.make(Activation{outer, items});
}

Item& Interpreter::slot(const Variable& variable, Activation& activation) {
    Activation* from = &activation;
    for (int32_t hop = 0; hop < variable.hops; hop++) from = from->outer;
    return from->slots[variable.slot];
}

Item Interpreter::lookup(std::string_view name) {
    if (context_)
        if (const Item* value = find(*context_, name)) return *value;
    const Item* global = find_global(name);
    return global ? *global : Item();
}

void Interpreter::enter(const ScopeEntry& entry, Activation& activation) {
    for (const Load& load : entry.loads) {
        Item& place = activation.slots[load.slot];
        switch (load.from) {
            case Load::From::nothing:
                place = Item();
                break;
            case Load::From::context:
                place = lookup(load.name);
                break;
            case Load::From::outer:
                place = slot(load.outer, activation);
                break;
        }
    }
}

void Interpreter::leave(const ScopeEntry& entry, Activation& activation) {
    for (int32_t slot : entry.slots) activation.slots[slot] = Item();
}

bool Interpreter::write(std::string_view text) {
    if (out_->size() + text.size() > runtime_.limits().output_bytes)
        return runtime_.fail("the rendered text is over the limit of {} bytes", runtime_.limits().output_bytes);
    out_->append(text);
    return runtime_.spend_bytes(text.size());
}

Interpreter::Flow Interpreter::run(const Body& body, Activation& activation) {
    if (out_of_stack()) return Flow::failed;
    for (const Statement& statement : body) {
        at_ = statement.at;
        if (!runtime_.spend(1)) return Flow::failed;
        Flow flow = Flow::normal;
        if (const Text* text = std::get_if<Text>(&statement.node)) {
            if (!write(text->text)) flow = Flow::failed;
        } else if (const Output* output = std::get_if<Output>(&statement.node)) {
            Item value;
            std::string_view text;
            if (!evaluate(*output->value, activation, value) || !to_text(runtime_, value, text) || !write(text))
                flow = Flow::failed;
        } else if (const If* node = std::get_if<If>(&statement.node)) {
            flow = run_if(*node, activation);
        } else if (const For* node = std::get_if<For>(&statement.node)) {
            flow = run_for(*node, activation);
        } else if (const Set* node = std::get_if<Set>(&statement.node)) {
            flow = run_set(*node, activation);
        } else if (const SetBlock* node = std::get_if<SetBlock>(&statement.node)) {
            flow = run_set_block(*node, activation);
        } else if (const FilterBlock* node = std::get_if<FilterBlock>(&statement.node)) {
            flow = run_filter_block(*node, activation);
        } else if (const MacroStatement* node = std::get_if<MacroStatement>(&statement.node)) {
            slot(node->variable, activation) =
                Item::of(runtime_.make(Macro{node->macro.name, &node->macro, &activation}));
        } else if (const CallBlock* node = std::get_if<CallBlock>(&statement.node)) {
            flow = run_call_block(*node, activation);
        } else if (const With* node = std::get_if<With>(&statement.node)) {
            flow = run_with(*node, activation);
        } else if (std::holds_alternative<Break>(statement.node)) {
            flow = Flow::broken;
        } else {
            flow = Flow::continued;
        }
        if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
}

Interpreter::Flow Interpreter::run_if(const If& node, Activation& activation) {
    for (const Branch& branch : node.branches) {
        Item condition;
        if (!evaluate(*branch.condition, activation, condition)) return Flow::failed;
        if (truth(condition)) return run(branch.body, activation);
    }
    return run(node.otherwise, activation);
}

bool Interpreter::accepts(Runtime&, Loop& loop, Item& item, bool& yes) {
    Filtering& filtering = *static_cast<Filtering*>(loop.filter);
    Interpreter& self = *filtering.interpreter;
    if (self.out_of_stack()) return false;
    if (!filtering.entered) self.enter(filtering.filter->entry, *filtering.activation);
    filtering.entered = true;
    Item condition;
    if (!self.assign(filtering.filter->target, *filtering.activation, item) ||
        !self.evaluate(*filtering.filter->condition, *filtering.activation, condition))
        return false;
    yes = truth(condition);
    return self.unpacked(filtering.filter->target, *filtering.activation, item);
}

// What the names of a target hold, put together again: jinja2's filters pass on `(k, v)`, whatever was unpacked.
bool Interpreter::unpacked(const Target& target, Activation& activation, Item& out) {
    if (target.kind == Target::Kind::name) {
        out = slot(target.variable, activation);
        return !runtime_.failed();
    }
    std::vector<Item> items(target.parts.size());
    for (size_t i = 0; i < items.size(); i++)
        if (!unpacked(target.parts[i], activation, items[i])) return false;
    return runtime_.tuple(items, out);
}

Interpreter::Flow Interpreter::run_for(const For& node, Activation& activation) {
    Loop* loop = runtime_.make(Loop{});
    if (!evaluate(*node.source, activation, loop->source)) return Flow::failed;
    at_ = node.source->at;
    if (!loop->cursor.open(runtime_, loop->source)) return Flow::failed;
    if (node.filter) {
        loop->accepts = accepts;
        loop->filter =
            runtime_.make(Filtering{this, node.filter.get(), activate(&activation, node.filter->slots), false});
    }
    bool completed = false;  // an iteration ran to its end; one left by continue does not count, as in jinja2
    Item item;
    while (loop_next(runtime_, *loop, item)) {
        if (!assign(node.target, activation, item)) return Flow::failed;
        if (node.loop_slot >= 0) activation.slots[node.loop_slot] = Item::of(loop);
        enter(node.entry, activation);
        const Flow flow = run(node.body, activation);
        if (flow == Flow::failed) return flow;
        if (flow == Flow::broken) break;
        completed |= flow == Flow::normal;
    }
    if (runtime_.failed()) return Flow::failed;
    leave(node.entry, activation);
    if (completed || node.otherwise.empty()) return Flow::normal;
    enter(node.otherwise_entry, activation);
    const Flow flow = run(node.otherwise, activation);
    leave(node.otherwise_entry, activation);
    return flow;
}

Interpreter::Flow Interpreter::run_with(const With& node, Activation& activation) {
    enter(node.entry, activation);
    for (size_t i = 0; i < node.targets.size(); i++) {
        Item value;
        if (!evaluate(*node.values[i], activation, value) || !assign(node.targets[i], activation, value))
            return Flow::failed;
    }
    const Flow flow = run(node.body, activation);
    leave(node.entry, activation);
    return flow;
}

// Assignment to an attribute is checked before the value is evaluated, as in jinja2.
bool Interpreter::check_namespaces(const Target& target, Activation& activation) {
    if (target.kind == Target::Kind::attribute && !slot(target.variable, activation).is(Kind::name_space))
        return runtime_.fail("cannot assign attribute '{}' on '{}', which is no namespace", target.attribute,
                             target.name);
    for (const Target& part : target.parts)
        if (!check_namespaces(part, activation)) return false;
    return true;
}

bool Interpreter::assign(const Target& target, Activation& activation, const Item& value) {
    if (target.kind == Target::Kind::name) {
        slot(target.variable, activation) = value;
        return true;
    }
    if (target.kind == Target::Kind::attribute) {
        if (target.attribute.starts_with('_'))
            return runtime_.fail_template("a namespace cannot hold '{}'", target.attribute);
        const Item& space = slot(target.variable, activation);
        if (!space.is(Kind::name_space)) return runtime_.fail("'{}' is no namespace", target.name);
        set(runtime_, *space.name_space, Item::of(target.attribute), value);
        return true;
    }
    Cursor cursor;
    Item item;
    if (!cursor.open(runtime_, value)) return false;
    std::vector<Item> items;
    while (items.size() <= target.parts.size() && cursor.next(runtime_, item)) items.push_back(item);
    if (runtime_.failed()) return false;
    if (items.size() != target.parts.size())
        return runtime_.fail("{} values to unpack, {} names expected",
                             items.size() > target.parts.size() ? "too many" : "not enough", target.parts.size());
    for (size_t i = 0; i < items.size(); i++)
        if (!assign(target.parts[i], activation, items[i])) return false;
    return true;
}

Interpreter::Flow Interpreter::run_set(const Set& node, Activation& activation) {
    Item value;
    const bool done = check_namespaces(node.target, activation) && evaluate(*node.value, activation, value) &&
                      assign(node.target, activation, value);
    return done ? Flow::normal : Flow::failed;
}

// The text that a body writes. A break or continue in it leaves the enclosing loop and drops the text.
Interpreter::Flow Interpreter::captured(const Body& body, Activation& activation, Item& out) {
    std::string text;
    std::string* const before = out_;
    out_ = &text;
    const Flow flow = run(body, activation);
    out_ = before;
    if (flow == Flow::normal) out = runtime_.text(text);
    return flow;
}

Interpreter::Flow Interpreter::run_set_block(const SetBlock& node, Activation& activation) {
    Item value;
    enter(node.entry, activation);
    Flow flow = captured(node.body, activation, value);
    if (flow != Flow::normal) return flow;
    for (const Suffix& filter : node.filters)
        if (!apply(filter, activation, value)) return Flow::failed;
    if (!assign(node.target, activation, value)) return Flow::failed;
    leave(node.entry, activation);
    return Flow::normal;
}

Interpreter::Flow Interpreter::run_filter_block(const FilterBlock& node, Activation& activation) {
    Item value;
    enter(node.entry, activation);
    Flow flow = captured(node.body, activation, value);
    if (flow != Flow::normal) return flow;
    for (const Suffix& filter : node.filters)
        if (!apply(filter, activation, value)) return Flow::failed;
    leave(node.entry, activation);
    return write_block(value) ? Flow::normal : Flow::failed;
}

// jinja2 joins what a filter or call block gives without making it text.
bool Interpreter::write_block(const Item& value) {
    if (!value.is_string()) return runtime_.fail("a block gives '{}' where text is expected", type_name(value));
    return write(value.view_text());
}

Interpreter::Flow Interpreter::run_call_block(const CallBlock& node, Activation& activation) {
    const Macro* body = runtime_.make(Macro{{}, &node.caller, &activation});
    Item value;
    if (node.call) {
        const Item caller = Item::of(body);
        if (!evaluate_suffixed(*node.call, activation, value, &caller)) return Flow::failed;
    } else if (!call_macro(*body, {}, value)) {
        return Flow::failed;
    }
    return write_block(value) ? Flow::normal : Flow::failed;
}

}  // namespace nibble::text::jinja
