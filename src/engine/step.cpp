#include "engine/step.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace nibble::engine {
namespace {

using device::DType;
using device::Tensor;

constexpr int64_t kMaxTop = 20;        // log-probabilities a row
constexpr float kGreedyBelow = 1e-5f;  // temperature
constexpr int64_t kContextStep = 256;  // tokens
// Of captured steps. A graph keeps launches in the driver's memory: NVIDIA's own cache of graphs (cudax, STF) reckons
// about 10 KB for each. No operation takes more than four (a batch's experts: router, up, down, sum).
constexpr int64_t kMaxGraphs = 64;
constexpr int64_t kLaunchesAnOperation = 4, kLaunch_bytes = 12 << 10;

// Entries that one row may need: every token of the vocabulary or of its context, biases and stop ids.
int64_t entry_capacity(const ExecutorLimits& limits) {
    return std::min(limits.vocab_size, limits.max_context) + ops::kMaxOtherEntries;
}

int64_t pages_each(const ExecutorLimits& limits) {
    if (limits.pages == 0) return 1;
    return std::min(limits.pages, (limits.max_context + limits.page_size - 1) / limits.page_size);
}

ExecutorLimits limits_of(const model::Spec& spec, const StepOptions& options) {
    ExecutorLimits limits;
    const bool attends = !spec.state.attention.empty();
    limits.page_size = attends ? spec.state.page_size : 0;
    limits.pages = attends ? options.pages : 0;
    limits.slots = options.max_sequences;
    limits.vocab_size = spec.vocab_size;
    limits.max_context = options.max_context > 0 ? std::min(options.max_context, spec.max_context) : spec.max_context;
    if (attends) limits.max_context = std::min(limits.max_context, limits.pages * limits.page_size + 1);
    limits.max_step_rows = options.max_sequences;
    limits.max_step_tokens = std::max(options.max_step_tokens, int64_t{1});
    limits.max_logit_rows = options.max_logit_rows > 0 ? std::max(options.max_logit_rows, options.max_sequences + 1)
                                                       : options.max_sequences + 64;
    return limits;
}

int64_t staging_bytes(const ExecutorLimits& limits, bool drafts) {
    const int64_t tokens = limits.max_step_tokens, rows = limits.max_step_rows, logits = limits.max_logit_rows;
    return 2 * Staging::bytes<int32_t>(tokens) + Staging::bytes<int32_t>(rows + 1) + 2 * Staging::bytes<int32_t>(rows) +
           Staging::bytes<int32_t>(rows * pages_each(limits)) + 3 * Staging::bytes<int32_t>(logits) +
           Staging::bytes<ops::SampleRow>(logits) + Staging::bytes<ops::SampleEntry>(entry_capacity(limits)) +
           Staging::bytes<float>(logits) + Staging::bytes<int32_t>(logits * kMaxTop) +
           Staging::bytes<float>(logits * kMaxTop) + (drafts ? Staging::bytes<int32_t>(tokens) : 0);
}

// The arena's peak over a step of `sequences` sequences and `tokens` tokens: nothing runs, allocations are counted.
int64_t recorded_peak(const model::Model& model, const device::Device& device, const ExecutorLimits& limits,
                      bool nvfp4_activations, int64_t sequences, int64_t tokens) {
    const auto i32 = [](std::initializer_list<int64_t> shape) { return Tensor(nullptr, DType::i32, shape); };
    const int64_t rows = limits.max_logit_rows, vocab = limits.vocab_size;
    const int64_t contexts = std::max(sequences * limits.max_context, tokens);
    model::Batch batch{
        .tokens = i32({tokens}),
        .positions = i32({tokens}),
        .sequences = {.count = sequences,
                      .tokens = tokens,
                      .row_start = i32({sequences + 1}),
                      .context_length = i32({sequences}),
                      .page_table = i32({sequences, pages_each(limits)}),
                      .slot = i32({sequences}),
                      .page_size = std::max<int64_t>(limits.page_size, 1),
                      .max_rows = tokens - sequences + 1,
                      .max_context = std::max(limits.max_context, tokens),
                      .total_context = limits.pages > 0
                                           ? std::min(contexts, std::max(limits.pages * limits.page_size, tokens))
                                           : contexts},
        .logit_rows = i32({rows})};
    ops::Program program;
    device::Arena arena;
    ops::OpContext context{.device = &device,
                           .arena = &arena,
                           .mode = ops::Mode::record,
                           .program = &program,
                           .activation = model.spec().activation,
                           .nvfp4_activations = nvfp4_activations};
    const Tensor logits(nullptr, DType::f32, {rows, vocab});
    const model::State state = model::State::describe(model.spec().state, limits.pages, limits.slots);
    const Tensor hidden =
        model.spec().drafts ? Tensor(nullptr, model.spec().activation, {tokens, model.spec().hidden_size}) : Tensor();
    model.forward(context, batch, state, logits, hidden);
    if (model.spec().drafts) model.forward_draft(context, batch, state, hidden, logits, {});
    ops::sample(context, {.logits = logits,
                          .rows = Tensor(nullptr, DType::u8, {rows, int64_t{sizeof(ops::SampleRow)}}),
                          .entries = {},
                          .token = i32({rows}),
                          .logprob = Tensor(nullptr, DType::f32, {rows}),
                          .rank = i32({rows}),
                          .top_token = i32({rows, kMaxTop}),
                          .top_logprob = Tensor(nullptr, DType::f32, {rows, kMaxTop})});
    return arena.peak_bytes();
}

ops::SampleRow sample_row(const SamplingParams& sampling, int64_t position) {
    return {.seed = sampling.seed,
            .position = position,
            .inverse_temperature = sampling.temperature < kGreedyBelow ? 0 : 1 / sampling.temperature,
            .top_p = sampling.top_p,
            .min_z = static_cast<float>(std::log(static_cast<double>(sampling.min_p))),
            .top_k = sampling.top_k,
            .repetition = sampling.repetition_penalty,
            .presence = sampling.presence_penalty,
            .frequency = sampling.frequency_penalty};
}

bool penalizes(const SamplingParams& sampling) {
    return sampling.repetition_penalty != 1.0f || sampling.presence_penalty != 0 || sampling.frequency_penalty != 0;
}

}  // namespace

StepMemory ModelExecutor::measure(const model::Model& model, const device::Device& device, const StepOptions& options) {
    const ExecutorLimits limits = limits_of(model.spec(), options);
    StepMemory memory;
    memory.state_bytes =
        limits.pages * model.spec().state.page_bytes() + limits.slots * model.spec().state.slot_bytes();
    const int64_t tokens = limits.max_step_tokens, sequences = std::min(limits.max_step_rows, tokens);
    for (const auto& [b, t] :
         {std::pair{int64_t{1}, tokens}, std::pair{sequences, tokens}, std::pair{sequences, sequences}})
        memory.activation_bytes =
            std::max(memory.activation_bytes, recorded_peak(model, device, limits, options.nvfp4_activations, b, t));
    memory.logit_bytes = limits.max_logit_rows * limits.vocab_size * static_cast<int64_t>(sizeof(float));
    memory.staging_bytes = staging_bytes(limits, model.spec().drafts);
    if (model.spec().drafts)
        memory.hidden_bytes = tokens * model.spec().hidden_size * numeric::size_bytes(model.spec().activation);
    return memory;
}

// As many shapes as steps may have (graph_of()'s key), or as many graphs as are kept.
int64_t ModelExecutor::graph_bytes(const model::Spec& spec, const StepOptions& options, int64_t operations) {
    const ExecutorLimits limits = limits_of(spec, options);
    const int64_t bounds = (limits.max_context + kContextStep - 1) / kContextStep;
    int64_t shapes = 0;
    for (int64_t sequences = 1; sequences <= limits.max_step_rows && shapes < kMaxGraphs; ++sequences)
        shapes += (sequences + 1) * bounds;  // as many rows of logits, or fewer
    return std::min(shapes, kMaxGraphs) * (operations + 1) * kLaunchesAnOperation * kLaunch_bytes;  // 1: sampling
}

Result<std::unique_ptr<ModelExecutor>> ModelExecutor::create(std::unique_ptr<const model::Model> model,
                                                             const device::Device& device, ThreadPool* threads,
                                                             const StepOptions& options) {
    CHECK(options.max_sequences >= 1 && options.pages >= 0);
    const ExecutorLimits limits = limits_of(model->spec(), options);
    CHECK(limits.max_context < std::numeric_limits<int32_t>::max(), "a context of {}", limits.max_context);
    if (limits.page_size > 0 && limits.pages == 0)
        return error(ErrorCode::does_not_fit, "no page of keys and values: {} bytes are needed for each {} tokens",
                     model->spec().state.page_bytes(), limits.page_size);
    const StepMemory memory = measure(*model, device, options);
    TRY(model::State state, model::State::allocate(device, model->spec().state, limits.pages, limits.slots));
    TRY(device::Buffer arena, device::Buffer::allocate(device, memory.activation_bytes, "activations of a step"));
    TRY(device::Buffer logits, device::Buffer::allocate(device, memory.logit_bytes, "logits of a step"));
    TRY(device::Buffer hidden, device::Buffer::allocate(device, memory.hidden_bytes, "hidden states of a step"));
    TRY(Staging staging, Staging::allocate(device, memory.staging_bytes));
    return std::unique_ptr<ModelExecutor>(
        new ModelExecutor(std::move(model), device, threads, limits, options.nvfp4_activations, std::move(state),
                          std::move(arena), std::move(logits), std::move(hidden), std::move(staging)));
}

ModelExecutor::ModelExecutor(std::unique_ptr<const model::Model> model, const device::Device& device,
                             ThreadPool* threads, const ExecutorLimits& limits, bool nvfp4_activations,
                             model::State state, device::Buffer arena, device::Buffer logits, device::Buffer hidden,
                             Staging staging)
    : model_(std::move(model)),
      device_(device),
      threads_(threads),
      limits_(limits),
      nvfp4_activations_(nvfp4_activations),
      state_(std::move(state)),
      arena_(std::move(arena)),
      logits_(std::move(logits)),
      hidden_(std::move(hidden)),
      stream_(device::create_stream(device)),
      staging_(std::move(staging)),
      pages_each_(pages_each(limits)) {
    const int64_t rows = limits.max_step_rows, logit_rows = limits.max_logit_rows;
    tokens_ = staging_.array<int32_t>(limits.max_step_tokens);
    positions_ = staging_.array<int32_t>(limits.max_step_tokens);
    row_start_ = staging_.array<int32_t>(rows + 1);
    context_length_ = staging_.array<int32_t>(rows);
    slot_ = staging_.array<int32_t>(rows);
    logit_rows_ = staging_.array<int32_t>(logit_rows);
    sample_rows_ = staging_.array<ops::SampleRow>(logit_rows);
    page_table_ = staging_.array<int32_t>(rows * pages_each_);
    entries_ = staging_.array<ops::SampleEntry>(entry_capacity(limits));
    drawn_ = staging_.array<int32_t>(logit_rows);
    rank_ = staging_.array<int32_t>(logit_rows);
    logprob_ = staging_.array<float>(logit_rows);
    top_token_ = staging_.array<int32_t>(logit_rows * kMaxTop);
    top_logprob_ = staging_.array<float>(logit_rows * kMaxTop);
    if (model_->spec().drafts) following_ = staging_.array<int32_t>(limits.max_step_tokens);
    wanted_.reserve(static_cast<size_t>(logit_rows));
    counts_.resize(static_cast<size_t>(limits.slots));
}

ops::OpContext ModelExecutor::context(ops::Mode mode, ops::Program* program) {
    return {.device = &device_,
            .stream = stream_,
            .threads = threads_,
            .arena = &arena_,
            .mode = mode,
            .program = program,
            .forced = forced_.empty() ? nullptr : &forced_,
            .activation = model_->spec().activation,
            .nvfp4_activations = nvfp4_activations_};
}

void ModelExecutor::run(const StepPlan& plan, std::span<RowResult> results) {
    ops::OpContext run_context = context(ops::Mode::run, nullptr);
    if (expert_counts_) run_context.expert_counts = &*expert_counts_;
    execute(run_context, plan, results);
}

ops::Program ModelExecutor::profile(const StepPlan& plan, std::span<RowResult> results) {
    ops::Program program;
    const ops::Program recorded = model::record(*model_, device_, 1, 1, 0);
    const auto counts = ops::ExpertCounts::create(device_, recorded);
    CHECK(counts, "{}", counts.error().message);
    ops::StepTimer timer(device_, static_cast<int64_t>(recorded.steps.size()) + 1);  // and sampling
    ops::OpContext profile_context = context(ops::Mode::profile, &program);
    profile_context.timer = &timer;
    profile_context.expert_counts = &*counts;
    execute(profile_context, plan, results);
    timer.read_into(program);
    ops::set_experts_read(program, counts->read(stream_));
    return program;
}

Result<void> ModelExecutor::count_experts() {
    graphs_.clear();  // they were captured without
    TRY(expert_counts_, ops::ExpertCounts::create(device_, model::record(*model_, device_, 1, 1, 0)));
    return {};
}

ops::ExpertCounts::Lists ModelExecutor::expert_counts() const {
    return expert_counts_ ? expert_counts_->read(stream_) : ops::ExpertCounts::Lists();
}

// The place of a shape's graph; the one that was not used for longest gives way.
device::Graph& ModelExecutor::graph_of(const std::array<int64_t, 3>& shape, bool& first) {
    auto at = graphs_.find(shape);
    first = at == graphs_.end();
    if (first) {
        if (static_cast<int64_t>(graphs_.size()) >= kMaxGraphs)
            graphs_.erase(std::min_element(graphs_.begin(), graphs_.end(),
                                           [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
        at = graphs_.try_emplace(shape).first;
    }
    at->second.used = ++launches_;
    return at->second.graph;
}

void ModelExecutor::execute(ops::OpContext& context, const StepPlan& plan, std::span<RowResult> results) {
    CHECK(results.size() == plan.rows.size());
    const device::ArenaScope arena(arena_);
    const model::Batch batch = stage(plan);
    const int64_t rows = static_cast<int64_t>(wanted_.size());
    SamplePart part = stage_sampling(plan, 0);
    staging_.to_device_through(stream_, tokens_, sample_rows_);
    staging_.to_device(stream_, entries_, 0, part.entries);
    const auto work = [&] {
        model_->forward(context, batch, state_, logits_.tensor(0, DType::f32, {rows, limits_.vocab_size}),
                        hidden(plan.tokens));
        sample(context, part);
    };
    const ops::Sequences& s = batch.sequences;
    device::Graph profiled;
    // A step that differs from an earlier one in its arrays' contents alone is a graph by its second time.
    if (!device_.is_cpu() && forced_.empty() && s.max_rows == 1 && part.end == rows && part.entries == 0) {
        bool first = false;
        device::Graph& kept = graph_of({s.count, rows, s.max_context}, first);
        // That of a profiled step has its marks in it, so it serves this step alone.
        device::Graph& graph = context.mode == ops::Mode::profile ? profiled : kept;
        if (!first && graph.empty()) graph = device::Graph::capture(device_, stream_, work);
        if (first)
            work();
        else
            graph.launch(stream_);
    } else {
        work();
    }
    while (part.end < rows) {
        device::synchronize(device_, stream_);  // the entries are written anew
        part = stage_sampling(plan, part.end);
        staging_.to_device(stream_, sample_rows_, part.begin, part.end - part.begin);
        staging_.to_device(stream_, entries_, 0, part.entries);
        sample(context, part);
    }
    staging_.to_host_through(stream_, drawn_, logprob_);
    if (std::any_of(sample_rows_.host, sample_rows_.host + rows,
                    [](const ops::SampleRow& row) { return row.top > 0; })) {
        staging_.to_host(stream_, top_token_, 0, rows * kMaxTop);
        staging_.to_host(stream_, top_logprob_, 0, rows * kMaxTop);
    }
    device::synchronize(device_, stream_);
    hand_out(results);
}

void ModelExecutor::logits(const StepPlan& plan, std::span<float> into, ops::InputObserver* observer) {
    const device::ArenaScope arena(arena_);
    ops::OpContext run_context = context(ops::Mode::run, nullptr);
    run_context.observer = observer;
    const model::Batch batch = stage(plan);
    staging_.to_device_through(stream_, tokens_, logit_rows_);
    const int64_t rows = static_cast<int64_t>(wanted_.size());
    CHECK(static_cast<int64_t>(into.size()) == rows * limits_.vocab_size, "{} values for {} rows of {}", into.size(),
          rows, limits_.vocab_size);
    const Tensor logits = logits_.tensor(0, DType::f32, {rows, limits_.vocab_size});
    model_->forward(run_context, batch, state_, logits);
    if (rows > 0) device::copy_to_host(device_, stream_, into.data(), logits.data(), logits.bytes());
    device::synchronize(device_, stream_);
}

Tensor ModelExecutor::hidden(int64_t tokens) const {
    const model::Spec& spec = model_->spec();
    return spec.drafts ? hidden_.tensor(0, spec.activation, {tokens, spec.hidden_size}) : Tensor();
}

void ModelExecutor::draft(const StepPlan& plan, std::span<const TokenId> following, std::span<TokenId> drafted) {
    CHECK(model_->spec().drafts && following.size() == plan.rows.size() && drafted.size() == plan.rows.size());
    const device::ArenaScope arena(arena_);
    ops::OpContext run_context = context(ops::Mode::run, nullptr);
    model::Batch batch = stage(plan);
    int64_t t = 0;
    for (size_t b = 0; b < plan.rows.size(); ++b) {
        const std::span<const TokenId> tokens = plan.rows[b].tokens;
        CHECK(following[b] >= 0 && following[b] < limits_.vocab_size, "token {} of a vocabulary of {}", following[b],
              limits_.vocab_size);
        std::copy(tokens.begin() + 1, tokens.end(), following_.host + t);
        t += static_cast<int64_t>(tokens.size());
        following_.host[t - 1] = following[b];
    }
    batch.tokens = following_.tensor(DType::i32, {t});
    const int64_t rows = static_cast<int64_t>(wanted_.size());
    for (int64_t r = 0; r < rows; ++r) sample_rows_.host[r] = {};
    staging_.to_device_through(stream_, tokens_, sample_rows_);
    staging_.to_device(stream_, following_, 0, t);
    model_->forward_draft(run_context, batch, state_, hidden(t),
                          logits_.tensor(0, DType::f32, {rows, limits_.vocab_size}), {});
    sample(run_context, {.begin = 0, .end = rows, .entries = 0});
    staging_.to_host_through(stream_, drawn_, logprob_);
    device::synchronize(device_, stream_);
    std::fill(drafted.begin(), drafted.end(), TokenId{-1});
    for (int64_t r = 0; r < rows; ++r)
        if (const LogitRow& wanted = wanted_[static_cast<size_t>(r)]; wanted.given < 0)
            drafted[wanted.plan_row] = drawn_.host[r];
}

// Writes the plan into the staged arrays, and notes which rows of logits are wanted.
model::Batch ModelExecutor::stage(const StepPlan& plan) {
    const int64_t count = static_cast<int64_t>(plan.rows.size());
    CHECK(count >= 1 && count <= limits_.max_step_rows && plan.tokens <= limits_.max_step_tokens, "{} rows, {} tokens",
          count, plan.tokens);
    wanted_.clear();
    int64_t t = 0, max_rows = 0, max_context = 0, total_context = 0;
    for (int64_t b = 0; b < count; ++b) {
        const StepRow& row = plan.rows[static_cast<size_t>(b)];
        const int64_t tokens = static_cast<int64_t>(row.tokens.size()), context = row.position + tokens;
        CHECK(tokens >= 1 && t + tokens <= plan.tokens && context <= limits_.max_context && row.slot >= 0 &&
                  row.slot < limits_.slots,
              "sequence {}: {} tokens from {}, slot {}", row.sequence, tokens, row.position, row.slot);
        row_start_.host[b] = static_cast<int32_t>(t);
        context_length_.host[b] = static_cast<int32_t>(context);
        slot_.host[b] = row.slot;
        stage_pages(b, row);
        for (int64_t i = 0; i < tokens; ++i, ++t) {
            const TokenId token = row.tokens[static_cast<size_t>(i)];
            CHECK(token >= 0 && token < limits_.vocab_size, "token {} of a vocabulary of {}", token,
                  limits_.vocab_size);
            tokens_.host[t] = token;
            positions_.host[t] = static_cast<int32_t>(row.position + i);
            const bool last = i + 1 == tokens;
            const TokenId given = last ? row.next_prompt_token : row.tokens[static_cast<size_t>(i + 1)];
            if (!(row.prompt_logprobs && given >= 0) && !(last && row.sample)) continue;
            CHECK(static_cast<int64_t>(wanted_.size()) < limits_.max_logit_rows, "more than {} rows of logits",
                  limits_.max_logit_rows);
            logit_rows_.host[wanted_.size()] = static_cast<int32_t>(t);
            wanted_.push_back({.plan_row = static_cast<size_t>(b), .given = last && row.sample ? -1 : given});
        }
        max_rows = std::max(max_rows, tokens);
        max_context = std::max(max_context, context);
        total_context += context;
    }
    CHECK(t == plan.tokens, "{} tokens, not {}", t, plan.tokens);
    row_start_.host[count] = static_cast<int32_t>(t);
    const int64_t rows = static_cast<int64_t>(wanted_.size());
    // A bound that steps share for a while, so that a graph serves them all.
    if (!device_.is_cpu())
        max_context = std::min((max_context + kContextStep - 1) / kContextStep * kContextStep,
                               std::max(limits_.max_context, max_context));
    return {.tokens = tokens_.tensor(DType::i32, {t}),
            .positions = positions_.tensor(DType::i32, {t}),
            .sequences = {.count = count,
                          .tokens = t,
                          .row_start = row_start_.tensor(DType::i32, {count + 1}),
                          .context_length = context_length_.tensor(DType::i32, {count}),
                          .page_table = page_table_.tensor(DType::i32, {count, pages_each_}),
                          .slot = slot_.tensor(DType::i32, {count}),
                          .page_size = std::max<int64_t>(limits_.page_size, 1),
                          .max_rows = max_rows,
                          .max_context = max_context,
                          .total_context = total_context},
            .logit_rows = logit_rows_.tensor(DType::i32, {rows})};
}

// Row b of the page table; from step to step it rarely changes, and then is not sent again.
void ModelExecutor::stage_pages(int64_t b, const StepRow& row) {
    const int64_t count = static_cast<int64_t>(row.pages.size()), begin = b * pages_each_;
    CHECK(count <= pages_each_ && (limits_.pages == 0 || count * limits_.page_size >= context_length_.host[b]),
          "sequence {} has {} pages for {} tokens", row.sequence, count, context_length_.host[b]);
    int32_t* staged = page_table_.host + begin;
    if (std::equal(row.pages.begin(), row.pages.end(), staged)) return;
    for (int64_t i = 0; i < count; ++i) {
        const int32_t page = row.pages[static_cast<size_t>(i)];
        CHECK(page >= 0 && page < limits_.pages, "page {} of {}", page, limits_.pages);
        staged[i] = page;
    }
    staging_.to_device(stream_, page_table_, begin, count);
}

// Rows are sampled together as long as their entries fit; which rows share a call changes nothing.
ModelExecutor::SamplePart ModelExecutor::stage_sampling(const StepPlan& plan, int64_t begin) {
    const int64_t rows = static_cast<int64_t>(wanted_.size());
    SamplePart part{.begin = begin, .end = begin};
    while (part.end < rows) {
        const int64_t more = stage_sample_row(plan, part.end, part.entries);
        if (more < 0) break;
        part.entries += more;
        ++part.end;
    }
    CHECK(part.end > begin || rows == 0, "the entries of a row do not fit in {}", entries_.capacity);
    return part;
}

void ModelExecutor::sample(ops::OpContext& context, const SamplePart& rows) {
    if (rows.end == rows.begin) return;
    const int64_t all = static_cast<int64_t>(wanted_.size());
    const auto part = [&](const Tensor& whole) { return whole.rows(rows.begin, rows.end); };
    ops::sample(
        context,
        {.logits = part(logits_.tensor(0, DType::f32, {all, limits_.vocab_size})),
         .rows = part(sample_rows_.tensor(DType::u8, {all, int64_t{sizeof(ops::SampleRow)}})),
         .entries = rows.entries == 0 ? Tensor()
                                      : entries_.tensor(DType::u8, {rows.entries, int64_t{sizeof(ops::SampleEntry)}}),
         .token = part(drawn_.tensor(DType::i32, {all})),
         .logprob = part(logprob_.tensor(DType::f32, {all})),
         .rank = part(rank_.tensor(DType::i32, {all})),
         .top_token = part(top_token_.tensor(DType::i32, {all, kMaxTop})),
         .top_logprob = part(top_logprob_.tensor(DType::f32, {all, kMaxTop}))});
}

// Row r of the sample rows and its entries from `entries` on; how many these are, or -1 when they do not fit.
int64_t ModelExecutor::stage_sample_row(const StepPlan& plan, int64_t r, int64_t entries) {
    const LogitRow& wanted = wanted_[static_cast<size_t>(r)];
    const StepRow& row = plan.rows[wanted.plan_row];
    const SamplingParams& sampling = *row.sampling;
    const auto top = [&](int64_t count) { return static_cast<int32_t>(std::min(count, limits_.vocab_size)); };
    ops::SampleRow& staged = sample_rows_.host[r];
    if (wanted.given >= 0) {
        staged = {.given_token = wanted.given, .top = top(sampling.prompt_logprobs)};
        return 0;
    }
    staged = sample_row(sampling, static_cast<int64_t>(row.prompt.size() + row.output.size()));
    staged.top = top(sampling.logprobs);
    staged.entries_begin = static_cast<int32_t>(entries);
    std::span<const ops::SampleEntry> counted;
    if (penalizes(sampling))
        counted = counts_[static_cast<size_t>(row.slot)].of(row.sequence, row.prompt, row.output,
                                                            sampling.repetition_penalty != 1.0f);
    std::span<const TokenId> masked;
    if (!sampling.ignore_eos && static_cast<int64_t>(row.output.size()) < sampling.min_tokens)
        masked = sampling.stop_ids;
    const int64_t count = static_cast<int64_t>(sampling.logit_bias.size() + counted.size() + masked.size());
    if (entries + count > entries_.capacity) return -1;
    staged.bias_entries = static_cast<int32_t>(sampling.logit_bias.size());
    staged.counted_entries = static_cast<int32_t>(counted.size());
    staged.masked_entries = static_cast<int32_t>(masked.size());
    ops::SampleEntry* entry = entries_.host + entries;
    for (const auto& [token, bias] : sampling.logit_bias) *entry++ = {.token = token, .value = bias};
    entry = std::copy(counted.begin(), counted.end(), entry);
    for (TokenId token : masked) *entry++ = {.token = token};
    return count;
}

void ModelExecutor::hand_out(std::span<RowResult> results) {
    for (size_t r = 0; r < wanted_.size(); ++r) {
        RowResult& result = results[wanted_[r].plan_row];
        const int32_t token = drawn_.host[r];
        if (token < 0 || result.numerical_error) {
            result.numerical_error = true;
            continue;
        }
        const int32_t wanted_top = sample_rows_.host[r].top;
        const TokenLogprob chosen{.token = token, .logprob = logprob_.host[r], .rank = rank_.host[r]};
        std::vector<TokenLogprob> top;
        for (int32_t i = 0; i < wanted_top; ++i) {
            const size_t at = r * static_cast<size_t>(kMaxTop) + static_cast<size_t>(i);
            top.push_back({.token = top_token_.host[at], .logprob = top_logprob_.host[at], .rank = i + 1});
        }
        if (wanted_[r].given >= 0) {
            result.prompt_logprobs.push_back({.chosen = chosen, .top = std::move(top)});
        } else {
            result.token = token;
            if (wanted_top >= 0) result.logprob = chosen;
            result.top = std::move(top);
        }
    }
}

}  // namespace nibble::engine
