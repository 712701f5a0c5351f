#include "ops/attention/attention.h"
#include "ops/conformance.h"

#include <algorithm>
#include <numeric>

namespace nibble::ops {

void visit(AttentionArgs& a, const conformance::Visitor& visitor) {
    visitor(a.q);
    visitor(a.k);
    visitor(a.v);
    visitor(a.out, true);
    visitor(a.k_pages, true);
    visitor(a.v_pages, true);
    visitor(a.sequences.row_start);
    visitor(a.sequences.context_length);
    visitor(a.sequences.page_table);
}

namespace {

using namespace conformance;

struct Heads {
    int64_t query, kv, dim;
};
struct Part {
    int64_t rows, context;  // context: with the rows
};

struct Problem {
    Memory memory;
    AttentionArgs args;

    Problem(const std::vector<Part>& parts, Heads heads, int64_t page_size, DType dtype, DType cache, int64_t window,
            Generator& random) {
        int64_t tokens = 0, pages = 1, longest = 0;
        for (const Part& p : parts) {
            tokens += p.rows;
            pages += (p.context + page_size - 1) / page_size;
            longest = std::max(longest, p.context);
        }
        args.q = memory.tensor(dtype, {tokens, heads.query * heads.dim}, 8);
        args.k = memory.tensor(dtype, {tokens, heads.kv * heads.dim}, 3);
        args.v = memory.tensor(dtype, {tokens, heads.kv * heads.dim}, 0);
        args.out = memory.tensor(dtype, {tokens, heads.query * heads.dim}, 1);
        for (const Tensor* t : {&args.q, &args.k, &args.v}) fill_normal(*t, random);
        args.k_pages = memory.tensor(cache, {pages, page_size, heads.kv, heads.dim});
        args.v_pages = memory.tensor(cache, {pages, page_size, heads.kv, heads.dim});
        args.query_heads = heads.query;
        args.kv_heads = heads.kv;
        args.head_dim = heads.dim;
        args.scale = 1.0f / std::sqrt(static_cast<float>(heads.dim));
        args.window = window;
        args.k_scale = 0.02f;
        args.v_scale = 0.03f;
        // What nobody may read is not a number.
        for (const Tensor* t : {&args.k_pages, &args.v_pages}) fill(*t, [] { return std::nanf(""); });

        Sequences& s = args.sequences;
        const int64_t width = (longest + page_size - 1) / page_size + 1;
        s = {.count = static_cast<int64_t>(parts.size()), .tokens = tokens, .page_size = page_size};
        s.row_start = memory.tensor(DType::i32, {s.count + 1});
        s.context_length = memory.tensor(DType::i32, {s.count});
        s.page_table = memory.tensor(DType::i32, {s.count, width});
        std::vector<int32_t> free(static_cast<size_t>(pages));
        std::iota(free.begin(), free.end(), 0);
        std::shuffle(free.begin(), free.end(), random);
        std::normal_distribution<float> normal;
        int32_t row = 0;
        for (int64_t b = 0; b < s.count; ++b) {
            const auto [rows, context] = parts[static_cast<size_t>(b)];
            s.row_start.as<int32_t>()[b] = row;
            s.context_length.as<int32_t>()[b] = static_cast<int32_t>(context);
            s.total_context += context;
            s.max_rows = std::max(s.max_rows, rows);
            s.max_context = std::max(s.max_context, context);
            int32_t* table = s.page_table.row_as<int32_t>(b);
            std::fill_n(table, width, -1);
            const int64_t first = context - rows;
            const int64_t seen = window > 0 ? std::max<int64_t>(0, first + 1 - window) : 0;
            for (int64_t p = seen; p < context; ++p) {
                if (table[p / page_size] < 0) {
                    table[p / page_size] = free.back();
                    free.pop_back();
                }
                // Keys of this step's own rows as well: a later step that begins after them finds them there.
                for (int64_t i = 0; i < heads.kv * heads.dim; ++i)
                    for (const auto& [cached, from, scale] :
                         {std::tuple(&args.k_pages, &args.k, args.k_scale), {&args.v_pages, &args.v, args.v_scale}}) {
                        const float value = p < first ? normal(random) : get(from->row(row + p - first), dtype, i);
                        put(cached->row(table[p / page_size]), cache, p % page_size * heads.kv * heads.dim + i,
                            cache == DType::f8_e4m3 ? value / scale : value);
                    }
            }
            row += static_cast<int32_t>(rows);
        }
        s.row_start.as<int32_t>()[s.count] = row;
    }
};

std::string describe(const std::vector<Part>& parts, Heads heads, int64_t page_size, DType dtype, DType cache,
                     int64_t window) {
    std::string text = fmt::format("Hq={} Hkv={} D={} page {} {} cache {} window {}", heads.query, heads.kv, heads.dim,
                                   page_size, numeric::name(dtype), numeric::name(cache), window);
    for (const Part& p : parts) text += fmt::format(" {}/{}", p.rows, p.context);
    return text;
}

numeric::Tolerance tolerance(DType dtype) {
    return dtype == DType::f32 ? numeric::kFloat32 : numeric::kBf16Output;
}

TEST(Conformance, AttentionRowsAgreeWithTheReference) {
    Generator random(21);
    const Heads heads[] = {{4, 4, 16}, {9, 3, 64}, {32, 2, 128}, {6, 1, 80}, {2, 2, 20}, {3, 1, 33}};
    const std::vector<Part> batches[] = {
        {{1, 1}},   {{1, 300}},
        {{7, 7}},   {{1, 17}, {1, 1}, {1, 256}, {1, 257}},
        {{40, 40}}, {{5, 300}, {33, 400}, {1, 513}},
    };
    int turn = 0;
    for (const Heads& h : heads)
        for (const auto& parts : batches)
            for (const auto& [dtype, cache] : {std::pair(DType::bf16, DType::bf16),
                                               {DType::f32, DType::f32},
                                               {DType::bf16, DType::f8_e4m3},
                                               {DType::f32, DType::bf16},
                                               {DType::bf16, DType::f32}})
                for (const int64_t window : {0, 9, 260}) {
                    // Every pair of choices, not every combination.
                    if (turn++ % 4 != 0) continue;
                    const int64_t page_size = h.dim == 64 ? 16 : h.dim == 80 ? 1 : 5;
                    Problem p(parts, h, page_size, dtype, cache, window, random);
                    check_rows(kAttention, p.memory, p.args,
                               {describe(parts, h, page_size, dtype, cache, window), tolerance(dtype), dtype});
                }
}

TEST(Conformance, AttentionOverALongContextAgrees) {
    Generator random(22);
    // Spans are 256 keys up to 8,192 and 512 after: a step across the border.
    const std::vector<Part> parts = {{20, 8200}};
    for (const int64_t window : {0, 3000}) {
        const Heads h{2, 1, 16};
        Problem p(parts, h, 16, DType::bf16, DType::bf16, window, random);
        check_rows(kAttention, p.memory, p.args,
                   {describe(parts, h, 16, DType::bf16, DType::bf16, window), numeric::kBf16Output});
    }
}

TEST(Conformance, AttentionOfLargeScoresIsStable) {
    Generator random(23);
    const Heads h{4, 2, 64};
    const std::vector<Part> parts = {{3, 600}};
    Problem p(parts, h, 16, DType::f32, DType::f32, 0, random);
    p.args.scale = 30.0f;
    check_rows(kAttention, p.memory, p.args, {"scores of several hundred", {2e-5, 2e-3}, DType::f32});
}

TEST(Conformance, AttentionGivesARowTheSameBitsInEveryStep) {
    Generator random(24);
    for (const auto& [rows, context] : {std::pair<int64_t, int64_t>{45, 600}, {30, 30}, {24, 8210}})
        for (const DType cache : {DType::bf16, DType::f8_e4m3})
            for (const int64_t window : {0, 200}) {
                const Heads h = context > 8000 ? Heads{2, 1, 16} : Heads{6, 2, 64};
                const std::vector<Part> parts = {{rows, context}};
                Problem p(parts, h, 16, DType::bf16, cache, window, random);
                for (const int64_t last : {1, 2, 7, 19}) {
                    AttentionArgs part = p.args;
                    const int64_t first = rows - last;
                    part.q = p.args.q.rows(first, rows);
                    part.k = p.args.k.rows(first, rows);
                    part.v = p.args.v.rows(first, rows);
                    part.out = p.memory.tensor(DType::bf16, {last, h.query * h.dim});
                    part.sequences.tokens = part.sequences.max_rows = last;
                    part.sequences.row_start = p.memory.tensor(DType::i32, {2});
                    fill_integers(part.sequences.row_start, {0, static_cast<int32_t>(last)});
                    check_independence(
                        kAttention, p.memory, p.args, part,
                        describe(parts, h, 16, DType::bf16, cache, window) + fmt::format(" last {}", last), DType::bf16,
                        [&](const std::vector<std::vector<float>>& whole) {
                            return std::vector<float>(whole.front().begin() + first * h.query * h.dim,
                                                      whole.front().end());
                        });
                }
            }
}

}  // namespace
}  // namespace nibble::ops
