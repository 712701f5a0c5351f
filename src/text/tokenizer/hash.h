// A fast hash under a key drawn once a process: a vocabulary or a text cannot be made to collide on purpose.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace nibble::text {

inline uint64_t mix(uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline const uint64_t kHashKey = [] {
    std::random_device source;
    return (static_cast<uint64_t>(source()) << 32 | source()) | 1;
}();

inline uint64_t hash_bytes(std::string_view bytes) {
    constexpr uint64_t kA = 0xa0761d6478bd642f, kB = 0xe7037ed1a0b428db;
    const char* p = bytes.data();
    size_t n = bytes.size();
    uint64_t h = mix(n ^ kA, kHashKey);
    const auto load = [](const char* at, size_t size) {
        uint64_t word = 0;
        if (size > 0) std::memcpy(&word, at, size);
        return word;
    };
    for (; n > 16; n -= 16, p += 16) h = mix(load(p, 8) ^ kB ^ h, load(p + 8, 8) ^ kHashKey);
    const uint64_t first = n >= 8 ? load(p, 8) : load(p, n);
    const uint64_t rest = n > 8 ? load(p + 8, n - 8) : 0;
    return mix(mix(first ^ kB ^ h, rest ^ kHashKey), kA ^ h);
}

inline uint64_t hash_word(uint64_t word) {
    return mix(word ^ 0xa0761d6478bd642f, kHashKey);
}

}  // namespace nibble::text
