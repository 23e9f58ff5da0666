// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/gemel_sim/workers.hpp"

#include "engine/base/probe.hpp"

#include <nlohmann/json.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace gemel::sim {

namespace {

using Json = nlohmann::json;

// Shared by all processes: which run is the next that nobody has begun.
struct Board {
    std::atomic<std::size_t> next{0};
};

// One line a message: {"run": i} as it begins, its outcome, in the end {"probes": ...}.
void tell(int pipe, const Json& message) {
    const std::string line = message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    std::size_t done = 0;
    while (done < line.size()) {
        const ssize_t written = ::write(pipe, line.data() + done, line.size() - done);
        if (written < 0 && errno != EINTR) std::_Exit(EXIT_FAILURE);
        if (written > 0) done += static_cast<std::size_t>(written);
    }
}

Json to_json(std::size_t index, const Outcome& outcome) {
    Json message;
    message["of"] = index;
    message["failure"] = outcome.failure;
    message["digest"] = outcome.digest;
    message["simulated"] = outcome.simulated_ns;
    message["faults"] = Json::array();
    for (const FaultKind kind : outcome.faults) message["faults"].push_back(static_cast<int>(kind));
    message["tallies"] = Json::array();
    for (const Tally& tally : outcome.tallies) {
        // The names are literals of this program, at the same place in each of its processes.
        message["tallies"].push_back(
            {reinterpret_cast<std::uintptr_t>(tally.what), tally.count, tally.least});
    }
    return message;
}

Outcome from_json(const Json& message) {
    Outcome outcome;
    outcome.failure = message["failure"];
    outcome.digest = message["digest"];
    outcome.simulated_ns = message["simulated"];
    for (const int kind : message["faults"]) outcome.faults.push_back(static_cast<FaultKind>(kind));
    for (const Json& tally : message["tallies"]) {
        outcome.tallies.push_back(
            {reinterpret_cast<const char*>(tally[0].get<std::uintptr_t>()), tally[1], tally[2]});
    }
    return outcome;
}

[[noreturn]] void work(const std::vector<SeedRun>& runs, Mutant mutant, unsigned stuck_after,
                       Board& board, int pipe) {
    for (std::size_t i = board.next++; i < runs.size(); i = board.next++) {
        tell(pipe, {{"run", i}});
        ::alarm(stuck_after);
        tell(pipe, to_json(i, run_seed(runs[i], mutant)));
    }
    ::alarm(0);
    Json probes = Json::object();
    for (const Probe* probe = Probe::first(); probe != nullptr; probe = probe->next()) {
        probes[probe->name()] = probe->hits();
    }
    tell(pipe, {{"probes", probes}});
    std::exit(EXIT_SUCCESS);
}

class Workers {
   public:
    Workers(const std::vector<SeedRun>& runs, Mutant mutant, unsigned stuck_after,
            const std::function<void(std::size_t, const Outcome&)>& on_outcome)
        : runs_(runs), mutant_(mutant), stuck_after_(stuck_after), on_outcome_(on_outcome) {
        void* place = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (place == MAP_FAILED) std::abort();
        board_ = new (place) Board;
    }
    ~Workers() { ::munmap(board_, sizeof(Board)); }
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    WorkersReport run(unsigned jobs) {
        for (unsigned i = 0; i < jobs; ++i) begin();
        while (!workers_.empty()) wait();
        return std::move(report_);
    }

   private:
    struct Worker {
        pid_t process = 0;
        int pipe = -1;
        std::string unread;
        bool is_running_seed = false;
        std::size_t index = 0;  // of that run
    };

    void begin() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
        std::fflush(nullptr);
        const pid_t process = ::fork();
        if (process < 0) std::abort();
        if (process == 0) {
            ::close(ends[0]);
            work(runs_, mutant_, stuck_after_, *board_, ends[1]);
        }
        ::close(ends[1]);
        Worker worker;
        worker.process = process;
        worker.pipe = ends[0];
        workers_.push_back(std::move(worker));
    }

    void wait() {
        std::vector<pollfd> polled;
        for (const Worker& worker : workers_) polled.push_back({worker.pipe, POLLIN, 0});
        ::poll(polled.data(), polled.size(), -1);
        for (std::size_t i = polled.size(); i-- > 0;) {
            if (polled[i].revents != 0) hear(i);
        }
    }

    void hear(std::size_t number) {
        Worker& worker = workers_[number];
        char buffer[65536];
        const ssize_t got = ::read(worker.pipe, buffer, sizeof buffer);
        if (got < 0) return;
        if (got == 0) return end(number);
        worker.unread.append(buffer, static_cast<std::size_t>(got));
        std::size_t begin = 0;
        for (std::size_t line = worker.unread.find('\n'); line != std::string::npos;
             line = worker.unread.find('\n', begin)) {
            take(worker, Json::parse(worker.unread.begin() + static_cast<std::ptrdiff_t>(begin),
                                     worker.unread.begin() + static_cast<std::ptrdiff_t>(line)));
            begin = line + 1;
        }
        worker.unread.erase(0, begin);
    }

    void take(Worker& worker, const Json& message) {
        if (message.contains("run")) {
            worker.index = message["run"];
            worker.is_running_seed = true;
        } else if (message.contains("of")) {
            worker.is_running_seed = false;
            on_outcome_(message["of"], from_json(message));
        } else {
            for (const auto& [name, hits] : message["probes"].items()) {
                report_.probes[name] += hits.get<std::uint64_t>();
            }
        }
    }

    // Its process is gone; when it was in the middle of a run, that run is a finding.
    void end(std::size_t number) {
        const Worker worker = std::move(workers_[number]);
        workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(number));
        ::close(worker.pipe);
        int status = 0;
        while (::waitpid(worker.process, &status, 0) < 0 && errno == EINTR) {
        }
        const bool is_good = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
        const std::string how = WIFSIGNALED(status)
                                    ? std::string("died: ") + strsignal(WTERMSIG(status))
                                    : "ended with " + std::to_string(WEXITSTATUS(status));
        if (!worker.is_running_seed) {
            // What a sanitizer has found at the end.
            if (!is_good) report_.complaints.push_back("a process of seeds " + how);
            return;
        }
        const bool is_stuck = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
        Outcome outcome;
        outcome.failure = is_stuck ? "the run does not end" : "its process " + how;
        on_outcome_(worker.index, outcome);
        if (board_->next < runs_.size()) begin();
    }

    const std::vector<SeedRun>& runs_;
    Mutant mutant_;
    unsigned stuck_after_;
    const std::function<void(std::size_t, const Outcome&)>& on_outcome_;
    Board* board_;
    std::vector<Worker> workers_;
    WorkersReport report_;
};

}  // namespace

WorkersReport run_in_workers(const std::vector<SeedRun>& runs, Mutant mutant, unsigned jobs,
                             unsigned stuck_after,
                             const std::function<void(std::size_t, const Outcome&)>& on_outcome) {
    return Workers(runs, mutant, stuck_after, on_outcome).run(jobs);
}

}  // namespace gemel::sim
