// SPDX-License-Identifier: Apache-2.0
// Goal: whatever comes over the control socket is answered with what the daemon's loop says or with
// a sentence, no request blocks another, and the end of the server leaves nobody waiting.
#include "controller/control_client.hpp"
#include "controller/status_json.hpp"
#include "tests/unit/controller/fake_daemon.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fcntl.h>
#include <future>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace gemel {
namespace {

constexpr Duration kPatience = Duration::seconds(60);  // only a hang takes so long

struct Case {
    const char* method;
    std::string path;
    std::string body;
    unsigned http_status;
    std::string answer;
};

std::string error(const std::string& sentence) { return "{\"error\":\"" + sentence + "\"}\n"; }

TEST(ControlServer, AnswersMistakesWithASentence) {
    FakeDaemon daemon;
    ControlClient client(daemon.run_directory());
    const Case cases[] = {
        {"GET", "/v1/version", "", 200, "{\"version\":\"0.1.0\"}\n"},
        {"GET", "/", "", 404, error("there is nothing at this path")},
        {"GET", "/v2/status", "", 404, error("there is nothing at this path")},
        {"GET", "/v1/status/db/x", "", 404, error("there is nothing at this path")},
        {"GET", "/v1/status/nobody", "", 404, error("there is no mirror 'nobody'")},
        {"POST", "/v1/status", "", 405, error("this path takes GET only")},
        {"GET", "/v1/mirrors/db/stop", "", 405, error("this path takes POST only")},
        {"POST", "/v1/mirrors/db/explode", "", 404, error("there is nothing at this path")},
        {"POST", "/v1/mirrors/nobody/stop", "", 404, error("there is no mirror 'nobody'")},
        {"POST", "/v1/mirrors/db/stop", "", 200, "{}\n"},
        {"POST", "/v1/mirrors/db/stop", "[1]", 400, error("the body has to be a JSON object")},
        {"POST", "/v1/mirrors/db/stop", "{", 400, error("the body has to be a JSON object")},
        {"POST", "/v1/mirrors/db/stop", "{\"force\":true}", 400,
         error("'stop' takes no 'force' like that")},
        {"POST", "/v1/mirrors/db/verify", "{\"repair\":1}", 400,
         error("'verify' takes no 'repair' like that")},
        {"POST", "/v1/mirrors/db/verify", "{\"rate\":-1}", 400,
         error("'verify' takes no 'rate' like that")},
        {"POST", "/v1/mirrors/db/verify", "{\"stop\":true,\"repair\":true}", 400,
         error("'stop' ends a verify and goes with nothing else")},
        {"GET", "/v1/mirrors/db/verify", "", 200, "{}\n"},
        {"POST", "/v1/mirrors/db/promote", "{}", 409,
         error("promote may lose writes that only the other node has; it needs "
               "{\\\"force\\\":true}")},
        {"POST", "/v1/mirrors/db/resync", "", 400,
         error("a resync of what is dirty runs by itself; comparing everything needs "
               "{\\\"full\\\":true}")},
        {"GET", "/v1/events?since=x", "", 400,
         error("'since' and 'wait' have to be whole numbers")},
        {"POST", "/v1/mirrors/db/resync", R"({"pause":true,"resume":true})", 400,
         error("resync takes one of 'full', 'pause', 'resume', 'rate' and 'dry_run'; only "
               "'dry_run' may have 'full' beside it")},
        {"POST", "/v1/mirrors/db/resync", R"({"rate":"2GiB..1GiB"})", 400,
         error("'rate' has to have the lower rate first, not '2GiB..1GiB'")},
        {"POST", "/v1/mirrors/db/stop", std::string(5000, ' '), 413,
         error("the request is too large")},
    };
    for (const Case& tested : cases) {
        const ControlAnswer answer = std::strcmp(tested.method, "GET") == 0
                                         ? client.get(tested.path, kPatience)
                                         : client.post(tested.path, tested.body, kPatience);
        EXPECT_EQ(answer.http_status, tested.http_status) << tested.path << answer.sentence;
        EXPECT_EQ(answer.body, tested.answer) << tested.path;
    }
}

TEST(ControlServer, ShowsAllMirrorsOrOne) {
    FakeDaemon daemon;
    ControlClient client(daemon.run_directory());
    const auto all = parse_node_status(client.get("/v1/status", kPatience).body);
    ASSERT_TRUE(all.has_value());
    EXPECT_EQ(to_json(*all), to_json(invented_status()));
    const auto one = parse_node_status(client.get("/v1/status/vm1", kPatience).body);
    ASSERT_TRUE(one.has_value());
    ASSERT_EQ(one->mirrors.size(), 1u);
    EXPECT_EQ(one->mirrors[0].name, "vm1");
}

TEST(ControlServer, HandsCommandsWithTheirOptionsToTheLoop) {
    FakeDaemon daemon;
    ControlClient client(daemon.run_directory());
    client.post("/v1/mirrors/db/promote", "{\"force\":true}", kPatience);
    client.post("/v1/mirrors/vm1/verify", "{\"repair\":true}", kPatience);
    client.post("/v1/mirrors/db/resync", "{\"full\":true}", kPatience);
    const std::vector<ControlCommand> commands = daemon.commands();
    ASSERT_EQ(commands.size(), 3u);
    EXPECT_TRUE(commands[0].verb == ControlVerb::promote && commands[0].force);
    EXPECT_TRUE(commands[1].verb == ControlVerb::verify && commands[1].repair);
    EXPECT_EQ(commands[1].mirror, "vm1");
    EXPECT_TRUE(commands[2].verb == ControlVerb::resync && commands[2].full);
}

TEST(ControlServer, AnswersOthersWhileACommandIsUnderWay) {
    FakeDaemon daemon;
    daemon.answer_with(nullptr);
    const auto ask = [&] {
        return ControlClient(daemon.run_directory()).post("/v1/mirrors/db/swap", "", kPatience);
    };
    std::future<ControlAnswer> first = std::async(std::launch::async, ask);
    std::future<ControlAnswer> second = std::async(std::launch::async, ask);
    while (daemon.commands().size() < 2) {
        EXPECT_TRUE(ControlClient(daemon.run_directory()).get("/v1/status", kPatience).is_done());
    }
    daemon.run([&] {
        daemon.unanswered_[0](ControlReply::done());
        daemon.unanswered_[1](ControlReply::error(409, "not now"));
        // A second answer to the same request is none.
        daemon.unanswered_[0](ControlReply::error(500, "too late"));
    });
    const unsigned sum = first.get().http_status + second.get().http_status;
    EXPECT_EQ(sum, 200u + 409u);
}

TEST(ControlServer, LetsEventsWaitForTheNextOne) {
    FakeDaemon daemon;
    daemon.set_state(0, MirrorState::alone);
    ControlClient client(daemon.run_directory());
    EXPECT_NE(client.get("/v1/events", kPatience).body.find("\"last\":1"), std::string::npos);
    std::future<ControlAnswer> waiting = std::async(std::launch::async, [&] {
        return ControlClient(daemon.run_directory()).get("/v1/events?since=1&wait=60", kPatience);
    });
    // Whether the request is there before the event or after it, it gets the event.
    daemon.set_state(0, MirrorState::primary);
    const std::string body = waiting.get().body;
    EXPECT_NE(body.find("\"seq\":2"), std::string::npos) << body;
    EXPECT_EQ(body.find("\"seq\":1,"), std::string::npos) << body;
    // Nothing new: answered when the time is over; numbers of a lost log: at once.
    EXPECT_NE(client.get("/v1/events?since=2&wait=1", kPatience).body.find("\"events\":[]"),
              std::string::npos);
    EXPECT_TRUE(client.get("/v1/events?since=99&wait=60", kPatience).is_done());
}

TEST(ControlServer, AnswersWhoStillWaitsWhenItStops) {
    FakeDaemon daemon;
    daemon.answer_with(nullptr);
    std::future<ControlAnswer> command = std::async(std::launch::async, [&] {
        return ControlClient(daemon.run_directory()).post("/v1/mirrors/db/stop", "", kPatience);
    });
    while (daemon.commands().empty()) {
    }
    daemon.run([&] { daemon.server_->stop(); });
    EXPECT_EQ(command.get().http_status, 503u);
    EXPECT_EQ(ControlClient(daemon.run_directory()).get("/v1/status", kPatience).outcome,
              ControlAnswer::Outcome::no_daemon);
    // The daemon answers the command after all.
    daemon.run([&] { daemon.unanswered_[0](ControlReply::done()); });
}

TEST(ControlServer, SurvivesGarbageAndClientsThatLeave) {
    FakeDaemon daemon;
    const std::string path = daemon.run_directory() + "/control.sock";
    daemon.answer_with(nullptr);
    const std::string inputs[] = {
        "",
        "\n\n\n",
        std::string(100'000, 'x'),
        "GET /v1/status HTTP/1.1\r\n",
        "POST /v1/mirrors/db/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /v1/mirrors/db/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\nx",
        "GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n"};
    for (const std::string& input : inputs) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
        const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        send(client, input.data(), input.size(), MSG_NOSIGNAL);
        close(client);
    }
    EXPECT_TRUE(ControlClient(daemon.run_directory()).get("/v1/status", kPatience).is_done());
}

TEST(ControlSocket, IsPrivateAndReplacesADeadOneOnly) {
    TemporaryDirectory directory;
    const std::string run = directory.path() + "/run";
    const std::string path = run + "/control.sock";
    LoopThread thread;
    EventLog events;
    struct Nothing final : ControlApi {
        NodeStatus status() override { return {}; }
        void command(const ControlCommand&, std::function<void(ControlReply)>) override {}
    } api;
    thread.run([&] {
        std::string sentence;
        ControlServer first(thread.loop(), api, events);
        ControlServer second(thread.loop(), api, events);
        ASSERT_TRUE(first.start(run, sentence).ok()) << sentence;
        struct stat info {};
        ASSERT_EQ(stat(path.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777, 0600u);
        EXPECT_FALSE(second.start(run, sentence).ok());
        EXPECT_EQ(sentence,
                  "another gemeld answers at '" + path + "'; --run names another directory");
        first.stop();
        EXPECT_NE(access(path.c_str(), F_OK), 0);

        // A socket whose owner is dead.
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
        const int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_EQ(bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        close(dead);
        EXPECT_TRUE(second.start(run, sentence).ok()) << sentence;
        second.stop();

        // A file that is no socket is somebody's.
        close(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        EXPECT_FALSE(ControlServer(thread.loop(), api, events).start(run, sentence).ok());
        EXPECT_EQ(sentence, "'" + path + "' is in the way: it is no socket");
        EXPECT_EQ(access(path.c_str(), F_OK), 0);

        const std::string deep = run + "/" + std::string(100, 'd');
        EXPECT_FALSE(ControlServer(thread.loop(), api, events).start(deep, sentence).ok());
        EXPECT_EQ(sentence,
                  "'" + deep + "/control.sock' is too long for a socket: at most 107 bytes");
    });
}

TEST(ControlClient, SaysThatNobodyIsThere) {
    const ControlAnswer answer = ControlClient("/nonexistent").get("/v1/status", kPatience);
    EXPECT_EQ(answer.outcome, ControlAnswer::Outcome::no_daemon);
    EXPECT_EQ(answer.sentence,
              "no gemeld answers at '/nonexistent/control.sock' (No such file or directory)");
}

TEST(ControlClient, GivesUpWhenItsTimeIsOver) {
    FakeDaemon daemon;
    daemon.answer_with(nullptr);
    ControlClient client(daemon.run_directory());
    EXPECT_EQ(client.post("/v1/mirrors/db/stop", "", Duration::milliseconds(50)).outcome,
              ControlAnswer::Outcome::timed_out);
}

TEST(ControlClient, EscapesWhatIsNoName) {
    EXPECT_EQ(ControlClient::escape("db-1_x"), "db-1_x");
    EXPECT_EQ(ControlClient::escape("a/b?c#d%"), "a%2Fb%3Fc%23d%25");
    EXPECT_EQ(ControlClient::escape(".."), "%2E%2E");
    EXPECT_EQ(ControlClient::escape("\xc3\xa4"), "%C3%A4");
}

}  // namespace
}  // namespace gemel
