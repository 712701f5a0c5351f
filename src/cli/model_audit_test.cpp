// The figures of published models, from their configs alone.
#include "cli/model_audit.h"

#include "base/temporary_folder.h"
#include "cli/audit_text.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const fs::path kModels = fs::path(NIBBLE_SOURCE_DIR) / "models";
const fs::path kNano = kModels / "NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4";
const fs::path kLightning = kModels / "NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4";

AuditRequest request_for(std::string_view device = "gb10", std::vector<int64_t> batches = {1}) {
    AuditRequest request{.batches = std::move(batches), .contexts = {1}};
    request.devices.push_back(*find_audit_device(device, std::nullopt));
    return request;
}

ModelAudit audited(const fs::path& folder, const AuditRequest& request = request_for()) {
    auto audit = audit_model(folder.string(), request);
    EXPECT_TRUE(audit) << audit.error().message;
    return *std::move(audit);
}

double weight_megabytes(const ModelAudit& audit, Part wanted) {
    for (const PartCost& part : audit.first().parts.parts)
        if (part.part == wanted) return part.weight_bytes() / 1e6;
    return 0;
}

double state_saving(const ModelAudit& audit) {
    for (const Shrink& shrink : audit.shrinks)
        if (shrink.saved.front().name == kStateSegment) return shrink.saved_bytes();
    return 0;
}

// Nano with each module in the format that `choose` gives its part ("" leaves it plain), by config alone.
ModelAudit nano_as(const std::function<std::string(const ModuleCost&)>& choose) {
    const ModelAudit published = audited(kNano);
    std::string layers;
    for (const ModuleCost& line : published.first().parts.modules) {
        if (line.weight.n == 0 || line.weight.role == ops::WeightRead::Role::norm) continue;
        const std::string algorithm = choose(line);
        if (algorithm.empty()) continue;
        for (const std::string& module : modules_behind(line.weight))
            layers += fmt::format(R"({}"{}":{{"quant_algo":"{}"}})", layers.empty() ? "" : ",", module, algorithm);
    }
    const TemporaryFolder folder;
    fs::copy_file(kNano / "config.json", folder.path() / "config.json");
    std::ofstream(folder.path() / "hf_quant_config.json")
        << fmt::format(R"({{"quantization":{{"quant_algo":"MIXED_PRECISION","quantized_layers":{{{}}}}}}})", layers);
    return audited(folder.path());
}

bool is_wide(const ModuleCost& line) {
    return line.weight.format == ops::WeightFormat::bf16;
}

TEST(ModelAudit, NanoAsPublishedReads2965MegabytesAToken) {
    const ModelAudit nano = audited(kNano);
    ASSERT_TRUE(nano.has_program());
    EXPECT_EQ(nano.exit_status(), 0);
    EXPECT_NEAR(nano.bytes_as_published() / 1e6, 2965, 1.5);
    // A router in F32, convolutions and vectors are read as well.
    EXPECT_NEAR(nano.first().bytes_per_token() / 1e6, 2965 + 16 + 5, 2);
    EXPECT_NEAR(weight_megabytes(nano, Part::mamba), 835 + 2.5, 1.5);
    EXPECT_NEAR(weight_megabytes(nano, Part::attention), 281, 0.6);
    EXPECT_NEAR(weight_megabytes(nano, Part::routed_experts), 775, 0.6);
    EXPECT_NEAR(weight_megabytes(nano, Part::shared_expert), 258, 0.6);
    EXPECT_NEAR(weight_megabytes(nano, Part::router), 2 * 16, 0.6);
    EXPECT_NEAR(weight_megabytes(nano, Part::head), 705, 0.6);
    const ops::Cost& total = nano.first().parts.total;
    EXPECT_NEAR(static_cast<double>(total.state_read_bytes) / 1e6, 48.2 + 0.85, 0.1);
    EXPECT_EQ(total.state_read_bytes, total.state_written_bytes);
}

TEST(ModelAudit, TheFirstLinesSayWhatItCostsAndWhatToDo) {
    const AuditRequest request = request_for();
    const std::string text = describe(audited(kNano, request), request.devices);
    EXPECT_THAT(text.substr(0, text.find("\n\n")),
                AllOf(HasSubstr("2.99 GB a token, 24 % of it the BF16 head: at most 80 tokens/s on a GB10 at 240 GB/s"),
                      HasSubstr("published counts: 2.97 GB, 81 tokens/s")));
    EXPECT_THAT(text, HasSubstr("assumed: no tensors here: formats are those that the config claims"));
    EXPECT_THAT(text, HasSubstr("OUT1 --mamba nvfp4 --attention nvfp4"));
    EXPECT_THAT(text, HasSubstr("nibble quantize OUT1 OUT2 --head nvfp4"));
    EXPECT_THAT(text, HasSubstr("123 tokens/s"));
}

TEST(ModelAudit, VariantsOfNanoCostWhatTheyShould) {
    const auto head_fp8 = [](const ModuleCost& line) -> std::string {
        return line.part == Part::head ? "FP8" : is_wide(line) ? "" : line.part == Part::router ? "" : "NVFP4";
    };
    EXPECT_NEAR(nano_as(head_fp8).bytes_as_published() / 1e6, 2613, 1.5);

    const ModelAudit leftovers = nano_as([](const ModuleCost& line) -> std::string {
        return line.part == Part::router ? "" : is_wide(line) ? "FP8" : "NVFP4";
    });
    EXPECT_NEAR((leftovers.bytes_as_published() - state_saving(leftovers)) / 1e6, 2192, 1.5);

    const auto all_but_head = [](const ModuleCost& line) -> std::string {
        return line.part == Part::router || line.part == Part::head ? "" : "NVFP4";
    };
    EXPECT_NEAR(nano_as(all_but_head).bytes_as_published() / 1e6, 2429, 1.5);

    const ModelAudit all =
        nano_as([](const ModuleCost& line) -> std::string { return line.part == Part::router ? "" : "NVFP4"; });
    EXPECT_NEAR((all.bytes_as_published() - state_saving(all)) / 1e6, 1875, 1.5);
}

TEST(ModelAudit, WhatTheListPromisesIsWhatTheChangedModelCosts) {
    const ModelAudit nano = audited(kNano);
    const ModelAudit all =
        nano_as([](const ModuleCost& line) -> std::string { return line.part == Part::router ? "" : "NVFP4"; });
    double promised = nano.first().bytes();
    for (const Shrink& shrink : nano.shrinks)
        if (shrink.how == Shrink::How::quantize) promised -= shrink.saved_bytes();
    EXPECT_NEAR(promised, all.first().bytes(), 1);
    EXPECT_GT(240e9 / promised, 120);
}

TEST(ModelAudit, LightningReads2466MegabytesATokenWithA16BitState) {
    const ModelAudit lightning = audited(kLightning);
    EXPECT_NEAR((lightning.bytes_as_published() - state_saving(lightning)) / 1e6, 2466, 1.5);
    EXPECT_NEAR(state_saving(lightning) / 1e6, 48.2, 0.1);
}

TEST(ModelAudit, MoreSequencesTouchMoreExperts) {
    const ModelAudit nano = audited(kNano, request_for("gb10", {1, 2, 4, 8, 16, 32, 64}));
    const double expected[] = {6, 11.7, 22.4, 40.8, 68.6, 100.5, 122};
    for (size_t i = 0; i < nano.steps.front().size(); ++i) {
        EXPECT_NEAR(nano.steps.front()[i].parts.distinct_experts, expected[i], 0.2);
        if (i > 0) {
            EXPECT_LT(nano.steps.front()[i].bytes_per_token(), nano.steps.front()[i - 1].bytes_per_token());
        }
    }
    EXPECT_NEAR(nano.steps.front()[4].bytes() / 16 / 1e6, 233e3 / 298, 8);  // 298 tokens/s at 233 GB/s
}

TEST(ModelAudit, AContextBeyondTheModelsIsAFinding) {
    AuditRequest request = request_for();
    request.contexts = {1, int64_t{1} << 27};
    request.contexts_asked_for = true;
    const ModelAudit nano = audited(kNano, request);
    EXPECT_EQ(nano.exit_status(), exit_code(ErrorCode::usage));
    ASSERT_EQ(nano.survey.findings.size(), 1u);
    EXPECT_THAT(nano.survey.findings.front().message,
                AllOf(HasSubstr("config.json: max_position_embeddings"), HasSubstr("134217728")));
    EXPECT_EQ(nano.steps.front().size(), 1u);
    request.contexts_asked_for = false;
    EXPECT_EQ(audited(kNano, request).exit_status(), 0);
}

TEST(ModelAudit, AFamilyThatIsNotKnownYetIsListed) {
    for (const char* name : {"Qwen3.6-35B-A3B-NVFP4", "Gemma-4-26B-A4B-NVFP4"}) {
        const AuditRequest request = request_for();
        const ModelAudit audit = audited(kModels / name, request);
        EXPECT_FALSE(audit.has_program());
        EXPECT_EQ(audit.exit_status(), exit_code(ErrorCode::unsupported));
        EXPECT_THAT(describe(audit, request.devices),
                    AllOf(HasSubstr("config.json: model_type"), HasSubstr("nibble does not know this family yet"),
                          HasSubstr("model.language_model.layers.*.")));
    }
}

TEST(ModelAudit, ADeviceHasABandwidthOrIsRefused) {
    EXPECT_DOUBLE_EQ(find_audit_device("gb10", std::nullopt)->read_bytes_per_second, 240e9);
    EXPECT_DOUBLE_EQ(find_audit_device("gb10", 233e9)->read_bytes_per_second, 233e9);
    EXPECT_DOUBLE_EQ(find_audit_device("cpu", 46e9)->read_bytes_per_second, 46e9);
    EXPECT_TRUE(find_audit_device("cpu", 46e9)->has_rows);
    const auto unknown = find_audit_device("gb11", std::nullopt);
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, ErrorCode::usage);
    EXPECT_THAT(unknown.error().message, AllOf(HasSubstr("gb10"), HasSubstr("gb11")));
}

}  // namespace
}  // namespace nibble::cli
