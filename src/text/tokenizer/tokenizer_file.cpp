#include "text/tokenizer/tokenizer_file.h"

#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/components.h"
#include "text/tokenizer/json_field.h"

#include <charconv>
#include <map>
#include <set>

namespace nibble::text {
namespace {

constexpr size_t kMaxDepth = 64;  // of the JSON
constexpr size_t kMaxFile = size_t{512} << 20;

struct Document {
    simdjson::dom::parser parser;
    JsonField root;
};

Result<void> read_json(std::string_view json, std::string_view name, Document& document) {
    const auto damaged = [&](std::string_view why) {
        return error(ErrorCode::model_invalid, "{}: the file: expected JSON, found {}", name, why);
    };
    if (json.empty()) return damaged("nothing");
    if (json.size() > kMaxFile) return damaged(fmt::format("{} bytes, more than {}", json.size(), kMaxFile));
    if (document.parser.allocate(json.size(), kMaxDepth) != simdjson::SUCCESS) return damaged("no memory to read it");
    simdjson::dom::element element;
    if (const auto code = document.parser.parse(json.data(), json.size()).get(element); code != simdjson::SUCCESS) {
        return damaged(simdjson::error_message(code));
    }
    document.root = {name, "", element};
    if (!document.root.is_object()) return document.root.expected("an object");
    return {};
}

// A field that comes twice has no one meaning.
Result<void> check_fields_once(const JsonField& field) {
    TRY(const auto object, field.object());
    std::set<std::string_view> keys;
    for (const auto& [key, value] : object) {
        if (!keys.insert(key).second) {
            return error(ErrorCode::model_invalid, "{}: {}: expected the field once, found it twice", field.file,
                         field.at(key, value).path);
        }
    }
    return {};
}

Result<void> read_vocabulary(const JsonField& field, Vocabulary& vocabulary) {
    TRY(const auto entries, field.object());
    size_t count = 0, bytes = 0;
    for (const auto& [piece, id] : entries) {
        count++;
        bytes += piece.size();
    }
    vocabulary.reserve(count, bytes);
    for (const auto& [piece, element] : entries) {
        int64_t id = -1;
        if (!element.is_int64() || element.get_int64().get(id) != simdjson::SUCCESS || id < 0 ||
            id > Vocabulary::kMaxId) {
            return field.at(piece, element).expected(fmt::format("an id from 0 to {}", Vocabulary::kMaxId));
        }
        switch (vocabulary.add(piece, static_cast<int32_t>(id))) {
            case Vocabulary::Added::yes:
                break;
            case Vocabulary::Added::piece_known:
                return field.at(piece, element).expected("the piece once");
            case Vocabulary::Added::id_taken:
                return field.at(piece, element)
                    .expected(fmt::format("an id of its own, not that of \"{}\"",
                                          vocabulary.piece(static_cast<int32_t>(id))));
        }
    }
    return {};
}

using MergePieces = std::vector<std::pair<std::string_view, std::string_view>>;

// "a b" or ["a", "b"]; the pieces stay in the document.
Result<MergePieces> read_merges(const JsonField& field) {
    TRY(const auto entries, field.array());
    MergePieces merges;
    merges.reserve(entries.size());
    size_t index = 0;
    for (const auto element : entries) {
        std::string_view text;
        if (element.get_string().get(text) == simdjson::SUCCESS) {
            if (!text.starts_with("#version")) {  // the first line of an old merges.txt
                const size_t space = text.find(' ');
                if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
                    return field.at(index, element).expected("two pieces with one space between");
                }
                merges.emplace_back(text.substr(0, space), text.substr(space + 1));
            }
        } else {
            simdjson::dom::array pair;
            std::string_view left, right;
            if (element.get_array().get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
                pair.at(0).get_string().get(left) != simdjson::SUCCESS ||
                pair.at(1).get_string().get(right) != simdjson::SUCCESS) {
                return field.at(index, element).expected("two pieces, as a string or an array");
            }
            merges.emplace_back(left, right);
        }
        index++;
    }
    return merges;
}

Result<std::string> optional_string(const JsonField& owner, std::string_view key) {
    const auto field = owner.find(key);
    if (!field) return std::string();
    TRY(const auto text, field->string());
    return std::string(text);
}

// Every byte is a piece, so nothing in a byte-level text is ever unknown.
bool has_all_bytes(const Vocabulary& vocabulary) {
    for (const char32_t c : byte_level::kCharOfByte) {
        if (vocabulary.find(utf8::encode(c)) == Vocabulary::kNone) return false;
    }
    return true;
}

// Added tokens as they are read from the two files; by content.
class AddedTokenList {
public:
    explicit AddedTokenList(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

    // `field` is where it stands. The later of two that agree on the id wins, with its flags.
    Result<void> add(AddedToken token, const JsonField& field) {
        if (token.content.empty()) return {};
        if (token.content.size() > AddedTokens::kMaxContent) {
            return field.expected(fmt::format("a content of at most {} bytes", AddedTokens::kMaxContent));
        }
        const auto contradiction = [&](std::string_view content, int32_t id) {
            return error(ErrorCode::model_invalid,
                         "{}: {}: expected what is said elsewhere, \"{}\" with id {}, found "
                         "\"{}\" with id {}",
                         field.file, field.path, content, id, token.content, token.id);
        };
        const int32_t in_vocabulary = vocabulary_.find(token.content);
        if (in_vocabulary != Vocabulary::kNone && in_vocabulary != token.id) {
            return contradiction(token.content, in_vocabulary);
        }
        if (vocabulary_.has(token.id) && in_vocabulary == Vocabulary::kNone) {
            return contradiction(vocabulary_.piece(token.id), token.id);
        }
        if (const auto same = by_content_.find(token.content); same != by_content_.end()) {
            if (same->second.id != token.id) return contradiction(token.content, same->second.id);
        } else if (const auto [place, fresh] = by_id_.try_emplace(token.id, token.content); !fresh) {
            return contradiction(place->second, token.id);
        }
        by_content_.insert_or_assign(token.content, token);
        return {};
    }

    const AddedToken* find(const std::string& content) const {
        const auto place = by_content_.find(content);
        return place == by_content_.end() ? nullptr : &place->second;
    }

    std::vector<AddedToken> take() const {
        std::vector<AddedToken> tokens;
        for (const auto& [content, token] : by_content_) tokens.push_back(token);
        return tokens;
    }

private:
    const Vocabulary& vocabulary_;
    std::map<std::string, AddedToken> by_content_;
    std::map<int32_t, std::string> by_id_;
};

Result<AddedToken> read_added_token(const JsonField& field, int32_t id, bool flags_required) {
    const auto flag = [&](std::string_view key, bool otherwise) {
        return flags_required ? field.boolean(key) : field.boolean(key, otherwise);
    };
    AddedToken token{};
    token.id = id;
    TRY(const auto content, field.string("content"));
    token.content = std::string(content);
    TRY(token.special, flag("special", false));
    TRY(token.lstrip, flag("lstrip", false));
    TRY(token.rstrip, flag("rstrip", false));
    TRY(token.single_word, flag("single_word", false));
    TRY(token.normalized, flag("normalized", !token.special));
    return token;
}

Result<void> read_added_tokens(const JsonField& root, AddedTokenList& list) {
    const auto field = root.find("added_tokens");
    if (!field) return {};
    TRY(const auto items, field->elements());
    for (const JsonField& item : items) {
        TRY(const JsonField id_field, item.child("id"));
        TRY(const int64_t id, id_field.integer(0, Vocabulary::kMaxId));
        TRY(AddedToken token, read_added_token(item, static_cast<int32_t>(id), true));
        TRY_VOID(list.add(std::move(token), item));
    }
    return {};
}

// A token of the config: a string, or an object with its content.
Result<std::string> token_content(const JsonField& field) {
    if (field.is_object()) {
        TRY(const auto content, field.string("content"));
        return std::string(content);
    }
    TRY(const auto content, field.string());
    return std::string(content);
}

// The tokens that the config calls special by name, as it writes them: "eos_token": …, "additional_special_tokens":
// […].
Result<std::vector<std::pair<std::string, JsonField>>> named_special_tokens(const JsonField& config) {
    std::vector<std::pair<std::string, JsonField>> named;
    for (const std::string_view key :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
        if (const auto field = config.find(key)) {
            TRY(std::string content, token_content(*field));
            named.emplace_back(std::move(content), *field);
        }
    }
    for (const std::string_view key : {"additional_special_tokens", "extra_special_tokens"}) {
        const auto field = config.find(key);
        if (!field) continue;
        std::vector<JsonField> items;
        if (field->is_object()) {
            TRY(const auto object, field->object());
            for (const auto& [name, value] : object) items.push_back(field->at(name, value));
        } else {
            TRY(items, field->elements());
        }
        for (const JsonField& item : items) {
            TRY(std::string content, token_content(item));
            named.emplace_back(std::move(content), item);
        }
    }
    return named;
}

// As transformers does it: added_tokens_decoder adds to and corrects what the tokenizer has, and tokens that only have
// a special name become special tokens. One that no id is known for has no row in the model and is left out.
Result<void> read_config(const JsonField& config, const Vocabulary& vocabulary, AddedTokenList& list,
                         TokenizerParts& parts) {
    TRY(const auto named, named_special_tokens(config));
    std::set<std::string_view> names;
    for (const auto& [content, field] : named) names.insert(content);
    if (const auto decoder = config.find("added_tokens_decoder")) {
        TRY(const auto entries, decoder->object());
        for (const auto& [key, element] : entries) {
            const JsonField field = decoder->at(key, element);
            int32_t id = -1;
            const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), id);
            if (failure != std::errc() || end != key.data() + key.size() || id < 0 || id > Vocabulary::kMaxId) {
                return field.expected(fmt::format("an id from 0 to {} as the key", Vocabulary::kMaxId));
            }
            TRY(AddedToken token, read_added_token(field, id, false));
            const AddedToken* known = list.find(token.content);
            const bool differs = known == nullptr || known->special != token.special || known->lstrip != token.lstrip ||
                                 known->rstrip != token.rstrip || known->single_word != token.single_word ||
                                 known->normalized != token.normalized;
            if (differs && names.contains(token.content)) token.special = true;
            TRY_VOID(list.add(std::move(token), field));
        }
    }
    for (const auto& [content, field] : named) {
        const int32_t id = vocabulary.find(content);
        if (id == Vocabulary::kNone || list.find(content) != nullptr) continue;
        TRY(AddedToken token,
            field.is_object() ? read_added_token(field, id, false) : Result<AddedToken>(AddedToken{}));
        token.id = id;
        token.content = content;
        token.special = true;
        TRY_VOID(list.add(std::move(token), field));
    }
    if (const auto bos = config.find("bos_token")) {
        TRY(parts.bos_token, token_content(*bos));
    }
    if (const auto eos = config.find("eos_token")) {
        TRY(parts.eos_token, token_content(*eos));
    }
    return {};
}

Result<BpeOptions> read_bpe_options(const JsonField& model, const Vocabulary& vocabulary, const AddedTokenList& added) {
    BpeOptions options;
    if (const auto dropout = model.find("dropout")) {
        double value = 0;
        if (dropout->value.get_double().get(value) != simdjson::SUCCESS) return dropout->expected("a number or null");
        if (value != 0) return dropout->unsupported("dropout, which makes encoding random,", "null or 0");
    }
    TRY(options.continuing_subword_prefix, optional_string(model, "continuing_subword_prefix"));
    TRY(options.end_of_word_suffix, optional_string(model, "end_of_word_suffix"));
    TRY(options.fuse_unknown, model.boolean("fuse_unk", false));
    TRY(options.byte_fallback, model.boolean("byte_fallback", false));
    TRY(options.ignore_merges, model.boolean("ignore_merges", false));
    if (const auto unknown = model.find("unk_token")) {
        TRY(const auto text, unknown->string());
        options.unknown_id = vocabulary.find(text);
        if (options.unknown_id == Vocabulary::kNone) {
            const AddedToken* token = added.find(std::string(text));
            if (token != nullptr) {
                options.unknown_id = token->id;
            } else if (!has_all_bytes(vocabulary)) {
                return unknown->expected("a piece of the vocabulary");
            }
        }
    }
    return options;
}

Result<void> check_post_steps(const JsonField& root, const TokenizerParts& parts) {
    for (const PostStep& step : parts.post_steps) {
        for (const PostPart& part : step) {
            for (const int32_t id : part.ids) {
                if (parts.vocabulary.has(id) || parts.added.find(id) != nullptr) continue;
                return error(ErrorCode::model_invalid, "{}: post_processor: expected ids of known tokens, found {}",
                             root.file, id);
            }
        }
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<const TokenizerParts>> read_tokenizer(std::string_view tokenizer, std::string_view config_json,
                                                             std::string_view name) {
    Document document;
    TRY_VOID(read_json(tokenizer, name, document));
    const JsonField& root = document.root;
    TRY_VOID(check_fields_once(root));
    if (const auto version = root.find("version")) {
        TRY(const auto text, version->string());
        if (text != "1.0") return version->unsupported(fmt::format("version {}", text), "1.0");
    }

    auto parts = std::make_unique<TokenizerParts>();
    TRY(const JsonField model, root.child("model"));
    TRY_VOID(check_fields_once(model));
    if (const auto type = model.find("type")) {
        TRY(const auto text, type->string());
        if (text != "BPE") return type->unsupported(fmt::format("the model {}", text), "BPE");
    }
    TRY(const JsonField vocab, model.child("vocab"));
    TRY_VOID(read_vocabulary(vocab, parts->vocabulary));
    TRY(const JsonField merges_field, model.child("merges"));
    TRY(const MergePieces merges, read_merges(merges_field));

    AddedTokenList added(parts->vocabulary);
    TRY_VOID(read_added_tokens(root, added));
    Document config;
    if (!config_json.empty()) {
        TRY_VOID(read_json(config_json, "tokenizer_config.json", config));
        TRY_VOID(read_config(config.root, parts->vocabulary, added, *parts));
    }

    TRY(auto normalizer, read_normalizer(root.find("normalizer")));
    parts->normalizer = Normalizer(std::move(normalizer));
    auto added_tokens = AddedTokens::build(added.take(), parts->normalizer);
    if (!added_tokens) {
        return error(ErrorCode::model_invalid, "{}: added_tokens: {}", name, added_tokens.error().message);
    }
    parts->added = *std::move(added_tokens);

    TRY(BpeOptions options, read_bpe_options(model, parts->vocabulary, added));
    TRY(auto steps, read_pre_tokenizer(root.find("pre_tokenizer")));
    const bool affixes = !options.continuing_subword_prefix.empty() || !options.end_of_word_suffix.empty();
    parts->pre_tokenizer = PreTokenizer(std::move(steps), !affixes);
    options.words_are_bytes = parts->pre_tokenizer.words_are_bytes();
    auto bpe = Bpe::build(parts->vocabulary, merges, std::move(options));
    if (!bpe) return model.at_this_place(bpe.error());
    parts->bpe.emplace(*std::move(bpe));
    std::vector<int32_t> special;
    for (const AddedToken& token : parts->added.all()) {
        if (token.special) special.push_back(token.id);
    }
    parts->bpe->set_special(special);

    TRY(parts->post_steps, read_post_processor(root.find("post_processor")));
    TRY_VOID(check_post_steps(root, *parts));
    TRY(auto decoder, read_decoder(root.find("decoder")));
    parts->decoder = DecodeChain(std::move(decoder));
    return std::unique_ptr<const TokenizerParts>(std::move(parts));
}

}  // namespace nibble::text
