// A survey tells everything that is wrong with a folder, and what can be known of it all the same.
#include "cli/checkpoint_survey.h"

#include "base/temporary_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const fs::path kGolden = fs::path(NIBBLE_SOURCE_DIR) / "tests/golden";

std::string read(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

// A golden checkpoint's files, to be changed.
class Copy {
public:
    explicit Copy(const char* golden) {
        for (const auto& entry : fs::directory_iterator(kGolden / golden))
            if (entry.is_regular_file()) fs::copy_file(entry.path(), folder_.path() / entry.path().filename());
    }
    fs::path operator/(const char* name) const { return folder_.path() / name; }
    CheckpointSurvey survey() const {
        auto survey = survey_checkpoint(folder_.path());
        EXPECT_TRUE(survey) << survey.error().message;
        return *std::move(survey);
    }
    void replace(const char* name, const std::string& from, const std::string& to) const {
        std::string text = read(*this / name);
        const size_t at = text.find(from);
        ASSERT_NE(at, std::string::npos) << from;
        std::ofstream(*this / name, std::ios::binary) << text.replace(at, from.size(), to);
    }

private:
    TemporaryFolder folder_;
};

TEST(CheckpointSurvey, FindsNothingInAHealthyFolder) {
    for (const char* golden :
         {"nano-nvfp4", "lightning-mixed", "llama-fp8", "llama-nvfp4", "mistral-fp8", "qwen2-f16"}) {
        const auto survey = survey_checkpoint(kGolden / golden);
        ASSERT_TRUE(survey) << survey.error().message;
        EXPECT_TRUE(survey->findings.empty()) << golden << ": " << survey->findings.front().message;
        EXPECT_TRUE(survey->assumptions.empty()) << golden;
        EXPECT_EQ(survey->basis, CheckpointSurvey::Basis::tensors);
        EXPECT_GT(survey->matrices, 10u);
        EXPECT_EQ(survey->matrices, survey->matrices_as_claimed) << golden;
        uint64_t tensors = 0, bytes = 0;
        for (const auto& [name, module] : survey->modules) {
            tensors += module.tensors;
            bytes += module.bytes;
        }
        EXPECT_EQ(tensors, survey->tensors);
        EXPECT_EQ(bytes, survey->bytes);
    }
}

TEST(CheckpointSurvey, NamesWhereTensorsAndConfigDisagreeOnceAKind) {
    const Copy copy("nano-nvfp4");
    std::ofstream(copy / "hf_quant_config.json")
        << R"({"quantization":{"quant_algo":"NVFP4","exclude_modules":["backbone.layers.*.mixer.experts.*"]}})";
    const CheckpointSurvey survey = copy.survey();
    ASSERT_TRUE(survey.checkpoint);
    EXPECT_LT(survey.matrices_as_claimed, survey.matrices);
    size_t errors = 0, warnings = 0;
    for (const Finding& finding : survey.findings) {
        if (finding.severity == Finding::Severity::warning) {
            ++warnings;
            continue;
        }
        ++errors;
        EXPECT_EQ(finding.code, ErrorCode::model_invalid);
        EXPECT_THAT(finding.message,
                    AllOf(HasSubstr("is NVFP4 by its tensors"), HasSubstr("hf_quant_config.json: exclude_modules[0]"),
                          HasSubstr("more like it")));
    }
    EXPECT_EQ(errors, 2u);    // up_proj and down_proj of the experts
    EXPECT_GE(warnings, 1u);  // what the published file excluded is plain
}

TEST(CheckpointSurvey, AnUnknownAlgorithmLeavesTheTensorsToTell) {
    const Copy copy("nano-nvfp4");
    copy.replace("hf_quant_config.json", "\"NVFP4\"", "\"NVFP5\"");
    const CheckpointSurvey survey = copy.survey();
    ASSERT_EQ(survey.findings.size(), 1u);
    EXPECT_EQ(survey.findings[0].code, ErrorCode::unsupported);
    EXPECT_THAT(survey.findings[0].message,
                AllOf(HasSubstr("hf_quant_config.json"), HasSubstr("quant_algo"), HasSubstr("NVFP5")));
    EXPECT_EQ(survey.basis, CheckpointSurvey::Basis::tensors);
    EXPECT_GT(survey.matrices, 10u);
    EXPECT_FALSE(survey.assumptions.empty());
}

TEST(CheckpointSurvey, AMissingIndexLeavesTheConfigToTell) {
    const Copy copy("nano-nvfp4");
    fs::remove(copy / "model.safetensors.index.json");
    const CheckpointSurvey survey = copy.survey();
    ASSERT_EQ(survey.findings.size(), 1u);
    EXPECT_THAT(survey.findings[0].message, HasSubstr("model.safetensors.index.json"));
    EXPECT_EQ(survey.basis, CheckpointSurvey::Basis::config);
    EXPECT_THAT(survey.assumptions.front(), HasSubstr("left aside"));
}

TEST(CheckpointSurvey, AnIndexWithoutItsFilesGivesNamesAndNumbers) {
    const Copy copy("nano-nvfp4");
    const CheckpointSurvey whole = copy.survey();
    for (const auto& file : fs::directory_iterator(copy / ""))
        if (file.path().extension() == ".safetensors") fs::remove(file.path());
    const CheckpointSurvey survey = copy.survey();
    EXPECT_TRUE(survey.findings.empty());
    EXPECT_EQ(survey.basis, CheckpointSurvey::Basis::index);
    EXPECT_EQ(survey.tensors, whole.tensors);
    EXPECT_EQ(survey.bytes, whole.bytes);
    EXPECT_EQ(survey.modules.size(), whole.modules.size());
    EXPECT_THAT(survey.assumptions.front(), HasSubstr("the files that the index names are not here"));
}

TEST(CheckpointSurvey, NoFolderIsAnErrorAndABrokenConfigAFinding) {
    const auto none = survey_checkpoint("/nonexistent");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ErrorCode::not_found);
    const TemporaryFolder folder;
    std::ofstream(folder.path() / "config.json") << "{";
    const auto broken = survey_checkpoint(folder.path());
    ASSERT_TRUE(broken);
    EXPECT_FALSE(broken->checkpoint);
    ASSERT_EQ(broken->findings.size(), 1u);
    EXPECT_THAT(broken->findings[0].message, HasSubstr("config.json"));
}

TEST(CheckpointSurvey, AlikeNamesDifferInNumbersAlone) {
    EXPECT_EQ(alike("backbone.layers.12.mixer.experts.7.up_proj"), "backbone.layers.*.mixer.experts.*.up_proj");
    EXPECT_EQ(alike("lm_head"), "lm_head");
    EXPECT_EQ(alike("a.b2.3c.4"), "a.b2.3c.*");
    EXPECT_EQ(alike(""), "");
}

}  // namespace
}  // namespace nibble::cli
