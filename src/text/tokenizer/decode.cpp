#include "text/tokenizer/decode.h"

#include "base/check.h"
#include "text/tokenizer/byte_level.h"

#include <algorithm>

namespace nibble::text {
namespace {

using Kind = DecoderStep::Kind;

std::string replaced(const DecoderStep& step, std::string_view text) {
    Pattern::Matches matches(*step.pattern);
    matches.start(text);
    std::string out;
    size_t done = 0, begin = 0, end = 0;
    while (matches.next(begin, end)) {
        out.append(text.substr(done, begin - done)).append(step.text);
        done = end;
    }
    return out.append(text.substr(done));
}

std::string with(std::string_view text, std::string_view what, std::string_view instead) {
    std::string out;
    size_t done = 0;
    for (size_t at; (at = text.find(what, done)) != std::string_view::npos; done = at + what.size()) {
        out.append(text.substr(done, at - done)).append(instead);
    }
    return out.append(text.substr(done));
}

// The byte of "<0xNN>", or -1.
int fallback_byte(std::string_view piece) {
    if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
    const auto digit = [](char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
    };
    const int high = digit(piece[3]), low = digit(piece[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string stripped(const DecoderStep& step, std::string_view text) {
    const char* begin = text.data();
    const char* end = begin + text.size();
    for (size_t n = 0; n < step.strip_begin && begin < end && utf8::at(begin) == step.character; n++) utf8::next(begin);
    for (size_t n = 0; n < step.strip_end && begin < end; n++) {
        const char* p = end;
        if (utf8::previous(p) != step.character) break;
        end = p;
    }
    return {begin, end};
}

bool looks_at_one_piece(Kind kind) {
    return kind == Kind::replace || kind == Kind::strip;
}

}  // namespace

DecodeChain::DecodeChain(std::vector<DecoderStep> steps) : steps_(std::move(steps)) {
    CHECK(steps_.size() <= kMaxSteps);
    while (alone_ < steps_.size() && looks_at_one_piece(steps_[alone_].kind)) alone_++;
    bytes_first_ = alone_ < steps_.size() && steps_[alone_].kind == Kind::byte_level;
}

std::string DecodeChain::prepare(std::string_view piece) const {
    std::string text(piece);
    for (size_t i = 0; i < alone_; i++) {
        text = steps_[i].kind == Kind::replace ? replaced(steps_[i], text) : stripped(steps_[i], text);
    }
    std::string bytes;
    if (bytes_first_ && byte_level::append_decoded(bytes, text)) return bytes;
    return text;
}

std::string DecodeChain::middle(std::string_view prepared) const {
    std::string text(prepared);
    if (bytes_first_) return text;
    for (size_t i = alone_; i < steps_.size(); i++) {
        const DecoderStep& step = steps_[i];
        switch (step.kind) {
            case Kind::byte_fallback:
                if (const int byte = fallback_byte(text); byte >= 0) return std::string(1, static_cast<char>(byte));
                break;
            case Kind::replace:
                text = replaced(step, text);
                break;
            case Kind::metaspace:
            case Kind::word_suffix:
                text = with(text, step.text, " ");
                break;
            default:
                break;
        }
    }
    return text;
}

bool DecodeChain::strips_leading_space() const {
    return std::any_of(steps_.begin(), steps_.end(), [](const DecoderStep& step) {
        return (step.kind == Kind::metaspace && step.drops_first) ||
               (step.kind == Kind::strip && step.character == ' ' && step.strip_begin > 0);
    });
}

DecodeStream::DecodeStream(const DecodeChain& chain) : raw_bytes_(chain.bytes_first_) {
    for (size_t i = chain.alone_; i < chain.steps_.size(); i++) stages_.push_back({&chain.steps_[i]});
}

void DecodeStream::push(std::string_view prepared, std::string& out) {
    out_ = &out;
    part(0, prepared);
    end_piece(0);
}

void DecodeStream::flush(std::string& out) {
    out_ = &out;
    flush_from(0);
}

void DecodeStream::part(size_t index, std::string_view text) {
    if (text.empty()) return;
    if (index == stages_.size()) {
        out_->append(text);
        return;
    }
    Stage& stage = stages_[index];
    switch (stage.step->kind) {
        case Kind::byte_level:
            if (index == 0 && raw_bytes_) {
                std::string valid;
                stage.lossy.push(text, valid);
                part(index + 1, valid);
                return;
            }
            stage.buffer.append(text);
            return;
        case Kind::replace:
            stage.buffer.append(text);
            if (stage.step->pattern->literal() != nullptr) replace(index, false);
            return;
        case Kind::fuse:
            part(index + 1, text);
            return;
        case Kind::strip:
            strip(index, text);
            return;
        case Kind::metaspace:
            part(index + 1, with(text, stage.step->text, stage.pieces == 0 && stage.step->drops_first ? "" : " "));
            return;
        case Kind::join_spaces:
            if (stage.fresh && stage.pieces > 0) part(index + 1, " ");
            stage.fresh = false;
            part(index + 1, text);
            return;
        case Kind::byte_fallback:
        case Kind::word_suffix:
            stage.buffer.append(text);
            return;
    }
}

void DecodeStream::end_piece(size_t index) {
    if (index == stages_.size()) return;
    Stage& stage = stages_[index];
    switch (stage.step->kind) {
        case Kind::byte_level: {
            if (index == 0 && raw_bytes_) break;
            std::string bytes, valid;
            if (!byte_level::append_decoded(bytes, stage.buffer)) bytes = stage.buffer;
            stage.buffer.clear();
            stage.lossy.push(bytes, valid);
            part(index + 1, valid);
            break;
        }
        case Kind::fuse:
            break;
        case Kind::replace:
            replace(index, true);
            end_piece(index + 1);
            break;
        case Kind::strip:
            stage.held = 0;  // at the end of the piece after all
            stage.fresh = true;
            end_piece(index + 1);
            break;
        case Kind::metaspace:
            end_piece(index + 1);
            break;
        case Kind::join_spaces:
            if (stage.fresh && stage.pieces > 0) part(index + 1, " ");
            stage.fresh = true;
            break;
        case Kind::byte_fallback:
            fall_back(index);
            break;
        case Kind::word_suffix:
            if (stage.pieces > 0) {
                part(index + 1, with(stage.last, stage.step->text, " "));
                end_piece(index + 1);
            }
            stage.last = std::move(stage.buffer);
            stage.buffer.clear();
            break;
    }
    stage.pieces++;
}

void DecodeStream::flush_from(size_t index) {
    if (index == stages_.size()) return;
    Stage& stage = stages_[index];
    switch (stage.step->kind) {
        case Kind::byte_level: {
            std::string rest;
            stage.lossy.flush(rest);
            part(index + 1, rest);
            end_piece(index + 1);
            break;
        }
        case Kind::fuse:
        case Kind::join_spaces:
            end_piece(index + 1);
            break;
        case Kind::byte_fallback:
            flush_bytes(index);
            break;
        case Kind::word_suffix:
            if (stage.pieces > 0) {
                part(index + 1, with(stage.last, stage.step->text, ""));
                end_piece(index + 1);
            }
            break;
        case Kind::replace:
        case Kind::strip:
        case Kind::metaspace:
            break;
    }
    flush_from(index + 1);
    stage = Stage{stage.step};
}

// Passes on what no later text can make part of a match: all but the longest end that begins the searched string.
void DecodeStream::replace(size_t index, bool end) {
    Stage& stage = stages_[index];
    std::string& buffer = stage.buffer;
    if (end) {
        if (!buffer.empty()) part(index + 1, replaced(*stage.step, buffer));
        buffer.clear();
        return;
    }
    const std::string& wanted = *stage.step->pattern->literal();
    size_t done = 0;
    std::string out;
    for (size_t at; (at = buffer.find(wanted, done)) != std::string::npos; done = at + wanted.size()) {
        out.append(buffer, done, at - done).append(stage.step->text);
    }
    size_t keep = std::min(wanted.size() - 1, buffer.size() - done);
    while (keep > 0 && !wanted.starts_with(std::string_view(buffer).substr(buffer.size() - keep))) keep--;
    out.append(buffer, done, buffer.size() - keep - done);
    buffer.erase(0, buffer.size() - keep);
    part(index + 1, out);
}

void DecodeStream::strip(size_t index, std::string_view text) {
    Stage& stage = stages_[index];
    const DecoderStep& step = *stage.step;
    if (stage.fresh) stage.to_strip = step.strip_begin;
    stage.fresh = false;
    std::string out;
    for (const char *p = text.data(), *end = p + text.size(); p < end;) {
        const char* begin = p;
        if (utf8::next(p) == step.character) {
            if (stage.to_strip > 0) {
                stage.to_strip--;
            } else if (++stage.held > step.strip_end) {
                stage.held--;
                utf8::append(out, step.character);
            }
            continue;
        }
        stage.to_strip = 0;
        for (; stage.held > 0; stage.held--) utf8::append(out, step.character);
        out.append(begin, p);
    }
    part(index + 1, out);
}

// Bytes wait for the end of their run: one that is no UTF-8 as a whole becomes U+FFFD for every byte.
void DecodeStream::fall_back(size_t index) {
    Stage& stage = stages_[index];
    const int byte = fallback_byte(stage.buffer);
    if (byte >= 0) {
        stage.bytes.push_back(static_cast<char>(byte));
    } else {
        flush_bytes(index);
        part(index + 1, stage.buffer);
        end_piece(index + 1);
    }
    stage.buffer.clear();
}

void DecodeStream::flush_bytes(size_t index) {
    Stage& stage = stages_[index];
    if (stage.bytes.empty()) return;
    if (utf8::is_valid(stage.bytes)) {
        part(index + 1, stage.bytes);
        end_piece(index + 1);
    } else {
        for (size_t i = 0; i < stage.bytes.size(); i++) {
            part(index + 1, utf8::kReplacementBytes);
            end_piece(index + 1);
        }
    }
    stage.bytes.clear();
}

}  // namespace nibble::text
