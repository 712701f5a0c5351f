#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace nibble {
inline namespace base {
namespace {
std::string (*describe_context)() = nullptr;
}

void set_crash_context(std::string (*describe)()) {
    describe_context = describe;
}

void check_failed(const char* condition, std::source_location where, const std::string& message) {
    std::fprintf(stderr, "nibble: CHECK(%s) failed at %s:%u in %s%s%s\n", condition, where.file_name(), where.line(),
                 where.function_name(), message.empty() ? "" : ": ", message.c_str());
    if (describe_context) {
        auto describe = std::exchange(describe_context, nullptr);  // a CHECK inside must not come back here
        std::fprintf(stderr, "%s\n", describe().c_str());
    }
    std::abort();
}

}  // namespace base
}  // namespace nibble
