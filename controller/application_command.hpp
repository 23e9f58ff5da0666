// SPDX-License-Identifier: Apache-2.0
// One `/bin/sh -c` command with a time limit, in a session and process group of its own, watched
// by a thread: its end, its output, and the end of its group when that is asked for.
//
// The leader of the group stays a zombie while others of the group live, so that its number, by
// which the group is signalled, cannot become somebody else's.
#pragma once

#include "controller/application.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>
#include <thread>
#include <utility>
#include <vector>

namespace gemel {

class CommandRun {
   public:
    struct Options {
        std::string command;
        std::string label;  // "db: start", before each line of output
        std::vector<std::pair<std::string, std::string>> environment;  // added to our own
        Duration timeout;
        Duration term_grace;  // from SIGTERM to SIGKILL when the time is over
    };
    using Done = std::function<void(const CommandOutcome&)>;

    // Starts it. `done` is called once, on another thread, when the command itself has ended;
    // what it left running in its group goes on, and so does its output.
    CommandRun(const Options& options, LogSink& log, Done done);
    // Leaves the processes alone. No callback is called any more.
    ~CommandRun();
    CommandRun(const CommandRun&) = delete;
    CommandRun& operator=(const CommandRun&) = delete;

    // Ends the command and its group: SIGTERM, after `limit` SIGKILL. `gone` is called once, on
    // another thread or inside the call, when nobody of the group is left; false: had to be killed.
    // Requires: not called before.
    void terminate(Duration limit, std::function<void(bool in_time)> gone);

   private:
    using Clock = std::chrono::steady_clock;
    enum class Phase : std::uint8_t { running, left_over, terminating, killing };

    void watch();
    bool spawn();
    void wait_for_something();
    void read_output();
    void log_lines(bool is_end);
    void note_exit();
    void take_request();
    void begin_termination(Clock::duration limit);
    void step_termination();
    void signal_group(int signal) const;
    void finish_outcome(CommandOutcome outcome);
    [[nodiscard]] bool is_over();
    void reap();

    Options options_;
    LogSink& log_;
    Done done_;

    // Of the watching thread.
    pid_t leader_ = -1;
    int leader_fd_ = -1;  // pidfd; closed after the leader's end has been noted
    int output_ = -1;     // read end of the pipe; closed at its end
    bool is_reaped_ = true;
    bool timed_out_ = false;
    Phase phase_ = Phase::running;
    Clock::time_point deadline_ = Clock::time_point::max();
    std::string line_;
    std::function<void(bool)> gone_;
    bool was_in_time_ = true;

    struct Request {
        Duration limit;
        std::function<void(bool)> gone;
    };
    std::mutex mutex_;
    std::optional<Request> request_;  // guarded
    bool is_finished_ = false;        // guarded: the thread takes no more requests
    std::atomic<bool> is_abandoned_{false};
    int wake_ = -1;  // eventfd
    std::thread thread_;
};

// Whether a process of the group lives, zombies apart. Reads /proc.
bool process_group_is_alive(pid_t group);

}  // namespace gemel
