#include "text/tokenizer/regex.h"

#include "base/check.h"
#include "text/tokenizer/utf8.h"

#include <algorithm>
#include <limits>

namespace nibble::text {
namespace {

constexpr size_t kMaxProgram = 4096;

}  // namespace

// Writes the tree as instructions. Instructions follow one another unless `next` says otherwise.
class Regex::Compiler {
public:
    explicit Compiler(const RegexTree& tree) : tree_(tree) {}

    Result<Regex> compile() {
        TRY_VOID(emit(tree_.root));
        append({.op = Op::match});
        // Bodies of look-aheads come behind; a body may itself hold one.
        for (size_t i = 0; i < bodies_.size(); i++) {
            const int32_t begin = size();
            TRY_VOID(emit(bodies_[i]));
            append({.op = Op::match});
            regex_.bodies_.push_back({begin, size()});
        }
        for (const CharSet& set : tree_.sets) regex_.sets_.emplace_back(set);
        find_first_bytes();
        return std::move(regex_);
    }

private:
    using Op = Instruction::Op;
    using Kind = RegexNode::Kind;
    using Greed = RegexNode::Greed;

    int32_t size() const { return static_cast<int32_t>(regex_.program_.size()); }
    int32_t append(Instruction instruction) {
        instruction.next = size() + 1;
        if (instruction.op == Op::split || instruction.op == Op::loop || instruction.op == Op::possessive) {
            instruction.memo = regex_.memos_++;
        }
        regex_.program_.push_back(instruction);
        return size() - 1;
    }
    Instruction& at(int32_t pc) { return regex_.program_[pc]; }

    Result<void> emit(int index) {
        if (regex_.program_.size() > kMaxProgram) {
            return error(ErrorCode::unsupported, "the pattern needs more than {} instructions", kMaxProgram);
        }
        const RegexNode& node = tree_.nodes[index];
        switch (node.kind) {
            case Kind::empty:
                return {};
            case Kind::set:
                append({.op = Op::set, .set = node.set});
                return {};
            case Kind::sequence:
                for (const int child : node.children) TRY_VOID(emit(child));
                return {};
            case Kind::choice: {
                std::vector<int32_t> ends;
                for (size_t i = 0; i < node.children.size(); i++) {
                    const bool last = i + 1 == node.children.size();
                    const int32_t split = last ? -1 : append({.op = Op::split});
                    TRY_VOID(emit(node.children[i]));
                    if (!last) {
                        ends.push_back(append({.op = Op::jump}));
                        at(split).other = size();
                    }
                }
                for (const int32_t end : ends) at(end).next = size();
                return {};
            }
            case Kind::repeat:
                return repeat(node);
            case Kind::assertion:
                append({.op = Op::assertion, .assertion = node.assertion});
                return {};
            case Kind::look_ahead:
            case Kind::look_behind: {
                const RegexNode& body = tree_.nodes[node.children[0]];
                if (body.kind == Kind::set) {
                    append({.op = node.kind == Kind::look_ahead ? Op::ahead : Op::behind,
                            .set = body.set,
                            .negative = node.negative});
                    return {};
                }
                append({.op = Op::look_body, .other = static_cast<int32_t>(bodies_.size()), .negative = node.negative});
                bodies_.push_back(node.children[0]);
                return {};
            }
        }
        return {};
    }

    Result<void> repeat(const RegexNode& node) {
        const int child = node.children[0];
        const bool of_set = tree_.nodes[child].kind == Kind::set;
        for (int i = 0; i < node.min; i++) TRY_VOID(emit(child));
        if (node.max == RegexNode::kUnlimited) {
            if (of_set && node.greed != Greed::lazy) {
                append({.op = node.greed == Greed::greedy ? Op::loop : Op::possessive, .set = tree_.nodes[child].set});
                return {};
            }
            const int32_t split = append({.op = Op::split});
            TRY_VOID(emit(child));
            const int32_t back = append({.op = Op::jump});
            at(back).next = split;
            branch(split, split + 1, size(), node.greed);
            return {};
        }
        // x{0,3} is (x(x(x)?)?)?: once one is left out, so are the rest.
        std::vector<int32_t> splits;
        for (int i = node.min; i < node.max; i++) {
            if (node.greed == Greed::possessive) {
                append({.op = Op::optional, .set = tree_.nodes[child].set});
                continue;
            }
            splits.push_back(append({.op = Op::split}));
            TRY_VOID(emit(child));
        }
        for (const int32_t split : splits) branch(split, split + 1, size(), node.greed);
        return {};
    }

    void branch(int32_t split, int32_t in, int32_t out, Greed greed) {
        at(split).next = greed == Greed::lazy ? out : in;
        at(split).other = greed == Greed::lazy ? in : out;
    }

    // The bytes that a match can begin with, by following everything that consumes nothing.
    void find_first_bytes() {
        std::vector<bool> bytes(256), visited(regex_.program_.size());
        std::vector<int32_t> open = {0};
        const auto add_set = [&](int32_t set) {
            for (const auto& range : tree_.sets[set].ranges()) {
                const auto lead = [](char32_t c) { return static_cast<unsigned char>(utf8::encode(c)[0]); };
                for (int b = lead(range.first); b <= lead(range.last); b++) {
                    if (b < 0x80 || b >= 0xC0) bytes[b] = true;
                }
            }
        };
        while (!open.empty()) {
            const int32_t pc = open.back();
            open.pop_back();
            if (visited[pc]) continue;
            visited[pc] = true;
            const Instruction& in = regex_.program_[pc];
            switch (in.op) {
                case Op::match:
                    return;  // can be empty: anywhere
                case Op::set:
                    add_set(in.set);
                    break;
                case Op::loop:
                case Op::possessive:
                case Op::optional:
                    add_set(in.set);
                    open.push_back(in.next);
                    break;
                case Op::split:
                    open.push_back(in.other);
                    [[fallthrough]];
                default:
                    open.push_back(in.next);
            }
        }
        regex_.first_bytes_ = std::move(bytes);
    }

    const RegexTree& tree_;
    Regex regex_;
    std::vector<int> bodies_;
};

Result<Regex> Regex::compile(std::string_view pattern) {
    TRY(const RegexTree tree, parse_regex(pattern));
    return Compiler(tree).compile();
}

Regex::Search::Search(const Regex& regex) : regex_(regex) {}

void Regex::Search::start(std::string_view text) {
    CHECK(text.size() < std::numeric_limits<uint32_t>::max(), "{} bytes to search", text.size());
    text_ = text;
    from_ = 0;
    last_end_ = SIZE_MAX;
    done_ = false;
    memo_.assign(((text.size() + 1) * static_cast<size_t>(regex_.memos_) + 63) / 64, 0);
    looks_.assign(regex_.bodies_.size(), {});
}

bool Regex::Search::seen(int32_t memo, size_t at) {
    const size_t bit = at * static_cast<size_t>(regex_.memos_) + static_cast<size_t>(memo);
    uint64_t& word = memo_[bit / 64];
    const uint64_t mask = uint64_t{1} << bit % 64;
    if (word & mask) return true;
    word |= mask;
    return false;
}

void Regex::Search::forget(size_t at) {
    const size_t begin = at * static_cast<size_t>(regex_.memos_);
    for (size_t bit = begin; bit < begin + static_cast<size_t>(regex_.memos_); bit++) {
        memo_[bit / 64] &= ~(uint64_t{1} << bit % 64);
    }
}

bool Regex::Search::next(size_t& begin, size_t& end) {
    while (!done_) {
        size_t start = from_;
        bool found = false;
        while (true) {
            if (!regex_.first_bytes_.empty()) {
                while (start < text_.size() && !regex_.first_bytes_[static_cast<unsigned char>(text_[start])]) start++;
                if (start == text_.size()) break;
            }
            if (match_at(start, end)) {
                found = true;
                break;
            }
            if (start == text_.size()) break;
            start += utf8::length(text_[start]);
        }
        if (!found) break;
        // What led to this match is not a failure, and ends here at the furthest.
        forget(end);
        begin = start;
        if (begin == end && last_end_ == end) {
            if (end == text_.size()) break;
            from_ = end + utf8::length(text_[end]);
            continue;
        }
        from_ = end;
        last_end_ = end;
        return true;
    }
    done_ = true;
    return false;
}

// Every (instruction with a memo, position) is run at most once for all the starts together: had it led to a match,
// the search would have ended there, so meeting it again means failure.
bool Regex::Search::match_at(size_t start, size_t& end) {
    using Op = Instruction::Op;
    choices_.clear();
    int32_t pc = 0;
    size_t at = start;
    const char* const text = text_.data();
    const size_t size = text_.size();
    // The character at `i` is of the set: its length, else 0.
    const auto step = [&](const CharMap& set, size_t i) -> size_t {
        if (i == size) return 0;
        const char* p = text + i;
        return set.contains(utf8::next(p)) ? static_cast<size_t>(p - text) - i : 0;
    };
    while (true) {
        const Instruction& in = regex_.program_[pc];
        bool ok = true;
        switch (in.op) {
            case Op::set: {
                const size_t n = step(regex_.sets_[in.set], at);
                at += n;
                ok = n > 0;
                break;
            }
            case Op::optional:
                at += step(regex_.sets_[in.set], at);
                break;
            case Op::loop: {
                // A position passed before within this loop has failed, and so have all that it could go on to.
                if (seen(in.memo, at)) {
                    ok = false;
                    break;
                }
                const size_t lowest = at;
                size_t highest = at;
                const CharMap& set = regex_.sets_[in.set];
                while (const size_t n = step(set, at)) {
                    at += n;
                    if (seen(in.memo, at)) break;
                    highest = at;
                }
                at = highest;
                if (highest > lowest) {
                    choices_.push_back({in.next, static_cast<uint32_t>(lowest), static_cast<uint32_t>(highest), true});
                }
                break;
            }
            case Op::possessive: {
                const CharMap& set = regex_.sets_[in.set];
                ok = !seen(in.memo, at);
                while (ok) {
                    const size_t n = step(set, at);
                    if (n == 0) break;
                    at += n;
                    ok = !seen(in.memo, at);
                }
                break;
            }
            case Op::split:
                ok = !seen(in.memo, at);
                if (ok) choices_.push_back({in.other, 0, static_cast<uint32_t>(at), false});
                break;
            case Op::jump:
                break;
            case Op::assertion:
                ok = holds(in.assertion, at);
                break;
            case Op::behind: {
                const char* p = text + at;
                ok = (at > 0 && regex_.sets_[in.set].contains(utf8::previous(p))) != in.negative;
                break;
            }
            case Op::ahead:
                ok = (step(regex_.sets_[in.set], at) > 0) != in.negative;
                break;
            case Op::look_body:
                ok = looks(in.other, at) != in.negative;
                break;
            case Op::match:
                end = at;
                return true;
        }
        if (ok) {
            pc = in.next;
            continue;
        }
        if (choices_.empty()) return false;
        Choice& choice = choices_.back();
        pc = choice.pc;
        if (choice.loop) {
            const char* p = text + choice.position;
            utf8::previous(p);
            at = static_cast<size_t>(p - text);
            choice.position = static_cast<uint32_t>(at);
            if (at == choice.lowest) choices_.pop_back();
        } else {
            at = choice.position;
            choices_.pop_back();
        }
    }
}

bool Regex::Search::holds(Assertion assertion, size_t at) const {
    const size_t size = text_.size();
    const auto word_at = [&](size_t i) { return i < size && is_regex_word(utf8::at(text_.data() + i)); };
    const auto word_before = [&](size_t i) {
        const char* p = text_.data() + i;
        return i > 0 && is_regex_word(utf8::previous(p));
    };
    switch (assertion) {
        case Assertion::line_begin:
            return at == 0 || (text_[at - 1] == '\n' && at < size);
        case Assertion::line_end:
            return at == size || text_[at] == '\n';
        case Assertion::text_begin:
            return at == 0;
        case Assertion::text_end:
            return at == size;
        case Assertion::text_end_or_newline:
            return at == size || (at + 1 == size && text_[at] == '\n');
        case Assertion::word:
            return word_before(at) != word_at(at);
        case Assertion::not_word:
            return word_before(at) == word_at(at);
    }
    return false;
}

// Whether a look-ahead's body can match at a position is found for all positions at once, from the end of the text:
// reaches[pc] says that from instruction pc, here, the body can be completed.
bool Regex::Search::looks(int32_t table, size_t at) {
    using Op = Instruction::Op;
    std::vector<bool>& found = looks_[table];
    if (!found.empty()) return found[at];
    const Body body = regex_.bodies_[table];
    const auto length = static_cast<size_t>(body.end - body.begin);
    std::vector<char> here(length), after(length);
    std::vector<bool> result(text_.size() + 1);
    const char* const text = text_.data();
    for (size_t i = text_.size();; --i) {
        if (i < text_.size() && utf8::is_continuation(text[i])) continue;
        const bool last = i == text_.size();
        const char32_t c = last ? 0 : utf8::at(text + i);
        std::fill(here.begin(), here.end(), 0);
        for (bool changed = true; changed;) {
            changed = false;
            for (int32_t pc = body.end - 1; pc >= body.begin; pc--) {
                const Instruction& in = regex_.program_[pc];
                const auto k = static_cast<size_t>(pc - body.begin);
                if (here[k]) continue;
                const auto now = [&](int32_t to) { return here[static_cast<size_t>(to - body.begin)] != 0; };
                const bool takes = in.set >= 0 && !last && regex_.sets_[in.set].contains(c);
                bool reached = false;
                switch (in.op) {
                    case Op::set:
                        reached = takes && after[k + 1];
                        break;
                    case Op::loop:
                        reached = now(in.next) || (takes && after[k]);
                        break;
                    case Op::possessive:
                        reached = takes ? after[k] != 0 : now(in.next);
                        break;
                    case Op::optional:
                        reached = takes ? after[k + 1] != 0 : now(in.next);
                        break;
                    case Op::split:
                        reached = now(in.next) || now(in.other);
                        break;
                    case Op::jump:
                        reached = now(in.next);
                        break;
                    case Op::assertion:
                        reached = holds(in.assertion, i) && now(in.next);
                        break;
                    case Op::behind: {
                        const char* p = text + i;
                        const bool is = i > 0 && regex_.sets_[in.set].contains(utf8::previous(p));
                        reached = is != in.negative && now(in.next);
                        break;
                    }
                    case Op::ahead:
                        reached = takes != in.negative && now(in.next);
                        break;
                    case Op::look_body:
                        reached = looks(in.other, i) != in.negative && now(in.next);
                        break;
                    case Op::match:
                        reached = true;
                        break;
                }
                if (reached) {
                    here[k] = 1;
                    changed = true;
                }
            }
        }
        result[i] = here[0] != 0;
        std::swap(here, after);
        if (i == 0) break;
    }
    looks_[table] = std::move(result);
    return looks_[table][at];
}

}  // namespace nibble::text
