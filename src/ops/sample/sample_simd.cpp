// The CPU row of op sample: one or two vector passes over a row of logits, and exact selection among the few that
// matter.
//
// scan() finds the maxima of blocks; they say which blocks can hold a candidate, so that only those are looked at one
// by one. weigh() adds integer weights per block; the drawn token is found by skipping whole blocks. Bound by reading
// the logits (a vocabulary of 128 Ki is 512 KiB) from the last-level cache.
#include "ops/sample/sample.h"
#include "ops/sample/sample_weight.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/sample/sample_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef NIBBLE_SAMPLE_BLOCK
#define NIBBLE_SAMPLE_BLOCK
namespace nibble::ops {
constexpr int64_t kSampleBlock = 256;  // logits
}
#endif

HWY_BEFORE_NAMESPACE();
namespace nibble::ops::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// The largest of each block to `maxima`; false when an element is not finite (then maxima may be anything).
bool scan(const float* x, int64_t count, float* maxima) {
    const hn::ScalableTag<float> d;
    const hn::RebindToSigned<decltype(d)> di;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto magnitude = hn::Set(di, 0x7fffffff);
    auto largest_bits = hn::Zero(di);  // of |x|: at least infinity's when x is infinite or not a number
    int32_t tail_bits = 0;
    for (int64_t begin = 0; begin < count; begin += kSampleBlock) {
        const int64_t end = std::min(begin + kSampleBlock, count);
        auto largest = hn::Set(d, -std::numeric_limits<float>::infinity());
        int64_t i = begin;
        for (; i + lanes <= end; i += lanes) {
            const auto v = hn::LoadU(d, x + i);
            largest = hn::Max(largest, v);
            largest_bits = hn::Max(largest_bits, hn::And(hn::BitCast(di, v), magnitude));
        }
        float block = hn::GetLane(hn::MaxOfLanes(d, largest));
        for (; i < end; ++i) {
            block = std::max(block, x[i]);
            tail_bits = std::max(tail_bits, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
        }
        maxima[begin / kSampleBlock] = block;
    }
    const int32_t bits = std::max(tail_bits, hn::GetLane(hn::MaxOfLanes(di, largest_bits)));
    return bits < std::bit_cast<int32_t>(std::numeric_limits<float>::infinity());
}

// sample_weight of each lane, added to its 64-bit lane of `sum` with kToIntegerBits on top.
template <class D, class V, class Sum>
HWY_INLINE void add_weights(D d, V z, hn::Mask<D> kept, Sum& sum) {
    const hn::Rebind<double, D> dd;
    const hn::Rebind<uint64_t, D> du;
    const hn::RebindToSigned<D> di;
    const auto magic = hn::Set(d, weight::kRoundToInteger);
    const auto n = hn::Sub(hn::Add(hn::Mul(z, hn::Set(d, weight::kLog2E)), magic), magic);
    const auto r =
        hn::Sub(hn::Sub(z, hn::Mul(n, hn::Set(d, weight::kLn2High))), hn::Mul(n, hn::Set(d, weight::kLn2Low)));
    auto e = hn::Set(d, weight::kSeries[0]);
    for (int i = 1; i < 8; ++i) e = hn::Add(hn::Mul(e, r), hn::Set(d, weight::kSeries[i]));
    const auto power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
    e = hn::IfThenElseZero(kept, hn::Mul(e, hn::BitCast(d, power)));
    const auto scaled =
        hn::Add(hn::Mul(hn::PromoteTo(dd, e), hn::Set(dd, weight::kScale)), hn::Set(dd, weight::kToInteger));
    sum = hn::Add(sum, hn::BitCast(du, scaled));
}

// Σ sample_weight((x - largest) · inverse_temperature) over z >= min_z; the sums of blocks to `sums` unless null.
uint64_t weigh(const float* x, int64_t count, float largest, float inverse_temperature, float min_z, uint64_t* sums) {
    const hn::Rebind<float, hn::ScalableTag<double>> d;
    const hn::ScalableTag<uint64_t> du;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto largest_v = hn::Set(d, largest), inverse = hn::Set(d, inverse_temperature);
    const auto lowest = hn::Set(d, std::max(min_z, weight::kLowest));
    uint64_t total = 0;
    for (int64_t begin = 0; begin < count; begin += kSampleBlock) {
        const int64_t end = std::min(begin + kSampleBlock, count);
        auto sum = hn::Zero(du);
        int64_t i = begin;
        for (; i + lanes <= end; i += lanes) {
            const auto z = hn::Mul(hn::Sub(hn::LoadU(d, x + i), largest_v), inverse);
            add_weights(d, z, hn::Ge(z, lowest), sum);
        }
        const uint64_t added = static_cast<uint64_t>((i - begin) / lanes) * weight::kToIntegerBits;
        uint64_t block = hn::GetLane(hn::SumOfLanes(du, hn::Sub(sum, hn::Set(du, added))));
        for (; i < end; ++i)
            if (const float z = (x[i] - largest) * inverse_temperature; z >= min_z) block += sample_weight(z);
        if (sums != nullptr) sums[begin / kSampleBlock] = block;
        total += block;
    }
    return total;
}

}  // namespace
}  // namespace nibble::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nibble::ops {

void sample_simd(OpContext&, const SampleArgs&);
int64_t sample_simd_scratch(const SampleArgs&, const device::Device&);

namespace {

HWY_EXPORT(scan);
HWY_EXPORT(weigh);

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr int64_t kMaxLanes = 16;  // rows in work at once; bounds the scratch

// A candidate as one integer that sorts in the contract's order: the value's bits made monotone, then the id reversed.
using Candidate = uint64_t;
Candidate candidate(float x, int64_t id) {
    const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);  // -0 is 0
    const uint32_t key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return uint64_t{key} << 32 | (0xffffffffu - static_cast<uint32_t>(id));
}
int32_t id_of(Candidate c) {
    return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(c));
}
float value_of(Candidate c) {
    const uint32_t key = static_cast<uint32_t>(c >> 32);
    return std::bit_cast<float>(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// Working memory of one row at a time.
struct Lane {
    float* maxima;          // [blocks]
    float* ordered_maxima;  // [blocks]
    uint64_t* block_sums;   // [blocks]
    Candidate* candidates;  // [V]
    float* originals;       // [V + kMaxOtherEntries] of the entries, to restore the logits

    static int64_t blocks(int64_t vocab) { return (vocab + kSampleBlock - 1) / kSampleBlock; }
    static int64_t bytes(int64_t vocab) {
        return (blocks(vocab) * 16 + vocab * 12 + kMaxOtherEntries * 4 + 63) / 64 * 64;
    }
    Lane(std::byte* memory, int64_t vocab) {
        const int64_t n = blocks(vocab);
        block_sums = reinterpret_cast<uint64_t*>(memory);
        candidates = reinterpret_cast<Candidate*>(block_sums + n);
        maxima = reinterpret_cast<float*>(candidates + vocab);
        ordered_maxima = maxima + n;
        originals = ordered_maxima + n;
    }
};

int64_t lane_count(const SampleArgs& a) {
    return std::min(a.logits.dim(0), kMaxLanes);
}

struct RowWork {
    float* x;  // [V]
    int64_t vocab;
    const SampleRow& row;
    Lane& lane;
    int64_t blocks = Lane::blocks(vocab);

    bool scan() { return HWY_DYNAMIC_DISPATCH(scan)(x, vocab, lane.maxima); }
    float largest() const { return *std::max_element(lane.maxima, lane.maxima + blocks); }

    // The first id of the largest value.
    int32_t argmax() const {
        const float* block = std::max_element(lane.maxima, lane.maxima + blocks);
        const int64_t begin = (block - lane.maxima) * kSampleBlock;
        float* end = x + std::min(begin + kSampleBlock, vocab);
        return static_cast<int32_t>(std::find(x + begin, end, *block) - x);
    }

    // A value that at least k of the row reach: the k-th largest maximum of a block.
    float reached_by(int64_t k) {
        if (k > blocks) return kMasked;
        std::copy(lane.maxima, lane.maxima + blocks, lane.ordered_maxima);
        std::nth_element(lane.ordered_maxima, lane.ordered_maxima + k - 1, lane.ordered_maxima + blocks,
                         std::greater<>());
        return lane.ordered_maxima[k - 1];
    }

    // Calls body(id) for the ids, ascending, whose value is at least `threshold`; stops when it answers false.
    template <class Body>
    void for_values_from(float threshold, const Body& body) const {
        for (int64_t b = 0; b < blocks; ++b) {
            if (lane.maxima[b] < threshold) continue;
            const int64_t end = std::min((b + 1) * kSampleBlock, vocab);
            for (int64_t i = b * kSampleBlock; i < end; ++i)
                if (x[i] >= threshold && !body(i)) return;
        }
    }

    Candidate* collect(float threshold) const {
        Candidate* end = lane.candidates;
        for_values_from(threshold, [&](int64_t id) {
            *end++ = candidate(x[id], id);
            return true;
        });
        return end;
    }
};

// The end of the shortest prefix of [begin, end), in descending order, whose weights reach `target` > 0; the prefix is
// left in front, unordered. Linear on average: the half that holds the cut is halved again.
template <class Weight>
Candidate* reach(Candidate* begin, Candidate* end, uint64_t target, const Weight& weight_of) {
    while (end - begin > 32) {
        Candidate* middle = begin + (end - begin) / 2;
        std::nth_element(begin, middle, end, std::greater<>());
        uint64_t sum = 0;
        for (Candidate* c = begin; c < middle; ++c) sum += weight_of(*c);
        if (sum >= target) {
            end = middle;
        } else {
            target -= sum;
            begin = middle;
        }
    }
    std::sort(begin, end, std::greater<>());
    for (uint64_t sum = 0; begin < end;) {
        sum += weight_of(*begin++);
        if (sum >= target) break;
    }
    return begin;
}

int32_t draw_from(const RowWork& work, uint64_t sum, float threshold, Candidate last, float largest) {
    const SampleRow& row = work.row;
    const numeric::PhiloxWords words = numeric::philox(row.seed, static_cast<uint64_t>(row.position), 0);
    const uint64_t r = scale_random(sum, words.word[0] | uint64_t{words.word[1]} << 32);
    uint64_t reached = 0;
    int32_t token = -1;
    work.for_values_from(threshold, [&](int64_t id) {
        if (candidate(work.x[id], id) < last) return true;
        reached += sample_weight((work.x[id] - largest) * row.inverse_temperature);
        if (reached <= r) return true;
        token = static_cast<int32_t>(id);
        return false;
    });
    CHECK(token >= 0, "no token is kept");
    return token;
}

int32_t draw_from_all(const RowWork& work, float largest) {
    const SampleRow& row = work.row;
    const uint64_t sum = HWY_DYNAMIC_DISPATCH(weigh)(work.x, work.vocab, largest, row.inverse_temperature, row.min_z,
                                                     work.lane.block_sums);
    const numeric::PhiloxWords words = numeric::philox(row.seed, static_cast<uint64_t>(row.position), 0);
    const uint64_t r = scale_random(sum, words.word[0] | uint64_t{words.word[1]} << 32);
    uint64_t reached = 0;
    int64_t block = 0;
    while (reached + work.lane.block_sums[block] <= r) reached += work.lane.block_sums[block++];
    for (int64_t i = block * kSampleBlock;; ++i) {
        const float z = (work.x[i] - largest) * row.inverse_temperature;
        if (z >= row.min_z) reached += sample_weight(z);
        if (reached > r) return static_cast<int32_t>(i);
    }
}

// Steps 4 to 6 of the contract, on processed logits whose block maxima are known.
int32_t draw(RowWork& work) {
    const SampleRow& row = work.row;
    const float largest = work.largest();
    if (row.inverse_temperature == 0 || largest == kMasked) return work.argmax();
    const bool limits_count = row.top_k > 0 && row.top_k < work.vocab, limits_sum = row.top_p < 1.0f;
    if (!limits_count && !limits_sum) return draw_from_all(work, largest);

    const auto z_of = [&](float x) { return (x - largest) * row.inverse_temperature; };
    const auto weight_of = [&](Candidate c) { return sample_weight(z_of(value_of(c))); };
    Candidate* const begin = work.lane.candidates;
    const auto collect = [&](float threshold) {
        Candidate* end = work.collect(threshold);
        if (row.min_z == kMasked) return end;
        return std::partition(begin, end, [&](Candidate c) { return z_of(value_of(c)) >= row.min_z; });
    };
    const auto sum_to = [&](Candidate* end) {
        uint64_t sum = 0;
        for (Candidate* c = begin; c < end; ++c) sum += weight_of(*c);
        return sum;
    };
    Candidate* end = begin;
    uint64_t sum = 0;
    if (limits_count) {
        end = collect(work.reached_by(row.top_k));
        if (end - begin > row.top_k) {
            std::nth_element(begin, begin + row.top_k, end, std::greater<>());
            end = begin + row.top_k;
        }
        sum = sum_to(end);
        if (limits_sum) end = reach(begin, end, top_p_target(sum, row.top_p), weight_of);
    } else {
        // The nucleus is usually a few tokens, so a few are tried first; a flat distribution ends with all of them.
        sum = HWY_DYNAMIC_DISPATCH(weigh)(work.x, work.vocab, largest, row.inverse_temperature, row.min_z, nullptr);
        const uint64_t target = top_p_target(sum, row.top_p);
        for (int64_t k = 16; end == begin || sum_to(end) < target; k *= 4) end = collect(work.reached_by(k));
        end = reach(begin, end, target, weight_of);
    }
    if (limits_sum) sum = sum_to(end);
    const Candidate last = *std::min_element(begin, end);
    return draw_from(work, sum, value_of(last), last, largest);
}

// Applies steps 1 to 3, draws, and puts the logits back.
int32_t process_and_draw(RowWork& work, const SampleEntry* entries) {
    const SampleRow& row = work.row;
    float* x = work.x;
    const int32_t count = row.bias_entries + row.counted_entries + row.masked_entries;
    if (count == 0) return draw(work);
    CHECK(row.counted_entries <= work.vocab && row.bias_entries + row.masked_entries <= kMaxOtherEntries,
          "{} bias, {} counted and {} masked entries", row.bias_entries, row.counted_entries, row.masked_entries);
    const SampleEntry* bias = entries;
    const SampleEntry* counted = bias + row.bias_entries;
    const SampleEntry* masked = counted + row.counted_entries;
    // A token may be in several of the lists: each saves what it finds, and they are put back in reverse.
    float* originals = work.lane.originals;
    const auto change = [&](const SampleEntry& entry, float value) {
        *originals++ = x[entry.token];
        x[entry.token] = value;
    };
    for (const SampleEntry* e = bias; e < counted; ++e) change(*e, x[e->token] + e->value);
    for (const SampleEntry* e = counted; e < masked; ++e)
        change(*e, penalized(x[e->token], e->value, row.repetition, row.presence, row.frequency));
    for (const SampleEntry* e = bias; e < masked; ++e) x[e->token] = std::clamp(x[e->token], -FLT_MAX, FLT_MAX);
    for (const SampleEntry* e = masked; e < entries + count; ++e) change(*e, kMasked);
    work.scan();
    const int32_t token = draw(work);
    for (const SampleEntry* e = entries + count; e > entries;) x[(--e)->token] = *--originals;
    return token;
}

void sample_row(const SampleArgs& a, int64_t r, Lane& lane) {
    const SampleRow& row = a.rows.as<SampleRow>()[r];
    RowWork work{.x = a.logits.row_as<float>(r), .vocab = a.logits.dim(1), .row = row, .lane = lane};
    int32_t& token = a.token.as<int32_t>()[r];
    token = -1;
    if (!work.scan()) return;
    const float largest = work.largest();
    double log_sum = 0;
    const auto logprob = [&](float l) {
        return static_cast<float>(static_cast<double>(l) - static_cast<double>(largest) - log_sum);
    };
    if (row.top >= 0) {
        const uint64_t sum = HWY_DYNAMIC_DISPATCH(weigh)(work.x, work.vocab, largest, 1.0f, kMasked, nullptr);
        log_sum = std::log(static_cast<double>(sum) / weight::kScale);
    }
    if (row.top > 0) {
        Candidate* end = work.collect(work.reached_by(row.top));
        std::partial_sort(lane.candidates, lane.candidates + row.top, end, std::greater<>());
        for (int32_t i = 0; i < row.top; ++i) {
            a.top_token.row_as<int32_t>(r)[i] = id_of(lane.candidates[i]);
            a.top_logprob.row_as<float>(r)[i] = logprob(value_of(lane.candidates[i]));
        }
    }
    token = row.given_token;
    if (token < 0)
        token = process_and_draw(work, a.entries.empty() ? nullptr : a.entries.as<SampleEntry>() + row.entries_begin);
    if (row.top < 0) return;
    const float value = work.x[token];
    int32_t rank = 1;
    for (int64_t i = 0; i < work.vocab; ++i) rank += work.x[i] > value ? 1 : 0;
    for (int64_t i = 0; i < token; ++i) rank += work.x[i] == value ? 1 : 0;
    a.logprob.as<float>()[r] = logprob(value);
    a.rank.as<int32_t>()[r] = rank;
}

}  // namespace

int64_t sample_simd_scratch(const SampleArgs& a, const device::Device&) {
    return lane_count(a) * Lane::bytes(a.logits.dim(1));
}

void sample_simd(OpContext& context, const SampleArgs& a) {
    const int64_t lanes = lane_count(a), vocab = a.logits.dim(1), count = a.logits.dim(0);
    std::byte* memory = context.arena->allocate_bytes(lanes * Lane::bytes(vocab));
    const auto range = [&](int64_t begin, int64_t end, int) {
        for (int64_t l = begin; l < end; ++l) {
            Lane lane(memory + l * Lane::bytes(vocab), vocab);
            for (int64_t r = l; r < count; r += lanes) sample_row(a, r, lane);
        }
    };
    if (context.threads != nullptr)
        context.threads->parallel_for(lanes, 1, range);
    else
        range(0, lanes, 0);
}

}  // namespace nibble::ops
#endif
