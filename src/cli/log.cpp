#include "cli/log.h"

#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include <chrono>

namespace nibble::cli {
namespace {

constexpr size_t kQueue_lines = 8192;

std::string iso_time() {
    const auto now = std::chrono::system_clock::now();
    const auto seconds = std::chrono::system_clock::to_time_t(now);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                       utc.tm_hour, utc.tm_min, utc.tm_sec, ms);
}

}  // namespace

struct Log::State {
    Format format;
    std::shared_ptr<spdlog::details::thread_pool> pool;
    std::shared_ptr<spdlog::async_logger> logger;

    void write(std::string_view level, std::string_view message, bool plain) {
        std::string text;
        if (format == Format::jsonl) {
            const nlohmann::ordered_json json = {{"time", iso_time()}, {"level", level}, {"message", message}};
            text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
        } else if (plain) {
            text = message;
        } else {
            text = fmt::format("{} {}{}", iso_time(), level == "info" ? "" : fmt::format("{}: ", level), message);
        }
        while (!text.empty() && text.back() == '\n') text.pop_back();
        logger->info(text);
    }
};

Log::Log(Format format) : state_(std::make_unique<State>()) {
    state_->format = format;
    state_->pool = std::make_shared<spdlog::details::thread_pool>(kQueue_lines, 1);
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_pattern("%v");
    state_->logger = std::make_shared<spdlog::async_logger>("nibble", std::move(sink), state_->pool,
                                                            spdlog::async_overflow_policy::overrun_oldest);
}

Log::~Log() {
    flush();
}

void Log::line(std::string_view message) {
    state_->write("info", message, false);
}
void Log::warning(std::string_view message) {
    state_->write("warning", message, false);
}
void Log::say(std::string_view text) {
    state_->write("info", text, true);
}
void Log::flush() {
    state_->logger->flush();
}

}  // namespace nibble::cli
