// SPDX-License-Identifier: Apache-2.0
// Goal: `gemel` says what the daemon says and exits with the status that scripts rely on. Method:
// the real binary against an invented daemon on a socket of its own.
#include "controller/status_json.hpp"
#include "tests/unit/controller/fake_daemon.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace gemel {
namespace {

struct Ended {
    int status = -1;
    std::string out;
    std::string err;
};

std::string text_of(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

class Cli {
   public:
    explicit Cli(std::string run) : run_(std::move(run)) {}

    // Starts `gemel --run RUN ARGUMENTS`.
    pid_t start(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), {GEMEL_COMMAND, "--run", run_});
        std::vector<char*> pointers;
        for (std::string& argument : arguments) pointers.push_back(argument.data());
        pointers.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC;
        posix_spawn_file_actions_addopen(&actions, 1, out().c_str(), kFlags, 0600);
        posix_spawn_file_actions_addopen(&actions, 2, err().c_str(), kFlags, 0600);
        pid_t child = -1;
        EXPECT_EQ(posix_spawn(&child, GEMEL_COMMAND, &actions, nullptr, pointers.data(), environ),
                  0);
        posix_spawn_file_actions_destroy(&actions);
        return child;
    }
    Ended wait_for(pid_t child) {
        int status = 0;
        waitpid(child, &status, 0);
        return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text_of(out()), text_of(err())};
    }
    Ended operator()(const std::vector<std::string>& arguments) {
        return wait_for(start(arguments));
    }
    [[nodiscard]] std::string out() const { return directory_.path() + "/out"; }
    [[nodiscard]] std::string err() const { return directory_.path() + "/err"; }

   private:
    std::string run_;
    TemporaryDirectory directory_;
};

TEST(Cli, ExitsWithTwoForWrongUsageAndSaysWhatIsWrong) {
    Cli gemel("/nonexistent");
    const std::pair<std::vector<std::string>, std::string> cases[] = {
        {{}, "gemel: A subcommand is required"},
        {{"stauts"}, "gemel: unknown command 'stauts'; did you mean 'status'?"},
        {{"frobnicate"}, "gemel: unknown command 'frobnicate';"},
        {{"wait", "db"}, "gemel: STATE is required"},
        {{"wait", "db", "primry"},
         "gemel: 'primry' is no state of a mirror; did you mean 'primary'?"},
        {{"wait", "db", "primary", "--timeout", "soon"}, "gemel: 'soon' is no time"},
        {{"start"}, "gemel: MIRROR is required"},
        {{"status", "--colour"}, "gemel: The following argument was not expected: --colour"},
        {{"resync", "db"}, "gemel: resync takes one of --full, --pause, --resume, --rate and"},
        {{"resync", "db", "--full", "--pause"}, "gemel: resync takes one of --full, --pause"},
        {{"resync", "db", "--rate", "fast"}, "gemel: --rate has to be a range of sizes a second"},
        {{"config"}, "gemel: A subcommand is required"},
    };
    for (const auto& [arguments, message] : cases) {
        const Ended ended = gemel(arguments);
        EXPECT_EQ(ended.status, 2) << message;
        EXPECT_TRUE(ended.err.starts_with(message)) << ended.err;
        EXPECT_EQ(ended.out, "");
    }
}

TEST(Cli, ExitsWithThreeWhereNoDaemonIs) {
    Cli gemel("/nonexistent");
    const std::vector<std::string> cases[] = {
        {"status"},        {"wait", "db", "primary"},    {"events"},          {"stop", "db"},
        {"promote", "db"}, {"promote", "db", "--force"}, {"status", "--json"}};
    for (const auto& arguments : cases) {
        const Ended ended = gemel(arguments);
        EXPECT_EQ(ended.status, 3) << arguments[0];
        EXPECT_EQ(ended.err,
                  "gemel: no gemeld answers at '/nonexistent/control.sock' (No such file or "
                  "directory); is gemeld running? --run names another run directory\n");
    }
}

TEST(Cli, ShowsTheStatusAsTextAndAsJson) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    const Ended json = gemel({"status", "--json"});
    EXPECT_EQ(json.status, 0);
    EXPECT_EQ(json.out, to_json(invented_status()) + "\n");
    const Ended text = gemel({"status", "vm1"});
    EXPECT_EQ(text.status, 0);
    EXPECT_NE(text.out.find("vm1: alone: beta was silent"), std::string::npos) << text.out;
    EXPECT_EQ(text.out.find("db"), std::string::npos) << text.out;
    EXPECT_EQ(text.out.find('\x1b'), std::string::npos) << text.out;
    const Ended unknown = gemel({"status", "no/body"});
    EXPECT_EQ(unknown.status, 1);
    EXPECT_EQ(unknown.err, "gemel: there is nothing at this path\n");
}

TEST(Cli, WatchesUntilItIsEnded) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    const pid_t child = gemel.start({"status", "--watch", "--json"});
    const std::string line = to_json(invented_status()) + "\n";
    while (text_of(gemel.out()).size() < 2 * line.size()) usleep(10'000);
    kill(child, SIGTERM);
    EXPECT_TRUE(gemel.wait_for(child).out.starts_with(line + line));
}

TEST(Cli, SendsCommandsAndTellsHowTheyWent) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    for (const char* verb : {"start", "stop", "release", "swap"}) {
        const Ended ended = gemel({verb, "db"});
        EXPECT_EQ(ended.status, 0) << verb << ended.err;
        EXPECT_EQ(ended.out + ended.err, "");
        EXPECT_EQ(control_verb_name(daemon.commands().back().verb), verb);
    }
    EXPECT_EQ(gemel({"resync", "db", "--full"}).status, 0);
    EXPECT_TRUE(daemon.commands().back().full);
    EXPECT_EQ(gemel({"resync", "db", "--pause"}).status, 0);
    EXPECT_TRUE(daemon.commands().back().pause);
    EXPECT_EQ(gemel({"resync", "db", "--resume"}).status, 0);
    EXPECT_TRUE(daemon.commands().back().resume);
    EXPECT_EQ(gemel({"resync", "db", "--rate", "1MiB..2MiB"}).status, 0);
    EXPECT_EQ(daemon.commands().back().rate_range, (ResyncRateRange{kMiB, 2 * kMiB}));

    daemon.answer_with([](const ControlCommand&) {
        return ControlReply{200, R"({"text":"there is more to say"})"};
    });
    EXPECT_EQ(gemel({"swap", "db"}).out, "there is more to say\n");
    daemon.answer_with([](const ControlCommand&) { return ControlReply::error(409, "not now"); });
    const Ended refused = gemel({"swap", "db"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_EQ(refused.err, "gemel: not now\n");
    daemon.answer_with([](const ControlCommand&) { return ControlReply::error(504, "too slow"); });
    EXPECT_EQ(gemel({"swap", "db"}).status, 4);
    EXPECT_EQ(gemel({"swap", "nobody"}).err, "gemel: there is no mirror 'nobody'\n");
}

TEST(Cli, WaitsForAVerifyAndShowsWhatItHasFound) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    VerifyStatus ended;
    ended.run = 7;
    ended.last = VerifyResult{{1, 0}, {2, 0}, VerifyOutcome::equal, "", false, 12, 4096, 0, 0};
    std::vector<VerifyFinding> findings;
    const auto end_as = [&](VerifyOutcome outcome, const std::string& why) {
        ended.last->outcome = outcome;
        ended.last->why = why;
        ended.last->differing = findings.size();
        daemon.answer_with([ended, findings, looks = 0](const ControlCommand& command) mutable {
            if (!command.show) return ControlReply{200, R"({"run":7})"};
            VerifyStatus now = ended;
            if (++looks < 3) now.running = VerifyRunning{};
            return ControlReply{200, to_json(now, findings)};
        });
    };
    end_as(VerifyOutcome::equal, "");
    Ended done = gemel({"verify", "db", "--rate", "2MiB"});
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.out, "the copies are equal, 12 objects and 4.0 KiB compared\n");
    EXPECT_EQ(daemon.commands().front().rate, 2 * kMiB);
    EXPECT_FALSE(daemon.commands().front().repair);

    findings.push_back({"/srv", "/srv/a", {{"missing", "", ""}}, {}, {}});
    end_as(VerifyOutcome::mended, "");
    done = gemel({"verify", "db", "--repair"});
    EXPECT_EQ(done.status, 1);
    EXPECT_TRUE(done.out.starts_with("/srv/a: missing on ")) << done.out;
    EXPECT_NE(done.out.find("1 object not the same, all mended"), std::string::npos) << done.out;

    end_as(VerifyOutcome::failed, "the session is over");
    done = gemel({"verify", "db"});
    EXPECT_EQ(done.status, 1);
    EXPECT_EQ(done.err, "gemel: the verify did not complete: the session is over\n");

    // It began anew in the meantime: whose end that would be is not known.
    ended.run = 1;
    end_as(VerifyOutcome::equal, "");
    EXPECT_NE(gemel({"verify", "db"}).err.find("restarted"), std::string::npos);
    EXPECT_EQ(gemel({"verify", "db", "--rate", "fast"}).status, 2);
    EXPECT_EQ(gemel({"verify", "db", "--stop", "--repair"}).status, 2);
    EXPECT_EQ(gemel({"verify", "db", "--stop"}).status, 0);
    EXPECT_TRUE(daemon.commands().back().stop);
}

TEST(Cli, ShowsADryRun) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    const std::string body =
        R"({"mirror":"db","running":false,"paused":true,"peer_connected":false,"volumes":[)"
        R"({"name":"0","path":"/srv/db","full":false,"objects":3,"compare_bytes":1048576,)"
        R"("send_bytes_max":2097152},{"name":"1","path":"/srv/b","full":true,"objects":null,)"
        R"("compare_bytes":4194304,"send_bytes_max":4194304}],"compare_bytes":5242880,)"
        R"("send_bytes_max":6291456,"rate_bytes_per_s":1048576,"rate_from":"observed",)"
        R"("seconds_max":6,"unknown":["this and that"]})";
    daemon.answer_with([&](const ControlCommand&) { return ControlReply{200, body}; });
    EXPECT_EQ(gemel({"resync", "db", "--dry-run"}).out,
              "/srv/db: 3 objects, 1.0 MiB to compare, at most 2.0 MiB to send\n"
              "/srv/b: all objects, 4.0 MiB to compare, at most 4.0 MiB to send\n"
              "at most 6 s at 1.0 MiB/s, as seen last\n"
              "it is paused\n"
              "note: this and that\n");
    EXPECT_EQ(gemel({"resync", "db", "--dry-run", "--full", "--json"}).out, body + "\n");
    EXPECT_TRUE(daemon.commands().back().dry_run && daemon.commands().back().full);
    daemon.answer_with([](const ControlCommand&) { return ControlReply{200, "{}"}; });
    EXPECT_EQ(gemel({"resync", "db", "--dry-run"}).status, 1);
}

TEST(Cli, PromotesOnlyWhenForcedAndSaysWhatMayBeLost) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    const Ended asked = gemel({"promote", "db"});
    EXPECT_EQ(asked.status, 1);
    EXPECT_TRUE(asked.err.starts_with("gemel: promoting 'db' makes alpha go on alone"))
        << asked.err;
    EXPECT_NE(asked.err.find("gemel promote db --force"), std::string::npos);
    EXPECT_TRUE(daemon.commands().empty());
    EXPECT_EQ(gemel({"promote", "db", "--force"}).status, 0);
    EXPECT_TRUE(daemon.commands().at(0).force);
}

TEST(Cli, WaitsForAStateOrGivesUp) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    EXPECT_EQ(gemel({"wait", "db", "primary"}).status, 0);
    const Ended late = gemel({"wait", "vm1", "primary", "--timeout", "50ms"});
    EXPECT_EQ(late.status, 4);
    EXPECT_EQ(late.err,
              "gemel: mirror 'vm1' is still alone after 50ms: beta was silent on every link for "
              "1s\n");
    EXPECT_EQ(gemel({"wait", "nobody", "primary"}).status, 1);
    const pid_t child = gemel.start({"wait", "vm1", "primary", "--timeout", "10min"});
    daemon.set_state(1, MirrorState::primary);
    EXPECT_EQ(gemel.wait_for(child).status, 0);
}

TEST(Cli, ShowsEventsAndFollows) {
    FakeDaemon daemon;
    Cli gemel(daemon.run_directory());
    daemon.set_state(0, MirrorState::alone);
    EXPECT_EQ(gemel({"events"}).out, "1970-01-01T00:00:00.000Z  db  state: alone\n");
    EXPECT_EQ(gemel({"events", "--json"}).out,
              R"({"seq":1,"time":"1970-01-01T00:00:00.000Z","mirror":"db","kind":"state",)"
              R"("text":"alone","fields":{}})"
              "\n");
    const pid_t child = gemel.start({"events", "-f"});
    daemon.set_state(1, MirrorState::primary);
    const std::string last = "vm1  state: primary\n";
    while (!text_of(gemel.out()).ends_with(last)) usleep(10'000);
    kill(child, SIGTERM);
    gemel.wait_for(child);
}

TEST(Cli, ChecksAConfigurationWithoutADaemon) {
    TemporaryDirectory directory;
    Cli gemel(directory.path() + "/run");
    const std::string key = directory.path() + "/cluster.key";
    const std::string file = directory.path() + "/gemel.toml";
    const std::string text =
        "[cluster]\nname = \"shop\"\nkey = \"" + key + "\"\n" +
        "[node.a]\nlinks = [\"10.0.0.1:7800\"]\n[node.b]\nlinks = [\"10.0.0.2:7800\"]\n" +
        "[mirror.db]\nnodes = [\"a\", \"b\"]\n";
    std::ofstream(file) << text << "directories = [\"/srv/db\"]\n";
    const Ended without_key = gemel({"config", "check", file});
    EXPECT_EQ(without_key.status, 2);
    EXPECT_EQ(without_key.err, file + ":3:7: there is no cluster key '" + key +
                                   "'; `gemel keygen " + key + "` makes one\n");

    EXPECT_EQ(gemel({"keygen", key}).status, 0);
    struct stat info {};
    ASSERT_EQ(stat(key.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    const Ended again = gemel({"keygen", key});
    EXPECT_EQ(again.status, 1);
    EXPECT_EQ(again.err, "gemel: '" + key + "' exists already, and a key is never overwritten\n");

    const Ended right = gemel({"config", "check", file});
    EXPECT_EQ(right.status, 0);
    EXPECT_EQ(right.out, file + ": 2 nodes, 1 mirror, no mistakes\n");
    std::ofstream(file) << text << "directories = [\"/srv/db\"]\nexclude = [\"*.tmp\", \"/a/\"]\n";
    EXPECT_EQ(gemel({"config", "check", file}).out, file + ": 2 nodes, 1 mirror, no mistakes\n" +
                                                        "db: kept per node, not mirrored: *.tmp\n" +
                                                        "db: kept per node, not mirrored: /a/\n");
    std::ofstream(file) << text << "directorys = [\"/srv/db\"]\n";
    const Ended wrong = gemel({"config", "check", file});
    EXPECT_EQ(wrong.status, 2);
    EXPECT_EQ(wrong.err,
              file + ":8:1: [mirror.db] lacks 'directories'\n" + file +
                  ":10:1: unknown key 'directorys' in [mirror.db]; did you mean 'directories'?\n");
    // The default state directory counts.
    std::ofstream(file) << text << "directories = [\"/var/lib\"]\n";
    EXPECT_EQ(gemel({"config", "check", file}).err,
              file + ":10:16: '/var/lib' contains the state directory '/var/lib/gemel'\n");
}

TEST(Cli, ExaminesTheMachineAndNamesItself) {
    Cli gemel("/nonexistent");
    const Ended doctor = gemel({"doctor"});
    EXPECT_EQ(doctor.status, 0);
    for (const char* feature :
         {"io_uring", "FUSE over io_uring", "FUSE passthrough", "eBPF", "netlink", "pings"}) {
        EXPECT_NE(doctor.out.find(feature), std::string::npos) << feature;
    }
    EXPECT_TRUE(gemel({"doctor", "--json"}).out.starts_with("{\"features\":[{\"feature\":"));
    EXPECT_EQ(gemel({"version"}).out, "gemel 0.1.0\n");
    const Ended help = gemel({"--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("Exit status:"), std::string::npos);
}

}  // namespace
}  // namespace gemel
