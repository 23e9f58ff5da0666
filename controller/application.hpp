// SPDX-License-Identifier: Apache-2.0
// The application of a mirror: its `start` and `stop` commands, and the end of whoever still holds
// the volume (protocol.md 4). Commands run as `/bin/sh -c COMMAND` in a session and process group
// of their own, with standard input from /dev/null and output lines in the log.
//
// Serving does not end by any of this: it has ended when the FUSE connection is aborted.
#pragma once

#include "engine/base/log.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"
#include "engine/io/loop.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel {

enum class ApplicationState : std::uint8_t {
    none,  // neither `start` nor `stop` is configured
    stopped,
    starting,
    running,  // the start command has ended with status 0
    stopping,
    failed,  // the last command failed or took too long
};
std::string_view application_state_name(ApplicationState state) noexcept;

// How a command ended.
struct CommandOutcome {
    bool ok = false;
    std::string sentence;  // "ended with status 3", "did not end within 30 s and was killed"
};

// Who held a volume.
struct KillReport {
    std::vector<std::string> killed;     // "postgres (4711)"
    std::vector<std::string> remaining;  // still there after the last attempt
};

// All calls and callbacks on the loop; callbacks come exactly once, never inside the call, and not
// after the application has been destroyed.
class Application {
   public:
    virtual ~Application() = default;

    // Runs the start command; at once ok when there is none. Requires: no command is running.
    virtual void start(std::function<void(const CommandOutcome&)> done) = 0;
    // Runs the stop command. With none configured, or after it, what is left of the start command's
    // process group gets SIGTERM and, when its time is over, SIGKILL.
    // A start command that is still running is ended first; its callback says so.
    virtual void stop(std::function<void(const CommandOutcome&)> done) = 0;
    // Kills (SIGKILL) every process, except this one, that has a descriptor, mapping, working or
    // root directory on one of the FUSE mounts at `mount_points`. Sends no request to them, so it
    // may be used while requests are held. Looks again until nobody is left, at most 5 s.
    virtual void kill_users(std::vector<std::string> mount_points,
                            std::function<void(const KillReport&)> done) = 0;

    [[nodiscard]] virtual ApplicationState state() const noexcept = 0;
    [[nodiscard]] virtual WallTime since() const noexcept = 0;
};

struct ApplicationOptions {
    std::string mirror;  // in log lines and in the environment as GEMEL_MIRROR
    std::string node;    // GEMEL_NODE
    std::string start;   // empty: none
    std::string stop;
    Duration start_timeout = Duration::seconds(60);
    Duration stop_timeout = Duration::seconds(60);
    // Between SIGTERM and SIGKILL of a command that took too long.
    Duration term_grace = Duration::seconds(5);
};

// The real one. Each command that runs has a thread that waits for it.
// Requires: `loop` and `log` outlive it, and `log` may be called from any thread.
// Destroying it leaves the processes of a running application alone.
std::unique_ptr<Application> make_application(Loop& loop, LogSink& log,
                                              const ApplicationOptions& options);

}  // namespace gemel
