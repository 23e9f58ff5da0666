// SPDX-License-Identifier: Apache-2.0
// gemel: the command line. Here stands which words there are; commands.hpp says what they do.
#include "controller/config_suggest.hpp"
#include "tools/gemel/commands.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr const char* kAbout =
    "gemel - look at and steer the mirrors of this node\n"
    "\n"
    "A mirror keeps directories identical on two nodes and moves their application to the\n"
    "second one when the first fails. gemel talks to the gemeld of this machine over\n"
    "RUN/control.sock and to nothing else.\n";
constexpr const char* kFooter =
    "\nExit status:\n"
    "  0  done\n"
    "  1  refused or failed; the reason is on standard error\n"
    "  2  wrong usage or configuration\n"
    "  3  no gemeld answers there\n"
    "  4  timed out\n"
    "\nSee also gemel(1), gemel.toml(5), gemeld(8).";

// What the words of the command line set, and the command that they chose.
struct Arguments {
    std::string run = "/run/gemel";
    std::string state = "/var/lib/gemel";
    std::string mirror;
    std::string file;
    std::vector<std::string> directories;
    gemel::StatusOptions status;
    gemel::WaitOptions wait;
    gemel::EventsOptions events;
    gemel::VerifyCommandOptions verify;
    std::string volume, size;
    bool force = false;
    gemel::ResyncOptions resync;
    bool before_resync = false;
    bool json = false;
    std::function<int()> command;
};

CLI::App* add_command(CLI::App& app, const char* name, const char* description,
                      Arguments& arguments, std::function<int()> command) {
    CLI::App* sub = app.add_subcommand(name, description);
    sub->fallthrough();
    sub->callback([&arguments, command = std::move(command)] { arguments.command = command; });
    return sub;
}

void add_mirror(CLI::App* command, std::string& mirror) {
    command->add_option("MIRROR", mirror, "name of the mirror")->required();
}

void add_questions(CLI::App& app, Arguments& a) {
    CLI::App* status =
        add_command(app, "status", "Show the mirrors: states, links, what is in sync, resyncs", a,
                    [&a] { return gemel::show_status(a.run, a.status); });
    status->add_option("MIRROR", a.status.mirror, "only this mirror");
    status->add_flag("--json", a.status.json, "one JSON object");
    status->add_flag("--watch", a.status.watch, "stay, and show it again every second");

    CLI::App* wait = add_command(app, "wait", "Return when this node's state of MIRROR is STATE", a,
                                 [&a] { return gemel::wait_for_state(a.run, a.wait); });
    add_mirror(wait, a.wait.mirror);
    wait->add_option("STATE", a.wait.state, "stopped, wait, alone, primary, secondary or resync")
        ->required();
    wait->add_option("--timeout", a.wait.timeout,
                     "give up after this time, like 500ms, 30s or 2min, with exit status 4; "
                     "without it wait for ever");

    CLI::App* events = add_command(app, "events", "Show what happened, newest last", a,
                                   [&a] { return gemel::show_events(a.run, a.events); });
    events->add_flag("-f,--follow", a.events.follow, "go on with what happens from now");
    events->add_flag("--json", a.events.json, "one JSON object a line");
}

void add_verb(CLI::App& app, const char* verb, const char* description, Arguments& a) {
    add_mirror(add_command(app, verb, description, a,
                           [&a, verb] { return gemel::send_command(a.run, a.mirror, verb); }),
               a.mirror);
}

void add_verify(CLI::App& app, Arguments& a) {
    CLI::App* verify = add_command(
        app, "verify",
        "Compare both copies while they are in use, on the node that serves; says what is\n"
        "not the same, and ends with status 1 if anything is",
        a, [&a] { return gemel::verify_mirror(a.run, a.verify); });
    add_mirror(verify, a.verify.mirror);
    CLI::Option* repair =
        verify->add_flag("--repair", a.verify.repair, "mend what differs from the serving copy");
    CLI::Option* rate = verify->add_option("--rate", a.verify.rate,
                                           "read at most so much a second on each node, like "
                                           "20MiB, or \"max\" (default 64MiB)");
    verify->add_flag("--json", a.verify.json, "one JSON object");
    verify->add_flag("--stop", a.verify.stop, "end the one that is under way")
        ->excludes(repair)
        ->excludes(rate);
}

void add_resync(CLI::App& app, Arguments& a) {
    CLI::App* resync = add_command(
        app, "resync",
        "Steer resyncs: what is dirty is brought up to date without being asked. Exactly one of\n"
        "the options has to be given, but --full may stand beside --dry-run",
        a, [&a] { return gemel::resync(a.run, a.resync); });
    add_mirror(resync, a.resync.mirror);
    resync->add_flag("--full", a.resync.full,
                     "compare everything instead of what the dirty map names");
    resync->add_flag("--pause", a.resync.pause,
                     "send nothing of the difference until --resume; new writes are mirrored as "
                     "before");
    resync->add_flag("--resume", a.resync.resume, "go on");
    resync->add_option("--rate", a.resync.rate,
                       "bytes a second from now on, like 10MiB..1GiB, 20MiB.. or ..1GiB, until "
                       "gemeld is restarted");
    resync->add_flag("--dry-run", a.resync.dry_run,
                     "say what there is to compare and to send, and how long it takes at most");
    resync->add_flag("--json", a.resync.json, "with --dry-run: one JSON object");
}

void add_verbs(CLI::App& app, Arguments& a) {
    add_verb(app, "start", "Join the mirror on this node", a);
    add_verb(app, "stop",
             "Leave the mirror on this node: the application is stopped, the address dropped,\n"
             "the path covered by a read-only guard",
             a);
    add_verb(app, "release",
             "Uncover the bare directory of a stopped mirror for use without replication;\n"
             "it will be compared at the next start",
             a);
    add_verb(app, "swap", "Exchange the roles of the two nodes; nothing is lost", a);

    CLI::App* promote = add_command(
        app, "promote",
        "Make this node go on alone where no vote can be had. Says what may be lost by it;\n"
        "without --force that is all it does",
        a, [&a] {
            return a.force ? gemel::promote(a.run, a.mirror, a.before_resync)
                           : gemel::refuse_promotion(a.run, a.mirror);
        });
    add_mirror(promote, a.mirror);
    promote->add_flag("--force", a.force, "do it, whatever may be lost");
    promote->add_flag("--before-resync", a.before_resync,
                      "with the last consistent state, the one before a resync that was\n"
                      "interrupted (kept where the file system clones files: XFS, Btrfs)");

    add_verify(app, a);

    CLI::App* resize = add_command(
        app, "resize",
        "Make a block volume larger on both nodes, while it is in use; it never shrinks.\n"
        "Write the size into both nodes' configuration as well",
        a, [&a] { return gemel::resize_volume(a.run, a.mirror, a.volume, a.size); });
    add_mirror(resize, a.mirror);
    resize->add_option("VOLUME", a.volume, "name of the block volume")->required();
    resize->add_option("SIZE", a.size, "its new size, like 30GiB")->required();

    add_resync(app, a);
}

void add_local_commands(CLI::App& app, Arguments& a) {
    CLI::App* config = app.add_subcommand("config", "Check a configuration");
    config->fallthrough()->require_subcommand(1);
    CLI::App* check =
        add_command(*config, "check", "Report every mistake of FILE by line and column", a,
                    [&a] { return gemel::check_config_file(a.run, a.state, a.file); });
    check->add_option("FILE", a.file, "the configuration, gemel.toml")->required();
    check->add_option("--state", a.state, "state directory of gemeld")->capture_default_str();

    CLI::App* keygen = add_command(app, "keygen", "Make a cluster key; it goes to every node", a,
                                   [&a] { return gemel::make_key(a.file); });
    keygen->add_option("FILE", a.file, "a file that does not exist yet")->required();

    CLI::App* doctor = add_command(
        app, "doctor",
        "List the kernel features that gemel uses, which are here, and what each one's\n"
        "absence costs",
        a, [&a] { return gemel::examine(a.directories, a.json); });
    doctor->add_option("DIRECTORY", a.directories, "also try trusted. attributes in these");
    doctor->add_flag("--json", a.json, "one JSON object");

    add_command(app, "version", "Print the version", a, [] { return gemel::show_version(); });
}

// CLI11 says of a word that is no command only that one is missing.
std::string usage_mistake(CLI::App& app, const CLI::ParseError& error) {
    std::vector<std::string> names;
    for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
    const std::vector<std::string> rest = app.remaining();
    const std::string word = rest.empty() ? "" : rest.front();
    const bool is_command = std::find(names.begin(), names.end(), word) != names.end();
    if (word.empty() || word.front() == '-' || is_command || !app.get_subcommands().empty()) {
        return error.what();
    }
    const std::vector<std::string_view> known(names.begin(), names.end());
    return "unknown command '" + word + "'" + gemel::suggestion(word, known);
}

}  // namespace

int main(int count, char** texts) {
    // A reader that leaves ends the output, not the program in the middle of its work.
    std::signal(SIGPIPE, SIG_IGN);
    Arguments arguments;
    CLI::App app(kAbout, "gemel");
    app.footer(kFooter);
    app.require_subcommand(1);
    app.add_option("--run", arguments.run, "run directory of gemeld")->capture_default_str();
    add_questions(app, arguments);
    add_verbs(app, arguments);
    add_local_commands(app, arguments);
    try {
        app.parse(count, texts);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ParseError& error) {
        gemel::complain(usage_mistake(app, error) + "; gemel --help shows what there is");
        return gemel::kExitUsage;
    }
    return arguments.command();
}
