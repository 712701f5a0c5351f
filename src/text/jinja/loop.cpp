#include "text/jinja/loop.h"

namespace nibble::text::jinja {
namespace {

bool fetch(Runtime& runtime, Loop& loop, Item& out) {
    while (loop.cursor.next(runtime, out)) {
        if (loop.accepts == nullptr) return true;
        bool yes = false;
        if (!loop.accepts(runtime, loop, out, yes)) return false;
        if (yes) return true;
    }
    return false;
}

// Looks at the item after the current one; `loop.after` stays missing at the end.
bool peek(Runtime& runtime, Loop& loop) {
    if (loop.after.is(Kind::missing)) {
        Item item;
        if (fetch(runtime, loop, item)) loop.after = item;
    }
    return !runtime.failed();
}

bool cycle(Runtime& runtime, const Item& subject, const Arguments& arguments, Item& out) {
    if (!arguments.named.empty()) return runtime.fail("cycle() takes no keyword arguments");
    if (arguments.positional.empty()) return runtime.fail("no items for cycling given");
    const size_t n = arguments.positional.size();
    out = arguments.positional[static_cast<size_t>(subject.loop->index0) % n];
    return true;
}

bool changed(Runtime& runtime, const Item& subject, const Arguments& arguments, Item& out) {
    if (!arguments.named.empty()) return runtime.fail("changed() takes no keyword arguments");
    Item values;
    if (!runtime.tuple(arguments.positional, values)) return false;
    Loop& loop = *subject.loop;
    const bool same = loop.changed != nullptr && equal(runtime, Item::tuple(loop.changed), values);
    if (!same) loop.changed = values.list;
    out = Item::of(!same);
    return !runtime.failed();
}

}  // namespace

bool loop_next(Runtime& runtime, Loop& loop, Item& out) {
    if (!loop.after.is(Kind::missing)) {
        out = loop.after;
        loop.after = Item();
    } else if (!fetch(runtime, loop, out)) {
        return false;
    }
    loop.index0++;
    loop.before = loop.current;
    loop.current = out;
    return true;
}

bool loop_length(Runtime& runtime, Loop& loop, int64_t& out) {
    if (loop.length < 0) {
        const bool sized = loop.accepts == nullptr && !loop.source.is(Kind::iterator);
        if (sized) {
            if (!length(runtime, loop.source, loop.length)) return false;
        } else {
            std::vector<Item> rest;
            Item item;
            while (fetch(runtime, loop, item)) rest.push_back(item);
            if (runtime.failed() || !runtime.iterator(rest, "list_iterator", item)) return false;
            loop.accepts = nullptr;
            if (!loop.cursor.open(runtime, item)) return false;
            loop.length = static_cast<int64_t>(rest.size()) + loop.index0 + 1 + !loop.after.is(Kind::missing);
        }
    }
    out = loop.length;
    return true;
}

bool loop_attribute(Runtime& runtime, Loop& loop, std::string_view name, Item& out, bool& found) {
    found = true;
    int64_t n = 0;
    if (name == "index") {
        out = Item::of(loop.index0 + 1);
    } else if (name == "index0") {
        out = Item::of(loop.index0);
    } else if (name == "first") {
        out = Item::of(loop.index0 == 0);
    } else if (name == "last") {
        if (!peek(runtime, loop)) return false;
        out = Item::of(loop.after.is(Kind::missing));
    } else if (name == "length") {
        if (!loop_length(runtime, loop, n)) return false;
        out = Item::of(n);
    } else if (name == "revindex" || name == "revindex0") {
        if (!loop_length(runtime, loop, n)) return false;
        out = Item::of(n - loop.index0 - (name == "revindex0"));
    } else if (name == "depth") {
        out = Item::of(int64_t{1});
    } else if (name == "depth0") {
        out = Item::of(int64_t{0});
    } else if (name == "previtem") {
        out = loop.index0 == 0 ? Item::undefined(Absence::hint, "there is no previous item") : loop.before;
    } else if (name == "nextitem") {
        if (!peek(runtime, loop)) return false;
        out = loop.after.is(Kind::missing) ? Item::undefined(Absence::hint, "there is no next item") : loop.after;
    } else if (name == "cycle") {
        out = Item::of(runtime.make(Callable{"cycle", cycle, Item::of(&loop)}));
    } else if (name == "changed") {
        out = Item::of(runtime.make(Callable{"changed", changed, Item::of(&loop)}));
    } else {
        found = false;
    }
    return true;
}

}  // namespace nibble::text::jinja
