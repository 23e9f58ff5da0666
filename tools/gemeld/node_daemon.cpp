// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/node_daemon.hpp"

#include "ebpf/change_tracker.hpp"
#include "tools/gemeld/mirror_front_ends.hpp"
#include "tools/gemeld/service_notify.hpp"

#include <utility>

namespace gemel {

namespace {

LocalNode::Options node_options(Loop& loop, LogSink& log, const DaemonOptions& options) {
    LocalNode::Options node;
    node.node = options.node;
    node.state_directory = options.state_directory;
    node.run_directory = options.run_directory;
    node.make_front_end = [&loop, &log, &options](const MirrorConfig& mirror,
                                                  Application& application) {
        return std::make_unique<MirrorFrontEnds>(
            loop, log, mirror, application,
            MirrorFrontEnds::Place{options.state_directory, options.run_directory});
    };
    node.open_changes = [&loop, &log,
                         &options](std::string& why) -> Result<std::unique_ptr<ChangeSource>> {
        ChangeTracker::Options tracker;
        tracker.pin_directory = options.run_directory + "/bpf";
        tracker.boot = loop.boot_id();
        tracker.now = loop.wall_time();
        auto opened = ChangeTracker::open(log, tracker, why);
        if (!opened.ok()) return opened.status();
        return std::unique_ptr<ChangeSource>(std::move(opened).value());
    };
    return node;
}

}  // namespace

NodeDaemon::NodeDaemon(UringLoop& loop, LogSink& log, const Config& config,
                       const DaemonOptions& options)
    : loop_(loop), log_(log), node_(loop, log, config, node_options(loop, log, options)) {}

bool NodeDaemon::start(std::string& why) {
    signals_ = SignalWatch::create(loop_, [this] { begin_stop(); });
    if (!node_.start(why)) return false;
    notify_service_manager("READY=1");
    return true;
}

void NodeDaemon::run() {
    loop_.run();
    node_.close();
    // What the kernel still holds has to come back before its owners go.
    signals_->cancel();
    while (loop_.in_flight() > 0) loop_.turn(Duration::milliseconds(100));
}

void NodeDaemon::begin_stop() noexcept {
    if (is_stopping_) return;
    is_stopping_ = true;
    notify_service_manager("STOPPING=1");
    log_.log(LogLevel::info, "stopping: mirrors are handed over or left");
    node_.stop([this] { loop_.stop(); });
}

}  // namespace gemel
