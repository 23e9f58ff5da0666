// SPDX-License-Identifier: Apache-2.0
// gemeld: reads the configuration, makes the world and runs a node, a witness or the boot guard.

#include "tools/gemeld/command_line.hpp"
#include "tools/gemeld/node_daemon.hpp"
#include "tools/gemeld/stderr_log.hpp"
#include "tools/gemeld/witness_daemon.hpp"

#include "frontends/fuse/mount.hpp"
#include "node/state_directory.hpp"
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sys/resource.h>

namespace gemel {

namespace {

constexpr int kExitDone = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// A volume keeps a thousand descriptors, which is all that a shell's soft limit allows a process.
void allow_many_files() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int fail(LogSink& log, const std::string& why) {
    log.log(LogLevel::error, why);
    return kExitFailed;
}

int cover(LogSink& log, const Config& config, const DaemonOptions& options) {
    int exit_status = kExitDone;
    for (const MirrorConfig& mirror : config.mirrors) {
        if (!mirror.has_node(options.node)) continue;
        for (std::size_t i = 0; i < mirror.directories.size(); ++i) {
            VolumeMount mount(log,
                              {mirror.directories[i], mirror.name, static_cast<std::uint16_t>(i),
                               options.run_directory, options.state_directory});
            std::string why;
            if (!mount.prepare(why).ok()) exit_status = fail(log, why);
        }
    }
    return exit_status;
}

template <typename Daemon, typename Settings>
int run_daemon(LogSink& log, const Settings& config, const DaemonOptions& options) {
    Result<std::unique_ptr<UringLoop>> loop =
        UringLoop::create({.spin_max = Duration::microseconds(options.spin_us)});
    if (!loop.ok()) {
        return fail(log, "no io_uring here (" + loop.status().to_string() +
                             "): it needs Linux 6.1 and kernel.io_uring_disabled = 0");
    }
    std::string why;
    Daemon daemon(*loop.value(), log, config, options);
    if (!daemon.start(why)) {
        log.log(LogLevel::error, why);
        // Whatever was begun is not taken down piece by piece: the guards stay, as after a crash.
        std::fflush(stderr);
        std::_Exit(kExitFailed);
    }
    daemon.run();
    return kExitDone;
}

void print(const std::vector<ConfigError>& errors) {
    for (const ConfigError& error : errors) {
        std::fprintf(stderr, "%s\n", error.to_string().c_str());
    }
}

int run_witness(LogSink& log, const DaemonOptions& options) {
    const WitnessConfig config = load_witness_config(options.config_file);
    print(config.errors);
    if (!config.errors.empty()) return kExitUsage;
    allow_many_files();
    std::string why;
    if (!make_directory(options.state_directory, why)) return fail(log, why);
    DirectoryLock lock;
    if (!lock.take(options.state_directory, why)) return fail(log, why);
    return run_daemon<WitnessDaemon>(log, config, options);
}

int run_node(LogSink& log, const DaemonOptions& options) {
    ConfigContext context;
    context.state_directory = options.state_directory;
    context.run_directory = options.run_directory;
    const ConfigResult config = load_config(options.config_file, context);
    print(config.errors);
    if (!config.config) return kExitUsage;
    if (config.config->find_node(options.node) == nullptr) {
        std::fprintf(stderr,
                     "gemeld: %s has no [node.%s]: --node NAME says which of its nodes this "
                     "machine is\n",
                     options.config_file.c_str(), options.node.c_str());
        return kExitUsage;
    }
    allow_many_files();
    std::string why;
    if (!make_directory(options.state_directory, why)) return fail(log, why);
    if (!make_directory(options.run_directory, why)) return fail(log, why);
    if (options.mode == DaemonMode::guard) return cover(log, *config.config, options);
    DirectoryLock lock;
    if (!lock.take(options.state_directory, why)) return fail(log, why);
    return run_daemon<NodeDaemon>(log, *config.config, options);
}

}  // namespace
}  // namespace gemel

int main(int argc, char** argv) {
    int exit_status = 0;
    const auto options = gemel::parse_command_line(argc, argv, exit_status);
    if (!options) return exit_status;
    gemel::SignalWatch::block();
    const auto log = gemel::make_stderr_log(options->debug);
    return options->mode == gemel::DaemonMode::witness ? gemel::run_witness(*log, *options)
                                                       : gemel::run_node(*log, *options);
}
