#include "text/keyed_hash.h"

#include <bit>
#include <cstring>
#include <random>

namespace nibble::text {
namespace {

struct Key {
    uint64_t k0, k1;
    Key() {
        std::random_device source;
        auto word = [&] { return static_cast<uint64_t>(source()) << 32 | source(); };
        k0 = word();
        k1 = word();
    }
};

struct State {
    uint64_t v0, v1, v2, v3;
    void round() {
        v0 += v1;
        v1 = std::rotl(v1, 13) ^ v0;
        v0 = std::rotl(v0, 32);
        v2 += v3;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = std::rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = std::rotl(v1, 17) ^ v2;
        v2 = std::rotl(v2, 32);
    }
};

uint64_t load(const char* p, size_t n) {
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) word |= static_cast<uint64_t>(static_cast<unsigned char>(p[i])) << 8 * i;
    return word;
}

}  // namespace

uint64_t keyed_hash(std::string_view bytes) {
    static const Key key;
    State s{key.k0 ^ 0x736f6d6570736575, key.k1 ^ 0x646f72616e646f6d, key.k0 ^ 0x6c7967656e657261,
            key.k1 ^ 0x7465646279746573};
    auto absorb = [&](uint64_t word) {
        s.v3 ^= word;
        s.round();
        s.v0 ^= word;
    };
    const size_t whole = bytes.size() & ~size_t{7};
    for (size_t i = 0; i < whole; i += 8) absorb(load(bytes.data() + i, 8));
    absorb(load(bytes.data() + whole, bytes.size() - whole) | static_cast<uint64_t>(bytes.size()) << 56);
    s.v2 ^= 0xff;
    s.round();
    s.round();
    s.round();
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

}  // namespace nibble::text
