// The functions that every template sees: range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
#include "text/jinja/binding.h"
#include "text/jinja/methods.h"

#include <chrono>
#include <ctime>

namespace nibble::text::jinja {
namespace {

bool make_range(Runtime& runtime, const Item&, const Arguments& arguments, Item& out) {
    if (!arguments.named.empty()) return runtime.fail("range() takes no keyword arguments");
    const size_t n = arguments.positional.size();
    if (n == 0 || n > 3) return runtime.fail("range() takes 1 to 3 arguments ({} given)", n);
    int64_t v[3] = {0, 0, 1};
    for (size_t i = 0; i < n; i++)
        if (!to_integer(runtime, "range", arguments.positional[i], v[n == 1 ? 1 : i])) return false;
    if (v[2] == 0) return runtime.fail("range() arg 3 must not be zero");
    const Range range{v[0], v[1], v[2]};
    if (range.size() > runtime.limits().range)
        return runtime.fail("range() of {} elements is over the limit of {}", range.size(), runtime.limits().range);
    out = Item::of(runtime.make(range));
    return true;
}

// dict(*args, **kwargs), fed to `set(key, value)`.
template <class SetPair>
bool dict_arguments(Runtime& runtime, std::string_view function, const Arguments& arguments, SetPair&& set) {
    if (arguments.positional.size() > 1)
        return runtime.fail("{}() takes at most 1 positional argument ({} given)", function,
                            arguments.positional.size());
    if (!arguments.positional.empty()) {
        const Item& source = arguments.positional[0];
        if (source.is_undefined()) return runtime.fail_undefined(source);
        if (source.is(Kind::dict)) {
            for (const Entry& entry : source.dict->span())
                if (!set(entry.key, entry.value)) return false;
        } else {
            Cursor cursor;
            Item item;
            if (!cursor.open(runtime, source)) return false;
            while (cursor.next(runtime, item)) {
                std::vector<Item> pair;
                if (!collect(runtime, item, pair)) return false;
                if (pair.size() != 2)
                    return runtime.fail("{}() needs pairs, not an element of length {}", function, pair.size());
                if (!set(pair[0], pair[1])) return false;
            }
            if (runtime.failed()) return false;
        }
    }
    for (const Keyword& keyword : arguments.named)
        if (!set(Item::of(keyword.name), keyword.value)) return false;
    return true;
}

bool make_dict(Runtime& runtime, const Item&, const Arguments& arguments, Item& out) {
    DictBuilder dict(runtime);
    return dict_arguments(runtime, "dict", arguments, [&](const Item& k, const Item& v) { return dict.set(k, v); }) &&
           dict.finish(out);
}

bool make_namespace(Runtime& runtime, const Item&, const Arguments& arguments, Item& out) {
    DictBuilder builder(runtime);
    Item entries;
    auto add = [&](const Item& key, const Item& value) {
        if (key.is_string() && key.view_text().starts_with('_'))
            return runtime.fail_template("a namespace cannot hold '{}'", key.view_text());
        return builder.set(key, value);
    };
    if (!dict_arguments(runtime, "namespace", arguments, add) || !builder.finish(entries)) return false;
    Namespace* space = runtime.make(Namespace{});
    space->size = space->capacity = entries.dict->size;
    space->entries = static_cast<Entry*>(runtime.arena().allocate(entries.dict->size * sizeof(Entry)));
    std::uninitialized_copy_n(entries.dict->entries, entries.dict->size, space->entries);
    out = Item::of(space);
    return true;
}

bool make_cycler(Runtime& runtime, const Item&, const Arguments& arguments, Item& out) {
    if (!arguments.named.empty()) return runtime.fail("cycler() takes no keyword arguments");
    if (arguments.positional.empty()) return runtime.fail("cycler() needs at least one item");
    out = Item::of(runtime.make(Cycler{runtime.store(arguments.positional)}));
    return true;
}

bool make_joiner(Runtime& runtime, const Item&, const Arguments& arguments, Item& out) {
    Item separator;
    if (!bind(runtime, "joiner", arguments, {{"sep", Item::of(std::string_view(", "))}}, &separator)) return false;
    out = Item::of(runtime.make(Joiner{separator}));
    return true;
}

bool raise_exception(Runtime& runtime, const Item&, const Arguments& arguments, Item&) {
    Item message;
    std::string_view text;
    return bind(runtime, "raise_exception", arguments, {{"message", Item()}}, &message) &&
           to_text(runtime, message, text) && runtime.raise(text);
}

// datetime.now().strftime(format): local time; %f, which C does not have, is microseconds.
bool strftime_now(Runtime& runtime, const Item&, const Arguments& arguments, Item& out) {
    Item argument;
    if (!bind(runtime, "strftime_now", arguments, {{"format", Item()}}, &argument)) return false;
    if (!argument.is_string()) return runtime.fail("strftime_now() needs a string, not '{}'", type_name(argument));
    if (argument.length > 1000) return runtime.fail("strftime_now() with a format of {} bytes", argument.length);
    const auto now = std::chrono::system_clock::now();
    const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
    const auto micros =
        std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1'000'000;
    std::string format;
    const std::string_view given = argument.view_text();
    for (size_t i = 0; i < given.size(); i++) {
        const bool pair = given[i] == '%' && i + 1 < given.size();
        if (pair && given[i + 1] == 'f')
            format += fmt::format("{:06}", micros);
        else
            format.append(given.substr(i, pair ? 2 : 1));
        i += pair;
    }
    std::tm local{};
    localtime_r(&seconds, &local);
    std::string text(64 + 32 * format.size(), '\0');
    text.resize(std::strftime(text.data(), text.size(), format.c_str(), &local));
    out = runtime.text(text);
    return true;
}

constexpr Callable kRange{"range", make_range, {}};
constexpr Callable kDict{"dict", make_dict, {}};
constexpr Callable kNamespace{"namespace", make_namespace, {}};
constexpr Callable kCycler{"cycler", make_cycler, {}};
constexpr Callable kJoiner{"joiner", make_joiner, {}};
constexpr Callable kRaise{"raise_exception", raise_exception, {}};
constexpr Callable kNow{"strftime_now", strftime_now, {}};

}  // namespace

bool dict_from_keys(Runtime& runtime, const Item&, const Arguments& arguments, Item& out) {
    Item p[2], key;
    Cursor cursor;
    if (!bind(runtime, "fromkeys", arguments, {{"", Item()}, {"", Item::none()}}, p) || !cursor.open(runtime, p[0]))
        return false;
    DictBuilder dict(runtime);
    while (cursor.next(runtime, key))
        if (!dict.set(key, p[1])) return false;
    return !runtime.failed() && dict.finish(out);
}

const Item* find_global(std::string_view name) {
    static const Item kItems[] = {Item::of(&kRange),  Item::of(&kDict),  Item::of(&kNamespace), Item::of(&kCycler),
                                  Item::of(&kJoiner), Item::of(&kRaise), Item::of(&kNow)};
    for (const Item& item : kItems)
        if (item.callable->name == name) return &item;
    return nullptr;
}

}  // namespace nibble::text::jinja
