// Scheduler: what the next step computes. Pure policy over page and slot numbers: no clock, no thread, no device.
//
// One order rules: sequences rank by priority, then arrival. The queue is left in that order (its head is never passed
// by one behind it), and a sequence takes pages only from those that rank behind it. Every step has room for both kinds
// of work: each decoding sequence gets one token, prompts get the rest in chunks, and at least a quarter.
//
// A sequence holds the pages of all its tokens before it runs (and starts only when those that run have room to grow),
// and takes one more when it grows over a border. When none is free, the running sequence that ranks last is preempted
// (its pages and slot are freed, its tokens are computed again later, its rank stays) or, if nothing ranks behind, the
// sequence waits for a page where it stands. After its kMaxPreemptions-th preemption a sequence runs again only with
// pages reserved to its end, and is safe from then on. So the best-ranked sequence always moves, and nothing is
// computed more than kMaxPreemptions + 1 times.
#pragma once

#include "engine/executor.h"
#include "engine/page_table.h"
#include "engine/sequence.h"
#include "engine/slot_table.h"

#include <cstdint>
#include <set>
#include <span>
#include <vector>

namespace nibble::engine {

struct SchedulerLimits {
    int64_t pages = 0, page_size = 0;  // pages 0: no sequence needs any
    int64_t slots = 0;
    int64_t max_sequences = 0;  // running at once; at most slots
    int64_t max_step_tokens = 0;
    int64_t max_logit_rows = 0;  // more than max_sequences
};

class Scheduler {
public:
    static constexpr int kMaxPreemptions = 2;

    explicit Scheduler(const SchedulerLimits& limits);

    // The sequence must have passed admit(); it waits at its rank. It stays the caller's and must outlive its removal.
    void add(Sequence& sequence);
    // From wherever it is; its pages and slot are free afterwards.
    void remove(Sequence& sequence);

    // Chooses the next step, taking pages and slots for it. Empty only when there is no sequence. The plan and
    // planned() (the sequence of each row) are valid until the scheduler is called again.
    const StepPlan& plan();
    std::span<Sequence* const> planned() const { return planned_; }
    // The rows of the plan have been computed.
    void advance();

    int64_t running() const { return static_cast<int64_t>(running_.size()); }
    int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
    int64_t preemptions() const { return preemptions_; }
    const PageTable& page_table() const { return pages_; }
    const SlotTable& slot_table() const { return slots_; }

    // CHECKs that every page and slot is held by exactly the sequences that list it, and every order is kept.
    void audit() const;

private:
    struct RanksBefore {
        bool operator()(const Sequence* a, const Sequence* b) const { return a->ranks_before(*b); }
    };

    int64_t available_pages() const { return pages_.free_pages() - reserved_pages_; }
    int64_t final_pages(const Sequence& sequence) const;
    bool has_pages(const Sequence& sequence) const;
    void grow();
    bool take_page(Sequence& sequence);
    void start_waiting();
    bool start(Sequence& sequence);
    int64_t pages_to_start(const Sequence& sequence) const;
    void preempt(Sequence& sequence);
    void free(Sequence& sequence);
    void plan_decodes(int64_t limit);
    void plan_prompts();
    void plan_row(Sequence& sequence, int64_t tokens, bool prompt_logprobs);
    int64_t prompt_share() const;
    int64_t decode_limit(bool prompts_wait);

    const SchedulerLimits limits_;
    PageTable pages_;
    SlotTable slots_;
    std::set<Sequence*, RanksBefore> waiting_;
    std::vector<Sequence*> running_;  // by rank
    int64_t reserved_pages_ = 0;      // set aside for reserved sequences, beyond what they hold
    int64_t rows_planned_ = 0;
    int64_t preemptions_ = 0;
    bool prompt_turn_ = false;  // steps of one token alternate

    StepPlan plan_;
    std::vector<Sequence*> planned_;
    std::vector<Sequence*> decodes_;  // of this step
};

}  // namespace nibble::engine
