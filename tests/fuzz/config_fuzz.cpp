// Config and QuantScheme on any bytes, as config.json, as its quantization_config, and as hf_quant_config.json.
#include "checkpoint/config.h"
#include "checkpoint/quant_scheme.h"

#include <cstdint>
#include <string_view>

namespace {

using namespace nibble::checkpoint;

// Reads every field by every getter, without recursion: at most a few thousand.
void read_all(const Config& top) {
    std::vector<Config> open{top};
    for (size_t i = 0; i < open.size() && open.size() < 2000; ++i) {
        const Config config = open[i];
        (void)config.describe("");
        (void)config.optional_int("", 0, 10);
        (void)config.optional_number("");
        (void)config.optional_bool("");
        (void)config.optional_string("");
        (void)config.string_list("");
        (void)config.number_list("");
        (void)config.int_or_list("");
        (void)config.string_map("");
        for (auto& item : config.items("")) open.push_back(item);
        for (auto& [name, member] : config.members("")) {
            (void)config.has(name);
            open.push_back(member);
        }
    }
}

void claim_some(const nibble::Result<QuantScheme>& scheme) {
    if (!scheme) return;
    (void)scheme->summary();
    for (const std::string_view module : {"", ".", "lm_head", "m.a", "model.layers.0.mlp.experts.3.gate_proj",
                                          "model.layers.1.self_attn.qkv_proj", "a.b.c.d.e.f.g.h"})
        (void)scheme->claim(module);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto config = Config::parse(text, "config.json");
    if (!config) return 0;
    read_all(*config);
    claim_some(QuantScheme::parse(&*config, *config));
    claim_some(QuantScheme::parse(nullptr, *config));
    const auto outer = Config::parse("{\"quantization_config\":" + std::string(text) + "}", "config.json");
    if (outer) claim_some(QuantScheme::parse(nullptr, *outer));
    return 0;
}
