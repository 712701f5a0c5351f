#include "text/jinja/from_value.h"

namespace nibble::text::jinja {
namespace {

bool convert(Runtime& runtime, const Value& value, int depth, Item& out) {
    if (depth > kMaxNesting) return runtime.fail("values nested over {} deep", kMaxNesting);
    if (value.is_undefined()) {
        out = Item::undefined(Absence::hint, "a value is undefined");
    } else if (value.is_none()) {
        out = Item::none();
    } else if (value.is_bool()) {
        out = Item::of(value.as_bool());
    } else if (value.is_int()) {
        out = Item::of(value.as_int());
    } else if (value.is_float()) {
        out = Item::of(value.as_float());
    } else if (value.is_string()) {
        if (value.as_string().size() > UINT32_MAX) return runtime.fail("a text of {} bytes", value.as_string().size());
        out = Item::of(std::string_view(value.as_string()));
    } else if (value.is_array()) {
        std::vector<Item> items(value.as_array().size());
        for (size_t i = 0; i < items.size(); i++)
            if (!convert(runtime, value.as_array()[i], depth + 1, items[i])) return false;
        return runtime.list(items, out);
    } else {
        DictBuilder dict(runtime);
        dict.reserve(value.as_object().size());
        for (const auto& [key, entry] : value.as_object().entries()) {
            Item item;
            if (!convert(runtime, entry, depth + 1, item) || !dict.set(Item::of(std::string_view(key)), item))
                return false;
        }
        return dict.finish(out);
    }
    return true;
}

}  // namespace

bool from_value(Runtime& runtime, const Value& value, Item& out) {
    return convert(runtime, value, 0, out);
}

}  // namespace nibble::text::jinja
