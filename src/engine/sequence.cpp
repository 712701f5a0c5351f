#include "engine/sequence.h"

#include <utility>

namespace nibble::engine {

Sequence::Sequence(int64_t number, Request request, std::shared_ptr<EventQueue> events, TimePoint arrival)
    : number(number),
      id(std::move(request.id)),
      priority(request.priority),
      sampling(std::move(request.sampling)),
      prompt_tokens(static_cast<int64_t>(request.prompt.size())),
      tokens(std::move(request.prompt)),
      events(std::move(events)),
      arrival(arrival) {
    if (sampling.prompt_logprobs >= 0) prompt_logprobs.push_back({.chosen = {.token = tokens[0]}, .top = {}});
}

}  // namespace nibble::engine
