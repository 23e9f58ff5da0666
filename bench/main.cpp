// SPDX-License-Identifier: Apache-2.0
// gemel-bench: the command line of the benchmarks.
#include "bench/drivers.hpp"
#include "bench/limits.hpp"
#include "bench/load.hpp"
#include "bench/parts.hpp"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <exception>
#include <functional>
#include <string>
#include <vector>

namespace {

constexpr const char* kAbout =
    "gemel-bench - measures gemel, its parts, and what it is compared with\n"
    "\n"
    "No figure of it is a test: machines differ and are shared. Ratios of one run count.\n";

std::vector<std::string> workload_names() {
    std::vector<std::string> names;
    for (const auto& workload : gemel::bench::workloads()) names.emplace_back(workload.name);
    return names;
}

std::string workload_list() {
    std::string text = "\nWorkloads:\n";
    for (const auto& workload : gemel::bench::workloads()) {
        text += fmt::format("  {:<16} {}\n", workload.name, workload.about);
    }
    return text;
}

void add_load(CLI::App& app, gemel::bench::LoadOptions& options, std::function<int()>& command) {
    CLI::App* load = app.add_subcommand("load", "one workload of an application in a directory");
    load->add_option("WORKLOAD", options.workload, "its name, see below")
        ->required()
        ->check(CLI::IsMember(workload_names()).description(""));
    load->add_option("--dir", options.directory, "where; a directory below is made and removed")
        ->required()
        ->check(CLI::ExistingDirectory);
    load->add_option("--seconds", options.seconds, "how long one operation is repeated")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    load->add_option("--count", options.count, "how many operations or files at most")
        ->check(CLI::PositiveNumber);
    load->add_option("--size", options.size, "bytes of a file; 64MiB and the like are understood")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::PositiveNumber);
    load->add_option("--depth", options.depth, "threads that do it at once")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    load->add_flag("--shared", options.shared, "the threads use one file instead of one each");
    load->add_flag("--keep", options.keep, "leaves the files there");
    load->add_flag("--json", options.json, "one JSON object instead of a line");
    load->footer(workload_list());
    load->callback([&] { command = [&options] { return gemel::bench::run_load(options); }; });
}

void add_parts(CLI::App& app, gemel::bench::PartsOptions& options, std::function<int()>& command) {
    CLI::App* parts = app.add_subcommand("parts", "micro-benchmarks, with Google Benchmark");
    parts->add_option("--dir", options.directory, "for the parts that write files")
        ->check(CLI::ExistingDirectory)
        ->capture_default_str();
    parts->allow_extras();
    parts->footer(
        "\nOther flags are Google Benchmark's: --benchmark_filter=REGEX,\n"
        "--benchmark_min_time=SECONDS, --benchmark_format=json and so on.");
    parts->callback([parts, &options, &command] {
        options.flags = parts->remaining();
        command = [&options] { return gemel::bench::run_parts(options); };
    });
}

void add_limits(CLI::App& app, gemel::bench::LimitsOptions& options,
                std::function<int()>& command) {
    CLI::App* limits = app.add_subcommand("limits", "what the machine itself can do");
    limits->add_option("--dir", options.directory, "a directory of the file system in question")
        ->check(CLI::ExistingDirectory);
    limits->add_option("--answer", options.answer, "ADDRESS:PORT to answer round trips on, only");
    limits->add_option("--ask", options.ask, "ADDRESS:PORT of such an answering one");
    limits->add_flag("--json", options.json, "one JSON object instead of a line");
    limits->callback([&] { command = [&options] { return gemel::bench::run_limits(options); }; });
}

// Sub-commands that hand their words on: the drivers read their own options.
void add_driver(CLI::App& app, const char* name, const char* about, std::function<int()>& command) {
    CLI::App* driver = app.add_subcommand(name, about);
    driver->prefix_command();
    driver->set_help_flag();
    driver->callback([driver, name, &command] {
        command = [words = driver->remaining(), name]() -> int {
            gemel::bench::run_driver(name, words);
        };
    });
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app(kAbout, "gemel-bench");
    app.require_subcommand(1);
    gemel::bench::LoadOptions load;
    gemel::bench::PartsOptions parts;
    gemel::bench::LimitsOptions limits;
    std::function<int()> command;
    add_load(app, load, command);
    add_parts(app, parts, command);
    add_limits(app, limits, command);
    add_driver(app, "block", "block volumes by NBD, against qemu and others", command);
    add_driver(app, "memory", "how much gemeld needs for a tree of a million files", command);
    add_driver(app, "resync", "how fast two copies become equal, against rsync", command);
    add_driver(app, "mirror", "two nodes, against the bare file system and GlusterFS", command);
    add_driver(app, "neighbour", "what a resync costs an application's writes", command);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        return command();
    } catch (const std::exception& error) {
        fmt::print(stderr, "gemel-bench: {}\n", error.what());
        return 1;
    }
}
