// Runtime: what one render may use up, where its cells live, and the first thing that went wrong.
//
// Functions that can fail return false after runtime.fail(...). A failure is sticky: every later step refuses, so a
// function with nothing sensible to return may return anything. One render, one thread.
#pragma once

#include "base/result.h"
#include "text/jinja.h"
#include "text/jinja/item.h"

#include <fmt/format.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace nibble::text::jinja {

constexpr uint16_t kMaxNesting = 200;  // containers in containers
constexpr size_t kMaxItems = 1 << 20;  // elements of one list or dict

// Memory in blocks, freed all at once.
class Arena {
public:
    void* allocate(size_t bytes);  // aligned to 8
    std::string_view copy(std::string_view text);
    // a + b. When `a` is the last text that was copied here, only b is copied behind it: adding to a string in a loop
    // stays linear.
    std::string_view join(std::string_view a, std::string_view b);
    bool joins_in_place(std::string_view a, size_t more) const;
    size_t used() const { return used_; }

private:
    char* room_for(size_t bytes);

    std::vector<std::unique_ptr<char[]>> blocks_;
    char* begin_ = nullptr;  // of the current block
    char* cursor_ = nullptr;
    char* end_ = nullptr;
    size_t used_ = 0;
};

class Runtime {
public:
    explicit Runtime(const TemplateLimits& limits) : limits_(limits), steps_left_(limits.steps) {}
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    const TemplateLimits& limits() const { return limits_; }

    // What the data caused (invalid_request) and what only the template can have caused (model_invalid). Both return
    // false, for `return runtime.fail(…)`.
    template <class... Args>
    bool fail(fmt::format_string<Args...> format, Args&&... args) {
        return fail_with(ErrorCode::invalid_request, fmt::format(format, std::forward<Args>(args)...));
    }
    template <class... Args>
    bool fail_template(fmt::format_string<Args...> format, Args&&... args) {
        return fail_with(ErrorCode::model_invalid, fmt::format(format, std::forward<Args>(args)...));
    }
    bool fail_undefined(const Item& undefined);  // it was used in a way that needs a value
    bool raise(std::string_view message);        // raise_exception(): the template's own words
    bool raised() const { return raised_; }
    bool failed() const { return failure_.has_value(); }
    const std::optional<Error>& failure() const { return failure_; }
    std::optional<Error> take_failure() { return std::exchange(failure_, std::nullopt); }

    // Uses up steps; false when none are left or something failed before.
    bool spend(size_t steps) {
        steps_left_ -= static_cast<int64_t>(steps);
        return steps_left_ >= 0 && !failure_ && arena_.used() <= limits_.memory_bytes ? true : out_of_budget();
    }
    // Steps for reading or writing so many bytes.
    bool spend_bytes(size_t bytes) { return spend(1 + bytes / 64); }
    // Whether a text of `bytes`, or a list of `items`, may be made at all; asked before it is.
    bool allow_text(size_t bytes);
    bool allow_items(size_t items);

    Arena& arena() { return arena_; }
    template <class T>
    T* make(T value) {
        static_assert(std::is_trivially_destructible_v<T>);
        return new (arena_.allocate(sizeof(T))) T(std::move(value));
    }
    template <class T>
    std::span<const T> store(std::span<const T> values) {
        static_assert(std::is_trivially_copyable_v<T>);
        T* copy = static_cast<T*>(arena_.allocate(values.size_bytes()));
        std::uninitialized_copy(values.begin(), values.end(), copy);
        return {copy, values.size()};
    }

    Item text(std::string_view s, bool markup = false) { return Item::of(arena_.copy(s), markup); }
    bool join(std::string_view a, std::string_view b, Item& out);  // a + b, within the limits
    // Fail when the containers are nested over kMaxNesting.
    bool list(std::span<const Item> items, Item& out);
    bool tuple(std::span<const Item> items, Item& out);
    bool iterator(std::span<const Item> items, const char* type, Item& out);

private:
    bool fail_with(ErrorCode code, std::string message);
    bool out_of_budget();
    bool sequence(std::span<const Item> items, const List*& out);

    TemplateLimits limits_;
    int64_t steps_left_;
    Arena arena_;
    std::optional<Error> failure_;
    bool raised_ = false;
};

uint16_t nesting(const Item& item);  // 0 for what is no container

// Builds a dict: a later value of an equal key replaces the earlier, keeping its place.
class DictBuilder {
public:
    explicit DictBuilder(Runtime& runtime) : runtime_(runtime) {}
    void reserve(size_t n) { entries_.reserve(n); }
    size_t size() const { return entries_.size(); }
    bool set(const Item& key, const Item& value);  // fails on an unhashable key
    bool finish(Item& out);

private:
    Runtime& runtime_;
    std::vector<Entry> entries_;
    std::vector<uint32_t> slots_;
};

const Item* find(Runtime& runtime, const Dict& dict, const Item& key);  // the key must be hashable
const Item* find(const Dict& dict, std::string_view key);
Item* find(const Namespace& space, std::string_view name);
void set(Runtime& runtime, Namespace& space, const Item& name, const Item& value);

}  // namespace nibble::text::jinja
