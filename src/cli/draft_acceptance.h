// DraftAcceptance: how often the draft block's first token is the one that the model itself chooses next.
//
// The model answers the tasks of a file greedily. Behind each step the block proposes the token after the one that was
// just chosen; it is accepted when the next step chooses the same. So an answer of n tokens, its end included, has
// n - 1 proposals.
#pragma once

#include "base/result.h"
#include "cli/session.h"
#include "cli/task_file.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

namespace nibble::cli {

struct DraftCount {
    int64_t accepted = 0, proposed = 0, tokens = 0;  // tokens: of the answer
    double share() const { return proposed > 0 ? static_cast<double>(accepted) / static_cast<double>(proposed) : 0; }
    DraftCount& operator+=(const DraftCount& other);
};

// One count a task. Runs the session's executor, whose engine must be idle; the session was opened with the draft
// block. Errors: what the first task that cannot be asked says; does_not_fit; cancelled.
Result<std::vector<DraftCount>> count_accepted(const std::vector<Task>& tasks, Session& session, int64_t max_tokens,
                                               const std::atomic<bool>& stop,
                                               const std::function<void(int64_t done)>& progress);

}  // namespace nibble::cli
