// GenerationAnswer: runs a Generation and gives its deltas to a wire format, as a stream of events or as one reply.
//
// A wire format derives from it and only writes: what a chunk, a whole answer and an error look like. Everything about
// when (start, congestion, errors in the middle, the cut at shutdown, the record at the end) is here.
#pragma once

#include "server/generation.h"
#include "server/http.h"
#include "server/openai_error.h"
#include "server/services.h"

#include <chrono>
#include <string>
#include <string_view>

namespace nibble::server {

class GenerationAnswer : public Answer {
public:
    GenerationAnswer(Generation::Spec spec, Services& services, const HttpRequest& request, std::string_view route);
    ~GenerationAnswer() override;

    void start(Exchange& exchange) final;
    void resume(Exchange& exchange) final;
    void cut(Exchange& exchange) final;

protected:
    // Streamed: append complete events.
    virtual void write_delta(std::string& events, GenerationDelta& delta) = 0;
    virtual void write_end(std::string& events) = 0;  // after the last choice's last delta
    virtual void write_error(std::string& events, const ApiError& error) = 0;
    // Whole: keep, then tell.
    virtual void keep_delta(GenerationDelta& delta) = 0;
    virtual std::string whole() = 0;
    virtual HttpReply error_reply(const ApiError& error) = 0;

    const Generation& generation() const { return generation_; }
    const GenerationParams& params() const { return generation_.spec().params; }
    const ServedModel& model() const { return *generation_.spec().model; }
    const text::Tokenizer& tokenizer() const { return *model().tokenizer; }

private:
    void advance(Exchange& exchange);
    void fail(Exchange& exchange, const ApiError& error);
    void record(std::string_view finish);

    Generation generation_;
    Services& services_;
    std::string id_;
    std::string_view route_;
    std::chrono::steady_clock::time_point received_;
    Finish last_finish_ = Finish::none;
    bool streaming_ = false, ended_ = false;
};

}  // namespace nibble::server
