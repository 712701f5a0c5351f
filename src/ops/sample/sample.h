// sample: from a row of logits to a token, and to the log-probabilities that were asked for.
//
// For a row with raw logits l[V], every step one float32 rounding:
//   1. x = l;  x[t] += value                                  for each bias entry
//   2. x[t] = x[t] > 0 ? x[t] / repetition : x[t] * repetition, x[t] -= value * frequency, x[t] -= presence if value >
//   0
//                                                             for each counted entry: a token of the prompt or the
//                                                             output, value = how often it is in the output
//   3. x[t] = -infinity for each masked entry; all other x are clamped to the finite range
//   greedy (inverse_temperature 0): the largest x, the lowest id among equals
//   4. z = (x - max x) * inverse_temperature;  w = sample_weight(z), an integer (sample_weight.h)
//   5. in the order of x descending, then id ascending, kept are: those with z >= min_z; of these the first top_k; of
//      these the shortest prefix whose w sum to at least top_p of their sum
//   6. the first kept id, in order of ids, whose cumulated w exceeds the high 64 bits of (sum of kept w) * u,
//      u = words 0 and 1 of philox(seed, position, 0)
// The order of steps 1 to 5 is vLLM's, the penalties are those of transformers (repetition) and OpenAI (presence,
// frequency). Weights are integers, so sums do not depend on how they are split: every row of the table gives the same
// token for the same logits, and a row of logits never sees its neighbours.
//
// Log-probabilities are of the raw logits: l[t] - max l - log(Σ w / 2^44). A rank counts from 1 in the order of 5.
// A row with a logit that is not finite yields token -1 and nothing else.
#pragma once

#include "ops/op.h"

namespace nibble::ops {

inline constexpr int32_t kMaxOtherEntries = 4096;  // bias and masked entries of a row

struct SampleEntry {
    int32_t token = 0;  // in [0, V)
    float value = 0;    // bias, or count; not read of a masked entry
};

// What is wanted of one row of logits. Fixed layout: an array of these is copied to the device as bytes.
struct SampleRow {
    uint64_t seed = 0;
    int64_t position = 0;           // of the token to be drawn, in its sequence
    float inverse_temperature = 0;  // 0: greedy
    float top_p = 1.0f;             // (0, 1]
    float min_z = 0;                // log(min_p); -infinity: none. Not read when greedy
    int32_t top_k = 0;              // 0: all
    float repetition = 1.0f, presence = 0, frequency = 0;
    int32_t given_token = -1;   // >= 0: nothing is drawn; the log-probability and rank of this token
    int32_t top = -1;           // -1: only the token; k <= V: its log-probability and rank, and the k likeliest
    int32_t entries_begin = 0;  // into SampleArgs::entries: bias, then counted, then masked entries.
    int32_t bias_entries = 0, counted_entries = 0, masked_entries = 0;  // Tokens are distinct within each kind
    int32_t unused = 0;
};
static_assert(sizeof(SampleRow) == 72 && sizeof(SampleEntry) == 8);

struct SampleArgs {
    Tensor logits;       // [R, V] f32, rows contiguous; unchanged on return (but written meanwhile). V <= 2^19
    Tensor rows;         // [R, sizeof(SampleRow)] u8
    Tensor entries;      // [N, sizeof(SampleEntry)] u8, or empty when no row has any
    Tensor token;        // [R] i32
    Tensor logprob;      // [R] f32; written for rows with top >= 0
    Tensor rank;         // [R] i32; as logprob
    Tensor top_token;    // [R, K] i32, the first `top` of a row are written; empty when no row has top > 0
    Tensor top_logprob;  // [R, K] f32
};
void sample(OpContext&, const SampleArgs&);
extern const Op<SampleArgs> kSample;

}  // namespace nibble::ops
