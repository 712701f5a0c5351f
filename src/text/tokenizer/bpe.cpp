#include "text/tokenizer/bpe.h"

#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/merge_queue.h"
#include "text/tokenizer/utf8.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <span>

namespace nibble::text {
namespace {

constexpr int32_t kNone = Vocabulary::kNone;
constexpr uint32_t kNoRank = UINT32_MAX;
constexpr size_t kShortWord = 24;          // symbols: searched one merge after another
constexpr size_t kLongestWord = 1u << 30;  // bytes in one go: positions are 32-bit numbers
constexpr std::array<char32_t, 2> kWordMarks = {U' ', U'▁'};

std::atomic<uint32_t> next_cache_owner{1};

// Words and their ids as this thread met them: direct-mapped, so that it is bounded and needs no upkeep. 1 MiB a
// thread.
class WordCache {
public:
    static constexpr size_t kMaxWord = 31;  // bytes
    static constexpr size_t kMaxIds = 7;

    struct Key {
        std::array<uint64_t, 4> words{};  // the word, zeros, and in the last byte its length and mode
        uint32_t owner = 0;
        uint64_t hash = 0;
    };

    // `mode` is below 8; word.size() <= kMaxWord.
    static Key key(std::string_view word, uint32_t mode, uint32_t owner) {
        Key key;
        if (!word.empty()) std::memcpy(key.words.data(), word.data(), word.size());
        key.words[3] |= static_cast<uint64_t>(word.size() | mode << 5) << 56;
        key.owner = owner & 0xFFFFFF;
        const uint64_t low = mix(key.words[0] ^ kHashKey, key.words[3] ^ 0xa0761d6478bd642f ^ key.owner);
        key.hash = word.size() <= 8 ? low : mix(low ^ key.words[1], key.words[2] ^ kHashKey);
        return key;
    }

    const int32_t* find(const Key& key, size_t& count) const {
        if (!slots_) return nullptr;
        const Slot& slot = slots_[key.hash % kSlots];
        const uint64_t difference = (slot.words[0] ^ key.words[0]) | (slot.words[1] ^ key.words[1]) |
                                    (slot.words[2] ^ key.words[2]) | (slot.words[3] ^ key.words[3]) |
                                    (slot.owner_and_count >> 8 ^ key.owner);
        if (difference != 0) return nullptr;
        count = slot.owner_and_count & 0xFF;
        return slot.ids.data();
    }

    void put(const Key& key, const int32_t* ids, size_t count) {
        if (count > kMaxIds) return;
        if (!slots_) slots_ = std::make_unique<Slot[]>(kSlots);
        Slot& slot = slots_[key.hash % kSlots];
        slot.words = key.words;
        slot.owner_and_count = key.owner << 8 | static_cast<uint32_t>(count);
        std::copy_n(ids, count, slot.ids.begin());
    }

private:
    static constexpr size_t kSlots = 1 << 14;
    struct alignas(64) Slot {
        std::array<uint64_t, 4> words{};
        uint32_t owner_and_count = 0;  // owner 0 is nobody
        std::array<int32_t, kMaxIds> ids{};
    };
    static_assert(sizeof(Slot) == 64);
    std::unique_ptr<Slot[]> slots_;
};

}  // namespace

// What a thread keeps between words.
struct Bpe::Scratch {
    WordCache cache;
    MergeQueue queue;
    std::vector<int32_t> ids;
    struct Symbol {
        int32_t id;
        uint32_t previous, next;
    };
    std::vector<Symbol> symbols;  // of a long word
    std::string text;
};

Bpe::Scratch& Bpe::scratch() {
    thread_local Scratch scratch;
    return scratch;
}

Bpe::Bpe(const Vocabulary& vocabulary, BpeOptions options)
    : vocabulary_(&vocabulary), options_(std::move(options)), cache_owner_(next_cache_owner++) {
    for (int b = 0; b < 256; b++) {
        byte_ids_[b] = vocabulary.find(utf8::encode(byte_level::kCharOfByte[b]));
        fallback_ids_[b] = options_.byte_fallback ? vocabulary.find(fmt::format("<0x{:02X}>", b)) : kNone;
    }
    if (options_.words_are_bytes && options_.ignore_merges) {
        byte_pieces_.reserve(vocabulary.size(), vocabulary.size() * 8);
        std::string bytes;
        for (int32_t id = 0; id < vocabulary.id_end(); id++) {
            bytes.clear();
            if (vocabulary.has(id) && byte_level::append_decoded(bytes, vocabulary.piece(id))) {
                byte_pieces_.add(bytes, id);
            }
        }
    }
    if (!options_.words_are_bytes) {
        bmp_ids_.assign(0x10000, kNone);
        for (int32_t id = 0; id < vocabulary.id_end(); id++) {
            const std::string_view piece = vocabulary.piece(id);
            if (piece.empty() || piece.size() > 3 || piece.size() != utf8::length(piece[0])) continue;
            bmp_ids_[utf8::at(piece.data())] = id;
        }
    }
}

Result<Bpe> Bpe::build(const Vocabulary& vocabulary,
                       const std::vector<std::pair<std::string_view, std::string_view>>& merges, BpeOptions options) {
    Bpe bpe(vocabulary, std::move(options));
    bpe.ranks_ = merges.size();
    bpe.merges_.resize(std::bit_ceil(merges.size() * 2 + 2));
    const size_t prefix = bpe.options_.continuing_subword_prefix.size();
    // In batches, so that looking pieces up overlaps.
    constexpr size_t kBatch = 256;
    std::array<std::string, kBatch> joined;
    std::array<std::string_view, 3 * kBatch> pieces;
    std::array<int32_t, 3 * kBatch> ids;
    for (size_t begin = 0; begin < merges.size(); begin += kBatch) {
        const size_t n = std::min(kBatch, merges.size() - begin);
        for (size_t i = 0; i < n; i++) {
            const auto& [left, right] = merges[begin + i];
            joined[i].assign(left).append(right.substr(std::min(prefix, right.size())));
            pieces[3 * i] = left;
            pieces[3 * i + 1] = right;
            pieces[3 * i + 2] = joined[i];
        }
        vocabulary.find_all(std::span(pieces).first(3 * n), std::span(ids).first(3 * n));
        for (size_t i = 0; i < n; i++) {
            const size_t rank = begin + i;
            const int32_t left = ids[3 * i], right = ids[3 * i + 1], result = ids[3 * i + 2];
            if (left == kNone || right == kNone) {
                return error(ErrorCode::model_invalid, "merges[{}]: expected pieces of the vocabulary, found \"{}\"",
                             rank, pieces[left == kNone ? 3 * i : 3 * i + 1]);
            }
            if (merges[rank].second.size() < prefix) {
                return error(
                    ErrorCode::model_invalid,
                    "merges[{}]: expected a right piece that begins with continuing_subword_prefix, found \"{}\"", rank,
                    merges[rank].second);
            }
            if (result == kNone) {
                return error(ErrorCode::model_invalid,
                             "merges[{}]: expected the result \"{}\" in the vocabulary, found none", rank, joined[i]);
            }
            bpe.put({left, right, static_cast<uint32_t>(rank), result});
        }
    }
    if (!bpe.options_.words_are_bytes && prefix == 0 && bpe.options_.end_of_word_suffix.empty()) {
        bpe.find_boundaries(merges);
    }
    return bpe;
}

void Bpe::put(const Merge& merge) {
    const size_t mask = merges_.size() - 1;
    size_t i = hash_word(static_cast<uint64_t>(merge.left) << 32 | static_cast<uint32_t>(merge.right)) & mask;
    while (merges_[i].left != kNone && (merges_[i].left != merge.left || merges_[i].right != merge.right)) {
        i = (i + 1) & mask;
    }
    merges_[i] = merge;
}

const Bpe::Merge* Bpe::merge_of(int32_t left, int32_t right, bool literal) const {
    const size_t mask = merges_.size() - 1;
    size_t i = hash_word(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right)) & mask;
    while (merges_[i].left != kNone) {
        if (merges_[i].left == left && merges_[i].right == right) {
            return is_blocked(merges_[i].result, literal) ? nullptr : &merges_[i];
        }
        i = (i + 1) & mask;
    }
    return nullptr;
}

void Bpe::set_special(const std::vector<int32_t>& ids) {
    blocked_.assign(static_cast<size_t>(vocabulary_->id_end()), false);
    blocks_ = false;
    for (const int32_t id : ids) {
        if (vocabulary_->has(id)) blocked_[id] = true;
    }
    for (const Merge& merge : merges_) blocks_ = blocks_ || (merge.left != kNone && blocked_[merge.result]);
    blocks_ = blocks_ || (options_.ignore_merges && !ids.empty());
}

// SentencePiece models see a whole text as one word, "▁the▁whole▁text", but hardly ever have a piece with a '▁' behind
// a letter. Where no merge has a given character before the mark, the text falls into words that nothing can join.
void Bpe::find_boundaries(const std::vector<std::pair<std::string_view, std::string_view>>& merges) {
    for (size_t mark = 0; mark < kWordMarks.size(); mark++) {
        const std::string bytes = utf8::encode(kWordMarks[mark]);
        std::vector<char32_t>& reaching = reaching_[mark];
        for (const auto& [left, right] : merges) {
            const std::string joined = std::string(left) + std::string(right);
            for (size_t i = joined.find(bytes, 1); i != std::string::npos; i = joined.find(bytes, i + 1)) {
                const char* p = joined.data() + i;
                reaching.push_back(utf8::previous(p));
            }
        }
        std::sort(reaching.begin(), reaching.end());
        reaching.erase(std::unique(reaching.begin(), reaching.end()), reaching.end());
    }
    cuts_words_ = true;
}

// The length of the first part of a text that can be encoded by itself. Both characters at the cut are pieces, so that
// no unknown one is fused across it.
size_t Bpe::independent_prefix(std::string_view word) const {
    const char* const end = word.data() + word.size();
    for (const char* p = word.data() + utf8::length(word[0]); p < end;) {
        const char* const here = p;
        const char32_t c = utf8::next(p);
        const size_t mark = c == kWordMarks[0] ? 0 : c == kWordMarks[1] ? 1 : 2;
        if (mark == 2) continue;
        const char* q = here;
        const char32_t before = utf8::previous(q);
        if (std::binary_search(reaching_[mark].begin(), reaching_[mark].end(), before)) continue;
        if (char_id({q, static_cast<size_t>(here - q)}) == kNone || bmp_ids_[c] == kNone) continue;
        return static_cast<size_t>(here - word.data());
    }
    return word.size();
}

int32_t Bpe::char_id(std::string_view character) const {
    if (character.size() <= 3) return bmp_ids_[utf8::at(character.data())];
    return vocabulary_->find(character);
}

void Bpe::encode(std::string_view word, bool literal, std::vector<int32_t>& out) const {
    if (word.empty()) return;
    if (options_.ignore_merges) {
        WordCache& cache = scratch().cache;
        const bool small = word.size() <= WordCache::kMaxWord;
        WordCache::Key key;
        if (small) {
            key = WordCache::key(word, literal && blocks_ ? 3 : 2, cache_owner_);
            size_t count = 0;
            if (const int32_t* ids = cache.find(key, count)) {
                out.insert(out.end(), ids, ids + count);
                return;
            }
        }
        const int32_t whole = options_.words_are_bytes ? byte_pieces_.find(word) : vocabulary_->find(word);
        if (whole != kNone && !is_blocked(whole, literal)) {
            out.push_back(whole);
            if (small) cache.put(key, &whole, 1);
            return;
        }
        const size_t before = out.size();
        encode_plain(word, literal, out);
        if (small) cache.put(key, out.data() + before, out.size() - before);
        return;
    }
    if (cuts_words_ && word.size() > WordCache::kMaxWord) {
        while (!word.empty()) {
            const size_t n = independent_prefix(word);
            encode_plain(word.substr(0, n), literal, out);
            word.remove_prefix(n);
        }
        return;
    }
    encode_plain(word, literal, out);
}

// By merges alone.
void Bpe::encode_plain(std::string_view word, bool literal, std::vector<int32_t>& out) const {
    Scratch& s = scratch();
    WordCache::Key key;
    const bool small = word.size() <= WordCache::kMaxWord && !options_.ignore_merges;
    if (small) {
        key = WordCache::key(word, literal && blocks_ ? 1 : 0, cache_owner_);
        size_t count = 0;
        if (const int32_t* ids = s.cache.find(key, count)) {
            out.insert(out.end(), ids, ids + count);
            return;
        }
    }
    while (!word.empty()) {
        size_t n = std::min(word.size(), kLongestWord);
        while (n < word.size() && !options_.words_are_bytes && utf8::is_continuation(word[n])) n--;
        s.ids.clear();
        first_symbols(word.substr(0, n), s.ids);
        s.ids.size() <= kShortWord ? merge_short(s.ids, literal) : merge_long(s.ids, literal);
        out.insert(out.end(), s.ids.begin(), s.ids.end());
        word.remove_prefix(n);
    }
    if (small) s.cache.put(key, s.ids.data(), s.ids.size());
    constexpr size_t kKept = 1 << 16;
    if (s.ids.capacity() > kKept) s.ids = {};
    if (s.symbols.capacity() > kKept) s.symbols = {};
    s.queue.release();
}

// One id a character. Characters that are no pieces become bytes, or unknown, or nothing. An unknown one is held until
// the next known character or the end, so that bytes overtake it: the order of the Python package.
void Bpe::first_symbols(std::string_view word, std::vector<int32_t>& ids) const {
    bool held = false;
    const auto known = [&](int32_t id) {
        if (held) ids.push_back(options_.unknown_id);
        held = false;
        ids.push_back(id);
    };
    const auto unknown = [&](std::string_view character) {
        if (options_.byte_fallback && std::all_of(character.begin(), character.end(), [&](char c) {
                return fallback_ids_[static_cast<unsigned char>(c)] != kNone;
            })) {
            for (const char c : character) ids.push_back(fallback_ids_[static_cast<unsigned char>(c)]);
            return;
        }
        if (options_.unknown_id == kNone) return;
        if (held && !options_.fuse_unknown) ids.push_back(options_.unknown_id);
        held = true;
    };
    if (options_.words_are_bytes) {
        for (const char c : word) {
            const auto byte = static_cast<unsigned char>(c);
            byte_ids_[byte] != kNone ? known(byte_ids_[byte]) : unknown(utf8::encode(byte_level::kCharOfByte[byte]));
        }
    } else if (options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty()) {
        for (size_t i = 0; i < word.size();) {
            const std::string_view character = word.substr(i, utf8::length(word[i]));
            const int32_t id = char_id(character);
            id != kNone ? known(id) : unknown(character);
            i += character.size();
        }
    } else {
        std::string& affixed = scratch().text;
        for (size_t i = 0; i < word.size();) {
            const std::string_view character = word.substr(i, utf8::length(word[i]));
            affixed.clear();
            if (i > 0) affixed = options_.continuing_subword_prefix;
            affixed.append(character);
            i += character.size();
            if (i == word.size()) affixed.append(options_.end_of_word_suffix);
            const int32_t id = vocabulary_->find(affixed);
            id != kNone ? known(id) : unknown(affixed);
        }
    }
    if (held) ids.push_back(options_.unknown_id);
}

void Bpe::merge_short(std::vector<int32_t>& ids, bool literal) const {
    size_t n = ids.size();
    std::array<const Merge*, kShortWord> pairs;  // pairs[i]: of ids[i] and ids[i + 1]
    for (size_t i = 0; i + 1 < n; i++) pairs[i] = merge_of(ids[i], ids[i + 1], literal);
    while (n > 1) {
        uint32_t lowest = kNoRank;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            if (pairs[i] != nullptr && pairs[i]->rank < lowest) {
                lowest = pairs[i]->rank;
                at = i;
            }
        }
        if (lowest == kNoRank) break;
        ids[at] = pairs[at]->result;
        n--;
        for (size_t i = at + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            pairs[i - 1] = pairs[i];
        }
        if (at > 0) pairs[at - 1] = merge_of(ids[at - 1], ids[at], literal);
        if (at + 1 < n) pairs[at] = merge_of(ids[at], ids[at + 1], literal);
    }
    ids.resize(n);
}

// Symbols keep their places; a merged one is marked and skipped by the links. A queued merge whose symbols have changed
// since is recognised by its result.
void Bpe::merge_long(std::vector<int32_t>& ids, bool literal) const {
    Scratch& s = scratch();
    std::vector<Scratch::Symbol>& symbols = s.symbols;
    const auto n = static_cast<uint32_t>(ids.size());
    constexpr int32_t kMerged = -2;
    s.queue.begin(ranks_);
    symbols.resize(n);
    const auto queue_pair = [&](uint32_t left, uint32_t right) {
        if (const Merge* merge = merge_of(symbols[left].id, symbols[right].id, literal))
            s.queue.push(merge->rank, left);
    };
    for (uint32_t i = 0; i < n; i++) symbols[i] = {ids[i], i - 1, i + 1};  // beyond the ends: not below n
    for (uint32_t i = 0; i + 1 < n; i++) queue_pair(i, i + 1);
    uint32_t rank = 0, at = 0;
    while (s.queue.pop(rank, at)) {
        __builtin_prefetch(&symbols[s.queue.ahead()]);
        Scratch::Symbol& left = symbols[at];
        if (left.id == kMerged || left.next >= n) continue;
        Scratch::Symbol& right = symbols[left.next];
        const Merge* merge = merge_of(left.id, right.id, literal);
        if (merge == nullptr || merge->rank != rank) continue;
        left.id = merge->result;
        right.id = kMerged;
        left.next = right.next;
        if (left.next < n) symbols[left.next].previous = at;
        if (left.previous < n) queue_pair(left.previous, at);
        if (left.next < n) queue_pair(at, left.next);
    }
    ids.clear();
    for (uint32_t i = 0; i < n; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace nibble::text
