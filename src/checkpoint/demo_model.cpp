// demo_model: the files of models/demo, which cmake/embed.cmake puts into an object of the assembler's. They are read
// where they lie in the program; nothing is written.
#include "base/in_quotes.h"
#include "checkpoint/checkpoint.h"

#include <cstring>

// What the object holds: a table of files, none when the source tree had no models/demo.
extern "C" {
struct NibbleDemoFile {
    const char* name;
    const std::byte* begin;
    const std::byte* end;
};
extern const NibbleDemoFile nibble_demo_files[];
extern const uint64_t nibble_demo_file_count;
}

namespace nibble::checkpoint {
namespace {

std::vector<EmbeddedFile> demo_files() {
    std::vector<EmbeddedFile> files;
    for (uint64_t i = 0; i < nibble_demo_file_count; ++i) {
        const NibbleDemoFile& file = nibble_demo_files[i];
        files.push_back({.name = file.name, .bytes = {file.begin, file.end}});
    }
    return files;
}

}  // namespace

Result<Folder> demo_model() {
    static const std::vector<EmbeddedFile> files = demo_files();
    if (files.empty())
        return error(ErrorCode::not_found,
                     "model {}: this program was built without the demo model (models/demo was not in its source "
                     "tree); give a folder (./demo for one of that name), or org/name in the Hugging Face cache",
                     in_quotes(kDemoModel));
    return Folder::embedded(std::string(kDemoModel), files);
}

}  // namespace nibble::checkpoint
