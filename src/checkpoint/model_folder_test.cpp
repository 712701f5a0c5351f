#include "base/temporary_folder.h"
#include "checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

namespace nibble::checkpoint {
namespace {

using testing::HasSubstr;

constexpr const char* kVariables[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};

// The environment of one test, put back at its end.
class ModelFolder : public testing::Test {
protected:
    void SetUp() override {
        for (const char* name : kVariables) {
            const char* value = std::getenv(name);
            before_[name] = value ? std::optional<std::string>(value) : std::nullopt;
            unsetenv(name);
        }
    }
    void TearDown() override {
        for (const auto& [name, value] : before_)
            value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
    }
    void set(const char* name, const std::filesystem::path& value) { setenv(name, value.c_str(), 1); }

    // Writes one cached repository: blobs, a snapshot of links, a ref.
    void write_repository(const std::string& hub, const std::string& repository, const std::string& commit,
                          const std::string& ref) {
        folder_.write(hub + "/" + repository + "/blobs/abc", "{}");
        const auto snapshot = folder_ / (hub + "/" + repository + "/snapshots/" + commit);
        std::filesystem::create_directories(snapshot);
        std::filesystem::create_symlink("../../blobs/abc", snapshot / "config.json");
        if (!ref.empty()) folder_.write(hub + "/" + repository + "/refs/" + ref, commit);
    }

    TemporaryFolder folder_;
    std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(ModelFolder, AFolderIsItself) {
    EXPECT_EQ(find_model_folder(folder_.path().string())->path(), folder_.path());
    const auto file = find_model_folder(folder_.write("config.json", "{}").string());
    ASSERT_FALSE(file);
    EXPECT_THAT(file.error().message, HasSubstr("give the folder"));
}

TEST_F(ModelFolder, DemoIsTheOneThatIsCompiledIn) {
    const auto demo = find_model_folder("demo");
    if (!demo) {
        EXPECT_EQ(demo.error().code, ErrorCode::not_found);
        EXPECT_THAT(demo.error().message, HasSubstr("built without"));
        GTEST_SKIP() << "this build has no models/demo";
    }
    EXPECT_TRUE(demo->is_embedded());
    const auto checkpoint = Checkpoint::open(*demo);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->config().file(), "demo:config.json");
    ASSERT_FALSE((*checkpoint)->tensors().empty());
    std::vector<std::byte> last((*checkpoint)->tensors().back().bytes);
    EXPECT_TRUE((*checkpoint)->read((*checkpoint)->tensors().back(), 0, last));
}

TEST_F(ModelFolder, TheCacheIsFoundByItsVariablesInOrder) {
    const std::string repository = "models--nvidia--Tiny-1.0";
    write_repository("a", repository, "c1", "main");
    write_repository("b/hub", repository, "c2", "main");
    write_repository("c/huggingface/hub", repository, "c3", "main");
    write_repository("d/.cache/huggingface/hub", repository, "c4", "main");
    const auto found = [&] {
        auto model = find_model_folder("nvidia/Tiny-1.0");
        return model ? model->name() : model.error().message;
    };
    EXPECT_THAT(found(), HasSubstr("no Hugging Face cache"));
    set("HOME", folder_ / "d");
    EXPECT_EQ(found(), "c4");
    set("XDG_CACHE_HOME", folder_ / "c");
    EXPECT_EQ(found(), "c3");
    set("HF_HOME", folder_ / "b");
    EXPECT_EQ(found(), "c2");
    set("HF_HUB_CACHE", folder_ / "a");
    EXPECT_EQ(found(), "c1");
    set("HF_HUB_CACHE", folder_ / "nowhere");
    EXPECT_THAT(found(), HasSubstr("nowhere/models--nvidia--Tiny-1.0 in the Hugging Face cache"));
}

TEST_F(ModelFolder, RevisionsAreBranchesPullRequestsAndCommits) {
    set("HF_HUB_CACHE", folder_ / "hub");
    write_repository("hub", "models--o--m", "0123abc", "main");
    write_repository("hub", "models--o--m", "fedc", "refs/pr/1");
    write_repository("hub", "models--o--m", "aaaa", "release/2");
    const auto name = [](std::string_view model) {
        auto found = find_model_folder(model);
        return found ? found->name() : found.error().message;
    };
    EXPECT_EQ(name("o/m"), "0123abc");
    EXPECT_EQ(name("o/m@main"), "0123abc");
    EXPECT_EQ(name("o/m@fedc"), "fedc");
    EXPECT_EQ(name("o/m@refs/pr/1"), "fedc");
    EXPECT_EQ(name("o/m@release/2"), "aaaa");
    EXPECT_THAT(name("o/m@other"), HasSubstr("no complete snapshot of revision 'other'"));
}

TEST_F(ModelFolder, OneSnapshotWithoutARefIsTaken) {
    set("HF_HUB_CACHE", folder_ / "hub");
    write_repository("hub", "models--o--m", "0123abc", "");
    EXPECT_EQ(find_model_folder("o/m")->name(), "0123abc");
    write_repository("hub", "models--o--m", "4567", "");
    EXPECT_FALSE(find_model_folder("o/m"));
}

TEST_F(ModelFolder, NoNameLeavesTheCache) {
    set("HF_HUB_CACHE", folder_ / "hub");
    write_repository("hub", "models--o--m", "0123abc", "main");
    folder_.write("hub/models--o--m/refs/evil", "../../../..");
    folder_.write("hub/models--o--m/refs/absolute", "/");
    folder_.write("hub/models--o--m/refs/empty", "");
    for (const std::string_view model : std::initializer_list<std::string_view>{
             "", "o/m@evil", "o/m@absolute", "o/m@empty", "o/m@..", "o/m@../x", "o/m@/etc", "o/m@", "o/../m", "../m",
             "o/m/n", "o//m", "/o/m/nowhere", std::string_view("o/m\0", 4), "o m/x", "o/m@a@b"}) {
        const auto found = find_model_folder(model);
        EXPECT_FALSE(found) << model << " -> " << found->string();
        if (!found) {
            EXPECT_EQ(found.error().code, ErrorCode::not_found) << model;
        }
    }
    EXPECT_TRUE(find_model_folder("o/m"));
}

TEST_F(ModelFolder, ACachedCheckpointOpensThroughItsLinks) {
    set("HF_HUB_CACHE", folder_ / "hub");
    write_repository("hub", "models--o--m", "0123abc", "main");
    const auto checkpoint = Checkpoint::open(*find_model_folder("o/m"), {.headers_only = true});
    EXPECT_TRUE(checkpoint);
}

}  // namespace
}  // namespace nibble::checkpoint
