// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/command_line.hpp"

#include <CLI/CLI.hpp>

#include "node/host_name.hpp"
#include <filesystem>

namespace gemel {

std::optional<DaemonOptions> parse_command_line(int argc, char** argv, int& exit_status) {
    DaemonOptions options;
    options.node = host_name();
    options.state_directory = "/var/lib/gemel";
    options.run_directory = "/run/gemel";

    CLI::App app(
        "gemeld: keeps directories identical on two machines, and moves the application\n"
        "when one fails. Runs in the foreground and logs to standard error.");
    app.set_version_flag("--version", std::string("gemeld " GEMEL_VERSION));
    app.add_option("--config", options.config_file, "The configuration, gemel.toml(5)")
        ->required()
        ->type_name("FILE");
    app.add_option("--node", options.node, "Which node of the configuration this machine is")
        ->type_name("NAME")
        ->capture_default_str();
    app.add_option("--state", options.state_directory, "Where dirty maps, epochs and ids are kept")
        ->type_name("DIR")
        ->capture_default_str();
    app.add_option("--run", options.run_directory, "Where the sockets are")
        ->type_name("DIR")
        ->capture_default_str();
    app.add_option("--spin", options.spin_us,
                   "Look for new work so long before sleeping, while that pays; 0: never")
        ->type_name("MICROSECONDS")
        ->check(CLI::Range(0, 1000))
        ->capture_default_str();
    app.add_flag("--debug", options.debug, "Log details");
    bool witness = false;
    bool guard = false;
    CLI::Option* witness_flag = app.add_flag(
        "--witness", witness, "Be the third vote for clusters of two nodes, and nothing else");
    app.add_flag("--guard", guard, "Cover this node's mirrored directories read-only, and exit")
        ->excludes(witness_flag);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        exit_status = app.exit(error) == 0 ? 0 : 2;
        return std::nullopt;
    }
    if (witness) options.mode = DaemonMode::witness;
    if (guard) options.mode = DaemonMode::guard;
    options.state_directory = std::filesystem::absolute(options.state_directory).lexically_normal();
    options.run_directory = std::filesystem::absolute(options.run_directory).lexically_normal();
    return options;
}

}  // namespace gemel
