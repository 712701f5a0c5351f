#include "text/tokenizer/pretokenize.h"

#include "base/check.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/utf8.h"

namespace nibble::text {

using Step = PreTokenizerStep;

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps, bool raw_bytes) : steps_(std::move(steps)) {
    CHECK(steps_.size() <= kMaxSteps);
    size_t conversions = 0;
    for (const Step& step : steps_) conversions += step.kind == Step::Kind::bytes;
    words_are_bytes_ = raw_bytes && conversions == 1 && steps_.back().kind == Step::Kind::bytes;
    if (words_are_bytes_) steps_.pop_back();
    if (steps_.size() == 1 && steps_[0].kind == Step::Kind::split && steps_[0].behavior == SplitBehavior::isolated) {
        only_scanner_ = steps_[0].pattern->scanner();
    }
}

// One text on its way through the steps. Step i hands its pieces to step i + 1 as it finds them; the depth of the calls
// is the number of steps, at most kMaxSteps.
class PreTokenizer::Chain {
public:
    Chain(const std::vector<Step>& steps, Sink sink, void* context) : sink_(sink), context_(context) {
        stages_.reserve(steps.size());
        for (const Step& step : steps) {
            stages_.push_back({step, {}, {}});
            if (step.pattern) stages_.back().matches.emplace(*step.pattern);
        }
    }

    void piece(size_t index, std::string_view text, bool at_start) {
        if (text.empty()) return;
        if (index == stages_.size()) {
            sink_(context_, text);
            return;
        }
        Stage& stage = stages_[index];
        switch (stage.step.kind) {
            case Step::Kind::split:
                split(index, text, at_start);
                return;
            case Step::Kind::prefix_space:
                if (text[0] == ' ') return piece(index + 1, text, at_start);
                stage.buffer.assign(1, ' ').append(text);
                return piece(index + 1, stage.buffer, at_start);
            case Step::Kind::bytes:
                stage.buffer.clear();
                byte_level::append_encoded(stage.buffer, text);
                return piece(index + 1, stage.buffer, at_start);
            case Step::Kind::metaspace:
                return metaspace(index, text, at_start);
            case Step::Kind::fixed_length:
                return fixed_length(index, text, at_start);
        }
    }

private:
    struct Stage {
        const Step& step;
        std::optional<Pattern::Matches> matches;
        std::string buffer;  // the rewritten piece: read by the stages below until this one's next piece
    };

    void metaspace(size_t index, std::string_view text, bool at_start) {
        const Step& step = stages_[index].step;
        std::string& out = stages_[index].buffer;
        out.clear();
        const char* p = text.data();
        const char* const end = p + text.size();
        const bool begins_marked = *p == ' ' || text.starts_with(step.text);
        if (!begins_marked &&
            (step.prepend == Step::Prepend::always || (step.prepend == Step::Prepend::first && at_start))) {
            out.append(step.text);
        }
        while (p < end) {
            const char* space = p;
            while (space < end && *space != ' ') space++;
            out.append(p, space);
            if (space == end) break;
            out.append(step.text);
            p = space + 1;
        }
        piece(index + 1, out, at_start);
    }

    void fixed_length(size_t index, std::string_view text, bool at_start) {
        const char* p = text.data();
        const char* const end = p + text.size();
        while (p < end) {
            const char* q = p;
            for (size_t n = 0; n < stages_[index].step.length && q < end; n++) q += utf8::length(*q);
            piece(index + 1, {p, static_cast<size_t>(q - p)}, at_start && p == text.data());
            p = q;
        }
    }

    // Cuts at the matches and the gaps between them, and joins what the behavior joins: `open` is the piece that the
    // next part may still join, which is handed on as soon as it may not.
    void split(size_t index, std::string_view text, bool at_start) {
        const Step& step = stages_[index].step;
        Pattern::Matches& matches = *stages_[index].matches;
        struct Span {
            size_t begin, end;
        };
        std::optional<Span> open;
        bool open_hit = false;
        bool before_hit = false;  // the part before was a hit
        const auto hand_on = [&](size_t begin, size_t end) {
            piece(index + 1, text.substr(begin, end - begin), at_start && begin == 0);
        };
        const auto close = [&] {
            if (open) hand_on(open->begin, open->end);
            open.reset();
        };
        const auto part = [&](size_t begin, size_t end, bool hit) {
            switch (step.behavior) {
                case SplitBehavior::removed:
                    if (!hit) hand_on(begin, end);
                    return;
                case SplitBehavior::isolated:
                    hand_on(begin, end);
                    return;
                case SplitBehavior::contiguous:
                    if (open && hit == before_hit) {
                        open->end = end;
                    } else {
                        close();
                        open = {begin, end};
                    }
                    break;
                case SplitBehavior::merged_with_previous:
                    if (open && hit && !before_hit) {
                        open->end = end;
                        close();
                    } else {
                        close();
                        open = {begin, end};
                    }
                    break;
                case SplitBehavior::merged_with_next:
                    if (open && open_hit && !hit) {
                        open->end = end;
                    } else {
                        close();
                        open = {begin, end};
                    }
                    open_hit = hit;
                    break;
            }
            before_hit = hit;
        };
        matches.start(text);
        size_t done = 0, begin = 0, end = 0;
        while (matches.next(begin, end)) {
            if (begin > done) part(done, begin, step.invert);
            part(begin, end, !step.invert);
            done = end;
        }
        if (done < text.size()) part(done, text.size(), step.invert);
        close();
    }

    std::vector<Stage> stages_;
    Sink sink_;
    void* context_;
};

void PreTokenizer::run_steps(std::string_view text, bool at_start, Sink sink, void* context) const {
    Chain(steps_, sink, context).piece(0, text, at_start);
}

}  // namespace nibble::text
