// SPDX-License-Identifier: Apache-2.0
// A daemon that has a real control socket in a directory of its own and mirrors of our invention.
#pragma once

#include "controller/control_server.hpp"
#include "controller/event_log.hpp"
#include "tests/unit/io/loop_thread.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <stdlib.h>
#include <string>
#include <utility>
#include <vector>

namespace gemel {

class TemporaryDirectory {
   public:
    TemporaryDirectory() {
        std::string pattern = testing::TempDir() + "gemelXXXXXX";
        path_ = mkdtemp(pattern.data());
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

   private:
    std::string path_;
};

// Two mirrors: db is primary, vm1 is alone with a resync under way.
inline NodeStatus invented_status() {
    NodeStatus status{"shop", "alpha", "0.1.0", {}};
    MirrorStatus db;
    db.name = "db";
    db.state = MirrorState::primary;
    db.since = {1'795'344'000, 125'000'000};
    db.epoch = 7;
    db.in_sync = {"alpha", "beta"};
    db.peer = {"beta",
               MirrorState::secondary,
               true,
               {{"10.0.0.2:7800", true, 210}, {"192.168.7.2:7800", false, std::nullopt}}};
    db.volumes = {{"directory", "0", "/srv/db", "write", 0, 0, std::nullopt}};
    db.application = {"running", {1'795'344'010, 0}};
    db.virtual_ip = {{"10.0.0.50/24", true}};
    MirrorStatus vm;
    vm.name = "vm1";
    vm.state = MirrorState::alone;
    vm.since = {1'795'347'600, 0};
    vm.reason = "beta was silent on every link for 1s";
    vm.epoch = 12;
    vm.in_sync = {"alpha"};
    vm.peer = {"beta", MirrorState::resync, true, {{"10.0.0.2:7800", true, 190}}};
    vm.volumes = {{"directory", "0", "/srv/vm1", "write", 1'288'490'188, 532,
                   ResyncStatus{1'288'490'188, 2'469'606'195, 115'343'360, 10}}};
    status.mirrors = {db, vm};
    return status;
}

class FakeDaemon final : public ControlApi {
   public:
    FakeDaemon() {
        thread_.run([this] {
            server_.emplace(thread_.loop(), *this, events_);
            std::string sentence;
            GEMEL_ASSERT(server_->start(directory_.path(), sentence).ok());
        });
    }
    // Not virtual: ControlApi is never destroyed through its base.
    ~FakeDaemon() {
        thread_.run([this] { server_.reset(); });
    }

    NodeStatus status() override { return status_; }
    void command(const ControlCommand& command, std::function<void(ControlReply)> reply) override {
        commands_.push_back(command);
        if (answer_) {
            reply(answer_(command));
        } else {
            unanswered_.push_back(std::move(reply));
        }
    }

    [[nodiscard]] const std::string& run_directory() const { return directory_.path(); }
    // On the loop's thread.
    void run(const std::function<void()>& task) { thread_.run(task); }
    void set_state(std::size_t mirror, MirrorState state) {
        run([&] {
            status_.mirrors[mirror].state = state;
            events_.add({}, status_.mirrors[mirror].name, "state",
                        std::string(mirror_state_name(state)));
        });
    }
    void answer_with(std::function<ControlReply(const ControlCommand&)> answer) {
        run([&] { answer_ = std::move(answer); });
    }
    [[nodiscard]] std::vector<ControlCommand> commands() {
        std::vector<ControlCommand> copy;
        run([&] { copy = commands_; });
        return copy;
    }

    // Of the loop's thread.
    NodeStatus status_ = invented_status();
    EventLog events_;
    std::optional<ControlServer> server_;
    std::vector<std::function<void(ControlReply)>> unanswered_;

   private:
    TemporaryDirectory directory_;
    std::vector<ControlCommand> commands_;
    std::function<ControlReply(const ControlCommand&)> answer_ = [](const ControlCommand&) {
        return ControlReply::done();
    };
    LoopThread thread_;
};

}  // namespace gemel
