#include "engine/scheduler.h"

#include "base/check.h"
#include "engine/admission.h"

#include <algorithm>
#include <utility>

namespace nibble::engine {
namespace {

// Room for this much growth of every running sequence is left when another one starts. Measured on mixes of 20 to 900
// tokens of output in pages for 2 to 4 maximal requests: a quarter of it computes a tenth more again, four times as
// much runs a tenth fewer sequences at once.
constexpr int64_t kGrowth_tokens = 64;

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits), pages_(limits.pages, limits.page_size), slots_(limits.slots) {
    CHECK(limits.max_sequences >= 1 && limits.max_sequences <= limits.slots, "{} sequences with {} slots",
          limits.max_sequences, limits.slots);
    CHECK(limits.max_step_tokens >= 1, "steps of {} tokens", limits.max_step_tokens);
    CHECK(limits.max_logit_rows > limits.max_sequences, "{} rows of logits for {} sequences", limits.max_logit_rows,
          limits.max_sequences);
    running_.reserve(static_cast<size_t>(limits.max_sequences));
}

void Scheduler::add(Sequence& sequence) {
    CHECK(sequence.place == Sequence::Place::outside && sequence.pages.empty() && sequence.slot < 0);
    CHECK(final_pages(sequence) <= pages_.pages(), "sequence {} needs {} pages of {}", sequence.number,
          final_pages(sequence), pages_.pages());
    sequence.place = Sequence::Place::waiting;
    waiting_.insert(&sequence);
}

void Scheduler::remove(Sequence& sequence) {
    if (sequence.place == Sequence::Place::waiting) {
        CHECK(waiting_.erase(&sequence) == 1);
    } else {
        CHECK(sequence.place == Sequence::Place::running);
        free(sequence);
    }
    sequence.place = Sequence::Place::outside;
}

// Takes a running sequence's pages and slot from it, and it from the running ones.
void Scheduler::free(Sequence& sequence) {
    if (sequence.reserved) {
        reserved_pages_ -= final_pages(sequence) - static_cast<int64_t>(sequence.pages.size());
        sequence.reserved = false;
    }
    for (auto page = sequence.pages.rbegin(); page != sequence.pages.rend(); ++page) pages_.release(*page);
    sequence.pages.clear();
    slots_.release(std::exchange(sequence.slot, -1));
    const auto at = std::lower_bound(running_.begin(), running_.end(), &sequence, RanksBefore{});
    CHECK(at != running_.end() && *at == &sequence);
    running_.erase(at);
}

void Scheduler::preempt(Sequence& sequence) {
    CHECK(!sequence.reserved && sequence.preemptions < kMaxPreemptions, "sequence {} is preempted {} times already",
          sequence.number, sequence.preemptions);
    free(sequence);
    sequence.computed = 0;
    ++sequence.preemptions;
    ++preemptions_;
    sequence.place = Sequence::Place::waiting;
    waiting_.insert(&sequence);
}

int64_t Scheduler::final_pages(const Sequence& sequence) const {
    return pages_.pages_for(most_cached_tokens(sequence.prompt_tokens, sequence.sampling.max_tokens));
}

bool Scheduler::has_pages(const Sequence& sequence) const {
    return static_cast<int64_t>(sequence.pages.size()) >=
           pages_.pages_for(static_cast<int64_t>(sequence.tokens.size()));
}

// Pages for the token that each running sequence computes next, the best-ranked first.
void Scheduler::grow() {
    for (size_t i = 0; i < running_.size(); ++i) {  // preemption shortens what is behind i
        Sequence& sequence = *running_[i];
        while (!has_pages(sequence) && !take_page(sequence)) {
            const auto behind = std::find_if(running_.rbegin(), running_.rend() - static_cast<ptrdiff_t>(i) - 1,
                                             [](const Sequence* s) { return !s->reserved; });
            if (behind == running_.rend() - static_cast<ptrdiff_t>(i) - 1)
                break;  // it waits for a page where it stands
            preempt(**behind);
        }
    }
}

bool Scheduler::take_page(Sequence& sequence) {
    if (!sequence.reserved && available_pages() <= 0) return false;
    const auto page = pages_.take();
    CHECK(page.has_value(), "{} pages are reserved and none is free", reserved_pages_);
    sequence.pages.push_back(*page);
    if (sequence.reserved) --reserved_pages_;
    return true;
}

// How many pages must be available for a waiting sequence to run: those of its tokens, and some for the growth of those
// that run, so that it is not preempted at once.
int64_t Scheduler::pages_to_start(const Sequence& sequence) const {
    if (sequence.preemptions >= kMaxPreemptions) return final_pages(sequence);
    int64_t wanted = pages_.pages_for(static_cast<int64_t>(sequence.tokens.size()));
    for (const Sequence* other : running_)
        if (!other->reserved)
            wanted += std::min(final_pages(*other) - static_cast<int64_t>(other->pages.size()),
                               pages_.pages_for(kGrowth_tokens));
    return wanted;
}

// Runs the head of the queue if pages and slot can be had, from sequences of lower priority if need be.
bool Scheduler::start(Sequence& sequence) {
    const int64_t wanted = pages_to_start(sequence);
    int64_t available = available_pages(), places = limits_.max_sequences - running();
    size_t keep = running_.size();
    while ((available < wanted || places < 1) && keep > 0) {
        const Sequence& last = *running_[--keep];
        if (last.priority <= sequence.priority) return false;
        if (last.reserved) continue;
        available += static_cast<int64_t>(last.pages.size());
        ++places;
    }
    if (available < wanted || places < 1) return false;
    for (size_t i = running_.size(); i-- > keep;)
        if (!running_[i]->reserved) preempt(*running_[i]);

    waiting_.erase(&sequence);
    sequence.place = Sequence::Place::running;
    running_.insert(std::lower_bound(running_.begin(), running_.end(), &sequence, RanksBefore{}), &sequence);
    const auto slot = slots_.take();
    CHECK(slot.has_value(), "{} sequences run and no slot is free", running());
    sequence.slot = *slot;
    const int64_t now = pages_.pages_for(static_cast<int64_t>(sequence.tokens.size()));
    for (int64_t i = 0; i < now; ++i) CHECK(take_page(sequence));
    if (sequence.preemptions >= kMaxPreemptions) {
        sequence.reserved = true;
        reserved_pages_ += final_pages(sequence) - now;
    }
    return true;
}

// Starts waiting sequences in order, as long as this step has tokens for them.
void Scheduler::start_waiting() {
    while (!waiting_.empty()) {
        Sequence& head = **waiting_.begin();
        int64_t decodes = 0, before = 0;
        for (const Sequence* sequence : running_) {
            if (sequence->decoding())
                ++decodes;
            else if (sequence->ranks_before(head))
                before += sequence->to_compute();
        }
        const int64_t tokens = limits_.max_step_tokens - std::min(decodes, limits_.max_step_tokens - prompt_share());
        if (tokens <= before || !start(head)) return;
    }
}

// Tokens of a step that decoding sequences leave to prompts.
int64_t Scheduler::prompt_share() const {
    return std::max<int64_t>(1, limits_.max_step_tokens / 4);
}

// Tokens that decoding sequences may have of a step that prompts want part of.
int64_t Scheduler::decode_limit(bool prompts_wait) {
    if (!prompts_wait) return limits_.max_step_tokens;
    if (limits_.max_step_tokens == 1) {
        prompt_turn_ = !prompt_turn_;
        return prompt_turn_ ? 0 : 1;
    }
    return limits_.max_step_tokens - prompt_share();
}

const StepPlan& Scheduler::plan() {
    plan_.rows.clear();
    plan_.tokens = plan_.logit_rows = 0;
    planned_.clear();
    grow();
    start_waiting();

    decodes_.clear();
    for (Sequence* sequence : running_)
        if (sequence->decoding() && has_pages(*sequence)) decodes_.push_back(sequence);
    const bool prompts_wait = std::any_of(running_.begin(), running_.end(), [](auto* s) { return !s->decoding(); });
    // Not all may fit: then those that were served longest ago go first.
    std::stable_sort(decodes_.begin(), decodes_.end(),
                     [](const Sequence* a, const Sequence* b) { return a->last_row < b->last_row; });
    plan_decodes(decode_limit(prompts_wait));
    plan_prompts();
    plan_decodes(limits_.max_step_tokens);
    CHECK(!plan_.rows.empty() || (running_.empty() && waiting_.empty()), "{} running and {} waiting, and nothing to do",
          running(), waiting());
    return plan_;
}

// Adds decodes until the plan has `limit` tokens.
void Scheduler::plan_decodes(int64_t limit) {
    size_t taken = 0;
    while (taken < decodes_.size() && plan_.tokens < limit) plan_row(*decodes_[taken++], 1, false);
    decodes_.erase(decodes_.begin(), decodes_.begin() + static_cast<ptrdiff_t>(taken));
}

void Scheduler::plan_prompts() {
    for (Sequence* sequence : running_) {
        if (sequence->decoding()) continue;
        int64_t tokens = std::min(sequence->to_compute(), limits_.max_step_tokens - plan_.tokens);
        const int64_t logit_rows = limits_.max_logit_rows - plan_.logit_rows;
        // Log-probabilities of the prompt are wanted once: a chunk of it either has them all or is one computed again.
        const int64_t known = static_cast<int64_t>(sequence->prompt_logprobs.size()) - 1;
        bool prompt_logprobs = false;
        if (sequence->sampling.prompt_logprobs >= 0 && known >= 0) {
            if (sequence->computed < known) {
                tokens = std::min(tokens, known - sequence->computed);
            } else if (sequence->computed < sequence->prompt_tokens) {
                prompt_logprobs = true;
                tokens = std::min({tokens, logit_rows, sequence->prompt_tokens - sequence->computed});
            }
        }
        if (!prompt_logprobs && logit_rows == 0 && tokens == sequence->to_compute()) --tokens;
        if (tokens > 0) plan_row(*sequence, tokens, prompt_logprobs);
    }
}

void Scheduler::plan_row(Sequence& sequence, int64_t tokens, bool prompt_logprobs) {
    const int64_t end = sequence.computed + tokens;
    const bool last = tokens == sequence.to_compute();
    StepRow& row = plan_.rows.emplace_back();
    row.sequence = sequence.number;
    row.tokens =
        std::span(sequence.tokens).subspan(static_cast<size_t>(sequence.computed), static_cast<size_t>(tokens));
    row.position = sequence.computed;
    row.pages = std::span(sequence.pages).first(static_cast<size_t>(pages_.pages_for(end)));
    row.slot = sequence.slot;
    row.sample = last && sequence.output_tokens() < sequence.sampling.max_tokens;
    row.prompt_logprobs = prompt_logprobs;
    row.sampling = &sequence.sampling;
    row.prompt = sequence.prompt();
    row.output = sequence.output();
    if (prompt_logprobs && end < sequence.prompt_tokens) row.next_prompt_token = sequence.tokens[end];
    plan_.tokens += tokens;
    plan_.logit_rows += prompt_logprobs ? tokens : row.sample ? 1 : 0;
    sequence.last_row = ++rows_planned_;
    planned_.push_back(&sequence);
}

void Scheduler::advance() {
    for (size_t i = 0; i < planned_.size(); ++i) {
        planned_[i]->computed += static_cast<int64_t>(plan_.rows[i].tokens.size());
    }
}

void Scheduler::audit() const {
    std::vector<int32_t> holders(static_cast<size_t>(pages_.pages()), 0);
    std::vector<bool> slots(static_cast<size_t>(slots_.slots()), false);
    int64_t held = 0, reserved = 0;
    CHECK(std::is_sorted(running_.begin(), running_.end(), RanksBefore{}));
    for (const Sequence* sequence : running_) {
        CHECK(sequence->place == Sequence::Place::running);
        CHECK(sequence->computed <= static_cast<int64_t>(sequence->tokens.size()));
        CHECK(static_cast<int64_t>(sequence->pages.size()) >= pages_.pages_for(sequence->computed));
        CHECK(static_cast<int64_t>(sequence->pages.size()) <= final_pages(*sequence));
        for (PageId page : sequence->pages) ++holders[page];
        held += static_cast<int64_t>(sequence->pages.size());
        if (sequence->reserved) reserved += final_pages(*sequence) - static_cast<int64_t>(sequence->pages.size());
        CHECK(sequence->slot >= 0 && !slots[sequence->slot], "slot {} is held twice", sequence->slot);
        slots[sequence->slot] = true;
    }
    for (const Sequence* sequence : waiting_)
        CHECK(sequence->place == Sequence::Place::waiting && sequence->pages.empty() && sequence->slot < 0 &&
              sequence->computed == 0 && !sequence->reserved);
    for (PageId page = 0; page < pages_.pages(); ++page)
        CHECK(holders[page] == pages_.holders(page), "page {} has {} holders and counts {}", page, holders[page],
              pages_.holders(page));
    CHECK(held + pages_.free_pages() == pages_.pages(), "{} held, {} free, {} pages", held, pages_.free_pages(),
          pages_.pages());
    CHECK(running() + slots_.free_slots() == slots_.slots());
    CHECK(reserved == reserved_pages_ && reserved <= pages_.free_pages());
}

}  // namespace nibble::engine
