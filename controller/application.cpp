// SPDX-License-Identifier: Apache-2.0
#include "controller/application.hpp"

#include "controller/application_command.hpp"
#include "controller/application_users.hpp"
#include "engine/base/assert.hpp"

#include <fstream>
#include <sstream>
#include <utility>

namespace gemel {
namespace {

constexpr Duration kKillLimit = Duration::seconds(5);

using OutcomeCallback = std::function<void(const CommandOutcome&)>;
using KillCallback = std::function<void(const KillReport&)>;

// Exists as long as the application does: what comes from other threads looks whether it still
// does, on the loop, before it touches it.
struct Alive {};

class KillJob final : public Job {
   public:
    KillJob(std::vector<std::string> mount_points, KillCallback callback,
            std::weak_ptr<Alive> alive)
        : mount_points_(std::move(mount_points)),
          callback_(std::move(callback)),
          alive_(std::move(alive)) {}

    void run() noexcept override {
        std::ifstream input("/proc/self/mountinfo");
        std::ostringstream text;
        text << input.rdbuf();
        report_ = kill_users_of(fuse_mount_devices(text.str(), mount_points_), kKillLimit);
    }
    void done() noexcept override {
        const std::unique_ptr<KillJob> self(this);
        if (!alive_.expired()) callback_(report_);
    }

   private:
    std::vector<std::string> mount_points_;
    KillCallback callback_;
    std::weak_ptr<Alive> alive_;
    KillReport report_;
};

class ShellApplication final : public Application {
   public:
    ShellApplication(Loop& loop, LogSink& log, const ApplicationOptions& options)
        : loop_(loop), log_(log), options_(options), since_(loop.wall_time()) {
        if (!options.start.empty() || !options.stop.empty()) state_ = ApplicationState::stopped;
    }

    void start(OutcomeCallback done) override;
    void stop(OutcomeCallback done) override;
    void kill_users(std::vector<std::string> mount_points, KillCallback done) override;
    [[nodiscard]] ApplicationState state() const noexcept override { return state_; }
    [[nodiscard]] WallTime since() const noexcept override { return since_; }

   private:
    std::unique_ptr<CommandRun> run(const char* what, const std::string& command, Duration timeout,
                                    OutcomeCallback done);
    void run_stop_command();
    // Calls `then` when nobody of the start command's group is left.
    void end_start_group(std::function<void()> then);
    void finish_stop();
    void set_state(ApplicationState state);
    // Has `task` run on the loop, later, if this still exists then.
    void later(std::function<void()> task);

    Loop& loop_;
    LogSink& log_;
    ApplicationOptions options_;
    ApplicationState state_ = ApplicationState::none;
    WallTime since_;
    std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
    OutcomeCallback start_done_;  // set while the start command runs
    OutcomeCallback stop_done_;   // set while it is being stopped
    CommandOutcome stop_outcome_;
    // The runs last: their threads must end before what they use.
    std::unique_ptr<CommandRun> start_run_;
    std::unique_ptr<CommandRun> stop_run_;
};

void ShellApplication::later(std::function<void()> task) {
    loop_.run_from_any_thread([alive = std::weak_ptr<Alive>(alive_), task = std::move(task)] {
        if (!alive.expired()) task();
    });
}

void ShellApplication::set_state(ApplicationState state) {
    // Without commands there is nothing to be in a state.
    if (state_ == ApplicationState::none || state == state_) return;
    state_ = state;
    since_ = loop_.wall_time();
}

std::unique_ptr<CommandRun> ShellApplication::run(const char* what, const std::string& command,
                                                  Duration timeout, OutcomeCallback done) {
    CommandRun::Options options;
    options.command = command;
    options.label = options_.mirror + ": " + what;
    options.environment = {{"GEMEL_MIRROR", options_.mirror}, {"GEMEL_NODE", options_.node}};
    options.timeout = timeout;
    options.term_grace = options_.term_grace;
    return std::make_unique<CommandRun>(
        options, log_, [this, done = std::move(done)](const CommandOutcome& outcome) {
            later([done, outcome] { done(outcome); });
        });
}

void ShellApplication::start(OutcomeCallback done) {
    GEMEL_ASSERT(!start_done_ && !stop_done_);
    start_done_ = std::move(done);
    set_state(ApplicationState::starting);
    const auto finish = [this](const CommandOutcome& outcome) {
        // A stop that came meanwhile has its own state.
        if (!stop_done_) {
            set_state(outcome.ok ? ApplicationState::running : ApplicationState::failed);
        }
        std::exchange(start_done_, nullptr)(outcome);
    };
    if (options_.start.empty()) {
        later([finish] { finish({true, "there is no start command"}); });
        return;
    }
    start_run_ = run("start", options_.start, options_.start_timeout, finish);
}

void ShellApplication::stop(OutcomeCallback done) {
    GEMEL_ASSERT(!stop_done_);
    stop_done_ = std::move(done);
    set_state(ApplicationState::stopping);
    stop_outcome_ = {true, "there is no stop command"};
    // A start command that still runs is ended before the stop command begins.
    if (start_done_ && start_run_) {
        end_start_group([this] { run_stop_command(); });
    } else {
        run_stop_command();
    }
}

void ShellApplication::end_start_group(std::function<void()> then) {
    if (!start_run_) return then();
    start_run_->terminate(options_.stop_timeout, [this, then = std::move(then)](bool in_time) {
        later([this, then, in_time] {
            start_run_.reset();
            if (!in_time) {
                stop_outcome_ = {false,
                                 "what the start command had left running did not end in "
                                 "time and was killed"};
            }
            then();
        });
    });
}

void ShellApplication::run_stop_command() {
    if (options_.stop.empty()) return end_start_group([this] { finish_stop(); });
    stop_run_ =
        run("stop", options_.stop, options_.stop_timeout, [this](const CommandOutcome& outcome) {
            if (stop_outcome_.ok || !outcome.ok) stop_outcome_ = outcome;
            end_start_group([this] { finish_stop(); });
        });
}

void ShellApplication::finish_stop() {
    later([this] {
        stop_run_.reset();
        set_state(stop_outcome_.ok ? ApplicationState::stopped : ApplicationState::failed);
        std::exchange(stop_done_, nullptr)(stop_outcome_);
    });
}

void ShellApplication::kill_users(std::vector<std::string> mount_points, KillCallback done) {
    // The job deletes itself.
    loop_.offload(*new KillJob(std::move(mount_points), std::move(done), alive_));
}

}  // namespace

std::string_view application_state_name(ApplicationState state) noexcept {
    switch (state) {
        case ApplicationState::none:
            return "none";
        case ApplicationState::stopped:
            return "stopped";
        case ApplicationState::starting:
            return "starting";
        case ApplicationState::running:
            return "running";
        case ApplicationState::stopping:
            return "stopping";
        case ApplicationState::failed:
            return "failed";
    }
    return "unknown";
}

std::unique_ptr<Application> make_application(Loop& loop, LogSink& log,
                                              const ApplicationOptions& options) {
    return std::make_unique<ShellApplication>(loop, log, options);
}

}  // namespace gemel
