// SPDX-License-Identifier: Apache-2.0
#include "controller/application_command.hpp"

#include "controller/duration.hpp"
#include "engine/base/assert.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace gemel {
namespace {

constexpr std::size_t kLineMax = 1000;
// The end of a group raises no event for others than its parents, so it is looked for.
constexpr std::chrono::milliseconds kLookInterval{20};

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& added) {
    std::vector<std::string> result;
    for (char** entry = environ; *entry != nullptr; ++entry) result.emplace_back(*entry);
    for (const auto& [name, value] : added) result.push_back(name + "=" + value);
    return result;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

// /bin/sh -c `command` in a new session, its output into `output`. Gives 0 or an errno.
int spawn_shell(const std::string& command, std::vector<std::string> environment, int output,
                pid_t& child) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::vector<std::string> arguments{"/bin/sh", "-c", command};
    const int error = posix_spawn(&child, "/bin/sh", &actions, &attributes,
                                  pointers_to(arguments).data(), pointers_to(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

CommandOutcome outcome_of(const siginfo_t& info) {
    if (info.si_code == CLD_EXITED && info.si_status == 0) return {true, "ended with status 0"};
    if (info.si_code == CLD_EXITED) {
        return {false, "ended with status " + std::to_string(info.si_status)};
    }
    return {false, "was killed by signal " + std::to_string(info.si_status) + " (" +
                       strsignal(info.si_status) + ")"};
}

}  // namespace

bool process_group_is_alive(pid_t group) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream input(entry.path() / "stat");
        std::string stat;
        std::getline(input, stat);
        // "4711 (a name) S 1 4711 ...": the name may hold anything, brackets too.
        const std::size_t end = stat.rfind(") ");
        char state = 0;
        int parent = 0;
        int other_group = 0;
        if (end == std::string::npos ||
            std::sscanf(stat.c_str() + end + 2, "%c %d %d", &state, &parent, &other_group) != 3) {
            continue;
        }
        if (other_group == group && state != 'Z' && state != 'X') return true;
    }
    return false;
}

CommandRun::CommandRun(const Options& options, LogSink& log, Done done)
    : options_(options),
      log_(log),
      done_(std::move(done)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    GEMEL_ASSERT(wake_ >= 0);
    thread_ = std::thread([this] { watch(); });
}

CommandRun::~CommandRun() {
    is_abandoned_ = true;
    eventfd_write(wake_, 1);
    thread_.join();
    reap();
    for (const int fd : {leader_fd_, output_, wake_}) {
        if (fd >= 0) close(fd);
    }
}

void CommandRun::terminate(Duration limit, std::function<void(bool)> gone) {
    {
        const std::lock_guard lock(mutex_);
        GEMEL_ASSERT(!request_);
        if (!is_finished_) {
            request_ = Request{limit, std::move(gone)};
            eventfd_write(wake_, 1);
            return;
        }
    }
    gone(true);
}

void CommandRun::watch() {
    if (spawn()) {
        deadline_ = Clock::now() + std::chrono::nanoseconds(options_.timeout.ns);
        while (!is_abandoned_ && !is_over()) {
            wait_for_something();
            read_output();
            note_exit();
            take_request();
            step_termination();
        }
        if (!is_abandoned_) reap();
    }
    std::optional<Request> late;
    {
        const std::lock_guard lock(mutex_);
        is_finished_ = true;
        late = std::move(request_);
        request_.reset();
    }
    if (is_abandoned_) return;
    if (gone_) gone_(was_in_time_);
    if (late) late->gone(true);
}

bool CommandRun::spawn() {
    int ends[2];
    int error = pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;
    if (error == 0) {
        error =
            spawn_shell(options_.command, environment_with(options_.environment), ends[1], leader_);
        close(ends[1]);
        output_ = ends[0];
        fcntl(output_, F_SETFL, O_NONBLOCK);
    }
    if (error == 0) {
        is_reaped_ = false;
        leader_fd_ = static_cast<int>(syscall(SYS_pidfd_open, leader_, 0));
        if (leader_fd_ >= 0) return true;
        error = errno;
        signal_group(SIGKILL);
        reap();
    }
    finish_outcome({false, std::string("could not be run: ") + std::strerror(error)});
    return false;
}

void CommandRun::wait_for_something() {
    pollfd watched[] = {{wake_, POLLIN, 0}, {leader_fd_, POLLIN, 0}, {output_, POLLIN, 0}};
    Clock::duration wait = Clock::duration::max();
    if (deadline_ != Clock::time_point::max()) wait = deadline_ - Clock::now();
    // Nobody tells when the last of a group ends.
    const bool has_to_look = phase_ == Phase::terminating || phase_ == Phase::killing;
    if (has_to_look) wait = std::min<Clock::duration>(wait, kLookInterval);
    int wait_ms = -1;
    if (wait != Clock::duration::max()) {
        // Rounded up: a wait that ends too early would spin.
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
        wait_ms = static_cast<int>(std::clamp<std::int64_t>(ms, 0, 1'000'000'000));
    }
    poll(watched, std::size(watched), wait_ms);
    eventfd_t ignored = 0;
    eventfd_read(wake_, &ignored);
}

void CommandRun::read_output() {
    char buffer[4096];
    while (output_ >= 0) {
        const ssize_t size = read(output_, buffer, sizeof buffer);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno == EAGAIN) return log_lines(false);
        if (size <= 0) {
            close(std::exchange(output_, -1));
            return log_lines(true);
        }
        line_.append(buffer, static_cast<std::size_t>(size));
        log_lines(false);
    }
}

void CommandRun::log_lines(bool is_end) {
    while (!line_.empty()) {
        std::size_t end = line_.find('\n');
        const bool is_whole = end != std::string::npos;
        if (!is_whole && !is_end && line_.size() < kLineMax) return;
        end = std::min({end, line_.size(), kLineMax});
        std::string text = line_.substr(0, end);
        line_.erase(0, is_whole && end < kLineMax ? end + 1 : end);
        std::replace_if(
            text.begin(), text.end(),
            [](char c) { return static_cast<unsigned char>(c) < ' ' && c != '\t'; }, '?');
        log_.log(LogLevel::info, options_.label + ": " + text);
    }
}

void CommandRun::note_exit() {
    if (leader_fd_ < 0) return;
    siginfo_t info{};
    const int result =
        waitid(P_PID, static_cast<id_t>(leader_), &info, WEXITED | WNOHANG | WNOWAIT);
    if (result != 0 || info.si_pid == 0) return;
    close(std::exchange(leader_fd_, -1));
    read_output();
    if (phase_ == Phase::running) {
        phase_ = Phase::left_over;
        deadline_ = Clock::time_point::max();
    }
    if (timed_out_) {
        const auto seconds = static_cast<std::uint64_t>(options_.timeout.ns / 1'000'000'000);
        finish_outcome(
            {false, "did not end within " +
                        (seconds > 0 ? format_age(seconds) : format_duration(options_.timeout)) +
                        " and was killed"});
    } else if (phase_ == Phase::terminating || phase_ == Phase::killing) {
        finish_outcome({false, "was ended before it had done its work"});
    } else {
        finish_outcome(outcome_of(info));
    }
}

void CommandRun::take_request() {
    const std::lock_guard lock(mutex_);
    if (!request_ || gone_) return;
    gone_ = std::move(request_->gone);
    const std::chrono::nanoseconds limit(request_->limit.ns);
    request_.reset();
    if (phase_ == Phase::running || phase_ == Phase::left_over) begin_termination(limit);
}

void CommandRun::begin_termination(Clock::duration limit) {
    phase_ = Phase::terminating;
    deadline_ = Clock::now() + limit;
    signal_group(SIGTERM);
}

void CommandRun::step_termination() {
    if (Clock::now() < deadline_) return;
    if (phase_ == Phase::running) {
        timed_out_ = true;
        begin_termination(std::chrono::nanoseconds(options_.term_grace.ns));
    } else if (phase_ == Phase::terminating) {
        phase_ = Phase::killing;
        was_in_time_ = false;
        deadline_ = Clock::time_point::max();
        signal_group(SIGKILL);
    }
}

bool CommandRun::is_over() {
    if (leader_fd_ >= 0) return false;
    {
        const std::lock_guard lock(mutex_);
        if (request_) return false;
    }
    // Whoever still holds the output may be of the group, or have left it and go on.
    if (phase_ == Phase::left_over && output_ >= 0) return false;
    return !process_group_is_alive(leader_);
}

void CommandRun::signal_group(int signal) const {
    GEMEL_ASSERT(leader_ > 1);
    if (!is_reaped_) kill(-leader_, signal);
}

void CommandRun::finish_outcome(CommandOutcome outcome) {
    if (is_abandoned_ || !done_) return;
    std::exchange(done_, nullptr)(outcome);
}

void CommandRun::reap() {
    if (is_reaped_) return;
    // While it runs nobody waits for it: it becomes init's with our own end.
    if (waitpid(leader_, nullptr, WNOHANG) != 0) is_reaped_ = true;
}

}  // namespace gemel
