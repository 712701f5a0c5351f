// Loop: the `loop` variable of a for statement, and the iteration behind it.
//
// Items are fetched one by one, so that the filter of `for x in xs if …` sees what the body changed; looking ahead
// (loop.last, loop.nextitem) fetches one, loop.length all. Only `accepts` knows the interpreter.
#pragma once

#include "text/jinja/operations.h"

namespace nibble::text::jinja {

struct Loop {
    Item source;
    Cursor cursor;
    // The filter: whether the item takes part, and what it is passed on as. Null when there is none.
    bool (*accepts)(Runtime& runtime, Loop& loop, Item& item, bool& yes) = nullptr;
    void* filter = nullptr;  // what `accepts` works with

    int64_t index0 = -1;
    int64_t length = -1;  // once known
    Item before, current, after;
    const List* changed = nullptr;  // arguments of the last loop.changed()
};

// The next item for the body. False at the end, and when something failed.
bool loop_next(Runtime& runtime, Loop& loop, Item& out);
bool loop_length(Runtime& runtime, Loop& loop, int64_t& out);
// `found` is false when the loop has no such attribute.
bool loop_attribute(Runtime& runtime, Loop& loop, std::string_view name, Item& out, bool& found);

}  // namespace nibble::text::jinja
