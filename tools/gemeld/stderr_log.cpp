// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/stderr_log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

namespace gemel {

namespace {

class StderrLog final : public LogSink {
   public:
    StderrLog(bool debug, bool journal)
        : logger_("gemeld", std::make_shared<spdlog::sinks::stderr_sink_mt>()), journal_(journal) {
        logger_.set_level(debug ? spdlog::level::debug : spdlog::level::info);
        // The journal has the time and the level itself.
        logger_.set_pattern(journal ? "%v" : "%Y-%m-%d %H:%M:%S.%e %-7l %v");
        logger_.flush_on(spdlog::level::debug);
    }

    void log(LogLevel level, std::string_view text) noexcept override {
        const spdlog::level::level_enum spd = level_of(level);
        if (!logger_.should_log(spd)) return;
        if (journal_) {
            logger_.log(spd, "<{}>{}", priority_of(level), text);
        } else {
            logger_.log(spd, "{}", text);
        }
    }

   private:
    static spdlog::level::level_enum level_of(LogLevel level) noexcept {
        switch (level) {
            case LogLevel::debug:
                return spdlog::level::debug;
            case LogLevel::info:
                return spdlog::level::info;
            case LogLevel::warning:
                return spdlog::level::warn;
            case LogLevel::error:
                return spdlog::level::err;
        }
        return spdlog::level::err;
    }
    // syslog(3)
    static int priority_of(LogLevel level) noexcept {
        switch (level) {
            case LogLevel::debug:
                return 7;
            case LogLevel::info:
                return 6;
            case LogLevel::warning:
                return 4;
            case LogLevel::error:
                return 3;
        }
        return 3;
    }

    spdlog::logger logger_;
    bool journal_;
};

}  // namespace

std::unique_ptr<LogSink> make_stderr_log(bool debug) {
    return std::make_unique<StderrLog>(debug, std::getenv("JOURNAL_STREAM") != nullptr);
}

}  // namespace gemel
