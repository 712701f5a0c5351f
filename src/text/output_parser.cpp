#include "text/output_parser.h"

#include "text/calls/call_reader.h"
#include "text/calls/gemma4_calls.h"
#include "text/calls/hermes_calls.h"
#include "text/calls/qwen3_coder_calls.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble::text {
namespace {

using calls::Match;
using Kind = OutputDelta::Kind;

struct ReasoningMarkers {
    std::string_view open, close;
    std::string_view label;  // dropped behind the opening marker
    bool anywhere;           // the opening marker counts anywhere; else only before any content
};

constexpr ReasoningMarkers kThinkTags{"<think>", "</think>", "", false};
constexpr ReasoningMarkers kGemma4{"<|channel>", "<channel|>", "thought", true};

uint64_t mixed(uint64_t x) {  // SplitMix64
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

std::string call_id(uint64_t seed, int index) {
    const uint64_t a = mixed(seed ^ mixed(static_cast<uint64_t>(index) + 1)), b = mixed(a);
    return fmt::format("call_{:016x}{:08x}", a, static_cast<uint32_t>(b));
}

}  // namespace

// Text lies in `buffer_` until it is certain what it is. In reasoning and content only a marker's beginning waits
// there, at a '<'; inside a call the reader says how much it took.
struct OutputParser::State final : calls::Sink {
    explicit State(OutputParserOptions given)
        : options(std::move(given)),
          markers(options.format.reasoning == ReasoningFormat::gemma4 ? kGemma4 : kThinkTags),
          reasons(options.format.reasoning != ReasoningFormat::none),
          calls_tools(options.format.tools != ToolFormat::none && options.tools.is_array() &&
                      !options.tools.as_array().empty()),
          functions(options.tools),
          qwen3_coder(functions),
          hermes(functions),
          gemma4(functions),
          in_reasoning(reasons && options.starts_in_reasoning) {}

    OutputParserOptions options;
    const ReasoningMarkers markers;
    const bool reasons, calls_tools;
    calls::Functions functions;
    calls::Qwen3CoderCalls qwen3_coder;
    calls::HermesCalls hermes;
    calls::Gemma4Calls gemma4;

    std::string buffer;
    std::vector<OutputDelta>* out = nullptr;
    bool in_reasoning;
    bool at_seam = true;  // nothing of this stretch of text yet: newlines are dropped
    bool label_may_come = false;
    bool any_content = false;
    std::string newlines;         // at the end of the reasoning so far
    std::string space;            // at the end of the content so far
    std::string held_reasoning;   // while thinking is disabled and its end has not come
    int started = 0;              // tool calls
    bool close_may_come = false;  // a call came before the end of reasoning
    bool after_call = false;      // no content since the last one

    void emit(Kind kind, std::string text) {
        if (text.empty()) return;
        if (!out->empty() && out->back().kind == kind && kind != Kind::tool_arguments) {
            out->back().text += text;
            return;
        }
        const int index = kind == Kind::tool_arguments ? started - 1 : 0;
        out->push_back({.kind = kind, .text = std::move(text), .tool_index = index});
    }

    // --- text ---

    void text(std::string_view t) { in_reasoning ? reasoning(t) : content(t); }

    std::string_view without_seam(std::string_view t) {
        if (!at_seam) return t;
        t.remove_prefix(std::min(t.find_first_not_of('\n'), t.size()));
        if (!t.empty()) at_seam = false;
        return t;
    }

    void reasoning(std::string_view t) {
        t = without_seam(t);
        if (t.empty()) return;
        const size_t last = t.find_last_not_of('\n');
        if (last == std::string_view::npos) {
            newlines += t;
            return;
        }
        std::string certain = newlines + std::string(t.substr(0, last + 1));
        newlines = t.substr(last + 1);
        if (options.thinking_disabled)
            held_reasoning += certain;
        else
            emit(Kind::reasoning, std::move(certain));
    }

    void content(std::string_view t) {
        // The first text of an answer keeps its newlines, unless they follow the end of reasoning or of a call.
        t = without_seam(t);
        if (t.empty()) return;
        const size_t last = t.find_last_not_of(" \n\t\r");
        if (last != std::string_view::npos) {
            any_content = true;
            after_call = false;
        }
        if (!calls_tools) {
            emit(Kind::content, std::string(t));
            return;
        }
        if (last == std::string_view::npos) {
            space += t;
            return;
        }
        emit(Kind::content, space + std::string(t.substr(0, last + 1)));
        space = t.substr(last + 1);
    }

    // --- marks ---

    void open_reasoning() {
        in_reasoning = true;
        at_seam = true;
        label_may_come = !markers.label.empty();
        newlines.clear();
    }

    // `as`: what text counts as that was held back because thinking is disabled.
    void close_reasoning(Kind as) {
        in_reasoning = false;
        at_seam = true;
        newlines.clear();
        emit(as, std::exchange(held_reasoning, {}));
    }

    // --- calls::Sink ---

    void start(std::string_view name) override {
        if (in_reasoning) {
            close_reasoning(Kind::content);
            close_may_come = true;
        }
        space.clear();
        const int index = started++;
        out->push_back({.kind = Kind::tool_start,
                        .text = {},
                        .tool_index = index,
                        .name = std::string(name),
                        .id = call_id(options.id_seed, index)});
    }
    void arguments(std::string_view json) override { emit(Kind::tool_arguments, std::string(json)); }
    void end() override {
        out->push_back({.kind = Kind::tool_end, .text = {}, .tool_index = started - 1});
        at_seam = after_call = true;
        any_content = true;
    }
    void stray(std::string_view t) override { text(t); }

    // --- the machine ---

    // Visits the readers that this format may answer in, the likeliest first, until one says true.
    template <class Visit>
    bool any_reader(Visit&& visit) {
        switch (options.format.tools) {
            case ToolFormat::qwen3_coder:
                return visit(qwen3_coder) || visit(hermes);
            case ToolFormat::hermes:
                return visit(hermes) || visit(qwen3_coder);
            case ToolFormat::gemma4:
                return visit(gemma4);
            case ToolFormat::none:
                return false;
        }
        return false;
    }

    bool inside_call() {
        return calls_tools && any_reader([](auto& reader) { return reader.open(); });
    }

    size_t read_call(std::string_view rest, bool is_final) {
        size_t used = 0;
        any_reader([&](auto& reader) {
            if (!reader.open()) return false;
            used = reader.read(rest, is_final, in_reasoning, *this);
            return true;
        });
        return used;
    }

    // At a '<': consumes a marker, or waits for more of it, or consumes the '<' as text.
    size_t read_marker(std::string_view rest, bool is_final, bool& wait) {
        bool maybe = false;
        auto is = [&](std::string_view marker) {
            const Match match = calls::starts_with(rest, marker);
            maybe |= match == Match::maybe;
            return match == Match::yes;
        };
        if (reasons && in_reasoning) {
            if (is(markers.close)) {
                close_reasoning(Kind::reasoning);
                return markers.close.size();
            }
            if (at_seam && is(markers.open)) {
                open_reasoning();
                return markers.open.size();
            }
        } else if (reasons) {
            const bool allowed = markers.anywhere || !any_content;
            if (allowed && is(markers.open)) {
                space.clear();
                open_reasoning();
                return markers.open.size();
            }
            if ((allowed || close_may_come) && is(markers.close)) {
                // Of a reasoning that the prompt or a call has closed.
                close_may_come = false;
                at_seam = true;
                return markers.close.size();
            }
        }
        size_t used = 0;
        if (calls_tools) {
            any_reader([&](auto& reader) {
                const Match match = reader.begins(rest, is_final, in_reasoning);
                maybe |= match == Match::maybe;
                if (match != Match::yes) return false;
                used = reader.read(rest, is_final, in_reasoning, *this);
                return true;
            });
        }
        if (used > 0) return used;
        if (maybe && !is_final) {
            wait = true;
            return 0;
        }
        text(rest.substr(0, 1));
        return 1;
    }

    void advance(bool is_final) {
        size_t at = 0;
        for (bool wait = false; !wait && at < buffer.size();) {
            const std::string_view rest = std::string_view(buffer).substr(at);
            if (inside_call()) {
                const size_t used = read_call(rest, is_final);
                at += used;
                wait = used == 0 && inside_call();
            } else if (label_may_come) {
                const size_t skip = std::min(rest.find_first_not_of('\n'), rest.size());
                const Match match = calls::starts_with(rest.substr(skip), markers.label);
                wait = match == Match::maybe && !is_final;
                if (wait) break;
                label_may_come = false;
                if (match == Match::yes) at += skip + markers.label.size();
            } else if (rest.front() == '<') {
                at += read_marker(rest, is_final, wait);
            } else {
                const size_t end = std::min(rest.find('<'), rest.size());
                text(rest.substr(0, end));
                at += end;
            }
        }
        buffer.erase(0, at);
    }
};

OutputParser::OutputParser(OutputParserOptions options) : state_(std::make_unique<State>(std::move(options))) {
    // The newline of a prompt that ends in <think> may be repeated by the model; other answers keep theirs.
    state_->at_seam = state_->in_reasoning;
}
OutputParser::~OutputParser() = default;
OutputParser::OutputParser(OutputParser&&) noexcept = default;

void OutputParser::push(std::string_view text, std::vector<OutputDelta>& out) {
    state_->out = &out;
    state_->buffer += text;
    state_->advance(false);
}

void OutputParser::finish(std::vector<OutputDelta>& out) {
    State& s = *state_;
    s.out = &out;
    s.advance(true);
    if (s.inside_call()) s.read_call({}, true);
    if (s.in_reasoning) {
        // The text ended inside reasoning.
        const std::string rest = s.held_reasoning + s.newlines;
        s.emit(s.options.thinking_disabled ? Kind::content : Kind::reasoning, rest);
        s.held_reasoning.clear();
        s.newlines.clear();
    }
    if (!s.after_call) s.emit(Kind::content, s.space);
    s.space.clear();
}

int OutputParser::tool_calls() const {
    return state_->started;
}

OutputFormat detect_output_format(std::string_view source) {
    const auto has = [&](std::string_view text) { return source.find(text) != std::string_view::npos; };
    OutputFormat format;
    if (has("<|channel>"))
        format.reasoning = ReasoningFormat::gemma4;
    else if (has("<think>") || has("</think>"))
        format.reasoning = ReasoningFormat::think_tags;
    if (has("<|tool_call>"))
        format.tools = ToolFormat::gemma4;
    else if (has("<function=") && has("<parameter="))
        format.tools = ToolFormat::qwen3_coder;
    else if (has("<tool_call>") && has("arguments"))
        format.tools = ToolFormat::hermes;
    return format;
}

Result<ReasoningFormat> reasoning_format(std::string_view name) {
    if (name == "none") return ReasoningFormat::none;
    for (std::string_view known : {"nemotron_v3", "nano_v3", "qwen3", "deepseek_r1", "think_tags"})
        if (name == known) return ReasoningFormat::think_tags;
    if (name == "gemma4") return ReasoningFormat::gemma4;
    return error(ErrorCode::usage,
                 "no reasoning parser '{}': known are none, nemotron_v3, nano_v3, qwen3, deepseek_r1, gemma4", name);
}

Result<ToolFormat> tool_format(std::string_view name) {
    if (name == "none") return ToolFormat::none;
    if (name == "qwen3_coder" || name == "qwen3_xml" || name == "nemotron_v3") return ToolFormat::qwen3_coder;
    if (name == "hermes") return ToolFormat::hermes;
    if (name == "gemma4") return ToolFormat::gemma4;
    return error(ErrorCode::usage, "no tool-call parser '{}': known are none, qwen3_coder, hermes, gemma4", name);
}

}  // namespace nibble::text
