#include "text/jinja/runtime.h"

#include "text/jinja/operations.h"
#include "text/keyed_hash.h"

#include <algorithm>
#include <cstring>

namespace nibble::text::jinja {
namespace {

constexpr size_t kBlockBytes = 64 << 10;
constexpr size_t kIndexFrom = 12;  // entries of a dict

std::string_view kind_name(Kind kind) {
    Item item;
    item.kind = kind;
    return type_name(item);
}

}  // namespace

char* Arena::room_for(size_t bytes) {
    if (static_cast<size_t>(end_ - cursor_) < bytes) {
        // Twice the size of what is asked, so that a text which grows finds room behind itself.
        const size_t size = std::max(kBlockBytes, 2 * bytes);
        blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
        begin_ = cursor_ = blocks_.back().get();
        end_ = cursor_ + size;
        used_ += size;
    }
    return cursor_;
}

void* Arena::allocate(size_t bytes) {
    bytes = (bytes + 7) & ~size_t{7};
    const size_t padding = (8 - reinterpret_cast<uintptr_t>(cursor_) % 8) % 8;
    cursor_ += std::min(padding, static_cast<size_t>(end_ - cursor_));
    char* place = room_for(bytes);
    cursor_ += bytes;
    return place;
}

std::string_view Arena::copy(std::string_view text) {
    return join(text, {});
}

bool Arena::joins_in_place(std::string_view a, size_t more) const {
    return !a.empty() && cursor_ > begin_ && a.data() + a.size() == cursor_ &&
           static_cast<size_t>(end_ - cursor_) >= more;
}

std::string_view Arena::join(std::string_view a, std::string_view b) {
    if (a.empty() && b.empty()) return {};
    if (joins_in_place(a, b.size())) {
        if (!b.empty()) std::memcpy(cursor_, b.data(), b.size());
        cursor_ += b.size();
        return {a.data(), a.size() + b.size()};
    }
    char* place = room_for(a.size() + b.size());
    if (!a.empty()) std::memcpy(place, a.data(), a.size());
    if (!b.empty()) std::memcpy(place + a.size(), b.data(), b.size());
    cursor_ = place + a.size() + b.size();
    return {place, a.size() + b.size()};
}

// Messages may hold the text of a request: of any length, with any characters.
bool Runtime::fail_with(ErrorCode code, std::string message) {
    constexpr size_t kMaxMessage = 500;
    if (failure_) return false;
    if (message.size() > kMaxMessage) {
        size_t end = kMaxMessage;
        while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xc0) == 0x80) end--;
        message.resize(end);
        message += "…";
    }
    for (char& c : message)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    failure_ = Error{code, std::move(message)};
    return false;
}

bool Runtime::out_of_budget() {
    if (failure_) return false;
    if (steps_left_ < 0) return fail("rendering takes more than {} steps", limits_.steps);
    return fail("rendering takes more than {} bytes of memory", limits_.memory_bytes);
}

bool Runtime::fail_undefined(const Item& undefined) {
    switch (undefined.absence) {
        case Absence::name:
            return fail("'{}' is undefined", undefined.view_text());
        case Absence::attribute:
            return fail("'{}' object has no attribute '{}'", kind_name(undefined.owner), undefined.view_text());
        case Absence::hint:
            return fail("{}", undefined.view_text());
    }
    return fail("a value is undefined");
}

bool Runtime::raise(std::string_view message) {
    raised_ = !failure_;
    return fail_with(ErrorCode::invalid_request, std::string(message));
}

bool Runtime::allow_text(size_t bytes) {
    if (bytes > limits_.output_bytes)
        return fail("a text of {} bytes is over the limit of {}", bytes, limits_.output_bytes);
    return spend_bytes(bytes);
}

bool Runtime::join(std::string_view a, std::string_view b, Item& out) {
    const size_t bytes = a.size() + b.size();
    if (bytes > limits_.output_bytes) return allow_text(bytes);
    if (!spend_bytes(arena_.joins_in_place(a, b.size()) ? b.size() : bytes)) return false;
    out = Item::of(arena_.join(a, b));
    return true;
}

bool Runtime::allow_items(size_t items) {
    if (items > kMaxItems) return fail("a list of {} elements is over the limit of {}", items, kMaxItems);
    return spend(1 + items / 4);
}

uint16_t nesting(const Item& item) {
    switch (item.kind) {
        case Kind::list:
        case Kind::tuple:
            return item.list->depth;
        case Kind::dict:
            return item.dict->depth;
        case Kind::view:
            return item.view->dict->depth;
        case Kind::callable:
            return item.callable->subject.kind == Kind::missing ? 0 : nesting(item.callable->subject);
        default:
            return 0;
    }
}

bool Runtime::sequence(std::span<const Item> items, const List*& out) {
    uint16_t depth = 0;
    for (const Item& item : items) depth = std::max(depth, nesting(item));
    if (depth >= kMaxNesting) return fail("lists nested over {} deep", kMaxNesting);
    out = make(List{.items = store(items).data(),
                    .size = static_cast<uint32_t>(items.size()),
                    .depth = static_cast<uint16_t>(depth + 1)});
    return true;
}

bool Runtime::list(std::span<const Item> items, Item& out) {
    const List* cell;
    if (!allow_items(items.size()) || !sequence(items, cell)) return false;
    out = Item::of(cell);
    return true;
}

bool Runtime::tuple(std::span<const Item> items, Item& out) {
    const List* cell;
    if (!allow_items(items.size()) || !sequence(items, cell)) return false;
    out = Item::tuple(cell);
    return true;
}

bool Runtime::iterator(std::span<const Item> items, const char* type, Item& out) {
    if (!allow_items(items.size())) return false;
    out = Item::of(make(Iterator{.items = store(items), .type = type}));
    return true;
}

bool DictBuilder::set(const Item& key, const Item& value) {
    uint64_t hashed;
    if (!hash(runtime_, key, hashed)) return false;
    if (slots_.empty()) {
        for (Entry& entry : entries_) {
            if (equal(runtime_, entry.key, key)) {
                entry.value = value;
                return !runtime_.failed();
            }
        }
    } else {
        const size_t mask = slots_.size() - 1;
        size_t slot = hashed & mask;
        for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
            Entry& entry = entries_[slots_[slot] - 1];
            if (equal(runtime_, entry.key, key)) {
                entry.value = value;
                return !runtime_.failed();
            }
        }
    }
    entries_.push_back({key, value});
    if (entries_.size() < kIndexFrom) return true;
    if (slots_.empty() || entries_.size() * 2 > slots_.size()) {
        slots_.assign(std::max<size_t>(32, slots_.size() * 2), 0);
        for (size_t i = 0; i + 1 < entries_.size(); i++) {
            uint64_t h;
            if (!hash(runtime_, entries_[i].key, h)) return false;
            size_t slot = h & (slots_.size() - 1);
            while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
            slots_[slot] = static_cast<uint32_t>(i + 1);
        }
    }
    const size_t mask = slots_.size() - 1;
    size_t slot = hashed & mask;
    while (slots_[slot] != 0) slot = (slot + 1) & mask;
    slots_[slot] = static_cast<uint32_t>(entries_.size());
    return true;
}

bool DictBuilder::finish(Item& out) {
    uint16_t depth = 0;
    for (const Entry& entry : entries_) depth = std::max({depth, nesting(entry.key), nesting(entry.value)});
    if (depth >= kMaxNesting) return runtime_.fail("dicts nested over {} deep", kMaxNesting);
    if (!runtime_.allow_items(entries_.size())) return false;
    Dict dict;
    dict.entries = runtime_.store(std::span<const Entry>(entries_)).data();
    dict.size = static_cast<uint32_t>(entries_.size());
    dict.depth = static_cast<uint16_t>(depth + 1);
    if (!slots_.empty()) {
        dict.slots = runtime_.store(std::span<const uint32_t>(slots_)).data();
        dict.slot_mask = static_cast<uint32_t>(slots_.size() - 1);
    }
    out = Item::of(runtime_.make(dict));
    return true;
}

const Item* find(Runtime& runtime, const Dict& dict, const Item& key) {
    if (dict.slots == nullptr) {
        for (const Entry& entry : dict.span())
            if (equal(runtime, entry.key, key)) return &entry.value;
        return nullptr;
    }
    uint64_t hashed;
    if (!hash(runtime, key, hashed)) return nullptr;
    for (size_t slot = hashed & dict.slot_mask; dict.slots[slot] != 0; slot = (slot + 1) & dict.slot_mask) {
        const Entry& entry = dict.entries[dict.slots[slot] - 1];
        if (equal(runtime, entry.key, key)) return &entry.value;
    }
    return nullptr;
}

const Item* find(const Dict& dict, std::string_view key) {
    auto matches = [&](const Entry& entry) { return entry.key.is_string() && entry.key.view_text() == key; };
    if (dict.slots == nullptr) {
        for (const Entry& entry : dict.span())
            if (matches(entry)) return &entry.value;
        return nullptr;
    }
    for (size_t slot = keyed_hash(key) & dict.slot_mask; dict.slots[slot] != 0; slot = (slot + 1) & dict.slot_mask) {
        const Entry& entry = dict.entries[dict.slots[slot] - 1];
        if (matches(entry)) return &entry.value;
    }
    return nullptr;
}

Item* find(const Namespace& space, std::string_view name) {
    for (uint32_t i = 0; i < space.size; i++)
        if (space.entries[i].key.is_string() && space.entries[i].key.view_text() == name)
            return &space.entries[i].value;
    return nullptr;
}

void set(Runtime& runtime, Namespace& space, const Item& name, const Item& value) {
    if (name.is_string())
        if (Item* place = find(space, name.view_text())) {
            *place = value;
            return;
        }
    if (space.size == space.capacity) {
        const uint32_t capacity = std::max(8u, space.capacity * 2);
        Entry* grown = static_cast<Entry*>(runtime.arena().allocate(capacity * sizeof(Entry)));
        std::copy_n(space.entries, space.size, grown);
        space.entries = grown;
        space.capacity = capacity;
    }
    space.entries[space.size++] = {name, value};
}

}  // namespace nibble::text::jinja
