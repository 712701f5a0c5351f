// Any bytes as the body of every route that takes one, up to where the engine would be asked.
#include "base/check.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_error.h"
#include "server/tiny_tokenizer.h"
#include "server/tokenize.h"

#include <cstdint>
#include <memory>
#include <string>

namespace {

using namespace nibble::server;

std::shared_ptr<const ServedModel> make_model() {
    auto model = std::make_shared<ServedModel>();
    model->names = {"tiny"};
    model->tokenizer = tiny_tokenizer();
    model->chat_template = *nibble::text::ChatTemplate::parse(kTinyTemplate, "tiny", "", "<|im_end|>");
    model->output_format = {nibble::text::ReasoningFormat::think_tags, nibble::text::ToolFormat::hermes};
    model->defaults.eos_ids = {kTinyEnd};
    model->max_context = 2048;
    model->vocab_size = kTinyVocabulary;
    return model;
}

template <class T>
void look_at(const nibble::Result<T>& result) {
    if (!result)
        CHECK(api_error(result.error()).status < 500, "a request's mistake is not ours: {}", result.error().message);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::shared_ptr<const ServedModel> model = make_model();
    static Services services;
    const std::string body(reinterpret_cast<const char*>(data), size);
    const HttpRequest request{.id = "fuzz"};
    look_at(make_chat_answer(request, body, model, services));
    look_at(make_completions_answer(request, body, model, services));
    look_at(tokenize(body, *model, services));
    look_at(detokenize(body, *model, services));
    look_at(apply_template(body, *model, services));
    return 0;
}
