// Philox4x32-10: a counter-based random generator. The same (key, counter) gives the same four words everywhere, on any
// thread and in any order, so a sampled token depends on its request's seed and position alone.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

#ifdef __CUDACC__
#define NIBBLE_HOST_DEVICE __host__ __device__
#else
#define NIBBLE_HOST_DEVICE
#endif

namespace nibble::numeric {

struct PhiloxWords {
    uint32_t word[4];
};

NIBBLE_HOST_DEVICE constexpr PhiloxWords philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
    uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
    uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c1 = static_cast<uint32_t>(p1), c3 = static_cast<uint32_t>(p0);
        c0 = n0, c2 = n2;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// [0, 1) with 24 bits.
NIBBLE_HOST_DEVICE constexpr float unit_float(uint32_t word) {
    return static_cast<float>(word >> 8) * 0x1p-24f;
}

}  // namespace nibble::numeric
